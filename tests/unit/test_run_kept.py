"""Which runs the ensemble keeps: the last ones, and whatever can still be gone on with."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dcctl.domain.event import Event
from dcctl.domain.run import Outcome, Run, begun_at, decide_abort, decide_resume, decide_run, is_over
from dcctl.errors import LeadershipLost, Unreachable
from dcctl.testing.clock import EPOCH, VirtualClock
from dcctl.testing.journal import MemoryJournal
from dcctl.testing.runs import FakeRegistry, FakeRuns
from dcctl.wiring.runs import FORGET_AT_MOST, Known, acting, forget

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


DRILL = "20260102-030405-drill-aaaa"
STORY = (
    ("run.started", {"command": "drill run site-cut"}),
    ("undo.written", {"undo": "mend", "target": "cut east"}),
    ("step.started", {"step": "cut east", "target": "east", "limit_s": 60.0}),
    ("drill.fault", {"site": "east", "what": "east is cut off"}),
    ("step.done", {"step": "cut east", "target": "east", "took_s": 0.1}),
)
HEALED = (("undo.done", {"undo": "mend", "target": "cut east"}), ("run.done", {}))


@dataclass
class Elsewhere:
    """A machine that has the drill's journal, and one that reads what the ensemble keeps of it."""

    state: Path
    registry: FakeRegistry = field(default_factory=lambda: FakeRegistry(VirtualClock()))

    def drill(self, *told: tuple[str, dict[str, Any]]) -> None:
        """The drill holds the right to act, and keeps its own journal on its disk alone."""
        runs: Any = FakeRuns(self.registry, who="ann@laptop")
        journal = MemoryJournal(DRILL, now=self.registry.clock.now)
        with acting(runs, journal, "drill run site-cut") as shared:
            for type, fields in told:
                journal.append(type, fields)
                if type == "drill.fault":
                    shared.append("failover.decided", {"site": "east", "survivor": "west", "primary": "x"})

    def read(self) -> tuple[Run, list[str]]:
        runs: Any = FakeRuns(self.registry)
        configuration: Any = SimpleNamespace(state_directory=self.state)
        active = runs.observe_active(limit_s=1)
        found, events = Known(configuration, runs, "", active, runs.observe_runs(limit_s=1)).read(DRILL)
        return found, [each.type for each in events]


def test_a_drill_that_is_over_is_told_to_every_machine_but_for_its_steps(tmp_path: Path) -> None:
    world = Elsewhere(tmp_path)
    sought = ("drill.sought", {"site": "west", "missing": 9000, "names": [f"d/{n:06}" for n in range(9000)]})
    world.drill(*STORY, sought, *HEALED)
    found, types = world.read()
    assert (found.outcome, found.command, found.by) == (Outcome.DONE, "drill run site-cut", "ann@laptop")
    assert types == [
        "run.started",
        "undo.written",
        "drill.fault",
        "failover.decided",
        "undo.done",
        "run.done",
    ]
    assert found.missing == 3, "its steps, and what has no room in a node, are in its own journal"
    assert world.registry.begun == {}, "nothing of it is taken for under way"


def test_of_a_drill_without_a_last_word_no_other_machine_says_how_it_ended(tmp_path: Path) -> None:
    world = Elsewhere(tmp_path)
    world.drill(*STORY)
    found, types = world.read()
    assert (found.outcome, types) == (Outcome.UNKNOWN, ["failover.decided"])
    assert "where ann@laptop began it" in found.saw
    for refused in (decide_resume(found, ()), decide_abort(found, ())):
        assert refused is not None
        assert "where ann@laptop began it" in refused.reasons[0], "its undo is there, and nowhere else"


def test_of_a_drill_that_acts_every_machine_knows_who_and_what(tmp_path: Path) -> None:
    world = Elsewhere(tmp_path)
    FakeRuns(world.registry, who="ann@laptop").begin(DRILL, "drill run site-cut", limit_s=1)
    found, types = world.read()
    assert (found.outcome, found.command, found.by) == (Outcome.ACTIVE, "drill run site-cut", "ann@laptop")
    assert (types, found.started_at) == ([], begun_at(DRILL))
    refused = decide_abort(found, ())
    assert refused is not None
    assert refused.reasons == (
        "drill run site-cut is no move between sites, and listens to nobody: Ctrl-C ends it where ann@laptop"
        " began it",
    )


def test_an_ensemble_that_does_not_answer_holds_up_no_end(tmp_path: Path) -> None:
    world = Elsewhere(tmp_path)
    runs: Any = FakeRuns(world.registry, who="ann@laptop")
    journal = MemoryJournal(DRILL, now=world.registry.clock.now)
    with acting(runs, journal, "drill run site-cut"):
        for type, fields in (*STORY, *HEALED):
            journal.append(type, fields)
        world.registry.dark = True
    world.registry.dark = False
    assert world.registry.events[DRILL] == []


def test_a_journal_that_is_broken_here_is_read_where_it_is_kept(tmp_path: Path) -> None:
    world = Elsewhere(tmp_path)
    journal = tmp_path / "runs" / DRILL / "journal.jsonl"
    journal.parent.mkdir(parents=True)
    journal.write_text("no event\n")
    with pytest.raises(Unreachable, match="not an event"):
        world.read()
    world.drill(*STORY, *HEALED)
    assert world.read()[0].outcome is Outcome.DONE
