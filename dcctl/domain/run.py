"""What a run looks like, read from its journal alone: also after a crash, also while it is active."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from dcctl.domain.event import Event, sentence
from dcctl.domain.order import read_order
from dcctl.domain.refusal import Refusal


def name_run(started_at: datetime, what: str, token: str) -> str:
    """A run's name: sorts by its start, says what it was. ``20261121-184512-provision-3f9a``"""
    return f"{started_at:%Y%m%d-%H%M%S}-{what}-{token}"


class Outcome(StrEnum):
    """How a run ended. BROKEN_OFF: its process ended without a word (a crash, SIGKILL, a power cut).

    PAUSED: it is active, and begins nothing until it is resumed. OVERTAKEN: what it was for is gone (the site
    that it was to give up came back), and nobody goes on with it.
    """

    ACTIVE = "active"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    ABORTED = "aborted"
    OVERTAKEN = "overtaken"
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
        if self.free_in_s > 0:
            return (
                f"run {self.run} was broken off while it did: {', '.join(self.doing)};"
                f" that may go on for {self.free_in_s:.0f} s more"
            )
        return (
            f"run {self.run} was broken off: {self.command}, by {self.who};"
            f" dcctl run resume {self.run} goes on with it, dcctl run abort {self.run} ends it"
        )


class Wish(StrEnum):
    """What a person asks of a run that acts, from any machine. It is obeyed between two steps."""

    PAUSE = "pause"
    ABORT = "abort"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Asked:
    """``step`` is what SKIP is for: ``by`` states that what it waits for holds, for ``reason``."""

    wish: Wish
    by: str
    at: datetime
    reason: str = ""
    step: str = ""


def decide_begin(active: ActiveRun | None, run: str, command: str) -> str:
    """Why ``run`` may not act now; empty when it may.

    Age is no reason for it: only the end of the other's session, and of what it had begun, is. A move
    that was broken off is not forgotten then: it is resumed (under its own name, or by the same command) or
    aborted before another begins. A failover, and the undoing of a drill, do not wait for that: they begin
    from whatever they find. What is no move is configured from what is found, too.
    """
    if active is None:
        return ""
    if active.alive or active.free_in_s > 0:
        return active.sentence()
    broken_off, wanted = read_order(active.command), read_order(command)
    if broken_off is None or active.run == run or command.startswith("drill restore"):
        return ""
    if wanted is not None and (
        wanted.what == "failover" or (wanted.what, wanted.site) == (broken_off.what, broken_off.site)
    ):
        return ""
    return active.sentence()


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


ENDS = {
    "run.done": Outcome.DONE,
    "run.failed": Outcome.FAILED,
    "run.interrupted": Outcome.INTERRUPTED,
    "run.aborted": Outcome.ABORTED,
    "run.overtaken": Outcome.OVERTAKEN,
}
"""The last word of a run's life, and how it ended by that."""
_TOLD = ("run.resumed", "run.paused", "run.continued", "run.stated", "run.not_aborted", "run.aborted")
"""Events of a run that stand in its timeline; its start and its end are told apart."""


def decide_run(run: str, events: Sequence[Event], *, active: bool) -> Run:
    """The run that ``events`` tell of; ``active``: its process still lives."""
    lives = [number for number, event in enumerate(events) if event.type == "run.resumed"]
    since = events[lives[-1] if lives else 0 :]
    ends = [event for event in since if event.type in ENDS]
    stops = [event.type for event in since if event.type in ("run.paused", "run.continued")]
    acting = Outcome.PAUSED if stops[-1:] == ["run.paused"] else Outcome.ACTIVE
    unended = acting if active else Outcome.BROKEN_OFF
    outcome = ENDS[ends[-1].type] if ends else unended
    going_on = outcome in (Outcome.ACTIVE, Outcome.PAUSED)
    return Run(
        run=run,
        command=str(events[0].fields.get("command", "")) if events else "",
        outcome=outcome,
        started_at=events[0].at if events else None,
        took_s=(events[-1].at - events[0].at).total_seconds() if events else 0.0,
        saw=str(ends[-1].fields.get("saw", "")) if ends else "",
        timeline=_timeline(events, unfinished="running" if going_on else "unknown"),
    )


