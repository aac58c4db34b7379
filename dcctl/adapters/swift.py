"""``ports.DocumentStore`` over Swift's ``container_sync`` middleware, with aiohttp: the hot path.
``ports.TokenStore`` for clusters without it.

A request signed with a realm's key and the container's key needs no token and is believed its
``X-Timestamp`` (``swift.common.middleware.container_sync``, measured on Swift 2.38). The signature covers
neither headers nor body: use TLS between sites and guard the keys.
"""

import asyncio
import contextlib
import hashlib
import hmac
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import quote, urlsplit

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from yarl import URL

from dcctl.domain.document import Answer, Document, Head, carried
from dcctl.domain.replication import Stamp
from dcctl.domain.replication_account import DEFAULT, account_of, own_name
from dcctl.domain.replication_clock import ClusterClock
from dcctl.errors import Busy, CredentialsRefused, NotFound, Rejected, TimedOut, Unreachable

SMALL_BYTES = 1 << 20
CHUNK_BYTES = 1 << 16
NO_ETAG = "0" * 32
CONNECT_LIMIT_S = 5.0
SILENCE_LIMIT_S = 30.0
SLOWEST_BYTES_PER_S = 4096
BUSY = frozenset({429, 498, 503, 507})
MEANINGS = {
    405: "the account or the cluster is read-only",
    413: "a quota is used up, or it is larger than an object may be",
    507: "the disks there are full",
}
RAW = "multipart-manifest=get&symlink=get"


@dataclass(frozen=True, slots=True)
class Keys:
    """What signs a request: the realm's name and key, and the key set on the containers."""

    realm: str
    realm_key: str
    container_key: str

    def sign(self, method: str, path: str, stamp: str) -> str:
        """The ``X-Container-Sync-Auth`` header. ``path`` is percent-encoded, as Swift will encode it."""
        nonce = os.urandom(8).hex()
        text = f"{method}\n{path}\n{stamp or '0'}\n{nonce}\n{self.container_key}".encode()
        return f"{self.realm} {nonce} {hmac.new(self.realm_key.encode(), text, hashlib.sha1).hexdigest()}"

    def headers(self, method: str, path: str, stamp: str) -> dict[str, str]:
        """What is sent with a request."""
        signed = {"X-Container-Sync-Auth": self.sign(method, path, stamp)}
        return {**signed, "X-Timestamp": stamp} if stamp else signed


class Authorization(Protocol):
    """What lets a request in."""

    def headers(self, method: str, path: str, stamp: str) -> dict[str, str]:
        """The headers for a request whose timestamp should be ``stamp`` ("": it has none)."""


