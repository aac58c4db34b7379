"""Changes that the application tells: carried at once, once, and never taken for more than a hint."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from test_replication_pass import World

from dcctl.adapters.replication_metrics import ReplicationMetrics
from dcctl.domain.replication import Row, Side, Stamp
from dcctl.domain.replication_feed import Told, decide_ready
from dcctl.domain.replication_lag import Behind, Heartbeat, decide_until, measure_lag
from dcctl.domain.replication_pass import DeleteCap, Tally
from dcctl.engines.replication import Replication
from dcctl.engines.replication_lag import LagMeter, read_heartbeat, write_heartbeat
from dcctl.engines.replication_manners import Time
from dcctl.engines.replication_told import carry_told
from dcctl.testing.documents import MemoryFeed, MemoryStore

NOW = datetime(2026, 11, 21, tzinfo=UTC)


class Telling:
    """A world whose application tells of its writes."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder)
        self.world.a.tells_bodies = self.world.b.tells_bodies = True
        self.feed = MemoryFeed(self.world.time)
        self.lags: list[float] = []

    def put(self, store: MemoryStore, name: str, content: bytes, *, dies: bool = False) -> None:
        number = self.feed.begin(store.site, "docs", name)
        store.client_put("docs", name, content)
        if not dies:
            self.feed.done(number)

    def carry(self) -> int:
        async def sleep(seconds: float) -> None:
            self.world.time.now_s += seconds

        world = self.world
        clock = Time(now=world.time, monotonic=world.time, sleep=sleep)

        async def run() -> int:
            replication = Replication({Side.A: world.a, Side.B: world.b}, world.base, world.options, clock)
            return await carry_told(
                replication, self.feed, lambda _site, lag_s: self.lags.append(lag_s), clock, patience_s=30
            )

        return asyncio.run(run())


@pytest.fixture
def telling(tmp_path: Path) -> Iterator[Telling]:
    one = Telling(tmp_path)
    yield one
    one.world.base.close()


def test_a_told_write_is_carried_with_two_requests(telling: Telling) -> None:
    telling.put(telling.world.a, "o", b"1")
    telling.world.time.now_s += 0.2
    assert telling.carry() == 1
    telling.world.assert_same()
    assert (telling.world.a.calls, telling.world.b.calls) == (["head"], ["put"])  # the fake's GET says head
    assert telling.lags == [pytest.approx(0.2, abs=0.01)]
    assert telling.feed.pending(10) == ()


def test_several_writes_of_a_name_are_carried_once(telling: Telling) -> None:
    for content in (b"1", b"2", b"3"):
        telling.put(telling.world.a, "o", content)
    assert telling.carry() == 3
    assert telling.world.b.calls.count("put") == 1
    telling.world.assert_same()


def test_who_died_between_intent_and_done_is_looked_after(telling: Telling) -> None:
    telling.put(telling.world.b, "o", b"1", dies=True)
    assert telling.carry() == 0
    telling.world.time.now_s += 31
    assert telling.carry() == 1
    telling.world.assert_same()


def test_a_told_delete_is_proven_before_it_is_carried(telling: Telling) -> None:
    telling.world.a.client_put("docs", "o", b"1")
    telling.world.settle()
    number = telling.feed.begin("west", "docs", "o")
    telling.world.b.client_delete("docs", "o")
    telling.feed.done(number)
    assert telling.carry() == 1
    telling.world.assert_same()
    assert telling.world.names() == []


def test_a_cluster_that_is_away_leaves_the_change_in_the_feed(telling: Telling) -> None:
    telling.put(telling.world.a, "o", b"1")
    telling.world.b.fail_after = 0
    assert telling.carry() == 0
    assert len(telling.feed.pending(10)) == 1
    telling.world.b.fail_after = None
    assert telling.carry() == 1
    telling.world.assert_same()


def test_a_write_into_the_others_future_waits(telling: Telling) -> None:
    telling.world.b.skew_s = -30
    telling.put(telling.world.a, "o", b"1")
    assert telling.carry() == 0
    telling.world.time.now_s += 31
    assert telling.carry() == 1
    telling.world.assert_same()


@pytest.mark.parametrize(("done", "age_s", "ready"), [(True, 0, True), (False, 10, False), (False, 31, True)])
def test_which_changes_are_ready(done: bool, age_s: float, ready: bool) -> None:
    begun = NOW - timedelta(seconds=age_s)
    told = Told(1, "east", "docs", "o", begun, NOW if done else None)
    assert bool(decide_ready((told,), now=NOW, patience_s=30)) is ready


def behind(*rows: Row) -> Behind:
    made = Behind()
    for row in rows:
        made.add(row)
    return made


