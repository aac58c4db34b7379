"""GET over HTTP or TLS with aiohttp, on a connection of its own: one that is kept would hide a dead door."""

import contextlib
import email.utils
import re
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus

import aiohttp

from dcctl.adapters.probes.machine import judge_clock
from dcctl.adapters.probes.round import Outcome, said
from dcctl.domain.probe import ClockCheck, HttpCheck
from dcctl.errors import ConfigurationError, Problem

READ_BYTES = 1 << 20
"""Of a body; who answers without an end has answered."""


async def probe_http(check: HttpCheck) -> Outcome:
    async with answered(check.url, ca_file=check.ca_file) as answer:
        body = await read(answer)
    told = f"HTTP {answer.status}"
    wanted = (
        answer.status in check.status if check.status else answer.status < HTTPStatus.INTERNAL_SERVER_ERROR
    )
    if not wanted:
        return Outcome(ok=False, saw=said(f"{told}: {body}") if body.strip() else told)
    if check.body and re.search(check.body, body) is None:
        return Outcome(ok=False, saw=said(f"{told}, and {check.body!r} is not in {body!r}"))
    return Outcome(ok=True, saw=told)


async def probe_clock_by_http(check: ClockCheck) -> Outcome:
    """By the ``Date`` of an answer (RFC 9110, section 6.6.1), which is cut to whole seconds."""
    before = time.time()
    async with answered(check.url) as answer:
        after = time.time()
    parsed = email.utils.parsedate_tz(answer.headers.get("Date", ""))
    if parsed is None:
        return Outcome(None, "the answer carries no date")
    date = email.utils.mktime_tz(parsed)
    return judge_clock(date, date + 1, before, after, check.limit_s)


@contextlib.asynccontextmanager
async def answered(url: str, *, ca_file: str = "") -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer to a GET; its failures are OSErrors. Redirects are not followed."""
    async with session(ca_file) as asking:
        with as_os_error():
            async with asking.get(url, allow_redirects=False) as answer:
                yield answer


@contextlib.asynccontextmanager
async def session(ca_file: str = "") -> AsyncIterator[aiohttp.ClientSession]:
    """No proxy, no cookies, no kept connection, and names resolved by the system."""
    context = tls_context(ca_file) if ca_file else True
    connector = aiohttp.TCPConnector(
        ssl=context, force_close=True, limit=0, use_dns_cache=False, resolver=aiohttp.ThreadedResolver()
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None),  # the round bounds it
    ) as asking:
        yield asking


def tls_context(ca_file: str) -> ssl.SSLContext:
    """Verifies chain and name. ConfigurationError when the authority's file cannot be read."""
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        saw = f"cannot be read: {error.strerror or error}"
        raise ConfigurationError((Problem(ca_file, 0, 0, saw),)) from error


async def read(answer: aiohttp.ClientResponse) -> str:
    """The body up to a limit. An OSError when less arrives than was promised."""
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) >= READ_BYTES:
            break
    return body.decode(errors="replace")


@contextlib.contextmanager
def as_os_error() -> Iterator[None]:
    """aiohttp's errors that are none of the system's."""
    try:
        yield
    except aiohttp.ClientPayloadError as error:
        raise ConnectionError("the answer broke off before its end") from error
    except aiohttp.ClientConnectorCertificateError as error:
        raise ConnectionError(str(error.certificate_error)) from error
    except aiohttp.ClientConnectorSSLError as error:
        raise ConnectionError(f"no TLS: {error.os_error.strerror or error.os_error}") from error
    except aiohttp.ServerDisconnectedError as error:
        raise ConnectionError("it hung up without an answer") from error
    except aiohttp.ClientConnectorError as error:
        raise error.os_error from error
    except (aiohttp.ClientResponseError, aiohttp.InvalidURL) as error:
        raise ConnectionError(said(f"no HTTP answer: {getattr(error, 'message', error)}")) from error
