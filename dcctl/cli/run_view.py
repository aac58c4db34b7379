"""How runs look: a list, a timeline, and one that is followed."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from dcctl.cli.output import SAY_EVERY_S, Hanging, console, span
from dcctl.domain.run import GOING_ON, Outcome
from dcctl.errors import Unreachable

if TYPE_CHECKING:
    from rich.console import Console

    from dcctl.cli.session import Session
    from dcctl.domain.event import Event
    from dcctl.domain.run import Moment, Run

STYLES = {
    "done": "green",
    "failed": "red",
    "running": "yellow",
    "active": "yellow",
    "paused": "yellow",
    "not known": "yellow",
    "unknown": "yellow",
    "noted": "dim",
}
CLOCK_FROM_WIDTH = 100
TARGET_WIDTH = 16
TENTHS_UNTIL_S = 600
"""In a timeline: whoever reads it compares its lines."""


def say_dark(reason: str) -> None:
    """That only this machine's runs are known; on standard error."""
    print(f"only what was run on this machine is shown: {reason}", file=sys.stderr)


def head(found: "Run | tuple[str, str]", dcctl: str = "dcctl") -> dict[str, Any]:
    """A run without its timeline."""
    from dcctl.domain.last_run import decide_last_run

    if isinstance(found, tuple):
        return {"run": found[0], "outcome": "unreadable", "saw": found[1]}
    stands = decide_last_run(found, datetime.now(UTC), dcctl=dcctl)
    return {
        "run": found.run,
        "command": found.command,
        "outcome": str(found.outcome),
        "by": found.by,
        "started_at": found.started_at,
        "took_s": stands.took_s,
        "saw": found.saw,
        "doing": [asdict(each) for each in stands.doing],
        "missing_events": found.missing,
        "next_command": stands.next_command,
    }


def timeline_document(found: "Run", events: "Sequence[Event]", dcctl: str = "dcctl") -> dict[str, Any]:
    """A run with its timeline, and what stands for it in the journal: rules overridden, steps planned."""
    begun = events[0].fields if events else {}
    return {
        **head(found, dcctl),
        "overrides": list(begun.get("overrides", ())),
        "timeline": [_line(moment) for moment in found.timeline],
    }


def _line(moment: "Moment") -> dict[str, Any]:
    return {
        "offset_s": moment.offset_s,
        "took_s": moment.took_s,
        "limit_s": moment.limit_s,
        "state": moment.state,
        "kind": moment.kind,
        "name": moment.name,
        "target": moment.target,
        "saw": moment.saw,
    }


def draw_list(out: "Console", found: "Sequence[Run | tuple[str, str]]", now: datetime) -> None:
    """A name is never cut: it is what the next command is typed with."""
    from rich.table import Table
    from rich.text import Text

    from dcctl.domain.last_run import decide_last_run

    if not found:
        out.print("nothing has run yet")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("run", no_wrap=True, overflow="fold")
    table.add_column("outcome", no_wrap=True)
    table.add_column("took", no_wrap=True, justify="right")
    table.add_column("command", overflow="fold")
    for one in found:
        if isinstance(one, tuple):
            table.add_row(one[0], Text("unreadable", style="red"), "", one[1])
            continue
        outcome = Text(str(one.outcome), style=_style(one.outcome))
        told = one.command or "its command is not known"
        if one.outcome is not Outcome.DONE:
            told += f", by {one.by}" if one.by and one.outcome is not Outcome.UNKNOWN else ""
            told += f": {one.saw}" if one.saw else ""
        took_s = decide_last_run(one, now).took_s if one.outcome is not Outcome.UNKNOWN else None
        table.add_row(one.run, outcome, span(took_s) if took_s is not None else "", told)
    out.print(table)


def draw_run(out: "Console", shown: "Run", now: datetime, dcctl: str = "dcctl") -> None:
    """The timeline; by the clock too, where there is room for it."""
    from rich.table import Table

    out.print(_title(shown))
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    clock = out.width >= CLOCK_FROM_WIDTH
    if clock:
        table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(max_width=TARGET_WIDTH, overflow="fold")
    table.add_column()
    for moment in shown.timeline:
        table.add_row(*([_clock(shown, moment)] if clock else []), *_cells(moment, shown, now))
    out.print(table)
    _draw_end(out, shown, now, dcctl)


