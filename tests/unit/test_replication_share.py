"""Workers over two clusters in memory: they share, they come and go, and a paused one does no harm."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from test_replication_pass import World

from dcctl.adapters.replication_base import SqliteBase
from dcctl.domain.replication import Side, Stamp
from dcctl.domain.replication_pass import Tally
from dcctl.domain.replication_share import (
    Share,
    ShareState,
    Worked,
    decide_division,
    decide_share,
    is_ours,
    shares_of,
)
from dcctl.engines.replication import Replication
from dcctl.engines.replication_manners import Time
from dcctl.engines.replication_share import Worker
from dcctl.testing.work import MemoryEnsemble, MemoryWork

NOW = Stamp(1_000_000_000)


class Workers:
    """Workers of one world, each with an empty cache of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = World(folder, page_rows=10)
        self.ensemble = MemoryEnsemble()
        self.bases: list[SqliteBase] = []

    def new(self, who: str) -> Worker:
        async def sleep(seconds: float) -> None:
            self.world.time.now_s += seconds

        self.bases.append(SqliteBase(self.folder / f"{who}.sqlite", "east-west"))
        clock = Time(now=self.world.time, monotonic=self.world.time, sleep=sleep)
        stores = {Side.A: self.world.a, Side.B: self.world.b}
        replication = Replication(stores, self.bases[-1], self.world.options, clock)
        return Worker(replication, MemoryWork(self.ensemble, who), ["docs"], every_s=60, clock=clock)

    def put(self, count: int) -> None:
        for number in range(count):
            self.world.a.client_put("docs", f"o{number:03}", b"1")
        self.world.time.now_s += 60


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    made = Workers(tmp_path)
    yield made
    for base in [*made.bases, made.world.base]:
        base.close()


def turn(worker: Worker) -> Tally | None:
    result = asyncio.run(worker.turn())
    assert not isinstance(result, Exception), result
    return result


def until_idle(*all_: Worker) -> list[int]:
    """How many objects each copied, taking turns until nothing is due."""
    copied = [0 for _ in all_]
    idle = 0
    while idle < len(all_):
        idle = 0
        for number, worker in enumerate(all_):
            tally = turn(worker)
            if tally is None:
                idle += 1
            else:
                copied[number] += tally.count("copied")
    return copied


async def idle(worker: Worker) -> None:
    while await worker.turn() is not None:
        pass


def test_two_workers_copy_each_object_once_between_them(workers: Workers) -> None:
    workers.put(95)
    copied = until_idle(workers.new("east"), workers.new("west"))
    assert sum(copied) == 95
    assert min(copied) >= 40
    workers.world.assert_same()
    assert len(MemoryWork(workers.ensemble, "x").observe_work("docs").bounds) == 10


def test_a_delete_is_carried_by_a_worker_that_remembers_nothing(workers: Workers) -> None:
    workers.put(30)
    until_idle(workers.new("east"))
    workers.world.b.client_delete("docs", "o017")
    workers.ensemble.expire("east")
    workers.world.time.now_s += 120
    until_idle(workers.new("west"))
    workers.world.assert_same()
    assert "o017" not in workers.world.names()


def test_the_first_pass_over_a_share_carries_no_deletes(workers: Workers) -> None:
    workers.put(5)
    workers.world.b.client_delete("docs", "o001")  # a 404 that lays a tombstone
    workers.world.time.now_s += 60
    worker = workers.new("east")
    tally = turn(worker)
    assert tally is not None
    assert tally.deletes_held == 1
    assert "o001" in workers.world.names()
    workers.world.time.now_s += 120
    until_idle(worker)
    workers.world.assert_same()
    assert "o001" not in workers.world.names()


def test_a_worker_that_slept_through_its_session_does_no_harm(workers: Workers) -> None:
    """It had decided to delete; meanwhile another carried that, and the document was written anew."""
    workers.put(5)
    sleeper, other = workers.new("sleeper"), workers.new("other")
    until_idle(sleeper)
    workers.world.b.client_delete("docs", "o002")
    workers.world.time.now_s += 120
    holds = type(workers.world.b).holds
    slept = False

    class Slow(type(workers.world.b)):  # type: ignore[misc]
        """Whoever asks for the tombstone's proof falls asleep after the answer."""

        async def holds(self, container: str, name: str, stamp: Stamp) -> bool:
            nonlocal slept
            answer = await holds(self, container, name, stamp)
            if not slept:
                slept = True
                workers.ensemble.expire("sleeper")
                workers.world.b.__class__ = base_class
                await idle(other)
                workers.world.time.now_s += 300
                assert workers.world.a.client_put("docs", "o002", b"anew")
                workers.world.time.now_s += 300
                await idle(other)
            return answer

    base_class = workers.world.b.__class__
    workers.world.b.__class__ = Slow
    turn(sleeper)
    assert slept
    workers.world.time.now_s += 120
    until_idle(sleeper, other)
    workers.world.assert_same()
    assert workers.world.a.containers["docs"]["o002"].content == b"anew"


