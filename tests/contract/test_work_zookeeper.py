"""Shared work on a real ZooKeeper."""

from collections.abc import Iterator

import pytest
from zookeeper_server import Server, running_zookeeper

from dcctl.adapters.guard import boot_clock
from dcctl.adapters.zookeeper import ZooKeeperPauses, ZooKeeperSession, ZooKeeperWork
from dcctl.domain.replication_pause import WORKING
from dcctl.ports import Pauses, SharedWork
from dcctl.testing.contracts.pause import PausesContract
from dcctl.testing.contracts.work import SharedWorkContract

_made = iter(range(1_000_000))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_zookeeper() as (only,):
        yield only


class TestZooKeeperWork(SharedWorkContract):
    @pytest.fixture(autouse=True)
    def _sessions(self, server: Server) -> Iterator[None]:
        self.server, self.environment = server, f"work-{next(_made)}"
        self.sessions: dict[int, ZooKeeperSession] = {}
        yield
        for session in self.sessions.values():
            session.close()

    def session(self, who: str) -> SharedWork:
        session = ZooKeeperSession(f"127.0.0.1:{self.server.port}", session_s=10, clock=boot_clock)
        session.connect(limit_s=20)
        work = ZooKeeperWork(session, self.environment, who=who, limit_s=10)
        self.sessions[id(work)] = session
        return work

    def end(self, work: SharedWork) -> None:
        self.sessions.pop(id(work)).close()


class TestZooKeeperPauses(PausesContract):
    @pytest.fixture(autouse=True)
    def _sessions(self, server: Server) -> Iterator[None]:
        self.server, self.environment = server, f"pause-{next(_made)}"
        self.sessions: list[ZooKeeperSession] = []
        yield
        for session in self.sessions:
            session.close()

    def pauses(self, who: str = "east/1") -> Pauses:
        session = ZooKeeperSession(f"127.0.0.1:{self.server.port}", session_s=10, clock=boot_clock)
        session.connect(limit_s=20)
        self.sessions.append(session)
        return ZooKeeperPauses(session, self.environment, who=who, limit_s=10)

    def test_a_follower_whose_session_ends_is_seen_no_more(self) -> None:
        east, west = self.pauses("east"), self.pauses("west")
        west.report(WORKING)
        assert east.observe_followers() == {"west": WORKING}
        self.sessions[1].close()
        assert east.observe_followers() == {}
