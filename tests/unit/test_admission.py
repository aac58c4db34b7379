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
        "its database is on the old timeline",
        {"timelines": {"east-db-1": 1, "west-db-1": 2}},
        ("east-db-1 is on timeline 1, the primary on 2",),
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
