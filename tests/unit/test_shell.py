"""The shell: every way out of a run, and that an undo is performed on each of them."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from dcctl.domain.event import Event
from dcctl.domain.step import Step, Together, Wait, Work
from dcctl.errors import (
    Interrupted,
    Refused,
    Rejected,
    StepFailed,
    TimedOut,
    UndoIncomplete,
    Unreachable,
)
from dcctl.shell import Interruption, at_once, perform
from dcctl.testing.clock import VirtualClock
from dcctl.testing.journal import MemoryJournal


class Bench:
    """A shell with virtual time, a journal in memory, and a list of what was done."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.journal = MemoryJournal("r1", now=self.clock.now)
        self.interruption = Interruption()
        self.done: list[str] = []

    def perform(self, work: Work[Any], **options: Any) -> Any:
        with self.interruption:
            return perform(
                work, clock=self.clock, journal=self.journal, interruption=self.interruption, **options
            )

    def step(self, name: str, *, undo: bool = False, effect: Callable[[], Any] = lambda: None) -> Step:
        def act() -> Any:
            self.done.append(name)
            return effect()

        return Step(name, "east", 10, act, undo=undo)

    def types(self) -> list[str]:
        return [event.type for event in self.journal.events()]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def fail(error: BaseException) -> Callable[[], Any]:
    def act() -> Any:
        raise error

    return act


def test_results_come_back_and_every_step_is_journalled_before_and_after(bench: Bench) -> None:
    def work() -> Work[list[int]]:
        one = yield bench.step("one", effect=lambda: 1)
        two = yield Wait("two", "east", 10, 1, lambda: 2)
        return [one, two]

    seen: list[Event] = []
    assert bench.perform(work(), about={"what": "test"}, seen=seen.append) == [1, 2]
    assert bench.types() == [
        "run.started",
        "step.started",
        "step.done",
        "wait.started",
        "wait.done",
        "run.done",
    ]
    assert tuple(seen) == bench.journal.events()
    assert seen[0].fields == {"what": "test"}


def test_what_a_look_saw_that_was_not_enough_is_told_and_not_journalled(bench: Bench) -> None:
    looks = iter([None, None, 2])
    saw = iter(["nobody", "somebody"])

    def work() -> Work[int]:
        found: int = yield Wait("two", "east", 10, 1, lambda: next(looks), lambda: next(saw))
        return found

    told: list[tuple[str, float, str]] = []
    assert bench.perform(work(), waits=lambda wait, seen: told.append((wait.name, wait.limit_s, seen))) == 2
    assert told == [("two", 10, "nobody"), ("two", 10, "somebody")]
    assert bench.types() == ["run.started", "wait.started", "wait.done", "run.done"]


def test_an_error_before_any_step_keeps_its_code(bench: Bench) -> None:
    def work() -> Work[None]:
        yield Wait("nothing", "east", 1, 1, fail(Unreachable("look", on="east", saw="no answer")))

    with pytest.raises(Unreachable) as caught:
        bench.perform(work(), resume="dcctl again")
    assert caught.value.exit_code == 4
    assert caught.value.next_command == "dcctl again"


@pytest.mark.parametrize(
    "error",
    [Rejected("create", on="east", saw="quota"), Refused("create", reasons=("not ours",)), OSError("bug")],
)
def test_a_failed_step_undoes_then_fails_the_run(bench: Bench, error: Exception) -> None:
    def work() -> Work[None]:
        try:
            yield bench.step("one", effect=fail(error))
        finally:
            yield bench.step("undo", undo=True)

    with pytest.raises(OSError if isinstance(error, OSError) else StepFailed) as caught:
        bench.perform(work(), resume="dcctl again")
    assert bench.done == ["one", "undo"]
    assert bench.types()[-1] == "run.failed"
    if isinstance(caught.value, StepFailed):
        assert (caught.value.run, caught.value.step, caught.value.on) == ("r1", "one", "east")
        assert str(error) in caught.value.saw
        assert caught.value.next_command == "dcctl again"


def test_a_wait_that_runs_out_says_what_it_saw_last(bench: Bench) -> None:
    def work() -> Work[None]:
        yield Wait("sshd", "east-db-1", 5, 1, lambda: None, lambda: "connection refused")

    with pytest.raises(TimedOut, match="wait 5 s for sshd on east-db-1: connection refused"):
        bench.perform(work())
    assert bench.clock.monotonic() == 5


def test_a_wait_that_runs_out_after_a_step_admits_that_something_changed(bench: Bench) -> None:
    def work() -> Work[None]:
        yield bench.step("one")
        yield Wait("sshd", "east-db-1", 5, 1, lambda: None, lambda: "connection refused")

    with pytest.raises(StepFailed, match="wait 5 s for sshd on east-db-1: connection refused") as caught:
        bench.perform(work())
    assert caught.value.step == "wait 5 s for sshd"


