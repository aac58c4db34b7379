"""Clients of the pools wait while the primary moves, and never for longer because of us."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from two_sites import TwoSites

from dcctl.engines.switchover import HOLD_S, switchover
from dcctl.errors import DcctlError, Rejected


class FakePools:
    """``ports.Pools``; one edge cannot be held where ``broken``."""

    def __init__(self, world: TwoSites, *, broken: str = "") -> None:
        self._world = world
        self._broken = broken
        self.calls: list[tuple[str, str]] = []

    def hold(self, old: str, new: str, *, for_s: float, limit_s: float) -> Mapping[str, str]:  # noqa: ARG002
        assert for_s == HOLD_S
        assert self._world.system.primary == old, "held before the primary moves"
        self.calls.append((old, new))
        return {"east-edge-1": self._broken, "west-edge-1": ""}

    def let_go(self, *, limit_s: float) -> Mapping[str, str]:  # noqa: ARG002
        self.calls.append(("let", "go"))
        return {}


@pytest.mark.parametrize("broken", ["", "no channel"])
def test_everybody_is_held_before_the_primary_moves_and_the_pools_let_go_by_themselves(broken: str) -> None:
    world = TwoSites()
    pools = FakePools(world, broken=broken)
    moved, events = world.perform(lambda means: switchover("west", replace(means, pools=pools)))
    assert moved.primary == "west-db-1"
    assert pools.calls == [("east-db-1", "west-db-1")]
    held = next(event for event in events if event.type == "switchover.held")
    assert held.fields["clients"] == {"east-edge-1": broken or "held", "west-edge-1": "held"}


def test_a_move_that_patroni_refuses_holds_nobody_any_longer() -> None:
    world = TwoSites(switch_fails=Rejected("move", on="east-db-1", saw="HTTP 412"))
    pools = FakePools(world)
    with pytest.raises(DcctlError, match="HTTP 412"):
        world.perform(lambda means: switchover("west", replace(means, pools=pools)))
    assert pools.calls == [("east-db-1", "west-db-1"), ("let", "go")]
