"""Leases on a real ZooKeeper, each client through a relay of its own that can be frozen."""

import contextlib
import time
from collections.abc import Iterator

import pytest
from zookeeper_server import LONGEST_SESSION_MS, Relay, Server, running_zookeeper

from dcctl.adapters.guard import boot_clock
from dcctl.adapters.zookeeper import ZooKeeperLeases
from dcctl.errors import Rejected, Unreachable
from dcctl.ports import Leases
from dcctl.testing.contracts.leases import LIMIT_S, LeasesContract, claim

SESSION_S = 4.0
_made = iter(range(1_000_000))


class ZooKeeperWorld:
    def __init__(self, server: Server) -> None:
        self.environment = environment = f"contract-{next(_made)}"
        self.relays = {name: Relay(server.port) for name in ("here", "there")}
        clients = {
            name: ZooKeeperLeases(relay.hosts, environment=environment, session_s=SESSION_S, clock=boot_clock)
            for name, relay in self.relays.items()
        }
        for client in clients.values():
            client.connect(limit_s=20)
        self.clients = clients
        self.here: Leases = clients["here"]
        self.there: Leases = clients["there"]

    def now_s(self) -> float:
        return boot_clock()

    def pass_time(self, seconds: float) -> None:
        time.sleep(seconds)

    def cut(self, leases: Leases) -> None:
        self._relay(leases).frozen = True

    def deafen(self, leases: Leases) -> None:
        self._relay(leases).deaf = True

    def heal(self, leases: Leases) -> None:
        relay = self._relay(leases)
        relay.frozen = relay.deaf = False
        deadline_s = time.monotonic() + 30
        while True:
            try:
                leases.observe_roles(limit_s=LIMIT_S)
            except Unreachable:
                assert time.monotonic() < deadline_s
                time.sleep(0.1)
            else:
                return

    def _relay(self, leases: Leases) -> Relay:
        return self.relays["here" if leases is self.here else "there"]

    def close(self) -> None:
        for client in self.clients.values():
            client.close()
        for relay in self.relays.values():
            relay.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_zookeeper() as (only,):
        yield only


@pytest.fixture
def world(server: Server) -> Iterator[ZooKeeperWorld]:
    with contextlib.closing(ZooKeeperWorld(server)) as world:
        yield world


class TestZooKeeperLeases(LeasesContract):
    pass


def test_the_granted_session_is_read_back_not_the_asked_one(server: Server) -> None:
    leases = ZooKeeperLeases(
        f"127.0.0.1:{server.port}", environment="granted", session_s=60.0, clock=boot_clock
    )
    with contextlib.closing(leases):
        leases.connect(limit_s=20)
        assert leases.session_s == LONGEST_SESSION_MS / 1000


def test_no_server_is_unreachable_within_the_limit() -> None:
    leases = ZooKeeperLeases("127.0.0.1:1", environment="dark", session_s=4.0, clock=boot_clock)
    began_s = time.monotonic()
    with pytest.raises(Unreachable, match=r"no session within 0\.5 s"):
        leases.connect(limit_s=0.5)
    assert time.monotonic() - began_s < 5


def test_a_renewal_that_was_given_up_and_carried_out_later_is_caught_up_with(world: ZooKeeperWorld) -> None:
    """kazoo sends what it queued once it is connected again: the version moves without our hearing of it."""
    term, renewal = claim(world.here)
    world.deafen(world.here)
    with pytest.raises(Unreachable):
        world.here.renew(term, renewal.version, limit_s=0.5)
    world.heal(world.here)
    state = world.there.observe_role(term.role, limit_s=LIMIT_S)
    assert state.lease is not None
    assert state.lease.version == renewal.version + 1, "it was carried out"
    again = world.here.renew(term, renewal.version, limit_s=LIMIT_S)
    assert again.version == renewal.version + 2


def test_a_role_that_we_may_not_write_is_rejected_and_not_tried_for_ever(world: ZooKeeperWorld) -> None:
    from kazoo.client import KazooClient
    from kazoo.security import make_digest_acl

    term, renewal = claim(world.here)
    owner = KazooClient(world.relays["there"].hosts)
    owner.start(timeout=20)
    try:
        owner.add_auth("digest", "somebody:else")
        path = f"/dcctl/{world.environment}/roles/{term.role}/epoch"
        owner.set_acls(path, [make_digest_acl("somebody", "else", all=True)])
    finally:
        owner.stop()
        owner.close()
    with pytest.raises(Rejected, match="NoAuth"):
        world.there.observe_role(term.role, limit_s=LIMIT_S)
    assert world.here.renew(term, renewal.version, limit_s=LIMIT_S), "renewing does not touch the epoch"
