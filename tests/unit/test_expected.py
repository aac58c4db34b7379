"""How long a move will take, by the journals of those before it; and how its preview looks."""

import io
import json
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from rich.console import Console
from situations import NOW, World, east_lost, state
from test_failover_engine import east_dark
from two_sites import TwoSites

from dcctl.adapters.auctions import observe_rounds
from dcctl.cli.move_view import draw_preview, preview_document
from dcctl.domain.admission import decide_admission
from dcctl.domain.budget import decide_past
from dcctl.domain.expected import DueRound, Expected, Rounds, decide_expected, decide_rounds
from dcctl.domain.failover import decide_failover
from dcctl.domain.observation import Seen
from dcctl.domain.plan import Plan, ways_back
from dcctl.domain.rules import Override, Rule
from dcctl.domain.switchover import decide_failback, decide_switchover
from dcctl.domain.traffic import Rotation
from dcctl.engines.failover import failover
from dcctl.engines.switchover import switchover
from dcctl.errors import Rejected, TimedOut, Unreachable


def test_past_runs_tell_how_long_it_takes() -> None:
    histories = []
    for _each in range(3):
        world = TwoSites()
        moved, events = world.perform(partial(switchover, "west"))
        histories.append(events)
    expected = decide_expected(moved.plan.steps, decide_past(histories))
    assert expected.runs == 3
    assert expected.total_s is not None
    assert expected.steps.keys() <= {step.name for step in moved.plan.steps}
    assert {"move the primary", "second copy", "singletons"} <= expected.steps.keys()
    assert "the median of 3 runs" in expected.sentence(moved.plan.limit_s)


def test_runs_that_did_not_end_well_say_nothing() -> None:
    moved, events = east_dark().perform(partial(failover, "east"))
    assert decide_expected(moved.plan.steps, decide_past([events[:-1], ()])) == Expected()
    assert "none has been carried out here yet" in Expected().sentence(moved.plan.limit_s)


def drawn(situation: object, decided: object, expected: Expected) -> str:
    out = io.StringIO()
    draw_preview(Console(file=out, width=200), situation, decided, expected)  # type: ignore[arg-type]
    return out.getvalue()


def test_the_preview_is_one_screen() -> None:
    situation = World().look()
    decided = decide_switchover("west", situation)
    assert isinstance(decided, Plan)
    text = drawn(situation, decided, Expected(2, 14.2, {"second copy": 11.0}))
    assert len(text.splitlines()) <= 24, text
    for told in (
        "witness-1",
        "0 bytes and 0 s behind",
        "duration  14 s, the median of 2 runs",
        "auctions  late: none",
        "<- point of no return",
        "11.0 s",
        "capacity",
        "loss",
    ):
        assert told in text, text
    assert "needs     move the primary: east-db-1 has the key, west-db-1 confirms every write" in text
    document = preview_document("switchover", "west", situation, decided, Expected(2, 14.2))
    read = json.loads(json.dumps(document, default=str))
    assert [bool(step["needs"]) for step in read["plan"]["steps"]] == [True, False, False, False, True, False]
    assert {step["limit_runs"] for step in read["plan"]["steps"]} == {0}
    assert read["expected"]["total_s"] == 14.2
    assert read["rules"] == {"in_the_way": [], "overridden": [], "overrides": []}


def test_the_preview_of_a_failover_is_one_screen_and_tells_when_the_key_is_released() -> None:
    held = east_lost(leader="east-db-1", members=("east-db-1", "west-db-1"))
    situation = replace(held.look(), releases=True)
    decided = decide_failover("east", situation)
    text = drawn(situation, decided, Expected(2, 14.2, {}))
    assert len(text.splitlines()) <= 24, text
    for told in (
        "needs     release the leader key: east is lost, east-db-1 silent, west-db-1 runs and is in /sync; ",
        "quarantine: east is lost, and the quorum knows no primary there; fence: east is lost and",
        "1  release the leader key  <- point of no return",
        "west-db-1 has the key and has written /sync; else the next step waits",
        "it hears east-db-1, west-db-1",
    ):
        assert told in text, text
    document = preview_document("failover", "east", situation, decided, Expected())
    step = json.loads(json.dumps(document, default=str))["plan"]["steps"][0]
    assert (step["name"], step["limit_runs"]) == ("release the leader key", 0)
    assert step["effect"].startswith("Patroni's leader key of east-db-1 is deleted")


