"""What a client did and was told, operation by operation, and what that proves about the data.

The model is Jepsen's: every operation is *invoked* and then ends *ok*, *fail* (it certainly did not
happen) or *unknown* (it may have happened, now or later). An operation whose end was never recorded is
unknown. Rows are numbered once and written once, so the final read decides about each of them.

The checkers are pure: the same history gives the same finding on any machine, years later. Times are
seconds since the history began, on the client's monotonic clock.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Action(StrEnum):
    """What the client did: one row in, a window of rows out, or every row out at the very end."""

    WRITE = "write"
    READ = "read"
    FINAL = "final-read"


class Phase(StrEnum):
    """A record's place in its operation: the invocation, or one of the three ends."""

    INVOKE = "invoke"
    OK = "ok"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a history.

    ``row`` is set on writes. Reads carry ``window`` (first and last row asked for) on their invocation
    and the ``rows`` found on their end; ``altered`` are rows whose payload was not what was written.
    ``late_s`` is how long after its due time an operation was invoked. ``saw`` says why it ended badly.
    An acknowledged write says ``by`` which server it was taken, its address, and in which ``epoch`` of the
    store: PostgreSQL's timeline, which every promotion raises.
    """

    at_s: float
    op: int
    action: Action
    phase: Phase
    edge: str
    row: int | None = None
    late_s: float = 0.0
    window: tuple[int, int] | None = None
    rows: frozenset[int] = frozenset()
    altered: frozenset[int] = frozenset()
    saw: str = ""
    by: str = ""
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened to the system meanwhile: ``fault``, ``healing``, ``promoted`` …"""

    at_s: float
    name: str
    target: str


@dataclass(frozen=True, slots=True)
class History:
    """Everything one workload recorded. ``began_at`` is the wall-clock instant of second zero.

    ``servers`` are the addresses of the servers that may acknowledge, each with its site; empty in a history
    that does not say who acknowledged.
    """

    run: str
    began_at: datetime
    writes_per_s: float
    edges: tuple[str, ...]
    records: tuple[Record, ...] = ()
    marks: tuple[Mark, ...] = ()
    servers: Mapping[str, str] = field(default_factory=dict)

    def mark(self, name: str) -> Mark | None:
        """The first mark of that name."""
        return next((mark for mark in self.marks if mark.name == name), None)


@dataclass(frozen=True, slots=True)
class Operation:
    """One invocation with its end. ``ended_s`` is None when no end was recorded."""

    op: int
    action: Action
    edge: str
    due_s: float
    invoked_s: float
    ended_s: float | None
    outcome: Phase
    row: int | None = None
    window: tuple[int, int] | None = None
    rows: frozenset[int] = frozenset()
    altered: frozenset[int] = frozenset()
    saw: str = ""
    by: str = ""
    epoch: int | None = None


def operations(history: History) -> tuple[Operation, ...]:
    """Pair every invocation with its first end, in order of invocation."""
    ends: dict[int, Record] = {}
    for record in history.records:
        if record.phase is not Phase.INVOKE:
            ends.setdefault(record.op, record)
    return tuple(
        _operation(record, ends.get(record.op)) for record in history.records if record.phase is Phase.INVOKE
    )


def _operation(invoked: Record, end: Record | None) -> Operation:
    return Operation(
        op=invoked.op,
        action=invoked.action,
        edge=invoked.edge,
        due_s=invoked.at_s - invoked.late_s,
        invoked_s=invoked.at_s,
        ended_s=end.at_s if end else None,
        outcome=end.phase if end else Phase.UNKNOWN,
        row=invoked.row,
        window=invoked.window,
        rows=end.rows if end else frozenset(),
        altered=end.altered if end else frozenset(),
        saw=end.saw if end else "no end was recorded",
        by=end.by if end else "",
        epoch=end.epoch if end else None,
    )


@dataclass(frozen=True, slots=True)
class Reply:
    """What PostgreSQL said to one autocommitted statement, as far as it decides the outcome.

    ``sent`` is whether the statement may have left us. ``warnings`` are SQLSTATEs of notices with
    severity WARNING that came with a success. ``severity`` and ``sqlstate`` are the error's, or empty.
    """

    sent: bool
    succeeded: bool = False
    warnings: tuple[str, ...] = ()
    severity: str = ""
    sqlstate: str = ""


