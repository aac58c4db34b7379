"""One scheduler acts: whoever has an old epoch is refused by the database, also in the middle of a round."""

import asyncio
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from procurement.database import Connection
from procurement.domain.instant import written
from procurement.errors import StaleEpoch, Unavailable
from procurement.scheduler import Scheduler, check_epoch
from procurement_world import World, asynchronous, world

TENDERS = "/api/2.5/tenders"
BUMP = b"SELECT role_epoch_bump('auction', %s, %s)"


async def bump(conninfo: str, epoch: int, holder: str = "here") -> None:
    """What a new leader does before it starts."""
    async with await psycopg.AsyncConnection.connect(conninfo) as connection:
        await connection.execute(BUMP, (epoch, holder))


async def to_auction(w: World) -> str:
    """A tender whose first round is due now; its id."""
    id = await w.active_tender()
    w.time.advance(days=7)
    for amount in (400, 450):
        await w.bid(id, amount)
    w.time.advance(days=7)
    return id


async def rounds(w: World, id: str) -> list[tuple[int, bool, int]]:
    """Number, missed, epoch."""
    async with w.database.reading() as connection:
        rows = await connection.execute(
            "SELECT stage, missed, epoch FROM auction_stage WHERE tender_id = %s ORDER BY stage", (id,)
        )
        return [(stage, missed, epoch) for stage, missed, epoch in await rows.fetchall()]


@asynchronous
async def test_rounds_start_on_time_and_a_late_one_is_recorded_as_missed(database: str) -> None:
    async with world(database) as w:
        id = await to_auction(w)
        await bump(database, 1)
        scheduler = w.scheduler(1, round_length=timedelta(minutes=2))
        await scheduler.tick()
        assert await rounds(w, id) == []
        w.time.advance(hours=12)
        await scheduler.tick()
        await scheduler.tick()
        assert await rounds(w, id) == [(1, False, 1)]
        w.time.advance(seconds=120 + 121)
        await scheduler.tick()
        assert await rounds(w, id) == [(1, False, 1), (2, True, 1)]
        w.time.advance(seconds=119)
        assert await scheduler.tick() == 0, "the round lasts its full length from when it began"
        shown = (await w.ask("GET", f"/auctions/{id}")).data[0]
        assert [each["late_s"] for each in shown["rounds"]] == [0, 121]


@asynchronous
async def test_an_old_epoch_does_nothing_any_more(database: str) -> None:
    async with world(database) as w:
        id = await to_auction(w)
        old, new = w.scheduler(1), w.scheduler(2)
        with pytest.raises(StaleEpoch, match="epoch 1 of auction is not in force: none"):
            await old.tick()
        await bump(database, 1)
        await old.tick()
        w.time.advance(hours=12)
        await bump(database, 2, "there")
        with pytest.raises(StaleEpoch, match="epoch 1 of auction is not in force: 2"):
            await old.tick()
        with pytest.raises(StaleEpoch):
            await old.run(asyncio.Event())
        with pytest.raises(StaleEpoch):  # past its first look, it is still refused where it counts
            async with w.database.acknowledged() as connection:
                await check_epoch(connection, 1)
        assert await rounds(w, id) == []
        await new.tick()
        assert await rounds(w, id) == [(1, False, 2)]


class LookedBefore(Scheduler):
    """A scheduler that made sure it leads, and was deposed right after."""

    async def _still_leading(self, connection: Connection) -> None:
        pass


@asynchronous
async def test_who_was_deposed_between_looking_and_acting_is_refused_where_it_counts(database: str) -> None:
    async with world(database) as w:
        id = await to_auction(w)
        await w.lead(2, "there")
        late = LookedBefore(w.database, 1, "http://auctions.test", clock=w.time)
        with pytest.raises(StaleEpoch):
            await late.tick()
        assert (await w.ask("GET", f"{TENDERS}/{id}")).data["status"] == "active.tendering"
        await w.scheduler(2).tick()
        w.time.advance(hours=12)
        with pytest.raises(StaleEpoch):
            await late.tick()
        assert await rounds(w, id) == []


@asynchronous
async def test_epochs_only_grow(database: str) -> None:
    await bump(database, 5)
    await bump(database, 5)  # a repeated call whose answer was lost
    for epoch, holder in ((4, "here"), (5, "there")):
        with pytest.raises(psycopg.Error) as raised:
            await bump(database, epoch, holder)
        assert raised.value.sqlstate == "DC002"
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        for statement in ("UPDATE role_epoch SET epoch = 1", "DELETE FROM role_epoch"):
            with pytest.raises(psycopg.Error) as raised:
                await connection.execute(statement)
            assert raised.value.sqlstate == "DC002"
    await bump(database, 6, "there")


