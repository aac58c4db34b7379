"""A plan that a person reads, shortens and hands back: what a pass would do, and what it saw."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from dcctl.domain.replication import Row, Stamp

VERSION = 1


@dataclass(frozen=True, slots=True)
class Version:
    """What one side had of a name: its hash and the text of its stamp."""

    hash: str
    stamp: str

    @classmethod
    def of(cls, row: Row | None) -> "Version | None":
        return cls(row.hash, Stamp(row.stamp.ticks).text) if row is not None else None


@dataclass(frozen=True, slots=True)
class Planned:
    """One name. ``site`` has what the other lacks; ``a`` and ``b`` are what was seen at both."""

    container: str
    name: str
    decision: str
    site: str
    bytes: int
    a: Version | None
    b: Version | None

    def stale(self, a: Row | None, b: Row | None) -> bool:
        """Whether something else is there now than what the person agreed to."""
        return (Version.of(a), Version.of(b)) != (self.a, self.b)


def plan_document(pair: str, made: datetime, entries: Sequence[Planned]) -> dict[str, Any]:
    """The content of a plan file, as JSON values."""
    return {
        "version": VERSION,
        "pair": pair,
        "made": made.isoformat(),
        "entries": [asdict(one) for one in entries],
    }


def read_plan(document: Any) -> tuple[str, tuple[Planned, ...]]:
    """The pair and the entries of a plan file. Raises ValueError, which says what is wrong."""
    if not isinstance(document, Mapping) or document.get("version") != VERSION:
        raise ValueError("it is not a plan of this version of dcctl")
    entries = []
    for number, one in enumerate(document.get("entries", ())):
        try:
            sides = [Version(**one[side]) if one[side] is not None else None for side in ("a", "b")]
            rest = {key: value for key, value in one.items() if key not in ("a", "b")}
            entries.append(Planned(**rest, a=sides[0], b=sides[1]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"entry {number}: {error}") from error
    return str(document.get("pair")), tuple(entries)