class SwiftStore:
    """One cluster, by the storage URL of an account; ``accounts`` are the storage URLs of more of them, by
    name. Use as an asynchronous context manager; it owns its connections."""

    def __init__(
        self,
        site: str,
        url: str,
        keys: Authorization,
        *,
        ca_file: str | None = None,
        accounts: Mapping[str, str] | None = None,
        local_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        parts = urlsplit(url)
        self.site = site
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._accounts = {
            name: urlsplit(of).path.rstrip("/") for name, of in {DEFAULT: url, **(accounts or {})}.items()
        }
        self._keys = keys
        self._ca_file = ca_file
        self._local, self._clock = local_clock, ClusterClock()
        self.requests = 0
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=20, **_tls(self._ca_file)),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("Content-Type", "User-Agent", "Accept-Encoding"),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_LIMIT_S, sock_read=SILENCE_LIMIT_S
            ),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    def now(self) -> Stamp:
        return self._clock.now(self._local())

    def silent_s(self) -> float:
        return self._clock.silent_s(self._local())

    async def list_page(
        self,
        container: str,
        *,
        marker: str = "",
        upto: str | None = None,
        prefix: str = "",
        limit: int = 10_000,
    ) -> bytes:
        query = f"format=json&limit={limit}"
        if marker:
            query += f"&marker={quote(marker, safe='')}"
        if upto is not None:
            # end_marker excludes itself; no name fits between this one and it (Swift has none with NUL)
            query += f"&end_marker={quote(upto + chr(1), safe='')}"
        if prefix:
            query += f"&prefix={quote(prefix, safe='')}"
        async with self._ask("GET", container, "", query=query) as answer:
            if answer.status == 204:  # noqa: PLR2004  # no content
                return b"[]"
            self._expect(answer, "list", container, {200})
            body = await answer.read()
            if not body.endswith(b"]"):
                raise Unreachable("list", on=self._at(container), saw="an answer that is not a JSON list")
            return body

    @contextlib.asynccontextmanager
    async def fetch(self, container: str, name: str) -> AsyncIterator[Document | None]:
        async with self._ask("GET", container, name, query=RAW) as answer:
            if answer.status == 404:  # noqa: PLR2004
                yield None
                return
            self._expect(answer, "GET", f"{container}/{name}", {200})
            head = _head(answer)
            if head.length_bytes > SMALL_BYTES and not head.manifest:  # its segments are to be read from it
                yield Document(head, None, answer.content.iter_chunked(CHUNK_BYTES))
                return
            yield Document(head, await answer.read())

    async def head(self, container: str, name: str) -> Head | None:
        return await self._headed(container, name, RAW)

    async def _headed(self, container: str, name: str, query: str) -> Head | None:
        async with self._ask("HEAD", container, name, query=query) as answer:
            if answer.status == 404:  # noqa: PLR2004
                return None
            self._expect(answer, "HEAD", f"{container}/{name}", {200})
            return _head(answer)

    async def put(self, container: str, name: str, stamp: Stamp, document: Document) -> Answer:
        headers = {
            **document.head.headers,
            "ETag": document.head.hash,
            "Content-Length": str(document.head.length_bytes),
        }
        try:
            # The session's limits are on what is read; it has none for a server that takes no more bytes.
            async with asyncio.timeout(None) as limit:
                data = (
                    _held(document.content)
                    if document.chunks is None
                    else _Streamed(_while_taken(document.chunks, limit))
                )
                async with self._ask(
                    "PUT", container, name, stamp=stamp, headers=headers, data=data
                ) as answer:
                    return self._judge(answer, "PUT", container, name)
        except TimeoutError as error:
            raise TimedOut("PUT", on=self._at(container, name), saw="no more bytes are taken") from error

    async def post(self, container: str, name: str, stamp: Stamp, headers: Mapping[str, str]) -> Answer:
        async with self._ask("POST", container, name, stamp=stamp, headers=headers) as answer:
            return Answer.APPLIED if answer.status == 202 else self._judge(answer, "POST", container, name)  # noqa: PLR2004

    async def delete(self, container: str, name: str, stamp: Stamp) -> Answer:
        async with self._ask("DELETE", container, name, stamp=stamp) as answer:
            return self._judge(answer, "DELETE", container, name)

    async def holds(self, container: str, name: str, stamp: Stamp) -> bool:
        headers = {"ETag": NO_ETAG, "Content-Length": "0"}
        async with self._ask("PUT", container, name, stamp=stamp, headers=headers, data=b"") as answer:
            judged = self._judge(answer, "ask for the stamp of", container, name)
        if judged is Answer.ABSENT:
            raise NotFound("ask for a stamp", on=self._at(container), saw="there is no such container")
        return judged is Answer.OLDER

    @contextlib.asynccontextmanager
    async def _ask(
        self,
        method: str,
        container: str,
        name: str,
        *,
        query: str = "",
        stamp: Stamp | None = None,
        headers: Mapping[str, str] | None = None,
        data: bytes | aiohttp.Payload | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        assert self._session is not None, "used outside its context"  # noqa: S101
        folder = f"{self._folder(account_of(container))}/{own_name(container)}"
        path = quote(f"{folder}/{name}" if name else folder)
        text = stamp.text if stamp is not None else ""
        sent = {**(headers or {}), **self._keys.headers(method, path, text)}
        url = URL(f"{self._origin}{path}?{query}" if query else f"{self._origin}{path}", encoded=True)
        self.requests += 1
        asked_s = self._local()
        try:
            async with self._session.request(
                method, url, headers=sent, data=data, allow_redirects=False
            ) as answer:
                self._clock.saw(answer.headers.get("Date"), asked_s, self._local())
                yield answer
        except TimeoutError as error:
            raise TimedOut(method, on=self._at(container, name), saw="no answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(method, on=self._at(container, name), saw=str(error) or repr(error)) from error
        except ValueError as error:  # a header or name that cannot be sent
            raise Rejected(method, on=self._at(container, name), saw=str(error)) from error

    def _folder(self, account: str) -> str:
        try:
            return self._accounts[account]
        except KeyError:
            raise NotFound("find an account", on=self._at(account), saw="it is not configured") from None

    def _judge(self, answer: aiohttp.ClientResponse, tried: str, container: str, name: str) -> Answer:
        verdict = {
            200: Answer.APPLIED,
            201: Answer.APPLIED,
            202: Answer.OLDER,
            204: Answer.APPLIED,
            404: Answer.ABSENT,
            409: Answer.OLDER,
            422: Answer.DAMAGED,
        }.get(answer.status)
        if verdict is None:
            self._expect(answer, tried, f"{container}/{name}", set())
            raise AssertionError("unreachable")
        return verdict

    def _expect(self, answer: aiohttp.ClientResponse, tried: str, what: str, good: set[int]) -> None:
        if answer.status in good:
            return
        meaning = MEANINGS.get(answer.status)
        on, saw = (
            self._at(what),
            f"HTTP {answer.status} {answer.reason}" + (f": {meaning}" if meaning else ""),
        )
        if answer.status in BUSY:
            raise Busy(tried, on=on, saw=saw, retry_after_s=_seconds(answer.headers.get("Retry-After")))
        if answer.status in (401, 403):
            raise CredentialsRefused(tried, on=on, saw=saw, next_command="dcctl replication check")
        if answer.status == 404:  # noqa: PLR2004
            raise NotFound(tried, on=on, saw=saw, next_command="dcctl replication init")
        raise (Unreachable if answer.status >= 500 else Rejected)(tried, on=on, saw=saw)  # noqa: PLR2004

    def _at(self, *what: str) -> str:
        return f"{self.site}:{'/'.join(part for part in what if part)}"


FRESH_S = 900.0
"""Keystone's tokens live for an hour by default; one is asked for again long before."""


class Token:
    """Authorizes requests where nothing is signed: a token, and no timestamp, which Swift would ignore.

    ``ask`` logs in and gives a token; it may take seconds.
    """

    def __init__(self, ask: Callable[[], str], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        self._token = ""
        self._since_s = clock() - FRESH_S

    def headers(self, method: str, path: str, stamp: str) -> dict[str, str]:  # noqa: ARG002
        return {"X-Auth-Token": self._token}

    def renew(self) -> None:
        """Log in, if the token is not young."""
        if self._clock() - self._since_s >= FRESH_S:
            self._token, self._since_s = self._ask(), self._clock()


class Tokens:
    """Each account's owner's token; ``by_url`` has them by the accounts' storage URLs."""

    def __init__(self, by_url: Mapping[str, Token]) -> None:
        self._by_account = {quote(urlsplit(url).path.rstrip("/")): token for url, token in by_url.items()}

    def headers(self, method: str, path: str, stamp: str) -> dict[str, str]:
        account = next(one for one in self._by_account if path.startswith(f"{one}/"))
        return self._by_account[account].headers(method, path, stamp)

    def renew(self) -> None:
        """Log in wherever the token is not young."""
        for token in self._by_account.values():
            token.renew()


class TokenStore(SwiftStore):
    """``ports.TokenStore``: a store whose writes get the cluster's own time, whatever stamp is given."""

    def __init__(
        self,
        site: str,
        url: str,
        tokens: Tokens,
        *,
        ca_file: str | None = None,
        accounts: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(site, url, tokens, ca_file=ca_file, accounts=accounts)
        self._tokens = tokens

    def renew(self) -> None:
        self._tokens.renew()

    async def shown(self, container: str, name: str) -> Head | None:
        return await self._headed(container, name, "symlink=get")

    async def put_manifest(
        self, container: str, name: str, parts: bytes, headers: Mapping[str, str]
    ) -> Answer:
        async with self._ask(
            "PUT", container, name, query="multipart-manifest=put", headers=headers, data=_held(parts)
        ) as answer:
            return self._judge(answer, "PUT", container, name)


class _Dropped(aiohttp.Payload):
    """A body whose connection is dropped when it is given up: closing waits until all bytes are taken."""

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        try:
            await super().write_with_length(writer, content_length)
        except BaseException:
            if writer.transport is not None:
                writer.transport.abort()
            raise


def sending_limit_s(size: int) -> float:
    """For bytes that are held: generous, for the session's own limits are on what is read."""
    return SILENCE_LIMIT_S + size / SLOWEST_BYTES_PER_S


class _Streamed(_Dropped, aiohttp.AsyncIterablePayload):
    pass


class _Held(_Dropped, aiohttp.BytesPayload):
    """Bytes with a limit for their being taken, by their number."""

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        async with asyncio.timeout(sending_limit_s(len(self._value))):
            await super().write_with_length(writer, content_length)


def _held(content: bytes | None) -> bytes | _Held | None:
    """Few bytes need no limit: a socket's buffer takes them at once."""
    return _Held(content) if content is not None and len(content) > CHUNK_BYTES else content


async def _while_taken(chunks: AsyncIterator[bytes], limit: asyncio.Timeout) -> AsyncIterator[bytes]:
    """``chunks``, with the whole of ``limit`` for each; what comes after the last has as much."""
    async for chunk in chunks:
        if not limit.expired():
            limit.reschedule(asyncio.get_running_loop().time() + SILENCE_LIMIT_S)
        yield chunk


def _head(answer: aiohttp.ClientResponse) -> Head:
    body = answer.headers.get("X-Object-Body-Timestamp")
    return Head(
        hash=answer.headers.get("Etag", "").strip('"'),
        stamp=Stamp.parse(answer.headers["X-Timestamp"]),
        length_bytes=int(answer.headers.get("Content-Length", "0")),
        headers=carried(answer.headers),
        body=Stamp.parse(body) if body else None,
    )


def _seconds(text: str | None) -> float:
    return float(text) if text is not None and text.isdigit() else 0.0


def _tls(ca_file: str | None) -> dict[str, Any]:
    if ca_file is None:
        return {}
    import ssl  # noqa: PLC0415  # only where TLS has a certificate authority of its own

    return {"ssl": ssl.create_default_context(cafile=ca_file)}
