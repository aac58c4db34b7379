"""Virtual time and who acts in it: one heap of what is due, and actors that wait without a thread.

An actor is a greenlet: the code it runs (an engine, the real shell, an adapter) calls ``sleep`` as if it
blocked, and the others live meanwhile. Everything is in one thread and decided by one seeded generator, so
that a schedule has one course.
"""

import heapq
import random
from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from greenlet import getcurrent, greenlet

BEGINNING = datetime(2026, 1, 5, 6, 0, tzinfo=UTC)
"""A Monday morning."""


class Killed(BaseException):
    """SIGKILL, or the end of a machine's power: no ``except`` of ours sees it."""


class Machine:
    """One host. ``frozen``: SIGSTOP of everything on it. ``wall_off_s``: how wrong its wall clock is."""

    def __init__(self, name: str, place: str) -> None:
        self.name = name
        self.place = place
        self.up = True
        self.frozen = False
        self.wall_off_s = 0.0
        self.disk_s = 0.001
        """How long a flush takes."""
        self.thawed_s = -1e9
        self.parked: list[Callable[[], None]] = []
        """What became due while it was frozen."""

    @property
    def answers(self) -> bool:
        return self.up and not self.frozen


class Actor:
    """One process. ``spent_s`` counts what its requests cost while several are asked at once."""

    def __init__(self, name: str, machine: Machine) -> None:
        self.name = name
        self.machine = machine
        self.alive = True
        self.spent_s: float | None = None
        self.fibre: greenlet | None = None
        self.wake: Callable[[], None] = lambda: None


class Scheduler:
    """Time. ``now_s`` is every machine's monotonic clock: no fault moves it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311
        self.now_s = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._main = getcurrent()
        self._actors: dict[greenlet, Actor] = {}
        self.failure: BaseException | None = None

    def at(self, at_s: float, happen: Callable[[], None]) -> None:
        """Let ``happen`` be called at ``at_s``, not from within an actor."""
        self._number += 1
        heapq.heappush(self._due, (at_s, self._number, happen))

    def after(self, seconds: float, happen: Callable[[], None]) -> None:
        self.at(self.now_s + seconds, happen)

    def run_until(self, until_s: float) -> None:
        """Everything that is due up to ``until_s``. Raises what an actor raised that is no death."""
        due, pop = self._due, heapq.heappop
        while due and due[0][0] <= until_s:
            at_s, _number, happen = pop(due)
            self.now_s = max(self.now_s, at_s)
            happen()
            if self.failure is not None:
                raise self.failure
        self.now_s = until_s

    # Actors.

    @property
    def actor(self) -> Actor:
        """Who acts now. Whoever was killed does nothing any more."""
        actor = self._actors[getcurrent()]
        if not actor.alive:
            raise Killed
        return actor

    def spawn(self, name: str, machine: Machine, work: Callable[[], Any], *, in_s: float = 0.0) -> Actor:
        """A process on ``machine`` that does ``work``."""
        actor = Actor(name, machine)

        def body() -> None:
            try:
                work()
            except Killed:
                pass
            except BaseException as error:  # a bug: raised in run_until
                self.failure = error
            finally:
                actor.alive = False
                self._actors.pop(fibre, None)

        fibre = greenlet(body, self._main)
        actor.fibre, actor.wake = fibre, partial(self._wake, actor)
        self._actors[fibre] = actor
        self.after(in_s, actor.wake)
        return actor

    def sleep(self, seconds: float) -> None:
        """The acting process waits; while several are asked at once, the longest of them is waited for."""
        actor = self._actors[getcurrent()]
        if not actor.alive:
            raise Killed
        if actor.spent_s is not None:
            actor.spent_s += seconds
            return
        self._number += 1
        at_s = self.now_s + seconds if seconds > 0.0 else self.now_s
        heapq.heappush(self._due, (at_s, self._number, actor.wake))
        self._main.switch()
        if not actor.alive:
            raise Killed

    def wait(self, register: Callable[[Callable[[], None]], None]) -> None:
        """Sleep until the function that ``register`` is given is called, the first time."""
        actor = self._actors[getcurrent()]
        called: list[bool] = []

        def wake() -> None:
            if not called:
                called.append(True)
                self.after(0.0, actor.wake)

        register(wake)
        self._main.switch()
        if not actor.alive:
            raise Killed

    def _wake(self, actor: Actor) -> None:
        fibre = actor.fibre
        if not actor.alive or fibre is None or fibre.dead:
            return
        if actor.machine.frozen:
            actor.machine.parked.append(actor.wake)
            return
        if (here := getcurrent()) is not fibre.parent:
            fibre.parent = here
        fibre.switch()

    def kill(self, actor: Actor) -> None:
        """SIGKILL: nothing of it is carried out any more, no undo either."""
        if not actor.alive:
            return
        actor.alive = False
        fibre = actor.fibre
        if fibre is None or fibre.dead:
            return
        if fibre is getcurrent():
            raise Killed
        fibre.parent = getcurrent()
        if fibre:
            fibre.throw(Killed)
        self._actors.pop(fibre, None)

    @property
    def actors(self) -> list[Actor]:
        """All who live."""
        return list(self._actors.values())

    def actors_on(self, machine: Machine) -> list[Actor]:
        """The processes that live there."""
        return [actor for actor in self._actors.values() if actor.machine is machine]

    def drive(self, work: Generator[float, float, Any], *, pace: float = 1.0) -> Any:
        """Drive an engine that yields how long it would wait and receives the monotonic clock."""
        try:
            pause_s = next(work)
            while True:
                if pause_s > 0.0:
                    self.sleep(pause_s * pace)
                pause_s = work.send(self.now_s)
        except StopIteration as stop:
            return stop.value


class MachineClock:
    """``ports.Clock`` of one machine: its wall clock may be wrong and jump, its monotonic one not."""

    def __init__(self, scheduler: Scheduler, machine: Machine) -> None:
        self._scheduler = scheduler
        self._machine = machine
        self._last = (0.0, BEGINNING)

    def now(self) -> datetime:
        at_s = self._scheduler.now_s + self._machine.wall_off_s
        if at_s != self._last[0]:
            self._last = (at_s, BEGINNING + timedelta(seconds=at_s))
        return self._last[1]

    def monotonic(self) -> float:
        return self._scheduler.now_s

    def sleep(self, seconds: float) -> None:
        self._scheduler.sleep(seconds)