STATEMENT_COMPLETION_UNKNOWN = "40003"
CONNECTION_EXCEPTION_CLASS = "08"


def decide_outcome(answer: Reply) -> Phase:
    """Whether a write is acknowledged, certainly did not happen, or may have happened.

    | sent | answer                                  | outcome |
    |------|-----------------------------------------|---------|
    | no   | anything                                | fail    |
    | yes  | success, no warning                     | ok      |
    | yes  | success with a WARNING (01000 …)        | unknown |
    | yes  | ERROR, outside class 08 and not 40003   | fail    |
    | yes  | FATAL, PANIC, class 08, 40003           | unknown |
    | yes  | no answer (lost connection, time limit) | unknown |

    A COMMIT whose wait for the synchronous standby was cancelled answers success with a WARNING
    (PostgreSQL, src/backend/replication/syncrep.c); an ERROR aborts the statement's own transaction.
    """
    if not answer.sent:
        return Phase.FAIL
    if answer.succeeded:
        return Phase.UNKNOWN if answer.warnings else Phase.OK
    doubtful = answer.sqlstate.startswith(CONNECTION_EXCEPTION_CLASS) or (
        answer.sqlstate == STATEMENT_COMPLETION_UNKNOWN
    )
    return Phase.FAIL if answer.severity == "ERROR" and answer.sqlstate and not doubtful else Phase.UNKNOWN


@dataclass(frozen=True, slots=True)
class Findings:
    """What the history proves about the data; rows by number, each tuple sorted. All empty is good.

    Without a ``final_read`` nothing is proven about ``lost`` and ``vanished``, and they are empty.
    """

    final_read: bool
    lost: tuple[int, ...] = ()
    vanished: tuple[int, ...] = ()
    phantom: tuple[int, ...] = ()
    altered: tuple[int, ...] = ()
    acknowledged_twice: tuple[int, ...] = ()
    failed_yet_present: tuple[int, ...] = ()
    stale: tuple[int, ...] = ()


def check(history: History) -> Findings:
    """Run every checker over ``history``."""
    done = operations(history)
    return Findings(
        final_read=final_read(done) is not None,
        lost=lost(done),
        vanished=vanished(done),
        phantom=phantom(done),
        altered=altered(done),
        acknowledged_twice=acknowledged_twice(history.records),
        failed_yet_present=failed_yet_present(done),
        stale=stale(done),
    )


def final_read(done: Iterable[Operation]) -> frozenset[int] | None:
    """The rows that the last successful final read found, or None when there was none."""
    found = None
    for operation in done:
        if operation.action is Action.FINAL and operation.outcome is Phase.OK:
            found = operation.rows
    return found


def lost(done: Iterable[Operation]) -> tuple[int, ...]:
    """Rows whose write was acknowledged and that the final read did not find (DESIGN promise 4)."""
    done = tuple(done)
    found = final_read(done)
    return () if found is None else _sorted(_acknowledged(done) - found)


def vanished(done: Iterable[Operation]) -> tuple[int, ...]:
    """Rows that some read returned and that the final read did not find, acknowledged or not."""
    done = tuple(done)
    found = final_read(done)
    seen = {row for read in _reads(done) for row in read.rows}
    return () if found is None else _sorted(seen - found)


def phantom(done: Iterable[Operation]) -> tuple[int, ...]:
    """Rows that a read returned although their write was not invoked by the time the read ended."""
    done = tuple(done)
    invoked_s = {each.row: each.invoked_s for each in done if each.action is Action.WRITE}
    return _sorted(
        {
            row
            for read in _reads(done)
            for row in read.rows
            if row not in invoked_s or (read.ended_s is not None and invoked_s[row] > read.ended_s)
        }
    )


def altered(done: Iterable[Operation]) -> tuple[int, ...]:
    """Rows that a read returned with a payload other than the one written."""
    return _sorted({row for read in _reads(done) for row in read.altered})


def acknowledged_twice(records: Iterable[Record]) -> tuple[int, ...]:
    """Rows for which more than one acknowledgement arrived: the client or the server is broken."""
    row_of = {}
    count: dict[int, int] = {}
    for record in records:
        if record.action is not Action.WRITE:
            continue
        if record.phase is Phase.INVOKE:
            row_of[record.op] = record.row
        elif record.phase is Phase.OK and (row := row_of.get(record.op, record.row)) is not None:
            count[row] = count.get(row, 0) + 1
    return _sorted({row for row, times in count.items() if times > 1})


