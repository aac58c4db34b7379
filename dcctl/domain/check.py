"""What a report says of each thing that was wanted, and of all together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

T = TypeVar("T")


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


def none_of(found: Mapping[str, Sequence[T]], told: Callable[[Sequence[T]], str]) -> Iterator[Check]:
    """By its name, each kind of finding that there must be none of; ``told`` says what was found."""
    for name, each in found.items():
        yield Check(name, "none", told(each), not each)
