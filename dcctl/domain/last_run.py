"""The run that acts, or the last one that did: where it stands, and what to type about it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dcctl.domain.run import GOING_ON, ActiveRun, Moment, Outcome, Run, next_command


@dataclass(frozen=True, slots=True)
class Doing:
    """A step or a wait that was begun and did not end. ``for_s`` until now, ``limit_s`` at most; both are
    None where nobody does it any more."""

    name: str
    target: str
    for_s: float | None = None
    limit_s: float | None = None


@dataclass(frozen=True, slots=True)
class LastRun:
    """``took_s`` is until now for a run that goes on, from when it was begun (``started_at``) or resumed last
    (``resumed_at``); else from its first word to its last.

    ``ended_at`` is when it said its last word; None while it goes on. ``doing`` is what it does now, or, of a
    run that was broken off, what it had begun: that may have happened or not. ``next_command`` is empty where
    nothing is to be done about it.
    """

    run: str
    outcome: str
    command: str = ""
    by: str = ""
    started_at: datetime | None = None
    resumed_at: datetime | None = None
    took_s: float | None = None
    ended_at: datetime | None = None
    doing: tuple[Doing, ...] = ()
    saw: str = ""
    next_command: str = ""
    verdict: str = ""
    """Of a drill, where its report is on this machine."""

    @property
    def goes_on(self) -> bool:
        """Whether its process lives."""
        return self.outcome in GOING_ON


def choose_last(names: Sequence[str], active: ActiveRun | None) -> str | None:
    """The run to show: the one that has the right to act, alive or broken off, or the newest of ``names``."""
    if active is not None:
        return active.run
    return max(names, default=None)


def decide_last_run(found: Run, now: datetime, *, dcctl: str = "dcctl", verdict: str = "") -> LastRun:
    """Where ``found`` stands ``now``."""
    goes_on = found.outcome in GOING_ON
    since, resumed = found.lives_since, found.lives_since != found.started_at
    took_s: float | None = found.took_s
    if goes_on:
        took_s = max(0.0, (now - since).total_seconds()) if since is not None else None
    return LastRun(
        run=found.run,
        outcome=str(found.outcome),
        command=found.command,
        by=found.by,
        started_at=found.started_at,
        resumed_at=since if resumed else None,
        took_s=took_s,
        ended_at=found.last_word_at if not goes_on and found.outcome is not Outcome.UNKNOWN else None,
        doing=tuple(_doing(each, found, now) for each in found.doing),
        saw=found.saw,
        next_command=next_command(found, dcctl),
        verdict=verdict,
    )


def _doing(moment: Moment, found: Run, now: datetime) -> Doing:
    if found.outcome not in GOING_ON or found.started_at is None:
        return Doing(moment.name, moment.target)
    for_s = (now - found.started_at).total_seconds() - moment.offset_s
    return Doing(moment.name, moment.target, max(0.0, for_s), moment.limit_s)