def failed_yet_present(done: Iterable[Operation]) -> tuple[int, ...]:
    """Rows whose write ended *fail* and that a read returned: *fail* must mean that it did not happen."""
    done = tuple(done)
    failed = {each.row for each in done if each.action is Action.WRITE and each.outcome is Phase.FAIL}
    return _sorted({row for read in _reads(done) for row in read.rows if row in failed})


def stale(done: Iterable[Operation]) -> tuple[int, ...]:
    """Rows that a read missed although they were acknowledged, or read, before that read was invoked.

    Rows that the final read misses are for ``lost`` and ``vanished``; these are reads that went back in
    time while the system ran (a cut-off primary may serve them).
    """
    done = tuple(done)
    known_s: dict[int, float] = {}
    for each in done:
        if each.outcome is Phase.OK and each.ended_s is not None:
            for row in each.rows if each.row is None else (each.row,):
                known_s[row] = min(known_s.get(row, each.ended_s), each.ended_s)
    return _sorted(
        {
            row
            for read in _reads(done)
            if read.action is Action.READ and read.window is not None
            for row in range(read.window[0], read.window[1] + 1)
            if row not in read.rows and known_s.get(row, read.invoked_s) < read.invoked_s
        }
    )


def _acknowledged(done: Iterable[Operation]) -> set[int]:
    return {
        each.row
        for each in done
        if each.action is Action.WRITE and each.outcome is Phase.OK and each.row is not None
    }


def _reads(done: Iterable[Operation]) -> tuple[Operation, ...]:
    return tuple(each for each in done if each.action is not Action.WRITE and each.outcome is Phase.OK)


def _sorted(rows: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(rows))


def as_ranges(rows: Iterable[int]) -> list[list[int]]:
    """Row numbers as sorted, inclusive ranges: the compact form in which a history is stored."""
    ranges: list[list[int]] = []
    for row in sorted(set(rows)):
        if ranges and row == ranges[-1][1] + 1:
            ranges[-1][1] = row
        else:
            ranges.append([row, row])
    return ranges


def from_ranges(ranges: Iterable[Iterable[int]]) -> frozenset[int]:
    """The inverse of ``as_ranges``."""
    return frozenset(row for low, high in ranges for row in range(low, high + 1))


def to_fields(line: Record | Mark) -> dict[str, Any]:
    """One line of ``history.jsonl`` as JSON values; what is empty is left out."""
    if isinstance(line, Mark):
        return {"t": round(line.at_s, 6), "mark": line.name, "target": line.target}
    fields: dict[str, Any] = {
        "t": round(line.at_s, 6),
        "op": line.op,
        "do": str(line.action),
        "is": str(line.phase),
        "edge": line.edge,
    }
    optional = {
        "row": line.row,
        "late": round(line.late_s, 6) or None,
        "window": list(line.window) if line.window else None,
        "rows": as_ranges(line.rows) if line.action is not Action.WRITE and line.phase is Phase.OK else None,
        "altered": as_ranges(line.altered) or None,
        "saw": line.saw or None,
        "by": line.by or None,
        "epoch": line.epoch,
    }
    return fields | {name: value for name, value in optional.items() if value is not None}


def from_fields(fields: Mapping[str, Any]) -> Record | Mark:
    """The inverse of ``to_fields``. Raises KeyError or ValueError for a line that is not one."""
    if "mark" in fields:
        return Mark(fields["t"], fields["mark"], fields["target"])
    return Record(
        at_s=fields["t"],
        op=fields["op"],
        action=Action(fields["do"]),
        phase=Phase(fields["is"]),
        edge=fields["edge"],
        row=fields.get("row"),
        late_s=fields.get("late", 0.0),
        window=(fields["window"][0], fields["window"][1]) if "window" in fields else None,
        rows=from_ranges(fields.get("rows", ())),
        altered=from_ranges(fields.get("altered", ())),
        saw=fields.get("saw", ""),
        by=fields.get("by", ""),
        epoch=fields.get("epoch"),
    )
