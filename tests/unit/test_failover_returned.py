"""A failover that is resumed when its site is back: one row per case, then over two sites in memory."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from situations import ALL_UP, EAST_DOWN, World, role, state, vantage
from test_failover_engine import boundaries, east_dark
from two_sites import Killed, TwoSites

from dcctl.domain.event import Event
from dcctl.domain.failover_returned import decide_returned
from dcctl.domain.order import Order
from dcctl.domain.plan import Plan
from dcctl.domain.refusal import Refusal
from dcctl.domain.run import Outcome, decide_abort, decide_resume, decide_run, is_over, no_return_of
from dcctl.domain.step import Wait
from dcctl.domain.traffic import Rotation
from dcctl.engines.admission import admit
from dcctl.engines.failover import failover
from dcctl.engines.switchover import switchover
from dcctl.errors import DcctlError, Overtaken, Refused, StepFailed, Unreachable
from dcctl.testing.journal import MemoryJournal

FAILOVER = partial(failover, "east")
QUARANTINED = {"east": state("east", Rotation.QUARANTINED)}
WEST_LEADS: dict[str, Any] = {
    "leader": "west-db-1",
    "primaries": ("west-db-1",),
    "synchronous": ("east-db-1",),
    "confirmed": ("east-db-1",),
}
EAST_AGENT, WEST_AGENT = vantage("east-edge-1", ALL_UP), vantage("west-edge-1", ALL_UP)
WITNESS = vantage("witness-1", ALL_UP)
OVER, REST, NOTHING = "over", "rest", "nothing"
PASSED: dict[str, Any] = {"states": QUARANTINED, **WEST_LEADS}
"""East was given up, the survivor leads, and east is back and follows it."""


@dataclass(frozen=True)
class Row:
    """Everything is well again, but for ``but``. ``wrote``: who wrote Patroni's ``/sync`` last."""

    name: str
    decided: str
    passed: bool = True
    but: dict[str, Any] = field(default_factory=dict)
    wrote: str = "west-db-1"
    says: str = ""


TRUTH = (
    Row("back, and nothing was moved", OVER, passed=False, says="nothing of this failover was begun"),
    Row("back, and quarantined by an earlier one", OVER, passed=False, but=PASSED, says="stays quarantined"),
    Row("back, and the quarantine never came to be", OVER, says="east is active: it is not given up"),
    Row("back, the key was released, no quarantine", OVER, but=WEST_LEADS, says="it is not given up"),
    Row(
        "back, and a person drained it meanwhile",
        OVER,
        but={"states": {"east": state("east", Rotation.DRAINED)}, **WEST_LEADS},
        says="east is drained: it is not given up",
    ),
    Row("back, quarantined, the survivor leads", REST, but=PASSED),
    Row("back, quarantined, the survivor is a single copy yet", REST, but={**PASSED, "synchronous": ()}),
    Row(
        "back, quarantined, and its database rewinds yet",
        REST,
        but={**PASSED, "stopped": {"east-db-1"}, "synchronous": ()},
    ),
    Row("back, quarantined, the survivor has not written /sync yet", NOTHING, but=PASSED, wrote="east-db-1"),
    Row(
        "back, quarantined, and it is the primary still",
        OVER,
        but={"states": QUARANTINED},
        wrote="east-db-1",
        says="east-db-1 has the leader key and is primary",
    ),
    Row(
        "back, quarantined, it has the key and does not say that it is primary",
        NOTHING,
        but={"states": QUARANTINED, "primaries": ()},
        wrote="east-db-1",
    ),
    Row(
        "back, quarantined, and both say that they are primary",
        NOTHING,
        but={"states": QUARANTINED, "primaries": ("east-db-1", "west-db-1")},
        wrote="east-db-1",
    ),
    Row(
        "back, quarantined, and nobody leads yet",
        NOTHING,
        but={"states": QUARANTINED, "leader": None, "primaries": ()},
    ),
    Row(
        "lost still",
        NOTHING,
        passed=False,
        but={
            "silent": {"east-db-1", "east-edge-1"},
            "vantages": (vantage("west-edge-1", EAST_DOWN), vantage("witness-1", EAST_DOWN)),
        },
    ),
    Row("no quorum", NOTHING, passed=False, but={"quorum": False}),
    Row(
        "it answers here alone: nobody else looked",
        NOTHING,
        passed=False,
        but={"vantages": (EAST_AGENT,)},
    ),
    Row(
        "the others' observations are stale",
        NOTHING,
        passed=False,
        but={"vantages": (EAST_AGENT, vantage("witness-1", ALL_UP, age_s=16.0))},
    ),
    Row(
        "one who looked sees it down",
        NOTHING,
        passed=False,
        but={"vantages": (EAST_AGENT, WEST_AGENT, vantage("witness-1", EAST_DOWN))},
    ),
    Row(
        "it lives, and nothing of it is in the quorum",
        NOTHING,
        passed=False,
        but={"silent": {"east-db-1"}, "vantages": (WEST_AGENT, WITNESS)},
    ),
    Row("its database does not answer yet", NOTHING, passed=False, but={"silent": {"east-db-1"}}),
    Row("it does not answer here", NOTHING, passed=False, but={"silent": {"east-db-1", "east-edge-1"}}),
)


