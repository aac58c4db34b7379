"""Switchover: its truth table, and over two sites in memory with every kill and a source that dies."""

import re
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from situations import World, role, state
from two_sites import Killed, TwoSites

from dcctl.domain.capacity import Fit
from dcctl.domain.plan import Plan
from dcctl.domain.refusal import Refusal
from dcctl.domain.run import ActiveRun
from dcctl.domain.switchover import LAG_AT_MOST_BYTES, decide_copied, decide_switchover
from dcctl.domain.traffic import Rotation
from dcctl.engines.switchover import switchover
from dcctl.errors import Refused, StepFailed, TimedOut

TO_WEST = partial(switchover, "west")


@dataclass(frozen=True)
class Row:
    """All is well with the primary at east, but for ``but``; moving to west is then refused for these."""

    name: str
    but: dict[str, Any] = field(default_factory=dict)
    refused: tuple[str, ...] = ()


TRUTH = (
    Row("all is well: the plan"),
    Row(
        "everything is there already",
        {
            "leader": "west-db-1",
            "primaries": ("west-db-1",),
            "synchronous": ("east-db-1",),
            "confirmed": ("east-db-1",),
            "roles": (role("auction", "west-edge-1"),),
        },
    ),
    Row("the source was drained by a person", {"states": {"east": state("east", Rotation.DRAINED)}}),
    Row(
        "no quorum",
        {"quorum": False},
        ("ZooKeeper has no quorum", "no voter of east", "no voter of west", "does not confirm|SINGLE-COPY"),
    ),
    Row(
        "the source is silent",
        {"silent": {"east-db-1", "east-edge-1"}},
        ("east does not answer: dcctl failover plan --lost east", "no database answers as primary"),
    ),
    Row(
        "the target is silent",
        {"silent": {"west-db-1", "west-edge-1"}},
        ("west does not answer: dcctl failover plan --lost west",),
    ),
    Row("an edge is silent", {"silent": {"west-edge-1"}}, ("west-edge-1 at west does not answer",)),
    Row(
        "single copy",
        {"synchronous": (), "confirmed": ()},
        ("the database is SINGLE-COPY: nobody at west has every acknowledged write",),
    ),
    Row(
        "the standby is elsewhere",
        {"synchronous": ("east-db-2",), "confirmed": ("east-db-2",)},
        ("east-db-2 is named synchronous and is not at west",),
    ),
    Row(
        "the standby does not confirm",
        {"confirmed": ()},
        ("west-db-1 is named synchronous and does not confirm",),
    ),
    Row(
        "the standby is far behind",
        {"lag_bytes": LAG_AT_MOST_BYTES + 1},
        (f"west-db-1 is {LAG_AT_MOST_BYTES + 1} bytes behind",),
    ),
    Row("Patroni is paused", {"paused": True}, ("Patroni is paused",)),
    Row(
        "both sites claim the primary, the source has the key",
        {"primaries": ("east-db-1", "west-db-1")},
        ("east-db-1 and west-db-1 both call themselves primary",),
    ),
    Row(
        "both sites claim the primary, the target is on a newer timeline",
        {"primaries": ("east-db-1", "west-db-1"), "timelines": {"west-db-1": 2}, "leader": "west-db-1"},
        ("east-db-1 and west-db-1 both call themselves primary",),
    ),
    Row("the witness's voter is lost, and the quorum is not", {"silent": {"witness-1"}}),
    Row(
        "the target's voter is lost, and with it the database beside it",
        {"silent": {"west-db-1"}},
        ("west-db-1 at west does not answer", "no voter of west is in the quorum"),
    ),
    Row(
        "the target is quarantined",
        {"states": {"west": state("west", Rotation.QUARANTINED)}},
        ("west is quarantined: no site would be active",),
    ),
    Row("the target is too small", {"fit": Fit.SHORT}, ("80 needed, 60 there",)),
    Row(
        "another run acts",
        {"run": ActiveRun("b", 4, "bob@there", "deploy", alive=True)},
        ("run b is active",),
    ),
)


@pytest.mark.parametrize("row", TRUTH, ids=lambda row: row.name)
def test_truth(row: Row) -> None:
    decided = decide_switchover("west", World(**row.but).look())
    if not row.refused:
        assert isinstance(decided, Plan), decided
        return
    assert isinstance(decided, Refusal)
    for pattern in row.refused:
        assert any(re.search(pattern, each) for each in decided.reasons), (pattern, decided.reasons)
    unnamed = [
        each for each in decided.reasons if not any(re.search(pattern, each) for pattern in row.refused)
    ]
    assert not [each for each in unnamed if "cannot be read" not in each]


def test_a_second_copy_must_be_at_the_other_site_and_confirm() -> None:
    moved = {"leader": "west-db-1", "primaries": ("west-db-1",)}
    assert (
        decide_copied("west", World(**moved, synchronous=("east-db-1",), confirmed=("east-db-1",)).look())
        == ()
    )
    waiting = World(**moved, synchronous=("east-db-1",), confirmed=()).look()
    assert decide_copied("west", waiting) == ("east-db-1 is named synchronous and does not confirm",)
    single = World(**moved, synchronous=(), confirmed=()).look()
    assert decide_copied("west", single) == ("no synchronous standby is named: the database is SINGLE-COPY",)


