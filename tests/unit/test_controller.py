"""The controller's loop where the ensemble goes away in the middle, and where a person says to stop."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from situations import NOW, east_lost
from test_failover_engine import east_dark

from dcctl.adapters.journal import read_run, runs
from dcctl.cli.controller import act, stopped_by_a_person
from dcctl.config.load import load_file
from dcctl.domain.automation import Automation, LastAction, Mode
from dcctl.domain.controller import Decision
from dcctl.domain.failover import decide_failover
from dcctl.domain.plan import Plan
from dcctl.domain.run import Asked, Wish
from dcctl.domain.situation import Situation
from dcctl.domain.verdict import Settled
from dcctl.engines.agent import Moment
from dcctl.engines.controller import Controller
from dcctl.engines.situation import Means
from dcctl.errors import Interrupted, Unreachable
from dcctl.ports import Journal
from dcctl.shell import Interruption
from dcctl.testing.automation import FakeAutomations
from dcctl.testing.clock import EPOCH


class Forgetful(FakeAutomations):
    """Nothing can be written, for once."""

    silent = True

    def record_last(self, last: LastAction | None) -> None:
        if self.silent:
            self.silent = False
            raise Unreachable("write", on="ZooKeeper", saw="no answer within 2 s")
        super().record_last(last)


def test_a_site_is_not_given_up_before_that_is_kept_and_the_controller_goes_on() -> None:
    acted: list[str] = []
    told: list[str] = []
    situation = east_lost().look()
    plan = decide_failover("east", situation)
    assert isinstance(plan, Plan)
    controller = Controller(
        None,  # type: ignore[arg-type]  # nothing is looked at here
        Mode.AUTOMATIC,
        Forgetful(),
        lambda lost: acted.append(lost) or "run-1",  # type: ignore[func-returns-value]
        told.append,
    )
    controller.settled = {"east": Settled(situation.verdict_of("east"), 0.0)}
    decision = replace(Decision("east"), plan=plan)
    controller._follow(decision, EPOCH)
    assert acted == []
    assert "before that can be kept" in told[-1]
    controller._follow(decision, EPOCH)
    assert acted == ["east"]


def test_what_was_kept_and_not_begun_holds_nobody_off() -> None:
    """The answer to what was written before the beginning was lost: nothing was begun."""
    situation = east_lost().look()
    acted: list[str] = []
    said = FakeAutomations()

    class Sees(Controller):
        def look(self, _now_s: float) -> Situation:
            return situation

    controller = Sees(
        None,  # type: ignore[arg-type]  # nothing is looked at here
        Mode.AUTOMATIC,
        said,
        lambda lost: acted.append(lost) or "run-1",  # type: ignore[func-returns-value]
    )
    loop = controller.control()
    next(loop)
    said.lose_answers = True
    loop.send(Moment(0.0, NOW))
    assert (acted, said.last) == ([], LastAction("east", "", NOW))
    said.lose_answers = False
    loop.send(Moment(1.0, NOW))
    assert acted == ["east"]
    loop.send(Moment(2.0, NOW))
    assert acted == ["east"], "it acts once"
    assert "hold-off" in controller.decision.reasons[0]


def asked_soon(interruption: Interruption) -> bool:
    """Within half a second, or a minute on a busy host."""
    ends_s = time.monotonic() + 60
    while not interruption.asked() and time.monotonic() < ends_s:
        time.sleep(0.01)
    return interruption.asked()


def test_a_failover_that_goes_on_is_ended_by_a_persons_word_and_by_nobodys_silence() -> None:
    for said in (Automation(paused=True), Automation(mode=Mode.MANUAL)):
        held, automation = Interruption(), FakeAutomations()
        with stopped_by_a_person(held, automation, Mode.AUTOMATIC, look_every_s=0.01) as interruption:
            automation.dark = True
            time.sleep(0.1)
            assert not interruption.asked(), "what was begun under everybody's eyes goes on"
            automation.dark = False
            automation.said = said
            assert asked_soon(interruption)
        assert not held.asked(), "the controller itself goes on, and looks"


def test_a_controller_that_is_asked_to_end_ends_its_failover_too() -> None:
    held = Interruption()
    with stopped_by_a_person(held, FakeAutomations(), Mode.AUTOMATIC, look_every_s=0.01) as interruption:
        held.ask()
        assert asked_soon(interruption)


@dataclass
class Stage:
    """Where somebody asks something of whatever run acts, before its first step."""

    means: Means
    asked: Asked

    @contextmanager
    def acting(self, journal: Journal, words: str) -> Iterator[Means]:
        self.means.runs.begin(journal.run, words, limit_s=1)
        self.means.runs.ask(journal.run, self.asked, limit_s=1)
        yield replace(self.means, journal=journal)


def test_what_a_person_asks_of_an_automatic_run_is_obeyed(tmp_path: Path) -> None:
    world = east_dark()
    configuration = load_file(Path(__file__).parent / "cases" / "config" / "good.yaml").model_copy(
        update={"state_directory": tmp_path}
    )
    made = Controller(world.means(), Mode.AUTOMATIC, FakeAutomations(), lambda lost: lost)
    made.settled = {"east": Settled(east_lost().look().verdict_of("east"), 0.0)}
    stage = Stage(world.means(), Asked(Wish.ABORT, "bob@ops", NOW, "I am there already"))
    with pytest.raises(Interrupted, match="bob@ops: I am there already"):
        act(configuration, stage, "east", made, Interruption())  # type: ignore[arg-type]
    (run,) = runs(tmp_path)
    told = read_run(tmp_path, run)
    assert [event.type for event in told] == ["run.started", "run.aborted"]
    assert told[0].fields["by"] == "automation"
    assert world.calls == [], "nothing was begun"
