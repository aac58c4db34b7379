"""How far the other side is behind, per direction, and what would be lost with a site now."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dcctl.domain.replication import Row, Stamp
from dcctl.domain.replication_feed import Told

NAMES_KEPT = 1000


@dataclass
class Behind:
    """What one site has and the other does not, after a pass. ``names`` are the first of them."""

    objects: int = 0
    bytes: int = 0
    oldest: Stamp | None = None
    names: list[str] = field(default_factory=list)

    def add(self, row: Row) -> None:
        self.objects += 1
        self.bytes += row.bytes
        self.oldest = min(row.stamp, self.oldest or row.stamp)
        if len(self.names) < NAMES_KEPT:
            self.names.append(row.name)

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "objects": self.objects,
            "bytes": self.bytes,
            "oldest": self.oldest.instant.isoformat() if self.oldest else None,
            "names": self.names,
        }


@dataclass(frozen=True, slots=True)
class Lag:
    """Changes made at ``site``: seconds to their arrival at the other side, of those that arrived (by rank,
    nothing interpolated), and what has not arrived.

    ``oldest_s`` is the age of the oldest that has not. ``bytes`` are of those that a listing showed.
    """

    site: str
    p50_s: float | None
    p99_s: float | None
    oldest_s: float | None
    pending: int
    bytes: int = 0


def measure_lag(
    site: str,
    arrived_s: Sequence[float],
    told: Iterable[Told],
    behind: Iterable[tuple[str, Behind]],
    now: datetime,
) -> Lag:
    """The lag of ``site``: what the application told and what passes saw (by container), counted once."""
    ranked = sorted(arrived_s)

    def rank(share: float) -> float | None:
        return ranked[min(int(len(ranked) * share), len(ranked) - 1)] if ranked else None

    seen = list(behind)
    known = {(container, name) for container, one in seen for name in one.names}
    here = [one for one in told if one.site == site]
    extra = {(one.container, one.name) for one in here} - known
    since = [one.begun for one in here] + [one.oldest.instant for _, one in seen if one.oldest is not None]
    return Lag(
        site,
        rank(0.5),
        rank(0.99),
        max(((now - at).total_seconds() for at in since), default=None),
        sum(one.objects for _, one in seen) + len(extra),
        sum(one.bytes for _, one in seen),
    )


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What stands at one site about the other: all that was acknowledged at ``source`` before ``until`` is
    here too, as of ``written``."""

    source: str
    until: datetime
    written: datetime
    pending: int
    bytes: int

    def document(self) -> dict[str, Any]:
        """As JSON values; ``of`` reads them."""
        return {
            "source": self.source,
            "until": self.until.isoformat(),
            "written": self.written.isoformat(),
            "pending": self.pending,
            "bytes": self.bytes,
        }

    @classmethod
    def of(cls, document: Any) -> "Heartbeat":
        """Raises ValueError for what is none."""
        try:
            return cls(
                str(document["source"]),
                datetime.fromisoformat(document["until"]),
                datetime.fromisoformat(document["written"]),
                int(document["pending"]),
                int(document["bytes"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError("not a heartbeat") from error


def decide_until(began: Stamp, settled_s: float, behind: Iterable[Behind]) -> Stamp:
    """Until when everything made at a side is at the other: the beginning of the pass that saw it, less the
    time that a listing may be late, or the oldest change that it could not carry."""
    oldest = [one.oldest for one in behind if one.oldest is not None]
    return min([began.plus(-settled_s), *(stamp.plus(-1e-5) for stamp in oldest)])