@pytest.mark.parametrize("row", TRUTH, ids=lambda row: row.name)
def test_truth(row: Row) -> None:
    decided = decide_returned("east", World(**row.but, synchronous_to=row.wrote).look(), passed=row.passed)
    found = OVER if isinstance(decided, Refusal) else REST if isinstance(decided, Plan) else NOTHING
    assert found == row.decided, decided
    if isinstance(decided, Refusal):
        assert row.says in "; ".join(decided.reasons)
        assert any("east is not lost" in each for each in decided.reasons)


def test_the_rest_has_no_way_back_in_it_and_waits_for_no_role_to_move() -> None:
    world = World(**PASSED, synchronous_to="west-db-1", roles=(role("auction", "east-edge-1"),))
    plan = decide_returned("east", world.look(), passed=True)
    assert isinstance(plan, Plan)
    assert not any(step.no_return for step in plan.steps)
    assert [step.name for step in plan.steps] == [
        "primary at the survivor",
        "edges lead to it",
        "a write is acknowledged",
        "singletons",
        "verification",
    ]
    assert plan.step("singletons").proof == "each role is led, under the epoch that is in force"


def back_after(world: TwoSites, dies_at: int, work: Any = FAILOVER) -> tuple[Event, ...]:
    """Its operator was killed, and east came back; what is kept of the run."""
    with pytest.raises(Killed):
        world.perform(work, dies_at=dies_at)
    world.heal("east")
    world.pass_time(120)
    return tuple(world.registry.events[world._last.run])


@pytest.mark.parametrize("dies_at", range(1, boundaries() + 1))
def test_wherever_it_was_killed_a_site_that_is_back_is_waited_for_by_nobody(dies_at: int) -> None:
    world = east_dark()
    passed = no_return_of(back_after(world, dies_at)) is not None
    changed, since_s = list(world.calls), world.clock.monotonic()
    if passed:
        moved, events = world.resume(FAILOVER)
        assert moved.primary == "west-db-1"
        assert moved.fences == ("east is back, and west-db-1 at west has the leader key",)
        outcome = Outcome.DONE
    else:
        with pytest.raises(Overtaken, match="east is not lost"):
            world.resume(FAILOVER)
        events = tuple(world.registry.events["run-1"])
        outcome = Outcome.OVERTAKEN
    assert world.clock.monotonic() - since_s < 5
    assert world.calls == changed, "nothing is quarantined again, nothing is switched off"
    assert decide_run("run-1", events, active=False).outcome is outcome
    assert world.registry.active is None
    if passed:
        world.perform(partial(admit, "east"))
    assert world.state("east") is Rotation.ACTIVE


