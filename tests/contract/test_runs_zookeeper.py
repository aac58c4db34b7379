"""The right to act on a real ZooKeeper: sessions that end, lost answers, two that want it at once."""

import contextlib
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from kazoo.client import KazooClient
from zookeeper_server import Relay, Server, running_zookeeper

from dcctl.adapters.guard import boot_clock
from dcctl.adapters.journal import start_run
from dcctl.adapters.zookeeper import SharedJournal, ZooKeeperRuns, ZooKeeperSession
from dcctl.domain.run import Asked, Wish
from dcctl.errors import LeadershipLost, Refused
from dcctl.ports import Runs
from dcctl.shell import WallClock
from dcctl.testing.contracts.runs import LIMIT_S, RunsContract, step

SESSION_S = 4.0
_made = iter(range(1_000_000))


class ZooKeeperWorld:
    def __init__(self, server: Server) -> None:
        self.environment = f"runs-{next(_made)}"
        self._port = server.port
        self.relays = [Relay(server.port) for _each in range(2)]
        self.sessions = [
            ZooKeeperSession(relay.hosts, session_s=SESSION_S, clock=boot_clock) for relay in self.relays
        ]
        for session in self.sessions:
            session.connect(limit_s=20)
        self.clients = [
            ZooKeeperRuns(session, self.environment, who=f"person-{number}")
            for number, session in enumerate(self.sessions)
        ]
        self.here: Runs = self.clients[0]
        self.there: Runs = self.clients[1]

    def end_session(self, runs: Runs) -> None:
        """Another connection that knows a session may end it (ZooKeeper Programmer's Guide, "Sessions")."""
        session = self.sessions[0 if runs is self.here else 1]
        before = session.number
        thief = KazooClient(f"127.0.0.1:{self._port}", client_id=session.client.client_id, timeout=SESSION_S)
        thief.start(timeout=20)
        thief.stop()
        thief.close()
        deadline_s = time.monotonic() + 30
        while session.number in (None, before) or not session.client.connected:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)

    def close(self) -> None:
        for session in self.sessions:
            session.close()
        for relay in self.relays:
            relay.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_zookeeper() as (only,):
        yield only


@pytest.fixture
def world(server: Server) -> Iterator[ZooKeeperWorld]:
    with contextlib.closing(ZooKeeperWorld(server)) as world:
        yield world


class TestZooKeeperRuns(RunsContract):
    pass


def test_of_two_that_begin_at_once_one_acts(world: ZooKeeperWorld) -> None:
    for number in range(5):
        began: list[str] = []
        refused: list[Refused] = []

        def begin(runs: Runs, run: str, began: list[str] = began, refused: list[Refused] = refused) -> None:
            try:
                runs.begin(run, "one", limit_s=LIMIT_S)
                began.append(run)
            except Refused as error:
                refused.append(error)

        threads = [
            threading.Thread(target=begin, args=(runs, f"20260102-{number}-{which}"))
            for which, runs in enumerate(world.clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(began) == 1
        assert f"run {began[0]} is active" in str(refused[0])
        for runs in world.clients:
            runs.end(limit_s=LIMIT_S)


def test_a_change_whose_answer_was_lost_is_not_done_twice(world: ZooKeeperWorld) -> None:
    world.here.begin("20260102-a", "one", limit_s=LIMIT_S)
    world.relays[0].deaf = True
    healer = threading.Timer(1.0, lambda: setattr(world.relays[0], "deaf", False))
    healer.start()
    world.here.append(step("20260102-a", 1, "started"), limit_s=30.0)
    world.here.append(step("20260102-a", 2, "done"), limit_s=LIMIT_S)
    healer.join()
    kept = world.there.events("20260102-a", limit_s=LIMIT_S)
    assert [each.seq for each in kept] == [1, 2]


def test_a_journal_without_the_right_begins_nothing(
    world: ZooKeeperWorld, tmp_path_factory: pytest.TempPathFactory
) -> None:
    state = tmp_path_factory.mktemp("state")
    with start_run(state, environment="test", what="failover", now=WallClock().now) as local:
        world.clients[0].begin(local.run, "one", limit_s=LIMIT_S)
        journal = SharedJournal(local, world.clients[0], limit_s=LIMIT_S)
        first = journal.append("run.started", {"command": "one"})
        assert world.there.events(local.run, limit_s=LIMIT_S) == (first,)
        world.end_session(world.here)
        world.there.begin("20260102-b", "two", limit_s=LIMIT_S)
        with pytest.raises(LeadershipLost, match="20260102-b"):
            journal.append("step.started", {"step": "fence", "target": "east", "limit_s": 60})


def test_what_is_asked_of_a_run_meanwhile_keeps_it(world: ZooKeeperWorld) -> None:
    """Nothing of it is removed: the version that was read is not the one that is there."""
    here, there = world.here, world.there
    here.begin("20260102-a", "admit east", limit_s=LIMIT_S)
    here.append(step("20260102-a", 1, "started"), limit_s=LIMIT_S)
    here.end(limit_s=LIMIT_S)
    at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)

    class Slow(ZooKeeperRuns):
        """Somebody asks something between its look and its transaction."""

        asks = 2

        def _children(self, folder: str, limit_s: float) -> list[str]:
            if self.asks and folder.endswith("20260102-a"):
                self.asks -= 1
                there.ask("20260102-a", Asked(Wish.SKIP, "bob", at, step=f"{self.asks}"), limit_s=LIMIT_S)
            return super()._children(folder, limit_s)

    slow = Slow(world.sessions[0], world.environment, who="slow")
    slow.begin("20260102-b", "drain east", limit_s=LIMIT_S)
    for _look in range(2):
        assert not slow.forget("20260102-a", limit_s=LIMIT_S)
        assert len(there.events("20260102-a", limit_s=LIMIT_S)) == 1
    assert len(there.observe_asked("20260102-a", limit_s=LIMIT_S)) == 2
    assert slow.forget("20260102-a", limit_s=LIMIT_S)
    assert there.observe_runs(limit_s=LIMIT_S) == ("20260102-b",)
