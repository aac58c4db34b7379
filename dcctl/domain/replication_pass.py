"""What a pass over a container keeps in mind, and when it may carry deletes."""

from dataclasses import dataclass, field, replace
from typing import Any

from dcctl.domain.replication import Row, Side, Stamp
from dcctl.domain.replication_lag import Behind


@dataclass(frozen=True, slots=True)
class Doomed:
    """A version on ``side`` that the other side is proven to have deleted later than ``proven``."""

    side: Side
    row: Row
    proven: Stamp
    last_seen: Stamp | None


@dataclass(frozen=True, slots=True)
class Held:
    """A one-sided name that a person has to decide."""

    side: Side
    row: Row
    reason: str


PENDING = ("later", "moved", "failed", "undecided")
"""Outcomes that a later pass has to look at again."""


@dataclass
class Tally:
    """What a pass did, by kind of outcome; bytes moved; what it could not do, in sentences.

    ``expected`` rows were there at the last complete pass (0: not known); ``todo`` are the names of the
    present page that are not done yet. ``prefix``: it looked at names that begin so, and at no others.
    """

    container: str
    after: str = ""
    prefix: str = ""
    rows: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    conflicts: int = 0
    deletes_held: int = 0
    reasons: list[str] = field(default_factory=list)
    seconds: float = 0.0
    resumed: bool = False
    behind: dict[Side, Behind] = field(default_factory=lambda: {side: Behind() for side in Side})
    began: Stamp | None = None
    expected: int = 0
    todo: int = 0
    sampled: int = 0

    def count(self, kind: str) -> int:
        return self.kinds.get(kind, 0)

    def add(self, kind: str, *, bytes: int = 0, conflict: bool = False) -> None:
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        self.bytes += bytes
        self.conflicts += conflict

    def plus(self, later: "Tally") -> "Tally":
        """Both passes together: what was done in either, what is pending after the later one."""
        done = {kind: count for kind, count in self.kinds.items() if kind not in PENDING}
        kinds = {kind: done.get(kind, 0) + later.kinds.get(kind, 0) for kind in {*done, *later.kinds}}
        return replace(
            later,
            kinds=kinds,
            bytes=self.bytes + later.bytes,
            conflicts=self.conflicts + later.conflicts,
            seconds=self.seconds + later.seconds,
            resumed=self.resumed or later.resumed,
        )

    @property
    def left_s(self) -> float | None:
        """Seconds until the end of the pass at its rate so far; None while that cannot be said."""
        done = self.rows + sum(self.kinds.values())
        left = max(self.expected - self.rows, self.todo)
        return self.seconds * left / done if done and self.seconds else None

    @property
    def oldest_pending(self) -> Stamp | None:
        """The oldest change that is on one side only."""
        return min((one.oldest for one in self.behind.values() if one.oldest is not None), default=None)

    @property
    def pending(self) -> int:
        """Names that a later pass has to look at again."""
        return sum(self.count(kind) for kind in PENDING) + self.deletes_held

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "container": self.container,
            "rows": self.rows,
            "kinds": dict(sorted(self.kinds.items())),
            "bytes": self.bytes,
            "conflicts": self.conflicts,
            "sampled": self.sampled,
            "deletes_held": self.deletes_held,
            "pending": self.pending,
            "oldest_pending": self.oldest_pending.instant.isoformat() if self.oldest_pending else None,
            "behind": {side.value: one.document() for side, one in self.behind.items()},
            "reasons": self.reasons,
            "seconds": round(self.seconds, 3),
            "resumed": self.resumed,
        }

    @property
    def quiet(self) -> bool:
        """Nothing was moved and nothing is pending: both sides agree, as far as anything shows."""
        stirring = sum(count for kind, count in self.kinds.items() if kind not in ("gone", "late"))
        return not stirring and self.deletes_held == 0 and not self.resumed


@dataclass(frozen=True, slots=True)
class DeleteCap:
    """How much one pass may delete: a share of what both sides agreed on, or ``at_least``."""

    share: float = 0.05
    at_least: int = 50

    def allowed(self, known_rows: int) -> int:
        return max(int(known_rows * self.share), self.at_least)


def decide_deletes(
    *, doomed: int, known_rows: int | None, empty_sides: tuple[str, ...], base_rebuilt: bool, cap: DeleteCap
) -> tuple[str, ...]:
    """Why the deletes of a complete pass must not be carried; empty when they may.

    | seen | deletes |
    |------|---------|
    | no complete pass before this one | none |
    | the base was damaged and begun anew | none in this pass |
    | a side lists nothing where both had something | none, until a person accepts it |
    | more than the cap | none, until a person raises it |
    | otherwise | carried, each proven once more |

    A pass that failed midway never comes to ask.
    """
    reasons = []
    if base_rebuilt:
        reasons.append("the base was damaged and is being rebuilt in this pass")
    elif known_rows is None:
        reasons.append("no complete pass came before this one")
    if known_rows:
        reasons += [
            f"{site} lists nothing where both sides had {known_rows} objects (--accept-empty)"
            for site in empty_sides
        ]
    allowed = cap.allowed(known_rows or 0)
    if doomed > allowed:
        reasons.append(f"{doomed} deletes exceed the cap of {allowed} for one pass (--max-deletes)")
    return tuple(reasons)
