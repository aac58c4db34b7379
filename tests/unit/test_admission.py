"""Admission of a site that came back: its truth table, and over two sites in memory."""

import re
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from situations import ALL_UP, EAST_DOWN, World, state, vantage
from two_sites import Killed, TwoSites

from dcctl.domain.admission import decide_admission, decide_applied
from dcctl.domain.leadership import Epoch
from dcctl.domain.plan import Plan
from dcctl.domain.refusal import Refusal
from dcctl.domain.rejoin import why_not_touched
from dcctl.domain.run import ActiveRun
from dcctl.domain.situation import Documents
from dcctl.domain.traffic import Rotation
from dcctl.engines.admission import admit
from dcctl.engines.failover import failover
from dcctl.errors import Refused, StepFailed

ADMIT = partial(admit, "east")
BACK: dict[str, Any] = {
    "leader": "west-db-1",
    "primaries": ("west-db-1",),
    "synchronous": ("east-db-1",),
    "confirmed": ("east-db-1",),
    "timelines": {"east-db-1": 2, "west-db-1": 2},
    "states": {"east": state("east", Rotation.QUARANTINED, "failover to west")},
    "documents": Documents(0),
}
STRANDED: dict[str, Any] = {
    "synchronous": (),
    "confirmed": (),
    "timelines": {"east-db-1": 1, "west-db-1": 2},
}


@dataclass(frozen=True)
class Row:
    """East is back and has caught up, but for ``but``; then its admission is refused for these."""

    name: str
    but: dict[str, Any] = field(default_factory=dict)
    refused: tuple[str, ...] = ()


TRUTH = (
    Row("back and caught up: the plan"),
    Row("admitted already", {"states": {}}),
    Row("admitted already, whatever it looks like now", {"states": {}, "confirmed": ()}),
    Row(
        "drained by a person",
        {"states": {"east": state("east", Rotation.DRAINED)}},
        ("east is drained, not quarantined: dcctl undrain east",),
    ),
    Row(
        "a machine is silent",
        {"silent": {"east-edge-1"}},
        ("east-edge-1 does not answer", "edge east-edge-1 does not answer"),
    ),
    Row("its cloud is silent", {"cloud_silent": {"east"}}, ("the cloud's API at east does not answer",)),
    Row(
        "its voter is out",
        {"silent": {"east-db-1"}, "confirmed": ()},
        (
            "east-db-1 does not answer",
            "voter east-db-1 is not in the quorum",
            "database east-db-1 does not answer",
        ),
    ),
    Row(
        "its database does not follow",
        {"synchronous": (), "confirmed": ()},
        ("east-db-1 does not follow as a synchronous standby: it is running on timeline 2,",),
    ),
    Row(
        "its database is on the old timeline, and named synchronous",
        {"timelines": {"east-db-1": 1, "west-db-1": 2}},
        ("east-db-1 is on timeline 1, the primary on 2",),
    ),
    Row("its database is on the old timeline: it is rewound first", STRANDED),
    Row(
        "the same, and nobody has the leader key",
        {**STRANDED, "leader": None},
        ("east-db-1 does not follow as a synchronous standby: it is running on timeline 1",),
    ),
    Row(
        "the same, and it does not run",
        {**STRANDED, "stopped": {"east-db-1"}},
        ("east-db-1 does not follow as a synchronous standby: it is stopped on timeline 1",),
    ),
    Row(
        "it still calls itself primary",
        {"primaries": ("east-db-1", "west-db-1"), "timelines": {"east-db-1": 1, "west-db-1": 2}},
        ("east-db-1 still calls itself primary",),
    ),
    Row(
        "documents are missing",
        {"documents": Documents(2, held=1)},
        ("2 documents are not replicated yet", "1 documents are for a person to decide"),
    ),
    Row(
        "documents cannot be compared",
        {"documents": None, "documents_unknown": "east: no answer"},
        (r"whether the documents are replicated is not known: east: no answer",),
    ),
    Row(
        "epochs differ",
        {"epochs": {"auction": Epoch(1, 6)}},
        ("the database has epoch 1000000006 of auction in force, ZooKeeper 1000000007",),
    ),
    Row(
        "its agent is stale",
        {"vantages": (vantage("east-edge-1", ALL_UP, age_s=60), vantage("witness-1", ALL_UP))},
        ("no agent at east has published an observation just now",),
    ),
    Row(
        "the witness sees it down",
        {"vantages": (vantage("east-edge-1", ALL_UP), vantage("witness-1", EAST_DOWN))},
        ("witness-1 sees east down",),
    ),
    Row("no quorum", {"quorum": False}, ("ZooKeeper has no quorum",)),
    Row(
        "another run acts",
        {"run": ActiveRun("b", 4, "bob@there", "deploy", alive=True)},
        ("run b is active",),
    ),
)


@pytest.mark.parametrize("row", TRUTH, ids=lambda row: row.name)
def test_truth(row: Row) -> None:
    decided = decide_admission("east", World(**{**BACK, **row.but}).look())
    if not row.refused:
        assert isinstance(decided, Plan), decided
        return
    assert isinstance(decided, Refusal)
    for pattern in row.refused:
        assert any(re.search(pattern, each) for each in decided.reasons), (pattern, decided.reasons)
    assert not [
        each
        for each in decided.reasons
        if not any(re.search(pattern, each) for pattern in row.refused) and "cannot be read" not in each
    ]


