"""Two clusters without ``container_sync``: nothing brings its own timestamp, so less can be promised.

What replaces the order of timestamps is memory: each side's own stamp of what both last agreed on. The
decisions are as careful as that allows; ``WEAKER`` says what it does not allow.
"""

from dataclasses import dataclass
from enum import Enum

from dcctl.domain.replication import Row, Side, Stamp

WEAKER = (
    "a copy gets the time of its copying: of two writes the later by its own cluster's clock wins",
    "what a client writes in the moment between our look and our write is overwritten, and not kept",
    "absence is a delete where both sides had it by the base: with the base lost, deleted objects return",
    "metadata that a client sets in the moment after our write is taken for the copy's own",
    "a large object waits, told as failed, while a segment of it has other bytes at the other side",
    "one replicator alone, by passes: no outbox, no proxy feed, no shared workers, no heartbeat, no repair",
)
"""What token mode does not promise and signed requests do."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """What both sides last had; a stamp is None where we wrote and could not see under which."""

    hash: str
    a: Stamp | None
    b: Stamp | None

    def stamp(self, side: Side) -> Stamp | None:
        return self.a if side is Side.A else self.b

    def unchanged(self, side: Side, row: Row) -> bool:
        """Whether ``row`` is what ``side`` had then."""
        stamp = self.stamp(side)
        return row.hash == self.hash and (stamp is None or stamp.ticks == row.stamp.ticks)


class Act(Enum):
    """What a name needs. ``source`` of the decision is the side that has it."""

    SAME = "same"
    FORGET = "forget"
    COPY = "copied"
    POST = "refreshed"
    DELETE = "doomed"
    LATER = "later"


@dataclass(frozen=True, slots=True)
class TokenDecision:
    """``source``: the side that is carried; for a delete the side that still has it. ``keep``: the other
    side's bytes lose to a write that knew nothing of them."""

    act: Act
    source: Side = Side.A
    keep: bool = False


def decide_with_tokens(base: Agreed | None, a: Row | None, b: Row | None, settled: Stamp) -> TokenDecision:
    """What a name needs. ``x`` is the base's, unchanged on its side; ``x'`` its bytes, touched since; rows
    hold with A and B exchanged too.

    | base | A  | B  | decision |
    |------|----|----|----------|
    | any  | a row later than ``settled`` | | later: a listing may not show the other side yet |
    | x    | -  | -  | forget |
    | any  | y  | y  | same, unless the base says that one of them was touched: |
    | x    | x' | x  | carry the metadata to B |
    | x    | x  | -  | deleted at B: delete it at A |
    | x    | y  | -  | a write at A against a delete at B: the write is kept |
    | -    | y  | -  | copy |
    | x    | y  | x  | copy |
    | any  | y  | z  | the later one goes to the other side, whose bytes are kept |
    """
    rows = [row for row in (a, b) if row is not None]
    if any(row.stamp > settled for row in rows):
        return TokenDecision(Act.LATER)
    if a is None and b is None:
        return TokenDecision(Act.FORGET)
    if a is None or b is None:
        side, row = (Side.A, a) if a is not None else (Side.B, b)
        assert row is not None  # noqa: S101  # one of the two is
        gone = base is not None and base.unchanged(side, row)
        return TokenDecision(Act.DELETE if gone else Act.COPY, side)
    touched = [
        side for side, row in ((Side.A, a), (Side.B, b)) if base is None or not base.unchanged(side, row)
    ]
    later = Side.A if a.stamp >= b.stamp else Side.B
    if a.hash == b.hash:
        one_sided = base is not None and a.hash == base.hash and len(touched) == 1
        return TokenDecision(Act.POST, touched[0]) if one_sided else TokenDecision(Act.SAME)
    if len(touched) == 1:
        return TokenDecision(Act.COPY, touched[0])
    return TokenDecision(Act.COPY, later, keep=True)
