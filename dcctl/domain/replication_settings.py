"""A container's access lists and metadata at two sites, merged key by key."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Merged:
    """What both sides should have, and the keys that both changed in different ways (left as they are)."""

    a: Mapping[str, str]
    b: Mapping[str, str]
    conflicts: tuple[str, ...]

    @property
    def agreed(self) -> Mapping[str, str]:
        """The keys on which both sides are the same then."""
        return {key: value for key, value in self.a.items() if self.b.get(key) == value}


def merge_settings(base: Mapping[str, str] | None, a: Mapping[str, str], b: Mapping[str, str]) -> Merged:
    """Settings have no timestamp that a client could see, so the side that changed a key wins.

    | key in base | at A | at B | what both get |
    |-------------|------|------|---------------|
    | x | x | x | x |
    | x | y or gone | x | y or gone |
    | x | y | z | a conflict: left, and reported |
    | x | y | y | y |
    | no base | x | - | x: with no memory nothing is taken for removed |
    | no base | x | y | a conflict |
    """
    known = base or {}
    result_a, result_b, conflicts = dict(a), dict(b), []
    for key in sorted({*a, *b}):
        at_a, at_b, was = a.get(key), b.get(key), known.get(key)
        if at_a == at_b:
            continue
        if base is None and None in (at_a, at_b):
            winner = at_a if at_b is None else at_b
        elif at_a == was:
            winner = at_b
        elif at_b == was:
            winner = at_a
        else:
            conflicts.append(key)
            continue
        for result in (result_a, result_b):
            if winner is None:
                result.pop(key, None)
            else:
                result[key] = winner
    return Merged(result_a, result_b, tuple(conflicts))
