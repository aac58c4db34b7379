"""What a decision returns instead of a plan."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """Declined, for every reason given; each is a sentence that names what it is about."""

    reasons: tuple[str, ...]
