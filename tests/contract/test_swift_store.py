"""What the hot path makes of answers that are cut short, ask for patience or tell the time; without Swift."""

import asyncio
import contextlib
import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import formatdate

import pytest

from dcctl.adapters import swift
from dcctl.adapters.swift import Keys, SwiftStore, Token, Tokens, TokenStore
from dcctl.domain.document import Answer, Document, Head
from dcctl.domain.replication import Stamp
from dcctl.errors import Busy, TimedOut, Unreachable
from dcctl.testing.documents import document

KEYS = Keys("realm", "key", "key")
ROW = b'[{"name": "o", "hash": "h", "bytes": 1, "last_modified": "2026-01-01T00:00:00.000000"}]'


def asked(
    answer: bytes, ask: Callable[[SwiftStore], Awaitable[None]], local_s: Callable[[], float] = lambda: 0.0
) -> None:
    """``ask`` a cluster that answers each connection with these bytes and closes it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async def whole() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            url = f"http://127.0.0.1:{port}/v1/AUTH_x"
            async with SwiftStore("east", url, KEYS, local_clock=local_s) as store:
                await ask(store)

    asyncio.run(whole())


def http(status: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {size}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (http("200 OK", ROW[:40]), "not a JSON list"),
        (http("200 OK", ROW[:40], length=len(ROW)), "payload is not completed"),
        (http("503 Service Unavailable", b""), "HTTP 503"),
        (http("500 Internal Error", b""), "HTTP 500"),
    ],
)
def test_a_listing_that_is_cut_short_is_no_listing(answer: bytes, words: str) -> None:
    """Else what it lacks could be taken for deleted."""

    async def ask(store: SwiftStore) -> None:
        with pytest.raises(Unreachable, match=words):
            await store.list_page("docs")

    asked(answer, ask)


def test_a_whole_listing_is_one_and_so_is_an_empty_one() -> None:
    async def full(store: SwiftStore) -> None:
        assert await store.list_page("docs") == ROW

    async def empty(store: SwiftStore) -> None:
        assert await store.list_page("docs") == b"[]"

    asked(http("200 OK", ROW), full)
    asked(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", empty)


@pytest.mark.parametrize("size", [100, 3 << 20])
def test_an_object_that_is_cut_short_is_not_read_to_its_end(size: int) -> None:
    async def ask(store: SwiftStore) -> None:
        with pytest.raises(Unreachable):
            async with store.fetch("docs", "o") as got:
                assert got is not None
                assert got.chunks is not None
                async for _ in got.chunks:
                    pass

    asked(http("200 OK", b"half", "X-Timestamp: 1767225600.00000", "Etag: e", length=size), ask)


def test_a_large_objects_manifest_is_held_whatever_its_size() -> None:
    """Its segments have to be there first, and it names them. Swift allows 8 MiB."""
    manifest = b"[" + b" " * (2 << 20) + b"]"

    async def ask(store: SwiftStore) -> None:
        async with store.fetch("docs", "o") as got:
            assert got is not None
            assert (got.content, got.chunks) == (manifest, None)

    headers = ("X-Timestamp: 1767225600.00000", "Etag: e", "X-Static-Large-Object: True")
    asked(http("200 OK", manifest, *headers), ask)


@pytest.mark.parametrize("status", ["429 Too Many Requests", "498 Rate Limited", "503 Unavailable"])
@pytest.mark.parametrize(("headers", "wait_s"), [(["Retry-After: 7"], 7.0), ([], 0.0)])
def test_a_cluster_that_asks_for_patience_says_for_how_long(
    status: str, headers: list[str], wait_s: float
) -> None:
    async def ask(store: SwiftStore) -> None:
        with pytest.raises(Busy, match=status[:3]) as caught:
            await store.put("docs", "o", Stamp(1), document(b"1"))
        assert caught.value.retry_after_s == wait_s

    asked(http(status, b"", *headers), ask)


def test_a_put_that_was_answered_202_was_not_applied() -> None:
    async def ask(store: SwiftStore) -> None:
        assert await store.put("docs", "o", Stamp(1), document(b"1")) is Answer.OLDER

    asked(http("202 Accepted", b""), ask)


def test_a_clusters_clock_is_never_thought_to_be_ahead_of_what_it_says() -> None:
    """``Date`` is cut to seconds and read after it was sent: what can be known is a lower bound."""
    local = [1_000_000.0]
    truth_s = 1_767_225_600.9  # by that cluster, at our 1_000_000

    async def ask(store: SwiftStore) -> None:
        assert store.now() == Stamp(0), "before the first answer nothing is known"
        assert store.silent_s() == math.inf
        await store.list_page("docs")
        assert store.silent_s() == 0
        for later_s in (0.0, 0.5, 30.0):
            local[0] = 1_000_000.0 + later_s
            assert store.now().ticks <= (truth_s + later_s) * 100_000
            assert store.now().ticks >= (truth_s + later_s - 1) * 100_000
            assert store.silent_s() == later_s

    asked(http("200 OK", b"[]", f"Date: {formatdate(int(truth_s), usegmt=True)}"), ask, lambda: local[0])


class Reader:
    """A cluster that takes so many bytes of a body, and then none."""

    def __init__(self, takes: int) -> None:
        self.takes = takes
        self.over, self.ended = asyncio.Event(), asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(self.takes)
        await self.over.wait()
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        self.ended.set()

    def put(self, whole: Document) -> Answer:
        async def work() -> Answer:
            server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
            async with asyncio.timeout(60):
                url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/AUTH_x"
                try:
                    async with SwiftStore("west", url, KEYS) as store:
                        return await store.put("docs", "large", Stamp(1), whole)
                finally:
                    self.over.set()
                    await self.ended.wait()
                    server.close()

        return asyncio.run(work())


def streamed(size: int) -> Document:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(size >> 16):
            yield bytes(1 << 16)

    return Document(Head("h", Stamp(0), size), None, chunks())


def test_a_cluster_that_takes_no_more_bytes_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its process stands still and its kernel answers: no time limit on reading ever runs out."""
    monkeypatch.setattr(swift, "SILENCE_LIMIT_S", 0.5)
    with pytest.raises(TimedOut, match="west:docs/large: no more bytes are taken"):
        Reader(3 << 20).put(streamed(64 << 20))


