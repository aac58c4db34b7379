"""A true history of the application's clients, and the means to break it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from dcctl.domain.business import (
    Act,
    BusinessHistory,
    Copy,
    Ended,
    Fact,
    Inventory,
    Invoked,
    Kind,
    Line,
    Look,
)
from dcctl.domain.history import Mark, Phase

BEGAN_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BEGAN_S = BEGAN_AT.timestamp()
EDGES = {"east-edge-1": "east", "west-edge-1": "west"}
MACHINES = {"east-app-1": "east", "west-app-1": "west"}
MD5 = "0" * 32

DRAFT = Fact("tender/t", rank=(0, 1.0), marker="drill run tender 1")
ACTIVE = replace(DRAFT, rank=(1, 3.0))
NOTICE = Fact("tender/t/document/d", f"md5:{MD5}", (0, 2.0), "drill run tender 1 notice")
BYTES = Fact("bytes/d", MD5)
REGISTERED = Fact("registered/d", MD5)


def request(
    op: int,
    kind: Kind,
    at_s: float,
    *facts: Fact,
    outcome: Phase = Phase.OK,
    edge: str = "east-edge-1",
    subject: str = "",
    marker: str = "",
    by: str = "",
) -> tuple[Line, ...]:
    """One request that took 50 ms; answered by the edge's own site unless told otherwise."""
    server = by or f"{EDGES[edge]}-app-1"
    saw = "" if outcome is Phase.OK else "no answer in time"
    return (
        Invoked(at_s, op, kind, edge, subject=subject, marker=marker),
        Ended(at_s + 0.05, op, outcome, saw, server, facts),
    )


def clean() -> BusinessHistory:
    """A tender made and activated before a fault of east, read through west; its document arrived late."""
    return BusinessHistory(
        "run",
        BEGAN_AT,
        EDGES,
        MACHINES,
        (
            Look(0.5, 1, "east", BEGAN_S - 60),
            *request(0, Kind.TENDER, 1.0, DRAFT, marker=DRAFT.marker),
            *request(1, Kind.REGISTER, 1.2, REGISTERED),
            *request(2, Kind.UPLOAD, 1.4, BYTES),
            *request(3, Kind.ATTACH, 1.6, NOTICE, marker=NOTICE.marker),
            *request(4, Kind.ACTIVATE, 1.8, ACTIVE),
            *request(5, Kind.READ, 3.0, ACTIVE, NOTICE, subject="tender/t", edge="west-edge-1"),
            Mark(10.0, "fault", "east"),
            Copy(20.0, "west", "d", ""),
            Look(25.0, 2, "west", BEGAN_S + 24),
            *request(6, Kind.ACTIVATE, 26.0, ACTIVE, edge="west-edge-1"),
            *request(9, Kind.ACTIVATE, 28.0, ACTIVE, edge="west-edge-1"),
            Mark(30.0, "healed", "east"),
            Mark(40.0, "settled", "west"),
            *request(7, Kind.ACTIVATE, 41.0, ACTIVE),
            *request(8, Kind.ACTIVATE, 42.0, ACTIVE, edge="west-edge-1"),
            Copy(44.0, "west", "d", MD5),
            Copy(44.1, "east", "d", MD5),
            Act("t", 1, 1, BEGAN_S + 5, 0.1, missed=False),
            Act("t", 2, 2, BEGAN_S + 27, 0.1, missed=False),
            Inventory(50.0, ok=True, facts=(ACTIVE, NOTICE, BYTES, REGISTERED)),
        ),
    )


def changed(history: BusinessHistory, change: Callable[[Line], Line | None]) -> BusinessHistory:
    """Every line as ``change`` makes it; None leaves it out."""
    lines = tuple(made for line in history.lines if (made := change(line)) is not None)
    return replace(history, lines=lines)


def stored(history: BusinessHistory, *facts: Fact) -> BusinessHistory:
    """The same clients, and this in the database at the end."""
    return changed(history, lambda line: replace(line, facts=facts) if isinstance(line, Inventory) else line)


def with_line(history: BusinessHistory, *lines: Line) -> BusinessHistory:
    return replace(history, lines=(*history.lines, *lines))
