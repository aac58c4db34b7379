"""Which rounds of auctions are due, by the application's own word (procurement/procurement/live.py)."""

import json
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus

from dcctl.domain.expected import DueRound, Rounds
from dcctl.errors import Rejected, Unreachable

PORT = 8082


def observe_rounds(address: str, *, get: Callable[..., tuple[int, str]], limit_s: float) -> Rounds:
    """What the application at ``address`` read last. Raises Unreachable; Rejected for what is not ours."""
    tried, url = "ask which auctions are due", f"http://{address}:{PORT}/auctions"
    status, text = get(url, limit_s=limit_s, tried=tried, on=address)
    if status != HTTPStatus.OK:
        raise Unreachable(tried, on=address, saw=f"HTTP {status}")
    try:
        told = json.loads(text)
        return Rounds(
            at=datetime.fromisoformat(told["at"]),
            until=datetime.fromisoformat(told["until"]),
            due=tuple(
                DueRound(
                    "/".join([each["tenderID"], *([each["lotID"]] if "lotID" in each else [])]),
                    int(each["round"]),
                    datetime.fromisoformat(each["due"]),
                )
                for each in told["data"]
            ),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Rejected(tried, on=address, saw=f"not ours: {text[:60]!r}") from error
