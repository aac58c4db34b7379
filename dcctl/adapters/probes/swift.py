"""Swift, as its users see it: an object is put, got, its hash compared, and deleted again.

The object's name is used once. Should the probe die in between, the object deletes itself after an hour
(``X-Delete-After``). The container stays.
"""

import asyncio
import contextlib
import hashlib
import os
import uuid
from collections.abc import Callable
from http import HTTPStatus

import aiohttp

from dcctl.adapters.probes.http import as_os_error, session
from dcctl.adapters.probes.round import Outcome, Prober
from dcctl.domain.probe import SwiftCheck
from dcctl.errors import CredentialsRefused, Rejected

BODY_BYTES = 1024
EXPIRES_S = 3600
TIDY_S = 2.0


def probe_swift(secret: Callable[[str], str]) -> Prober:
    """``secret`` gives the value of a secret by its name; ConfigurationError when it cannot."""

    async def probe(check: SwiftCheck) -> Outcome:
        key = secret(check.secret)
        async with session() as asking:
            with as_os_error():
                return await _put_get_delete(asking, check, key)

    return probe


async def _put_get_delete(asking: aiohttp.ClientSession, check: SwiftCheck, key: str) -> Outcome:
    storage, token = await _logged_in(asking, check, key)
    url = f"{storage}/{check.container}/{uuid.uuid4()}"
    body = os.urandom(BODY_BYTES)
    digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
    headers = {**token, "ETag": digest, "X-Delete-After": str(EXPIRES_S)}
    await _put(asking, url, body, headers)
    try:
        async with asking.get(url, headers=token) as answer:
            got = await answer.content.read(BODY_BYTES + 1)
            _expect(answer, "get the object", HTTPStatus.OK)
        found = hashlib.md5(got, usedforsecurity=False).hexdigest()
        if found != digest or answer.headers.get("Etag", "").strip('"') != digest:
            return Outcome(ok=False, saw=f"an object came back changed: put {digest}, got {found}")
    finally:
        gone = await _deleted(asking, url, token)
    if not gone:
        return Outcome(ok=False, saw="an object was put and got back, and could not be deleted")
    return Outcome(ok=True, saw="an object was put, got back and deleted")


async def _logged_in(
    asking: aiohttp.ClientSession, check: SwiftCheck, key: str
) -> tuple[str, dict[str, str]]:
    """The account's storage URL, and the header with a token (Swift's TempAuth, v1.0)."""
    headers = {"X-Auth-User": check.user, "X-Auth-Key": key}
    async with asking.get(check.auth_url, headers=headers, allow_redirects=False) as answer:
        if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise CredentialsRefused(
                "log in", saw=f"HTTP {answer.status}: it refuses the key of {check.user}"
            )
        _expect(answer, "log in", HTTPStatus.OK, HTTPStatus.NO_CONTENT)
        storage, token = answer.headers.get("X-Storage-Url"), answer.headers.get("X-Auth-Token")
    if not storage or not token:
        raise Rejected("log in", saw="the login answers without a storage URL and a token")
    return storage.rstrip("/"), {"X-Auth-Token": token}


async def _put(asking: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str]) -> None:
    """Put the object; the container is made the first time."""
    async with asking.put(url, data=body, headers=headers) as answer:
        if answer.status != HTTPStatus.NOT_FOUND:
            _expect(answer, "put an object", HTTPStatus.CREATED)
            return
    token = {"X-Auth-Token": headers["X-Auth-Token"]}
    async with asking.put(url.rpartition("/")[0], headers=token) as answer:
        _expect(answer, "make the container", HTTPStatus.CREATED, HTTPStatus.ACCEPTED)
    async with asking.put(url, data=body, headers=headers) as answer:
        _expect(answer, "put an object", HTTPStatus.CREATED)


async def _deleted(asking: aiohttp.ClientSession, url: str, token: dict[str, str]) -> bool:
    """Also while the probe is being left to its fate."""
    with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(TIDY_S), asking.delete(url, headers=token) as answer:
            return answer.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND)
    return False


def _expect(answer: aiohttp.ClientResponse, tried: str, *good: HTTPStatus) -> None:
    if answer.status not in good:
        raise Rejected(tried, saw=f"HTTP {answer.status} to: {tried}")
