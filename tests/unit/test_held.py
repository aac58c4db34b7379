"""Clients of the pools wait while the primary moves, and never for longer because of us."""

from dataclasses import replace
from typing import Any

import pytest
from two_sites import TwoSites

from dcctl.domain.plan import Plan
from dcctl.domain.switchover import decide_switchover
from dcctl.engines.situation import Means, observe_situation
from dcctl.engines.switchover import switchover
from dcctl.errors import DcctlError, Rejected, TimedOut
from dcctl.testing.pools import FakePools

EDGES = ("east-edge-1", "west-edge-1")
SILENT = "no answer on port 22"
HOLD = ("hold", "east-db-1", "west-db-1")


class Seen(TwoSites):
    """Notes who is held at the moment at which the primary moves, and what it was asked before."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.pools = FakePools(self.clock, EDGES, lambda: self.system.primary)
        self.held_then: list[str] = []
        self.ready = ""

    def make_ready(self, member: str, *, limit_s: float) -> str:  # noqa: ARG002
        assert not any(self.pools.holds(edge) for edge in EDGES), "nobody waits for what can be done before"
        self.calls.append(("ready", member))
        return self.ready

    def switch_over(self, leader: str, candidate: str, *, limit_s: float) -> str:
        self.held_then = [edge for edge in EDGES if self.pools.holds(edge)]
        return super().switch_over(leader, candidate, limit_s=limit_s)

    def means(self, runs: Any = None) -> Means:
        return replace(super().means(runs), pools=self.pools)

    def nobody_waits(self) -> bool:
        return not any(self.pools.holds(edge) for edge in EDGES)


def to_west(means: Means) -> Any:
    return switchover("west", means)


@pytest.mark.parametrize("silent", [{}, {"east-edge-1": SILENT}])
def test_everybody_who_can_be_is_held_before_the_primary_moves(silent: dict[str, str]) -> None:
    world = Seen()
    world.pools.silent = silent
    moved, events = world.perform(to_west)
    assert moved.primary == "west-db-1"
    assert world.calls[:3] == [("ready", "east-db-1"), ("ready", "west-db-1"), ("switch", "west-db-1")]
    assert world.pools.asked == [HOLD], "the edges let go by themselves"
    assert world.held_then == [edge for edge in EDGES if edge not in silent]
    assert world.nobody_waits()
    held = next(event for event in events if event.type == "switchover.held")
    assert held.fields["clients"] == {edge: silent.get(edge, "held") for edge in EDGES}
    assert held.fields["saw"].endswith("west-edge-1: held")


def test_a_move_that_patroni_refuses_holds_nobody_any_longer() -> None:
    world = Seen(switch_fails=Rejected("move", on="east-db-1", saw="HTTP 412"))
    with pytest.raises(DcctlError, match="HTTP 412"):
        world.perform(to_west)
    assert world.pools.asked == [HOLD, ("let go",)]
    assert world.nobody_waits()


def test_a_source_that_dies_holds_nobody_while_its_failover_waits() -> None:
    world = Seen(dies_in_switch="east", switch_fails=TimedOut("switch", saw="no answer within 30 s"))
    moved, events = world.perform(to_west)
    assert moved.primary == "west-db-1"
    told = [event.type for event in events]
    assert "switchover.escalated" in told
    assert world.pools.asked[0] == HOLD
    assert set(world.pools.asked[1:]) == {("let go",)}
    decided = told.index("failover.decided")
    let_go = next(n for n, each in enumerate(events) if "go on" in str(each.fields.get("step")))
    assert told.index("switchover.escalated") < let_go < decided


def test_where_no_checkpoint_was_written_the_primary_is_moved_all_the_same_and_that_is_told() -> None:
    world = Seen()
    world.ready = "must be superuser"
    _moved, events = world.perform(to_west)
    told = [event.fields for event in events if event.type == "switchover.not_ready"]
    assert told == [{"member": member, "saw": "must be superuser"} for member in ("east-db-1", "west-db-1")]


def test_the_preview_names_the_edges_whose_clients_will_see_a_break() -> None:
    world = Seen()
    world.pools.silent = {"west-edge-1": SILENT}
    plan = decide_switchover("west", observe_situation(world.means(), losing="east", pools=True))
    assert isinstance(plan, Plan)
    assert plan.notes == (f"clients of the pool of west-edge-1 are not held, and see a break: {SILENT}",)
    unasked = decide_switchover("west", observe_situation(world.means(), losing="east"))
    assert isinstance(unasked, Plan)
    assert unasked.notes == ()
