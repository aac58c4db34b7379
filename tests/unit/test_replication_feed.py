"""Changes that the application tells: carried at once, once, and never taken for more than a hint."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from test_replication_pass import World

from dcctl.adapters.replication_metrics import ReplicationMetrics
from dcctl.domain.replication import Side
from dcctl.domain.replication_feed import Told, decide_ready, measure_lag
from dcctl.domain.replication_pass import Tally
from dcctl.engines.replication import Replication
from dcctl.engines.replication_follow import carry_told
from dcctl.engines.replication_manners import Time
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
            return await carry_told(replication, self.feed, self.lags, clock, patience_s=30)

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


def test_lag_is_measured_by_rank() -> None:
    lag = measure_lag([float(number) for number in range(100)], [NOW - timedelta(seconds=7)], NOW)
    assert (lag.p50_s, lag.p99_s, lag.oldest_s, lag.pending) == (50.0, 99.0, 7.0, 1)
    assert measure_lag([], [], NOW).p50_s is None


def test_metrics_say_what_was_seen() -> None:
    metrics = ReplicationMetrics(0)
    tally = Tally("docs", rows=7)
    tally.add("copied")
    metrics.seen(tally)
    metrics.seen(tally)
    metrics.seen(measure_lag([0.5], [], NOW))
    value: Callable[..., float | None] = metrics.registry.get_sample_value
    assert value("dcctl_replication_objects", {"container": "docs"}) == 7
    assert value("dcctl_replication_outcomes_total", {"container": "docs", "kind": "copied"}) == 2
    assert value("dcctl_replication_lag_seconds", {"rank": "p99"}) == 0.5
