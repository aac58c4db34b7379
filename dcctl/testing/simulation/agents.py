"""The agents and the clients: those who act all the time, whatever happens."""

from functools import partial
from typing import TYPE_CHECKING

from dcctl.domain.agent import lease_left_s
from dcctl.domain.probe import FALL, RISE, Health, ProbeResult
from dcctl.engines.agent import Agent, Loop, Moment
from dcctl.testing.simulation.database import Entry, Outcome
from dcctl.testing.simulation.history import Write
from dcctl.testing.simulation.network import DATABASES, EDGES, MACHINES
from dcctl.testing.simulation.ports import sites_of
from dcctl.testing.simulation.scheduler import Killed, Machine
from dcctl.testing.simulation.session import SimSession
from dcctl.testing.simulation.views import SimVantages

if TYPE_CHECKING:
    from dcctl.testing.simulation.world import World

AGENTS = {**EDGES, "witness-1": "witness"}
PROBED = {**DATABASES, **EDGES}
SESSION_S = 10.0
PACE = 2.0
SLOW_PACE = 4.0
"""An agent's rounds take that much longer than it would like."""


class Prober:
    """What one vantage sees of each site's machines, round by round."""

    def __init__(self, world: "World", machine: Machine) -> None:
        self._world = world
        self._machine = machine
        self._probed = [(name, site, world.network.machines[name]) for name, site in PROBED.items()]
        self._runs = dict.fromkeys(PROBED, 0)
        self._health = dict.fromkeys(PROBED, Health.UNKNOWN)

    def __call__(self) -> tuple[ProbeResult, ...]:
        network, at = self._world.network, self._world.clock_of(self._machine.name).now()
        results = []
        for name, site, machine in self._probed:
            ok = network.connected(self._machine, machine)
            run = self._runs[name]
            run = self._runs[name] = (max(run, 0) + 1) if ok else (min(run, 0) - 1)
            if run >= RISE:
                self._health[name] = Health.UP
            elif run <= -FALL:
                self._health[name] = Health.DOWN
            saw = "" if ok else "no answer"
            health = self._health[name]
            results.append(ProbeResult(f"{name}/tcp", name, "tcp", site, ok, saw, 0.1, at, health=health))
        return tuple(results)


def run_agent(world: "World", name: str) -> None:
    """The agent process of ``name``: its steering loop here, its watching loop beside."""
    machine = world.network.machines[name]
    session = SimSession(world.ensemble, machine, SESSION_S)
    prober = Prober(world, machine)
    began_s = world.scheduler.now_s
    agent = world.agents[name] = Agent(
        vantage=name,
        place=MACHINES[name],
        places=MACHINES,
        sites=sites_of(session),
        vantages=SimVantages(session),
        edge=world.runtimes.get(name),
        probe=prober,
        feel=prober,
        lease_left_s=lambda: lease_left_s(
            world.scheduler.now_s, session.acknowledged_s, began_s, session.session_s
        ),
    )
    for loop, pace in ((agent.pulse(), PACE), (agent.guard(), PACE)):
        world.scheduler.spawn(
            f"loop@{name}",
            machine,
            partial(_drive, world, name, loop, pace),
            in_s=world.scheduler.random.random(),
        )
    try:
        _drive(world, name, agent.steer(), SLOW_PACE)
    except Killed:
        session.die()
        raise


def _drive(world: "World", name: str, loop: Loop, pace: float) -> None:
    clock, scheduler = world.clock_of(name), world.scheduler
    pause_s = next(loop)
    moment = Moment(clock.monotonic(), clock.now())
    while True:
        if pause_s > 0:
            scheduler.sleep(pause_s * pace)
        if scheduler.now_s != moment.now_s:
            moment = Moment(scheduler.now_s, clock.now())
        pause_s = loop.send(moment)


def run_checks(world: "World", name: str) -> None:
    """The health checks of an HAProxy."""
    edge = world.edges[name]
    while True:
        edge.check(world.patroni, world.databases)
        world.scheduler.sleep(world.scheduler.random.uniform(0.8, 1.2))


def run_client(world: "World", number: int) -> None:
    """A client outside all sites that writes through one edge or the other."""
    scheduler = world.scheduler
    source = world.network.machines["client"]
    numbers = iter(range(number, 1_000_000, 10))
    while True:
        scheduler.sleep(scheduler.random.uniform(0.4, 1.6))
        edge, began_s, this = scheduler.random.choice(tuple(EDGES)), scheduler.now_s, next(numbers)
        site, timeline, outcome = "", 0, Outcome.FAILED
        if not world.pools.turn(edge):
            continue
        try:
            database = world.way.primary(edge, source, "write", 1.0)
        except world.unreachable:
            continue
        site, timeline = database.machine.place, database.timeline
        cancelled = scheduler.random.random() < 0.3
        world.pools.under_way[edge] += 1
        outcome = database.commit(Entry("write", (this,)), 4.0, cancelled=cancelled)
        world.pools.under_way[edge] -= 1
        if not world.way.hears(edge, source, database) or edge in world.network.loses_answers:
            outcome = Outcome.UNKNOWN
        counted = world.variant.client_counts(outcome)
        world.history.writes.append(Write(this, began_s, scheduler.now_s, counted, site, timeline))
