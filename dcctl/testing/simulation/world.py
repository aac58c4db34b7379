"""The whole system: two sites, a witness, people and clients, built from one seed and put through faults."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from dcctl.adapters.zookeeper.sites import ZooKeeperSites
from dcctl.domain.automation import Mode
from dcctl.domain.status import Host
from dcctl.domain.traffic import Rotation
from dcctl.engines.agent import Agent
from dcctl.engines.situation import Means
from dcctl.engines.status import System
from dcctl.errors import Unreachable
from dcctl.testing.simulation import agents, control, judge, people, singleton
from dcctl.testing.simulation.database import Edge, Entry, Outcome, Postgres, Way
from dcctl.testing.simulation.ensemble import Ensemble
from dcctl.testing.simulation.history import History, RunRecord, Write
from dcctl.testing.simulation.network import DATABASES, EDGES, HOLDERS, MACHINES, PEOPLE, SITES, Network
from dcctl.testing.simulation.patroni import Patroni, SimSwitch, Times, sync_note
from dcctl.testing.simulation.pools import SimPools
from dcctl.testing.simulation.ports import ENVIRONMENT, KEYS, SimLeases, SimRuns, leader_key_of, sites_of
from dcctl.testing.simulation.scheduler import Machine, MachineClock, Scheduler
from dcctl.testing.simulation.session import SimSession
from dcctl.testing.simulation.views import (
    ADDRESSES,
    Cloud,
    SimCoordination,
    SimDatabase,
    SimEdgeRuntime,
    SimEdges,
    SimEpochs,
    SimReach,
    power_off_site,
)

RUNS = f"/dcctl/{ENVIRONMENT}/runs"


@dataclass(frozen=True)
class Variant:
    """What the world is composed of where a broken one differs from ours (``broken``)."""

    runs: Callable[[SimSession, str], Any] = lambda session, who: SimRuns(session, who=who)
    leases: Callable[[SimSession], Any] = SimLeases
    leader_key: Callable[[SimSession, Any], Any] = leader_key_of
    sites: Callable[[SimSession], ZooKeeperSites] = sites_of
    row_lock: Callable[[Postgres, str], Any] = singleton.take_row_lock
    store_accepts: Callable[[Postgres, str, int], bool] = singleton.store_accepts
    resume: Callable[[Any, Means], Any] | None = None
    """What goes on with a run that was broken off; None: the engine."""
    client_counts: Callable[[Outcome], Outcome] = lambda outcome: outcome


class World:
    """Everything. ``healed``: no fault comes any more."""

    unreachable = Unreachable

    def __init__(self, seed: int, variant: Variant | None = None) -> None:
        self.variant = variant or Variant()
        self.history = History()
        self.scheduler = scheduler = Scheduler(seed)
        self.network = network = Network(scheduler)
        self.ensemble = Ensemble(scheduler, network)
        self.states = dict.fromkeys(SITES, Rotation.ACTIVE)
        self.ensemble.watch(f"/dcctl/{ENVIRONMENT}/sites/", partial(judge.states, self))
        self.copied_s = dict.fromkeys(SITES, -1.0)
        """When a second copy beside a primary at a site was last named."""
        self.ensemble.watch(f"{KEYS}/sync", partial(judge.copies, self))
        self.dark_s = dict.fromkeys(SITES, -1e9)
        """When the witness last did not reach anything of a site."""
        network.listeners.append(partial(judge.darkness, self))
        self.ensemble.watch(f"{RUNS}/", self._judge_run)
        self._acting: dict[str, Any] = {}
        self._acting_since_s = 0.0
        self._owned = False
        self.healed = False
        self.too_small: set[str] = set()
        self.failovers: set[str] = set()
        """Runs that gave up a site; a switchover may have become one."""
        self.dies_at: dict[str, int] = {}
        self.mode = scheduler.random.choice((Mode.AUTOMATIC, Mode.AUTOMATIC, Mode.MANUAL))
        self._runs = 0
        self._processes: dict[str, list[tuple[str, Callable[[], None]]]] = {}
        self._build_database()
        self._build_edges()
        self.clouds = {site: Cloud(network, site, self.crash) for site in SITES}
        self.power_off = power_off_site(self.clouds, scheduler)
        self.system = System(
            hosts=[Host(name, place, ADDRESSES[name], ()) for name, place in MACHINES.items()],
            clouds={site: cloud.observe_servers for site, cloud in self.clouds.items()},
            reach=SimReach(network),
            coordination=SimCoordination(self.ensemble),
            database=SimDatabase(self.databases, self.ensemble),
            edges=self.sim_edges,
        )
        self.epochs = self.epochs_at("east")
        self._start_everything()

    # Building.

    def _build_database(self) -> None:
        scheduler, network, random = self.scheduler, self.network, self.scheduler.random
        self.databases = {name: Postgres(scheduler, network, network.machines[name]) for name in DATABASES}
        primary, standby = self.databases.values()
        for each in self.databases.values():
            each.followers = [other for other in self.databases.values() if other is not each]
        network.listeners.append(self._stream)
        primary.primary, primary.names = True, frozenset({standby.name})
        standby.upstream = primary
        for role in ("auction",):
            entry = Entry("epoch", (role, 0))
            primary.wal.append(entry)
            standby.wal.append(entry)
        primary.confirmed[standby.name], primary.heard_s[standby.name] = 1, 0.0
        times = self.patroni_times = Times(
            ttl_s=20.0,
            loop_s=random.choice((1.0, 2.0, 5.0)),
            retry_s=random.choice((3.0, 5.0, 8.0)),
            drop_s=random.choice((2.5, 3.0, 6.0)),
            watch_s=random.choice((0.02, 0.02, 1.0, 3.0)),
        )
        self.patroni: dict[str, Patroni] = {}
        for each in self.databases.values():
            self.patroni[each.name] = Patroni(each, self.ensemble, network, times, self.patroni)
        first = self.patroni[primary.name].session.session.number
        commit = self.ensemble.commit
        commit(first, [("create", f"{KEYS}/leader", primary.name.encode(), True, True)])
        commit(first, [("create", f"{KEYS}/config", b'{"synchronous_mode":true}', False, False)])
        commit(first, [("create", f"{KEYS}/sync", b"{}", False, False)])
        commit(first, [("set", f"{KEYS}/sync", sync_note(primary.name, standby.name), 0)])
        self.switch = SimSwitch(self.patroni, network)

    def _build_edges(self) -> None:
        scheduler, network = self.scheduler, self.network
        self.runtimes = {name: SimEdgeRuntime(network, network.machines[name]) for name in EDGES}
        self.edges = {
            name: Edge(scheduler, network, network.machines[name], self.runtimes[name].lets_write)
            for name in EDGES
        }
        self.pools = SimPools(scheduler, network, self.edges, self.patroni, self.databases)
        self.sim_edges = SimEdges(self.edges, self.runtimes, network)
        self.way = Way(network, self.edges, self.databases)

    def _start_everything(self) -> None:
        for name, patroni in self.patroni.items():
            self._process(name, f"patroni@{name}", patroni.run)
        for name in EDGES:
            self._process(name, f"haproxy@{name}", partial(agents.run_checks, self, name))
        self.agents: dict[str, Agent] = {}
        for name in agents.AGENTS:
            self._process(name, f"agent@{name}", partial(agents.run_agent, self, name))
        for name, site in HOLDERS.items():
            for role in ("auction", "reports"):
                contender = singleton.Contender(self, role, site)
                self._process(name, f"{role}@{name}", contender.run)
        for name in agents.AGENTS:
            self._process(name, f"candidate@{name}", partial(control.run_candidate, self, name))
        self._process("client", "client", partial(agents.run_client, self, 1))
        for who in PEOPLE:
            self._process(who, f"watch@{who}", partial(people.run_watch, self, who))

    def _process(self, machine: str, name: str, work: Callable[[], None]) -> None:
        self._processes.setdefault(machine, []).append((name, work))
        in_s = self.scheduler.random.uniform(0.0, 1.0)
        self.scheduler.spawn(name, self.network.machines[machine], work, in_s=in_s)

    # What the actors ask of the world.

    def clock_of(self, machine: str) -> MachineClock:
        return MachineClock(self.scheduler, self.network.machines[machine])

    def epochs_at(self, site: str) -> SimEpochs:
        own = f"{site}-edge-1"
        return SimEpochs(self.way, (own, *(name for name in EDGES if name != own)))

    def verify(self, site: str) -> tuple[str, ...]:
        here = self.scheduler.actor.machine
        names = [name for name, place in MACHINES.items() if place == site]
        return tuple(
            f"{name}: no answer"
            for name in names
            if not self.network.connected(here, self.network.machines[name])
        )

    def proved(self, database: Postgres, entry: Entry, began_s: float, outcome: Outcome) -> None:
        (number,) = entry.about
        assert isinstance(number, int)
        now_s, site = self.scheduler.now_s, database.machine.place
        self.history.writes.append(Write(number, began_s, now_s, outcome, site, database.timeline))

    def state_of(self, site: str) -> Rotation:
        node = self.ensemble.tree.get(f"/dcctl/{ENVIRONMENT}/sites/{site}")
        return Rotation.ACTIVE if node is None else Rotation(json.loads(node.data)["state"])

    @property
    def is_whole(self) -> bool:
        return not self.network.blocked and all(each.answers for each in self.network.machines.values())

    # Runs.

    def new_run(self, what: str) -> str:
        self._runs += 1
        return f"{self._runs:03d}-{what}"

    def begin(self, record: RunRecord, runs: Any) -> None:
        """Take the right to act; what stood against it is judged by what is known here."""
        runs.begin(record.run, record.words, limit_s=people.BEGIN_LIMIT_S)
        now_s = self.scheduler.now_s
        record.began_s = now_s
        self.history.runs.append(record)
        self.history.tell(now_s, f"{record.who}: {record.words} ({record.run}) begins")

    def active_run(self) -> dict[str, Any] | None:
        node = self.ensemble.tree.get(f"{RUNS}/active")
        fields: dict[str, Any] = json.loads(node.data or b"{}") if node is not None else {}
        alive = f"{RUNS}/owner" in self.ensemble.tree
        over = fields.get("over") or (fields.get("ended") and not alive and not fields.get("doing"))
        return fields if fields and not over else None

    def broken_off(self) -> RunRecord | None:
        """The run that has the right to act and whose session is over."""
        fields = self.active_run()
        if fields is None or f"{RUNS}/owner" in self.ensemble.tree:
            return None
        return RunRecord(fields["run"], fields["command"], fields["who"], 0.0)

    # Faults.

    def crash(self, machine: Machine) -> None:
        """The power is cut."""
        if not machine.up:
            return
        machine.up = machine.frozen = False
        machine.parked.clear()
        if machine.name in self.databases:
            self.databases[machine.name].crash()
        self.kill_all(machine)
        if machine.name in EDGES:
            self.kill_all(self.network.machines[f"{machine.place}-holder"])
        self.history.tell(self.scheduler.now_s, f"{machine.name} has no power")
        self.network.changed()

    def kill_all(self, machine: Machine) -> None:
        for actor in self.scheduler.actors_on(machine):
            self.scheduler.kill(actor)

    def boot(self, machine: Machine) -> None:
        if machine.up:
            return
        machine.up = True
        self.history.tell(self.scheduler.now_s, f"{machine.name} boots")
        if machine.name in self.patroni:
            self.patroni[machine.name].restart()
        self.network.changed()
        own = [machine.name]
        if machine.name in EDGES:
            own.append(f"{machine.place}-holder")
        for name in own:
            for process, work in self._processes.get(name, ()):
                in_s = self.scheduler.random.uniform(1.0, 4.0)
                self.scheduler.spawn(process, self.network.machines[name], work, in_s=in_s)

    def power_on(self) -> None:
        """Somebody switches on what a failover switched off."""
        for machine in self.network.machines.values():
            self.boot(machine)

    # Judging what happens, when it does.

    def _stream(self) -> None:
        for database in self.databases.values():
            database.stream()

    def _judge_run(self, path: str) -> None:
        """Promise 5: whoever takes the right to act found it given back, or its owner's session ended and
        what it had begun over. The owner's node is looked at before the same transaction makes its own."""
        if path == f"{RUNS}/owner":
            self._owned = path in self.ensemble.tree
        if path != f"{RUNS}/active":
            return
        before, now = self._acting, json.loads(self.ensemble.tree[path].data or b"{}")
        now_s, lasts_s = self.scheduler.now_s, max(before.get("doing", {}).values(), default=0.0)
        if before and not before.get("over") and now.get("epoch") != before.get("epoch"):
            told = (
                f"{now.get('run')} of {now.get('who')} takes the right of {before['run']} of {before['who']}"
            )
            if self._owned:
                self.history.breach(now_s, f"{told}, whose session lives")
            elif now_s < self._acting_since_s + lasts_s - 0.01:
                self.history.breach(now_s, f"{told}, which may be at work still")
        self._acting, self._acting_since_s = now, now_s

    def end(self) -> None:
        """Nothing of it goes on."""
        for actor in self.scheduler.actors:
            self.scheduler.kill(actor)

    def run_until(self, until_s: float) -> None:
        self.scheduler.run_until(until_s)
