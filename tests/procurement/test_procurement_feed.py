"""The changes feed never skips, in whatever order transactions commit; a feed that could is caught."""

import asyncio
import random
from typing import Any

import psycopg
import pytest
from postgres import Postgres
from procurement.database import migrate
from procurement.domain.feed import Position
from procurement_world import World, asynchronous, world

from procurement import tenders

TENDERS = "/api/2.5/tenders"
EVERYTHING = "true"  # the broken feed: what is committed is shown, whoever may still commit below it


async def pages(w: World, path: str) -> list[list[str]]:
    """Follow next_page until it is empty: the ids of each page."""
    found = []
    while True:
        answer = await w.ask("GET", path, token=None)
        assert answer.status == 200, answer.body
        if not answer.data:
            return found
        found.append([row["id"] for row in answer.data])
        path = answer.body["next_page"]["path"]


@asynchronous
async def test_pages_follow_the_changes_forwards_and_backwards(database: str) -> None:
    async with world(database) as w:
        ids = [await w.active_tender() for _ in range(5)]
        assert await pages(w, f"{TENDERS}?limit=2") == [ids[0:2], ids[2:4], ids[4:5]]
        assert await pages(w, f"{TENDERS}?limit=2&descending=1") == [ids[4:2:-1], ids[2:0:-1], ids[0:1]]
        first = (await w.ask("GET", f"{TENDERS}?limit=2&opt_fields=status,title,bids&opt_pretty=1")).body
        assert set(first["data"][0]) == {"id", "dateModified", "status", "title"}
        second = (await w.ask("GET", first["next_page"]["path"])).body
        assert set(second["data"][0]) == {"id", "dateModified", "status", "title"}
        back = (await w.ask("GET", second["prev_page"]["path"])).body
        assert [row["id"] for row in back["data"]] == ids[1::-1]
        end = await w.ask("GET", f"{TENDERS}?limit=1000")
        w.time.advance(seconds=1)
        changed = await w.ask("PATCH", w.owned(f"{TENDERS}/{ids[1]}", ids[1]), {"title": "new"})
        assert changed.status == 200
        assert await pages(w, end.body["next_page"]["path"]) == [[ids[1]]]


@asynchronous
async def test_a_patch_that_changes_nothing_is_no_change(database: str) -> None:
    async with world(database) as w:
        id = await w.active_tender()
        end = (await w.ask("GET", TENDERS)).body["next_page"]
        w.time.advance(seconds=1)
        same = await w.ask("PATCH", w.owned(f"{TENDERS}/{id}", id), {"title": "футляри"})
        assert same.status == 200
        assert await pages(w, end["path"]) == []


@asynchronous
async def test_wrong_offsets_and_limits_are_told(database: str) -> None:
    async with world(database) as w:
        await w.active_tender()
        for offset in ("latest", "9.1.1", "1.99999999999.1"):
            answer = await w.ask("GET", f"{TENDERS}?offset={offset}")
            assert (answer.status, answer.error) == (
                404,
                {
                    "location": "querystring",
                    "name": "offset",
                    "description": f"Invalid offset provided: {offset}",
                },
            )
        for limit in ("0", "-1", "many", "1.5"):
            assert (await w.ask("GET", f"{TENDERS}?limit={limit}")).status == 400


async def read(w: World, after: Position | None, below: str) -> list[tuple[Position, Any]]:
    async with w.database.reading() as connection:
        return await tenders.read_feed(connection, after, limit=1000, below=below)


@pytest.mark.parametrize(("below", "skips"), [(tenders.SETTLED, False), (EVERYTHING, True)])
@asynchronous
async def test_a_change_that_commits_late_is_not_skipped(database: str, below: str, skips: bool) -> None:
    """The first writer takes its place in the feed, the second one too and commits; then a reader comes."""
    async with world(database) as w:
        slow, quick = await w.active_tender(), await w.active_tender()
        start = (await read(w, None, tenders.SETTLED))[-1][0]
        async with await psycopg.AsyncConnection.connect(database) as late:
            await late.execute(TOUCH, ("now", slow))
            async with await psycopg.AsyncConnection.connect(database) as early:
                await early.execute(TOUCH, ("now", quick))
            seen = await read(w, start, below)
            await late.commit()
        then = await read(w, seen[-1][0] if seen else start, below)
        ids = {body["id"] for _, body in (*seen, *then)}
        assert (slow not in ids) == skips
        assert quick in ids


