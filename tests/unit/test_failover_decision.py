"""Whether a site may be given up: one row per reason, and what the plan says."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from situations import (
    ALL_UP,
    EAST_DOWN,
    NOW,
    SITES,
    Sight,
    World,
    east_lost,
    role,
    state,
    vantage,
)

from dcctl.domain.capacity import Fit
from dcctl.domain.failover import (
    decide_database_fenced,
    decide_edges_lead,
    decide_failover,
    decide_forgotten,
    decide_promoted,
)
from dcctl.domain.plan import Plan
from dcctl.domain.probe import Health, ProbeResult
from dcctl.domain.refusal import Refusal
from dcctl.domain.run import ActiveRun
from dcctl.domain.situation import Documents
from dcctl.domain.traffic import Observation, Rotation
from dcctl.domain.verdict import decide_sight, decide_vantage

WEST_EDGE, WITNESS = vantage("west-edge-1", EAST_DOWN), vantage("witness-1", EAST_DOWN)
BLIND = {"east": Sight.UNKNOWN, "west": Sight.UP}


@dataclass(frozen=True)
class Row:
    """East is lost, but for ``but``; then the reasons are these, all of them, and no other."""

    name: str
    but: dict[str, Any] = field(default_factory=dict)
    refused: tuple[str, ...] = ()


TRUTH = (
    Row("lost, with its primary: the plan"),
    Row("lost, the survivor was promoted already", {"leader": "west-db-1", "primaries": ("west-db-1",)}),
    Row(
        "lost, and the survivor is a single copy after its own promotion",
        {"leader": "west-db-1", "primaries": ("west-db-1",), "synchronous": ()},
    ),
    Row("lost, the primary always was at the survivor", {"leader": "west-db-1", "synchronous": ()}),
    Row("lost, the key still lives: it is waited for", {"leader": "east-db-1", "members": ("east-db-1",)}),
    Row(
        "lost, an earlier failover quarantined it", {"states": {"east": state("east", Rotation.QUARANTINED)}}
    ),
    Row("lost while drained", {"states": {"east": state("east", Rotation.DRAINED)}}),
    Row(
        "lost, its own last observation is stale",
        {"vantages": (vantage("east-edge-1", ALL_UP, age_s=40.0), WEST_EDGE, WITNESS)},
    ),
    Row(
        "lost, the survivor's agent is stale, the witness's and ours are not",
        {"vantages": (vantage("west-edge-1", EAST_DOWN, age_s=40.0), WITNESS)},
    ),
    Row(
        "a machine of it answers here",
        {"silent": {"east-db-1"}},
        ("east is not lost: east-edge-1 answers here",),
    ),
    Row(
        "both sites claim the primary: the lost one's answers",
        {"silent": {"east-edge-1"}, "primaries": ("east-db-1", "west-db-1"), "leader": "west-db-1"},
        (
            "east is not lost: east-db-1 answers here",
            "east is not lost: voter east-db-1 is in the quorum",
        ),
    ),
    Row(
        "the witness sees it",
        {"vantages": (WEST_EDGE, vantage("witness-1", ALL_UP))},
        ("east is not lost: witness-1 sees it",),
    ),
    Row(
        "the survivor's agent sees it",
        {"vantages": (vantage("west-edge-1", ALL_UP), WITNESS)},
        ("east is not lost: west-edge-1 sees it",),
    ),
    Row(
        "its own agent reaches the quorum",
        {"vantages": (vantage("east-edge-1", ALL_UP), WEST_EDGE, WITNESS)},
        ("east is not lost: east-edge-1 reached the quorum from there 1 s ago",),
    ),
    Row(
        "the witness is stale",
        {"vantages": (WEST_EDGE, vantage("witness-1", EAST_DOWN, age_s=16.0))},
        ("unknown: the witness has not seen east down; it looked 16 s ago, which says nothing",),
    ),
    Row(
        "the witness speaks from the future",
        {"vantages": (WEST_EDGE, vantage("witness-1", EAST_DOWN, age_s=-60.0))},
        ("unknown: the witness has not seen east down; it looked -60 s ago, which says nothing",),
    ),
    Row(
        "the witness's probes died",
        {"vantages": (WEST_EDGE, vantage("witness-1", BLIND))},
        ("unknown: the witness has not seen east down",),
    ),
    Row(
        "nobody but us looked",
        {"vantages": ()},
        (
            "unknown: 1 of 2 vantages that are needed saw east down just now",
            "unknown: the witness has not seen east down; it has published no observation",
        ),
    ),
    Row("no witness", {"witness": False}, ("no witness is configured",)),
    Row(
        "neither site answers here",
        {"silent": {"east-db-1", "east-edge-1", "west-db-1", "west-edge-1"}},
        (
            "west does not answer here either",
            "ZooKeeper has no quorum: 1 of 3",
            "west-db-1, which has every acknowledged write, does not run",
        ),
    ),
    Row(
        "no quorum",
        {"quorum": False},
        ("ZooKeeper has no quorum: 0 of 3 voters serve",),
    ),
    Row(
        "single copy",
        {"synchronous": ()},
        ("the database is SINGLE-COPY: west may lack writes that east acknowledged",),
    ),
    Row(
        "the standby is at the lost site itself",
        {"synchronous": ("east-db-2",)},
        ("the synchronous standby is east-db-2, not at west",),
    ),
    Row(
        "the standby does not answer",
        {"silent": {"east-db-1", "east-edge-1", "west-db-1"}},
        ("ZooKeeper has no quorum: 1 of 3", "west-db-1, which has every acknowledged write, does not run"),
    ),
    Row(
        "the standby does not run",
        {"stopped": {"west-db-1"}},
        ("west-db-1, which has every acknowledged write, does not run",),
    ),
    Row("Patroni is paused", {"paused": True}, ("Patroni is paused",)),
    Row(
        "the survivor is drained",
        {"states": {"west": state("west", Rotation.DRAINED, "maintenance")}},
        (r"west is drained \(maintenance\): no site would be active",),
    ),
    Row(
        "the survivor is quarantined",
        {"states": {"west": state("west", Rotation.QUARANTINED)}},
        ("west is quarantined: no site would be active",),
    ),
    Row("the survivor is too small", {"fit": Fit.SHORT}, ("west: app requests/s: 80 needed, 60 there",)),
    Row("the survivor's room is not known", {"fit": Fit.UNKNOWN}, ("west: app requests/s: 80 needed",)),
    Row(
        "another run acts",
        {"run": ActiveRun("20260102-b", 4, "bob@there", "deploy", alive=True)},
        ("run 20260102-b is active: deploy, by bob@there",),
    ),
    Row(
        "a run that was broken off is taken over",
        {"run": ActiveRun("20260102-b", 4, "bob@there", "failover", alive=False)},
    ),
    Row(
        "everything at once is told at once",
        {"synchronous": (), "paused": True, "fit": Fit.SHORT, "vantages": ()},
        (
            "unknown: 1 of 2",
            "unknown: the witness",
            "SINGLE-COPY",
            "paused",
            "80 needed, 60 there",
        ),
    ),
)


@pytest.mark.parametrize("row", TRUTH, ids=lambda row: row.name)
def test_truth(row: Row) -> None:
    decided = decide_failover("east", east_lost(**row.but).look())
    if not row.refused:
        assert isinstance(decided, Plan), decided
        return
    assert isinstance(decided, Refusal)
    said = list(decided.reasons)
    for pattern in row.refused:
        matching = [each for each in said if _matches(pattern, each)]
        assert matching, f"{pattern!r} is not among {said}"
        said.remove(matching[0])
    assert said == [], "told beside what the row names"


def _matches(pattern: str, text: str) -> bool:
    import re

    return re.search(pattern, text) is not None


def test_a_site_in_which_all_is_well_is_refused_with_what_answers() -> None:
    decided = decide_failover("east", World().look())
    assert isinstance(decided, Refusal)
    assert "east is not lost: east-db-1, east-edge-1 answer here" in decided.reasons
    assert "east is not lost: witness-1 sees it" in decided.reasons
    assert "east is not lost: voter east-db-1 is in the quorum" in decided.reasons


def test_the_plan_names_what_moves_and_what_it_costs() -> None:
    plan = decide_failover("east", east_lost(documents=Documents(3)).look())
    assert isinstance(plan, Plan)
    assert (plan.survivor, plan.primary, plan.candidate, plan.roles) == (
        "west",
        "east-db-1",
        "west-db-1",
        ("auction",),
    )
    assert any("no acknowledged write" in each for each in plan.loss)
    assert any("SINGLE-COPY until east is admitted" in each for each in plan.loss)
    assert any("3 names were pending" in each for each in plan.loss)
    assert [step.name for step in plan.steps if step.no_return] == ["quarantine"]
    assert all(step.limit_s > 0 and step.proof for step in plan.steps)


def test_documents_that_nobody_can_count_are_said_to_be_unknown() -> None:
    plan = decide_failover("east", east_lost(documents_unknown="west-app-1: no answer").look())
    assert isinstance(plan, Plan)
    assert any("not known (west-app-1: no answer)" in each for each in plan.loss)


def test_a_session_that_lives_is_waited_for_and_named() -> None:
    situation = east_lost(leader="east-db-1", members=("east-db-1", "west-db-1")).look()
    plan = decide_failover("east", situation)
    assert isinstance(plan, Plan)
    assert any("the quorum still knows east-db-1" in each for each in plan.notes)
    assert decide_forgotten("east", situation) == ("the session of east-db-1 has not ended yet",)
    assert decide_forgotten("east", east_lost().look()) == ()


@pytest.mark.parametrize(
    ("but", "reasons"),
    [
        ({}, ()),
        ({"leader": "west-db-1"}, ()),
        ({"leader": "west-db-1", "synchronous": ()}, ()),
        ({"leader": "east-db-1"}, ("the session of east-db-1 has not ended yet",)),
        ({"members": ("east-db-1",)}, ("the session of east-db-1 has not ended yet",)),
        ({"synchronous": ("east-db-1",)}, ("east-db-1 at east is named synchronous",)),
        (
            {"leader": "west-db-1", "synchronous": ("east-db-1",), "members": ("east-db-1", "west-db-1")},
            ("the session of east-db-1 has not ended yet", "east-db-1 at east is named synchronous"),
        ),
        (
            {
                "leader": "west-db-1",
                "synchronous": ("east-db-1",),
                "synchronous_to": "west-db-1",
                "members": ("east-db-1", "west-db-1"),
            },
            (),
        ),
        (
            {"synchronous": ()},
            ("nobody leads, and no synchronous standby is named: a single copy may be anywhere",),
        ),
        ({"quorum": False}, ("Patroni's keys cannot be read: no server is in a quorum",)),
    ],
)
def test_the_database_is_fenced_by_the_quorums_word_alone(
    but: dict[str, Any], reasons: tuple[str, ...]
) -> None:
    assert decide_database_fenced("east", east_lost(**but).look()) == reasons


@pytest.mark.parametrize(
    ("but", "reasons"),
    [
        ({"leader": "west-db-1", "primaries": ("west-db-1",)}, ()),
        ({}, ("the leader key is held by nobody",)),
        ({"leader": "east-db-1"}, ("the leader key is held by east-db-1",)),
        ({"leader": "west-db-1"}, ("nobody says that it is primary, west-db-1 has the key",)),
        (
            {"leader": "west-db-1", "primaries": ("east-db-1", "west-db-1"), "silent": set()},
            ("east-db-1, west-db-1 says that it is primary, west-db-1 has the key",),
        ),
    ],
)
def test_promoted_is_who_has_the_key_and_says_so_alone(but: dict[str, Any], reasons: tuple[str, ...]) -> None:
    assert decide_promoted("west", east_lost(**but).look()) == reasons


def test_the_survivors_edges_must_lead_to_the_primary() -> None:
    assert decide_edges_lead("west", east_lost(leader="west-db-1", primaries=("west-db-1",)).look()) == ()
    assert decide_edges_lead("west", east_lost().look()) == ("edge west-edge-1 sends writes to nobody",)


def result(name: str, *, ok: bool | None, health: Health, site: str = "east") -> ProbeResult:
    return ProbeResult(name, name.partition("/")[0], "tcp", site, ok, "", 0.1, NOW, health=health)


@pytest.mark.parametrize(
    ("results", "sight"),
    [
        ((), Sight.UNKNOWN),
        ((result("east-db-1/ssh", ok=True, health=Health.UNKNOWN),), Sight.UP),
        ((result("east-db-1/ssh", ok=False, health=Health.UNKNOWN),), Sight.UNKNOWN),
        ((result("east-db-1/ssh", ok=False, health=Health.DOWN),), Sight.DOWN),
        ((result("east-db-1/ssh", ok=None, health=Health.DOWN),), Sight.UNKNOWN),
        (
            (
                result("east-db-1/ssh", ok=False, health=Health.DOWN),
                result("east-edge-1/ssh", ok=True, health=Health.DOWN),
            ),
            Sight.UP,
        ),
        (
            (
                result("east-db-1/ssh", ok=False, health=Health.DOWN),
                result("east/cloud", ok=True, health=Health.UP),
                result("east/api", ok=True, health=Health.UP),
            ),
            Sight.DOWN,
        ),
        ((result("west-db-1/ssh", ok=False, health=Health.DOWN, site="west"),), Sight.UNKNOWN),
    ],
)
def test_a_sight_needs_something_seen(results: tuple[ProbeResult, ...], sight: Sight) -> None:
    assert decide_sight(results, "east") is sight


def test_an_observation_is_worth_less_as_it_ages() -> None:
    results = (result("east-db-1/ssh", ok=False, health=Health.DOWN),)
    for age_s, sight in ((0, Sight.DOWN), (15, Sight.DOWN), (16, Sight.UNKNOWN), (-16, Sight.UNKNOWN)):
        seen = Observation("witness-1", "witness", NOW - timedelta(seconds=age_s), 3, results)
        assert decide_vantage(seen, SITES, NOW).sees("east") is sight


def test_roles_whose_work_may_not_be_over_are_part_of_the_plan() -> None:
    roles = (
        role("auction", "east-edge-1"),
        role("replication", "west-edge-1"),
        role("old", None, released=True),
        role("vanished", None),
        role("controller", "east-edge-1"),
    )
    plan = decide_failover("east", east_lost(roles=roles).look())
    assert isinstance(plan, Plan)
    assert plan.roles == ("auction", "vanished"), "where the controller is led is the agents' own affair"