def test_the_preview_tells_the_way_back() -> None:
    back = World(
        leader="west-db-1",
        primaries=("west-db-1",),
        synchronous=("east-db-1",),
        confirmed=("east-db-1",),
        states={"east": state("east", Rotation.QUARANTINED)},
    ).look()
    for decided, told in (
        (
            decide_failover("east", east_lost().look()),
            "quarantine: dcctl admit east; fence: dcctl provision apply;"
            " primary at the survivor, singletons: dcctl failback apply --to east",
        ),
        (
            decide_switchover("west", World().look()),
            "move the primary, singletons: dcctl switchover apply --to east",
        ),
        (
            decide_failback("west", World(roles=()).look()),
            "move the primary: dcctl switchover apply --to east",
        ),
        (decide_admission("east", back), "admit: dcctl drain east"),
    ):
        assert isinstance(decided, Plan), decided
        assert ways_back(decided.steps) == told
        assert all(step.way_back for step in decided.steps if step.no_return), "what cannot be aborted"
    situation = World().look()
    decided = decide_switchover("west", situation)
    assert "way back  move the primary, singletons: dcctl switchover apply" in drawn(
        situation, decided, Expected()
    )


def test_rules_in_the_way_and_overrides_in_force_are_on_it() -> None:
    refused = east_lost(witness=False).look()
    decided = decide_failover("east", refused)
    read = preview_document("failover", "east", refused, decided, Expected())
    assert [(each["rule"], each["overridable"]) for each in read["rules"]["in_the_way"]] == [
        ("witness-required", True)
    ]
    said = replace(refused, overrides=(Override(Rule.WITNESS_REQUIRED, "ticket 7", "ann@laptop"),))
    decided = decide_failover("east", said)
    text = drawn(said, decided, Expected())
    assert "override  witness-required is overridden by ann@laptop: ticket 7" in text
    assert "[witness-required]" in text
    read = preview_document("failover", "east", said, decided, Expected())
    assert read["rules"]["overrides"][0]["reason"] == "ticket 7"
    assert read["rules"]["overridden"][0]["rule"] == "witness-required"


def due(*after_s: float) -> Rounds:
    """Rounds that are due so many seconds from now on; read three seconds ago."""
    rounds = tuple(
        DueRound(f"UA-{number}", 2, NOW + timedelta(seconds=s)) for number, s in enumerate(after_s)
    )
    return Rounds(NOW - timedelta(seconds=3), NOW + timedelta(hours=1), rounds)


def plan() -> Plan:
    decided = decide_failover("east", east_lost().look())
    assert isinstance(decided, Plan)
    return decided


@pytest.mark.parametrize(
    ("total_s", "after_s", "missed"),
    [
        (20.0, (-99.0, 0.0, 60.0), ()),
        (20.0, (-101.0, 0.0), ("UA-0",)),  # it waits since the site was lost
        (20.0, (-100.0,), ()),  # 120 s late is not too late
        (180.0, (59.0, 60.0, 61.0), ("UA-0",)),
    ],
)
def test_a_round_that_would_begin_more_than_two_minutes_late_is_missed(
    total_s: float, after_s: tuple[float, ...], missed: tuple[str, ...]
) -> None:
    expected = Expected(3, total_s, rounds=Seen(due(*after_s)))
    assert tuple(each.auction for each in expected.missed(plan(), NOW)) == missed
    told = expected.late_rounds(plan(), NOW)
    begins = f"{len(missed)} would miss their 120 s: " if missed else f"none of {len(after_s)} "
    assert told.startswith(begins)
    assert f"this takes {total_s:.0f} s (as of 03:04:02 UTC)" in told
    assert all(name in told for name in missed)


