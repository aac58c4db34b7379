"""Virtual time and who acts in it: one heap of what is due, and actors that wait without a thread.

An actor is a greenlet: the code it runs (an engine, the real shell, an adapter) calls ``sleep`` as if it
blocked, and the others live meanwhile. Everything is in one thread and decided by one seeded generator, so
that a schedule has one course.
"""

import random
from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
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
        self.parked: list[Actor] = []
        """Whose time came while it was frozen."""

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
        self.fibre: greenlet


class Scheduler:
    """Time. ``now_s`` is every machine's monotonic clock: no fault moves it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311
        self.now_s = 0.0
        self._due: list[tuple[float, int, Callable[[], None] | Actor]] = []
        """What happens when: a call, or somebody who goes on."""
        self._until_s = 0.0
        self._number = 0
        self._main = getcurrent()
        self._actors: dict[greenlet, Actor] = {}
        self._acts: Actor | None = None
        self.failure: BaseException | None = None

    def at(self, at_s: float, happen: Callable[[], None]) -> None:
        """Let ``happen`` be called at ``at_s``, not from within an actor."""
        self._number += 1
        heappush(self._due, (at_s, self._number, happen))

    def after(self, seconds: float, happen: Callable[[], None]) -> None:
        self._number += 1
        heappush(self._due, (self.now_s + seconds, self._number, happen))

    def wake_after(self, seconds: float, actor: Actor) -> None:
        """Let ``actor``, which waits, go on."""
        self._number += 1
        heappush(self._due, (self.now_s + seconds, self._number, actor))

    def run_until(self, until_s: float) -> None:
        """Everything that is due up to ``until_s``. Raises what an actor raised that is no death."""
        due, self._until_s = self._due, until_s
        while due and due[0][0] <= until_s:
            at_s, _number, happen = heappop(due)
            self.now_s = max(self.now_s, at_s)
            if not isinstance(happen, Actor):
                happen()
            elif self._may_act(happen):
                self._acts = happen
                happen.fibre.switch()
                self._acts = None
            if self.failure is not None:
                raise self.failure
        self.now_s = until_s

    # Actors.

    @property
    def actor(self) -> Actor:
        """Who acts now. Whoever was killed does nothing any more."""
        actor = self._acts
        assert actor is not None
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
                self._actors.pop(actor.fibre, None)

        actor.fibre = greenlet(body, self._main)
        self._actors[actor.fibre] = actor
        self.wake_after(in_s, actor)
        return actor

    def sleep(self, seconds: float) -> None:
        """The acting process waits; while several are asked at once, the longest of them is waited for."""
        actor = self._acts
        assert actor is not None
        if not actor.alive:
            raise Killed
        if actor.spent_s is not None:
            actor.spent_s += seconds
            return
        self._number += 1
        at_s = self.now_s + seconds if seconds > 0.0 else self.now_s
        heappush(self._due, (at_s, self._number, actor))
        self._rest(actor)

    def wait(self, register: Callable[[Callable[[], None]], None]) -> None:
        """Sleep until the function that ``register`` is given is called, the first time."""
        actor = self._acts
        assert actor is not None
        called: list[bool] = []

        def wake() -> None:
            if not called:
                called.append(True)
                self.wake_after(0.0, actor)

        register(wake)
        self._rest(actor)

    def _rest(self, actor: Actor) -> None:
        """Let the others act until ``actor`` goes on: whoever is next directly, and what is no actor's from
        ``run_until``."""
        due, until_s = self._due, self._until_s
        while due and due[0][0] <= until_s and isinstance(other := due[0][2], Actor):
            at_s, _number, _other = heappop(due)
            self.now_s = max(self.now_s, at_s)
            if self._may_act(other):
                self._acts = other
                if other is not actor:
                    other.fibre.switch()
                break
        else:
            self._main.switch()
        if not actor.alive:
            raise Killed

    def _may_act(self, actor: Actor) -> bool:
        """Whoever was killed does not; one on a machine that stands still does when it goes on."""
        if not actor.alive:
            return False
        if actor.machine.frozen:
            actor.machine.parked.append(actor)
            return False
        return True

    def kill(self, actor: Actor) -> None:
        """SIGKILL: nothing of it is carried out any more, no undo either."""
        if not actor.alive:
            return
        actor.alive = False
        fibre = actor.fibre
        if fibre.dead:
            return
        if actor is self._acts:
            raise Killed
        fibre.parent = getcurrent()
        if fibre:
            acts, self._acts = self._acts, actor
            fibre.throw(Killed)
            self._acts = acts
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
