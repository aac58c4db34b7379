"""The agent's loops in virtual time: cut off, refused, lied to, frozen."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from dcctl.domain.agent import AgentView, decide_agent_health, lease_left_s
from dcctl.domain.leadership import Epoch
from dcctl.domain.probe import Health, ProbeResult
from dcctl.domain.traffic import Observation, Rotation, SiteState
from dcctl.domain.verdict import Verdict
from dcctl.engines.agent import (
    CONTEND_AFTER_S,
    GUARD_EVERY_S,
    PULSE_EVERY_S,
    STEER_EVERY_S,
    SUPERSEDED_AFTER_S,
    WATCH_EVERY_S,
    Agent,
    Loop,
    Moment,
)
from dcctl.errors import Rejected, Unreachable
from dcctl.testing.clock import VirtualClock
from dcctl.testing.traffic import (
    FakeCoordinator,
    FakeEdge,
    FakeSites,
    FakeVantages,
    edge_servers,
    fenced_servers,
)

PLACES = {
    "east-app-1": "east",
    "west-app-1": "west",
    "east-db-1": "east",
    "west-db-1": "west",
    "east-edge-1": "east",
    "witness-1": "witness",
}


@dataclass
class World:
    """One agent beside an edge at east, driven in virtual time."""

    clock: VirtualClock = field(default_factory=VirtualClock)
    coordinator: FakeCoordinator = field(default_factory=FakeCoordinator)
    probe: Callable[[], tuple[ProbeResult, ...]] = tuple
    only: tuple[str, ...] = ("steer", "watch", "pulse", "guard")
    """The loops that turn."""
    lease_left_s: float = 8.0

    def __post_init__(self) -> None:
        self.edge = FakeEdge((*edge_servers("east", PLACES), *fenced_servers("east", PLACES)))
        self.sites = FakeSites(self.coordinator)
        self.vantages = FakeVantages(self.coordinator)
        self.agent = Agent("east-edge-1", "east", PLACES, self.sites, self.vantages, self.edge, self.probe)
        self.agent.lease_left_s = lambda: self.lease_left_s
        loops = [getattr(self.agent, name)() for name in self.only]
        self._loops: list[tuple[Loop, float]] = [(loop, 0.0) for loop in loops]
        self._loops = [(loop, next(loop)) for loop, _due_s in self._loops]

    def run(self, seconds: float) -> None:
        until_s = self.clock.monotonic() + seconds
        while True:
            loop, due_s = min(self._loops, key=lambda each: each[1])
            if due_s > until_s:
                break
            self.clock.sleep(due_s - self.clock.monotonic())
            pause_s = loop.send(Moment(self.clock.monotonic(), self.clock.now()))
            self._loops = [
                (each, self.clock.monotonic() + pause_s if each is loop else due) for each, due in self._loops
            ]
        self.clock.sleep(until_s - self.clock.monotonic())

    def want(self, site: str, state: Rotation) -> None:
        now = self.coordinator.states.get(site, SiteState(site))
        version = 0 if now.version is None else now.version + 1
        self.coordinator.states[site] = SiteState(site, state, by="ann@ops", version=version)

    def writes(self) -> set[bool]:
        """Whether the databases get writes, as the edge has them."""
        return {each.in_rotation for key, each in self.edge.servers.items() if key[0] == "postgresql_primary"}

    def in_rotation(self, backend: str, name: str) -> bool:
        return self.edge.servers[backend, name].in_rotation


def test_a_site_that_is_drained_is_left_within_a_round_and_taken_back() -> None:
    world = World()
    world.run(3)
    assert world.edge.commands == []
    world.want("east", Rotation.DRAINED)
    world.run(STEER_EVERY_S * 2)
    assert not world.in_rotation("cdb", "east-app-1")
    assert not world.in_rotation("rotation", "east")
    assert world.in_rotation("cdb", "west-app-1")
    published = world.coordinator.observations["east-edge-1"]
    assert published.edge is not None
    assert (published.edge.rotation, published.edge.problem) == ({"east": False, "west": True}, "")
    world.want("east", Rotation.ACTIVE)
    world.run(STEER_EVERY_S * 2)
    assert all(server.in_rotation for server in world.edge.servers.values())
    assert len(world.edge.commands) == 4, "nothing is commanded that is so already"


def test_it_publishes_every_round_and_counts_them() -> None:
    world = World(only=("steer", "watch"))
    world.run(WATCH_EVERY_S * 3 + 0.1)
    assert world.coordinator.observations["east-edge-1"].round == 4
    assert world.agent.watching.rounds == 4


def test_it_shows_the_epoch_of_each_role_and_none_that_it_did_not_hear_of() -> None:
    world = World(only=("watch",))
    heard = {"auction": Epoch(1, 7)}

    def ask() -> dict[str, Epoch]:
        if world.coordinator.dark:
            raise Unreachable("list the roles", saw="no connection to ZooKeeper")
        return dict(heard)

    world.agent.ask_epochs = ask
    world.coordinator.dark = True
    world.run(1)
    assert world.agent.epochs == {}
    world.coordinator.dark = False
    world.run(WATCH_EVERY_S)
    assert world.agent.epochs == {"auction": Epoch(1, 7)}
    heard["auction"] = Epoch(1, 8)
    world.run(WATCH_EVERY_S)
    world.coordinator.dark = True
    world.run(WATCH_EVERY_S)
    assert world.agent.epochs == {"auction": Epoch(1, 8)}


def test_cut_off_it_keeps_the_weights_and_publishes_nothing() -> None:
    world = World()
    world.want("east", Rotation.DRAINED)
    world.run(3)
    world.sites.cut = world.vantages.cut = True
    world.vantages.die()  # its session ends
    world.want("east", Rotation.ACTIVE)
    commands = len(world.edge.commands)
    world.run(30)
    assert not world.in_rotation("cdb", "east-app-1"), "the last weights are kept"
    assert len(world.edge.commands) == commands
    assert world.coordinator.observations == {}
    assert "no connection" in world.agent.unreached
    world.sites.cut = world.vantages.cut = False
    world.run(3)
    assert world.in_rotation("cdb", "east-app-1")
    assert world.agent.unreached == ""
    assert "east-edge-1" in world.coordinator.observations


def test_cut_off_it_brings_a_restarted_edge_back_to_the_last_weights() -> None:
    world = World()
    world.want("west", Rotation.QUARANTINED)
    world.run(1)
    world.sites.cut = world.vantages.cut = True
    for key, server in world.edge.servers.items():
        world.edge.servers[key] = replace(server, in_rotation=server.name != "east-app-1")
    world.run(1)
    assert world.in_rotation("cdb", "east-app-1")
    assert not world.in_rotation("cdb", "west-app-1")


def test_an_agent_that_never_knew_changes_nothing() -> None:
    world = World()
    world.coordinator.dark = True
    world.want("west", Rotation.QUARANTINED)
    world.run(10)
    assert world.edge.commands == []
    assert world.agent.applied is None


def test_states_that_leave_no_site_are_not_applied() -> None:
    world = World()
    world.want("east", Rotation.DRAINED)
    world.run(1)
    world.want("west", Rotation.QUARANTINED)
    world.run(1)
    assert world.in_rotation("cdb", "west-app-1")
    assert world.agent.applied is not None
    assert "no site would be in rotation" in world.agent.applied.problem


def test_an_edge_that_refuses_is_told_of_and_asked_again() -> None:
    world = World()
    world.edge.refuses = Rejected("set server", on="agent.sock", saw="Permission denied")
    world.want("east", Rotation.DRAINED)
    world.run(2)
    applied = world.coordinator.observations["east-edge-1"].edge
    assert applied is not None
    assert applied.rotation["east"] is True
    assert "Permission denied" in applied.problem
    world.edge.refuses = None
    world.run(1)
    assert world.agent.applied is not None
    assert (world.agent.applied.rotation["east"], world.agent.applied.problem) == (False, "")


def test_an_edge_that_lies_is_read_back() -> None:
    world = World()
    world.edge.deaf = True
    world.want("east", Rotation.DRAINED)
    world.run(1)
    assert world.agent.applied is not None
    assert "did not follow" in world.agent.applied.problem
    assert world.agent.applied.rotation["east"] is True


def test_a_silent_edge_is_unknown_and_never_in_rotation_by_default() -> None:
    world = World()
    world.run(1)
    world.edge.dark = True
    world.run(1)
    assert world.agent.applied is not None
    assert world.agent.applied.rotation == {"east": None, "west": None}
    assert "Connection refused" in world.agent.applied.problem


def test_what_is_wanted_is_read_again_before_each_effect() -> None:
    """Somebody changes their mind while the edge is being steered: the rest is not done."""
    world = World()
    world.run(1)
    world.want("east", Rotation.DRAINED)
    steer = world.edge.steer

    def steer_and_change(backend: str, server: str, *, in_rotation: bool, at_once: bool = False) -> None:
        steer(backend, server, in_rotation=in_rotation, at_once=at_once)
        if len(world.edge.commands) == 1:
            world.want("east", Rotation.ACTIVE)

    world.edge.steer = steer_and_change  # type: ignore[method-assign]
    world.run(STEER_EVERY_S)
    assert len(world.edge.commands) == 1
    world.run(STEER_EVERY_S)
    assert all(server.in_rotation for server in world.edge.servers.values())


def test_the_witness_has_no_edge_and_watches() -> None:
    world = World()
    agent = Agent("witness-1", "witness", PLACES, world.sites, world.vantages, None, tuple)
    loop = agent.watch()
    next(loop)
    loop.send(Moment(0.0, world.clock.now()))
    loop.send(Moment(0.0, world.clock.now()))
    assert world.coordinator.observations["witness-1"].edge is None
    agent.leave()
    assert world.coordinator.observations == {}


WELL = AgentView(lease_age_s=0.4, session_s=10.0, steered_age_s=0.5, watched_age_s=2.0)


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (WELL, ""),
        (replace(WELL, lease_age_s=9.9), ""),
        (replace(WELL, lease_age_s=10.1), "last answered 10.1 s ago"),
        (replace(WELL, lease_age_s=None), "not answered yet"),
        (replace(WELL, session_s=None), "not answered yet"),
        (replace(WELL, steered_age_s=11), "last steered 11.0 s ago"),
        (replace(WELL, watched_age_s=31), "probes ended 31.0 s ago"),
        (replace(WELL, problem="Permission denied"), "Permission denied"),
    ],
)
def test_health(view: AgentView, reason: str) -> None:
    reasons = decide_agent_health(view)
    assert bool(reasons) is bool(reason)
    assert reason in " ".join(reasons)


def test_its_writes_are_shut_before_its_lease_is_over_and_opened_when_it_is_held_again() -> None:
    world = World()
    world.run(3)
    assert world.writes() == {True}
    world.edge.works_on("postgresql_primary", "east-db-1", 7)
    world.lease_left_s = 0.0
    world.run(GUARD_EVERY_S)
    assert world.writes() == {False}
    assert world.edge.servers["postgresql_primary", "east-db-1"].in_flight == 0, "sessions are ended"
    assert not world.in_rotation("rotation", "east"), "clients are told to leave"
    assert not world.in_rotation("lease", "east"), "what is read is marked stale"
    assert world.in_rotation("cdb", "east-app-1"), "reads go on"
    assert "east is fenced: its lease has run out" in world.agent.fence()
    world.run(5)
    assert not world.in_rotation("rotation", "east"), "steering does not put back what is fenced"
    world.lease_left_s = 8.0
    world.run(2)
    assert world.writes() == {True}
    assert world.in_rotation("rotation", "east")
    assert world.in_rotation("lease", "east")
    assert world.agent.fence() == ""


def test_a_fence_waits_for_nobody() -> None:
    """The ensemble's silence holds the loops that ask it, and not the one that shuts."""
    world = World(only=("guard",))
    world.coordinator.dark = True
    world.lease_left_s = -1.0
    world.run(GUARD_EVERY_S)
    assert world.writes() == {False}


