"""What may be decided about rotation: one row per case, and the engine over fakes."""

from dataclasses import replace
from datetime import UTC, time, timedelta

import pytest

from dcctl.domain.refusal import Refusal
from dcctl.domain.rules import ChangeWindow, Override, Rule, SafetyRules, rule_of
from dcctl.domain.traffic import (
    BACKENDS,
    EdgeApplied,
    EdgeServer,
    Observation,
    Rotation,
    RotationPlan,
    Serving,
    SiteState,
    decide_applied_at,
    decide_drain,
    decide_serving,
    decide_undrain,
    decide_weights,
)
from dcctl.domain.turn import turn_steps
from dcctl.engines.agent import Agent, Loop, Moment
from dcctl.engines.status import in_turn
from dcctl.engines.traffic import Means, put_back, take_out
from dcctl.errors import Refused, Rejected, StepFailed, TimedOut, Unreachable
from dcctl.shell import perform
from dcctl.testing.clock import VirtualClock
from dcctl.testing.journal import MemoryJournal
from dcctl.testing.traffic import (
    FakeCoordinator,
    FakeEdge,
    FakeSites,
    FakeTraffic,
    FakeVantages,
    edge_servers,
)

PLACES = {
    "east-app-1": "east",
    "west-app-1": "west",
    "east-edge-1": "east",
    "west-edge-1": "west",
    "witness-1": "witness",
}
A, D, Q = Rotation.ACTIVE, Rotation.DRAINED, Rotation.QUARANTINED
BOTH = {"east-edge-1": True, "west-edge-1": True}
DARK = "no answer"
ALWAYS_CLOSED = ChangeWindow(UTC, time.min, time.max, weekdays=tuple(range(7)))


def states(east: Rotation, west: Rotation) -> tuple[SiteState, ...]:
    return SiteState("east", east, by="ann@ops", version=1), SiteState("west", west, by="bob@ops", version=4)


def serving(east: str = "", west: str = "") -> tuple[Serving, ...]:
    return Serving("east", ok=not east, why_not=east), Serving("west", ok=not west, why_not=west)


@pytest.mark.parametrize(
    ("east", "west", "why_not_west", "edges", "capacity", "says"),
    [
        (A, A, "", BOTH, (), None),
        (A, A, "", {**BOTH, "east-edge-1": False}, (), None),
        (A, D, "", BOTH, (), "no site would be left to serve: west is drained"),
        (A, Q, "", BOTH, (), "no site would be left to serve: west is quarantined"),
        (A, A, "west-edge-1 does not answer", BOTH, (), "left to serve: west-edge-1 does not answer"),
        (A, A, "", BOTH, ("west: 2 cores needed, 1 there",), "2 cores needed"),
        (A, A, "", dict.fromkeys(BOTH, False), (), "no edge answers"),
        (D, A, "", BOTH, ("west: 2 cores needed, 1 there",), None),
        (D, Q, "all is lost", BOTH, (), None),
        (Q, A, "", BOTH, (), None),
    ],
)
def test_drain_east(  # noqa: PLR0917  # one row of the table
    east: Rotation,
    west: Rotation,
    why_not_west: str,
    edges: dict[str, bool],
    capacity: tuple[str, ...],
    says: str | None,
) -> None:
    decided = decide_drain("east", states(east, west), serving(west=why_not_west), edges, capacity=capacity)
    if says is not None:
        assert isinstance(decided, Refusal)
        assert says in "; ".join(decided.reasons)
        return
    assert isinstance(decided, RotationPlan)
    assert decided.change is (east is A)
    assert decided.to is (D if east is A else east), "a quarantined site stays quarantined"
    assert decided.expected == 1


def test_drain_gives_every_reason() -> None:
    decided = decide_drain(
        "east",
        states(A, Q),
        serving(),
        dict.fromkeys(BOTH, False),
        capacity=("west: no sessions left",),
    )
    assert isinstance(decided, Refusal)
    assert len(decided.reasons) == 3


