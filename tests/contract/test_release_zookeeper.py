"""Releasing Patroni's leader key on a real ZooKeeper, with everything that may happen in between."""

import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import BadVersionError
from zookeeper_server import Server, running_zookeeper

from dcctl.adapters.guard import boot_clock
from dcctl.adapters.zookeeper import ZooKeeperLeaderKey, ZooKeeperRuns, ZooKeeperSession
from dcctl.domain.leadership import Epoch, Term
from dcctl.domain.release import LeaderKeys
from dcctl.errors import LeadershipLost, Refused

LIMIT_S = 20.0
SESSION_S = 20.0
EAST, WEST = "east-db-1", "west-db-1"
CONFIG = {"ttl": 20, "synchronous_mode": True, "failsafe_mode": False}
SYNC = json.dumps({"leader": EAST, "sync_standby": WEST}).encode()
TERM = Term("controller", Epoch(1, 7), "dcctl-run", "witness-1", 4711, datetime(2026, 1, 2, tzinfo=UTC))
_made = iter(range(1_000_000))


class Interrupted(ZooKeeperLeaderKey):
    """Something happens between the two transactions."""

    between: Callable[[], None] = staticmethod(lambda: None)

    def _marked(self, *args: object) -> LeaderKeys:
        marked = super()._marked(*args)  # type: ignore[arg-type]
        self.between()
        return marked


class Cluster:
    """Patroni's keys as two members have made them, and a run of ours that has the right to act."""

    def __init__(self, server: Server) -> None:
        self.environment = f"release-{next(_made)}"
        self.keys = f"/dcctl/{self.environment}/patroni/{self.environment}"
        hosts = f"127.0.0.1:{server.port}"
        self.ours, self.theirs = (
            ZooKeeperSession(hosts, session_s=SESSION_S, clock=boot_clock) for _each in range(2)
        )
        self.members = {name: KazooClient(hosts, timeout=SESSION_S) for name in (EAST, WEST)}
        for session in (self.ours, self.theirs):
            session.connect(limit_s=60)
        for member in self.members.values():
            member.start(timeout=60)
        self.runs = ZooKeeperRuns(self.ours, self.environment, who="ann")
        self.runs.begin("run-1", "failover", limit_s=LIMIT_S)
        self.east, self.west = self.members.values()
        self.east.create(f"{self.keys}/config", json.dumps(CONFIG).encode(), makepath=True)
        self.east.create(f"{self.keys}/sync", b"{}", makepath=True)
        self.east.set(f"{self.keys}/sync", SYNC, version=0)
        self.take_key(EAST)
        for name in self.members:
            self.join(name, rounds=3)
        self.east.create(f"/dcctl/{self.environment}/roles/controller/epoch", b"", makepath=True)
        self.claim(TERM.epoch)
        self.port = Interrupted(
            self.ours, self.environment, keys=self.keys, members=(EAST, WEST), owned=self.runs.guards
        )

    def take_key(self, name: str) -> None:
        self.members[name].create(f"{self.keys}/leader", name.encode(), makepath=True, ephemeral=True)

    def join(self, name: str, rounds: int) -> None:
        """A member's key, written once in each of its rounds."""
        path = f"{self.keys}/members/{name}"
        self.members[name].create(path, b'{"state": "running"}', makepath=True, ephemeral=True)
        for _round in range(rounds):
            self.members[name].set(path, b'{"state": "running"}')

    def claim(self, epoch: Epoch) -> None:
        note = json.dumps({"generation": epoch.generation, "counter": epoch.counter}).encode()
        self.west.set(f"/dcctl/{self.environment}/roles/controller/epoch", note)

    def observe(self) -> LeaderKeys:
        return self.port.observe_keys(limit_s=LIMIT_S)

    def release(self, keys: LeaderKeys, term: Term | None = TERM) -> None:
        self.port.release(keys, term=term, limit_s=LIMIT_S)

    def leader(self) -> str | None:
        if self.west.exists(f"{self.keys}/leader") is None:
            return None
        return str(self.west.get(f"{self.keys}/leader")[0].decode())

    # What may happen meanwhile.

    def standby_is_dropped(self) -> None:
        note = json.dumps({"leader": EAST, "sync_standby": None}).encode()
        self.east.set(f"{self.keys}/sync", note, version=1)

    def another_controller_leads(self) -> None:
        self.claim(Epoch(1, 8))

    def ownership_ends(self) -> None:
        self.west.delete(f"/dcctl/{self.environment}/runs/owner")

    def another_run_begins(self) -> None:
        self.west.delete(f"/dcctl/{self.environment}/runs/owner")
        other = ZooKeeperRuns(self.theirs, self.environment, who="bob")
        other.begin("run-2", "deploy", limit_s=LIMIT_S)

    def patroni_is_paused(self) -> None:
        self.east.set(f"{self.keys}/config", json.dumps({**CONFIG, "pause": True}).encode())

    def standby_takes_the_key(self) -> None:
        """The old primary's session has ended, and the standby was faster than we."""
        self.east.stop()
        self.take_key(WEST)

    def primary_comes_back(self) -> None:
        """With a session of its own, and takes its key again."""
        self.east.stop()
        self.east.start(timeout=60)
        self.join(EAST, rounds=3)
        self.take_key(EAST)

    def primary_comes_back_too_late(self) -> None:
        """The standby has the key, and the old primary's own key has the version that it had."""
        self.east.stop()
        self.take_key(WEST)
        self.east.start(timeout=60)
        self.join(EAST, rounds=3)

    def primary_goes_on(self) -> None:
        """It was out of reach for us alone, and does its rounds."""
        self.east.set(f"{self.keys}/members/{EAST}", b'{"state": "running", "xlog_location": 2}')

    def close(self) -> None:
        for session in (self.ours, self.theirs):
            session.close()
        for member in self.members.values():
            member.stop()
            member.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_zookeeper() as (only,):
        yield only


