"""The application through an edge's real pool, while its clients are held."""

import asyncio
from collections.abc import Iterator

import pytest
from pgbouncer_edges import MEMBERS, PgBouncerWorld, database, running_edges
from postgres import PASSWORD
from procurement.database import Database, fetch_one
from procurement.errors import Unavailable
from procurement_world import asynchronous

from dcctl.testing.contracts.pools import LIMIT_S


@pytest.fixture(scope="module")
def edge() -> Iterator[PgBouncerWorld]:
    with database() as server, running_edges(server, ("east-edge-1",)) as world:
        yield world


def hold(world: PgBouncerWorld) -> str:
    return world.pools.hold("east-db-1", "west-db-1", for_s=LIMIT_S, limit_s=LIMIT_S)["east-edge-1"]


def pool(world: PgBouncerWorld) -> str:
    return f"host=127.0.0.1 port={world.edges['east-edge-1'].pool_port} user=postgres dbname=postgres"


@asynchronous
async def test_a_request_that_is_held_for_too_long_is_told_that_nothing_was_changed(
    edge: PgBouncerWorld,
) -> None:
    async with Database(pool(edge), password=PASSWORD, pool_wait_s=LIMIT_S, held_wait_s=LIMIT_S) as database:
        async with database.reading() as connection:
            assert await fetch_one(connection, "SELECT 1") == (1,)
        database._held_wait_s = 0.1
        assert await asyncio.to_thread(hold, edge) == ""
        with pytest.raises(Unavailable, match="no answer within"):
            async with database.reading():
                pass
    assert edge.pools.let_go(limit_s=LIMIT_S)["east-edge-1"] == ""


@asynchronous
async def test_the_applications_requests_wait_and_none_fails_while_the_primary_moves(
    edge: PgBouncerWorld,
) -> None:
    async with Database(pool(edge), password=PASSWORD, pool_wait_s=LIMIT_S, held_wait_s=LIMIT_S) as database:

        async def write() -> str:
            async with database.acknowledged() as connection:
                await connection.execute("CREATE TABLE IF NOT EXISTS request (number serial)")
                await connection.execute("INSERT INTO request DEFAULT VALUES")
                row = await fetch_one(connection, "SELECT host(inet_server_addr())")
                return str(row and row[0])

        # More than once each, as a prepared statement would be.
        assert [await write() for _each in range(8)] == [MEMBERS["east-db-1"]] * 8
        assert await asyncio.to_thread(hold, edge) == ""
        requests = [asyncio.create_task(write()) for _each in range(4)]
        await asyncio.sleep(0.1)
        edge.promote()
        assert await asyncio.gather(*requests) == [MEMBERS["west-db-1"]] * 4
