"""Drives an agent's loops until the process is asked to end, and tells its supervisor that they turn."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from dcctl.domain.agent import STEER_LIMIT_S, AgentReport, AgentView, LoopView, turning
from dcctl.engines.agent import Agent, Loop, Moment

LOOK_S = 0.2
"""How late a request to end may be noticed."""


class Daemon:
    """One agent. ``clock`` is the one that leases are judged by; ``acknowledged_s`` and ``session_s`` are
    its session's, None before there was one."""

    def __init__(
        self,
        agent: Agent,
        *,
        clock: Callable[[], float],
        acknowledged_s: Callable[[], float | None],
        session_s: Callable[[], float | None],
    ) -> None:
        self._agent = agent
        self._clock = clock
        self._acknowledged_s = acknowledged_s
        self._session_s = session_s
        self._began_s = clock()
        self._stop = threading.Event()
        self._failure: BaseException | None = None

    def run(self, *, asked: Callable[[], bool], alive: Callable[[], None]) -> None:
        """All loops, until ``asked``; ``alive`` is called while all turn. Raises what ended one."""
        agent = self._agent
        loops = {
            "steer": agent.steer(),
            "watch": agent.watch(),
            "pulse": agent.pulse(),
            "guard": agent.guard(),
        }
        threads = [
            threading.Thread(target=self._drive, args=(loop,), name=name, daemon=True)
            for name, loop in loops.items()
        ]
        for thread in threads:
            thread.start()
        while not asked() and self._failure is None:
            view = self.report().view
            if turning(view):
                alive()
            time.sleep(LOOK_S)
        self._stop.set()
        for thread in threads:
            thread.join(STEER_LIMIT_S)
        if self._failure is not None:
            raise self._failure

    def report(self) -> AgentReport:
        """How the agent is doing now."""
        agent, now_s = self._agent, self._clock()
        acknowledged_s = self._acknowledged_s()
        loops = {
            "steer": agent.steering,
            "watch": agent.watching,
            "pulse": agent.pulsing,
            "guard": agent.guarding,
        }
        ages = {
            name: now_s - (self._began_s if progress.ended_s is None else progress.ended_s)
            for name, progress in loops.items()
        }
        return AgentReport(
            vantage=agent.vantage,
            place=agent.place,
            view=AgentView(
                lease_age_s=None if acknowledged_s is None else now_s - acknowledged_s,
                session_s=self._session_s(),
                steered_age_s=ages["steer"],
                watched_age_s=ages["watch"],
                problem=agent.applied.problem if agent.applied else "",
                pulsed_age_s=ages["pulse"],
                fenced=agent.fence(),
                guarded_age_s=ages["guard"],
            ),
            loops={name: LoopView(each.rounds, each.late_s) for name, each in loops.items()},
            states=agent.states,
            applied=agent.applied,
            results=agent.results,
            verdicts=agent.verdicts,
            epochs=agent.epochs,
        )

    def _drive(self, loop: Loop) -> None:
        try:
            pause_s = next(loop)
            while not self._stop.wait(pause_s):
                pause_s = loop.send(Moment(self._clock(), datetime.now(UTC)))
        except BaseException as error:  # raised again in the thread that runs the daemon
            self._failure = error
