"""A schedule: what goes wrong when, and who types what. As data: it is kept, cut down, replayed."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from dcctl.testing.simulation.network import HOLDERS, MACHINES, PEOPLE, PLACES, SITES

QUIET_S = 12.0
"""Before the first fault: everything is up and every role is led."""
SHORT_S = 2.0
FAULTS_S = 58.0
"""For that long faults begin."""


@dataclass(frozen=True, slots=True)
class Fault:
    """``kind`` befalls ``target`` at ``at_s`` for ``for_s`` seconds; ``more`` is what the kind needs."""

    at_s: float
    kind: str
    target: str
    for_s: float = 0.0
    more: Any = None

    def sentence(self) -> str:
        lasts = f" for {self.for_s:g} s" if self.for_s else ""
        return f"{self.kind} {self.target}{lasts}{'' if self.more is None else f' ({self.more})'}"


@dataclass(frozen=True, slots=True)
class Schedule:
    """One simulation: the seed of everything that is left to chance, and the faults in order."""

    seed: int
    faults: tuple[Fault, ...]

    def to_json(self) -> str:
        return json.dumps({"seed": self.seed, "faults": [asdict(each) for each in self.faults]})

    @classmethod
    def from_json(cls, text: str) -> "Schedule":
        fields = json.loads(text)
        return cls(fields["seed"], tuple(Fault(**each) for each in fields["faults"]))


def decide_schedule(seed: int) -> Schedule:
    """The schedule of a seed."""
    chance = random.Random(f"schedule {seed}")  # noqa: S311
    faults = [_one(chance) for _number in range(chance.choice((1, 2, 2, 3, 4, 5)))]
    if chance.random() < 0.6:
        faults += _commands(chance)
    return Schedule(seed, tuple(sorted(faults, key=lambda each: each.at_s)))


def _one(chance: random.Random) -> Fault:  # noqa: PLR0911
    at_s = round(chance.uniform(QUIET_S, FAULTS_S), 1)
    for_s = round(chance.choice((1.0, 4.0, 9.0, 12.0, 15.0, 25.0, 45.0)) * chance.uniform(0.8, 1.2), 1)
    kind = chance.choice(KINDS)
    match kind:
        case "cut" | "isolate" | "power loss":
            return Fault(at_s, kind, chance.choice(SITES), max(for_s, chance.choice((1.0, 20.0))))
        case "one way" | "part":
            one, other = chance.sample(PLACES, 2)
            return Fault(at_s, kind, one, for_s, other)
        case "crash" | "slow disk" | "deaf":
            return Fault(at_s, kind, chance.choice(tuple(MACHINES)), for_s)
        case "freeze":
            return Fault(at_s, kind, chance.choice((*MACHINES, *HOLDERS, *PEOPLE)), for_s)
        case "clock":
            name = chance.choice((*MACHINES, *PEOPLE))
            return Fault(at_s, kind, name, 0.0, chance.choice((-3600.0, -20.0, -2.0, 5.0, 40.0, 86400.0)))
        case "kill postgres":
            return Fault(at_s, kind, chance.choice(("east-db-1", "west-db-1")))
        case _:
            return Fault(at_s, kind, chance.choice(SITES), for_s)


KINDS = (
    *("cut",) * 4,
    *("isolate",) * 4,
    *("power loss",) * 3,
    *("freeze",) * 3,
    *("part",) * 3,
    *("one way",) * 2,
    *("crash",) * 2,
    "slow disk",
    "deaf",
    "clock",
    "kill postgres",
    "cloud lies",
    "late watches",
    "too small",
)


def _commands(chance: random.Random) -> list[Fault]:
    """What somebody types, some of it twice at once, and some of it to be killed at a journal's boundary."""
    commands = []
    for _number in range(chance.choice((1, 1, 2))):
        at_s = round(chance.uniform(QUIET_S, FAULTS_S), 1)
        what = chance.choice(("failover", "switchover", "switchover", "drain", "undrain", "admit"))
        site, who = chance.choice(SITES), chance.choice(PEOPLE)
        dies_at = chance.randrange(1, 24) if chance.random() < 0.6 else None
        commands.append(Fault(at_s, "command", who, 0.0, [what, site, dies_at]))
        if chance.random() < 0.3:
            other = next(each for each in PEOPLE if each != who)
            again_s = round(at_s + chance.choice((0.0, 0.2, 3.0)), 1)
            commands.append(Fault(again_s, "command", other, 0.0, [what, site, None]))
    if chance.random() < 0.5:
        # Whoever is on call is killed too, in whatever it does then.
        at_s = round(chance.uniform(QUIET_S + 10, FAULTS_S), 1)
        commands.append(Fault(at_s, "killed", chance.choice(PEOPLE), 0.0, chance.randrange(1, 24)))
    return commands


def shrink(schedule: Schedule, fails: Callable[[Schedule], bool], *, tries: int = 120) -> Schedule:
    """A schedule that still ``fails``, with as few faults as leaving some out brings (delta debugging), and
    each of them as short as halving makes it."""
    left = [tries]

    def still(faults: Sequence[Fault]) -> bool:
        if left[0] <= 0:
            return False
        left[0] -= 1
        return fails(replace(schedule, faults=tuple(faults)))

    faults = list(schedule.faults)
    parts = 2
    while len(faults) > 1 and left[0] > 0:
        size = max(1, len(faults) // parts)
        for start in range(0, len(faults), size):
            rest = faults[:start] + faults[start + size :]
            if rest and still(rest):
                faults, parts = rest, max(2, parts - 1)
                break
        else:
            if size == 1:
                break
            parts = min(len(faults), parts * 2)
    for index in range(len(faults)):
        while faults[index].for_s > SHORT_S:
            shorter = replace(faults[index], for_s=round(faults[index].for_s / 2, 1))
            if not still([*faults[:index], shorter, *faults[index + 1 :]]):
                break
            faults[index] = shorter
    return replace(schedule, faults=tuple(faults))
