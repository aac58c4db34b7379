"""The changes feed: its order and its offsets.

Invariant: whoever follows ``next_page`` sees every change that was ever acknowledged, in whatever order
transactions commit. Positions are (generation, transaction, sequence). A position is shown only when its
transaction is older than the oldest one still running (``pg_snapshot_xmin``), so that nothing can appear
below a position that was shown. The generation grows when the database was moved to another cluster, where
transaction numbers begin anew.
"""

import re
from dataclasses import dataclass

_OFFSET = re.compile(r"([0-9]{1,9})\.([0-9]{1,20})\.([0-9]{1,19})\Z")
DEFAULT_LIMIT = 100
MAX_LIMIT = 1000


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where a change stands in the feed. Clients treat its text as opaque."""

    generation: int
    transaction: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.generation}.{self.transaction}.{self.sequence}"


def parse_offset(text: str) -> Position | None:
    """The position that an offset stands for; None when we never wrote such an offset."""
    match = _OFFSET.match(text)
    if match is None:
        return None
    generation, transaction, sequence = map(int, match.groups())
    return (
        Position(generation, transaction, sequence) if transaction < 1 << 64 and sequence < 1 << 63 else None
    )
