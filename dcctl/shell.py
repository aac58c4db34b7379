"""The real shell: performs what an engine yields, in wall time, and journals every step.

Owns the clock, the threads and the signals, so that engines need none of them. A step's ``started`` is
on disk before its effect begins; its ``done`` is written after the effect returned.
"""

import concurrent.futures
import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import FrameType
from typing import Any, Self, TypeVar

from dcctl.domain.event import Event
from dcctl.domain.run import Asked, Wish, no_return_of
from dcctl.domain.step import Request, Step, Together, Wait, Work
from dcctl.errors import (
    Aborted,
    DcctlError,
    Interrupted,
    Overtaken,
    Refused,
    StepFailed,
    TimedOut,
    UndoIncomplete,
)
from dcctl.ports import Clock, Journal

T = TypeVar("T")

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a supervisor's stop, and a terminal that went away."""
SIGNAL_LOOK_S = 0.2
"""How long the main thread waits at a time: one that waits without an end learns of a signal that the
kernel gave to another thread only when the wait is over."""
PAUSE_LOOK_S = 1.0
NEEDS_LIMIT_S = 15.0
"""What a look misses under load, and sees in the next ones, ends no run."""
NEEDS_LOOK_S = 1.0
STATED_RULE = "a-person-states"
"""The rule by which a person's word stands for what a step waits for (``dcctl run skip``)."""