def test_an_edge_that_cannot_be_shut_is_told_of_and_tried_again() -> None:
    world = World()
    world.run(1)
    world.edge.dark = True
    world.lease_left_s = 0.0
    world.run(2)
    assert "could not be shut" in world.agent.fence()
    assert "Connection refused" in world.agent.fence()
    world.edge.dark = False
    world.run(1)
    assert world.writes() == {False}
    assert "could not be shut" not in world.agent.fence()


def test_what_an_earlier_life_left_shut_is_opened() -> None:
    world = World()
    for key, server in world.edge.servers.items():
        if key[0] == "postgresql_primary":
            world.edge.servers[key] = replace(server, in_rotation=False)
    world.run(GUARD_EVERY_S)
    assert world.writes() == {True}


@pytest.mark.parametrize(
    ("acknowledged_s", "now_s", "over"),
    [(None, 8.4, False), (None, 8.6, True), (5.0, 13.4, False), (5.0, 13.6, True), (5.0, 500.0, True)],
)
def test_a_lease_ends_by_the_send_time_of_what_was_acknowledged(
    acknowledged_s: float | None, now_s: float, over: bool
) -> None:
    assert (lease_left_s(now_s, acknowledged_s, 0.0, 10.0) <= 0) is over


def probed(site: str, *, ok: bool, name: str = "") -> ProbeResult:
    what = name or f"{site}-db-1"
    at = VirtualClock().now()
    health = Health.UP if ok else Health.DOWN
    return ProbeResult(f"{what}/zookeeper", what, "zookeeper", site, ok, "", 0.1, at, health=health)


