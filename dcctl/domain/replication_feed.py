"""What an application tells about its own writes, so that they are carried within seconds.

The outbox is written in the application's database in two steps, intent before the PUT and done after it,
so no write is forgotten whatever dies between. A change names an object and nothing more: what is to be
done is decided from what both clusters say, as in a pass, so a change that is told twice, late, in the
wrong order or for nothing does no harm.
"""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Told:
    """One write that was begun at ``site``; ``done`` is None while its outcome is unknown."""

    number: int
    site: str
    container: str
    name: str
    begun: datetime
    done: datetime | None


def decide_ready(changes: tuple[Told, ...], *, now: datetime, patience_s: float) -> tuple[Told, ...]:
    """Those to look at now: done, or begun so long ago that whoever began them has died."""
    return tuple(
        change
        for change in changes
        if change.done is not None or (now - change.begun).total_seconds() > patience_s
    )


@dataclass(frozen=True, slots=True)
class Lag:
    """Seconds from a change to its arrival at the other side, of the changes that arrived; ``oldest_s`` of
    those that have not."""

    p50_s: float | None
    p99_s: float | None
    oldest_s: float | None
    pending: int


def measure_lag(arrived_s: list[float], pending_since: list[datetime], now: datetime) -> Lag:
    """Lag by rank, nothing interpolated."""
    ranked = sorted(arrived_s)

    def rank(share: float) -> float | None:
        return ranked[min(int(len(ranked) * share), len(ranked) - 1)] if ranked else None

    oldest = max(((now - since).total_seconds() for since in pending_since), default=None)
    return Lag(rank(0.5), rank(0.99), oldest, len(pending_since))