def test_the_primary_and_the_singletons_move_and_a_second_copy_is_there() -> None:
    world = TwoSites()
    moved, _events = world.perform(TO_WEST)
    assert (moved.primary, moved.single_copy, world.leader) == ("west-db-1", False, "west-edge-1")
    assert world.system.synchronous == "east-db-1"
    assert sorted(world.written) == [("east-edge-1", "west-db-1"), ("west-edge-1", "west-db-1")]
    moved, _events = world.perform(partial(switchover, "east"))
    assert (moved.primary, world.leader) == ("east-db-1", "east-edge-1")


def test_what_is_there_already_is_left_there() -> None:
    world = TwoSites()
    world.perform(TO_WEST)
    changed, epoch = list(world.calls), world.epoch
    world.perform(TO_WEST)
    assert (world.calls, world.epoch) == (changed, epoch)


def test_a_singleton_that_the_wrong_side_takes_up_again_is_asked_for_again() -> None:
    world = TwoSites(faster="east-edge-1")
    world.perform(TO_WEST)
    assert world.leader == "west-edge-1"


def test_a_singleton_that_only_the_source_contends_for_ends_the_run() -> None:
    world = TwoSites(contends={"east-edge-1"})
    with pytest.raises(StepFailed, match="does west contend for it") as failure:
        world.perform(TO_WEST)
    assert failure.value.next_command == "dcctl run resume run-1"


def test_without_a_second_copy_it_does_not_end_well() -> None:
    world = TwoSites()
    world.system.never_rejoins = True
    with pytest.raises(StepFailed, match="SINGLE-COPY"):
        world.perform(TO_WEST)


def test_a_source_that_dies_midway_is_failed_over_in_the_same_run() -> None:
    world = TwoSites(dies_in_switch="east", switch_fails=TimedOut("switch", saw="no answer within 30 s"))
    moved, events = world.perform(TO_WEST)
    told = [event.type for event in events]
    assert told.count("run.started") == 1
    decided = told.index("switchover.decided")
    assert decided < told.index("switchover.escalated") < told.index("failover.decided")
    assert (moved.plan.what, moved.primary, moved.single_copy) == ("failover", "west-db-1", True)
    assert (world.state("east"), world.state("west")) == (Rotation.QUARANTINED, Rotation.ACTIVE)
    assert world.leader == "west-edge-1"
    assert {database for _edge, database in world.written} == {"west-db-1"}
    assert world.registry.moved is not None
    assert world.registry.moved.what == "failover"


def test_without_the_evidence_a_source_that_fell_silent_is_not_given_up() -> None:
    """It does not answer the operator, and its agent still speaks to the quorum."""
    world = TwoSites(dies_in_switch="east", switch_fails=TimedOut("switch", saw="no answer within 30 s"))
    world.system.promote_after_s = 100_000
    with pytest.raises(StepFailed) as failure:
        world.perform(TO_WEST)
    assert failure.value.exit_code == 6
    assert world.state("east") is Rotation.ACTIVE


def test_a_run_that_is_resumed_after_its_source_died_goes_on_as_its_failover() -> None:
    for dies_at in range(1, boundaries() + 1):
        world = TwoSites()
        with pytest.raises(Killed):
            world.perform(TO_WEST, dies_at=dies_at)
        begun = world.calls != []
        at_west = world.system.primary == "west-db-1"
        world.cut("east")
        world.pass_time(60)
        try:
            moved, events = world.resume(TO_WEST)
        except Refused as refused:
            assert not begun, "what has begun to move is not left lying"
            assert "dcctl failover plan --lost east" in str(refused)
            assert world.calls == []
            continue
        assert [event.type for event in events].count("run.resumed") == 1
        assert (moved.plan.what, moved.primary) == ("failover", "west-db-1")
        assert world.state("east") is Rotation.QUARANTINED
        assert world.calls.count(("switch", "west-db-1")) == (1 if at_west else 0)


def test_an_answer_that_was_lost_is_looked_for() -> None:
    """Patroni switched, and its answer did not come back."""
    world = TwoSites()
    switch = world.switch_over

    def deaf(leader: str, candidate: str, *, limit_s: float) -> str:
        switch(leader, candidate, limit_s=limit_s)
        raise TimedOut("switch", saw="no answer within 30 s")

    world.switch_over = deaf  # type: ignore[method-assign]
    moved, _events = world.perform(TO_WEST)
    assert moved.primary == "west-db-1"
    assert world.calls.count(("switch", "west-db-1")) == 1


def test_a_silent_source_is_refused_before_anything() -> None:
    world = TwoSites()
    world.cut("east")
    with pytest.raises(Refused, match="dcctl failover plan --lost east"):
        world.perform(TO_WEST)
    assert world.calls == []


def boundaries() -> int:
    _moved, events = TwoSites().perform(TO_WEST)
    return len(events)


@pytest.mark.parametrize("dies_at", range(1, boundaries() + 1))
def test_killed_at_any_boundary_the_next_one_ends_the_same(dies_at: int) -> None:
    world = TwoSites()
    with pytest.raises(Killed):
        world.perform(TO_WEST, dies_at=dies_at)
    world.pass_time(30)
    moved, _events = world.perform(TO_WEST)
    assert (moved.primary, moved.single_copy, world.leader) == ("west-db-1", False, "west-edge-1")
    assert world.calls.count(("switch", "west-db-1")) == 1
    assert {database for _edge, database in world.written} == {"west-db-1"}