def test_it_publishes_a_pulse_every_second_and_judges_the_sites() -> None:
    felt = [probed("east", ok=True), probed("west", ok=True)]
    world = World()
    world.agent.feel = lambda: tuple(felt)
    world.run(PULSE_EVERY_S * 3 + 0.1)
    assert world.agent.pulsing.rounds >= 3
    assert world.coordinator.observations["east-edge-1"].pulse == tuple(felt)
    assert {each.site: each.verdict for each in world.agent.verdicts} == {
        "east": Verdict.UP,
        "west": Verdict.UP,
    }
    felt[1] = probed("west", ok=False)
    world.run(PULSE_EVERY_S * 2)
    verdicts = {each.site: each for each in world.agent.verdicts}
    assert verdicts["west"].verdict is Verdict.UNKNOWN, "one vantage is not enough"
    world.coordinator.dark = True
    world.run(PULSE_EVERY_S * 2)
    verdicts = {each.site: each for each in world.agent.verdicts}
    assert (verdicts["east"].verdict, verdicts["west"].verdict) == (Verdict.ISOLATED, Verdict.UNKNOWN)


def test_the_witness_contends_first_and_a_site_while_it_is_not_there() -> None:
    world = World()
    world.run(3)
    assert not world.agent.is_eligible(), "the witness may just be starting, too"
    world.run(CONTEND_AFTER_S)
    assert world.agent.is_eligible(), "there is no witness"
    assert not world.agent.is_superseded()
    witness = FakeVantages(world.coordinator)
    for _second in range(int(SUPERSEDED_AFTER_S) + 3):
        witness.publish(Observation("witness-1", "witness", world.clock.now(), 1))
        world.run(1)
        assert not world.agent.is_eligible()
    assert world.agent.is_superseded(), "it has been back for a minute"
    witness.die()
    world.run(CONTEND_AFTER_S + 3)
    assert world.agent.is_eligible()
    world.agent.place = "witness"
    assert not world.agent.is_superseded()


def test_at_a_quarantined_site_nobody_contends_before_it_is_admitted() -> None:
    world = World()
    world.run(CONTEND_AFTER_S + 3)
    assert world.agent.is_eligible(), "there is no witness"
    world.want("east", Rotation.QUARANTINED)
    world.run(1)
    assert not world.agent.is_eligible()
    world.want("east", Rotation.ACTIVE)
    world.run(1)
    assert world.agent.is_eligible()


def test_cut_off_nobody_is_eligible() -> None:
    world = World()
    world.coordinator.dark = True
    world.run(2 * CONTEND_AFTER_S)
    assert not world.agent.is_eligible()