@pytest.mark.parametrize("size", [1 << 19, 1 << 20])
@pytest.mark.parametrize("manifest", [False, True])
def test_nor_is_it_with_bytes_that_are_held(
    monkeypatch: pytest.MonkeyPatch, size: int, *, manifest: bool
) -> None:
    """A kernel accepts and nobody reads. Small segments: within one machine it would take it all."""
    monkeypatch.setattr(swift, "SILENCE_LIMIT_S", 0.2)
    monkeypatch.setattr(swift, "SLOWEST_BYTES_PER_S", 1 << 30)

    async def work(url: str) -> None:
        tokens = Tokens({url: Token(lambda: "a-token")})
        async with asyncio.timeout(60), TokenStore("west", url, tokens) as store:
            if manifest:
                await store.put_manifest("docs", "large", bytes(size), {})
            else:
                await store.put("docs", "large", Stamp(1), document(bytes(size)))

    with socket.socket() as stopped:
        stopped.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stopped.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        stopped.bind(("127.0.0.1", 0))
        stopped.listen()
        with pytest.raises(TimedOut, match="west:docs/large: no answer in time"):
            asyncio.run(work(f"http://127.0.0.1:{stopped.getsockname()[1]}/v1/AUTH_x"))


def test_bytes_that_are_held_have_time_by_their_number_and_few_need_no_limit() -> None:
    assert isinstance(swift._held(bytes(1 << 16)), bytes)
    assert isinstance(swift._held(bytes((1 << 16) + 1)), swift._Held)
    for size in (1 << 16, 1 << 20):
        assert swift.sending_limit_s(size) == 30 + size / 4096


def test_a_large_object_may_take_as_long_as_it_moves() -> None:
    class Limit(asyncio.Timeout):
        def __init__(self) -> None:
            super().__init__(None)
            self.moved: list[float | None] = []

        def reschedule(self, when: float | None) -> None:
            self.moved.append(when)

    limit = Limit()

    async def work() -> float:
        began_s = asyncio.get_running_loop().time()
        whole = streamed(1 << 18).chunks
        assert whole is not None
        assert [len(one) async for one in swift._while_taken(whole, limit)] == [1 << 16] * 4
        return began_s

    began_s = asyncio.run(work())
    assert len(limit.moved) == 4
    assert all(when is not None and when >= began_s + swift.SILENCE_LIMIT_S for when in limit.moved)


def test_what_is_held_in_memory_is_sent_whole() -> None:
    content = bytes(range(256)) * 1000
    taken: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert f"Content-Length: {len(content)}" in head
        taken.append(await reader.readexactly(len(content)))
        writer.write(http("201 Created", b""))
        await writer.drain()
        writer.close()

    async def work() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/AUTH_x"
            async with SwiftStore("west", url, KEYS) as store:
                assert await store.put("docs", "o", Stamp(1), document(content)) is Answer.APPLIED

    asyncio.run(work())
    assert taken == [content]
