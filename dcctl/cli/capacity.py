"""``dcctl capacity``: can one site carry what both carry now?"""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from dcctl.cli.output import emit
from dcctl.cli.session import Session, command_options, one_site_option
from dcctl.domain.capacity import Capacity, Fit, Line, Reading
from dcctl.errors import Refused, UsageError

if TYPE_CHECKING:
    from rich.console import Console

LOOK_LIMIT_S = 60.0
"""For everything together; parts that took longer count as silent."""
STYLES = {Fit.FITS: "green", Fit.SHORT: "bold red", Fit.UNKNOWN: "yellow"}


@click.command()
@one_site_option("--lose", "The site whose load the other one would take.")
@command_options
def capacity(session: Session, *, lose: str) -> None:
    """Say whether one site can carry what both carry now, with every figure's source and age.

    Exit code 0 when it fits, 5 when it does not or when that is not known. Changes nothing.
    """
    from dcctl.shell import at_once
    from dcctl.wiring.capacity import capacity as observe

    configuration = session.configuration()
    if lose not in configuration.sites:
        known = ", ".join(configuration.sites)
        raise UsageError("choose the site to lose", saw=f"there is no site {lose!r}; sites are {known}")
    decided = observe(configuration, lose, ask=lambda questions: at_once(questions, limit_s=LOOK_LIMIT_S))
    now = datetime.now(UTC)
    emit(session, document(decided, now), lambda console: draw(console, decided, now))
    if not decided.fits:
        raise Refused(
            f"certify {decided.survivor} for losing {lose}",
            on=configuration.environment,
            reasons=decided.reasons,
            next_command=f"{session.dcctl} {_next(decided)}",
        )


def _next(decided: Capacity) -> str:
    if decided.add:
        return f"provision plan --site {decided.survivor}"
    return "config show" if decided.fit is Fit.UNKNOWN else "status"


def document(decided: Capacity, now: datetime) -> dict[str, Any]:
    """The answer as JSON values."""
    return {"at": now, **asdict(decided), "reasons": decided.reasons}


def draw(console: "Console", decided: Capacity, now: datetime) -> None:
    """The answer as text."""
    from rich.table import Table
    from rich.text import Text

    table = Table("group", "resource", "needed", "there", "", "from", box=None, pad_edge=False)
    for line in decided.lines:
        answer = Text(str(line.fit), style=STYLES[line.fit])
        needed, there = _figure(line.needed), _figure(line.available)
        table.add_row(line.group, line.resource, needed, there, answer, _sources(line, now))
    console.print(table)
    for note in decided.notes:
        console.print(Text(f"note: {note}", style="yellow"))
    for group, number in decided.add.items():
        console.print(f"{decided.survivor} lacks {number} more running machine(s) of {group}")
    verdict = f"losing {decided.lost}: {decided.survivor} "
    words = {
        Fit.FITS: "carries the sum",
        Fit.SHORT: "does not carry the sum",
        Fit.UNKNOWN: "cannot be certified",
    }
    console.print(Text(verdict + words[decided.fit], style=STYLES[decided.fit]))


def _figure(value: float | None) -> str:
    return "?" if value is None else f"{value:g}"


def _sources(line: Line, now: datetime) -> str:
    """Every figure with where it is from and how old it is."""
    told = [_source(each, now) for each in line.sources]
    if line.note and line.needed is None:
        told = [line.note]
    return "; ".join(told)


def _source(reading: Reading[float], now: datetime) -> str:
    told = reading.source
    if reading.value is not None:
        told = f"{reading.value:g} {told}"
    if reading.at is not None and (age_s := (now - reading.at).total_seconds()) >= 1:
        told += f", {age_s:.0f} s ago"
    return f"{told} (no newer: {reading.reason})" if reading.reason else told
