"""A link that can be cut: a relay on loopback in front of a server, for those who are to lose it.

Whoever goes straight to the server keeps it. Cut, connections are reset and refused; silent, they stay and
no byte moves, and what was sent meanwhile arrives, late, once the link is whole.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator


class Link:
    """Made by ``link``. Its methods may be called from any thread and return once it is so."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self._is_cut = False
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()

    def cut(self) -> None:
        self._at_once(self._cut)

    def silence(self) -> None:
        self._at_once(self._flows.clear)

    def heal(self) -> None:
        self._at_once(self._heal)

    def _at_once(self, what: Callable[[], None]) -> None:
        async def do() -> None:
            what()

        asyncio.run_coroutine_threadsafe(do(), self._loop).result()

    def _cut(self) -> None:
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def _heal(self) -> None:
        self._is_cut = False
        self._flows.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mine = [writer]
        self._writers.add(writer)
        try:
            if self._is_cut:
                return
            await self._flows.wait()
            there, to_there = await asyncio.open_connection("127.0.0.1", self.target)
            mine.append(to_there)
            self._writers.add(to_there)
            pumps = [
                asyncio.create_task(self._pump(reader, to_there)),
                asyncio.create_task(self._pump(there, writer)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            return
        finally:
            for one in mine:
                self._writers.discard(one)
                if self._is_cut:
                    one.transport.abort()
                one.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()

    def run(self, ready: threading.Event) -> None:
        """Serve until ``end``; in a thread of its own."""

        async def serve() -> None:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            self._ended = asyncio.Event()
            ready.set()
            await self._ended.wait()
            server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        try:
            self._loop.run_until_complete(serve())
        finally:
            self._loop.close()

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)


@contextlib.contextmanager
def link(target: int) -> Iterator[Link]:
    """A whole link to ``target``, a port on loopback; gone at the end."""
    one = Link(target)
    ready = threading.Event()
    thread = threading.Thread(target=one.run, args=(ready,), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield one
    finally:
        one.end()
        thread.join()
