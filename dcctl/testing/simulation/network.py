"""The machines, their places, and what of the network between the places goes through."""

from collections.abc import Callable
from typing import TypeVar

from dcctl.errors import TimedOut, Unreachable
from dcctl.testing.simulation.scheduler import Machine, Scheduler

T = TypeVar("T")

SITES = ("east", "west")
PLACES = (*SITES, "witness", "outside")
DATABASES = {"east-db-1": "east", "west-db-1": "west"}
EDGES = {"east-edge-1": "east", "west-edge-1": "west"}
VOTERS = {**DATABASES, "witness-1": "witness"}
MACHINES = {**DATABASES, **EDGES, "witness-1": "witness"}
"""What is configured. People and clients sit ``outside``."""
PEOPLE = ("ann", "bob")
HOLDERS = {"east-holder": "east", "west-holder": "west"}
"""The process that holds the leases of a site's singletons: it may be stopped while its machine runs."""


class Network:
    """``blocked``: directions between two places in which nothing arrives."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        outside = {**dict.fromkeys(PEOPLE, "outside"), "client": "outside", **HOLDERS}
        self.machines = {name: Machine(name, place) for name, place in {**MACHINES, **outside}.items()}
        self.blocked: set[tuple[str, str]] = set()
        self.loses_answers: set[str] = set()
        """Machines whose answers over new connections are lost."""
        self.changes = 0
        self.listeners: list[Callable[[], None]] = []
        """Called after anything here changed."""

    def changed(self) -> None:
        self.changes += 1
        for listener in self.listeners:
            listener()

    def goes(self, source: Machine, to: Machine) -> bool:
        """Whether a packet arrives."""
        return to.up and source.up and (source.place, to.place) not in self.blocked

    def connected(self, one: Machine, other: Machine) -> bool:
        """Whether the two can talk: both ways, both awake."""
        blocked = self.blocked
        return (
            one.up
            and other.up
            and not one.frozen
            and not other.frozen
            and (one.place, other.place) not in blocked
            and (other.place, one.place) not in blocked
        )

    def request(self, to: Machine, tried: str, limit_s: float, answer: Callable[[], T]) -> T:
        """A request over a new connection from who acts now; ``answer`` is what the other side does."""
        scheduler = self.scheduler
        source = scheduler.actor.machine
        if not to.up and (source.place, to.place) not in self.blocked and source.place == to.place:
            raise Unreachable(tried, on=to.name, saw="No route to host")
        if not self.connected(source, to):
            scheduler.sleep(limit_s)
            raise TimedOut(tried, on=to.name, saw=f"no answer within {limit_s:g} s")
        result = answer()
        if to.name in self.loses_answers:
            scheduler.sleep(limit_s)
            raise TimedOut(tried, on=to.name, saw=f"no answer within {limit_s:g} s")
        return result

    # Faults.

    def freeze(self, machine: Machine) -> None:
        """SIGSTOP of everything on a machine; the holders of an edge's site run there."""
        machine.frozen = True
        if machine.name in EDGES:
            self.machines[f"{machine.place}-holder"].frozen = True
        self.changed()

    def thaw(self, machine: Machine) -> None:
        if not machine.frozen:
            return
        if machine.name in EDGES:
            self.thaw(self.machines[f"{machine.place}-holder"])
        machine.frozen = False
        machine.thawed_s = self.scheduler.now_s
        self.changed()
        parked, machine.parked = machine.parked, []
        for each in parked:
            self.scheduler.wake_after(self.scheduler.random.uniform(0, 0.05), each)
