"""The provision engine over two clouds in memory: what is done, resumed and told when it fails."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import yaml

from dcctl.adapters.host_keys import generate_host_key
from dcctl.domain.event import Event
from dcctl.domain.machine import Power, Server, ServerSpec, Size
from dcctl.domain.provision import Do, Plan, decide_destroy, decide_provision
from dcctl.engines import provision
from dcctl.engines.provision import BOOT_LIMIT_S, Means, Operator
from dcctl.errors import Rejected, StepFailed
from dcctl.shell import perform
from dcctl.testing.clock import VirtualClock
from dcctl.testing.journal import MemoryJournal
from dcctl.testing.machines import FakeCloud, FakeMachines
from dcctl.testing.remote import FakeRemote, MemoryKnownHosts

GIB = 2**30


def spec(site: str, group: str, number: int, address: str) -> ServerSpec:
    return ServerSpec(
        name=f"{site}-{group}-{number}",
        environment="lab",
        site=site,
        group=group,
        roles=("base",),
        size=Size(1, GIB, 4 * GIB),
        flavour="small",
        image="debian-12",
        network="dcctl",
        address=address,
    )


WANTED = tuple(
    spec(site, group, number, f"192.0.{net}.{20 + number + (10 if group == 'edge' else 0)}")
    for net, site in ((2, "east"), (3, "west"))
    for group, count in (("db", 5), ("edge", 1))
    for number in range(1, count + 1)
)


class Killed(BaseException):
    """What SIGKILL looks like from inside a test."""


@dataclass
class DyingJournal(MemoryJournal):
    """Its process dies when it is about to write event number ``dies_at``."""

    dies_at: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    def append(self, type: str, fields: Mapping[str, Any]) -> Event:
        if len(self.events()) + 1 >= self.dies_at:
            raise Killed
        return super().append(type, fields)


@dataclass
class Site:
    """Both clouds, and the operator's side of them."""

    clouds: dict[str, FakeCloud] = field(default_factory=lambda: {s: FakeCloud(s) for s in ("east", "west")})
    hosts: MemoryKnownHosts = field(default_factory=MemoryKnownHosts)
    silent: frozenset[str] = frozenset()
    clock: VirtualClock = field(default_factory=VirtualClock)
    specs: list[ServerSpec] = field(default_factory=list)

    def means(self) -> Means:
        machines = {site: Seen(FakeMachines(cloud, "lab"), self.specs) for site, cloud in self.clouds.items()}
        return Means(
            machines=machines,
            known_hosts=self.hosts,
            remote=lambda name: FakeRemote(name, tuple(self.clouds.values()), self.hosts, self.silent),
            make_host_key=generate_host_key,
            operator=Operator("dcctl", 22, ("ssh-ed25519 AAAA operator",)),
        )

    def plan(self, wanted: tuple[ServerSpec, ...] = WANTED, *, prune: bool = False) -> Plan:
        observed = {site: machines.observe_servers() for site, machines in self.means().machines.items()}
        decided = decide_provision("lab", wanted, observed, prune=prune)
        assert isinstance(decided, Plan), decided
        return decided

    def apply(
        self,
        wanted: tuple[ServerSpec, ...] = WANTED,
        *,
        prune: bool = False,
        journal: MemoryJournal | None = None,
    ) -> tuple[Server, ...]:
        work = provision.apply(self.plan(wanted, prune=prune), self.means())
        return perform(work, clock=self.clock, journal=journal or MemoryJournal(), resume="apply again")

    def destroy(self) -> None:
        observed = {site: machines.observe_servers() for site, machines in self.means().machines.items()}
        decided = decide_destroy("lab", observed)
        assert isinstance(decided, Plan), decided
        perform(provision.destroy(decided, self.means()), clock=self.clock, journal=MemoryJournal())

    def calls(self) -> list[tuple[str, str]]:
        return [call for cloud in self.clouds.values() for call in cloud.calls]


class Seen:
    """``ports.Machines`` that notes the specifications it was given."""

    def __init__(self, machines: FakeMachines, specs: list[ServerSpec]) -> None:
        self._machines = machines
        self._specs = specs

    def ensure_server(self, spec: ServerSpec) -> Server:
        self._specs.append(spec)
        return self._machines.ensure_server(spec)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._machines, name)


@pytest.fixture
def site() -> Site:
    return Site()


def test_apply_creates_what_is_missing_and_knows_who_answers(site: Site) -> None:
    servers = site.apply()
    assert [server.name for server in servers] == [spec.name for spec in sorted(WANTED, key=lambda s: s.name)]
    assert all(server.power is Power.ON for server in servers)
    trusted = {(host.name, host.address, host.host_key) for host in site.hosts.observe()}
    assert trusted == {(server.name, server.address, server.host_key) for server in servers}
    assert len({server.host_key for server in servers}) == len(WANTED)


def test_a_new_machine_is_told_its_host_key_and_its_operator(site: Site) -> None:
    site.apply(WANTED[:1])
    (given,) = site.specs
    document = yaml.safe_load(given.user_data)
    assert document["hostname"] == given.name
    assert document["users"][0]["ssh_authorized_keys"] == ["ssh-ed25519 AAAA operator"]
    assert document["ssh_keys"]["ed25519_public"].startswith(given.host_key)
    assert given.authorized_keys == ("ssh-ed25519 AAAA operator",)