@pytest.fixture
def cluster(server: Server) -> Iterator[Cluster]:
    with contextlib.closing(Cluster(server)) as cluster:
        yield cluster


def test_the_keys_are_read_with_their_versions(cluster: Cluster) -> None:
    keys = cluster.observe()
    assert (keys.leader, keys.synchronous, keys.synchronous_to) == (EAST, (WEST,), EAST)
    assert (keys.sync_version, keys.member_version, keys.members) == (1, 3, (EAST, WEST))
    assert (keys.synchronous_mode, keys.failsafe_mode, keys.paused, keys.switching) == (
        True,
        False,
        False,
        False,
    )
    assert (keys.session, keys.member_session) == (cluster.east.client_id[0],) * 2
    cluster.east.create(f"{cluster.keys}/failover", b'{"leader": "east-db-1", "member": "west-db-1"}')
    cluster.west.set(f"{cluster.keys}/members/{WEST}", b'{"tags": {"nofailover": true}}')
    assert (cluster.observe().switching, cluster.observe().refusing) == (True, (WEST,))


@pytest.mark.parametrize("term", [TERM, None])
def test_the_key_goes_and_sync_is_rewritten_as_it_was(cluster: Cluster, term: Term | None) -> None:
    cluster.release(cluster.observe(), term)
    assert cluster.leader() is None
    content, stat = cluster.west.get(f"{cluster.keys}/sync")
    assert (content, stat.version) == (SYNC, 2)


def test_what_the_old_primary_had_prepared_fails_afterwards(cluster: Cluster) -> None:
    cluster.release(cluster.observe())
    with pytest.raises(BadVersionError):
        cluster.standby_is_dropped()
    cluster.take_key(WEST)


def test_a_release_that_was_broken_off_in_between_is_made_again(cluster: Cluster) -> None:
    def killed() -> None:
        raise KeyboardInterrupt

    cluster.port.between = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        cluster.release(cluster.observe())
    assert cluster.leader() == EAST
    del cluster.port.between
    cluster.release(cluster.observe())
    assert cluster.leader() is None


MEANWHILE = {
    "standby_is_dropped": (Refused, EAST),
    "patroni_is_paused": (Refused, EAST),
    "standby_takes_the_key": (Refused, WEST),
    "primary_comes_back": (Refused, EAST),
    "primary_comes_back_too_late": (Refused, WEST),
    "primary_goes_on": (Refused, EAST),
    "another_controller_leads": (LeadershipLost, EAST),
    "ownership_ends": (LeadershipLost, EAST),
    "another_run_begins": (LeadershipLost, EAST),
}


@pytest.mark.parametrize("between", [False, True], ids=["after-the-look", "between-the-transactions"])
@pytest.mark.parametrize("event", MEANWHILE)
def test_whatever_comes_in_between_nothing_is_released(cluster: Cluster, event: str, between: bool) -> None:
    keys = cluster.observe()
    error, leader = MEANWHILE[event]
    if between:
        cluster.port.between = getattr(cluster, event)  # type: ignore[method-assign]
    else:
        getattr(cluster, event)()
    sync = cluster.west.get(f"{cluster.keys}/sync")
    with pytest.raises(error):
        cluster.release(keys)
    assert cluster.leader() == leader
    if event != "standby_is_dropped":
        assert cluster.west.get(f"{cluster.keys}/sync")[1].version == sync[1].version


def test_a_run_that_has_no_right_to_act_releases_nothing(cluster: Cluster) -> None:
    keys = cluster.observe()
    cluster.runs.end(limit_s=LIMIT_S)
    with pytest.raises(LeadershipLost):
        cluster.release(keys)
    assert cluster.leader() == EAST