def test_an_engine_may_put_up_with_a_failure(bench: Bench) -> None:
    def work() -> Work[str]:
        try:
            yield Wait("sshd", "east", 5, 1, lambda: None)
        except TimedOut:
            yield bench.step("otherwise")
        return "done"

    assert bench.perform(work()) == "done"
    assert bench.types()[-1] == "run.done"


def test_a_failing_branch_undoes_and_its_sibling_goes_on(bench: Bench) -> None:
    def good() -> Work[str]:
        yield bench.step("good 1")
        yield bench.step("good 2")
        return "good"

    def bad(name: str) -> Work[None]:
        try:
            yield bench.step(name, effect=fail(Rejected("create", saw=f"{name} quota")))
        finally:
            yield bench.step(f"undo {name}", undo=True)

    def work() -> Work[None]:
        yield Together((bad("bad 1"), good(), bad("bad 2")))

    with pytest.raises(StepFailed) as caught:
        bench.perform(work())
    assert {"good 1", "good 2", "undo bad 1", "undo bad 2"} <= set(bench.done)
    assert caught.value.step == "bad 1"
    assert any("bad 2 quota" in note for note in caught.value.__notes__)


def test_an_undo_that_left_something_is_told_first(bench: Bench) -> None:
    def branch(error: Exception) -> Work[None]:
        yield bench.step("x", effect=fail(error))

    def work() -> Work[None]:
        yield Together((branch(Rejected("create")), branch(UndoIncomplete("heal", left=("a cut",)))))

    with pytest.raises(UndoIncomplete):
        bench.perform(work())


def test_no_branches_give_no_results(bench: Bench) -> None:
    def work() -> Work[list[Any]]:
        results: list[Any] = yield Together(())
        return results

    assert bench.perform(work()) == []


def test_ctrl_c_lets_the_step_end_starts_nothing_and_undoes(bench: Bench) -> None:
    def work() -> Work[None]:
        try:
            yield bench.step("one", effect=ctrl_c)
            yield bench.step("two")
        finally:
            yield bench.step("undo 1")  # not even marked: the first Ctrl-C reaches an engine once
            yield bench.step("undo 2")

    with pytest.raises(Interrupted) as caught:
        bench.perform(work(), resume="dcctl again")
    assert bench.done == ["one", "undo 1", "undo 2"]
    assert caught.value.exit_code == 130
    assert caught.value.next_command == "dcctl again"
    assert [t for t in bench.types() if t in ("step.done", "run.interrupted")] == [
        "step.done",
        "step.done",
        "step.done",
        "run.interrupted",
    ]


def test_a_second_ctrl_c_does_not_lose_the_undo(bench: Bench) -> None:
    def work() -> Work[None]:
        try:
            yield bench.step("one", effect=ctrl_c)
            yield bench.step("two")
        finally:
            yield bench.step("undo 1", effect=ctrl_c)
            yield Wait("undone", "east", 2, 1, lambda: bench.clock.monotonic() >= 2 or None)
            yield Together((iter_steps(bench.step("undo 2")), iter_steps(bench.step("undo 3"))))

    with pytest.raises(Interrupted):
        bench.perform(work())
    assert bench.done[:2] == ["one", "undo 1"]
    assert set(bench.done[2:]) == {"undo 2", "undo 3"}


def iter_steps(*steps: Step) -> Work[None]:
    yield from steps


def test_ctrl_c_during_the_undo_of_a_failure_does_not_lose_it(bench: Bench) -> None:
    def work() -> Work[None]:
        try:
            yield bench.step("one", effect=fail(Rejected("create")))
        finally:
            yield bench.step("undo 1", undo=True, effect=ctrl_c)
            yield bench.step("undo 2", undo=True)

    with pytest.raises(StepFailed):
        bench.perform(work())
    assert bench.done == ["one", "undo 1", "undo 2"]


def test_ctrl_c_ends_a_wait(bench: Bench) -> None:
    def until() -> None:
        if bench.clock.monotonic() >= 3:
            ctrl_c()

    def work() -> Work[None]:
        yield Wait("sshd", "east", 1000, 1, until, lambda: "no banner")

    with pytest.raises(Interrupted, match="no banner"):
        bench.perform(work())
    assert bench.clock.monotonic() == 3


def test_ctrl_c_stops_every_branch_at_its_next_step_and_each_undoes(bench: Bench) -> None:
    both_run = threading.Barrier(3, timeout=10)

    def branch(name: str) -> Work[None]:
        try:
            yield bench.step(name, effect=both_run.wait)
            yield bench.step(f"{name} never")
        finally:
            yield bench.step(f"undo {name}")

    def interrupt() -> Work[None]:
        def act() -> None:
            ctrl_c()
            while not bench.interruption.asked():
                pass
            both_run.wait()

        yield bench.step("c", effect=act)

    def work() -> Work[None]:
        try:
            yield Together((branch("a"), branch("b"), interrupt()))
            yield bench.step("never")
        finally:
            yield bench.step("undo all")

    with pytest.raises(Interrupted):
        bench.perform(work())
    assert set(bench.done[3:5]) == {"undo a", "undo b"}
    assert bench.done[5:] == ["undo all"]