@asynchronous
async def test_a_new_leader_waits_for_the_old_ones_transaction_and_never_overlaps_it(database: str) -> None:
    async with world(database) as w:
        await bump(database, 1)
        bumped = None
        async with w.database.acknowledged() as connection:
            await check_epoch(connection, 1)
            bumped = asyncio.create_task(bump(database, 2))
            await lock_waiter(database)
            assert not bumped.done()
            await connection.execute("INSERT INTO document (id, md5, broker) VALUES ('x', 'x', 'x')")
        await bumped
        with pytest.raises(StaleEpoch):
            async with w.database.acknowledged() as connection:
                await connection.execute("INSERT INTO document (id, md5, broker) VALUES ('y', 'y', 'y')")
                await check_epoch(connection, 1)


@asynchronous
async def test_a_leader_frozen_in_its_transaction_is_ended_by_the_server(database: str) -> None:
    """It holds the epoch's row; the successor gets it all the same, and the frozen one commits nothing."""
    async with world(database, idle_limit_ms=300) as w:
        await bump(database, 1)
        with pytest.raises(Unavailable, match="idle-in-transaction timeout"):
            async with w.database.acknowledged() as connection:
                await check_epoch(connection, 1)
                await connection.execute("INSERT INTO document (id, md5, broker) VALUES ('x', 'x', 'x')")
                await asyncio.wait_for(bump(database, 2), 10)
        async with w.database.reading() as connection:
            assert await (await connection.execute("SELECT * FROM document")).fetchall() == []


@asynchronous
async def test_two_schedulers_that_race_start_each_round_once(database: str) -> None:
    """Both believe to lead; the epoch in force changes while they act. Each round has one author."""
    async with world(database) as w:
        id = await to_auction(w)
        await bump(database, 1)
        old, new = w.scheduler(1), w.scheduler(2)
        await old.tick()
        w.time.advance(hours=12)

        async def act(scheduler: Any) -> None:
            for _ in range(10):
                try:
                    await scheduler.tick()
                except StaleEpoch:
                    await asyncio.sleep(0.01)

        await asyncio.gather(act(old), act(new), act(old), bump(database, 2, "there"))
        found = await rounds(w, id)
        assert [number for number, _, _ in found] == [1]
        assert [epoch for _, _, epoch in found] == sorted(epoch for _, _, epoch in found)


@asynchronous
async def test_an_auction_is_watched_as_it_goes(database: str) -> None:
    async with world(database) as w:
        id = await to_auction(w)
        await bump(database, 1)
        scheduler = w.scheduler(1)
        assert (await w.ask("GET", f"/auctions/{id}")).status == 404
        await scheduler.tick()
        async with w.http.ws_connect(f"{w.url}/auctions/{id}/live") as socket:
            assert (await socket.receive_json(timeout=5))["data"][0]["rounds"] == []
            w.time.advance(hours=12)
            for number in (1, 2, 3):
                await scheduler.tick()
                told = (await socket.receive_json(timeout=5))["data"][0]
                assert (told["stage"], len(told["rounds"])) == (number, number)
                w.time.advance(minutes=2)
            await scheduler.tick()
            assert (await socket.receive_json(timeout=5))["data"][0]["finished"] is True


@asynchronous
async def test_rounds_that_are_due_soon_are_told(database: str) -> None:
    async with world(database) as w:
        assert w.due is not None
        assert (await w.ask("GET", "/auctions")).status == 503, "nothing was read yet"
        id = await to_auction(w)
        await bump(database, 1)
        scheduler = w.scheduler(1, round_length=timedelta(minutes=2))
        await scheduler.tick()
        await w.due.read()
        assert (await w.ask("GET", "/auctions")).data == [], "it is due in twelve hours"
        w.time.advance(hours=11, minutes=30)
        due = w.time.now + timedelta(minutes=30)
        await w.due.read()
        told = (await w.ask("GET", "/auctions")).body
        assert told == {
            "at": written(w.time.now),
            "until": written(w.time.now + timedelta(hours=1)),
            "data": [{"tenderID": id, "round": 1, "due": written(due)}],
        }
        w.time.advance(minutes=30)
        for number in (2, 3, None):
            await scheduler.tick()
            await w.due.read()
            left = [each["round"] for each in (await w.ask("GET", "/auctions")).data]
            assert left == ([number] if number else []), "after the last one nothing is due"
            w.time.advance(minutes=2)
    with pytest.raises(Unavailable):
        await w.due.read()
    assert w.due.told is not None, "what was read last stays, with its instant"


async def lock_waiter(conninfo: str) -> None:
    """Until somebody waits for a row's lock."""
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        for _ in range(400):
            rows = await connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            row = await rows.fetchone()
            if row is not None and row[0]:
                return
            await asyncio.sleep(0.01)
    raise AssertionError("nobody waits")
