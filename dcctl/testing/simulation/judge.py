"""Promises that are judged the moment something happens, by what is true in the world then."""

import json
from typing import TYPE_CHECKING

from dcctl.domain.event import Event
from dcctl.domain.traffic import Rotation
from dcctl.testing.simulation.network import DATABASES, MACHINES, SITES
from dcctl.testing.simulation.ports import KEYS

if TYPE_CHECKING:
    from dcctl.testing.simulation.people import Command
    from dcctl.testing.simulation.world import World

SEEN_FOR_S = 20.0
"""What was seen is acted on for so long: an observation is fresh for 15 s, and a look takes its time."""
DATABASE_OF = {site: name for name, site in DATABASES.items()}


def darkness(world: "World") -> None:
    """Remember since when the witness reaches a site."""
    network = world.network
    witness = network.machines["witness-1"]
    for site in SITES:
        own = (network.machines[name] for name, place in MACHINES.items() if place == site)
        if not any(network.connected(witness, machine) for machine in own):
            world.dark_s[site] = float("inf")
        elif world.dark_s[site] == float("inf"):
            world.dark_s[site] = world.scheduler.now_s


def states(world: "World", path: str) -> None:
    """Promises 3, 6 and 7, whenever the state of a site is written."""
    site = path.rpartition("/")[2]
    before, now_s = world.states[site], world.scheduler.now_s
    after = world.states[site] = world.state_of(site)
    told = ", ".join(f"{name} {state}" for name, state in world.states.items())
    world.history.tell(now_s, f"states: {told}")
    if Rotation.ACTIVE not in world.states.values():
        world.history.breach(now_s, "no site is active")
    if after is Rotation.QUARANTINED and before is not after and now_s - world.dark_s[site] > SEEN_FOR_S:
        world.history.breach(now_s, f"{site} is given up, and the witness reached it all the time")
    if before is Rotation.QUARANTINED and after is Rotation.ACTIVE and (why := _why_behind(world, site)):
        world.history.breach(now_s, f"{site} is admitted, and {why}")


def _why_behind(world: "World", site: str) -> str:
    """Why the database of a returned site is not as the one that went on; it may have become so just now."""
    own = world.databases[DATABASE_OF[site]]
    if own.primary:
        return ""
    primary = next((each for each in world.databases.values() if each.primary), None)
    if primary is None or primary.streams(own.name, SEEN_FOR_S):
        return ""
    return f"{own.name} does not follow {primary.name}"


def event(world: "World", seen: Event) -> None:
    """Promise 3: what a run tells of a fence is so."""
    now_s = world.scheduler.now_s
    if seen.type == "failover.decided":
        world.failovers.add(seen.run)
    if seen.type == "failover.fenced":
        leader = world.ensemble.tree.get(f"{KEYS}/leader")
        name = leader.data.decode() if leader is not None else ""
        if DATABASES.get(name) == seen.fields["site"]:
            world.history.breach(now_s, f"{DATABASES[name]} is called fenced, and {name} has the leader key")
    if seen.type == "failover.power":
        off = str(seen.fields["saw"]).partition("read back: ")[2].partition(";")[0]
        on = [name for name in MACHINES if name in off.split(", ") and world.network.machines[name].up]
        if on:
            world.history.breach(now_s, f"{', '.join(on)} is called powered off, and runs")


def copies(world: "World", path: str) -> None:
    """Remember when a second copy was named."""
    node = world.ensemble.tree.get(path)
    if node is None:
        return
    now_s = world.scheduler.now_s
    named = json.loads(node.data or b"{}")
    for site, name in DATABASE_OF.items():
        if named.get("leader") == name and named.get("sync_standby"):
            world.copied_s[site] = float("inf")
        elif world.copied_s[site] == float("inf"):
            world.copied_s[site] = now_s


def done(world: "World", command: "Command", run: str, began_s: float) -> None:
    """Promise 4: a switchover ends only when a second copy was named beside the new primary, unless its
    source was lost and it became a failover."""
    if run in world.failovers:
        return
    if command.what == "switchover" and world.copied_s[command.site] < began_s:
        told = f"the switchover to {command.site} ends with a single copy"
        world.history.breach(world.scheduler.now_s, told)
