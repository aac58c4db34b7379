"""What the health endpoints say of a part that is away, slow or frozen."""

import os
import time
from pathlib import Path

import psycopg
from procurement.health import Health
from procurement.service import application, listening
from procurement.storage.memory import MemoryStorage
from procurement_world import asynchronous, world

TOUCH = b"UPDATE tender SET body = jsonb_set(body, '{dateModified}', '\"now\"') WHERE id = %s"


@asynchronous
async def test_all_is_well(database: str) -> None:
    async with world(database) as w:
        await w.active_tender()
        for path in ("/livez", "/readyz", "/healthz/deep"):
            answer = await w.ask("GET", path, token=None)
            assert (answer.status, answer.body["ok"], answer.body["site"]) == (200, True, "east")
        checks = answer.body["checks"]
        assert (checks["database"]["role"], checks["database"]["single_copy"]) == ("primary", True)
        assert checks["feed"]["held_back"] == 0
        assert checks["storage"]["ok"]
        assert isinstance(w.storage, MemoryStorage)
        assert w.storage.objects == {}, "the probe cleans up after itself"


@asynchronous
async def test_a_storage_that_is_away_is_seen_and_does_not_end_the_process(database: str) -> None:
    async with world(database) as w:
        assert isinstance(w.storage, MemoryStorage)
        w.storage.down = True
        assert (await w.ask("GET", "/livez")).status == 200
        for path in ("/readyz", "/healthz/deep"):
            answer = await w.ask("GET", path)
            assert (answer.status, answer.body["checks"]["storage"]["saw"]) == (503, "east: no answer")
            assert answer.body["checks"]["database"]["ok"]


@asynchronous
async def test_a_change_held_back_in_the_feed_is_counted(database: str) -> None:
    """A transaction that runs for long holds back what others committed meanwhile: the watermark shows it."""
    async with world(database) as w:
        slow, quick = await w.active_tender(), await w.active_tender()
        async with await psycopg.AsyncConnection.connect(database) as late:
            await late.execute(TOUCH, (slow,))
            async with await psycopg.AsyncConnection.connect(database) as early:
                await early.execute(TOUCH, (quick,))
            feed = (await w.ask("GET", "/healthz/deep")).body["checks"]["feed"]
            assert feed["held_back"] == 1
            assert feed["held_back_s"] >= 0
        assert (await w.ask("GET", "/healthz/deep")).body["checks"]["feed"]["held_back"] == 0


@asynchronous
async def test_the_age_of_a_lease_is_that_of_its_file(database: str, tmp_path: Path) -> None:
    lease = tmp_path / "lease"
    async with world(database) as w:
        made = application(Health("auction", "east", w.database, lease_file=lease).routes())
        async with listening(made, "127.0.0.1", 0) as port:
            deep = f"http://127.0.0.1:{port}/healthz/deep"
            async with w.http.get(deep) as answer:
                assert answer.status == 503, "a lease that is not there is not held"
            lease.touch()
            os.utime(lease, (time.time() - 30, time.time() - 30))
            async with w.http.get(deep) as answer:
                assert answer.status == 200
                assert 30 <= (await answer.json())["checks"]["lease"]["age_s"] < 60
