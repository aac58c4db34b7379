"""How long a move will take, by the journals of those before it; and how its preview looks."""

import io
import json
from dataclasses import replace
from functools import partial

from rich.console import Console
from situations import World, east_lost
from test_failover_engine import east_dark
from two_sites import TwoSites

from dcctl.cli.move_view import draw_preview, preview_document
from dcctl.domain.expected import Expected, decide_expected
from dcctl.domain.failover import decide_failover
from dcctl.domain.plan import Plan
from dcctl.domain.rules import Override, Rule
from dcctl.domain.switchover import decide_switchover
from dcctl.engines.failover import failover
from dcctl.engines.switchover import switchover


def test_past_runs_tell_how_long_it_takes() -> None:
    histories = []
    for _each in range(3):
        world = TwoSites()
        moved, events = world.perform(partial(switchover, "west"))
        histories.append(events)
    expected = decide_expected(moved.plan, histories)
    assert expected.runs == 3
    assert expected.total_s is not None
    assert expected.steps.keys() <= {step.name for step in moved.plan.steps}
    assert {"move the primary", "second copy", "singletons"} <= expected.steps.keys()
    assert "the median of 3 runs" in expected.sentence(moved.plan)


def test_runs_that_did_not_end_well_say_nothing() -> None:
    moved, events = east_dark().perform(partial(failover, "east"))
    assert decide_expected(moved.plan, [events[:-1], ()]) == Expected()
    assert "none has been carried out here yet" in Expected().sentence(moved.plan)


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
    document = preview_document("switchover", "west", situation, decided, Expected(2, 14.2))
    read = json.loads(json.dumps(document, default=str))
    assert read["expected"]["total_s"] == 14.2
    assert read["rules"] == {"in_the_way": [], "overridden": [], "overrides": []}


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