def test_a_site_that_nobody_looked_at_is_not_counted_on() -> None:
    decided = decide_drain("east", states(A, A), serving()[:1], BOTH)
    assert isinstance(decided, Refusal)
    assert "nobody looked at west" in decided.reasons[0]


@pytest.mark.parametrize("decide", [decide_drain, decide_undrain])
def test_an_unknown_site_is_refused(decide: object) -> None:
    assert callable(decide)
    decided = decide("north", states(A, A), serving(), BOTH)
    assert isinstance(decided, Refusal)
    assert "north is no site" in decided.reasons[0]


@pytest.mark.parametrize(
    ("east", "why_not", "says"),
    [
        (D, "", None),
        (A, "", None),
        (A, "east-edge-1 finds no server of east up for cdb", None),
        (D, "east-edge-1 finds no server of east up for cdb", "no server of east up"),
        (Q, "", "only its admission puts it back"),
    ],
)
def test_undrain_east(east: Rotation, why_not: str, says: str | None) -> None:
    decided = decide_undrain("east", states(east, A), serving(east=why_not), BOTH)
    if says is not None:
        assert isinstance(decided, Refusal)
        assert says in decided.reasons[0]
        return
    assert isinstance(decided, RotationPlan)
    assert (decided.to, decided.change) == (A, east is not A)


def test_weights_leave_alone_what_is_not_ours_and_the_database() -> None:
    servers = (
        EdgeServer("cdb", "east-app-1", in_rotation=True, up=True, status="UP"),
        EdgeServer("cdb", "somebody-else", in_rotation=True, up=True, status="UP"),
        EdgeServer("postgresql_primary", "east-db-1", in_rotation=True, up=True, status="UP"),
        EdgeServer("rotation", "east", in_rotation=True, up=True, status="no check"),
    )
    steers = decide_weights(states(D, A), servers, {**PLACES, "east-db-1": "east"})
    assert isinstance(steers, tuple)
    assert [(each.backend, each.server, each.in_rotation) for each in steers] == [
        ("cdb", "east-app-1", False),
        ("rotation", "east", False),
    ]


@pytest.mark.parametrize(("east", "west"), [(D, D), (Q, D), (Q, Q)])
def test_an_edge_is_never_left_without_a_site(east: Rotation, west: Rotation) -> None:
    assert isinstance(decide_weights(states(east, west), edge_servers("east", PLACES), PLACES), Refusal)


def test_who_serves() -> None:
    well = edge_servers("east", PLACES, BACKENDS)
    assert decide_serving("east", {"east-edge-1": well}, PLACES).ok
    down = tuple(replace(each, up=each.name != "east-app-1" or each.backend != "cdb") for each in well)
    told = decide_serving("east", {"east-edge-1": down}, PLACES)
    assert (told.ok, "up for cdb" in told.why_not) == (False, True)
    assert "does not answer: no answer" in decide_serving("east", {"east-edge-1": DARK}, PLACES).why_not
    assert "has no edge" in decide_serving("east", {"west-edge-1": well}, PLACES).why_not
    started = tuple(
        replace(each, up=False, status="MAINT") if each.name == "east-app-1" else each for each in well
    )
    assert not decide_serving("east", {"east-edge-1": started}, PLACES).ok
    assert decide_serving("east", {"east-edge-1": started, "west-edge-1": well}, PLACES).ok


PLAN = RotationPlan("east", D, SiteState("east"), True, ("west-edge-1",), (), ("west",))
OUT = EdgeApplied({"east": False, "west": True})


