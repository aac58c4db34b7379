"""How runs look: a list, a timeline, and one that is followed."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dcctl.cli.output import console

if TYPE_CHECKING:
    from rich.console import Console

    from dcctl.cli.session import Session
    from dcctl.domain.event import Event
    from dcctl.domain.run import Moment, Run

STYLES = {"done": "green", "failed": "red", "running": "yellow", "active": "yellow", "paused": "yellow"}


def say_dark(reason: str) -> None:
    """That only this machine's runs are known; on standard error."""
    print(f"only what was run on this machine is shown: {reason}", file=sys.stderr)


def head(found: "Run | tuple[str, str]") -> dict[str, Any]:
    """A run without its timeline."""
    if isinstance(found, tuple):
        return {"run": found[0], "outcome": "unreadable", "saw": found[1]}
    return {
        "run": found.run,
        "command": found.command,
        "outcome": str(found.outcome),
        "started_at": found.started_at,
        "took_s": found.took_s,
        "saw": found.saw,
    }


def timeline_document(found: "Run", events: "Sequence[Event]") -> dict[str, Any]:
    """A run with its timeline, and what stands for it in the journal: rules overridden, steps planned."""
    begun = events[0].fields if events else {}
    return {
        **head(found),
        "overrides": list(begun.get("overrides", ())),
        "timeline": [_line(moment) for moment in found.timeline],
    }


def _line(moment: "Moment") -> dict[str, Any]:
    return {
        "offset_s": moment.offset_s,
        "took_s": moment.took_s,
        "state": moment.state,
        "kind": moment.kind,
        "name": moment.name,
        "target": moment.target,
        "saw": moment.saw,
    }


def draw_list(out: "Console", found: "Sequence[Run | tuple[str, str]]") -> None:
    from rich.table import Table
    from rich.text import Text

    if not found:
        out.print("nothing has run yet")
        return
    table = Table("run", "command", "outcome", "took", "", box=None, pad_edge=False)
    for one in found:
        if isinstance(one, tuple):
            table.add_row(one[0], "", Text("unreadable", style="red"), "", one[1])
            continue
        outcome = Text(str(one.outcome), style=STYLES.get(str(one.outcome), "red"))
        table.add_row(one.run, one.command, outcome, _seconds(one.took_s), one.saw)
    out.print(table)


def draw_run(out: "Console", shown: "Run") -> None:
    from rich.table import Table

    out.print(_title(shown))
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    for moment in shown.timeline:
        table.add_row(*_cells(moment))
    out.print(table)
    out.print(_end(shown))
    if hint := _next(shown):
        out.print(hint)


def watch_events(
    session: "Session", look: "Callable[[], tuple[Run, Sequence[Event]]]", *, every_s: float
) -> "tuple[Run, Sequence[Event]]":
    """Print each line once it has ended, until the run has; what is running now is in the next look."""
    from rich.text import Text

    from dcctl.domain.run import Outcome

    out = console(sys.stderr if session.json else sys.stdout)
    found, events = look()
    out.print(_title(found))
    shown: set[int] = set()
    while True:
        for number, moment in enumerate(found.timeline):
            if moment.state != "running" and number not in shown:
                shown.add(number)
                out.print(Text("  ").join(_as_text(cell) for cell in _cells(moment)))
        going_on = found.outcome in (Outcome.ACTIVE, Outcome.PAUSED)
        if not going_on:
            out.print(_end(found))
            if hint := _next(found):
                out.print(hint)
            return found, events
        time.sleep(every_s)
        found, events = look()


def _title(shown: "Run") -> str:
    started = f"{shown.started_at:%Y-%m-%d %H:%M:%S} UTC" if shown.started_at else "never"
    return f"{shown.run}  {shown.command}, started {started}"


def _cells(moment: "Moment") -> tuple[Any, ...]:
    from rich.text import Text

    return (
        f"+{_seconds(moment.offset_s)}",
        Text(moment.state, style=STYLES.get(moment.state, "")),
        _seconds(moment.took_s),
        moment.target,
        moment.name,
        moment.saw,
    )


def _as_text(cell: Any) -> Any:
    from rich.text import Text

    return cell if isinstance(cell, Text) else Text(str(cell))


def _end(shown: "Run") -> Any:
    from rich.text import Text

    outcome = Text(str(shown.outcome), style=STYLES.get(str(shown.outcome), "red"))
    return Text.assemble(outcome, f" after {_seconds(shown.took_s)}", f": {shown.saw}" if shown.saw else "")


def _next(shown: "Run") -> str:
    """What to type, where a run can be gone on with."""
    from dcctl.domain.order import read_order
    from dcctl.domain.run import Outcome

    if shown.outcome is Outcome.PAUSED:
        return f"next: dcctl run resume {shown.run}"
    stopped = shown.outcome in (Outcome.BROKEN_OFF, Outcome.FAILED, Outcome.INTERRUPTED)
    return f"next: dcctl run resume {shown.run}" if stopped and read_order(shown.command) else ""


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s"