def decide_resume(found: Run, events: Sequence[Event]) -> Refusal | None:
    """Why a run cannot be gone on with; its being active is for the compare-and-set to tell."""
    if found.outcome is Outcome.DONE:
        return Refusal((f"run {found.run} is done",))
    if found.outcome is Outcome.ABORTED:
        return Refusal((f"run {found.run} was aborted: begin a new one",))
    if found.outcome is Outcome.OVERTAKEN:
        return Refusal((f"run {found.run} is over: {found.saw}",))
    if events and read_order(found.command) is None:
        told = f"dcctl {found.command}" if not found.command.startswith("dcctl") else found.command
        return Refusal((f"{found.command} is no move between sites: type it again ({told})",))
    return None


def is_over(found: Run, events: Sequence[Event]) -> bool:
    """Whether nobody can go on with a run any more, so that nothing but its story is lost with it."""
    return not events or decide_resume(found, events) is not None


def decide_abort(found: Run, events: Sequence[Event]) -> Refusal | None:
    """Why a run cannot be given up any more."""
    if found.outcome in (Outcome.DONE, Outcome.ABORTED, Outcome.OVERTAKEN):
        return Refusal((f"run {found.run} is {found.outcome} already",))
    if (passed := no_return_of(events)) is not None:
        step, target = passed.fields.get("step"), passed.fields.get("target")
        return Refusal(
            (
                f"the point of no return is passed: {step} on {target} was begun at {passed.at:%H:%M:%S} UTC;"
                f" dcctl run resume {found.run} ends what was begun",
            )
        )
    undone = sum(event.type == "undo.done" for event in events)
    if sum(event.type == "undo.written" for event in events) > undone:
        return Refusal(("what it broke is not mended: dcctl drill restore does that",))
    return None


def no_return_of(events: Sequence[Event]) -> Event | None:
    """The begin of the step from which on there is no way back, where it was begun."""
    return next((event for event in events if event.fields.get("no_return")), None)


def decide_skip(step: str, events: Sequence[Event]) -> Refusal | None:
    """Why nobody may state that what ``step`` of a run's plan waits for holds."""
    planned = [each for event in events for each in event.fields.get("steps", ())]
    names = [str(each["name"]) for each in planned if each.get("skippable")]
    if step in names:
        return None
    if step in [str(each["name"]) for each in planned]:
        told = f"{step!r} is proven by what dcctl sees, and nobody's word replaces that"
    else:
        told = f"the run's plan has no step {step!r}"
    return Refusal((f"{told}; what a person may state: {', '.join(dict.fromkeys(names)) or 'nothing'}",))


def merge_events(here: Sequence[Event], kept: Sequence[Event]) -> tuple[Event, ...]:
    """A run's events from this machine's disk and from the ensemble, which another machine may have gone on
    writing to: the disk's, where all that are kept are among them. Of a drill only what acts is kept."""
    written = {event.seq: event for event in here}
    if all(written.get(event.seq) == event for event in kept):
        return tuple(here)
    return tuple(kept)


def _timeline(events: Sequence[Event], *, unfinished: str) -> tuple[Moment, ...]:
    """A step or wait takes the place of its start; one that never ended stays ``unfinished``."""
    moments: list[Moment] = []
    open_at: dict[tuple[str, str, str], int] = {}
    for event in events:
        kind, _dot, state = event.type.partition(".")
        if kind == "run" and event.type not in _TOLD:
            continue
        if event.type == "run.resumed":
            # What an earlier life began and did not end may have happened or not.
            for index in open_at.values():
                moments[index] = replace(moments[index], state="unknown")
            open_at.clear()
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