def test_no_private_key_is_journalled(site: Site) -> None:
    journal = MemoryJournal()
    site.apply(journal=journal)
    assert "PRIVATE" not in repr(journal.events())


def test_a_second_apply_changes_nothing(site: Site) -> None:
    site.apply()
    before = site.calls()
    assert site.plan().changes == ()
    assert site.plan().drift == ()
    journal = MemoryJournal()
    site.apply(journal=journal)
    assert site.calls() == before
    assert [event for event in journal.events() if event.type == "step.started"] == []


def test_what_is_off_is_powered_on(site: Site) -> None:
    site.apply()
    FakeMachines(site.clouds["west"], "lab").ensure_power("west-db-2", Power.OFF)
    before = len(site.clouds["west"].calls)
    site.apply()
    assert site.clouds["west"].calls[before:] == [("power on", "west-db-2")]


def test_the_keys_of_machines_made_from_elsewhere_are_learnt(site: Site) -> None:
    """Another operator's checkout, or a crash between the create and the record."""
    site.apply()
    trusted = site.hosts.observe()
    site.hosts = MemoryKnownHosts()
    site.apply()
    assert sorted(site.hosts.observe(), key=str) == sorted(trusted, key=str)


@pytest.mark.parametrize("dies_at", range(1, 74, 3))
def test_an_apply_that_was_killed_anywhere_is_finished_by_the_next(site: Site, dies_at: int) -> None:
    with pytest.raises(Killed):
        site.apply(journal=DyingJournal(dies_at=dies_at))
    site.apply()
    assert len(site.clouds["east"].servers) == len(site.clouds["west"].servers) == 6
    assert site.plan().changes == ()


def test_a_create_that_fails_is_told_and_mended_by_the_next_apply(site: Site) -> None:
    site.clouds["west"].fails["west-db-3"] = Rejected(
        "create the server", on="west: west-db-3", saw="No valid host was found"
    )
    with pytest.raises(StepFailed) as caught:
        site.apply()
    assert caught.value.sentence() == (
        "create west-db-3 on west: create the server on west: west-db-3: No valid host was found"
    )
    assert caught.value.next_command == "apply again"
    assert len(site.clouds["east"].servers) == 6  # the other site was finished
    (mend,) = [action for action in site.plan().changes if action.name == "west-db-3"]
    assert mend.do is Do.MEND
    site.apply()
    assert site.plan().changes == ()


def test_a_machine_that_never_answers_is_told_after_the_limit(site: Site) -> None:
    site.silent = frozenset({"east-edge-1"})
    with pytest.raises(StepFailed) as caught:
        site.apply()
    assert caught.value.sentence() == (
        "wait 180 s for an SSH answer from east-edge-1 on east: run true on east-edge-1: no answer on port 22"
    )
    assert site.clock.monotonic() == pytest.approx(BOOT_LIMIT_S)


def test_what_differs_is_left_as_it_is(site: Site) -> None:
    site.apply()
    bigger = tuple(replace(s, size=replace(s.size, memory_bytes=2 * GIB)) for s in WANTED)
    before = site.calls()
    assert {action.do for action in site.plan(bigger).actions} == {Do.DIFFERS}
    site.apply(bigger)
    assert site.calls() == before


def test_a_machine_whose_answer_could_not_be_proven_is_not_waited_for(site: Site) -> None:
    site.apply()
    cloud = site.clouds["east"]
    (server,) = [s for s in cloud.servers.values() if s.name == "east-edge-1"]
    cloud.servers[server.id] = replace(server, host_key="")
    site.apply()
    assert [action.name for action in site.plan().drift] == ["east-edge-1"]


def test_orphans_are_pruned_before_their_address_is_needed(site: Site) -> None:
    site.apply(WANTED[:1])
    renamed = replace(WANTED[0], name="east-store-1")
    site.apply((renamed,), prune=True)
    assert site.calls() == [
        ("create", "east-db-1"),
        ("delete", "east-db-1"),
        ("create", "east-store-1"),
    ]
    assert [host.name for host in site.hosts.observe()] == ["east-store-1"]


def test_destroy_removes_ours_and_forgets_their_keys(site: Site) -> None:
    site.apply()
    foreign = site.clouds["east"].put(replace(WANTED[0], name="x"), owner=None)
    site.destroy()
    assert list(site.clouds["east"].servers.values()) == [foreign]
    assert not site.clouds["west"].servers
    assert site.hosts.observe() == ()
    site.destroy()


def test_both_sites_are_worked_on_at_the_same_time(site: Site) -> None:
    journal = MemoryJournal()
    site.apply(journal=journal)
    started = [e.fields["step"] for e in journal.events() if e.type == "step.started"]
    done = [e.fields["step"] for e in journal.events() if e.type == "step.done"]
    assert {"create east-db-1", "create west-db-1"} <= set(started)
    assert len(done) == len(started) == 2 * len(WANTED)