def test_the_plan_reports_how_the_site_compares() -> None:
    plan = decide_admission("east", World(**BACK, lag_bytes=512).look())
    assert isinstance(plan, Plan)
    assert "east-db-1 follows west-db-1 on timeline 2, 512 bytes behind" in plan.notes
    assert "documents: nothing is pending, nothing waits for a person" in plan.notes


@pytest.mark.parametrize(
    ("but", "steps"),
    [
        (STRANDED, [("rebuild", "east-db-1"), ("admit", "east"), ("in rotation", "east")]),
        (
            {**STRANDED, "stopped": {"east-db-1"}},
            [("rebuild", "east-db-1"), ("admit", "east"), ("in rotation", "east")],
        ),
        ({}, [("admit", "east"), ("in rotation", "east")]),
    ],
)
def test_a_person_may_have_it_copied_anew_where_it_does_not_follow(but: Any, steps: Any) -> None:
    decided = decide_admission("east", World(**{**BACK, **but}).look(), rebuild=True)
    assert isinstance(decided, Plan), decided
    assert [(step.name, step.target) for step in decided.steps] == steps
    assert decided.loss == (("what east-db-1 has is removed, and west-db-1 copied anew",) if but else ())


@pytest.mark.parametrize(
    "but",
    [
        {"leader": "east-db-1", "primaries": ("east-db-1",)},
        {"leader": None},
        {"primaries": ("east-db-1", "west-db-1")},
        {"quorum": False},
        {"states": {}},
    ],
)
def test_no_copy_is_removed_that_may_be_the_only_one(but: Any) -> None:
    world = World(**{**BACK, **STRANDED, **but})
    assert why_not_touched("east", world.look())
    decided = decide_admission("east", world.look(), rebuild=True)
    assert isinstance(decided, Refusal) or "rebuild" not in [step.name for step in decided.steps]


def test_it_is_in_rotation_when_every_edges_agent_says_so_just_now() -> None:
    shows, hides = vantage("east-edge-1", ALL_UP), vantage("west-edge-1", ALL_UP, edge={"east": False})
    assert decide_applied("east", World().look()) == ()
    assert decide_applied("east", World(vantages=(shows, hides)).look()) == (
        "west-edge-1: east is not in rotation there yet",
    )
    assert decide_applied("east", World(vantages=(shows,)).look()) == ("west-edge-1: its agent is silent",)


def given_up() -> TwoSites:
    world = TwoSites()
    world.pass_time(100)
    world.cut("east")
    world.pass_time(16)
    world.perform(partial(failover, "east"))
    return world


def test_a_returned_site_is_admitted_once_it_has_caught_up() -> None:
    world = given_up()
    with pytest.raises(Refused, match="does not answer"):
        world.perform(ADMIT)
    world.heal("east")
    with pytest.raises(Refused, match="does not follow as a synchronous standby"):
        world.perform(ADMIT)
    world.pass_time(10)
    moved, _events = world.perform(ADMIT)
    assert world.state("east") is Rotation.ACTIVE
    assert moved.primary == "west-db-1"
    changed = list(world.calls)
    world.perform(ADMIT)
    assert world.calls == changed, "a second admission changes nothing"


def stranded(*, for_s: float = 100_000.0, in_vain: bool = False) -> TwoSites:
    """East is back; its database asks for a timeline that is no more, and Patroni leaves it at that."""
    world = given_up()
    world.heal("east")
    world.system.stranded_for_s = for_s
    world.system.in_vain = in_vain
    world.pass_time(5)
    return world


def test_a_database_that_patroni_does_not_rewind_is_started_anew_before_the_site_is_let_in() -> None:
    world = stranded()
    _moved, events = world.perform(ADMIT)
    assert world.calls[-2:] == [("start anew", "east-db-1"), ("active", "east")]
    told = next(event for event in events if event.type == "admission.rewind")
    assert told.fields["saw"] == "HTTP 503: restart failed"


def test_a_database_that_rewinds_by_itself_is_left_to_it() -> None:
    world = stranded(for_s=20.0)
    world.perform(ADMIT)
    assert world.state("east") is Rotation.ACTIVE
    assert "start anew" not in [what for what, _name in world.calls]


def test_what_cannot_be_rewound_stays_out_until_a_person_has_it_copied_anew() -> None:
    world = stranded(in_vain=True)
    with pytest.raises(StepFailed, match="on timeline 1, the primary is on 2") as failed:
        world.perform(ADMIT)
    assert failed.value.next_command == "dcctl admit east --rebuild"
    assert world.state("east") is Rotation.QUARANTINED
    world.perform(partial(admit, "east", rebuild=True))
    assert world.calls[-2:] == [("rebuild", "east-db-1"), ("active", "east")]
    assert world.state("east") is Rotation.ACTIVE


def test_a_failover_that_ended_midway_leaves_a_site_that_can_be_admitted() -> None:
    world = TwoSites()
    world.cut("east")
    world.pass_time(16)
    world.contends = {"east-edge-1"}
    with pytest.raises(StepFailed):
        world.perform(partial(failover, "east"))
    world.contends = {"east-edge-1", "west-edge-1"}
    world.heal("east")
    world.pass_time(30)
    world.perform(ADMIT)
    assert world.state("east") is Rotation.ACTIVE


@pytest.mark.parametrize("dies_at", range(1, 9))
def test_killed_at_any_boundary_the_next_one_ends_the_same(dies_at: int) -> None:
    world = given_up()
    world.heal("east")
    world.pass_time(10)
    with pytest.raises(Killed):
        world.perform(ADMIT, dies_at=dies_at)
    world.perform(ADMIT)
    assert world.state("east") is Rotation.ACTIVE
    assert world.calls.count(("active", "east")) == 1