def test_ctrl_c_is_noticed_in_the_middle_though_the_kernel_gave_it_to_a_branch(bench: Bench) -> None:
    """The main thread has nothing to do meanwhile, and nothing wakes it; it alone can notice."""

    def act() -> None:
        time.sleep(0.3)  # the main thread has begun to wait by now
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        until = time.monotonic() + 10
        while not bench.interruption.asked() and time.monotonic() < until:
            time.sleep(0.01)

    def branch() -> Work[None]:
        yield bench.step("one", effect=act)
        yield bench.step("never")

    def work() -> Work[None]:
        yield Together((branch(),))

    with pytest.raises(Interrupted):
        bench.perform(work())
    assert bench.done == ["one"]


def test_an_engine_cannot_put_up_with_a_failure_that_came_with_ctrl_c(bench: Bench) -> None:
    """Ctrl-C reaches a child process too: its failure must not look like one the engine expects."""

    def act() -> None:
        ctrl_c()
        raise Rejected("play", saw="ansible was interrupted")

    def work() -> Work[None]:
        try:
            yield bench.step("play", effect=act)
        except StepFailed:
            yield bench.step("never")

    with pytest.raises(Interrupted, match="ansible was interrupted"):
        bench.perform(work())
    assert bench.done == ["play"]


def test_a_run_that_ended_before_the_ctrl_c_was_noticed_is_done(bench: Bench) -> None:
    assert bench.perform(iter_steps(bench.step("one", effect=ctrl_c))) is None
    assert bench.types()[-1] == "run.done"


def test_the_signal_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    bench = Bench()
    bench.perform(iter_steps(bench.step("one")))
    perform(iter_steps(bench.step("one")), clock=bench.clock, journal=bench.journal)
    assert signal.getsignal(signal.SIGINT) is before


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_no_effect_without_its_intent_on_disk(bench: Bench) -> None:
    def work() -> Work[None]:
        yield bench.step("one")

    bench.journal.fails = Unreachable("write the journal", saw="No space left on device")
    with pytest.raises(Unreachable, match="No space left"):
        bench.perform(work())
    assert bench.done == []


def test_a_full_disk_does_not_lose_the_undo(bench: Bench) -> None:
    def fill() -> None:
        bench.journal.fails = Unreachable("write the journal", saw="No space left on device")

    def work() -> Work[None]:
        try:
            yield bench.step("one", effect=fill)
            yield bench.step("two")
        finally:
            yield bench.step("undo", undo=True)

    with pytest.raises(StepFailed, match="No space left"):
        bench.perform(work())
    assert bench.done == ["one", "undo"]


def test_a_screen_that_went_away_does_not_stop_the_work(bench: Bench) -> None:
    def seen(_event: Event) -> None:
        raise BrokenPipeError

    bench.perform(iter_steps(bench.step("one"), bench.step("two")), seen=seen)
    assert bench.done == ["one", "two"]


def test_reads_at_once_give_answers_and_reasons_in_order() -> None:
    together = threading.Barrier(2, timeout=10)
    dark = Unreachable("look", on="west")

    def east() -> str:
        together.wait()
        return "seen"

    def west() -> str:
        together.wait()
        raise dark

    assert at_once({"west": west, "east": east}) == {"west": dark, "east": "seen"}
    assert at_once({}) == {}


def test_a_process_that_is_told_to_end_by_its_supervisor_undoes() -> None:
    """The same with a real process, SIGTERM and wall time: the wait of a branch in a thread ends at once."""
    program = textwrap.dedent("""
        import sys
        from dcctl.cli.errors import say
        from dcctl.domain.step import Step, Together, Wait
        from dcctl.errors import DcctlError
        from dcctl.shell import WallClock, perform
        from dcctl.testing.journal import MemoryJournal

        def branch():
            try:
                yield Step("tell", "east", 1, lambda: print("waiting", flush=True))
                yield Wait("ever", "east", 60, 0.05, lambda: None)
            finally:
                yield Step("undo", "east", 1, lambda: print("undone", flush=True))

        def work():
            yield Together((branch(),))

        try:
            perform(work(), clock=WallClock(), journal=MemoryJournal())
        except DcctlError as error:
            sys.exit(say(error))
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, err
    assert out == "undone\n"
    assert "stopped" in err  # before or during the wait, as the signal fell
    assert "ever on east" in err
