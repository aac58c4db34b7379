"""The real shell: performs what an engine yields, in wall time, and journals every step.

Owns the clock and the threads, so that engines need neither. A step's ``started`` is on disk before its
effect begins; its ``done`` after it returned.
"""

import concurrent.futures
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from dcctl.domain.event import Event
from dcctl.domain.step import Request, Step, Together, Wait, Work
from dcctl.errors import DcctlError, StepFailed, TimedOut
from dcctl.ports import Clock, Journal

T = TypeVar("T")


class WallClock:
    """``ports.Clock`` over the operating system."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def perform(
    work: Work[T], *, clock: Clock, journal: Journal, seen: Callable[[Event], None] | None = None
) -> T:
    """Drive ``work`` to its end and return what it returns.

    ``seen`` is called with each journalled event, for progress. Raises what the engine raises; a step's
    own error is thrown into the engine first, so that its ``finally`` blocks yield their undo.
    """
    return _Performance(clock, journal, seen or (lambda _event: None)).drive(work)


class _Performance:
    def __init__(self, clock: Clock, journal: Journal, seen: Callable[[Event], None]) -> None:
        self._clock = clock
        self._journal = journal
        self._seen = seen

    def drive(self, work: Work[T]) -> T:
        answer: Any = None
        failure: BaseException | None = None
        while True:
            try:
                request = work.throw(failure) if failure is not None else work.send(answer)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]  # a generator's return value is untyped
            answer, failure = None, None
            try:
                answer = self._answer(request)
            except (Exception, KeyboardInterrupt) as error:
                failure = error

    def _answer(self, request: Request) -> Any:
        match request:
            case Step():
                return self._step(request)
            case Wait():
                return self._wait(request)
            case Together():
                return self._together(request)

    def _note(self, type: str, **fields: Any) -> None:
        self._seen(self._journal.append(type, fields))

    def _step(self, step: Step) -> Any:
        self._note("step.started", step=step.name, target=step.target, limit_s=step.limit_s)
        began = self._clock.monotonic()
        try:
            answer = step.effect()
        except (Exception, KeyboardInterrupt) as error:
            took_s = round(self._clock.monotonic() - began, 3)
            self._note("step.failed", step=step.name, target=step.target, took_s=took_s, saw=str(error))
            raise as_step_failure(error, step=step, run=self._journal.run) from error
        took_s = round(self._clock.monotonic() - began, 3)
        self._note("step.done", step=step.name, target=step.target, took_s=took_s)
        return answer

    def _wait(self, wait: Wait) -> Any:
        self._note("wait.started", wait=wait.name, target=wait.target, limit_s=wait.limit_s)
        began = self._clock.monotonic()
        while (answer := wait.until()) is None:
            waited_s = self._clock.monotonic() - began
            if waited_s >= wait.limit_s:
                saw = wait.saw()
                self._note(
                    "wait.failed", wait=wait.name, target=wait.target, took_s=round(waited_s, 3), saw=saw
                )
                raise TimedOut(f"wait {wait.limit_s:g} s for {wait.name}", on=wait.target, saw=saw)
            self._clock.sleep(min(wait.every_s, wait.limit_s - waited_s))
        took_s = round(self._clock.monotonic() - began, 3)
        self._note("wait.done", wait=wait.name, target=wait.target, took_s=took_s)
        return answer

    def _together(self, together: Together) -> list[Any]:
        if not together.branches:
            return []
        with concurrent.futures.ThreadPoolExecutor(len(together.branches)) as pool:
            futures = [pool.submit(self.drive, branch) for branch in together.branches]
        failures = [error for future in futures if (error := future.exception()) is not None]
        if failures:
            first, *others = failures
            for other in others:
                first.add_note(f"also failed: {other}")
            raise first
        return [future.result() for future in futures]


def as_step_failure(error: BaseException, *, step: Step, run: str) -> BaseException:
    """``error`` as the failure of ``step``; an interrupt or a bug stays what it is."""
    if isinstance(error, StepFailed) or not isinstance(error, DcctlError):
        return error
    return StepFailed(
        step.name,
        run=run,
        step=step.name,
        on=step.target,
        saw=str(error),
        next_command=error.next_command,
    )