def amid(world: TwoSites, of: str, happens: Callable[[], None]) -> Callable[[Any], Any]:
    """The failover, in which something ``happens`` just before the first wait of a step of its plan."""

    def work(means: Any) -> Any:
        inner, once = failover("east", means), [happens]
        answer, error = None, None
        while True:
            try:
                request = inner.throw(error) if error is not None else inner.send(answer)
            except StopIteration as stop:
                return stop.value
            if once and isinstance(request, Wait) and request.of == of:
                once.pop()()
            answer, error = None, None
            try:
                answer = yield request
            except DcctlError as raised:
                error = raised

    return work


def test_a_site_that_is_back_before_it_is_fenced_follows_and_the_run_goes_on_to_its_end() -> None:
    world = east_dark()

    def heals() -> None:
        world.heal("east")
        world.pass_time(30)
        assert world.system.synchronous == "east-db-1"

    since_s = world.clock.monotonic()
    moved, _events = world.perform(amid(world, "fence", heals))
    assert (moved.primary, world.state("east")) == ("west-db-1", Rotation.QUARANTINED)
    assert "none there can acknowledge a write" in moved.fences[-1]
    assert world.clock.monotonic() - since_s < 60


def test_a_site_that_is_back_may_have_taken_up_a_role() -> None:
    world = east_dark()

    def heals() -> None:
        world.heal("east")
        world.pass_time(30)
        world.lead("east-edge-1")

    moved, _events = world.perform(amid(world, "singletons", heals))
    assert moved.roles["auction"].startswith("dcctl-run@east-edge-1")


def test_a_role_whose_holder_is_dark_is_not_held() -> None:
    world = east_dark(contends={"east-edge-1"})
    with pytest.raises(StepFailed, match="auction is led by east-edge-1 at east"):
        world.perform(FAILOVER)


def test_nobody_goes_on_with_a_run_that_was_overtaken() -> None:
    journal = MemoryJournal("run-1")
    journal.append("run.started", {"command": Order("failover", "east").words()})
    assert decide_resume(decide_run("run-1", journal.events(), active=False), journal.events()) is None
    journal.append("run.overtaken", {"saw": "the failover on east: east is not lost"})
    found = decide_run("run-1", journal.events(), active=False)
    assert is_over(found, journal.events())
    refusal = decide_resume(found, journal.events())
    assert refusal is not None
    assert refusal.reasons == ("run run-1 is over: the failover on east: east is not lost",)
    refusal = decide_abort(found, journal.events())
    assert refusal is not None
    assert refusal.reasons == ("run run-1 is overtaken already",)


def test_what_is_not_clear_is_waited_for_and_refused_so_that_it_may_be_resumed() -> None:
    world = east_dark()
    back_after(world, 3)
    world.system.down.add("east-db-1")
    since_s = world.clock.monotonic()
    with pytest.raises(Refused, match="east is not lost") as refused:
        world.resume(FAILOVER)
    assert not isinstance(refused.value, Overtaken)
    assert world.clock.monotonic() - since_s > 60
    events = world.registry.events["run-1"]
    assert decide_run("run-1", events, active=False).outcome is Outcome.FAILED


def test_a_switchover_that_became_a_failover_goes_on_with_the_rest_of_it() -> None:
    """Its source died in the middle, was given up, and is back: nothing is switched over any more."""
    world = TwoSites(dies_in_switch="east", switch_fails=Unreachable("switch", saw="no answer"))
    world.pass_time(100)
    _moved, events = world.perform(partial(switchover, "west"))
    last = next(each.seq for each in events if "singletons" in str(each.fields.get("of")))

    world = TwoSites(dies_in_switch="east", switch_fails=Unreachable("switch", saw="no answer"))
    world.pass_time(100)
    back_after(world, last, partial(switchover, "west"))
    assert world.state("east") is Rotation.QUARANTINED
    changed, since_s = list(world.calls), world.clock.monotonic()
    moved, events = world.resume(partial(switchover, "west"))
    assert (moved.plan.what, moved.primary) == ("failover", "west-db-1")
    assert world.calls == changed
    assert world.clock.monotonic() - since_s < 5
    assert decide_run("run-1", events, active=False).outcome is Outcome.DONE