def test_applied_needs_the_edge_and_its_agent() -> None:
    servers = tuple(
        replace(each, in_rotation="east" not in each.name) for each in edge_servers("west", PLACES)
    )
    assert decide_applied_at(PLAN, servers, OUT, PLACES) == ""
    assert "no agent" in decide_applied_at(PLAN, servers, None, PLACES)
    assert "not applied" in decide_applied_at(PLAN, servers, EdgeApplied({"east": True}), PLACES)
    refused = EdgeApplied({"east": True}, "set server: Permission denied")
    assert "Permission denied" in decide_applied_at(PLAN, servers, refused, PLACES)
    lying = edge_servers("west", PLACES)
    assert "cdb/east-app-1 is not as its agent says" in decide_applied_at(PLAN, lying, OUT, PLACES)
    hidden = tuple(replace(each, up=False, status="DOWN") for each in lying)
    assert decide_applied_at(PLAN, hidden, OUT, PLACES) == "", "one that is down gets no work either way"
    assert "does not answer" in decide_applied_at(PLAN, DARK, OUT, PLACES)


class World:
    """Two edges with their agents, which turn whenever the operator waits."""

    def __init__(self, *, rules: SafetyRules | None = None, resumed: bool = False) -> None:
        self.rules = rules or SafetyRules()
        self.resumed = resumed
        self.overrides: tuple[Override, ...] = ()
        self.clock = VirtualClock()
        self.coordinator = FakeCoordinator()
        self.edges = {
            name: FakeEdge(edge_servers(PLACES[name], PLACES)) for name in ("east-edge-1", "west-edge-1")
        }
        self.agents = {
            name: Agent(
                name,
                PLACES[name],
                PLACES,
                FakeSites(self.coordinator),
                FakeVantages(self.coordinator),
                edge,
                tuple,
            )
            for name, edge in self.edges.items()
        }
        self.loops: dict[str, Loop] = {name: agent.watch() for name, agent in self.agents.items()}
        self.steering: dict[str, Loop] = {name: agent.steer() for name, agent in self.agents.items()}
        for loop in (*self.loops.values(), *self.steering.values()):
            next(loop)
        self.turn()
        self.journal = MemoryJournal(now=self.clock.now)
        self.finishes_at_s: float | None = None
        self.refusals: tuple[str, ...] = ()

    def turn(self) -> None:
        moment = Moment(self.clock.monotonic(), self.clock.now())
        for loops in (self.steering, self.loops):
            for loop in loops.values():
                for _pause in range(3):
                    loop.send(moment)

    def now(self) -> float:
        return self.clock.monotonic()

    def monotonic(self) -> float:
        return self.clock.monotonic()

    def sleep(self, seconds: float) -> None:
        self.clock.sleep(seconds)
        self.turn()
        if self.finishes_at_s is not None and self.clock.monotonic() >= self.finishes_at_s:
            self.edges["west-edge-1"].works_on("cdb", "east-app-1", 0)

    def means(self) -> Means:
        return Means(
            sites=FakeSites(self.coordinator),
            vantages=FakeVantages(self.coordinator),
            edges=FakeTraffic(self.edges),
            places=PLACES,
            capacity=lambda _site: self.refusals,
            ask=in_turn,
            now=self.clock.now,
            by="ann@ops",
            journal=self.journal,
            rules=self.rules,
            overrides=self.overrides,
            resumed=self.resumed,
        )

    def drain(self, site: str = "east", idle_limit_s: float = 20.0) -> RotationPlan:
        work = take_out(site, self.means(), reason="a new kernel", idle_limit_s=idle_limit_s)
        return perform(work, clock=self, journal=self.journal)  # type: ignore[arg-type]  # turns the agents

    def undrain(self, site: str = "east") -> RotationPlan:
        work = put_back(site, self.means(), reason="done")
        return perform(work, clock=self, journal=self.journal)  # type: ignore[arg-type]  # turns the agents

    def in_rotation(self, site: str) -> set[bool]:
        return {
            server.in_rotation
            for edge in self.edges.values()
            for server in edge.servers.values()
            if server.name.startswith(site)
        }


