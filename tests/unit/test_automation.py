"""When a failover starts by itself: one row per rule, what hold-off means, and what suspicion needs."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from situations import ALL_UP, EAST_DOWN, NOW, World, east_lost, state, vantage

from dcctl.config.load import load_file
from dcctl.config.rules import why_not_automatic
from dcctl.domain.automation import (
    HOLD_OFF,
    RETRY_AFTER,
    Automation,
    LastAction,
    Mode,
    decide_aborted,
    why_held_off,
)
from dcctl.domain.capacity import Fit
from dcctl.domain.controller import Decision, Standing, decide_automatic, decide_suspects
from dcctl.domain.rules import SafetyRules
from dcctl.domain.run import ActiveRun
from dcctl.domain.situation import Situation
from dcctl.domain.traffic import Rotation
from dcctl.domain.verdict import Settled, SiteVerdict, Verdict

PAUSED = Automation(paused=True, reason="work on the network", by="ann@ops")
ACTED = LastAction("east", "20260102-a", NOW - timedelta(seconds=30), done=True)
ABORTED = replace(ACTED, done=False, aborted="bob@ops: I am there already")


def standing(situation: Situation, **more: Any) -> Standing:
    settled = {site: Settled(situation.verdict_of(site), 0.0) for site in situation.sites}
    return replace(Standing(Mode.AUTOMATIC, Automation(), None, settled), **more)


def decide(world: World, **more: Any) -> Decision:
    situation = world.look()
    return decide_automatic(situation, standing(situation, **more))


@dataclass(frozen=True)
class Row:
    """East is lost but for ``but``; ``standing`` is said of automation. ``said``: every reason has one of it.

    Nothing ``said`` and ``acts``: the plan; neither: there is nothing to do.
    """

    name: str
    but: dict[str, Any] = field(default_factory=dict)
    standing: dict[str, Any] = field(default_factory=dict)
    acts: bool = False
    said: tuple[str, ...] = ()


TABLE = (
    Row("a site is lost", acts=True),
    Row("nothing is lost", {"silent": set(), "vantages": (vantage("east-edge-1", ALL_UP),)}),
    Row("in manual mode", standing={"configured": Mode.MANUAL}, said=("manual mode",)),
    Row(
        "configured manual, made automatic by a person",
        standing={"configured": Mode.MANUAL, "automation": Automation(mode=Mode.AUTOMATIC, by="ann@ops")},
        acts=True,
    ),
    Row(
        "configured automatic, made manual by a person",
        standing={"automation": Automation(mode=Mode.MANUAL, by="ann@ops")},
        said=("manual mode",),
    ),
    Row("paused", standing={"automation": PAUSED}, said=("paused by ann@ops: work on the network",)),
    Row(
        "a person's run is active",
        {"run": ActiveRun("20260102-b", 4, "bob@there", "switchover apply", alive=True)},
        said=("run 20260102-b is active: switchover apply, by bob@there",),
    ),
    Row("the database is a single copy", {"synchronous": ()}, said=("SINGLE-COPY",)),
    Row("the survivor is too small", {"fit": Fit.SHORT}, said=("80 needed, 60 there",)),
    Row("the survivor's room is not known", {"fit": Fit.UNKNOWN}, said=("80 needed",)),
    Row("Patroni is paused", {"paused": True}, said=("Patroni is paused",)),
    Row(
        "the other site is drained", {"states": {"west": state("west", Rotation.DRAINED)}}, said=("drained",)
    ),
    Row(
        "it acted a moment ago", standing={"last": ACTED}, said=("hold-off: the automatic failover of east",)
    ),
    Row("it acted long ago", standing={"last": replace(ACTED, at=NOW - HOLD_OFF)}, acts=True),
    Row(
        "it failed a moment ago",
        standing={"last": replace(ACTED, done=False)},
        said=("did not end well",),
    ),
    Row(
        "it failed a while ago",
        standing={"last": replace(ACTED, at=NOW - RETRY_AFTER, done=False)},
        acts=True,
    ),
    Row(
        "a person aborted it, however long ago",
        standing={"last": replace(ABORTED, at=NOW - timedelta(days=2))},
        said=("was aborted by bob@ops: I am there already",),
    ),
    Row(
        "a person aborted the other site's",
        standing={"last": replace(ABORTED, site="west", at=NOW - RETRY_AFTER)},
        acts=True,
    ),
    Row(
        "a person aborted it, and took that back",
        standing={"last": replace(ABORTED, aborted="", at=NOW - RETRY_AFTER)},
        acts=True,
    ),
    Row(
        "given up already, and the other site leads",
        {
            "states": {"east": state("east", Rotation.QUARANTINED)},
            "leader": "west-db-1",
            "primaries": ("west-db-1",),
        },
    ),
    Row(
        "quarantined by a failover that ended midway: nobody leads yet",
        {"states": {"east": state("east", Rotation.QUARANTINED)}},
        acts=True,
    ),
    Row(
        "everything at once is told at once",
        {"synchronous": (), "fit": Fit.SHORT},
        {"automation": PAUSED, "last": ACTED, "configured": Mode.MANUAL},
        said=("manual mode", "paused by", "hold-off", "SINGLE-COPY", "80 needed"),
    ),
)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_row(row: Row) -> None:
    decided = decide(east_lost(**row.but), **row.standing)
    assert (decided.plan is not None) is row.acts, decided
    assert (decided.lost is not None) is (row.acts or bool(row.said))
    for word in row.said:
        assert any(word in each for each in decided.reasons), decided.reasons
    for each in decided.reasons:
        assert any(word in each for word in row.said), f"told beside what the row names: {each}"


@pytest.mark.parametrize(
    ("kept", "wanted"),
    [
        (None, ABORTED),
        (replace(ABORTED, aborted=""), ABORTED),  # its own, kept as failed
        (LastAction("east", "", ABORTED.at - timedelta(seconds=1)), None),  # its own, kept as begun
        (LastAction("east", "", ABORTED.at + timedelta(hours=1)), ...),
        (LastAction("west", "", ABORTED.at - timedelta(hours=1)), ...),
        (LastAction("east", "20260103-b", ABORTED.at + timedelta(hours=1), done=True), ...),
    ],
)
def test_the_abort_of_an_old_run_says_nothing_of_a_later_one(kept: LastAction | None, wanted: Any) -> None:
    decided = decide_aborted(kept, ABORTED)
    if wanted is ...:
        assert decided is None
    elif wanted is None:
        assert kept is not None
        assert decided == replace(ABORTED, at=kept.at)
    else:
        assert decided == wanted


def test_two_lost_sites_are_a_cut_around_us() -> None:
    situation = east_lost().look()
    verdicts = {site: Settled(SiteVerdict(site, Verdict.DOWN, ()), 0.0) for site in situation.sites}
    decided = decide_automatic(situation, standing(situation, settled=verdicts))
    assert decided.plan is None
    assert "east and west are both lost" in decided.reasons[0]


def test_what_nobody_judged_is_not_lost() -> None:
    situation = east_lost().look()
    assert decide_automatic(situation, standing(situation, settled={})) == Decision()


def test_the_environment_says_how_long_is_held_off_and_never_what_a_failed_one_waits() -> None:
    an_hour = timedelta(hours=1)
    for done in (True, False):
        last = replace(ACTED, at=NOW - HOLD_OFF, done=done)
        assert bool(why_held_off(last, NOW, an_hour)) is done
        assert why_held_off(last, NOW, timedelta(minutes=1)) == ()
    rules = SafetyRules(hold_off=an_hour)
    situation = replace(east_lost().look(), rules=rules)
    decided = decide_automatic(situation, standing(situation, last=replace(ACTED, at=NOW - HOLD_OFF)))
    assert "hold-off" in "; ".join(decided.reasons)


@pytest.mark.parametrize("done", [True, False, None])
def test_hold_off_ends(done: bool | None) -> None:
    last = replace(ACTED, at=NOW, done=done)
    assert why_held_off(last, NOW)
    assert why_held_off(last, NOW + HOLD_OFF) == ()
    assert bool(why_held_off(last, NOW + RETRY_AFTER)) is (done is True)


@pytest.mark.parametrize(
    ("vantages", "suspects"),
    [
        ((vantage("east-edge-1", ALL_UP), vantage("west-edge-1", ALL_UP), vantage("witness-1", ALL_UP)), ()),
        ((vantage("west-edge-1", ALL_UP), vantage("witness-1", ALL_UP)), ("east",)),
        ((vantage("east-edge-1", ALL_UP, age_s=3.0), vantage("west-edge-1", ALL_UP)), ("east",)),
        ((vantage("east-edge-1", ALL_UP), vantage("west-edge-1", EAST_DOWN)), ("east",)),
        ((), ("east", "west")),
    ],
)
def test_a_look_at_everything_needs_a_suspicion(vantages: Any, suspects: tuple[str, ...]) -> None:
    assert decide_suspects(("east", "west"), vantages) == suspects


def test_what_makes_automatic_wrong_in_the_file_refuses_it_at_the_prompt_too() -> None:
    good = load_file(Path(__file__).parent / "cases" / "config" / "good.yaml")
    assert good.witness is not None
    assert why_not_automatic(good) == (
        "automatic needs an agent at the witness: it is the vantage that decides",
    )
    watched = good.model_copy(
        update={"witness": good.witness.model_copy(update={"roles": ("zookeeper", "agent")})}
    )
    assert why_not_automatic(watched) == ()
    (alone,) = why_not_automatic(good.model_copy(update={"witness": None}))
    assert "needs a witness" in alone
