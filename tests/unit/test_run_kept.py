"""Which runs the ensemble keeps: the last ones, and whatever can still be gone on with."""

from datetime import timedelta

import pytest

from dcctl.domain.event import Event
from dcctl.domain.run import decide_run, is_over
from dcctl.errors import LeadershipLost
from dcctl.testing.clock import EPOCH, VirtualClock
from dcctl.testing.runs import FakeRegistry, FakeRuns
from dcctl.wiring.runs import FORGET_AT_MOST, forget

DONE, FAILED = "run.done", "run.failed"
STATES = {
    (("run.started", "switchover apply --to west"), (DONE, "")): True,
    (("run.started", "switchover apply --to west"), ("run.aborted", "")): True,
    (("run.started", "switchover apply --to west"), (FAILED, "")): False,
    (("run.started", "failover apply --lost east"),): False,
    (("run.started", "drain east"), ("run.interrupted", "")): False,
    (("run.started", "switchover apply --to west"), (FAILED, ""), ("run.resumed", "")): False,
    (("run.started", "switchover apply --to west"), (FAILED, ""), ("run.resumed", ""), (DONE, "")): True,
    (("run.started", "deploy"), (FAILED, "")): True,
    (("run.started", "deploy"),): True,
    (("step.started", ""), ("step.done", "")): True,
    (): True,
}


def events_of(run: str, told: tuple[tuple[str, str], ...]) -> tuple[Event, ...]:
    return tuple(
        Event(EPOCH + timedelta(seconds=number), run, number, type, {"command": command})
        for number, (type, command) in enumerate(told)
    )


@pytest.mark.parametrize(("told", "over"), STATES.items())
def test_what_can_be_gone_on_with_is_not_over(told: tuple[tuple[str, str], ...], over: bool) -> None:
    events = events_of("r", told)
    assert is_over(decide_run("r", events, active=False), events) is over


class World:
    """Twelve runs that are done, but for the third, which failed; and the one that acts now."""

    def __init__(self) -> None:
        self.registry = FakeRegistry(VirtualClock())
        for number in range(12):
            run = f"20260102-{number:02d}"
            told = (("run.started", "switchover apply --to west"), (FAILED if number == 2 else DONE, ""))
            self.registry.events[run] = list(events_of(run, told))
        self.runs = FakeRuns(self.registry)
        self.runs.begin("20260103-now", "drain east", limit_s=1)

    def kept(self) -> list[str]:
        return [name.removeprefix("20260102-") for name in self.runs.observe_runs(limit_s=1)]


def test_the_last_ones_are_kept_and_an_older_one_that_can_be_resumed() -> None:
    world = World()
    assert forget(world.runs, keep=10) == ("20260102-00", "20260102-01")
    assert world.kept() == [*(f"{number:02d}" for number in range(2, 12)), "20260103-now"]
    assert forget(world.runs, keep=10) == ()


def test_no_more_than_a_few_go_at_the_end_of_one_run() -> None:
    world = World()
    assert len(forget(world.runs, keep=1)) == FORGET_AT_MOST
    while forget(world.runs, keep=1):
        pass
    assert world.kept() == ["02", "20260103-now"]


def test_whoever_may_not_act_forgets_nothing() -> None:
    world = World()
    world.runs.end(limit_s=1)
    with pytest.raises(LeadershipLost):
        forget(world.runs, keep=10)
    assert len(world.kept()) == 13