def test_a_drained_site_is_out_at_both_edges_and_comes_back() -> None:
    world = World()
    plan = world.drain()
    assert (plan.change, world.in_rotation("east"), world.in_rotation("west")) == (True, {False}, {True})
    written = world.coordinator.states["east"]
    assert (written.state, written.by, written.reason) == (D, "ann@ops", "a new kernel")
    again = world.drain()
    assert not again.change
    assert world.coordinator.states["east"].version == written.version, "nothing is written twice"
    world.undrain()
    assert world.in_rotation("east") == {True}
    assert world.coordinator.states["east"].state is A


def test_the_steps_that_are_shown_are_those_that_are_carried_out() -> None:
    world = World()

    def carried_out(since: int) -> list[str]:
        events = world.journal.events()[since:]
        return [event.fields["of"] for event in events if event.fields.get("of") and "started" in event.type]

    for turn, way_back in ((world.drain, "dcctl undrain east"), (world.undrain, "dcctl drain east")):
        since = len(world.journal.events())
        steps = turn_steps(turn())
        assert carried_out(since) == [step.name for step in steps]
        assert [step.way_back for step in steps if step.way_back] == [way_back]
        assert all(step.proof and step.limit_s > 0 for step in steps)
    since = len(world.journal.events())
    again = turn_steps(world.undrain())
    assert carried_out(since) == ["applied"]
    assert [step.way_back for step in again] == [""], "nothing is changed"


def test_what_is_in_flight_is_waited_for() -> None:
    world = World()
    world.edges["west-edge-1"].works_on("cdb", "east-app-1", 2)
    world.finishes_at_s = world.now() + 5
    world.drain()
    assert world.now() >= world.finishes_at_s


def test_what_is_still_in_flight_is_named_and_the_site_stays_out() -> None:
    world = World()
    world.edges["west-edge-1"].works_on("cdb", "east-app-1", 2)
    with pytest.raises(StepFailed, match="west-edge-1 has 2 in flight at cdb/east-app-1"):
        world.drain(idle_limit_s=3)
    assert world.in_rotation("east") == {False}
    with pytest.raises(TimedOut, match="west-edge-1 has 2"):
        world.drain(idle_limit_s=3)


def test_a_refusal_changes_nothing() -> None:
    world = World()
    world.refusals = ("west: 2 cores needed, 1 there",)
    with pytest.raises(Refused, match="2 cores needed"):
        world.drain()
    assert world.coordinator.states == {}


def test_nothing_is_taken_out_in_the_hours_of_auctions_and_everything_is_put_back() -> None:
    world = World(rules=SafetyRules(change_window=ALWAYS_CLOSED))
    with pytest.raises(Refused) as refused:
        world.drain()
    assert [rule_of(each) for each in refused.value.reasons] == [Rule.CHANGE_WINDOW]
    assert world.in_rotation("east") == {True}
    world.rules = SafetyRules()
    world.drain()
    world.rules = SafetyRules(change_window=ALWAYS_CLOSED)
    assert world.drain().change is False, "what is out already is waited for at any hour"
    world.undrain()
    assert world.in_rotation("east") == {True}


def test_a_drain_that_was_begun_goes_on_at_any_hour() -> None:
    world = World(rules=SafetyRules(change_window=ALWAYS_CLOSED), resumed=True)
    world.drain()
    assert world.in_rotation("east") == {False}


def test_a_person_may_override_a_rule_for_one_drain_and_the_run_keeps_it() -> None:
    world = World(rules=SafetyRules(change_window=ALWAYS_CLOSED))
    world.refusals = ("west: 2 cores needed, 1 there",)
    world.overrides = tuple(
        Override(rule, "the roof leaks", "ann@ops")
        for rule in (Rule.CHANGE_WINDOW, Rule.SURVIVOR_HAS_HEADROOM)
    )
    plan = world.drain()
    assert {each.rule for each in plan.overridden} == {Rule.CHANGE_WINDOW, Rule.SURVIVOR_HAS_HEADROOM}
    kept = [each.fields for each in world.journal.events() if each.type == "rule.overridden"]
    assert [(each["rule"], each["by"], each["reason"]) for each in kept] == [
        ("change-window", "ann@ops", "the roof leaks"),
        ("survivor-has-headroom", "ann@ops", "the roof leaks"),
    ]
    assert "2 cores needed" in str(kept[1]["waived"])


