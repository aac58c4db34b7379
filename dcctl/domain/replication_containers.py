"""Containers that come and go: made on one side they are made on the other, removed they are removed.

A mark on the container itself says that both sides had it (a container that is made anew has no mark), so no
memory of ours can be lost, and any number of replicators may look at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from dcctl.domain.replication import Side

MARK = "x-container-meta-dcctl-pair"
BOTH, GOING = "both", "going"
FEW = 3


@dataclass(frozen=True, slots=True)
class Seen:
    """A container on one side: what its mark says, and how many objects it lists."""

    mark: str
    objects: int


class Need(Enum):
    """What a container needs."""

    NOTHING = "same"
    JOIN = "joined"
    MAKE = "made"
    REVIVE = "made again to carry its deletes"
    REMOVE = "removed"
    WAIT = "not empty"


@dataclass(frozen=True, slots=True)
class Decided:
    """``side``: where it has to be made or removed; None: on both."""

    name: str
    need: Need
    side: Side | None = None


@dataclass(frozen=True, slots=True)
class RemovalCap:
    """How many containers one look may remove: a share of those that both sides had, or ``at_least``."""

    share: float = 0.05
    at_least: int = FEW

    def allowed(self, known: int) -> int:
        return max(int(known * self.share), self.at_least)


def decide_container_need(name: str, a: Seen | None, b: Seen | None) -> Decided | None:
    """Every row holds with A and B exchanged too; None: it is on neither side.

    | at A | at B | need |
    |------|------|------|
    | marked both | marked both | nothing |
    | there | there, with other marks or none | join: mark both |
    | there, without a mark | - | make it at B |
    | marked, empty | - | B removed it: remove it at A |
    | marked, not empty | - | B removed it: make it again there, so that each delete can be proven |
    | going, empty | going, empty | remove both: what B deleted before it removed the container is deleted |
    | going | going, one not empty | wait: never removed while it has an object |
    """
    if a is None and b is None:
        return None
    if a is not None and b is not None:
        if a.mark == b.mark == GOING:
            empty = a.objects == 0 and b.objects == 0
            return Decided(name, Need.REMOVE if empty else Need.WAIT)
        same = a.mark == BOTH and b.mark == BOTH
        return Decided(name, Need.NOTHING if same else Need.JOIN)
    side, there = (Side.A, a) if a is not None else (Side.B, b)
    assert there is not None  # noqa: S101  # one of the two is
    if not there.mark:
        return Decided(name, Need.MAKE, side.other)
    return Decided(name, Need.REVIVE, side.other) if there.objects else Decided(name, Need.REMOVE, side)


def decide_containers(
    a: Mapping[str, Seen], b: Mapping[str, Seen], *, cap: RemovalCap, accept_empty: bool = False
) -> tuple[tuple[Decided, ...], tuple[str, ...]]:
    """What every container needs, and why removals are held (then they are left out); sorted by name.

    | seen | removals |
    |------|----------|
    | a side has none at all of those that both had, and they were not few | held, until a person accepts it |
    | more than the cap | held, until a person raises it |
    """
    decided = [
        one
        for name in sorted({*a, *b})
        if (one := decide_container_need(name, a.get(name), b.get(name))) is not None
    ]
    removals = [one for one in decided if one.need in (Need.REMOVE, Need.REVIVE)]
    known = sum(bool(a[name].mark if name in a else b[name].mark) for name in {*a, *b})
    reasons = []
    if len(removals) > FEW and not accept_empty and (not a or not b):
        reasons.append(f"a side has none of {known} containers that both sides had (--accept-empty)")
    if len(removals) > cap.allowed(known):
        reasons.append(f"{len(removals)} removals exceed the cap of {cap.allowed(known)} (--max-removals)")
    if not reasons:
        return tuple(decided), ()
    held = tuple(f"{len(removals)} removals held: {reason}" for reason in reasons)
    return tuple(one for one in decided if one not in removals), held
