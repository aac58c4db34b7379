"""Sites and vantages on a real ZooKeeper, each client through a relay of its own that can be frozen."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from zookeeper_server import Relay, Server, running_zookeeper

from dcctl.adapters.guard import boot_clock
from dcctl.adapters.zookeeper import (
    ZooKeeperSession,
    ZooKeeperSites,
    ZooKeeperVantages,
    ZooKeeperVoters,
    read_epochs,
    read_vantages,
)
from dcctl.config.load import load_file
from dcctl.domain.leadership import Epoch
from dcctl.domain.traffic import Rotation
from dcctl.errors import Rejected, Unreachable
from dcctl.ports import Sites, Vantages
from dcctl.testing.contracts.traffic import (
    SitesContract,
    VantagesContract,
    a_state,
    an_observation,
)
from dcctl.wiring.traffic import why_not_here

SESSION_S = 2.0
LIMIT_S = 3.0
_made = iter(range(1_000_000))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_zookeeper() as (only,):
        yield only


class Clients:
    """Two sessions, each through a relay."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.environment = f"traffic-{next(_made)}"
        self.relays = {name: Relay(server.port) for name in ("here", "there")}
        self.sessions = {
            name: ZooKeeperSession(relay.hosts, session_s=SESSION_S, clock=boot_clock)
            for name, relay in self.relays.items()
        }
        for session in self.sessions.values():
            session.connect(limit_s=20)

    def close(self) -> None:
        for session in self.sessions.values():
            session.close()
        for relay in self.relays.values():
            relay.close()

    def raw(self) -> KazooClient:
        client = KazooClient(f"127.0.0.1:{self.server.port}")
        client.start(timeout=20)
        return client


class ZooKeeperSitesWorld(Clients):
    def __init__(self, server: Server) -> None:
        super().__init__(server)
        ports = {
            name: ZooKeeperSites(session, self.environment, ("east", "west"), limit_s=LIMIT_S)
            for name, session in self.sessions.items()
        }
        self.here: Sites = ports["here"]
        self.there: Sites = ports["there"]

    def cut(self, sites: Sites) -> None:
        self.relays["here" if sites is self.here else "there"].frozen = True


class TestZooKeeperSites(SitesContract):
    @pytest.fixture
    def world(self, server: Server) -> Iterator[ZooKeeperSitesWorld]:
        with contextlib.closing(ZooKeeperSitesWorld(server)) as world:
            yield world

    def test_a_change_whose_answer_was_lost_is_found_again(self, world: ZooKeeperSitesWorld) -> None:
        world.relays["here"].deaf = True
        with pytest.raises(Unreachable):
            world.here.change_site(a_state(), expected=None)
        world.relays["here"].deaf = False
        deadline_s = time.monotonic() + 30
        while True:
            with contextlib.suppress(Unreachable):
                assert world.here.change_site(a_state(), expected=None).version == 0
                return
            assert time.monotonic() < deadline_s
            time.sleep(0.1)

    def test_what_is_not_ours_is_not_taken_for_a_state(self, world: ZooKeeperSitesWorld) -> None:
        raw = world.raw()
        raw.create(f"/dcctl/{world.environment}/sites/east", b'{"state": "sideways"}', makepath=True)
        raw.stop()
        raw.close()
        with pytest.raises(Rejected, match="sideways"):
            world.here.observe_sites()


class ZooKeeperVantagesWorld(Clients):
    def __init__(self, server: Server) -> None:
        super().__init__(server)
        ports = {
            name: ZooKeeperVantages(session, self.environment, limit_s=LIMIT_S)
            for name, session in self.sessions.items()
        }
        self.here: Vantages = ports["here"]
        self.there: Vantages = ports["there"]

    def end_session(self, vantages: Vantages) -> None:
        """The agent's machine loses its power: nothing is said, and the session runs out."""
        name = "here" if vantages is self.here else "there"
        self.relays[name].frozen = True
        other = self.there if vantages is self.here else self.here
        before = len(other.observe_vantages())
        deadline_s = time.monotonic() + 30
        while len(other.observe_vantages()) == before:
            assert time.monotonic() < deadline_s
            time.sleep(0.1)

    def renew_session(self, vantages: Vantages) -> None:
        session = self.sessions["here" if vantages is self.here else "there"]
        old = session.number
        usurper = KazooClient(f"127.0.0.1:{self.server.port}", client_id=session.client.client_id)
        usurper.start(timeout=20)
        usurper.stop()  # closes the session that both share
        usurper.close()
        deadline_s = time.monotonic() + 30
        while session.number in (None, old) or not session.client.connected:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)