def test_nobody_overrides_that_a_site_is_left() -> None:
    every = tuple(Override(rule, "because", "ann@ops") for rule in Rule)
    decided = decide_drain("east", states(A, Q), serving(), BOTH, overrides=every)
    assert isinstance(decided, Refusal)
    assert [rule_of(each) for each in decided.reasons] == [Rule.NEVER_ZERO_ACTIVE]
    decided = decide_undrain("east", states(Q, A), serving(), BOTH, overrides=every)
    assert isinstance(decided, Refusal)
    assert [rule_of(each) for each in decided.reasons] == [Rule.CAUGHT_UP]


def test_a_person_may_put_a_site_back_that_is_not_seen_from_here() -> None:
    unseen = serving(east="east-edge-1 does not answer: no answer")
    decided = decide_undrain("east", states(D, A), unseen, BOTH)
    assert isinstance(decided, Refusal)
    assert [rule_of(each) for each in decided.reasons] == [Rule.NO_UNKNOWN_VERDICT]
    word = Override(Rule.NO_UNKNOWN_VERDICT, "its users say that it serves", "ann@ops")
    decided = decide_undrain("east", states(D, A), unseen, BOTH, overrides=(word,))
    assert isinstance(decided, RotationPlan)
    assert (decided.to, len(decided.overridden)) == (A, 1)


def test_the_last_site_is_not_drained() -> None:
    world = World()
    world.drain("west")
    with pytest.raises(Refused, match="no site would be left to serve: west is drained"):
        world.drain("east")


def test_an_edge_that_refuses_the_command_is_named_with_its_words() -> None:
    world = World()
    world.edges["west-edge-1"].refuses = Rejected("set server", on="agent.sock", saw="Permission denied")
    with pytest.raises(StepFailed, match=r"west-edge-1: .*Permission denied") as failure:
        world.drain()
    assert failure.value.exit_code == 6
    assert world.coordinator.states["east"].state is D, "it is wanted still, and the agent goes on trying"


def test_an_edge_whose_agent_is_silent_is_not_taken_for_done() -> None:
    world = World()
    world.loops.pop("west-edge-1")
    world.steering.pop("west-edge-1")
    with pytest.raises(StepFailed, match=r"west-edge-1: (no agent beside it|its agent has not)"):
        world.drain()


def test_a_dark_edge_holds_nothing_up() -> None:
    world = World()
    world.edges["east-edge-1"].dark = True
    plan = world.drain()
    assert (plan.edges, plan.dark) == (("west-edge-1",), ("east-edge-1",))


def test_without_a_quorum_nothing_is_begun() -> None:
    world = World()
    world.coordinator.dark = True
    with pytest.raises(Unreachable) as failure:
        world.drain()
    assert failure.value.exit_code == 4


def test_somebody_who_was_quicker_is_named() -> None:
    world = World()
    sites = FakeSites(world.coordinator)
    means = world.means()
    plan = decide_drain("east", sites.observe_sites(), serving(), BOTH)
    assert isinstance(plan, RotationPlan)
    sites.change_site(SiteState("east", Q, by="the failover"), expected=None)
    with pytest.raises(Refused, match="the failover made it quarantined"):
        means.sites.change_site(SiteState("east", D, by="ann@ops"), expected=plan.expected)


def test_an_observation_that_is_old_proves_nothing() -> None:
    world = World()
    world.drain()
    old: Observation = world.coordinator.observations["west-edge-1"]
    world.loops.clear()
    world.steering.clear()
    world.coordinator.observations["west-edge-1"] = replace(old, at=old.at - timedelta(minutes=5))
    with pytest.raises(TimedOut, match="no agent beside it says"):
        world.drain()
