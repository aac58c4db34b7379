"""What a report says of each thing that was wanted, and of all together."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """``held``: every tolerance. ``deviated``: not every one. ``interrupted``: it did not run to its end."""

    HELD = "held"
    DEVIATED = "deviated"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was wanted, and what was measured. Both are phrases for people."""

    name: str
    wanted: str
    measured: str
    held: bool
