"""What is acknowledged, and what is not: a COMMIT that a failover could take back never is."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from postgres import Postgres, free_port, running_postgres
from procurement.database import Database, migrate
from procurement.errors import Unavailable
from procurement_world import Answer, World, asynchronous, conninfo, tender, world

TENDERS = "/api/2.5/tenders"


@pytest.fixture(scope="module")
def alone() -> Iterator[Postgres]:
    """A server that can be told to wait for a standby that does not exist."""
    with running_postgres() as server:
        asyncio.run(migrate(conninfo(server, "postgres")))
        yield server


@contextlib.asynccontextmanager
async def nobody_to_wait_for(server: Postgres) -> AsyncIterator[None]:
    """While inside, every COMMIT waits for ever."""
    await setting(server, "synchronous_standby_names", "'nobody'")
    try:
        yield
    finally:
        await setting(server, "synchronous_standby_names", "''")


async def setting(server: Postgres, name: str, value: str) -> None:
    server.query(f"ALTER SYSTEM SET {name} = {value}")
    server.query("SELECT pg_reload_conf()")
    for _ in range(200):
        if server.query(f"SHOW {name}") == value.strip("'"):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{name} did not become {value}")


async def waiting_backend(server: Postgres) -> int:
    for _ in range(400):
        if pid := server.query("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"):
            return int(pid.splitlines()[0])
        await asyncio.sleep(0.02)
    raise AssertionError("no COMMIT waits for a standby")


@asynchronous
async def test_a_commit_whose_wait_was_cancelled_is_unknown(alone: Postgres) -> None:
    async with world(conninfo(alone, "postgres")) as w, nobody_to_wait_for(alone):
        asked = asyncio.create_task(w.ask("POST", TENDERS, tender(w.time.now, title="doubtful")))
        pid = await waiting_backend(alone)
        alone.query(f"SELECT pg_cancel_backend({pid})")
        answer = await asked
        must_be_unknown(answer)
        assert "01000" in answer.error["description"]
        # The row is there: had we answered 201, a promotion now would take it back.
        assert titled(alone, "doubtful") == 1


@asynchronous
async def test_a_commit_that_waits_too_long_is_unknown_and_its_row_is_shown_to_nobody(
    alone: Postgres,
) -> None:
    """Giving up must not cancel the wait: that would show a row that only this server has."""
    async with world(conninfo(alone, "postgres"), commit_limit_s=0.3) as w:
        async with nobody_to_wait_for(alone):
            answer = await w.ask("POST", TENDERS, tender(w.time.now, title="waits"))
            must_be_unknown(answer)
            assert "no answer within 0.3 s" in answer.error["description"]
            assert await waiting_backend(alone)
            assert titled(alone, "waits") == 0
        for _ in range(200):
            if titled(alone, "waits") == 1:
                break
            await asyncio.sleep(0.02)
        assert titled(alone, "waits") == 1, "once there is nobody to wait for any more, it is there"


@asynchronous
async def test_a_request_that_is_cancelled_in_commit_does_not_cancel_the_wait(alone: Postgres) -> None:
    async with Database(conninfo(alone, "postgres")) as pool, nobody_to_wait_for(alone):

        async def write() -> None:
            async with pool.acknowledged() as connection:
                await connection.execute("SELECT role_epoch_bump('cancelled', 1, 'us')")

        writing = asyncio.create_task(write())
        pid = await waiting_backend(alone)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert await waiting_backend(alone) == pid
        assert alone.query("SELECT count(*) FROM role_epoch WHERE role = 'cancelled'") == "0"


@asynchronous
async def test_a_connection_that_dies_in_commit_is_unknown(alone: Postgres) -> None:
    async with world(conninfo(alone, "postgres")) as w, nobody_to_wait_for(alone):
        asked = asyncio.create_task(w.ask("POST", TENDERS, tender(w.time.now)))
        pid = await waiting_backend(alone)
        alone.query(f"SELECT pg_terminate_backend({pid})")
        must_be_unknown(await asked)


@asynchronous
async def test_a_session_that_would_not_wait_is_no_acknowledgement(alone: Postgres) -> None:
    for mode in ("off", "local", "remote_write"):
        alone.query(f"ALTER ROLE postgres SET synchronous_commit = {mode}")
        try:
            async with world(conninfo(alone, "postgres")) as w:
                answer = await w.ask("POST", TENDERS, tender(w.time.now, title=f"under {mode}"))
        finally:
            alone.query("ALTER ROLE postgres RESET synchronous_commit")
        assert (answer.status, answer.headers["X-Outcome"]) == (503, "not-applied")
        assert titled(alone, f"under {mode}") == 0


@asynchronous
async def test_a_transaction_that_wrote_nothing_cannot_be_acknowledged(database: str) -> None:
    async with Database(database) as pool:
        with pytest.raises(AssertionError, match="wrote nothing"):
            async with pool.acknowledged() as connection:
                await connection.execute("SELECT 1")


@asynchronous
async def test_a_patch_that_changes_nothing_writes_a_row_all_the_same(database: str) -> None:
    async with world(database) as w:
        id = await w.tender()
        path = w.owned(f"{TENDERS}/{id}", id)
        before = await acknowledged_at(w.database, id)
        assert (await w.ask("PATCH", path, {"title": "футляри"})).status == 200
        assert await acknowledged_at(w.database, id) != before


@asynchronous
async def test_a_database_that_is_away_is_told_and_comes_back_by_itself(alone: Postgres) -> None:
    async with world(conninfo(alone, "postgres"), pool_wait_s=0.5) as w:
        id = await w.tender()
        alone.stop()
        try:
            for method, path, data in (
                ("GET", f"{TENDERS}/{id}", None),
                ("POST", TENDERS, tender(w.time.now)),
            ):
                answer = await w.ask(method, path, data)
                assert (answer.status, answer.headers["X-Outcome"]) == (503, "not-applied"), answer.body
                assert answer.headers["Retry-After"] == "1"
            assert (await w.ask("GET", "/livez")).status == 200
            assert (await w.ask("GET", "/readyz")).status == 503
        finally:
            alone.start()
        for _ in range(100):
            if (await w.ask("GET", "/readyz")).status == 200:
                break
            await asyncio.sleep(0.1)
        assert (await w.ask("GET", f"{TENDERS}/{id}")).status == 200


@asynchronous
async def test_a_read_only_database_is_told_as_not_applied(alone: Postgres) -> None:
    alone.query("ALTER ROLE postgres SET default_transaction_read_only = on")
    try:
        async with world(conninfo(alone, "postgres")) as w:
            answer = await w.ask("POST", TENDERS, tender(w.time.now))
    finally:
        async with await psycopg.AsyncConnection.connect(
            conninfo(alone, "postgres"), autocommit=True
        ) as mender:
            await mender.execute("SET default_transaction_read_only = off")
            await mender.execute("ALTER ROLE postgres RESET default_transaction_read_only")
    assert (answer.status, answer.headers["X-Outcome"]) == (503, "not-applied")


@asynchronous
async def test_migrating_what_is_not_there_is_a_sentence() -> None:
    with pytest.raises(Unavailable, match="the database: "):
        await migrate(f"host=127.0.0.1 port={free_port()} user=nobody dbname=none")


@asynchronous
async def test_single_copy_is_told_and_not_guessed(alone: Postgres) -> None:
    """With a standby that is named and not there; a user who may not see standbys says so."""
    alone.query("CREATE ROLE plain LOGIN PASSWORD 'plain'")
    alone.query("CREATE DATABASE plain OWNER plain")
    plain = f"host=127.0.0.1 port={alone.port} user=plain password=plain dbname=plain"
    await migrate(plain)
    for database, while_named in ((conninfo(alone, "postgres"), True), (plain, None)):
        async with world(database) as w:
            assert (await single_copy(w)) is True
            async with nobody_to_wait_for(alone):
                assert (await single_copy(w)) is while_named


async def single_copy(w: World) -> object:
    for _ in range(100):  # a pooled session hears of a reload with its next statement
        answer = (await w.ask("GET", "/healthz/deep")).body["checks"]["database"]
        if answer["ok"]:
            return answer["single_copy"]
    raise AssertionError(answer)


def must_be_unknown(answer: Answer) -> None:
    assert (answer.status, answer.headers["X-Outcome"]) == (503, "unknown"), answer.body
    assert re.match(r"unknown: COMMIT", answer.error["description"])


async def acknowledged_at(database: Database, id: str) -> object:
    async with database.reading() as connection:
        row = await (
            await connection.execute("SELECT acknowledged_at FROM tender WHERE id = %s", (id,))
        ).fetchone()
    assert row is not None
    return row[0]


def titled(server: Postgres, title: str) -> int:
    return int(server.query(f"SELECT count(*) FROM tender WHERE body ->> 'title' = '{title}'"))  # noqa: S608