def test_lag_is_measured_by_rank_per_direction() -> None:
    told = [Told(1, "east", "docs", "o", NOW - timedelta(seconds=7), None)]
    lag = measure_lag("east", [float(number) for number in range(100)], told, [], NOW)
    assert (lag.p50_s, lag.p99_s, lag.oldest_s, lag.pending) == (50.0, 99.0, 7.0, 1)
    other = measure_lag("west", [], told, [], NOW)
    assert (other.p50_s, other.oldest_s, other.pending) == (None, None, 0)


def test_what_was_told_and_what_a_pass_saw_is_counted_once() -> None:
    old, new = Stamp.at(NOW - timedelta(seconds=90)), Stamp.at(NOW - timedelta(seconds=5))
    seen = behind(Row("o", "h", new, 70), Row("p", "h", old, 30))
    told = [
        Told(1, "east", "docs", "o", NOW - timedelta(seconds=6), NOW),
        Told(2, "east", "docs", "q", NOW - timedelta(seconds=2), NOW),
        Told(3, "west", "docs", "o", NOW - timedelta(seconds=500), NOW),
    ]
    lag = measure_lag("east", [], told, [("docs", seen)], NOW)
    assert (lag.pending, lag.bytes, lag.oldest_s) == (3, 100, 90.0)


def test_a_heartbeat_speaks_until_the_oldest_change_that_was_left() -> None:
    began, old = Stamp.at(NOW), Stamp.at(NOW - timedelta(seconds=90))
    assert decide_until(began, 10, []).instant == NOW - timedelta(seconds=10)
    assert decide_until(began, 10, [behind(Row("o", "h", old))]).instant < old.instant
    beat = Heartbeat("east", NOW, NOW, 1, 2)
    assert Heartbeat.of(beat.document()) == beat
    with pytest.raises(ValueError, match="not a heartbeat"):
        Heartbeat.of({"source": "east"})


def test_each_side_keeps_until_when_it_has_what_was_made_at_the_other(telling: Telling) -> None:
    world = telling.world
    world.a.client_put("docs", "o", b"12345")
    world.b.skew_s = -30  # it cannot be written there yet
    tally = world.once()
    meter = LagMeter({Side.A: "east", Side.B: "west"}, ["docs"])
    assert list(meter.heartbeats(10, world.time())) == []
    meter.passed(tally)
    east, west = meter.lags((), world.time())
    assert (east.pending, east.bytes, west.pending) == (1, 5, 0)

    async def beat() -> tuple[Heartbeat | None, Heartbeat | None]:
        for store in (world.a, world.b):
            store.containers["beats"] = {}
        for one in meter.heartbeats(10, world.time()):
            await write_heartbeat(world.b if one.source == "east" else world.a, "beats", one)
        return await read_heartbeat(world.b, "beats", "east"), await read_heartbeat(world.b, "beats", "x")

    meter.passed(replace(tally, resumed=True))
    assert list(meter.heartbeats(10, world.time())) == [], "it knows of the last part of the container only"
    meter.passed(tally)
    found, nothing = asyncio.run(beat())
    assert found is not None
    assert (found.pending, found.until < world.a.containers["docs"]["o"].body.instant) == (1, True)
    assert nothing is None


def test_no_heartbeat_is_written_while_deletes_are_held(telling: Telling) -> None:
    world = telling.world
    for name in ("o", "p"):
        world.a.client_put("docs", name, b"1")
    world.settle()
    world.b.client_delete("docs", "o")
    meter = LagMeter({Side.A: "east", Side.B: "west"}, ["docs"])
    world.options = replace(world.options, cap=DeleteCap(0.0, 0))
    meter.passed(world.step())
    assert list(meter.heartbeats(10, world.time())) == []
    world.options = replace(world.options, cap=DeleteCap())
    meter.passed(world.step())
    assert [one.source for one in meter.heartbeats(10, world.time())] == ["east", "west"]


def test_metrics_say_what_was_seen() -> None:
    metrics = ReplicationMetrics(0, now=lambda: NOW.timestamp() + 40)
    tally = Tally("docs", rows=7)
    tally.add("copied")
    tally.behind[Side.A] = behind(Row("o", "h", Stamp.at(NOW), 9))
    metrics.seen(tally)
    metrics.seen(Tally("docs", prefix="hot/", rows=1, kinds={"copied": 1}))
    metrics.seen(measure_lag("east", [0.5], [], [("docs", behind(Row("o", "h", Stamp.at(NOW), 9)))], NOW))
    value: Callable[..., float | None] = metrics.registry.get_sample_value
    assert value("dcctl_replication_objects", {"container": "docs"}) == 7
    assert value("dcctl_replication_outcomes_total", {"container": "docs", "kind": "copied"}) == 2
    assert value("dcctl_replication_oldest_pending_seconds", {"container": "docs"}) == 40
    assert value("dcctl_replication_lag_seconds", {"rank": "p99", "from": "east"}) == 0.5
    assert value("dcctl_replication_behind_bytes", {"from": "east"}) == 9
