"""What a person's status says of a site: the verdict that a move and the controller would have, and why."""

import io
from dataclasses import replace

import pytest
from rich.console import Console
from situations import EAST_DOWN, NOW, World, east_lost, state, vantage

from dcctl.cli.output import console
from dcctl.cli.status import draw
from dcctl.domain.evidence import decide_site_verdicts
from dcctl.domain.traffic import Rotation
from dcctl.domain.verdict import Sight, SiteVerdict, Verdict

CASES = (
    (World(), Verdict.UP, ""),
    (
        World(vantages=(vantage("west-edge-1", EAST_DOWN), vantage("witness-1", EAST_DOWN))),
        Verdict.DEGRADED,
        "witness-1 does not see it",
    ),
    (World(silent={"east-edge-1"}), Verdict.DEGRADED, "east-edge-1 does not answer here"),
    (east_lost(), Verdict.DOWN, "neither a voter nor an agent"),
    (
        east_lost(vantages=(vantage("west-edge-1", {"east": Sight.UP}), vantage("witness-1", EAST_DOWN))),
        Verdict.ISOLATED,
        "west-edge-1 sees it",
    ),
    (
        east_lost(vantages=(vantage("east-edge-1", {"east": Sight.UP}),)),
        Verdict.UNREACHABLE_FROM_ME,
        "reached the quorum from there",
    ),
    (east_lost(vantages=(vantage("west-edge-1", EAST_DOWN),)), Verdict.UNKNOWN, "the witness has not seen"),
    (World(quorum=False), Verdict.UNKNOWN, "no quorum answers here"),
)


def verdicts_of(world: World) -> dict[str, SiteVerdict]:
    look = world.look()
    found = decide_site_verdicts(look.status, look.vantages, witness=look.witness)
    return {each.site: each for each in found}


@pytest.mark.parametrize(("world", "verdict", "said"), CASES)
def test_a_status_says_what_a_move_would_be_decided_from(world: World, verdict: Verdict, said: str) -> None:
    found = verdicts_of(world)["east"]
    assert found == world.look().verdict_of("east")
    assert found.verdict is verdict
    assert said in "; ".join(found.reasons)


@pytest.mark.parametrize(("world", "verdict", "said"), CASES)
def test_the_screen_shows_each_verdict_with_its_reasons(world: World, verdict: Verdict, said: str) -> None:
    look, found = world.look(), verdicts_of(world)
    out = io.StringIO()
    Console(file=out, width=200).print(draw(look.status, NOW, None, "", tuple(found.values())))
    assert f"east is {verdict}" in out.getvalue()
    assert said in out.getvalue()


@pytest.mark.parametrize(
    ("world", "shown"),
    [
        (World(), False),
        (east_lost(), True),
        (east_lost(vantages=(vantage("west-edge-1", EAST_DOWN),)), False),
        (east_lost(states={"east": state("east", Rotation.QUARANTINED)}), False),
    ],
)
def test_of_a_site_that_may_be_given_up_the_command_that_shows_how_is_told(world: World, shown: bool) -> None:
    look, found = world.look(), verdicts_of(world)
    kept = {each.site: str(each.state) for each in look.states.value or ()}
    status = replace(
        look.status, sites=tuple(replace(each, rotation=kept[each.name]) for each in look.status.sites)
    )
    out = io.StringIO()
    screen = draw(status, NOW, None, "", tuple(found.values()), dcctl="dcctl -e lab")
    Console(file=out, width=200).print(screen)
    assert ("next: dcctl -e lab failover plan --lost east" in out.getvalue()) is shown


def test_a_long_problem_hangs_under_its_beginning_and_is_one_line_where_nobody_looks() -> None:
    look = World().look()
    long = " ".join(["word"] * 60)
    screen = draw(replace(look.status, problems=(long, "short")), NOW, None)
    on_terminal, piped = io.StringIO(), io.StringIO()
    Console(file=on_terminal, width=80).print(screen)
    lines = on_terminal.getvalue().splitlines()
    assert [line[:8] for line in lines[1:6]] == ["  ! word", "    word", "    word", "    word", "  ! shor"]
    console(piped).print(screen)
    assert piped.getvalue().splitlines()[1] == f"  ! {long}"


def test_a_witness_that_is_not_there_cannot_say_that_a_site_is_lost() -> None:
    look = replace(east_lost().look(), witness=False)
    (east, _west) = decide_site_verdicts(look.status, look.vantages, witness=False)
    assert (east.verdict, east.lost) == (Verdict.UNKNOWN, False)
