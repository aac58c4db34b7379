"""What people ask of a run that acts: it is obeyed between two steps, and kept in its journal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import pytest
from test_failover_engine import east_dark
from two_sites import TwoSites

from dcctl.domain.event import Event
from dcctl.domain.run import (
    Asked,
    Outcome,
    Wish,
    decide_abort,
    decide_resume,
    decide_run,
    decide_skip,
    merge_events,
)
from dcctl.domain.step import Step, Wait, Work
from dcctl.domain.traffic import Rotation
from dcctl.engines.failover import failover
from dcctl.engines.switchover import switchover
from dcctl.errors import Interrupted, StepFailed
from dcctl.shell import perform
from dcctl.testing.clock import VirtualClock
from dcctl.testing.journal import MemoryJournal

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
PAUSE = Asked(Wish.PAUSE, "bob", NOW, "one moment")
ABORT = Asked(Wish.ABORT, "bob", NOW, "not tonight")


@dataclass
class Asking:
    """What is asked from when on, by the virtual clock."""

    clock: VirtualClock
    asked: list[tuple[float, float, Asked]] = field(default_factory=list)

    def __call__(self) -> Sequence[Asked]:
        now_s = self.clock.monotonic()
        return [each for since_s, until_s, each in self.asked if since_s <= now_s < until_s]


def run(
    work: Callable[[list[str]], Work[None]], *asked: tuple[float, float, Asked]
) -> tuple[list[str], Sequence[Event], BaseException | None]:
    clock = VirtualClock()
    journal = MemoryJournal("r1", now=clock.now)
    done: list[str] = []
    try:
        perform(work(done), clock=clock, journal=journal, asked=Asking(clock, list(asked)))
    except Interrupted as error:
        return done, journal.events(), error
    return done, journal.events(), None


def steps(done: list[str], *, moved: bool = False, clean_up: bool = False) -> Work[None]:
    def effect(name: str) -> Callable[[], None]:
        return lambda: done.append(name)

    looks = iter([None, None, True])
    try:
        yield Step("one", "east", 10, effect("one"), no_return=moved)
        yield Wait("two: seen", "east", 60, 1, lambda: next(looks), of="two")
        yield Step("three", "east", 10, effect("three"))
    finally:
        if clean_up:
            yield Step("mend", "east", 10, effect("mend"), undo=True)


def types(events: Sequence[Event]) -> list[str]:
    return [event.type for event in events if event.type.startswith("run.")]


def test_a_paused_run_begins_nothing_and_goes_on_when_it_is_resumed() -> None:
    done, events, error = run(steps, (1, 50, PAUSE))
    assert (done, error) == (["one", "three"], None)
    assert types(events) == ["run.started", "run.paused", "run.continued", "run.done"]
    paused = next(event for event in events if event.type == "run.paused")
    third = [event for event in events if event.type == "step.started"][-1]
    assert (third.at - paused.at).total_seconds() >= 45
    half = [event for event in events if event.seq <= paused.seq]
    assert decide_run("r1", half, active=True).outcome is Outcome.PAUSED
    assert decide_run("r1", half, active=False).outcome is Outcome.BROKEN_OFF
    assert decide_run("r1", events, active=False).outcome is Outcome.DONE


def test_an_aborted_run_undoes_and_begins_nothing_more() -> None:
    done, events, error = run(partial(steps, clean_up=True), (1, 99, ABORT))
    assert done == ["one", "mend"]
    assert isinstance(error, Interrupted)
    assert types(events) == ["run.started", "run.aborted"]
    found = decide_run("r1", events, active=False)
    assert (found.outcome, "bob: not tonight" in found.saw) == (Outcome.ABORTED, True)
    assert decide_resume(found, events) is not None
    assert decide_abort(found, events) is not None


def test_a_paused_run_may_be_aborted() -> None:
    done, events, error = run(steps, (1, 99, PAUSE), (20, 99, ABORT))
    assert (done, types(events)) == (["one"], ["run.started", "run.paused", "run.aborted"])
    assert isinstance(error, Interrupted)


def test_past_its_point_of_no_return_it_goes_on_and_says_so_once() -> None:
    done, events, error = run(partial(steps, moved=True), (1, 99, ABORT))
    assert (done, error) == (["one", "three"], None)
    assert types(events) == ["run.started", "run.not_aborted", "run.done"]
    half = [event for event in events if event.seq < 5]
    refusal = decide_abort(decide_run("r1", half, active=True), half)
    assert refusal is not None
    assert "the point of no return is passed: one on east" in refusal.reasons[0]


def skip(step: str) -> Asked:
    return Asked(Wish.SKIP, "bob", NOW, "seen by eye", step)


def test_a_step_that_a_person_states_is_not_waited_for() -> None:
    world = east_dark(fails_to_serve=("west-app-1/swift: HTTP 503",))
    with world.acting() as means:
        assert means.journal is not None
        asked = Asking(world.clock, [(0, 1e9, skip("verification"))])
        moved = perform(failover("east", means), clock=world.clock, journal=means.journal, asked=asked)
        events = means.journal.events()
    assert moved.primary == "west-db-1"
    (stated,) = [event for event in events if event.type == "run.stated"]
    assert dict(stated.fields) == {
        "step": "verification",
        "reason": "seen by eye",
        "by": "bob",
        "rule": "a-person-states",
    }
    timeline = decide_run("r", events, active=False).timeline
    assert any("STATED by bob (rule a-person-states): verification" in each.name for each in timeline)
    assert decide_skip("verification", events) is None
    fence = decide_skip("fence", events)
    assert fence is not None
    assert "nobody's word replaces that" in fence.reasons[0]
    unknown = decide_skip("nonsense", events)
    assert unknown is not None
    assert "no step 'nonsense'" in unknown.reasons[0]


@pytest.mark.parametrize("step", ["fence", "second copy", "primary at the survivor", "quarantine"])
def test_no_word_replaces_a_fence_a_promotion_or_the_second_copy(step: str) -> None:
    """Asked past the command, in ZooKeeper itself: the run does not take it."""
    world = TwoSites() if step == "second copy" else east_dark()
    if step == "second copy":
        world.system.never_rejoins = True
        work = switchover("west", world.means())
    else:
        work = failover("east", world.means())
    asked = Asking(world.clock, [(0, 1e9, skip(step))])
    journal = MemoryJournal("r1", now=world.clock.now)
    if step == "second copy":
        with pytest.raises(StepFailed, match="SINGLE-COPY"):
            perform(work, clock=world.clock, journal=journal, asked=asked)
    else:
        perform(work, clock=world.clock, journal=journal, asked=asked)
        assert world.state("east") is Rotation.QUARANTINED
    assert "run.stated" not in [event.type for event in journal.events()]


def test_what_an_earlier_life_began_may_have_happened() -> None:
    step = {"step": "one", "target": "east", "limit_s": 5}
    journal = MemoryJournal("r1", now=VirtualClock().now)
    for type, fields in (
        ("run.started", {"command": "admit east"}),
        ("step.started", step),
        ("run.resumed", {"by": "bob@elsewhere"}),
        ("step.started", step),
        ("step.done", {**step, "took_s": 1.0}),
        ("run.done", {}),
    ):
        journal.append(type, fields)
    found = decide_run("r1", journal.events(), active=False)
    assert found.outcome is Outcome.DONE
    assert [(each.state, each.name) for each in found.timeline] == [
        ("unknown", "one"),
        ("noted", "RESUMED by bob@elsewhere"),
        ("done", "one"),
    ]


def test_of_two_journals_the_one_that_goes_further_is_told() -> None:
    journal = MemoryJournal("r1", now=VirtualClock().now)
    events = [journal.append("run.started", {"number": number}) for number in range(4)]
    other = Event(NOW, "r1", 3, "run.resumed", {})
    assert merge_events(events, events[:2]) == tuple(events), "its last words did not reach the ensemble"
    assert merge_events(events[:2], events) == tuple(events), "another machine went on"
    assert merge_events(events[:3], [*events[:2], other]) == (*events[:2], other), "they parted: all read one"
    assert merge_events(events, events[1:3]) == tuple(events), "of a drill only what acts is kept"
    assert merge_events(events, ()) == tuple(events)
    assert merge_events((), events) == tuple(events)