def test_without_the_ensemble_a_worker_goes_on_alone(workers: Workers) -> None:
    worker = workers.new("east")
    workers.put(25)
    until_idle(worker)
    workers.ensemble.away = True
    workers.put(27)
    workers.world.time.now_s += 120
    until_idle(worker)
    workers.world.assert_same()
    assert len(workers.world.names()) == 27


def test_a_cluster_that_is_away_leaves_the_share_for_anybody(workers: Workers) -> None:
    worker = workers.new("east")
    workers.put(5)
    workers.world.b.fail_after = 0
    assert isinstance(asyncio.run(worker.turn()), Exception)
    workers.world.b.fail_after = None
    until_idle(workers.new("west"))
    workers.world.assert_same()


def test_heartbeats_speak_of_all_shares_and_only_while_nothing_is_pending(workers: Workers) -> None:
    east, west = workers.new("east"), workers.new("west")
    workers.put(25)
    began = workers.world.a.now()
    turn(east)
    turn(west)
    assert west.heartbeats(["east", "west"], 10) == []
    until_idle(east, west)
    beats = west.heartbeats(["east", "west"], 10)
    assert [(one.source, one.pending) for one in beats] == [("east", 0), ("west", 0)]
    assert {one.until for one in beats} == {began.plus(-10).instant}
    workers.world.a.client_put("docs", "o003", b"2")
    workers.world.b.skew_s = -300  # it has to wait
    workers.world.time.now_s += 120
    until_idle(east, west)
    assert east.heartbeats(["east", "west"], 10) == []


def test_a_share_that_was_gone_on_with_leaves_the_heartbeat_to_the_next_walk(workers: Workers) -> None:
    worker = workers.new("east")
    workers.put(12)
    base, world = workers.bases[0], workers.world
    share = Share("docs")
    base.begin(share.key, world.a.now())
    base.agree(share.key, "", "o005", [])  # it came so far, and was killed
    until_idle(worker)
    assert worker.heartbeats(["east"], 10) == []
    world.time.now_s += 120
    until_idle(worker)
    world.assert_same()
    assert len(worker.heartbeats(["east"], 10)) == 1


def test_a_share_that_another_walked_since_is_no_more_ours_to_tell_of(workers: Workers) -> None:
    east, west = workers.new("east"), workers.new("west")
    workers.put(5)
    until_idle(east)
    assert east.walked_last("docs", "")
    workers.world.time.now_s += 120
    until_idle(west)
    workers.world.time.now_s += 30
    assert turn(east) is None  # it looked
    assert not east.walked_last("docs", "")
    assert west.walked_last("docs", "")


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ([], [("", None)]),
        (["m", "c", "c"], [("", "c"), ("c", "m"), ("m", None)]),
    ],
)
def test_shares_lie_between_bounds(bounds: list[str], expected: list[tuple[str, str | None]]) -> None:
    assert [(one.after, one.upto) for one in shares_of("docs", bounds)] == expected


def test_the_share_that_waited_longest_comes_first_and_held_ones_never() -> None:
    def state(after: str, ended: Stamp | None, holder: str = "") -> ShareState:
        worked = Worked(NOW, ended, 1, 0, 0, "x") if ended is not None else None
        return ShareState(Share("docs", after), worked, 0, holder)

    old, older, new = NOW.plus(-70), NOW.plus(-90), NOW.plus(-5)
    states = [state("a", old), state("b", older), state("c", new), state("d", None), state("e", None, "who")]
    tried = decide_share(states, now=NOW, every_s=60)
    assert [one.share.after for one in tried] == ["d", "b", "a"]


@pytest.mark.parametrize(
    ("bounds", "upto", "end", "rows", "divided"),
    [
        (0, "m", None, 10, True),
        (0, "m", None, 9, False),
        (0, "m", "m", 10, False),
        (1000, "m", None, 10, False),
        (1000, "m", None, 20, True),
    ],
)
def test_when_a_share_is_divided(bounds: int, upto: str, end: str | None, rows: int, divided: bool) -> None:
    share = Share("docs", upto=end)
    assert decide_division([str(one) for one in range(bounds)], share, upto, rows, 10) is divided


def test_each_told_name_is_for_one_worker_and_for_everybody_where_we_are_not_seen() -> None:
    names = [f"o{number}" for number in range(300)]
    shares = [{name for name in names if is_ours("docs", name, who, ("a", "b", "c"))} for who in "abc"]
    assert sorted(name for share in shares for name in share) == sorted(names)
    assert min(len(share) for share in shares) > 60
    assert is_ours("docs", "o", "d", ("a", "b", "c"))


def test_all_of_a_container_was_walked_when_each_share_was() -> None:
    state = ShareState(Share("docs"), Worked(NOW, NOW, 3, 0, 0, "x"), 0)
    ensemble = MemoryWork(MemoryEnsemble(), "x").observe_work("docs")
    assert ensemble.complete is None
    assert replace(ensemble, shares=(state, state)).complete == (NOW, 6)
