"""Failover over two sites in memory: the good way, every boundary at which its operator may be killed."""

from collections.abc import Mapping
from functools import partial

import pytest
from two_sites import Killed, TwoSites

from dcctl.domain.leadership import Epoch
from dcctl.domain.situation import Documents
from dcctl.domain.traffic import Rotation, SiteState
from dcctl.engines.failover import failover
from dcctl.errors import Overtaken, Refused, StepFailed, TimedOut
from dcctl.testing.leadership import FakeEpochs

FAILOVER = partial(failover, "east")


def east_dark(**more: object) -> TwoSites:
    """East went dark five seconds ago: seen down, and still known to the quorum."""
    world = TwoSites(**more)  # type: ignore[arg-type]
    world.pass_time(100)
    world.cut("east")
    world.pass_time(16)
    return world


def test_everything_is_at_the_survivor_afterwards() -> None:
    world = east_dark()
    before = world.epoch
    moved, events = world.perform(FAILOVER)
    assert (moved.primary, moved.single_copy) == ("west-db-1", True)
    assert moved.written_by == {"west-edge-1": "west-db-1"}
    assert world.state("east") is Rotation.QUARANTINED
    assert world.state("west") is Rotation.ACTIVE
    assert (world.leader, world.epoch > before) == ("west-edge-1", True)
    assert world.written == [("west-edge-1", "west-db-1")]
    told = [event.type for event in events]
    assert told.index("failover.fenced") < told.index("failover.writes") < told.index("failover.single_copy")
    assert world.registry.active is None


def test_nothing_is_changed_before_the_quorum_has_forgotten_the_site() -> None:
    world = east_dark()
    world.system.promote_after_s = 100_000
    with pytest.raises(TimedOut, match="the session of east-db-1 has not ended yet"):
        world.perform(FAILOVER)
    assert world.calls == []
    assert world.state("east") is Rotation.ACTIVE


def test_a_site_that_is_not_lost_is_refused_and_nothing_is_changed() -> None:
    world = TwoSites()
    with pytest.raises(Refused, match="east is not lost"):
        world.perform(FAILOVER)
    assert world.calls == []
    assert world.registry.active is None


def test_a_site_that_comes_back_while_it_is_waited_for_is_not_given_up() -> None:
    world = east_dark()
    with world.acting() as means:
        work = failover("east", means)
        wait = next(work)
        assert wait.until() is None  # type: ignore[union-attr]
        world.heal("east")
        world.pass_time(1)
        with pytest.raises(Overtaken, match="east is not lost"):
            wait.until()  # type: ignore[union-attr]
    assert world.calls == []


def test_machines_are_powered_off_where_the_cloud_answers() -> None:
    world = east_dark(api_answers=True)
    moved, _events = world.perform(FAILOVER)
    assert ("off", "east-db-1") in world.calls
    assert world.calls.index(("quarantined", "east")) < world.calls.index(("off", "east-db-1"))
    assert moved.fences[0] == "powered off and read back: east-db-1, east-edge-1"


def test_power_that_is_not_proven_is_no_fence_and_the_store_must_be() -> None:
    world = east_dark(api_answers=True, unproven=("east-db-1",))
    moved, _events = world.perform(FAILOVER)
    assert "not proven: east-db-1 (it reads on, not off)" in moved.fences[0]
    assert "none there can acknowledge a write" in moved.fences[1]


def test_a_singleton_that_nobody_takes_up_ends_the_run_saying_so() -> None:
    world = east_dark(contends={"east-edge-1"})
    with pytest.raises(StepFailed, match="auction is led by east-edge-1 at east"):
        world.perform(FAILOVER)
    assert world.state("east") is Rotation.QUARANTINED
    world.contends.add("west-edge-1")
    world.perform(FAILOVER)
    assert world.leader == "west-edge-1"


def test_the_database_is_not_asked_for_epochs_while_a_role_is_led_at_the_lost_site() -> None:
    """The way to it may begin at a dark edge, where every question takes its whole limit."""

    class Asked(FakeEpochs):
        times = 0

        def observe(self, *, limit_s: float) -> Mapping[str, Epoch]:
            self.times += 1
            return super().observe(limit_s=limit_s)

    world = east_dark(contends={"east-edge-1"})
    world.epochs = Asked()
    with pytest.raises(StepFailed):
        world.perform(FAILOVER)
    assert world.epochs.times == 0
    world.contends.add("west-edge-1")
    world.perform(FAILOVER)
    assert world.epochs.times == 1


def test_a_survivor_that_does_not_serve_is_no_success() -> None:
    world = east_dark(fails_to_serve=("west-app-1/swift: HTTP 503",))
    with pytest.raises(StepFailed, match="west-app-1/swift: HTTP 503"):
        world.perform(FAILOVER)


def test_what_the_documents_cost_is_told() -> None:
    world = east_dark(documents=Documents(4))
    moved, _events = world.perform(FAILOVER)
    assert any("4 names were pending" in each for each in moved.plan.loss)


def test_a_second_failover_changes_nothing() -> None:
    world = east_dark()
    world.perform(FAILOVER)
    changed, epoch = list(world.calls), world.epoch
    moved, _events = world.perform(FAILOVER)
    assert (world.calls, world.epoch) == (changed, epoch)
    assert moved.primary == "west-db-1"


def test_a_second_operator_is_refused_while_the_first_acts() -> None:
    world = east_dark()
    with world.acting(), pytest.raises(Refused, match="run run-1 is active"):
        world.perform(FAILOVER)


def test_a_person_who_changed_the_site_meanwhile_is_not_overwritten() -> None:
    world = east_dark()
    world.coordinator.states["west"] = SiteState("west", Rotation.DRAINED, "maintenance", "bob", version=0)
    with pytest.raises(Refused, match="no site would be active"):
        world.perform(FAILOVER)
    assert world.calls == []


def boundaries() -> int:
    """How many events a failover without a kill writes."""
    world = east_dark()
    _moved, events = world.perform(FAILOVER)
    return len(events)


@pytest.mark.parametrize("dies_at", range(1, boundaries() + 1))
def test_killed_at_any_boundary_the_next_one_ends_the_same(dies_at: int) -> None:
    """At each event of the journal: before an effect, and after it and before it is written."""
    world = east_dark()
    with pytest.raises(Killed):
        world.perform(FAILOVER, dies_at=dies_at)
    moved, _events = world.perform(FAILOVER)
    assert (moved.primary, moved.single_copy) == ("west-db-1", True)
    assert world.state("east") is Rotation.QUARANTINED
    assert world.state("west") is Rotation.ACTIVE
    assert world.leader == "west-edge-1"
    assert {database for _edge, database in world.written} == {"west-db-1"}
    assert world.calls.count(("quarantined", "east")) == 1, "what holds already is not done twice"
    assert world.registry.active is None


@pytest.mark.parametrize("dies_at", range(1, boundaries() + 1))
def test_after_a_kill_a_site_that_came_back_is_not_given_up_again(dies_at: int) -> None:
    world = east_dark()
    with pytest.raises(Killed):
        world.perform(FAILOVER, dies_at=dies_at)
    world.heal("east")
    world.pass_time(60)
    before = list(world.calls)
    with pytest.raises(Refused, match="east is not lost"):
        world.perform(FAILOVER)
    assert world.calls == before