def test_where_nothing_was_carried_out_yet_the_longest_that_it_may_take_counts() -> None:
    longest_s = plan().limit_s
    expected = Expected(rounds=Seen(due(longest_s - 121, longest_s - 119)))
    assert [each.auction for each in expected.missed(plan(), NOW)] == ["UA-0"]
    assert f"this may take {longest_s:.0f} s" in expected.late_rounds(plan(), NOW)


def test_many_that_are_missed_are_counted_and_the_first_are_named() -> None:
    told = Expected(1, 300.0, rounds=Seen(due(*range(9)))).late_rounds(plan(), NOW)
    assert told.startswith("9 would miss their 120 s: UA-0 round 2 (due 03:04:05 UTC), ")
    assert "UA-4" in told
    assert "UA-5" not in told
    assert " and 4 more; " in told


def test_what_no_application_tells_is_said_to_be_unknown() -> None:
    seen = decide_rounds({"west-app-1": TimedOut("look", saw="no answer within 2 s")})
    told = Expected(1, 300.0, rounds=seen).late_rounds(plan(), NOW)
    assert "those with a round due in the next 180 s" in told
    assert "which, is not known (west-app-1: no answer within 2 s)" in told
    assert "those that have waited already" in Expected(1, 9.0, rounds=seen).late_rounds(plan(), NOW)
    assert Expected(1, 300.0).late_rounds(plan(), NOW) == "none, as none are held here"


def test_of_several_applications_the_one_that_read_last_is_believed() -> None:
    old, new = replace(due(1.0), at=NOW - timedelta(minutes=9)), due(2.0)
    seen = decide_rounds({"a": old, "b": new, "c": Unreachable("look", saw="refused")})
    assert seen.value is new


def test_the_preview_names_the_auctions_that_would_be_missed() -> None:
    situation = east_lost().look()
    expected = Expected(2, 300.0, rounds=Seen(due(10.0)))
    assert "auctions  late: 1 would miss their 120 s: UA-0 round 2" in drawn(situation, plan(), expected)
    document = preview_document("failover", "east", situation, plan(), expected)
    read = json.loads(json.dumps(document, default=str))
    assert [(each["auction"], each["round"]) for each in read["auctions_missed"]] == [("UA-0", 2)]


def answering(status: int, document: Any) -> Any:
    def get(url: str, *, limit_s: float, tried: str, on: str) -> tuple[int, str]:
        assert (url, limit_s, on) == ("http://192.0.2.9:8082/auctions", 2.0, "192.0.2.9")
        return status, document if isinstance(document, str) else json.dumps(document)

    return get


def test_rounds_are_read_as_the_application_tells_them() -> None:
    told = {
        "at": "2026-01-02T05:04:02+02:00",
        "until": "2026-01-02T06:04:02+02:00",
        "data": [
            {"tenderID": "UA-0", "round": 1, "due": "2026-01-02T05:05:00+02:00"},
            {"tenderID": "UA-0", "lotID": "b", "round": 3, "due": "2026-01-02T05:06:00+02:00"},
        ],
    }
    rounds = observe_rounds("192.0.2.9", get=answering(200, told), limit_s=2.0)
    assert rounds.at == NOW - timedelta(seconds=3)
    assert [(each.auction, each.round) for each in rounds.due] == [("UA-0", 1), ("UA-0/b", 3)]
    assert rounds.due[0].sentence() == "UA-0 round 1 (due 03:05:00 UTC)"
    with pytest.raises(Unreachable, match="HTTP 404"):
        observe_rounds("192.0.2.9", get=answering(404, "{}"), limit_s=2.0)
    for nonsense in ("<html>", {"at": "soon"}, {**told, "data": [{}]}, [1]):
        with pytest.raises(Rejected, match="not ours"):
            observe_rounds("192.0.2.9", get=answering(200, nonsense), limit_s=2.0)
