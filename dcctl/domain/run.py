"""What a run looks like, read from its journal alone: also after a crash, also while it is active."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from dcctl.domain.event import Event, sentence
from dcctl.domain.order import read_order
from dcctl.domain.refusal import Refusal


def name_run(started_at: datetime, what: str, token: str) -> str:
    """A run's name: sorts by its start, says what it was. ``20261121-184512-provision-3f9a``"""
    return f"{started_at:%Y%m%d-%H%M%S}-{what}-{token}"


def begun_at(run: str) -> datetime | None:
    """When a run began, by its name; None for a name that was given otherwise."""
    try:
        return datetime.strptime(run[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


class Outcome(StrEnum):
    """How a run ended. BROKEN_OFF: its process ended without a word (a crash, SIGKILL, a power cut).

    PAUSED: it is active, and begins nothing until it is resumed. OVERTAKEN: what it was for is gone (the site
    that it was to give up came back), and nobody goes on with it. UNKNOWN: its own journal is on another
    machine's disk, and what is kept for all tells no end.
    """

    ACTIVE = "active"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    ABORTED = "aborted"
    OVERTAKEN = "overtaken"
    BROKEN_OFF = "broken off"
    UNKNOWN = "not known"


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

    @property
    def is_move(self) -> bool:
        """Whether it moves something between the sites: broken off, it is gone on with or aborted first."""
        return read_order(self.command) is not None

    def sentence(self) -> str:
        """Why nobody else may act now."""
        if self.alive:
            return f"run {self.run} is active: {self.command}, by {self.who}"
        if self.free_in_s > 0:
            return (
                f"run {self.run} was broken off while it did: {', '.join(self.doing)};"
                f" that may go on for {self.free_in_s:.0f} s more"
            )
        told = f"run {self.run} was broken off: {self.command}, by {self.who}"
        if not self.is_move:
            return f"{told}; it blocks nobody: dcctl run show {self.run}"
        return (
            f"{told}; dcctl run resume {self.run} goes on with it,"
            f" dcctl run abort {self.run} --reason TEXT ends it"
        )


@dataclass(frozen=True, slots=True)
class Ordered:
    """Who took the right to act for a run, and for which command; kept beside its events."""

    who: str
    command: str


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
    limit_s: float | None = None
    """How long a step or a wait may take."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run as its journal tells it. ``command`` is what was asked for, ``by`` who began its last life.

    ``missing``: so many of its events are not here, but on the disk of the machine where it was begun.
    """

    run: str
    command: str
    outcome: Outcome
    started_at: datetime | None
    """None when the process ended before it wrote a word, and its name does not say."""
    took_s: float
    """From the first event to the last."""
    saw: str
    timeline: tuple[Moment, ...]
    by: str = ""
    missing: int = 0
    lives_since: datetime | None = None
    """When it was begun, or resumed last."""
    last_word_at: datetime | None = None
    doing: tuple[Moment, ...] = ()
    """What it does now; of a run that was broken off, what it had begun and may have done or not."""


GOING_ON = (Outcome.ACTIVE, Outcome.PAUSED)
ENDS = {
    "run.done": Outcome.DONE,
    "run.failed": Outcome.FAILED,
    "run.interrupted": Outcome.INTERRUPTED,
    "run.aborted": Outcome.ABORTED,
    "run.overtaken": Outcome.OVERTAKEN,
}
"""The last word of a run's life, and how it ended by that."""
_TOLD = (
    "run.resumed",
    "run.paused",
    "run.continued",
    "run.stated",
    "run.withheld",
    "run.not_aborted",
    "run.aborted",
)
"""Events of a run that stand in its timeline; its start and its end are told apart."""


def decide_run(run: str, events: Sequence[Event], *, active: bool, ordered: Ordered | None = None) -> Run:
    """The run that ``events`` tell of; ``active``: its process still lives.

    ``ordered`` is what else is kept of a run whose journal is not on this machine. A drill, a deploy and
    whatever else is no move keeps its journal on its own disk, and tells the others of it at its end.
    """
    lives = [number for number, event in enumerate(events) if event.type == "run.resumed"]
    since = events[lives[-1] if lives else 0 :]
    begun = [event for event in events if event.type in ("run.started", "run.resumed")]
    command = str(events[0].fields.get("command", "")) if events else ""
    began_at = events[0].at if events else begun_at(run)
    outcome, saw = _ended(since, active=active)
    if ordered is not None and not begun:
        command, began_at = ordered.command, begun_at(run) or began_at
        if outcome is Outcome.BROKEN_OFF and read_order(command) is None:
            outcome = Outcome.UNKNOWN
            saw = f"how it ended is in its journal alone, where {ordered.who} began it"
    unfinished = "running" if outcome in GOING_ON else "unknown"
    timeline = _timeline(events, began_at, unfinished=unfinished) if began_at is not None else ()
    return Run(
        run=run,
        command=command,
        outcome=outcome,
        started_at=began_at,
        took_s=(events[-1].at - began_at).total_seconds() if events and began_at is not None else 0.0,
        saw=saw,
        timeline=timeline,
        by=_begun_by(begun, ordered),
        lives_since=since[0].at if lives else began_at,
        last_word_at=events[-1].at if events else None,
        doing=_doing(timeline, outcome),
        missing=events[-1].seq - len(events) if events and ordered is not None else 0,
    )


def _ended(since: Sequence[Event], *, active: bool) -> tuple[Outcome, str]:
    """How the last life of a run ended, and what was seen then."""
    ends = [event for event in since if event.type in ENDS]
    if ends:
        return ENDS[ends[-1].type], str(ends[-1].fields.get("saw", ""))
    if not active:
        return Outcome.BROKEN_OFF, ""
    stops = [event.type for event in since if event.type in ("run.paused", "run.continued")]
    return (Outcome.PAUSED if stops[-1:] == ["run.paused"] else Outcome.ACTIVE), ""


def _doing(timeline: Sequence[Moment], outcome: Outcome) -> tuple[Moment, ...]:
    """What was begun in the last life and did not end."""
    open_state = "unknown" if outcome is Outcome.BROKEN_OFF else "running"
    resumed = [n for n, each in enumerate(timeline) if each.kind == "run" and each.name.startswith("RESUMED")]
    return tuple(each for each in timeline[resumed[-1] if resumed else 0 :] if each.state == open_state)


def _begun_by(begun: Sequence[Event], ordered: Ordered | None) -> str:
    told = str(begun[-1].fields.get("by", "")) if begun else ""
    who = ordered.who if ordered is not None else ""
    return f"{told} ({who})" if told and who and told != who else told or who


def next_command(found: Run, dcctl: str = "dcctl") -> str:
    """What to type about a run that goes on, or that can be gone on with; empty where there is nothing."""
    if found.outcome is Outcome.ACTIVE:
        return f"{dcctl} run watch {found.run}"
    stopped = (Outcome.BROKEN_OFF, Outcome.FAILED, Outcome.INTERRUPTED)
    if found.outcome is Outcome.PAUSED or (found.outcome in stopped and read_order(found.command)):
        return f"{dcctl} run resume {found.run}"
    if found.outcome is Outcome.BROKEN_OFF and found.command.startswith("drill run"):
        return f"{dcctl} drill restore"
    return ""


def decide_resume(found: Run, events: Sequence[Event]) -> Refusal | None:
    """Why a run cannot be gone on with; its being active is for the compare-and-set to tell."""
    if found.outcome is Outcome.DONE:
        return Refusal((f"run {found.run} is done",))
    if found.outcome is Outcome.ABORTED:
        return Refusal((f"run {found.run} was aborted: begin a new one",))
    if found.outcome is Outcome.OVERTAKEN:
        return Refusal((f"run {found.run} is over: {found.saw}",))
    if found.outcome is Outcome.UNKNOWN:
        return Refusal((f"run {found.run} ({found.command}): {found.saw}",))
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
    if (why_not := why_not_asked(found)) is not None:
        return why_not
    if (passed := no_return_of(events)) is not None:
        step, target = passed.fields.get("step"), passed.fields.get("target")
        told = f"the point of no return is passed: {step} on {target} was begun at {passed.at:%H:%M:%S} UTC"
        if found.outcome is Outcome.ACTIVE:
            return Refusal((f"{told}; it goes on to its end",))
        return Refusal((f"{told}; dcctl run resume {found.run} ends what was begun",))
    undone = sum(event.type == "undo.done" for event in events)
    if sum(event.type == "undo.written" for event in events) > undone:
        return Refusal(("what it broke is not mended: dcctl drill restore does that",))
    return None


def why_not_asked(found: Run) -> Refusal | None:
    """Why nothing can be asked of a run from afar: only moves between the sites listen."""
    if found.outcome is Outcome.UNKNOWN:
        return Refusal((f"run {found.run} ({found.command}): {found.saw}",))
    if found.outcome in GOING_ON and found.command and read_order(found.command) is None:
        where = f"where {found.by} began it" if found.by else "where it was begun"
        told = f"{found.command} is no move between sites, and listens to nobody: Ctrl-C ends it {where}"
        return Refusal((told,))
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


def _timeline(events: Sequence[Event], began_at: datetime, *, unfinished: str) -> tuple[Moment, ...]:
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
        offset_s = (event.at - began_at).total_seconds()
        limit_s = event.fields.get("limit_s")
        saw = str(event.fields.get("saw", ""))
        moment = Moment(offset_s, None, unfinished, kind, name, target, saw, limit_s)
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
