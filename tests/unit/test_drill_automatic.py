"""A drill in which the controller gives the site up by itself: what it waits for, and when it is refused."""

from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from test_drill_business import BusinessBench
from test_drill_engine import DRILL, Bench
from test_failover_engine import east_dark
from two_sites import TwoSites

from dcctl.config.drill import find_drill, load_drill
from dcctl.config.schema import Objectives
from dcctl.domain.automation import Automation, LastAction, Mode, why_not_by_itself
from dcctl.domain.capacity import Capacity, Fit, Line
from dcctl.domain.check import Verdict
from dcctl.domain.drill import CONTROLLER, Drill, DrillPlan, decide_drill
from dcctl.domain.observation import Seen
from dcctl.domain.refusal import Refusal
from dcctl.domain.status import decide_status
from dcctl.domain.step import Wait, Work
from dcctl.domain.traffic import Rotation
from dcctl.engines.failover import failover
from dcctl.engines.operator import Onlooker
from dcctl.engines.situation import Means
from dcctl.engines.status import in_turn, observe
from dcctl.errors import Refused, StepFailed, TimedOut
from dcctl.shell import perform
from dcctl.testing.automation import FakeAutomations
from dcctl.testing.clock import EPOCH, VirtualClock
from dcctl.testing.journal import MemoryJournal
from dcctl.testing.system import HOSTS

BEFORE = LastAction("east", "an earlier run", EPOCH - timedelta(days=1), done=True)
BEGUN = LastAction("east", "", EPOCH)
FITS = Seen(Capacity("east", "west", Fit.FITS, (), {}))


def automatic() -> Drill:
    return load_drill(find_drill("automatic-failover")).with_objectives(
        Objectives.model_validate({"recovery_time": "60s", "loss_window": "0s"})
    )


def test_the_plan_tells_who_gives_the_site_up_and_that_the_drill_admits_it() -> None:
    bench = Bench(drill=automatic())
    plan = bench.plan()
    assert isinstance(plan, DrillPlan)
    told = "\n".join(plan.steps)
    assert "look on while the controller gives east up by itself" in told
    assert told.index("look on while") < told.index("heal east") < told.index("admit east when")
    assert "fail over:" not in told
    assert plan.drill.cut_for_at_most_s >= plan.drill.hold_at_most_s + 150


def test_whatever_keeps_the_controller_from_acting_stands_against_the_drill() -> None:
    bench = Bench(drill=automatic())
    status = decide_status("test", HOSTS, observe(bench.ports(), in_turn))
    decided = decide_drill(bench.drill, HOSTS, status, against=("automation is in manual mode",))
    assert isinstance(decided, Refusal)
    assert "automation is in manual mode" in decided.reasons


@pytest.mark.parametrize(
    ("but", "said"),
    [
        ({}, ""),
        ({"configured": Mode.MANUAL}, "manual mode"),
        ({"automation": Automation(paused=True, by="ann@ops")}, "paused by ann@ops"),
        ({"last": replace(BEFORE, at=EPOCH - timedelta(minutes=1))}, "hold-off"),
        ({"led": False}, "nobody is the controller"),
        ({"carries": Seen(None, "nobody has found it out yet")}, "nobody has found it out yet"),
        (
            {
                "carries": Seen(
                    Capacity(
                        "east",
                        "west",
                        Fit.SHORT,
                        (Line("app", "requests/s", 80.0, 60.0, Fit.SHORT, (), "20.0/s too few"),),
                        {},
                    )
                )
            },
            "80 needed",
        ),
    ],
)
def test_when_nobody_would_act_by_itself(but: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {
        "configured": Mode.AUTOMATIC,
        "automation": Automation(),
        "last": BEFORE,
        "now": EPOCH,
        "hold_off": None,
        "carries": FITS,
        "led": True,
        **but,
    }
    reasons = why_not_by_itself(given.pop("configured"), given.pop("automation"), given.pop("last"), **given)
    assert [said in each for each in reasons] == ([True] if said else [])


class Controlled:
    """Automation in memory, and a controller that goes a step further with every look at it."""

    def __init__(self, *steps: LastAction) -> None:
        self.said = FakeAutomations(last=BEFORE)
        self.steps = list(steps)

    def observe_last(self) -> LastAction | None:
        if self.steps:
            self.said.record_last(self.steps.pop(0))
        return self.said.observe_last()


def look_on(controlled: Controlled) -> LastAction:
    onlooker = Onlooker(controlled, BEFORE, _nobody_acts)  # type: ignore[arg-type]  # it only reads
    return perform(onlooker.fail_over("east"), clock=VirtualClock(), journal=MemoryJournal())


def _nobody_acts() -> Means:
    raise AssertionError("it must not act while the controller may")


def test_it_is_over_when_the_controller_says_so_and_not_before() -> None:
    done = replace(BEGUN, run="20260102-failover", done=True)
    failed = replace(BEGUN, run="20260102-failover", done=False)
    assert look_on(Controlled(BEFORE, BEGUN, failed, done)) == done


@pytest.mark.parametrize(
    ("steps", "saw"),
    [
        ((), "the controller has begun nothing"),
        ((LastAction("west", "another", EPOCH, done=True),), "the controller has begun nothing"),
        ((BEGUN,), "is not over"),
        ((replace(BEGUN, run="r", done=False),), "did not end well"),
    ],
)
def test_what_the_controller_did_not_do_is_told(steps: tuple[LastAction, ...], saw: str) -> None:
    with pytest.raises((TimedOut, StepFailed)) as failure:
        look_on(Controlled(*steps))
    assert saw in str(failure.value)


def test_it_admits_the_site_once_the_controller_has_no_right_to_act_any_more() -> None:
    world: TwoSites = east_dark()
    world.perform(lambda means: failover("east", means))
    assert world.state("east") is Rotation.QUARANTINED
    world.heal("east")
    world.pass_time(30)
    refusals = [Refused("act", reasons=("run x is active",)) for _look in range(2)]
    with ExitStack() as stack:

        def take() -> Means:
            if refusals:
                raise refusals.pop()
            return stack.enter_context(world.acting())

        onlooker = Onlooker(FakeAutomations(), BEFORE, take)
        perform(onlooker.admit("east"), clock=world.clock, journal=MemoryJournal(now=world.clock.now))
    assert world.state("east") is Rotation.ACTIVE
    assert refusals == []


def test_the_report_says_that_it_was_by_itself() -> None:
    bench = BusinessBench()
    bench.drill = replace(bench.drill, respond=CONTROLLER)
    bench.run()
    report = bench.report()
    assert (report.verdict, report.deviations) == (Verdict.HELD, ())
    assert "given up by the controller, by itself" in [each.name for each in report.checks]


def test_a_controller_that_does_nothing_deviates_and_the_site_is_healed() -> None:
    bench = BusinessBench()
    bench.drill = replace(bench.drill, respond=CONTROLLER)

    def nothing(lost: str) -> Work[Any]:
        yield Wait(f"the controller to give {lost} up", lost, 5.0, 1.0, lambda: None)

    bench.person.fail_over = nothing  # type: ignore[method-assign]
    bench.run()
    report = bench.report()
    assert report.verdict is Verdict.DEVIATED
    assert "given up by the controller, by itself" in [each.name for each in report.deviations]
    assert bench.system.breakages == {}


def test_nothing_but_a_cut_site_can_be_given_up() -> None:
    drill = replace(DRILL, cut_site="witness", respond=CONTROLLER)
    decided = Bench(drill=drill).plan()
    assert isinstance(decided, Refusal)
    assert "no site that could be given up" in decided.reasons[-1]
