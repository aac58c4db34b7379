"""What two-way replication of Swift objects decides, name by name. Pure: values in, values out.

Swift orders everything that happens to a name by timestamp, deletes included, and lets a realm-signed
request bring its own (docs/explanation/replication.md). So replication is not a merge of contents: it
is carrying every write to the other side *under the stamp it already has*, and letting Swift's own last
write wins judge. What is left to decide is which requests a name needs, from three witnesses: what both
sides last agreed on (the base, a cache), and what each lists now.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, NamedTuple, TypeAlias

TICKS_PER_S = 100_000
"""Swift's timestamps have five decimals; a tick is one step of the last."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=10)


class Side(Enum):
    """One of the two clusters."""

    A = "a"
    B = "b"

    @property
    def other(self) -> "Side":
        return Side.B if self is Side.A else Side.A


class Stamp(NamedTuple):
    """A Swift timestamp, exact: ticks of 10 microseconds since 1970, and the offset that orders ties.

    (``swift.common.utils.timestamp``: ``1795280214.74262_0000000000000001``.)
    """

    ticks: int
    offset: int = 0

    @classmethod
    def parse(cls, text: str) -> "Stamp":
        """From an ``X-Timestamp`` header. Raises ValueError."""
        number, _, offset = text.partition("_")
        whole, _, decimals = number.partition(".")
        return cls(int(whole) * TICKS_PER_S + int(f"{decimals:0<5.5}"), int(offset or "0", 16))

    @classmethod
    def listed(cls, text: str) -> "Stamp":
        """From a listing's ``last_modified``, ISO 8601 in UTC without a zone. The offset is not listed."""
        return cls.at(datetime.fromisoformat(text).replace(tzinfo=UTC))

    @classmethod
    def at(cls, instant: datetime) -> "Stamp":
        return cls((instant - _EPOCH) // _TICK)

    @property
    def text(self) -> str:
        number = f"{self.ticks // TICKS_PER_S:010d}.{self.ticks % TICKS_PER_S:05d}"
        return f"{number}_{self.offset:016x}" if self.offset else number

    @property
    def instant(self) -> datetime:
        return _EPOCH + self.ticks * _TICK

    def plus(self, seconds: float) -> "Stamp":
        return Stamp(self.ticks + round(seconds * TICKS_PER_S))

    @property
    def next(self) -> "Stamp":
        """The smallest stamp after this one: what beats exactly this version and no later one."""
        return Stamp(self.ticks, self.offset + 1)


class Row(NamedTuple):
    """An object as a listing shows it. ``stamp`` is its latest change, a POST's included."""

    name: str
    hash: str
    stamp: Stamp
    bytes: int = 0
    manifest: bool = False

    def same(self, other: "Row | None") -> bool:
        """Same bytes, same stamp (tie offsets and a large object's summed size are not listed alike)."""
        return other is not None and self.hash == other.hash and self.stamp.ticks == other.stamp.ticks


def row_of(entry: dict[str, Any]) -> Row:
    """A row from one entry of a JSON listing, as a signed request sees it (SLO's own ETag after the hash)."""
    hash, _, extra = entry["hash"].partition(";")
    manifest = "slo_etag=" in extra or "slo_etag" in entry
    return Row(entry["name"], hash, Stamp.listed(entry["last_modified"]), entry["bytes"], manifest)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a pass knows beside the rows.

    ``now`` is a *lower bound* of each cluster's clock: nothing is written in its future. ``settled_s``
    is how long after a change the other side's listing may still lack a write that was made before it.
    ``gap_s`` is the time since the last complete pass (None: there was none), ``reclaim_age_s`` and
    ``margin_s`` say how long tombstones can be trusted to exist.
    """

    now_a: Stamp
    now_b: Stamp
    gap_s: float | None = None
    reclaim_age_s: float = 604800.0
    margin_s: float = 86400.0
    settled_s: float = 10.0

    def now(self, side: Side) -> Stamp:
        return self.now_a if side is Side.A else self.now_b

    @property
    def tombstones_may_be_gone(self) -> bool:
        return self.gap_s is not None and self.gap_s > self.reclaim_age_s - self.margin_s


@dataclass(frozen=True, slots=True)
class Same:
    """Both sides agree; remember it."""


@dataclass(frozen=True, slots=True)
class Forget:
    """Gone on both sides."""


@dataclass(frozen=True, slots=True)
class Copy:
    """GET from ``source``, PUT to the other side under the same stamp.

    ``ask_first``: the listed stamp may be a POST's, and a body written under a POST's stamp could bury
    what no listing shows (a tombstone, or a newer body); where the cluster does not tell the body's own
    stamp, ask for it.
    """

    source: Side
    ask_first: bool


@dataclass(frozen=True, slots=True)
class Refresh:
    """Same bytes, moved stamp: a POST, or a PUT of the same bytes; ask which, then carry either."""

    source: Side


@dataclass(frozen=True, slots=True)
class Offer:
    """``present`` has it, the other side had it: offer it back and let the other side's tombstone speak."""

    present: Side


@dataclass(frozen=True, slots=True)
class Resolve:
    """Both sides hold different versions: order bodies by their own stamps, then metadata by theirs."""


@dataclass(frozen=True, slots=True)
class Later:
    """A stamp lies in the future of ``side``, where it would have to be written: wait."""

    side: Side
    until: Stamp


@dataclass(frozen=True, slots=True)
class Undecided:
    """Neither delete nor put back without a person; ``present`` has it."""

    present: Side
    reason: str


Decision: TypeAlias = Same | Forget | Copy | Refresh | Offer | Resolve | Later | Undecided

GAP = "no complete pass within reclaim_age: a tombstone that would say what happened may be gone"


def decide_replication(base: Row | None, a: Row | None, b: Row | None, rules: Rules) -> Decision:
    """What a name needs, given what both agreed on (``base``) and what each side lists now.

    ``x`` is the base's version; ``x'`` its bytes under a later stamp; ``y``, ``z`` other bytes. Every row
    holds with A and B exchanged too.

    | row | base | A  | B  | decision |
    |-----|------|----|----|----------|
    | 1   | any  | y  | y  | Same     |
    | 2   | x    | -  | -  | Forget   |
    | 3   | -    | y  | -  | Copy A to B; B's 202 says that a newer tombstone is there: carry the delete |
    | 4   | x    | x  | -  | Offer: 202 is a delete at B, 422 says that B never deleted it |
    | 5   | x    | x' | -  | Offer: a POST at A against a delete at B, judged by the body's own stamp |
    | 6   | x    | y  | -  | Copy A to B: a write at A against a delete at B, B judges |
    | 7   | x    | y  | x  | Copy A to B, if y is later than x; else Resolve (a listing that went back) |
    | 8   | x    | x' | x  | Refresh B from A: a POST, or a PUT of the same bytes |
    | 9   | x    | x' | y  | Resolve: the POST must not carry its old body over y |
    | 10  | x    | y  | z  | Resolve |
    | 11  | -    | y  | z  | Resolve, also for the same bytes under two stamps, and for a tie |
    | 12  | one-sided, tombstones may be gone | | | Undecided, unless written after the last pass |
    | 13  | any, and the stamp to write is in the writing side's future | | | Later |
    """
    if a is not None and b is not None:
        return Same() if a.same(b) else _wait_or(_both(base, a, b, rules), a, b, rules)
    if a is None and b is None:
        return Forget()
    side, row = (Side.A, a) if a is not None else (Side.B, b)
    assert row is not None  # noqa: S101  # one of the two is
    if rules.tombstones_may_be_gone and not _written_in_gap(base, row, rules):
        return Undecided(side, GAP)
    if base is not None and row.hash == base.hash:
        return _wait_or(Offer(side), a, b, rules)
    return _wait_or(Copy(side, ask_first=True), a, b, rules)


def _both(base: Row | None, a: Row, b: Row, rules: Rules) -> Decision:
    for side, mine, theirs in ((Side.A, a, b), (Side.B, b, a)):
        if theirs.same(base) and mine.stamp.ticks > theirs.stamp.ticks:
            return Refresh(side) if mine.hash == theirs.hash else Copy(side, _unsettled(mine, rules))
    return Resolve()


def _wait_or(decision: Decision, a: Row | None, b: Row | None, rules: Rules) -> Decision:
    """``decision``, unless a listed stamp is in the future of the side that does not list it."""
    for side, mine, theirs in ((Side.A, a, b), (Side.B, b, a)):
        if theirs is not None and theirs.stamp > rules.now(side) and not theirs.same(mine):
            return Later(side, theirs.stamp)
    return decision


def _unsettled(row: Row, rules: Rules) -> bool:
    return row.stamp > min(rules.now_a, rules.now_b).plus(-rules.settled_s)


def _written_in_gap(base: Row | None, row: Row, rules: Rules) -> bool:
    """Nobody can have deleted what was first written after the last complete pass, a reclaim age aside."""
    assert rules.gap_s is not None  # noqa: S101
    youngest_reclaimed = min(rules.now_a, rules.now_b).plus(-(rules.reclaim_age_s - rules.margin_s))
    return base is None and row.stamp > youngest_reclaimed


def delete_stamp(version: Stamp, *, last_seen: Stamp | None, now: Stamp, rules: Rules) -> Stamp:
    """The stamp under which a delete is carried to the side that still has ``version``.

    The other side's tombstone is proven to be later than ``version``; how much later is not known. So:
    the last time the other side was seen to have the object (it was deleted after that), at least just
    after the version that is to go, and never older than ``now - reclaim_age + margin``, below which
    Swift keeps no tombstone and leaves a body that answers GET and is not listed. Never the present: a
    write made after the delete must win.
    """
    floor = now.plus(-(rules.reclaim_age_s - rules.margin_s))
    known = [version.next, floor, *([last_seen] if last_seen is not None else [])]
    return min(max(known), max(now, version.next))


@dataclass(frozen=True, slots=True)
class Version:
    """One side's object with its two stamps told apart: the body's own and the latest POST's."""

    side: Side
    hash: str
    body: Stamp
    listed: Stamp


@dataclass(frozen=True, slots=True)
class Resolution:
    """Requests that make two versions one.

    ``body_to`` (None: bodies agree) gets the other side's body under ``body_stamp``; ``post_to`` (None:
    no POST outlives the winning body) gets the other side's metadata under ``post_stamp``. ``keep`` is the
    side whose body loses and may be wanted by a person.
    """

    body_to: Side | None
    body_stamp: Stamp
    post_to: Side | None
    post_stamp: Stamp
    keep: Side | None


def resolve(a: Version, b: Version) -> Resolution:
    """Swift's own order applied to bodies and to metadata separately.

    | bodies | what is written |
    |--------|-----------------|
    | one later | it goes to the other side under its own stamp |
    | same stamp, same bytes | nothing |
    | same stamp, other bytes (a tie) | the greater hash, under the stamp's next offset |

    A POST later than the winning body then goes to the side that does not list it. A POST on the losing
    side outlives the body it was made for, as it does inside one cluster.
    """
    tie = a.body == b.body and a.hash != b.hash
    winner, loser = (a, b) if (a.body, a.hash) >= (b.body, b.hash) else (b, a)
    stamp = winner.body.next if tie else winner.body
    moved = tie or winner.body != loser.body
    latest = a if a.listed >= b.listed else b
    post_wanted = (
        latest.listed.ticks > stamp.ticks and latest.listed.ticks != _other(latest, a, b).listed.ticks
    )
    return Resolution(
        body_to=loser.side if moved else None,
        body_stamp=stamp,
        post_to=latest.side.other if post_wanted else None,
        post_stamp=latest.listed,
        keep=loser.side if a.hash != b.hash else None,
    )


def _other(one: Version, a: Version, b: Version) -> Version:
    return b if one is a else a
