"""What all HTTP parts share: the shape of errors, who asks, and reading a JSON body."""

import base64
import binascii
import hmac
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from procurement.errors import ApiError, StaleEpoch, Unavailable, UnknownOutcome, forbidden, unprocessable

log = logging.getLogger(__name__)

ROOT = "/api/2.5"

Clock = Callable[[], datetime]
RETRY_AFTER_S = "1"
WORDS = {404: ("url", "url"), 405: ("method", "method"), 413: ("body", "data")}


def utc_now() -> datetime:
    """The clock of production."""
    return datetime.now(UTC)


def error_answer(status: int, location: str, name: str, description: Any) -> web.Response:
    """An error in the public API's shape."""
    error = {"location": location, "name": name, "description": description}
    return json_answer({"status": "error", "errors": [error]}, status=status)


def json_answer(body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer with its text as it is, not escaped."""
    return web.json_response(
        body, status=status, headers=headers, dumps=lambda value: json.dumps(value, ensure_ascii=False)
    )


@web.middleware
async def errors_in_shape(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error as the public API would say it; 503 says whether the change may have happened."""
    try:
        return await handler(request)
    except ApiError as error:
        return error_answer(error.status, error.location, error.name, error.description)
    except (Unavailable, StaleEpoch) as error:
        return _later(error, "not-applied")
    except UnknownOutcome as error:
        return _later(error, "unknown")
    except web.HTTPException as error:
        answer = error_answer(error.status, *WORDS.get(error.status, ("url", "url")), error.reason)
        if isinstance(error, web.HTTPMethodNotAllowed):
            answer.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
        return answer
    except Exception:
        log.exception("a bug, at %s %s", request.method, request.path)
        # What a bug leaves behind is not known to us either.
        answer = error_answer(500, "body", "data", "Internal Server Error")
        answer.headers["X-Outcome"] = "unknown"
        return answer


def _later(error: Exception, outcome: str) -> web.Response:
    log.warning("%s: %s", outcome, error)
    answer = error_answer(503, "body", "data", f"{outcome}: {error}")
    answer.headers["X-Outcome"] = outcome
    answer.headers["Retry-After"] = RETRY_AFTER_S
    return answer


@dataclass(frozen=True)
class Brokers:
    """The parties that may use the API, by their tokens."""

    tokens: Mapping[str, str]

    def of(self, request: web.Request) -> str | None:
        """Who asks: ``Bearer TOKEN``, or ``Basic name:token``; None when nobody we know."""
        kind, _, credentials = request.headers.get("Authorization", "").partition(" ")
        if kind == "Bearer":
            return self._named(lambda _, token: hmac.compare_digest(token.encode(), credentials.encode()))
        if kind == "Basic":
            try:
                name, _, given = base64.b64decode(credentials, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                return None
            return self._named(
                lambda broker, token: broker == name and hmac.compare_digest(token.encode(), given.encode())
            )
        return None

    def required(self, request: web.Request) -> str:
        """Who asks. Raises ApiError 403."""
        broker = self.of(request)
        if broker is None:
            raise forbidden()
        return broker

    def _named(self, matches: Callable[[str, str], bool]) -> str | None:
        return next((name for name, token in self.tokens.items() if matches(name, token)), None)


def access_token(request: web.Request) -> str | None:
    """The token that says whose tender or bid it is."""
    return request.headers.get("X-Access-Token") or request.query.get("acc_token")


async def json_body(request: web.Request) -> dict[str, Any]:
    """The body, a JSON object. Raises ApiError 415 or 422."""
    if request.content_type != "application/json":
        raise ApiError(
            415, "header", "Content-Type", "Content-Type header should be one of ['application/json']"
        )
    try:
        body = await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unprocessable("data", str(error)) from error
    if not isinstance(body, dict):
        raise unprocessable("data", "Data not available")
    return body


async def json_data(request: web.Request) -> dict[str, Any]:
    """The ``data`` of the body, an object. Raises ApiError 415 or 422."""
    data = (await json_body(request)).get("data")
    if not isinstance(data, dict):
        raise unprocessable("data", "Data not available")
    return data
