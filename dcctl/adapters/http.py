"""One request, bounded in time, its failures in our words: for the parts that speak plain HTTP to us."""

from typing import Any

import requests
from urllib3 import Timeout

from dcctl.errors import TimedOut, Unreachable


def get(url: str, *, limit_s: float, tried: str, on: str) -> tuple[int, str]:
    """Status code and text of ``url``; redirects are not followed.

    ``limit_s`` bounds connecting and waiting for the answer together. Raises TimedOut and Unreachable,
    which say that we ``tried`` something ``on`` something.
    """
    return _ask("GET", url, limit_s=limit_s, tried=tried, on=on)


def post(
    url: str, document: Any, *, login: tuple[str, str], limit_s: float, tried: str, on: str
) -> tuple[int, str]:
    """As ``get``: POST ``document`` as JSON, with a user and a password."""
    return _ask("POST", url, limit_s=limit_s, tried=tried, on=on, json=document, auth=login)


def _ask(method: str, url: str, *, limit_s: float, tried: str, on: str, **more: Any) -> tuple[int, str]:
    try:
        with requests.Session() as session:
            # No proxy and no .netrc: what dcctl judges must be what it sees from where it stands.
            session.trust_env = False
            # requests hands urllib3's own limit through (``requests.adapters``); its types do not say so.
            limit: Any = Timeout(total=limit_s)
            answer = session.request(method, url, timeout=limit, allow_redirects=False, **more)
    except requests.Timeout as error:
        raise TimedOut(tried, on=on, saw=f"no answer within {limit_s:g} s") from error
    except requests.RequestException as error:
        raise Unreachable(tried, on=on, saw=_cause(error)) from error
    return answer.status_code, answer.text


def _cause(error: BaseException) -> str:
    """The system's own words under what requests and urllib3 wrap around them."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        inner = getattr(cause, "reason", None) or next(
            (each for each in cause.args if isinstance(each, BaseException)), None
        )
        cause = inner if isinstance(inner, BaseException) else cause.__cause__ or cause.__context__
    return type(error).__name__
