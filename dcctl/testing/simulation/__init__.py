"""The whole system under a virtual clock and a seeded scheduler, through the engines that run in earnest.

``simulate(schedule)`` puts two sites, a witness, people and clients through a schedule of faults and returns
what was breached; ``python -m dcctl.testing.simulation`` runs many seeds, cuts a failing one down and prints
how to replay it (docs/reference/simulation.md).
"""

from dataclasses import dataclass
from functools import partial

from dcctl.domain.traffic import Rotation
from dcctl.testing.simulation import checks, faults
from dcctl.testing.simulation.history import History
from dcctl.testing.simulation.network import SITES
from dcctl.testing.simulation.recording import Recording, Tap
from dcctl.testing.simulation.schedule import FAULTS_S, Fault, Schedule, decide_schedule, shrink
from dcctl.testing.simulation.world import Variant, World

__all__ = ["Fault", "Result", "Schedule", "Variant", "World", "decide_schedule", "shrink", "simulate"]

HEAL_S = FAULTS_S + 25.0
AFTER_S = 25.0
"""What came of the last fault goes on for so long before everything is healed, and not beyond ``HEAL_S``."""
REST_S = 700.0
"""How long the healed system may take until it is at rest. A failover waits 210 s at most for what is not
clear, and who does so may be killed at the end of that; one whose site is clearly back ends at once."""
LOOK_S = 1.0
"""A system that is at rest in five looks running is."""
LOOKS = 5


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a schedule; ``breaches`` are sentences, empty is well. ``recording`` where asked for."""

    schedule: Schedule
    breaches: tuple[str, ...]
    history: History
    lasted_s: float
    recording: Recording | None = None


def simulate(schedule: Schedule, variant: Variant | None = None, *, record: bool = False) -> Result:
    """Run ``schedule`` to its end and judge it; ``record`` writes down what the models did (``replay``)."""
    world = World(schedule.seed, variant)
    tap = Tap(world, f"seed {schedule.seed}") if record else None
    for fault in schedule.faults:
        world.scheduler.at(fault.at_s, partial(faults.begin, world, fault))
    over_s = max((each.at_s + each.for_s for each in schedule.faults), default=0.0)
    world.run_until(min(HEAL_S, over_s + AFTER_S))
    faults.heal(world)
    healed_s, still = world.scheduler.now_s, 0
    settled = "nobody looked"
    while still < LOOKS and world.scheduler.now_s < healed_s + REST_S:
        world.run_until(world.scheduler.now_s + LOOK_S)
        settled = why_restless(world)
        still = 0 if settled else still + 1
    primary = next((each for each in world.databases.values() if each.primary), None)
    wal = list(primary.wal) if primary is not None else []
    found = checks.breaches(world.history, wal, settled=settled)
    kept = tap.recording if tap is not None else None
    result = Result(schedule, found, world.history, world.scheduler.now_s, kept)
    world.end()
    return result


def why_restless(world: World) -> str:
    """Why the healed system is not what it was before; empty when it is."""
    if (active := world.active_run()) is not None:
        return f"run {active['run']} is active"
    for site in SITES:
        if (state := world.state_of(site)) is not Rotation.ACTIVE:
            return f"{site} is {state}"
    primaries = [each for each in world.databases.values() if each.primary]
    if len(primaries) != 1:
        return f"{len(primaries)} primaries"
    if not primaries[0].names or not any(each.follows(primaries[0]) for each in primaries[0].followers):
        return f"{primaries[0].name} has no synchronous standby"
    for name, runtime in world.runtimes.items():
        if runtime.active != set(SITES):
            return f"{name} has {', '.join(sorted(runtime.active)) or 'nobody'} in rotation"
    return ""
