"""What each step needs is in its plan, and is looked at just before it is begun."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from situations import HOSTS, east_lost, role, state
from situations import World as View
from test_failover_engine import east_dark
from test_release import KEYS, FakeLeaderKey
from two_sites import TwoSites

from dcctl.domain.admission import why_not_admitted
from dcctl.domain.capacity import Fit
from dcctl.domain.failover import RELEASE, decide_failover, why_not_given_up, why_not_switched_off
from dcctl.domain.plan import Plan, Planned
from dcctl.domain.release import LeaderKeys, why_not_released
from dcctl.domain.run import Asked, Wish
from dcctl.domain.step import Step, Wait, Work
from dcctl.domain.switchover import decide_switchover, why_not_handed_over, why_not_moved
from dcctl.domain.traffic import Rotation, SiteState
from dcctl.engines.admission import admit
from dcctl.engines.failover import failover
from dcctl.engines.look import FRESH_S, Looks
from dcctl.engines.release import preview_release
from dcctl.engines.situation import observe_situation
from dcctl.engines.switchover import failback, switchover
from dcctl.errors import Interrupted, Refused, StepFailed, Unreachable
from dcctl.shell import NEEDS_LIMIT_S, perform
from dcctl.testing.clock import VirtualClock
from dcctl.testing.journal import MemoryJournal

EVERYTHING = {host.name for host in HOSTS}
GIVEN_UP = {"east": state("east", Rotation.QUARANTINED)}
LED_BY_WEST: dict[str, Any] = {
    "leader": "west-db-1",
    "primaries": ("west-db-1",),
    "synchronous": ("east-db-1",),
    "synchronous_to": "west-db-1",
    "confirmed": ("east-db-1",),
}


# What must hold, as it is seen.


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (east_lost(), ""),
        (east_lost(leader="west-db-1", synchronous_to="west-db-1", primaries=("west-db-1",)), ""),
        (View(), "east is not lost"),
        (east_lost(members=("east-db-1", "west-db-1")), "the session of east-db-1 has not ended"),
        (east_lost(states={"west": state("west", Rotation.DRAINED)}), "no site would be active"),
        (east_lost(paused=True), "Patroni is paused"),
        (east_lost(fit=Fit.SHORT), ""),  # what it costs was weighed, and is not weighed half way
        (east_lost(fit=Fit.SHORT, paused=True), "Patroni is paused"),
        (east_lost(fit=Fit.SHORT, members=("east-db-1",)), "the session of east-db-1 has not ended"),
        (east_lost(quorum=False), "ZooKeeper has no quorum"),
    ],
)
def test_a_site_is_given_up_only_as_long_as_it_is_lost_and_forgotten(seen: View, told: str) -> None:
    reasons = "; ".join(why_not_given_up("east", seen.look()))
    assert told in reasons
    assert bool(reasons) is bool(told)


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (east_lost(states=GIVEN_UP), ""),
        (east_lost(states=GIVEN_UP, fit=Fit.SHORT), ""),
        (east_lost(states=GIVEN_UP, silent=EVERYTHING), "west does not answer here either"),
        (east_lost(), "east is active, not quarantined"),
        (east_lost(states={"east": state("east", Rotation.DRAINED)}), "east is drained, not quarantined"),
        (View(states=GIVEN_UP), "east is not lost"),
        (east_lost(states=GIVEN_UP, leader="east-db-1"), "the session of east-db-1 has not ended"),
        (east_lost(states=GIVEN_UP, quorum=False), "ZooKeeper has no quorum"),
    ],
)
def test_power_is_cut_only_at_a_site_that_is_given_up(seen: View, told: str) -> None:
    reasons = "; ".join(why_not_switched_off("east", seen.look()))
    assert told in reasons
    assert bool(reasons) is bool(told)


@pytest.mark.parametrize(
    ("changes", "keys", "told"),
    [
        ({}, {}, ""),
        ({"silent": {"east-edge-1"}}, {}, "east is not lost"),
        ({"stopped": {"west-db-1"}}, {}, "west-db-1, which has every acknowledged write, does not run"),
        ({}, {"leader": None}, ""),  # nothing is left to be released: the transaction finds that out
        ({}, {"paused": True}, "Patroni is paused"),
    ],
)
def test_the_key_is_released_only_as_long_as_that_is_allowed(
    changes: dict[str, Any], keys: dict[str, Any], told: str
) -> None:
    lost = east_lost(leader="east-db-1", members=("east-db-1", "west-db-1"))
    plan = decide_failover("east", lost.look())
    assert isinstance(plan, Plan)
    for name, value in changes.items():
        setattr(lost, name, value)
    reasons = "; ".join(why_not_released(plan, lost.look(), replace(KEYS, **keys)))
    assert told in reasons
    assert bool(reasons) is bool(told)


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (View(), ""),
        (
            View(**LED_BY_WEST),
            "west-db-1 is primary and west-db-1 is to be by now, not east-db-1 and west-db-1",
        ),
        (View(confirmed=()), "does not confirm"),
        (View(paused=True), "Patroni is paused"),
        (View(silent={"west-edge-1"}), "west-edge-1"),
        (View(states={"west": state("west", Rotation.DRAINED)}), "no site would be active"),
    ],
)
def test_the_primary_is_moved_only_as_long_as_that_is_what_was_planned(seen: View, told: str) -> None:
    plan = decide_switchover("west", View().look())
    assert isinstance(plan, Plan)
    reasons = "; ".join(why_not_moved(plan, seen.look()))
    assert told in reasons
    assert bool(reasons) is bool(told)


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (View(**LED_BY_WEST), ""),
        (View(), "the leader key is held by east-db-1"),
        (View(**{**LED_BY_WEST, "primaries": ("east-db-1", "west-db-1")}), "says that it is primary"),
        (View(**LED_BY_WEST, quorum=False), "cannot be read"),
    ],
)
def test_a_role_is_handed_over_only_to_where_the_primary_is(seen: View, told: str) -> None:
    reasons = "; ".join(why_not_handed_over("west", seen.look()))
    assert told in reasons
    assert bool(reasons) is bool(told)


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (View(**LED_BY_WEST, states=GIVEN_UP, roles=(role("auction", "west-edge-1"),)), ""),
        (
            View(**{**LED_BY_WEST, "confirmed": ()}, states=GIVEN_UP),
            "does not follow as a synchronous standby",
        ),
        (View(states={"east": state("east", Rotation.DRAINED)}), "east is drained, not quarantined"),
    ],
)
def test_a_site_is_let_in_only_as_long_as_it_lacks_nothing(seen: View, told: str) -> None:
    reasons = "; ".join(why_not_admitted("east", seen.look()))
    assert told in reasons
    assert bool(reasons) is bool(told)


# In the plans.


def planned(world: TwoSites, work: Any) -> tuple[Plan, dict[str, list[Step]]]:
    """What ``work`` plans, and the steps that it begins, by the step of the plan that they are of."""
    begun: dict[str, list[Step]] = {}

    def watched(means: Any) -> Work[Any]:
        made, answer, failure = work(means), None, None
        while True:
            try:
                request = made.send(answer) if failure is None else made.throw(failure)
            except StopIteration as end:
                return end.value
            if isinstance(request, Step) and not request.undo:
                begun.setdefault(request.of, []).append(request)
            answer, failure = None, None
            try:
                answer = yield request
            except BaseException as error:
                failure = error

    moved, _events = world.perform(watched)
    return moved.plan, begun


def moves() -> Iterator[tuple[str, TwoSites, Any]]:
    yield "failover", east_dark(api_answers=True), partial(failover, "east")
    world = east_dark()
    port = FakeLeaderKey(world, partial(world.system._promote, "west-db-1"))
    yield "failover, released", world, lambda means: failover("east", replace(means, leader_key=port))
    yield "switchover", TwoSites(), partial(switchover, "west")
    yield "failback", TwoSites(), partial(failback, "west")
    world = TwoSites()
    world.perform(partial(switchover, "west"))
    world.coordinator.states["east"] = SiteState("east", Rotation.QUARANTINED, "a failover", "bob", version=0)
    yield "admission", world, partial(admit, "east")


@pytest.mark.parametrize(("world", "work"), [pytest.param(*each[1:], id=each[0]) for each in moves()])
def test_every_step_with_an_effect_says_what_it_needs_and_asks_it(world: TwoSites, work: Any) -> None:
    plan, begun = planned(world, work)
    assert any(step.effect for step in plan.steps)
    for step in plan.steps:
        assert bool(step.effect) is bool(step.needs), step
        assert bool(step.effect) is (step.name in begun), "what is done is in the plan, and nothing else"
        assert all(each.needs is not tuple for each in begun.get(step.name, ())), step
        assert not (step.no_return or step.way_back) or step.effect or step.target == plan.survivor
    journalled = {str(each["name"]): each for each in plan.journalled()}
    assert all(journalled[step.name]["needs"] == step.needs for step in plan.steps)


def test_the_release_of_the_leader_key_is_a_step_of_the_plan() -> None:
    held = east_lost(leader="east-db-1", members=("east-db-1", "west-db-1")).look()
    for situation, shown in (
        (replace(held, releases=True), True),
        (held, False),  # nobody here may do it
        (replace(east_lost().look(), releases=True), False),  # the key is gone already
    ):
        plan = decide_failover("east", situation)
        assert isinstance(plan, Plan)
        assert plan.has(RELEASE) is shown
        waits = "the quorum still knows east-db-1: nothing is moved before that has ended"
        assert (waits in plan.notes) is (situation is held)
    plan = decide_failover("east", replace(held, releases=True))
    assert isinstance(plan, Plan)
    step = plan.steps[0]
    assert (step.name, step.no_return, step.skippable) == (RELEASE, True, False)
    assert step.needs == "east is lost, east-db-1 silent, west-db-1 runs and is in /sync"
    assert "Patroni's leader key of east-db-1 is deleted" in step.effect


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        ({}, "west-db-1 has the key and has written /sync; else the next step waits"),
        (
            {"failsafe_mode": True},
            "kept as things are now, the next step waits: Patroni's failsafe mode is on",
        ),
        ({"leader": None}, "west-db-1 has the key and has written /sync; else the next step waits"),
    ],
)
def test_the_preview_says_whether_the_key_would_be_released_now(keys: dict[str, Any], shown: str) -> None:
    class Key(FakeLeaderKey):
        def observe_keys(self, *, limit_s: float) -> LeaderKeys:
            return replace(super().observe_keys(limit_s=limit_s), **keys)

    world = east_dark()
    world.system.promote_after_s = 100_000
    means = replace(world.means(), leader_key=Key(world, lambda: None))
    situation = observe_situation(means, losing="east")
    plan = decide_failover("east", situation)
    assert isinstance(plan, Plan)
    assert preview_release(plan, situation, means).step(RELEASE).proof.startswith(shown)
    assert preview_release(plan, situation, replace(means, leader_key=None)) == plan


# Just before a step is begun.


def until_step(work: Work[Any], world: TwoSites, wanted: str) -> Step:
    """Carry out ``work`` up to the step that is of ``wanted``, and not that one."""
    request = next(work)
    while True:
        if isinstance(request, Step):
            if request.of == wanted:
                return request
            assert not request.needs()
            request = work.send(request.effect())
            continue
        assert isinstance(request, Wait)
        while (answer := request.until()) is None:
            world.pass_time(1)
        request = work.send(answer)


def an_hour_passes(world: TwoSites) -> None:
    world.pass_time(3600)


def test_a_failover_that_was_paused_does_not_take_the_last_site_out() -> None:
    world = east_dark()
    with world.acting() as means:
        step = until_step(failover("east", means), world, "quarantine")
        an_hour_passes(world)
        assert step.needs() == (), "it is lost as before"
        world.coordinator.states["west"] = SiteState("west", Rotation.DRAINED, "a kernel", "bob", version=0)
        assert any("no site would be active" in each for each in step.needs())
        an_hour_passes(world)
        world.heal("east")
        world.pass_time(60)
        assert any("east is not lost" in each for each in step.needs())


def test_no_machine_is_powered_off_that_came_back_while_the_run_was_paused() -> None:
    world = east_dark(api_answers=True)
    with world.acting() as means:
        step = until_step(failover("east", means), world, "fence")
        assert step.needs() == ()
        world.heal("east")
        an_hour_passes(world)
        assert any("east is not lost" in each for each in step.needs())
        world.coordinator.states["east"] = SiteState("east", Rotation.ACTIVE, "", "bob", version=3)
        assert step.needs() == ("east is active, not quarantined",)
    assert ("off", "east-db-1") not in world.calls


def test_a_switchover_that_was_paused_is_not_asked_for_on_what_was_seen_before() -> None:
    world = TwoSites()
    with world.acting() as means:
        step = until_step(switchover("west", means), world, "move the primary")
        assert step.needs() == ()
        world.cut("west")
        an_hour_passes(world)
        assert any("west does not answer" in each for each in step.needs())


def test_a_key_whose_site_came_back_is_kept_and_all_is_decided_anew() -> None:
    world = east_dark()
    world.system.promote_after_s = 100_000
    port = FakeLeaderKey(world, lambda: None)

    def back_after_a_pause(means: Any) -> Work[Any]:
        made = failover("east", replace(means, leader_key=port))
        request = next(made)
        while not (isinstance(request, Step) and request.of == RELEASE):
            answer = yield request
            request = made.send(answer)
        world.heal("east")
        an_hour_passes(world)
        try:
            yield request
        except BaseException as error:
            request = made.throw(error)
        while True:
            answer = yield request
            request = made.send(answer)

    with pytest.raises(Refused, match="east is not lost"):
        world.perform(back_after_a_pause)
    assert (port.released, world.calls) == ([], [])


# The shell asks.


def run(
    needs: Callable[[], Sequence[str]], **more: Any
) -> tuple[list[str], MemoryJournal, VirtualClock, BaseException | None]:
    clock = VirtualClock()
    journal = MemoryJournal("r1", now=clock.now)
    done: list[str] = []

    def work() -> Work[None]:
        yield Step("one", "east", 10, lambda: done.append("one"), needs=needs)
        yield Step("mend", "east", 10, lambda: done.append("mend"), undo=True, needs=lambda: ("never",))

    try:
        perform(work(), clock=clock, journal=journal, resume="dcctl run resume r1", **more)
    except (Refused, StepFailed, Interrupted) as error:
        return done, journal, clock, error
    return done, journal, clock, None


def test_what_a_step_needs_is_waited_for_and_then_the_step_is_not_begun() -> None:
    done, journal, clock, error = run(lambda: ("west is drained",))
    assert done == []
    assert isinstance(error, Refused)
    assert error.saw == "west is drained"
    assert error.next_command == "dcctl run resume r1"
    assert NEEDS_LIMIT_S <= clock.monotonic() <= NEEDS_LIMIT_S + 2
    types = [event.type for event in journal.events()]
    assert types == ["run.started", "run.withheld", "run.failed"], "no intent is kept of what is not begun"


def test_what_a_look_missed_for_a_moment_ends_no_run() -> None:
    looks: Iterator[tuple[str, ...]] = iter([("no answer",), ("no answer",), ()])
    done, journal, clock, error = run(lambda: next(looks))
    assert (done, error) == (["one", "mend"], None), "an undo needs nothing"
    assert clock.monotonic() == pytest.approx(2)
    assert [event.type for event in journal.events()].count("run.withheld") == 1


def test_it_is_asked_after_what_people_ask() -> None:
    clock_of: list[float] = []
    asked_at: list[float] = []
    journal_clock = VirtualClock()
    pause = Asked(Wish.PAUSE, "bob", journal_clock.now(), "one moment")

    def needs() -> tuple[str, ...]:
        asked_at.append(journal_clock.monotonic())
        return ()

    def asked() -> Sequence[Asked]:
        clock_of.append(journal_clock.monotonic())
        return (pause,) if journal_clock.monotonic() < 3600 else ()

    def work() -> Work[None]:
        yield Step("one", "east", 10, lambda: None, needs=needs)

    began_s = journal_clock.monotonic()
    perform(work(), clock=journal_clock, journal=MemoryJournal("r1", now=journal_clock.now), asked=asked)
    assert clock_of[0] == began_s
    assert asked_at == [pytest.approx(3600, abs=2)]


def test_after_a_step_that_changed_something_it_is_the_failure_of_a_step() -> None:
    clock = VirtualClock()

    def work() -> Work[None]:
        yield Step("one", "east", 10, lambda: None)
        yield Step("two", "east", 10, lambda: None, needs=lambda: ("the quorum is gone",))

    with pytest.raises(StepFailed, match="the quorum is gone") as caught:
        perform(work(), clock=clock, journal=MemoryJournal("r1", now=clock.now), resume="dcctl run resume r1")
    assert caught.value.next_command == "dcctl run resume r1"


# The look that it is judged by.


@pytest.mark.parametrize(("age_s", "looks"), [(0.0, 1), (FRESH_S, 1), (FRESH_S + 1, 2), (-1.0, 2)])
def test_a_look_that_was_just_taken_is_not_taken_again(age_s: float, looks: int) -> None:
    clock = VirtualClock()
    now = [clock.now()]
    taken = iter(range(1, 9))
    eyes = Looks(lambda: next(taken), lambda: now[0])
    assert eyes.look() == 1
    now[0] += timedelta(seconds=age_s)
    seen: list[int] = []
    needs = eyes.needs(lambda look: seen.append(look) or ())  # type: ignore[func-returns-value]
    assert needs() == ()
    assert seen == [looks]
    assert needs() == ()
    assert seen == [looks, looks + 1], "it serves one need"


def test_one_look_serves_what_no_step_between_changes() -> None:
    clock = VirtualClock()
    taken = iter(range(1, 9))
    eyes = Looks(lambda: next(taken), clock.now)
    seen: list[int] = []
    against: list[str] = []

    def why(look: int) -> Sequence[str]:
        seen.append(look)
        return tuple(against)

    needs = eyes.needs(why, lasting=True)
    eyes.look()
    for _each in range(3):
        assert needs() == ()
    assert seen == [1, 1, 1]
    clock.sleep(FRESH_S + 1)
    assert needs() == ()
    against.append("the primary is elsewhere")
    assert needs() == ("the primary is elsewhere",)
    assert needs() == ("the primary is elsewhere",)
    assert seen[3:] == [2, 2, 3], "what is against it is looked at anew"


def test_what_does_not_answer_is_against_it() -> None:
    def dark() -> int:
        raise Unreachable("look", on="east", saw="no answer")

    assert Looks(dark, VirtualClock().now).needs(lambda _look: ())() == ("look on east: no answer",)


def test_a_step_that_only_looks_needs_nothing() -> None:
    assert (Planned("verification", "west", "it works", 60.0).needs, Step("a", "b", 1, tuple).needs()) == (
        "",
        (),
    )
