"""All probes at once, behind a synchronous door: asyncio inside, and a limit that nothing can pass.

Three things bound a round. Each probe has its own limit, after which its task is left to its fate. Name
resolution and whatever blocks runs in threads that nobody waits for. And the loop itself runs in such a
thread: were it ever blocked, the door opens without it, and what was not heard of is not healthy.
"""

import asyncio
import concurrent.futures
import errno
import os
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from dcctl.domain.probe import SPARE_S, ProbeResult, ProbeSpec, decide_health
from dcctl.errors import ConfigurationError, CredentialsRefused, Rejected, Unreachable

LEFT_BEHIND = 32
"""Threads that hang, at most; a resolver that never answers must not fill the machine with them."""
BEAT_S = 0.05
STARVED = 0.25
"""Of a probe's limit: a prober that stood still for more of it learned nothing from a silence."""
GRACE_S = 5.0
"""For what a probe that was left to its fate still tidies up; nobody waits for it."""
OURS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.EPERM}
"""Errors of this machine, which say nothing about the other."""
SAID = 200
"""Characters of what another side said that are repeated."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether the target is as it should be, what it showed, the number that was measured, and whether
    anything came back at all."""

    ok: bool | None
    saw: str
    figure: float | None = None
    answered: bool = True


Prober: TypeAlias = Callable[[Any], Awaitable[Outcome]]
"""Makes the check of one kind. What the other side did wrong is an Outcome, an OSError or an Unreachable;
anything else that it raises is a probe that died."""


