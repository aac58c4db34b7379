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
