"""How hard the replicator pushes: adaptive concurrency, back-off, and limits that an operator sets.

More in flight is not faster (16 copied more objects a second than 32 when measured), and where the best
lies depends on the clusters. So now and then a neighbour of the best number so far is tried for a window: it
stays when it was clearly faster, for rates move by more than a step is worth. It halves when a cluster asks
for patience.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from dcctl.errors import Busy, CredentialsRefused, DcctlError, Rejected, Unreachable

T = TypeVar("T")
STEP = 2
CLEARLY = 1.05
WINDOWS_BETWEEN_TRIALS = 5


@dataclass(frozen=True)
class Time:
    """The replicator's clock, so that tests can bring their own. Seconds."""

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(frozen=True)
class Limits:
    """What an operator allows. Rates are None where there is no limit."""

    lowest: int = 4
    start: int = 16
    highest: int = 32
    requests_per_s: float | None = None
    bytes_per_s: float | None = None
    attempts: int = 5
    window_s: float = 1.0


class Pace:
    """What all of a replicator keeps to together: its limits of requests and bytes in a second."""

    def __init__(self, limits: Limits, clock: Time) -> None:
        self._limits = limits
        self._time = clock
        self._free_at = 0.0

    def transferred(self, size_bytes: int) -> None:
        """Account for bytes; later work waits until the bandwidth limit allows it."""
        if self._limits.bytes_per_s is not None:
            self._free_at = max(self._free_at, self._time.monotonic()) + size_bytes / self._limits.bytes_per_s

    async def wait(self, cost: float) -> None:
        """Until ``cost`` more requests are allowed."""
        rate = self._limits.requests_per_s
        if rate is None and self._limits.bytes_per_s is None:
            return
        now = self._time.monotonic()
        start = max(self._free_at, now)
        if rate is not None:
            self._free_at = start + cost / rate
        if start > now:
            await self._time.sleep(start - now)


class Manners:
    """Slots to work in. ``attempt`` runs a piece of work, again when the clusters were busy or away.

    One for each container: Swift limits a container's requests (498), and one that is asked to be patient
    must not slow the others down. ``pace`` is what all of them share.
    """

    def __init__(self, limits: Limits, clock: Time, pace: Pace | None = None) -> None:
        self._limits = limits
        self._time = clock
        self.pace = pace or Pace(limits, clock)
        self.in_flight_limit = limits.start
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._window_began = clock.monotonic()
        self._finished = 0
        self._best = limits.start
        self._best_rate = 0.0
        self._direction = STEP
        self._windows = 0
        self.busy_answers = 0

    async def attempt(
        self, work: Callable[[], Awaitable[T]], *, cost: float = 2.0, urgent: bool = False
    ) -> T:
        """The result of ``work``, given up to ``attempts`` tries. ``cost`` is how many requests it makes.

        ``urgent`` work does not wait behind all other that waits: a change that is told, behind a long copy.
        Refusals are not tried again: they would be refused again.
        """
        await self._enter(self._urgent if urgent else self._waiting)
        try:
            for tries in range(1, self._limits.attempts + 1):
                await self.pace.wait(cost)
                try:
                    return await work()
                except (Rejected, CredentialsRefused):
                    raise
                except Unreachable as error:
                    if tries == self._limits.attempts:
                        raise
                    await self._back_off(error, tries)
            raise AssertionError("unreachable")
        finally:
            self._leave()

    def transferred(self, size_bytes: int) -> None:
        """Account for bytes."""
        self.pace.transferred(size_bytes)

    async def _enter(self, waiting: "deque[asyncio.Future[None]]") -> None:
        if self._in_flight < self.in_flight_limit and not waiting:
            self._in_flight += 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._in_flight -= 1
            raise

    def _leave(self) -> None:
        self._in_flight -= 1
        self._finished += 1
        self._adapt()
        while (waiting := self._urgent or self._waiting) and self._in_flight < self.in_flight_limit:
            place = waiting.popleft()
            if not place.done():
                self._in_flight += 1
                place.set_result(None)

    def _adapt(self) -> None:
        now = self._time.monotonic()
        took_s = now - self._window_began
        if took_s < self._limits.window_s or self._finished < self.in_flight_limit:
            return
        rate = self._finished / took_s
        self._finished, self._window_began = 0, now
        if self.in_flight_limit == self._best:
            self._windows += 1
            self._best_rate += (rate - self._best_rate) / min(self._windows, WINDOWS_BETWEEN_TRIALS)
            if self._windows >= WINDOWS_BETWEEN_TRIALS:
                self.in_flight_limit = self._within(self._best + self._direction)
                self._direction *= 1 if self.in_flight_limit != self._best else -1
            return
        self._windows = 0
        if rate > self._best_rate * CLEARLY:
            self._best, self._best_rate = self.in_flight_limit, rate
            self.in_flight_limit = self._within(self._best + self._direction)
        else:
            self.in_flight_limit = self._best
            self._direction = -self._direction

    def _within(self, wanted: int) -> int:
        return min(max(wanted, self._limits.lowest), self._limits.highest)

    async def _back_off(self, error: Unreachable, tries: int) -> None:
        wait_s = min(0.2 * 2**tries, 10.0) * random.uniform(0.5, 1.0)  # noqa: S311  # spreads retries
        if isinstance(error, Busy):
            self.busy_answers += 1
            self.in_flight_limit = self._best = max(self.in_flight_limit // 2, self._limits.lowest)
            self._windows, self._direction = 0, STEP
            wait_s = max(wait_s, error.retry_after_s)
        await self._time.sleep(wait_s)


async def each_at_once(work: Callable[[T], Awaitable[None]], items: Iterable[T], at_once: int) -> None:
    """``work`` on every item, by ``at_once`` tasks; the first failure ends all."""
    left = iter(items)

    async def worker() -> None:
        for item in left:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(worker())
    except BaseExceptionGroup as errors:
        raise first_of(errors) from errors


def first_of(error: BaseException) -> BaseException:
    """The error that a task group carries; one of ours where there is one."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    found = [first_of(one) for one in error.exceptions]
    return next((one for one in found if isinstance(one, DcctlError)), found[0])
