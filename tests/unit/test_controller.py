"""The controller's loop where the ensemble goes away in the middle, and where a person says to stop."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from situations import NOW, World, east_lost
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
from dcctl.engines.agent import Loop, Moment
from dcctl.engines.controller import Controller, change_automation
from dcctl.engines.situation import Means
from dcctl.errors import Aborted, Refused, Unreachable
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


@dataclass
class Onlooking(Controller):
    """``sees`` is what there is to see; None: nobody suspects anything."""

    sees: Situation | None = None

    def look(self, _now_s: float) -> Situation | None:
        return self.sees


def aborting(said: FakeAutomations, acted: list[str], sees: Situation | None) -> tuple[Onlooking, Loop]:
    """A controller whose runs somebody aborts, and its loop."""

    def act(lost: str) -> str:
        acted.append(lost)
        raise Aborted("aborted before quarantine", run="run-1", on=lost, saw="bob@ops: I am there already")

    made = Onlooking(None, Mode.AUTOMATIC, said, act, sees=sees)  # type: ignore[arg-type]
    loop = made.control()
    next(loop)
    return made, loop


ABORTED = LastAction("east", "run-1", NOW, done=False, aborted="bob@ops: I am there already")


def test_what_a_person_aborted_is_not_begun_again_by_whoever_is_the_controller() -> None:
    acted: list[str] = []
    said, lost = FakeAutomations(), east_lost().look()
    _made, loop = aborting(said, acted, lost)
    loop.send(Moment(0.0, NOW))
    assert (acted, said.last) == (["east"], ABORTED)
    later = replace(lost, at=NOW + timedelta(days=1))
    for made, its in (aborting(said, acted, later), aborting(said, acted, later)):
        for second in range(100):
            its.send(Moment(float(second), later.at))
        assert acted == ["east"]
        assert made.decision.reasons == (
            "the automatic failover of east (run-1) was aborted by bob@ops: I am there already;"
            " until east was seen up again, or dcctl automation resume",
        )


def test_once_the_site_was_seen_up_what_was_aborted_holds_nothing_back() -> None:
    for well in (None, World().look()):
        acted: list[str] = []
        said, lost = FakeAutomations(last=ABORTED), east_lost().look()
        later = replace(lost, at=NOW + timedelta(days=1))
        made, loop = aborting(said, acted, later)
        loop.send(Moment(0.0, later.at))
        assert (acted, said.last) == ([], ABORTED)
        made.sees = well
        loop.send(Moment(300.0, later.at))
        assert said.last == replace(ABORTED, aborted="")
        made.sees = later
        for second in range(400, 420):
            loop.send(Moment(float(second), later.at))
        assert acted == ["east"], "begun again, aborted again, and held back again"


def test_while_all_is_well_it_is_asked_now_and_then_whether_something_was_aborted() -> None:
    said = FakeAutomations()
    _made, loop = aborting(said, [], None)
    loop.send(Moment(0.0, NOW))
    said.last = ABORTED  # of a run that was broken off, while its site was back already
    loop.send(Moment(1.0, NOW))
    assert said.last == ABORTED
    loop.send(Moment(5.0, NOW))
    assert said.last == replace(ABORTED, aborted="")


def test_a_person_who_lets_automation_go_on_takes_the_abort_back() -> None:
    for told, kept in (
        ({"paused": True}, True),
        ({"mode": Mode.MANUAL}, True),
        ({"as_configured": True}, True),
        ({"paused": False}, False),
        ({"mode": Mode.AUTOMATIC}, False),
    ):
        said = FakeAutomations(last=ABORTED)
        change_automation(said, by="ann@ops", at=NOW, reason="", **told)
        assert said.last == (ABORTED if kept else replace(ABORTED, aborted=""))


def test_an_abort_that_is_kept_meanwhile_is_not_overwritten_by_what_was_before() -> None:
    """What is refused was not begun, so that what was before it is kept again."""
    said, lost = FakeAutomations(), east_lost().look()
    before = replace(ABORTED, aborted="", at=NOW - timedelta(days=1))
    for told in (ABORTED, None):
        said.last = before

        def act(_lost: str, told: LastAction | None = told) -> str:
            said.last = told or said.last
            raise Refused("the failover", reasons=("run-1 is active",))

        loop = Onlooking(None, Mode.AUTOMATIC, said, act, sees=lost).control()  # type: ignore[arg-type]
        next(loop)
        loop.send(Moment(0.0, NOW))
        assert said.last == (told or before)


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
    with pytest.raises(Aborted, match="bob@ops: I am there already") as aborted:
        act(configuration, stage, "east", made, Interruption())  # type: ignore[arg-type]
    (run,) = runs(tmp_path)
    assert aborted.value.run == run
    told = read_run(tmp_path, run)
    assert [event.type for event in told] == ["run.started", "run.aborted"]
    assert told[0].fields["by"] == "automation"
    assert world.calls == [], "nothing was begun"
