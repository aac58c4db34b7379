"""``dcctl run list|show``: what was done, read from the journals alone, after a crash too."""

from typing import TYPE_CHECKING, Any

import click

from dcctl.cli.output import emit
from dcctl.cli.session import Session, command_options
from dcctl.errors import DcctlError

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from dcctl.domain.run import Moment, Run

STYLES = {"done": "green", "failed": "red", "running": "yellow", "active": "yellow"}


@click.group()
def run() -> None:
    """What was done in this environment, run by run."""


@run.command("list")
@click.option("-n", "count", default=20, show_default=True, help="How many, newest first.")
@command_options
def list_runs(session: Session, *, count: int) -> None:
    """List runs, newest first."""
    from dcctl.adapters.journal import runs

    state = _state_directory(session)
    names = sorted(runs(state), reverse=True)[:count]
    found: list[Run | tuple[str, str]] = []
    for name in names:
        try:
            found.append(_read(state, name))
        except DcctlError as error:
            found.append((name, error.sentence()))
    document = {"runs": [_head(one) for one in found]}
    emit(session, document, lambda console: _draw_list(console, found))


@run.command()
@click.argument("name", metavar="RUN", default="last")
@command_options
def show(session: Session, *, name: str) -> None:
    """Show the timeline of a run: its name, the start or end of it, or `last`."""
    from dcctl.adapters.journal import find_run

    state = _state_directory(session)
    shown = _read(state, find_run(state, name))
    document = {**_head(shown), "timeline": [_line(moment) for moment in shown.timeline]}
    emit(session, document, lambda console: _draw_run(console, shown))


def _state_directory(session: Session) -> "Path":
    from dcctl.config.load import load

    # Reading needs no network, so the environment's is not joined.
    return load(session.environment).state_directory


def _read(state: "Path", name: str) -> "Run":
    from dcctl.adapters.journal import is_active, read_run
    from dcctl.domain.run import decide_run

    # In this order: a run that ends in between is then read with its end.
    active = is_active(state, name)
    return decide_run(name, read_run(state, name), active=active)


def _head(found: "Run | tuple[str, str]") -> dict[str, Any]:
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


def _draw_list(console: "Console", found: "list[Run | tuple[str, str]]") -> None:
    from rich.table import Table
    from rich.text import Text

    if not found:
        console.print("nothing has run yet")
        return
    table = Table("run", "command", "outcome", "took", "", box=None, pad_edge=False)
    for one in found:
        if isinstance(one, tuple):
            table.add_row(one[0], "", Text("unreadable", style="red"), "", one[1])
            continue
        outcome = Text(str(one.outcome), style=STYLES.get(str(one.outcome), "red"))
        table.add_row(one.run, one.command, outcome, _seconds(one.took_s), one.saw)
    console.print(table)


def _draw_run(console: "Console", shown: "Run") -> None:
    from rich.table import Table
    from rich.text import Text

    started = f"{shown.started_at:%Y-%m-%d %H:%M:%S} UTC" if shown.started_at else "never"
    console.print(f"{shown.run}  {shown.command}, started {started}")
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    for moment in shown.timeline:
        table.add_row(
            f"+{_seconds(moment.offset_s)}",
            Text(moment.state, style=STYLES.get(moment.state, "")),
            _seconds(moment.took_s),
            moment.target,
            moment.name,
            moment.saw,
        )
    console.print(table)
    outcome = Text(str(shown.outcome), style=STYLES.get(str(shown.outcome), "red"))
    console.print(
        Text.assemble(outcome, f" after {_seconds(shown.took_s)}", f": {shown.saw}" if shown.saw else "")
    )


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s"
