"""The pool while the primary moves: both edges are relays here, as HAProxy is, before a real PostgreSQL."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import psycopg
import pytest
from postgres import PASSWORD, Postgres
from procurement.database import Database, fetch_one
from procurement.errors import Unavailable
from procurement_world import asynchronous

CONNECTIONS = 10


class Edge:
    """Passes connections on to the primary; with none it takes them and closes them at once."""

    def __init__(self, primary: int | None) -> None:
        self.primary = primary
        self._lines: set[asyncio.StreamWriter] = set()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        try:
            yield int(server.sockets[0].getsockname()[1])
        finally:
            self.shut()
            server.close()
            await server.wait_closed()

    def shut(self) -> None:
        """End all sessions, as for a server that is marked down."""
        for line in self._lines:
            line.transport.abort()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._lines.add(writer)
        try:
            if self.primary is not None:
                there, back = await asyncio.open_connection("127.0.0.1", self.primary)
                self._lines.add(back)
                await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))
                self._lines.discard(back)
        finally:
            writer.transport.abort()
            self._lines.discard(writer)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()
    writer.transport.abort()


@contextlib.asynccontextmanager
async def both_edges(postgres: Postgres) -> AsyncIterator[tuple[Edge, Edge, Database]]:
    """Our own edge, the other one, and the pool of a process that knows both."""
    own, other = Edge(postgres.port), Edge(postgres.port)
    async with own.serving() as first, other.serving() as second:
        conninfo = f"host=127.0.0.1,127.0.0.1 port={first},{second} user=postgres dbname=tests"
        async with Database(conninfo, password=PASSWORD, connections=CONNECTIONS) as database:
            yield own, other, database


async def ask(database: Database) -> None:
    async with database.reading() as connection:
        await fetch_one(connection, "SELECT 1")


async def fill(database: Database) -> None:
    """Use as many connections as the pool may have, so that all of them lie ready afterwards."""
    started = asyncio.Barrier(CONNECTIONS)

    async def use() -> None:
        async with database.reading() as connection:
            await started.wait()
            await fetch_one(connection, "SELECT 1")

    await asyncio.gather(*(use() for _ in range(CONNECTIONS)))


@asynchronous
async def test_a_request_that_finds_every_line_broken_gets_a_new_one(postgres: Postgres) -> None:
    async with both_edges(postgres) as (own, other, database):
        await fill(database)
        for edge in (own, other):
            edge.shut()
        await ask(database)


@asynchronous
async def test_an_edge_that_leads_nowhere_costs_nobody_anything(postgres: Postgres) -> None:
    async with both_edges(postgres) as (own, _other, database):
        await fill(database)
        own.primary = None
        own.shut()
        await asyncio.gather(*(ask(database) for _ in range(CONNECTIONS)))


@asynchronous
async def test_without_a_primary_requests_fail_and_with_the_new_one_they_succeed(postgres: Postgres) -> None:
    """The default of a pool, waits of 1, 2, 4, 8 s, would be in the middle of its wait of 4 s."""
    async with both_edges(postgres) as (own, other, database):
        await fill(database)
        for edge in (own, other):
            edge.primary = None
            edge.shut()
        for _ in range(2):
            refused = await asyncio.gather(*(ask(database) for _ in range(30)), return_exceptions=True)
            assert {type(each) for each in refused} == {Unavailable}
        other.primary = postgres.port
        await ask(database)


@asynchronous
async def test_a_line_to_a_server_that_has_become_a_standby_is_not_kept(postgres: Postgres) -> None:
    """What may be asked there is not the question: nothing can be acknowledged."""
    async with both_edges(postgres) as (own, other, database):
        await ask(database)
        postgres.query("ALTER DATABASE tests SET default_transaction_read_only = on")
        try:
            for edge in (own, other):
                edge.shut()
            with pytest.raises(Unavailable):
                await ask(database)
        finally:
            with psycopg.connect(
                f"host=127.0.0.1 port={postgres.port} user=postgres password={PASSWORD} dbname=postgres",
                autocommit=True,
            ) as connection:
                connection.execute("ALTER DATABASE tests RESET default_transaction_read_only")
        await ask(database)