@pytest.mark.parametrize(("below", "may_skip"), [(tenders.SETTLED, False), (EVERYTHING, True)])
@asynchronous
async def test_many_writers_at_once_and_a_reader_that_follows(
    database: str, below: str, may_skip: bool
) -> None:
    """40 writers commit in an order of their own, 5 changes each; the reader must see the last of each."""
    async with world(database, connections=4) as w:
        ids = [await w.active_tender() for _ in range(40)]
        after = (await read(w, None, tenders.SETTLED))[-1][0]
        rng, seen, done = random.Random(7), {}, asyncio.Event()  # noqa: S311

        async def write(id: str) -> None:
            async with await psycopg.AsyncConnection.connect(database) as connection:
                for change in range(1, 6):
                    await connection.execute(TOUCH, (f"change {change}", id))
                    await asyncio.sleep(rng.uniform(0, 0.05))
                    await connection.commit()

        async def follow(after: Position) -> None:
            while True:
                last_turn = done.is_set()
                page = await read(w, after, below)
                seen.update({body["id"]: body["dateModified"] for _, body in page})
                after = page[-1][0] if page else after
                if last_turn and not page:
                    return

        reader = asyncio.create_task(follow(after))
        await asyncio.gather(*(write(id) for id in ids))
        done.set()
        await reader
        skipped = [id for id in ids if seen.get(id) != "change 5"]
        assert (skipped != []) == may_skip


TOUCH = b"UPDATE tender SET body = jsonb_set(body, '{dateModified}', to_jsonb(%s::text)) WHERE id = %s"


@asynchronous
async def test_after_a_move_to_another_cluster_the_feed_goes_on(database: str) -> None:
    """Numbers of the old cluster, far above ours, must neither hide changes nor come after new ones."""
    async with world(database) as w:
        old, new = await w.active_tender(), await w.active_tender()
        async with await psycopg.AsyncConnection.connect(database) as connection:
            await connection.execute("ALTER TABLE tender DISABLE TRIGGER tender_in_feed")
            await connection.execute("UPDATE feed_generation SET system_identifier = 42")
            await connection.execute("UPDATE tender SET feed_transaction = '99999999999'")
            await connection.execute("ALTER TABLE tender ENABLE TRIGGER tender_in_feed")
        assert await pages(w, TENDERS) == []
        await migrate(database)
        await migrate(database)
        assert await pages(w, TENDERS) == [[old, new]]
        end = (await w.ask("GET", TENDERS)).body["next_page"]["path"]
        w.time.advance(seconds=1)
        assert (await w.ask("PATCH", w.owned(f"{TENDERS}/{old}", old), {"title": "moved"})).status == 200
        assert await pages(w, end) == [[old]]


@asynchronous
async def test_the_schema_can_be_applied_again_and_by_an_ordinary_owner(
    postgres: Postgres, database: str
) -> None:
    before = postgres.query("SELECT 1")
    await asyncio.gather(*(migrate(database) for _ in range(3)))
    assert before == "1"
    name = database.rsplit("=", 1)[1] + "_plain"
    postgres.query(f"CREATE ROLE {name} LOGIN PASSWORD 'plain'")
    postgres.query(f"CREATE DATABASE {name} OWNER {name}")
    plain = f"host=127.0.0.1 port={postgres.port} user={name} password=plain dbname={name}"
    await migrate(plain)
    async with world(plain) as w:
        id = await w.active_tender()
        assert await pages(w, TENDERS) == [[id]]
        assert (await w.ask("GET", "/healthz/deep")).status == 200
