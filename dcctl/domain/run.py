"""What a run looks like, read from its journal alone: also after a crash, also while it is active."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from dcctl.domain.event import Event, sentence


def name_run(started_at: datetime, what: str, token: str) -> str:
    """A run's name: sorts by its start, says what it was. ``20261121-184512-provision-3f9a``"""
    return f"{started_at:%Y%m%d-%H%M%S}-{what}-{token}"


class Outcome(StrEnum):
    """How a run ended. BROKEN_OFF: its process ended without a word (a crash, SIGKILL, a power cut)."""

    ACTIVE = "active"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    BROKEN_OFF = "broken off"


@dataclass(frozen=True, slots=True)
class ActiveRun:
    """The run that may act in an environment, as the ensemble shows it to every machine.

    ``epoch`` counts the claims of this right. ``alive``: the session of ``who`` lives. ``doing`` is what it
    began and did not end; when its session is over, that may go on for at most ``free_in_s`` seconds more.
    """

    run: str
    epoch: int
    who: str
    command: str
    alive: bool
    doing: tuple[str, ...] = ()
    free_in_s: float = 0.0

    def sentence(self) -> str:
        """Why nobody else may act now."""
        if self.alive:
            return f"run {self.run} is active: {self.command}, by {self.who}"
        return (
            f"run {self.run} was broken off while it did: {', '.join(self.doing)};"
            f" that may go on for {self.free_in_s:.0f} s more"
        )


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of a timeline; ``offset_s`` and ``took_s`` in seconds since the run's start.

    ``state`` is ``done``, ``failed``, ``running``, or ``unknown`` for what was begun in a run that was
    broken off: it may have happened or not. ``noted`` is for an event that is no step or wait.
    """

    offset_s: float
    took_s: float | None
    state: str
    kind: str
    name: str
    target: str
    saw: str


@dataclass(frozen=True, slots=True)
class Run:
    """A run as its journal tells it. ``command`` is what was asked for."""

    run: str
    command: str
    outcome: Outcome
    started_at: datetime | None
    """None when the process ended before it wrote a word."""
    took_s: float
    """From the first event to the last."""
    saw: str
    timeline: tuple[Moment, ...]


_ENDS = {"run.done": Outcome.DONE, "run.failed": Outcome.FAILED, "run.interrupted": Outcome.INTERRUPTED}


def decide_run(run: str, events: Sequence[Event], *, active: bool) -> Run:
    """The run that ``events`` tell of; ``active``: its process still lives."""
    ends = [event for event in events if event.type in _ENDS]
    unended = Outcome.ACTIVE if active else Outcome.BROKEN_OFF
    outcome = _ENDS[ends[-1].type] if ends else unended
    return Run(
        run=run,
        command=str(events[0].fields.get("command", "")) if events else "",
        outcome=outcome,
        started_at=events[0].at if events else None,
        took_s=(events[-1].at - events[0].at).total_seconds() if events else 0.0,
        saw=str(ends[-1].fields.get("saw", "")) if ends else "",
        timeline=_timeline(events, unfinished="running" if outcome is Outcome.ACTIVE else "unknown"),
    )


def _timeline(events: Sequence[Event], *, unfinished: str) -> tuple[Moment, ...]:
    """A step or wait takes the place of its start; one that never ended stays ``unfinished``."""
    moments: list[Moment] = []
    open_at: dict[tuple[str, str, str], int] = {}
    for event in events:
        kind, _dot, state = event.type.partition(".")
        if kind == "run":
            continue
        name = str(event.fields.get(kind, event.type))
        target = str(event.fields.get("target", ""))
        offset_s = (event.at - events[0].at).total_seconds()
        moment = Moment(offset_s, None, unfinished, kind, name, target, str(event.fields.get("saw", "")))
        key = (kind, name, target)
        if kind not in ("step", "wait"):
            told = sentence(event)
            moments.append(
                replace(moment, state="noted", name=told, saw="")
                if told
                else replace(moment, state="noted", saw=_told(event))
            )
        elif state == "started":
            open_at[key] = len(moments)
            moments.append(moment)
        elif key in open_at:
            index = open_at.pop(key)
            began = moments[index]
            took_s = float(event.fields.get("took_s", offset_s - began.offset_s))
            moments[index] = replace(began, state=state, saw=moment.saw, took_s=took_s)
    return tuple(moments)


def _told(event: Event) -> str:
    return ", ".join(f"{key}={value}" for key, value in event.fields.items() if key != "target")
