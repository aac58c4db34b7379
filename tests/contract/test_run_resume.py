"""An operator is killed at each word of its journal; another one, elsewhere, goes on with the run.

A process of its own (SIGKILL), a real ZooKeeper, and two state directories that know nothing of each other.
"""

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from run_operator import FASTER, SESSION_S, Served, clock_s, operate
from two_sites import TwoSites
from zookeeper_server import Server, running_zookeeper

from dcctl.adapters.journal import read_run, runs
from dcctl.adapters.zookeeper import ZooKeeperRuns, ZooKeeperSession
from dcctl.domain.event import Event
from dcctl.domain.order import Order, read_order
from dcctl.domain.run import Outcome, decide_run
from dcctl.domain.traffic import Rotation
from dcctl.engines.failover import failover
from dcctl.engines.switchover import switchover
from dcctl.errors import Unreachable

T = TypeVar("T")

LIMIT_S = 30.0 * FASTER
GIVE_UP_S = 300.0
EVERY = 2
"""Every second word here, each one in memory (tests/unit/test_failover_engine.py, test_switchover.py)."""
AT_ONCE = 6
_made = iter(range(1_000_000))
OPERATORS = multiprocessing.get_context("forkserver")
OPERATORS.set_forkserver_preload(["run_operator"])  # so that a process is there at once


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_zookeeper() as (only,):
        yield only


@pytest.fixture(scope="module")
def observer(server: Server) -> Iterator[ZooKeeperSession]:
    session = ZooKeeperSession(f"127.0.0.1:{server.port}", session_s=SESSION_S, clock=clock_s)
    session.connect(limit_s=90)
    yield session
    session.close()


def east_dark() -> TwoSites:
    world = TwoSites()
    world.pass_time(100)
    world.cut("east")
    world.pass_time(16)
    return world


def patiently(ask: Callable[[], T]) -> T:
    """On a busy host the connection may be away for a moment."""
    deadline_s = time.monotonic() + GIVE_UP_S
    while True:
        try:
            return ask()
        except Unreachable:
            assert time.monotonic() < deadline_s
            time.sleep(0.5)


class Night:
    """One run: begun here, killed, and gone on with there."""

    def __init__(
        self, world: TwoSites, order: Order, server: Server, seen: ZooKeeperSession, folder: Path
    ) -> None:
        folder.mkdir()
        self.world, self.order, self._folder = world, order, folder
        self._hosts, self._environment = f"127.0.0.1:{server.port}", f"night-{next(_made)}"
        self.runs = ZooKeeperRuns(seen, self._environment, who="observer")

    def live(self, place: str, **more: object) -> int:
        """A process of an operator at ``place``; its exit code, negative for a signal."""
        with contextlib.closing(Served(self.world, self._folder)) as served:
            process = OPERATORS.Process(
                target=operate,
                args=(served.address, self._hosts, self._environment, self._folder / place, self.order),
                kwargs=more,
            )
            process.start()
            process.join(GIVE_UP_S)
            if process.is_alive():
                process.kill()
                process.join()
                pytest.fail("the operator did not end")
        Path(served.address).unlink(missing_ok=True)
        assert process.exitcode is not None
        return process.exitcode

    def kill_and_resume(self, dies_at: int, *, between: bool) -> tuple[Event, ...]:
        """The whole journal, as every machine reads it."""
        assert self.live("here", dies_at=dies_at, between=between) == -9
        left = patiently(partial(self.runs.observe_active, limit_s=LIMIT_S))
        assert left is not None
        assert read_order(left.command) == self.order
        deadline_s = time.monotonic() + GIVE_UP_S
        while left is not None and left.alive:
            assert time.monotonic() < deadline_s
            time.sleep(0.2)
            left = patiently(partial(self.runs.observe_active, limit_s=LIMIT_S))
        assert left is not None
        # What had been begun when it was killed may last: whoever is refused for it asks again.
        while self.live("there", resume=left.run) != 0:
            assert time.monotonic() < deadline_s
        assert patiently(partial(self.runs.observe_active, limit_s=LIMIT_S)) is None
        kept = patiently(partial(self.runs.events, left.run, limit_s=LIMIT_S))
        assert kept == read_run(self._folder / "there", left.run)
        assert runs(self._folder / "here") == (left.run,)
        return kept

    def check_journal(self, events: tuple[Event, ...]) -> None:
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert "run.resumed" in [event.type for event in events]
        assert decide_run("", events, active=False).outcome is Outcome.DONE


def check_failed_over(night: Night) -> None:
    world = night.world
    assert world.state("east") is Rotation.QUARANTINED
    assert world.state("west") is Rotation.ACTIVE
    assert (world.system.primary, world.leader) == ("west-db-1", "west-edge-1")
    assert world.calls.count(("quarantined", "east")) == 1, "what holds already is not done twice"
    assert {database for _edge, database in world.written} == {"west-db-1"}


def check_switched_over(night: Night) -> None:
    world = night.world
    assert (world.system.primary, world.system.synchronous) == ("west-db-1", "east-db-1")
    assert world.leader == "west-edge-1"
    assert world.calls.count(("switch", "west-db-1")) == 1


def words_of(world: TwoSites, work: object) -> int:
    """How many events the run writes that nobody kills."""
    return len(world.perform(work)[1])


def at_every_word(
    count: int, begin: Callable[[int], Night], check: Callable[[Night], None], *, between: bool
) -> None:
    def one(dies_at: int) -> None:
        night = begin(dies_at)
        night.check_journal(night.kill_and_resume(dies_at, between=between))
        check(night)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        ended = {number: pool.submit(one, number) for number in range(1, count + 1, EVERY)}
    failed = {number: each.exception() for number, each in ended.items() if each.exception() is not None}
    assert not failed


def test_a_failover_killed_between_its_disk_and_the_ensemble(
    server: Server, observer: ZooKeeperSession, tmp_path: Path
) -> None:
    order = Order("failover", "east")
    at_every_word(
        words_of(east_dark(), partial(failover, "east")),
        lambda at: Night(east_dark(), order, server, observer, tmp_path / str(at)),
        check_failed_over,
        between=True,
    )


def test_a_switchover_killed_before_each_word(
    server: Server, observer: ZooKeeperSession, tmp_path: Path
) -> None:
    order = Order("switchover", "west")
    at_every_word(
        words_of(TwoSites(), partial(switchover, "west")),
        lambda at: Night(TwoSites(), order, server, observer, tmp_path / str(at)),
        check_switched_over,
        between=False,
    )
