"""How long a step may take, by how long it took in past runs: each row of the table."""

import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from rich.console import Console
from situations import World, east_lost
from test_expected import drawn
from test_failover_engine import east_dark
from two_sites import TwoSites

from dcctl.cli.move_view import draw_steps
from dcctl.domain.budget import ENOUGH_RUNS, LEAST_S, TIMES, Past, decide_limits, decide_past
from dcctl.domain.event import Event
from dcctl.domain.expected import decide_expected
from dcctl.domain.failover import FORGET, decide_failover
from dcctl.domain.plan import Plan, Planned
from dcctl.domain.step import Work
from dcctl.domain.switchover import decide_switchover
from dcctl.domain.traffic import Rotation, RotationPlan, SiteState
from dcctl.domain.turn import APPLIED, IDLE, WRITTEN, turn_steps
from dcctl.engines.failover import failover
from dcctl.engines.situation import until_none
from dcctl.engines.switchover import switchover
from dcctl.errors import TimedOut, Unreachable
from dcctl.shell import perform
from dcctl.testing.clock import VirtualClock
from dcctl.testing.journal import MemoryJournal
from dcctl.testing.runs import FakeRegistry, FakeRuns
from dcctl.wiring.runs import past_of

DEFAULT_S = 120.0
PROOF = Planned("a copy", "east", "it is named", DEFAULT_S)
NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("took", "in_vain", "limit_s", "runs"),
    [
        ((), False, 120, 0),
        ((2.0,) * (ENOUGH_RUNS - 1), False, 120, 0),  # too few to tell
        ((2.0,) * ENOUGH_RUNS, False, 60, 5),  # never below half of the default
        ((2.0, 2.0, 2.0, 2.0, 7.5), False, 75, 5),  # the slowest counts, not the median
        ((2.0, 2.0, 2.0, 2.0, 12.0), False, 120, 0),  # never above the default
        ((2.0, 2.0, 2.0, 2.0, 500.0), False, 120, 0),
        ((2.0,) * 10, True, 120, 0),  # once was too long: the default again
    ],
)
def test_a_limit_is_made_of_past_runs(
    took: tuple[float, ...], in_vain: bool, limit_s: float, runs: int
) -> None:
    past = Past(took, {"a copy": took}, frozenset(["a copy"] if in_vain else []))
    (made,) = decide_limits([PROOF], past)
    assert (made.limit_s, made.limit_runs) == (limit_s, runs)


def test_no_limit_is_made_shorter_than_a_minute() -> None:
    for default_s, limit_s in ((90.0, LEAST_S), (LEAST_S, LEAST_S), (10.0, 10.0), (500.0, 250.0)):
        step = Planned("seen", "east", "it is seen", default_s)
        (made,) = decide_limits([step], Past((), {"seen": (0.1,) * 9}))
        assert made.limit_s == limit_s


def test_how_long_an_effect_may_take_is_not_for_history_to_say() -> None:
    """Whoever takes over a run that was broken off in it waits for as long."""
    step = Planned("quarantine", "east", "it reads so", 40.0, effect="it is written", needs="it is lost")
    assert decide_limits([step], Past((), {"quarantine": (0.1,) * 9})) == (step,)


def test_without_history_there_is_the_default() -> None:
    assert decide_limits([PROOF], None) == (PROOF,)
    assert decide_limits([PROOF], Past()) == (PROOF,)


def journal(*events: tuple[str, dict[str, Any]]) -> list[Event]:
    return [
        Event(NOW + timedelta(seconds=seq), "r", seq, type, fields)
        for seq, (type, fields) in enumerate(events, start=1)
    ]


def test_a_run_that_failed_tells_only_what_was_waited_for_in_vain() -> None:
    waited = {"wait": "a copy: it is named", "of": "a copy", "took_s": 60.0}
    done = {**waited, "took_s": 3.0}
    past = decide_past(
        [
            journal(("run.started", {}), ("wait.done", done), ("run.done", {})),
            journal(("run.started", {}), ("wait.done", done), ("wait.done", done), ("run.done", {})),
            journal(("run.started", {}), ("wait.failed", waited), ("run.failed", {})),
            journal(("run.started", {}), ("wait.done", done), ("run.resumed", {}), ("run.done", {})),
            [],
        ]
    )
    assert past.steps == {"a copy": (3.0, 6.0)}
    assert past.totals == (2.0, 3.0)
    assert past.in_vain == {"a copy"}


def test_a_wait_in_vain_says_which_step_it_was_of() -> None:
    clock = VirtualClock()
    kept = MemoryJournal("r1", now=clock.now)

    def work() -> Work[None]:
        yield until_none(PROOF, lambda: ("nobody is named",))

    with pytest.raises(TimedOut, match="nobody is named"):
        perform(work(), clock=clock, journal=kept)
    assert decide_past([kept.events()]).in_vain == {"a copy"}


