"""``Storage`` over OpenStack Swift's API, with aiohttp; a token by auth v1 (tempauth) or Keystone v3.

TempURL: hex HMAC-SHA256 over ``GET\\nEXPIRES\\nPATH`` with a key kept on the container
(https://docs.openstack.org/swift/latest/api/temporary_url_middleware.html).
"""

import asyncio
import contextlib
import hashlib
import hmac
import os
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from email.utils import parsedate_to_datetime
from typing import IO, Any
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
from yarl import URL

from procurement.errors import Unavailable
from procurement.settings import SwiftSettings
from procurement.storage.port import Stored

CONNECT_LIMIT_S = 3.0
SILENCE_LIMIT_S = 10.0
CALL_LIMIT_S = 60.0
CLOCK_MEMORY_S = 60.0
CHUNK_BYTES = 1 << 16
CREATED, UNAUTHORIZED, NOT_FOUND = 201, 401, 404
MISSING = frozenset({NOT_FOUND})


class SwiftStorage:
    """One container of one account. Use as an asynchronous context manager; it owns its connections."""

    def __init__(self, settings: SwiftSettings, *, silence_limit_s: float = SILENCE_LIMIT_S) -> None:
        self._silence_limit_s = silence_limit_s
        self.site = settings.site
        self.container = settings.container
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None
        self._token: tuple[str, str] | None = None
        self._renewing = asyncio.Lock()
        self._ahead_s: float | None = None
        self._ahead_at_s = 0.0

    async def __aenter__(self) -> "SwiftStorage":
        trust = self._settings.ca_file
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=trust)) if trust else None
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(
                total=CALL_LIMIT_S, sock_connect=CONNECT_LIMIT_S, sock_read=self._silence_limit_s
            ),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def ensure(self) -> None:
        key = self._settings.temp_url_key
        headers = {"X-Container-Meta-Temp-URL-Key": key} if key else {}
        async with self._ask("PUT", "", headers=headers) as answer:
            self._expect(answer, "PUT", "", {201, 202})

    async def put(self, name: str, content: IO[bytes], *, size_bytes: int, md5: str, format: str) -> bool:
        headers = {"ETag": md5, "Content-Length": str(size_bytes), "Content-Type": format}
        async with self._ask("PUT", name, headers=headers, content=content) as answer:
            # 202: Swift has a newer object of this name and did not keep ours.
            self._expect(answer, "PUT", name, {201})
        return False

    async def put_at(  # noqa: PLR0917
        self, stamp: str, name: str, content: IO[bytes], size_bytes: int, md5: str, format: str
    ) -> bool:
        """Store the bytes under the timestamp ``stamp``, with a signed request. Raises Unavailable.

        False: something as new or newer is there, and nothing was changed.
        """
        headers = {
            "ETag": md5,
            "Content-Length": str(size_bytes),
            "Content-Type": format,
            "X-Timestamp": stamp,
        }
        async with self._ask("PUT", name, headers=headers, content=content) as answer:
            self._expect(answer, "PUT", name, {201, 202})
            return answer.status == CREATED

    async def clock_ahead(self) -> float:
        """How far the cluster's clock is ahead of ours, at least, in seconds. Raises Unavailable.

        By the ``Date`` of its answers, which is cut to whole seconds and was written before we read it.
        """
        if self._ahead_s is None:
            async with self._ask("HEAD", "") as answer:
                self._expect(answer, "HEAD", "", {200, 204})
        return self._ahead_s or 0.0

    async def head(self, name: str) -> Stored | None:
        async with self._ask("HEAD", name) as answer:
            if answer.status in MISSING:
                return None
            self._expect(answer, "HEAD", name, {200})
            return Stored(
                answer.headers.get("Etag", "").strip('"'),
                int(answer.headers.get("Content-Length", "0")),
                answer.headers.get("Content-Type", ""),
            )

    @contextlib.asynccontextmanager
    async def get(self, name: str) -> AsyncIterator[AsyncIterator[bytes] | None]:
        async with self._ask("GET", name) as answer:
            if answer.status in MISSING:
                yield None
                return
            self._expect(answer, "GET", name, {200})
            yield answer.content.iter_chunked(CHUNK_BYTES)

    async def delete(self, name: str) -> None:
        async with self._ask("DELETE", name) as answer:
            self._expect(answer, "DELETE", name, {204, *MISSING})

    def temporary_url(self, name: str, *, filename: str, expires_s: int) -> str | None:
        key, public = self._settings.temp_url_key, self._settings.public_url
        if key is None or public is None:
            return None
        path = f"{urlsplit(public).path}/{quote(self.container)}/{quote(name)}"
        signature = hmac.new(key.encode(), f"GET\n{expires_s}\n{path}".encode(), hashlib.sha256).hexdigest()
        query = urlencode(
            {"temp_url_sig": signature, "temp_url_expires": expires_s, "filename": filename}, quote_via=quote
        )
        return f"{public}/{quote(self.container)}/{quote(name)}?{query}"

    @contextlib.asynccontextmanager
    async def _ask(
        self,
        method: str,
        name: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: IO[bytes] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request, and once more with a new token when the old one has expired."""
        try:
            for attempt in (1, 2):
                url, token = await self._authorized()
                path = f"/{quote(self.container)}" + (f"/{quote(name)}" if name else "")
                sent = {**(headers or {}), **self._authority(method, url + path, headers or {}, token)}
                async with self._client().request(
                    method,
                    URL(url + path, encoded=True),
                    headers=sent,
                    data=_chunks(content),
                    allow_redirects=False,
                ) as answer:
                    self._saw_clock(answer.headers.get("Date"))
                    if answer.status == UNAUTHORIZED and attempt == 1:
                        self._token = None
                        continue
                    yield answer
                    return
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"{self.site}: {method} {name or self.container}: {error!r}") from error

    def _authority(self, method: str, url: str, headers: Mapping[str, str], token: str) -> dict[str, str]:
        """The token; for a request that brings its own timestamp a signature, which Swift believes it
        (``swift.common.middleware.container_sync``)."""
        sync, stamp = self._settings.sync, headers.get("X-Timestamp")
        if stamp is None or sync is None:
            return {"X-Auth-Token": token}
        nonce = os.urandom(8).hex()
        text = f"{method}\n{urlsplit(url).path}\n{stamp}\n{nonce}\n{sync.container_key}".encode()
        signature = hmac.new(sync.realm_key.encode(), text, hashlib.sha1).hexdigest()
        return {"X-Container-Sync-Auth": f"{sync.realm} {nonce} {signature}"}

    def _saw_clock(self, date: str | None) -> None:
        """Keep the latest that answers have shown: within a second each shows less than the one before it,
        and timestamps would fall. A clock that was put back is believed after a while."""
        if date is None:
            return
        ahead_s = parsedate_to_datetime(date).timestamp() - time.time()
        now_s = time.monotonic()
        if self._ahead_s is None or ahead_s > self._ahead_s or now_s - self._ahead_at_s > CLOCK_MEMORY_S:
            self._ahead_s, self._ahead_at_s = ahead_s, now_s

    async def _authorized(self) -> tuple[str, str]:
        """Storage URL and token."""
        async with self._renewing:
            if self._token is None:
                v3 = urlsplit(self._settings.auth_url).path.rstrip("/").endswith("/v3")
                self._token = await (self._keystone() if v3 else self._auth_v1())
            return self._token

    async def _auth_v1(self) -> tuple[str, str]:
        headers = {"X-Auth-User": self._settings.user, "X-Auth-Key": self._settings.key}
        async with self._client().get(self._settings.auth_url, headers=headers) as answer:
            self._expect(answer, "GET", "a token", {200, 204})
            url = self._settings.url or answer.headers["X-Storage-Url"].rstrip("/")
            return url, answer.headers["X-Auth-Token"]

    async def _keystone(self) -> tuple[str, str]:
        """Storage URL, from the catalogue unless it is configured, and token."""
        project, _, user = self._settings.user.partition(":")
        domain = {"name": self._settings.domain}
        body: dict[str, Any] = {
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {"user": {"name": user, "domain": domain, "password": self._settings.key}},
                },
                "scope": {"project": {"name": project, "domain": domain}},
            }
        }
        async with self._client().post(f"{self._settings.auth_url}/auth/tokens", json=body) as answer:
            self._expect(answer, "POST", "a token", {201})
            token = answer.headers["X-Subject-Token"]
            if self._settings.url:
                return self._settings.url, token
            urls = [
                str(endpoint["url"])
                for service in (await answer.json())["token"]["catalog"]
                if service["type"] == "object-store"
                for endpoint in service["endpoints"]
                if endpoint["interface"] == "public"
            ]
            if not urls:
                raise Unavailable(f"{self.site}: the catalogue of Keystone has no public object-store")
            return urls[0].rstrip("/"), token

    def _expect(self, answer: aiohttp.ClientResponse, method: str, name: str, good: set[int]) -> None:
        if answer.status not in good:
            what = name or self.container
            raise Unavailable(f"{self.site}: {method} {what}: HTTP {answer.status} {answer.reason}")

    def _client(self) -> aiohttp.ClientSession:
        assert self._session is not None, "used outside its context"  # noqa: S101
        return self._session


async def _chunks_of(content: IO[bytes]) -> AsyncIterator[bytes]:
    """From the beginning; several may read one file at the same time."""
    position = 0
    while True:
        content.seek(position)
        chunk = content.read(CHUNK_BYTES)
        if not chunk:
            return
        position += len(chunk)
        yield chunk


def _chunks(content: IO[bytes] | None) -> AsyncIterator[bytes] | None:
    return None if content is None else _chunks_of(content)