class TestZooKeeperVantages(VantagesContract):
    @pytest.fixture
    def world(self, server: Server) -> Iterator[ZooKeeperVantagesWorld]:
        with contextlib.closing(ZooKeeperVantagesWorld(server)) as world:
            yield world

    def test_what_an_earlier_life_left_is_replaced(self, world: ZooKeeperVantagesWorld) -> None:
        """It would vanish when the old session runs out, and this agent's observation with it."""
        world.here.publish(an_observation(number=7))
        world.there.publish(an_observation(number=8))
        world.sessions["here"].close()
        assert [each.round for each in world.there.observe_vantages()] == [8]

    def test_who_only_looks_reads_it_without_a_session(self, world: ZooKeeperVantagesWorld) -> None:
        world.here.publish(an_observation(number=7))
        voters = ZooKeeperVoters({"only": "127.0.0.1"}, limit_s=LIMIT_S, port=world.server.port)
        here = an_observation().vantage
        found = read_vantages(voters.read, world.environment, [here, "nobody"])
        assert [(each.vantage, each.round) for each in found] == [(here, 7)]
        assert read_vantages(voters.read, "another", [here]) == ()

    def test_the_age_of_the_last_acknowledged_request_shows_a_cut(
        self, world: ZooKeeperVantagesWorld
    ) -> None:
        session = world.sessions["here"]
        before_s = boot_clock()
        world.here.publish(an_observation())
        acknowledged_s = session.acknowledged_s
        assert acknowledged_s is not None
        assert acknowledged_s >= before_s
        world.relays["here"].frozen = True
        with pytest.raises(Unreachable):
            world.here.publish(replace(an_observation(), round=2))
        assert session.acknowledged_s == acknowledged_s


def test_the_epochs_of_all_roles_are_read_for_whoever_shows_them(server: Server) -> None:
    clients = Clients(server)
    try:
        session, environment = clients.sessions["here"], clients.environment
        assert read_epochs(session, environment, limit_s=LIMIT_S) == {}
        raw = clients.raw()
        for path, content in (
            ("auction/epoch", b'{"generation":1,"counter":7}'),
            ("controller/epoch", b'{"generation":2,"counter":1}'),
            ("begun/epoch", b""),
            ("odd/lease", b""),
        ):
            raw.create(f"/dcctl/{environment}/roles/{path}", content, makepath=True)
        raw.stop()
        raw.close()
        found = read_epochs(session, environment, limit_s=LIMIT_S)
        assert found == {"auction": Epoch(1, 7), "controller": Epoch(2, 1)}
    finally:
        clients.close()


def test_no_singleton_begins_at_a_quarantined_site(server: Server) -> None:
    clients = Clients(server)
    try:
        lab = load_file(Path(__file__).parents[2] / "inventories/lab/dcctl.yaml")
        configuration = lab.model_copy(update={"environment": clients.environment})
        session = clients.sessions["here"]
        at_east, at_west, at_witness = (
            why_not_here(configuration, session, name) for name in ("east-app-1", "west-app-1", "witness-1")
        )
        assert (at_east(), at_west(), at_witness()) == ("", "", "")
        sites = ZooKeeperSites(session, clients.environment, ("east", "west"), limit_s=LIMIT_S)
        sites.change_site(a_state("east", Rotation.QUARANTINED), expected=None)
        assert "east is quarantined" in at_east()
        assert at_east().endswith(": dcctl admit east")
        assert (at_west(), at_witness()) == ("", "")
        sites.change_site(a_state("east", Rotation.DRAINED), expected=0)
        assert at_east() == "", "who is drained is whole"
        clients.relays["here"].frozen = True
        with pytest.raises(Unreachable):
            at_east()
    finally:
        clients.close()