def enough(work: Any, worlds: Sequence[TwoSites]) -> Past:
    return decide_past([world.perform(work)[1] for world in worlds])


def test_the_plan_and_the_preview_say_where_a_limit_comes_from() -> None:
    past = enough(partial(switchover, "west"), [TwoSites() for _each in range(ENOUGH_RUNS)])
    seen = replace(World().look(), past={"switchover": past})
    decided = decide_switchover("west", seen)
    assert isinstance(decided, Plan)
    limits = {step.name: (step.limit_s, step.limit_runs) for step in decided.steps}
    slowest_s = max(past.steps["second copy"])
    assert limits["second copy"] == (max(60.0, round(TIMES * slowest_s)), ENOUGH_RUNS)
    assert limits["move the primary"] == (40.0, 0), "Patroni is given as long as ever"
    text = drawn(seen, decided, decide_expected(decided.steps, past))
    assert f"{limits['second copy'][0]:.0f} s by 5 runs" in text
    assert "the median of 5 runs" in text
    assert [each["limit_runs"] for each in decided.journalled()][:3] == [0, 0, 5]


def test_the_engine_waits_as_long_as_the_plan_says() -> None:
    past = Past((9.0,) * 5, {"second copy": (1.0,) * 5})
    events = TwoSites().perform(lambda means: switchover("west", replace(means, past={"switchover": past})))[
        1
    ]
    started = [event.fields for event in events if event.type == "wait.started" and "of" in event.fields]
    limits = {fields["of"]: fields["limit_s"] for fields in started}
    assert (limits["second copy"], limits["primary at the target"]) == (60.0, 60.0)


def test_what_waits_for_patronis_session_keeps_its_limit() -> None:
    """That is Patroni's ``ttl``, which is configured: no run tells how long the next one has to wait."""
    past = enough(partial(failover, "east"), [east_dark() for _each in range(ENOUGH_RUNS)])
    decided = decide_failover("east", replace(east_lost().look(), past={"failover": past}))
    assert isinstance(decided, Plan)
    assert (decided.step(FORGET).limit_s, decided.step(FORGET).limit_runs) == (120.0, 0)
    assert decided.step("primary at the survivor").limit_s == 60.0


def test_a_drain_shows_its_history_and_keeps_the_patience_it_was_given() -> None:
    before = SiteState("east", Rotation.ACTIVE, version=1)
    plan = RotationPlan("east", Rotation.DRAINED, before, True, ("west-edge-1",), (), ("west",))
    took = {WRITTEN: (0.1,) * 6, APPLIED: (2.0,) * 6, IDLE: (1.0,) * 6}
    past = Past((4.0,) * 6, took)
    steps = turn_steps(plan, idle_limit_s=500.0, past=past)
    assert [(each.name, each.limit_s, each.limit_runs) for each in steps] == [
        (WRITTEN, 10.0, 0),
        (APPLIED, 60.0, 0),
        (IDLE, 500.0, 0),
    ]
    expected = decide_expected(steps, past)
    assert (expected.runs, expected.total_s, expected.steps[IDLE]) == (6, 4.0, 1.0)
    out = io.StringIO()
    draw_steps(Console(file=out, width=160), steps, expected)
    told = out.getvalue()
    assert "needs     written: another site serves, and carries both" in told
    assert "2.0 s" in told.splitlines()[-2], "what it usually takes"


def kept(runs: FakeRuns, run: str, what: str) -> None:
    runs.begin(run, what, limit_s=1)
    took = {"of": "a copy", "took_s": float(run[-2:])}
    for event in journal(("run.started", {}), ("wait.done", took), ("run.done", {})):
        runs.append(replace(event, run=run), limit_s=1)
    runs.end(limit_s=1)


def test_the_last_ten_runs_of_the_kind_are_read() -> None:
    runs = FakeRuns(FakeRegistry(VirtualClock()))
    for number in range(1, 15):
        kept(runs, f"20260102-0304{number:02}-undrain-aa{number:02}", "undrain east")
    for number in (90, 91):
        kept(runs, f"20260102-0304{number:02}-drain-bb{number:02}", "drain east")
    assert past_of(runs, "undrain").steps == {"a copy": tuple(float(number) for number in range(5, 15))}
    assert past_of(runs, "drain").steps == {"a copy": (90.0, 91.0)}
    assert past_of(runs, "failover") == Past()


def test_an_ensemble_that_does_not_answer_tells_nothing() -> None:
    class Dark(FakeRuns):
        def observe_runs(self, *, limit_s: float) -> tuple[str, ...]:  # noqa: ARG002
            raise Unreachable("list the runs", saw="no quorum")

    assert past_of(Dark(FakeRegistry(VirtualClock())), "failover") == Past()