class WallClock:
    """``ports.Clock`` over the operating system."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def at_once(
    reads: Mapping[str, Callable[[], T]], *, limit_s: float | None = None
) -> dict[str, T | DcctlError]:
    """Each read's answer, or why there is none, in the order given; all are under way at the same time.

    For what is looked at outside a run. A read ends within its own time limit. With ``limit_s``, one that
    has not ended by then counts as TimedOut and is left behind: nobody waits for its thread any more.
    """
    answers: queue.SimpleQueue[tuple[str, T | BaseException]] = queue.SimpleQueue()

    def answer(name: str, read: Callable[[], T]) -> None:
        try:
            answers.put((name, read()))
        except BaseException as error:  # raised again below, in the thread that asked
            answers.put((name, error))

    deadline_s = None if limit_s is None else time.monotonic() + limit_s
    for name, read in reads.items():
        threading.Thread(target=answer, args=(name, read), name=name, daemon=True).start()
    found: dict[str, T | BaseException] = {}
    while len(found) < len(reads):
        left_s = SIGNAL_LOOK_S if deadline_s is None else max(0.0, deadline_s - time.monotonic())
        try:
            name, value = answers.get(timeout=min(SIGNAL_LOOK_S, left_s))
        except queue.Empty:
            if left_s <= 0:
                break
            continue
        found[name] = value
    for name in reads:
        if name not in found:
            found[name] = TimedOut("look", on=name, saw=f"no answer within {limit_s:g} s")
    return {name: _no_bug(found[name]) for name in reads}


def _no_bug(answer: Any) -> Any:
    if isinstance(answer, BaseException) and not isinstance(answer, DcctlError):
        raise answer
    return answer


class Interruption:
    """While entered, signals that ask the process to end are noted here and raise nothing.

    An exception that a signal raises would land anywhere: between an effect and its record, or in the
    middle of an undo. ``asked`` is for whoever can end early: the shell between steps, and an effect that
    lasts (a playbook). A second signal changes nothing; the undo goes on.
    """

    def __init__(self) -> None:
        self._asked = False
        self._previous: dict[signal.Signals, Any] = {}

    def asked(self) -> bool:
        """Whether the process was asked to end."""
        return self._asked

    def ask(self) -> None:
        """Ask the process to end what it does, as a signal would."""
        self._asked = True

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in ENDING_SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # under nohup, say
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        # A plain assignment: a lock taken here could be one that the interrupted code holds.
        first, self._asked = not self._asked, True
        sentence = b"interrupted: " if first else b"already interrupted: "
        with contextlib.suppress(OSError):
            os.write(2, b"\n" + sentence + b"ending what runs and undoing what must be undone\n")


def perform(
    work: Work[T],
    *,
    clock: Clock,
    journal: Journal,
    seen: Callable[[Event], None] | None = None,
    about: Mapping[str, Any] | None = None,
    resume: str = "",
    interruption: Interruption | None = None,
    resumed: bool = False,
    asked: Callable[[], Sequence[Asked]] = tuple,
    waits: Callable[[Wait, str], None] | None = None,
) -> T:
    """Drive ``work`` to its end as the run of ``journal`` and return what it returns.

    ``seen`` is called with each journalled event, one at a time, for progress. ``about`` goes into
    ``run.started`` (no secrets), or ``run.resumed`` when the journal is gone on with; ``resume`` is the
    command that continues the run after a failure. ``interruption`` is one that the caller has entered, to
    share it with effects that last. ``asked`` is what people ask of the run; it is read between steps and
    while waiting, and answers at once. ``waits`` is told what each look of a wait saw that was not enough,
    for progress; it may be called from several threads.

    A step's own error is thrown into the engine first, so that its ``finally`` blocks yield their undo.
    Then this raises ``Interrupted`` when the process was asked to end (``Aborted``: a person ended the run,
    and nobody goes on with it), ``StepFailed`` for every other
    error of ours once a step has begun (codes 2 to 5 promise that nothing was changed), and else what
    the engine raised.
    """
    with contextlib.nullcontext(interruption) if interruption else Interruption() as held:
        performance = _Performance(
            clock, journal, seen or (lambda _event: None), held.asked, asked, waits=waits
        )
        return performance.run(work, about or {}, resume, resumed=resumed)


class _Performance:
    def __init__(
        self,
        clock: Clock,
        journal: Journal,
        seen: Callable[[Event], None],
        asked: Callable[[], bool],
        wishes: Callable[[], Sequence[Asked]],
        *,
        waits: Callable[[Wait, str], None] | None,
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._seen = seen
        self._asked = asked
        self._wishes = wishes
        self._waits = waits
        self._lock = threading.Lock()
        self._wish_lock = threading.Lock()
        self._changed = False
        """Whether a step was begun: from then on something can have been changed."""
        self._no_return = no_return_of(journal.events()) is not None
        self._aborted = self._not_aborted = False

    def run(self, work: Work[T], about: Mapping[str, Any], resume: str, *, resumed: bool) -> T:
        self._note("run.resumed" if resumed else "run.started", about)
        try:
            result = self._drive(work, told=False)
        except BaseException as error:
            ended = self._as_end_of_run(error, resume)
            self._note(self._end_of(ended), {"saw": str(error)}, must=False)
            if ended is error:
                raise
            raise ended from error
        self._note("run.done", {})
        return result

    def _end_of(self, ended: BaseException) -> str:
        if isinstance(ended, Interrupted):
            return "run.aborted" if self._aborted else "run.interrupted"
        return "run.overtaken" if isinstance(ended, Overtaken) else "run.failed"

    def _as_end_of_run(self, error: BaseException, resume: str) -> BaseException:
        if not isinstance(error, DcctlError):
            return error
        ended = error
        if self._aborted and isinstance(error, Interrupted):
            return error
        if isinstance(error, Interrupted):
            ended = _with_notes_of(
                error, Interrupted("the run was interrupted", on=self._journal.run, saw=str(error))
            )
        elif self._changed:
            ended = as_step_failure(error, tried=error.tried, step=error.tried, run=self._journal.run)
        ended.next_command = ended.next_command or resume
        return ended

    def _drive(self, work: Work[T], *, told: bool) -> T:
        """``told``: this engine, or one above it, knows of the interruption: what it yields is undo."""
        answer: Any = None
        failure: BaseException | None = None
        while True:
            try:
                request = work.throw(failure) if failure is not None else work.send(answer)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]  # a generator's return value is untyped
            answer, failure = None, None
            try:
                answer = self._answer(request, told=told)
            except BaseException as error:  # the engine gets it, undoes, and raises it again
                asked = self._asked()
                failure = error if told or not asked else _as_interruption(error)
                told = told or asked

    def _answer(self, request: Request, *, told: bool) -> Any:
        if isinstance(request, Together):
            return self._together(request, told=told)
        undoing = told or request.undo
        if self._asked() and not undoing:
            raise Interrupted(f"stopped before: {request.name}", on=request.target)
        if not undoing:
            self._obey(request)
        if isinstance(request, Wait):
            return self._wait(request, undoing=undoing)
        if not undoing:
            self._need(request)
        return self._step(request, undoing=undoing)

    def _note(self, type: str, fields: Mapping[str, Any], *, must: bool = True) -> None:
        """Journal an event and show it. Unless it ``must``, a full disk is no reason to stop."""
        with self._lock:
            try:
                event = self._journal.append(type, fields)
            except DcctlError:
                if must:
                    raise
                return
            try:
                self._seen(event)
            except OSError:
                # The screen is gone (a closed pipe or terminal); the work is worth more than its picture.
                self._seen = lambda _event: None

    def _obey(self, request: Step | Wait) -> None:
        """What people ask, before ``request`` is begun; branches that run side by side ask one by one."""
        with self._wish_lock:
            paused = False
            while not self._asked():
                wishes = {each.wish: each for each in self._wishes()}
                if (abort := wishes.get(Wish.ABORT)) is not None:
                    self._abort(abort, request)
                if (pause := wishes.get(Wish.PAUSE)) is None:
                    break
                if not paused:
                    because = f": {pause.reason}" if pause.reason else ""
                    self._note("run.paused", {"by": pause.by, "because": because})
                    paused = True
                self._clock.sleep(PAUSE_LOOK_S)
            if paused:
                self._note("run.continued", {})

    def _need(self, step: Step) -> None:
        """What ``step`` needs, after all that people asked: a run may have been paused for an hour."""
        began, told = self._clock.monotonic(), False
        while reasons := step.needs():
            if not told:
                fields = {"step": step.name, "target": step.target, "saw": "; ".join(reasons)}
                self._note("run.withheld", fields, must=False)
                told = True
            if self._asked():
                raise Interrupted(f"stopped before: {step.name}", on=step.target, saw="; ".join(reasons))
            if self._since(began) >= NEEDS_LIMIT_S:
                raise Refused(f"begin: {step.name}", on=step.target, reasons=tuple(reasons))
            self._clock.sleep(NEEDS_LOOK_S)

    def _abort(self, abort: Asked, request: Step | Wait) -> None:
        if not self._no_return:
            because = f": {abort.reason}" if abort.reason else ""
            self._aborted = True
            raise Aborted(
                f"aborted before {request.name}",
                run=self._journal.run,
                on=request.target,
                saw=f"{abort.by}{because}",
            )
        if not self._not_aborted:
            self._not_aborted = True
            self._note("run.not_aborted", {"by": abort.by})

    def _stated(self, wait: Wait) -> Asked | None:
        if wait.instead is None:
            return None
        of = wait.of or wait.name
        return next((each for each in self._wishes() if each.wish is Wish.SKIP and each.step == of), None)

    def _step(self, step: Step, *, undoing: bool) -> Any:
        about = {"step": step.name, "target": step.target}
        more = _of(step) | ({"no_return": True} if step.no_return else {})
        self._note("step.started", {**about, "limit_s": step.limit_s, **more}, must=not undoing)
        self._changed = True
        self._no_return = self._no_return or step.no_return
        began = self._clock.monotonic()
        try:
            answer = step.effect()
        except BaseException as error:
            fields = {**about, "took_s": self._since(began), "saw": str(error)}
            self._note("step.failed", fields, must=False)
            if not isinstance(error, DcctlError):
                raise
            failure = as_step_failure(
                error, tried=step.name, on=step.target, step=step.name, run=self._journal.run
            )
            if failure is error:
                raise
            raise failure from error
        self._note("step.done", {**about, "took_s": self._since(began), **_of(step)}, must=not undoing)
        return answer

    def _wait(self, wait: Wait, *, undoing: bool) -> Any:
        about = {"wait": wait.name, "target": wait.target}
        self._note("wait.started", {**about, "limit_s": wait.limit_s, **_of(wait)}, must=not undoing)
        began = self._clock.monotonic()
        try:
            answer = self._until(wait, began, undoing=undoing)
        except BaseException as error:
            fields = {**about, "took_s": self._since(began), "saw": str(error), **_of(wait)}
            self._note("wait.failed", fields, must=False)
            raise
        self._note("wait.done", {**about, "took_s": self._since(began), **_of(wait)}, must=not undoing)
        return answer

    def _until(self, wait: Wait, began: float, *, undoing: bool) -> Any:
        while (answer := wait.until()) is None:
            left_s = wait.limit_s - self._since(began)
            if self._asked() and not undoing:
                raise Interrupted(f"stopped waiting for {wait.name}", on=wait.target, saw=wait.saw())
            if not undoing and (stated := self._stated(wait)) is not None:
                fields = {"step": stated.step, "reason": stated.reason, "by": stated.by}
                self._note("run.stated", {**fields, "rule": STATED_RULE})
                return wait.instead
            if left_s <= 0:
                raise TimedOut(f"wait {wait.limit_s:g} s for {wait.name}", on=wait.target, saw=wait.saw())
            if self._waits is not None:
                with contextlib.suppress(OSError):  # the screen is gone
                    self._waits(wait, wait.saw())
            self._clock.sleep(min(wait.every_s, left_s))
        return answer

    def _since(self, began: float) -> float:
        return round(self._clock.monotonic() - began, 3)

    def _together(self, together: Together, *, told: bool) -> list[Any]:
        if not together.branches:
            return []
        with concurrent.futures.ThreadPoolExecutor(len(together.branches)) as pool:
            futures = [pool.submit(self._drive, branch, told=told) for branch in together.branches]
            while concurrent.futures.wait(futures, timeout=SIGNAL_LOOK_S).not_done:
                pass
        failures = [error for future in futures if (error := future.exception()) is not None]
        if failures:
            gravest, *others = sorted(failures, key=_gravity)
            for other in others:
                gravest.add_note(f"also failed: {other}")
            raise gravest
        return [future.result() for future in futures]


def _of(request: Step | Wait) -> dict[str, str]:
    return {"of": request.of} if request.of else {}


def _gravity(error: BaseException) -> int:
    """The order in which failures are told; ``sorted`` keeps the first first among equals."""
    if isinstance(error, UndoIncomplete):
        return 0
    return 2 if isinstance(error, DcctlError) else 1


def _as_interruption(error: BaseException) -> BaseException:
    """What an engine is thrown when something failed while the process was asked to end.

    An engine that would put up with a failure and go on must not put up with this one. A bug, and an
    undo that left something, stay what they are.
    """
    if not isinstance(error, DcctlError) or isinstance(error, UndoIncomplete | Interrupted):
        return error
    interrupted = Interrupted(error.tried, on=error.on, saw=error.saw)
    interrupted.__cause__ = error
    return interrupted


def as_step_failure(error: DcctlError, *, tried: str, step: str, run: str, on: str = "") -> DcctlError:
    """``error`` as the failure of ``step``, unless its code already admits that something changed."""
    promises_nothing_changed = range(2, 6)
    if error.exit_code not in promises_nothing_changed:
        return error
    failure = StepFailed(
        tried,
        run=run,
        step=step,
        on=on or error.on,
        saw=error.saw if tried == error.tried else str(error),
        next_command=error.next_command,
    )
    return _with_notes_of(error, failure)


def _with_notes_of(error: BaseException, ended: DcctlError) -> DcctlError:
    """``ended``, which stands for ``error``, saying also what was noted there."""
    for note in getattr(error, "__notes__", []):
        ended.add_note(note)
    return ended
