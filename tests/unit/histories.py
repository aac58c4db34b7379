"""Histories for tests: a true one of a system that works, and the means to break it."""

from dataclasses import replace
from datetime import UTC, datetime

from dcctl.domain.history import Action, History, Mark, Phase, Record

BEGAN_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
EDGES = ("east", "west")


def write(row: int, at_s: float, outcome: Phase | None = Phase.OK, *, took_s: float = 0.01) -> list[Record]:
    """One write of ``row``; ``outcome`` None leaves its end unrecorded."""
    edge = EDGES[row % 2]
    invoke = Record(at_s, row, Action.WRITE, Phase.INVOKE, edge, row=row)
    if outcome is None:
        return [invoke]
    saw = "" if outcome is Phase.OK else "the connection was lost"
    return [invoke, Record(at_s + took_s, row, Action.WRITE, outcome, edge, row=row, saw=saw)]


def read(op: int, at_s: float, rows: set[int], *, window: tuple[int, int] | None = None) -> list[Record]:
    """One read that found ``rows``; without a window it is the final one."""
    action = Action.FINAL if window is None else Action.READ
    return [
        Record(at_s, op, action, Phase.INVOKE, "east", window=window),
        Record(at_s + 0.01, op, action, Phase.OK, "east", rows=frozenset(rows)),
    ]


def history(*parts: list[Record], marks: tuple[Mark, ...] = ()) -> History:
    records = tuple(sorted((record for part in parts for record in part), key=lambda each: each.at_s))
    return History("test", BEGAN_AT, 50.0, EDGES, records, marks)


def without(base: History, *, op: int, phase: Phase) -> History:
    """``base`` without one record."""
    return replace(
        base, records=tuple(each for each in base.records if not (each.op == op and each.phase is phase))
    )


def outage(*, fault_s: float, back_s: float, end_s: float, every_s: float = 0.02) -> History:
    """A write every ``every_s``; those from ``fault_s`` on, until ``back_s``, fail after one second."""
    parts = []
    for row in range(int(end_s / every_s)):
        at_s = row * every_s
        ok = not fault_s <= at_s < back_s
        parts.append(write(row, at_s, Phase.OK if ok else Phase.FAIL, took_s=0.005 if ok else 1.0))
    found = {row for row in range(len(parts)) if not fault_s <= row * every_s < back_s}
    parts.append(read(10**6, end_s + 5, found))
    return history(*parts, marks=(Mark(fault_s, "fault", "east"),))
