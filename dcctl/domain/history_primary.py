"""What a history proves of who acknowledged: one primary at a time, in epochs that only grow.

Pure, and judged by acknowledgements alone: two sites may both believe for a moment that they hold the
primary, they may never both acknowledge. An operation takes effect between its invocation and its end, so
of two that overlap in time neither is the earlier; only what is certain is a finding.
"""

import bisect
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dcctl.domain.history import Action, History, Operation, Phase, operations


@dataclass(frozen=True, slots=True)
class PrimaryTerm:
    """The writes that one server acknowledged in one epoch, the database's timeline.

    ``since_s`` is when the first was acknowledged and ``until_s`` when the last one was invoked: in between
    the server certainly took writes. ``until_s`` may be before ``since_s``.
    """

    by: str
    site: str
    epoch: int
    since_s: float
    until_s: float
    writes: int


@dataclass(frozen=True, slots=True)
class PrimaryFindings:
    """Rows by number, each tuple sorted; all empty is good.

    ``told`` is whether the history says who acknowledged at all; where it does not, nothing is proven.
    """

    told: bool
    terms: tuple[PrimaryTerm, ...] = ()
    """In the order of their first acknowledgement."""
    overlapped: tuple[int, ...] = ()
    """Acknowledged by one server while another one certainly took writes, or in an epoch in which another
    one had acknowledged."""
    fell: tuple[int, ...] = ()
    """Acknowledged in an older epoch, although a newer one had acknowledged before the write was invoked."""
    unattributed: tuple[int, ...] = ()
    """Acknowledged by nobody knows whom: no server of the database, or none was named."""


def check_primary(history: History) -> PrimaryFindings:
    """Run every checker about who acknowledged (DESIGN promises 1 and 2, of the database)."""
    if not history.servers:
        return PrimaryFindings(told=False)
    acknowledged = [
        each
        for each in operations(history)
        if each.action is Action.WRITE and each.outcome is Phase.OK and each.row is not None
    ]
    known = [each for each in acknowledged if _attributed(each, history)]
    terms = _terms(known, history)
    return PrimaryFindings(
        told=True,
        terms=terms,
        overlapped=_rows(_overlapped(known, terms)),
        fell=_rows(_fell(known)),
        unattributed=_rows(each for each in acknowledged if not _attributed(each, history)),
    )


def _attributed(each: Operation, history: History) -> bool:
    return each.by in history.servers and each.epoch is not None


def _terms(known: Sequence[Operation], history: History) -> tuple[PrimaryTerm, ...]:
    by_term: dict[tuple[str, int], list[Operation]] = {}
    for each in known:
        by_term.setdefault((each.by, each.epoch or 0), []).append(each)
    terms = (
        PrimaryTerm(
            by=by,
            site=history.servers[by],
            epoch=epoch,
            since_s=min(_ended_s(each) for each in some),
            until_s=max(each.invoked_s for each in some),
            writes=len(some),
        )
        for (by, epoch), some in by_term.items()
    )
    return tuple(sorted(terms, key=lambda term: term.since_s))


def _overlapped(known: Iterable[Operation], terms: Sequence[PrimaryTerm]) -> Iterable[Operation]:
    first_of: dict[int, str] = {}
    for term in terms:
        first_of.setdefault(term.epoch, term.by)
    for each in known:
        meanwhile = any(
            term.by != each.by and each.invoked_s > term.since_s and _ended_s(each) < term.until_s
            for term in terms
        )
        if meanwhile or first_of[each.epoch or 0] != each.by:
            yield each


def _fell(known: Sequence[Operation]) -> Iterable[Operation]:
    ended = sorted(known, key=_ended_s)
    ends_s = [_ended_s(each) for each in ended]
    newest = list(itertools.accumulate((each.epoch or 0 for each in ended), max))
    for each in known:
        before = bisect.bisect_left(ends_s, each.invoked_s)
        if before and newest[before - 1] > (each.epoch or 0):
            yield each


def _ended_s(each: Operation) -> float:
    return each.invoked_s if each.ended_s is None else each.ended_s


def _rows(found: Iterable[Operation]) -> tuple[int, ...]:
    return tuple(sorted({each.row for each in found if each.row is not None}))