class Round:
    """``probers`` by the type of their check. Call it for one round; it keeps each probe's history.

    ``fresh_for``: a round that comes later than this after the one before begins the counting anew.
    """

    def __init__(
        self,
        specs: Sequence[ProbeSpec],
        probers: Mapping[type[Any], Prober],
        *,
        fresh_for: timedelta = timedelta(seconds=30),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.specs = tuple(specs)
        self._probers = probers
        self._fresh_for = fresh_for
        self._now = now
        self._histories = {
            spec.name: deque[ProbeResult](maxlen=2 * max(spec.rise, spec.fall) + 1) for spec in self.specs
        }
        self._healths = {spec.name: None for spec in self.specs}
        self._stuck: threading.Event | None = None

    def __call__(self) -> tuple[ProbeResult, ...]:
        at = self._now()
        found = self._asked(at)
        return tuple(
            self._judged(spec, found.get(spec.name) or _result(spec, at, NOT_HEARD_OF, 0.0))
            for spec in self.specs
        )

    def _asked(self, at: datetime) -> dict[str, ProbeResult]:
        if not self.specs or (self._stuck is not None and not self._stuck.is_set()):
            return {}
        found: dict[str, ProbeResult] = {}
        ended = threading.Event()
        arguments = (self.specs, self._probers, at, found, ended)
        threading.Thread(target=_run, args=arguments, name="probes", daemon=True).start()
        heard = ended.wait(max(spec.timeout_s for spec in self.specs) + 2 * SPARE_S)
        self._stuck = None if heard else ended
        return dict(found)

    def _judged(self, spec: ProbeSpec, result: ProbeResult) -> ProbeResult:
        history = self._histories[spec.name]
        history.append(result)
        health = decide_health(history, spec.rise, spec.fall, fresh_for=self._fresh_for)
        return replace(result, health=health)


NOT_HEARD_OF = Outcome(None, "the prober itself stood still, or has not ended its last round", answered=False)


def _run(
    specs: Sequence[ProbeSpec],
    probers: Mapping[type[Any], Prober],
    at: datetime,
    found: dict[str, ProbeResult],
    ended: threading.Event,
) -> None:
    try:
        with asyncio.Runner() as runner:
            runner.get_loop().set_default_executor(_Detached())
            runner.run(_all(specs, probers, at, found, ended))
    finally:
        ended.set()


async def _all(
    specs: Sequence[ProbeSpec],
    probers: Mapping[type[Any], Prober],
    at: datetime,
    found: dict[str, ProbeResult],
    ended: threading.Event,
) -> None:
    # A probe that was left behind may fail later; that it did is no news.
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    left: set[asyncio.Task[Outcome]] = set()
    own = _OwnTime()
    beating = asyncio.ensure_future(own.beat())

    async def ask(spec: ProbeSpec) -> None:
        found[spec.name] = await _ask(spec, probers.get(type(spec.check)), at, own, left)

    await asyncio.gather(*map(ask, specs))
    ended.set()
    beating.cancel()
    if left:
        await asyncio.wait(left, timeout=GRACE_S)


class _OwnTime:
    """How much time the prober itself was not given: a target that it had no time to hear is not silent."""

    def __init__(self) -> None:
        self.missed_s = 0.0

    async def beat(self) -> None:
        while True:
            before_s = time.monotonic()
            await asyncio.sleep(BEAT_S)
            late_s = time.monotonic() - before_s - BEAT_S
            self.missed_s += late_s if late_s > BEAT_S else 0.0


async def _ask(
    spec: ProbeSpec, prober: Prober | None, at: datetime, own: _OwnTime, left: set[asyncio.Task[Outcome]]
) -> ProbeResult:
    if prober is None:
        saw = "no probe of this kind can be made here"
        return _result(spec, at, Outcome(None, saw, answered=False), 0.0)
    began_s, missed_s = time.monotonic(), own.missed_s
    task = asyncio.ensure_future(_outcome(prober, spec.check))
    await asyncio.wait({task}, timeout=spec.timeout_s)
    if not task.done() and own.missed_s > missed_s:
        await asyncio.wait({task}, timeout=min(own.missed_s - missed_s, SPARE_S))
    took_s = time.monotonic() - began_s
    if task.done():
        return _result(spec, at, task.result(), took_s)
    # Its task may need time to end, which is not ours: it is told so, and not waited for.
    task.cancel()
    left.add(task)
    still_s = max(own.missed_s - missed_s, took_s - spec.timeout_s - SPARE_S)
    if still_s > spec.timeout_s * STARVED:
        outcome = Outcome(None, f"the prober itself stood still for {still_s:.1f} s", answered=False)
    else:
        outcome = Outcome(ok=False, saw=f"no answer within {spec.timeout_s:g} s", answered=False)
    return _result(spec, at, outcome, took_s)


async def _outcome(prober: Prober, check: Any) -> Outcome:
    """What became of a probe; whatever it raises is said, and never counts as healthy."""
    try:
        return await prober(check)
    except Exception as error:  # also a bug, ours or a library's
        return _failed(error)


def _failed(error: Exception) -> Outcome:
    """What an error says about the target; one that is none of its own doing says nothing."""
    told = said(_words(error) if isinstance(error, OSError) else str(error)) or type(error).__name__
    match error:
        case CredentialsRefused() | Rejected():
            return Outcome(ok=False, saw=said(error.saw) or told)
        case Unreachable():
            return Outcome(ok=False, saw=said(error.saw) or told, answered=False)
        case ConfigurationError():
            return Outcome(None, f"cannot be asked: {told}", answered=False)
        case OSError(errno=number) if number in OURS:
            return Outcome(None, told, answered=False)
        case OSError():
            answered = isinstance(error, ConnectionError) and not isinstance(error, BrokenPipeError)
            return Outcome(ok=False, saw=told, answered=answered)
        case _:
            return Outcome(None, said(f"the probe died: {type(error).__name__}: {error}"), answered=False)


def _words(error: OSError) -> str:
    """The system's own, where it has some; a resolver's errors are no errno."""
    if error.errno is not None and error.errno in errno.errorcode:
        return os.strerror(error.errno)
    return error.strerror or str(error)


def _result(spec: ProbeSpec, at: datetime, outcome: Outcome, took_s: float) -> ProbeResult:
    return ProbeResult(
        name=spec.name,
        target=spec.target,
        kind=spec.kind,
        site=spec.site,
        ok=outcome.ok,
        saw=outcome.saw,
        took_s=round(took_s, 4),
        at=at,
        figure=outcome.figure,
        answered=outcome.answered,
    )


def said(text: str) -> str:
    """What another side said, on one line, without what could move a cursor, and not too much of it."""
    plain = "".join(each if each.isprintable() else " " for each in text)
    line = " ".join(plain.split())
    return line if len(line) <= SAID else line[: SAID - 1] + "…"


class _Detached(concurrent.futures.ThreadPoolExecutor):
    """Threads for what blocks inside the loop, such as ``getaddrinfo``: never joined, so that one that
    hangs holds neither the loop's end nor the process's."""

    _alive = threading.Semaphore(LEFT_BEHIND)

    def submit(
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> "concurrent.futures.Future[Any]":
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        if not self._alive.acquire(blocking=False):
            raise RuntimeError(f"{LEFT_BEHIND} look-ups hang already")

        # From here on nobody can cancel it, so its result is always taken.
        future.set_running_or_notify_cancel()

        def work() -> None:
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # handed to whoever waits
                future.set_exception(error)
            else:
                future.set_result(result)
            finally:
                self._alive.release()

        threading.Thread(target=work, name="probe-look-up", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        super().shutdown(wait=False)