def watch_events(
    session: "Session", look: "Callable[[], tuple[Run, Sequence[Event]]]", *, every_s: float
) -> "tuple[Run, Sequence[Event]]":
    """Print each line once it has ended, until the run has; what goes on for long is said now and then.

    A look that fails later than the first is said, and taken again: the run goes on without us.
    """
    out = console(sys.stderr if session.json else sys.stdout)
    found, events = look()
    out.print(_title(found))
    shown: set[int] = set()
    said_s, dark = time.monotonic(), ""
    while True:
        now = datetime.now(UTC)
        for number, moment in enumerate(found.timeline):
            if moment.state != "running" and number not in shown:
                shown.add(number)
                said_s = time.monotonic()
                out.print(_spoken(moment, found, now))
        if found.outcome not in GOING_ON:
            _draw_end(out, found, now, session.dcctl)
            return found, events
        if time.monotonic() - said_s >= SAY_EVERY_S:
            said_s = time.monotonic()
            for moment in found.doing:
                out.print(_spoken(moment, found, now))
            if not found.doing:
                out.print(f"{found.outcome}, nothing is under way")
        time.sleep(every_s)
        try:
            found, events = look()
            dark = ""
        except Unreachable as error:
            if not dark:
                dark = error.sentence()
                out.print(f"not seen now, and looked for again: {dark}")


def _title(shown: "Run") -> str:
    command = f"{shown.command}, " if shown.command else ""
    by = f"by {shown.by}, " if shown.by else ""
    started = f"started {shown.started_at:%Y-%m-%d %H:%M:%S} UTC" if shown.started_at else "never started"
    return f"{shown.run}  {command}{by}{started}"


def _clock(shown: "Run", moment: "Moment") -> str:
    at = shown.started_at
    return f"{at + timedelta(seconds=moment.offset_s):%H:%M:%S}" if at is not None else ""


def _cells(moment: "Moment", shown: "Run", now: datetime) -> tuple[Any, ...]:
    from rich.text import Text

    took_s, told = moment.took_s, moment.name
    if moment.state == "running" and shown.started_at is not None:
        took_s = max(0.0, (now - shown.started_at).total_seconds() - moment.offset_s)
        if moment.limit_s is not None:
            told += f", at most {span(max(0.0, moment.limit_s - took_s))} more"
    return (
        f"+{_took(moment.offset_s)}",
        Text(moment.state, style=STYLES.get(moment.state, "")),
        _took(took_s),
        # a noted event says in its sentence what it is about
        "" if moment.state == "noted" and moment.target in moment.name else moment.target,
        told + (f": {moment.saw}" if moment.saw else ""),
    )


def _spoken(moment: "Moment", shown: "Run", now: datetime) -> Hanging:
    from rich.text import Text

    *cells, told = _cells(moment, shown, now)
    label = Text("  ").join(_as_text(cell) for cell in cells if str(cell))
    return Hanging(label.append(" "), str(told))


def _as_text(cell: Any) -> Any:
    from rich.text import Text

    return cell if isinstance(cell, Text) else Text(str(cell))


def _draw_end(out: "Console", shown: "Run", now: datetime, dcctl: str) -> None:
    """How it stands or ended, and what to type."""
    from rich.text import Text

    from dcctl.domain.last_run import decide_last_run

    stands = decide_last_run(shown, now, dcctl=dcctl)
    text = Text(str(shown.outcome), style=_style(shown.outcome))
    if shown.last_word_at is None and shown.outcome is Outcome.BROKEN_OFF:
        text.append(" before its first word")
    elif stands.took_s is not None and shown.outcome is not Outcome.UNKNOWN:
        took = _took(stands.took_s)
        words = {Outcome.ACTIVE: f" for {took}", Outcome.PAUSED: f", begun {took} ago"}
        text.append(words.get(shown.outcome, f" after {took}"))
    out.print(text.append(f": {shown.saw}" if shown.saw else ""))
    if shown.outcome is Outcome.BROKEN_OFF and shown.doing:
        out.print("what it had begun (unknown) may have happened or not")
    if shown.missing and shown.outcome is not Outcome.UNKNOWN:
        where = f", where {shown.by} began it" if shown.by else ""
        out.print(f"{shown.missing} more events are in its own journal{where}")
    if stands.next_command:
        out.print(f"next: {stands.next_command}")


def _style(outcome: "Outcome") -> str:
    return STYLES.get(str(outcome), "red")


def _took(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" if seconds < TENTHS_UNTIL_S else span(seconds)
