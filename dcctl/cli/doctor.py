"""``dcctl doctor``: is everything ready for a failover right now, and what mends what is not."""

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from dcctl.cli.output import emit
from dcctl.cli.session import Session, command_options
from dcctl.errors import DriftFound

if TYPE_CHECKING:
    from rich.console import Console

    from dcctl.domain.diagnosis import Diagnosis

STYLES = {"ok": "green", "attention": "yellow", "not ready": "bold red", "unknown": "bold yellow"}


@click.command()
@command_options
def doctor(session: Session) -> None:
    """Say whether everything is ready for a failover, line by line, with the command that mends it.

    Exit code 0 when nothing stands against a failover, 8 when something does or is not known. Changes
    nothing.
    """
    from dcctl.domain.diagnosis import decide_diagnosis
    from dcctl.shell import at_once
    from dcctl.wiring.doctor import examine

    configuration = session.configuration()
    began = time.monotonic()
    seen = examine(configuration, at_once, dcctl=session.dcctl)
    decided = decide_diagnosis(seen)
    took_s = round(time.monotonic() - began, 3)
    document = {"at": seen.at, "took_s": took_s, "ready": decided.ready, **asdict(decided)}
    emit(session, document, lambda console: _draw(console, decided, took_s))
    if not decided.ready:
        raise DriftFound(
            "be ready for a failover",
            on=decided.environment,
            saw=_counted(decided),
            next_command=_next(decided),
        )


def _draw(console: "Console", decided: "Diagnosis", took_s: float) -> None:
    from rich.table import Table
    from rich.text import Text

    head = Text(f"{decided.environment}: ")
    if decided.ready:
        head.append("ready for a failover", style="green")
    else:
        head.append("not ready for a failover", style="bold red")
    console.print(head.append(f", looked at in {took_s:.1f} s", style="dim"))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for each in decided.gravest_first:
        told = Text(each.evidence)
        if each.mend:
            told.append(f"\n{each.mend}", style="bold")
        table.add_row(Text(str(each.readiness), style=STYLES[str(each.readiness)]), each.subject, told)
    console.print(table)


def _counted(decided: "Diagnosis") -> str:
    from dcctl.domain.diagnosis import Readiness

    words: dict[Any, str] = {Readiness.NOT_READY: "not ready", Readiness.UNKNOWN: "unknown"}
    found = [
        f"{word}: {', '.join(each.subject for each in decided.findings if each.readiness is readiness)}"
        for readiness, word in words.items()
        if any(each.readiness is readiness for each in decided.findings)
    ]
    return "; ".join(found)


def _next(decided: "Diagnosis") -> str:
    return next((each.mend for each in decided.gravest_first if each.mend), "dcctl status")
