"""What each kind of fault does to the world, and what ends it."""

from collections.abc import Callable
from functools import partial

from dcctl.testing.simulation import people
from dcctl.testing.simulation.network import MACHINES, PLACES
from dcctl.testing.simulation.schedule import Fault
from dcctl.testing.simulation.world import World

SLOW_DISK_S = 1.5
LATE_S = 4.0


def begin(world: World, fault: Fault) -> None:
    """Let ``fault`` befall the world now; its end is on the schedule then."""
    world.history.tell(world.scheduler.now_s, f"FAULT: {fault.sentence()}")
    end = BEGINS[fault.kind](world, fault)
    if end is not None:

        def over() -> None:
            if not world.healed:
                world.history.tell(world.scheduler.now_s, f"over: {fault.kind} {fault.target}")
                end()

        world.scheduler.after(fault.for_s, over)


def heal(world: World) -> None:
    """No fault is left."""
    network = world.network
    world.history.tell(world.scheduler.now_s, "everything is healed")
    network.blocked.clear()
    network.loses_answers.clear()
    world.too_small.clear()
    for machine in network.machines.values():
        machine.disk_s, machine.wall_off_s = 0.001, 0.0
        world.boot(machine)
        network.thaw(machine)
    for cloud in world.clouds.values():
        cloud.lies, cloud.takes_s = False, 0.5
        cloud.api.up = True
    world.healed = True
    network.changed()


End = Callable[[], None] | None


def _cut(world: World, fault: Fault) -> End:
    return _block(
        world,
        {
            pair
            for other in PLACES
            if other != fault.target
            for pair in ((fault.target, other), (other, fault.target))
        },
    )


def _isolate(world: World, fault: Fault) -> End:
    """The two others do not reach the site; people and clients do."""
    others = [place for place in PLACES if place not in (fault.target, "outside")]
    pairs = {pair for other in others for pair in ((fault.target, other), (other, fault.target))}
    return _block(world, pairs)


def _part(world: World, fault: Fault) -> End:
    return _block(world, {(fault.target, fault.more), (fault.more, fault.target)})


def _one_way(world: World, fault: Fault) -> End:
    return _block(world, {(fault.target, fault.more)})


def _block(world: World, pairs: set[tuple[str, str]]) -> End:
    new = pairs - world.network.blocked
    world.network.blocked |= new
    world.network.changed()

    def end() -> None:
        world.network.blocked -= new
        world.network.changed()

    return end


def _power_loss(world: World, fault: Fault) -> End:
    machines = [world.network.machines[name] for name, place in MACHINES.items() if place == fault.target]
    api = world.clouds[fault.target].api
    api.up = False
    for machine in machines:
        world.crash(machine)

    def end() -> None:
        api.up = True
        for machine in machines:
            world.boot(machine)

    return end


def _crash(world: World, fault: Fault) -> End:
    machine = world.network.machines[fault.target]
    world.crash(machine)
    return partial(world.boot, machine)


def _freeze(world: World, fault: Fault) -> End:
    machine = world.network.machines[fault.target]
    if not machine.up:
        return None
    world.network.freeze(machine)
    return partial(world.network.thaw, machine)


def _slow_disk(world: World, fault: Fault) -> End:
    machine = world.network.machines[fault.target]
    machine.disk_s = SLOW_DISK_S

    def end() -> None:
        machine.disk_s = 0.001

    return end


def _deaf(world: World, fault: Fault) -> End:
    """Requests to the machine are carried out, and no answer comes back."""
    world.network.loses_answers.add(fault.target)

    def end() -> None:
        world.network.loses_answers.discard(fault.target)

    return end


def _clock(world: World, fault: Fault) -> End:
    world.network.machines[fault.target].wall_off_s += fault.more
    return None


def _kill_postgres(world: World, fault: Fault) -> End:
    database = world.databases[fault.target]
    if database.running:
        database.crash()
    return None


def _late_watches(world: World, fault: Fault) -> End:
    """Whoever runs Patroni has no time for what ZooKeeper tells it."""
    before, world.patroni_times.watch_s = world.patroni_times.watch_s, LATE_S
    del fault

    def end() -> None:
        world.patroni_times.watch_s = before

    return end


def _cloud_lies(world: World, fault: Fault) -> End:
    cloud = world.clouds[fault.target]
    cloud.lies, cloud.takes_s = True, 8.0

    def end() -> None:
        cloud.lies, cloud.takes_s = False, 0.5

    return end


def _too_small(world: World, fault: Fault) -> End:
    world.too_small.add(fault.target)
    return lambda: world.too_small.discard(fault.target)


def _command(world: World, fault: Fault) -> End:
    what, site, dies_at = fault.more
    machine = world.network.machines[fault.target]
    if machine.answers:
        command = people.Command(what, site, dies_at)
        work = partial(people.run_command, world, fault.target, command)
        world.scheduler.spawn(f"{what}@{fault.target}", machine, work)
    return None


def _killed(world: World, fault: Fault) -> End:
    """The next process that ``target`` starts dies at that event of its journal."""
    world.dies_at[fault.target] = fault.more
    return None


BEGINS: dict[str, Callable[[World, Fault], End]] = {
    "cut": _cut,
    "isolate": _isolate,
    "part": _part,
    "one way": _one_way,
    "power loss": _power_loss,
    "crash": _crash,
    "freeze": _freeze,
    "slow disk": _slow_disk,
    "deaf": _deaf,
    "clock": _clock,
    "kill postgres": _kill_postgres,
    "late watches": _late_watches,
    "cloud lies": _cloud_lies,
    "too small": _too_small,
    "command": _command,
    "killed": _killed,
}
