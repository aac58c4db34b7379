"""What an operator or an agent sees of the simulated world, and what they change it with: the ports."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

from kazoo.exceptions import NodeExistsError, NoNodeError

from dcctl.adapters.patroni import parse_cluster
from dcctl.domain.leadership import Epoch, Term
from dcctl.domain.machine import Power, PowerReading, decide_power_off_proven
from dcctl.domain.observation import ClusterReport, DatabaseReport, EdgeReport, VoterMode, VoterReport
from dcctl.domain.traffic import BACKENDS, LEASE, ROTATION, WRITES, EdgeServer, Observation
from dcctl.errors import DcctlError, Refused, Rejected, TimedOut, Unreachable
from dcctl.testing.simulation.database import Edge, Entry, Outcome, Postgres, Way
from dcctl.testing.simulation.ensemble import Ensemble
from dcctl.testing.simulation.network import DATABASES, EDGES, MACHINES, VOTERS, Network
from dcctl.testing.simulation.ports import KEYS
from dcctl.testing.simulation.scheduler import BEGINNING, Machine, Scheduler
from dcctl.testing.simulation.session import SimSession

ASK_S = 2.0
ADDRESSES = {name: f"192.0.2.{number}" for number, name in enumerate(MACHINES, start=1)}
NAMES = {address: name for name, address in ADDRESSES.items()}


def ask_together(scheduler: Scheduler) -> Callable[[Mapping[str, Callable[[], Any]]], dict[str, Any]]:
    """An ``Ask``: everything is asked at the same time, and takes as long as the slowest."""

    def ask(questions: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
        actor, found, longest_s = scheduler.actor, {}, 0.0
        for name, question in questions.items():
            actor.spent_s = 0.0
            try:
                found[name] = question()
            except DcctlError as error:
                found[name] = error
            finally:
                longest_s, actor.spent_s = max(longest_s, actor.spent_s or 0.0), None
            if scheduler.random.random() < 0.03:
                scheduler.sleep(scheduler.random.uniform(0.0, 0.5))
        scheduler.sleep(longest_s)
        return found

    return ask


@dataclass
class SimReach:
    """``ports.Reach``."""

    network: Network

    def observe_port(self, address: str, port: int) -> float:  # noqa: ARG002
        return self.network.request(self.network.machines[NAMES[address]], "connect", ASK_S, lambda: 0.001)


@dataclass
class SimCoordination:
    """``ports.Coordination``."""

    ensemble: Ensemble
    voters: tuple[str, ...] = tuple(VOTERS)

    def observe_voter(self, name: str) -> VoterReport:
        ensemble = self.ensemble
        voter = ensemble.network.machines[name]

        def answer() -> VoterReport:
            if not ensemble.answers(voter):
                return VoterReport(VoterMode.NOT_SERVING)
            return VoterReport(VoterMode.LEADER if ensemble.leader is voter else VoterMode.FOLLOWER)

        return ensemble.network.request(voter, "ask", ASK_S, answer)


@dataclass
class SimDatabase:
    """``ports.Database``."""

    databases: Mapping[str, Postgres]
    ensemble: Ensemble
    members: tuple[str, ...] = tuple(DATABASES)

    def observe_member(self, name: str) -> DatabaseReport:
        database = self.databases[name]

        def answer() -> DatabaseReport:
            streaming = {}
            if database.primary:
                streaming = {
                    each.name: "sync" if each.name in database.names else "async"
                    for each in database.followers
                    if each.follows(database)
                }
            return DatabaseReport(
                name=name,
                primary=database.primary and database.running,
                state="running" if database.running else "stopped",
                timeline=database.timeline,
                location_bytes=len(database.wal) * 100,
                streaming=streaming,
            )

        return self.ensemble.network.request(database.machine, "ask Patroni", ASK_S, answer)

    def observe_cluster(self) -> ClusterReport:
        ensemble = self.ensemble
        here = ensemble.scheduler.actor.machine
        for voter in ensemble.voters:
            if ensemble.network.connected(here, voter) and ensemble.serves(voter):
                tree = ensemble.tree
                leader, sync = tree.get(f"{KEYS}/leader"), tree.get(f"{KEYS}/sync")
                report = parse_cluster(leader.data if leader else None, sync.data if sync else None)
                return replace(report, members=tuple(sorted(ensemble.children.get(f"{KEYS}/members", ()))))
        raise Unreachable("read ZooKeeper", saw="no quorum")


@dataclass
class SimEdges:
    """``ports.Edges`` and ``ports.EdgeTraffic``."""

    ways: Mapping[str, Edge]
    runtimes: "Mapping[str, SimEdgeRuntime]"
    network: Network
    edges: tuple[str, ...] = tuple(EDGES)

    def observe_edge(self, name: str) -> EdgeReport:
        way = self.ways[name]
        return self.network.request(
            way.machine,
            "ask HAProxy",
            ASK_S,
            lambda: EdgeReport({each: (up, "UP" if up else "DOWN") for each, up in way.routes.items()}),
        )

    def observe_servers(self, edge: str) -> tuple[EdgeServer, ...]:
        runtime = self.runtimes[edge]
        return self.network.request(self.ways[edge].machine, "ask HAProxy", ASK_S, runtime.observe_servers)


class SimEdgeRuntime:
    """``ports.EdgeRuntime`` of the HAProxy on ``machine``."""

    def __init__(self, network: Network, machine: Machine) -> None:
        self.network = network
        self.machine = machine
        self.rotation: dict[tuple[str, str], bool] = {
            **{(BACKENDS[0], name): True for name in DATABASES},
            (ROTATION, machine.place): True,
            **{(WRITES, name): True for name in DATABASES},
            (LEASE, machine.place): True,
        }
        self._seen: tuple[EdgeServer, ...] = ()
        self._seen_at = -1
        """At which count of the network's changes that was so."""

    def observe_servers(self) -> tuple[EdgeServer, ...]:
        if self._seen_at != self.network.changes:
            up = {name: self._reaches(name) for name in DATABASES}
            self._seen = tuple(
                EdgeServer(backend, name, on, up.get(name, True), "UP" if up.get(name, True) else "DOWN")
                for (backend, name), on in self.rotation.items()
            )
            self._seen_at = self.network.changes
        return self._seen

    def steer(self, backend: str, server: str, *, in_rotation: bool, at_once: bool = False) -> None:  # noqa: ARG002
        if (backend, server) not in self.rotation:
            raise Rejected(f"steer {backend}/{server}", on=self.machine.name, saw="No such server.")
        self.rotation[backend, server] = in_rotation
        self._seen_at = -1

    @property
    def active(self) -> set[str]:
        """The sites that get work here."""
        return {
            DATABASES[name] for (backend, name), on in self.rotation.items() if on and backend in BACKENDS
        }

    def lets_write(self, name: str) -> bool:
        """Whether writes go to ``name``: not while its site's lease is over."""
        return self.rotation[WRITES, name]

    def _reaches(self, name: str) -> bool:
        return self.network.connected(self.machine, self.network.machines[name])


class SimVantages:
    """``ports.Vantages``: as the adapter keeps them, without spelling them out."""

    def __init__(self, session: SimSession) -> None:
        self._session = session
        self._folder = "/dcctl/sim/observations"
        self._published: str | None = None

    def publish(self, observation: Observation) -> None:
        path = self._published = f"{self._folder}/{observation.vantage}"
        client, session = self._session.client, self._session
        for _attempt in range(3):
            answer = session.read(path, ASK_S)
            try:
                if answer is None:
                    session.ask(
                        "publish",
                        lambda: client.create_async(path, observation, ephemeral=True, makepath=True),
                        ASK_S,
                    )
                    return
                if answer[1].ephemeralOwner == session.number:
                    session.ask("publish", lambda: client.set_async(path, observation), ASK_S)
                    return
                session.ask("replace", lambda: client.delete_async(path), ASK_S)
            except (NoNodeError, NodeExistsError):
                continue
        raise Unreachable("publish an observation", on=path, saw="its node changes under our hands")

    def withdraw(self) -> None:
        if self._published is None:
            return
        path, session = self._published, self._session
        answer = session.read(path, ASK_S)
        if answer is not None and answer[1].ephemeralOwner == session.number:
            session.ask("withdraw", lambda: session.client.delete_async(path), ASK_S)
        self._published = None

    def observe_vantages(self) -> tuple[Observation, ...]:
        session = self._session
        names = session.ask("list", lambda: session.client.get_children_async(self._folder), ASK_S)
        found = (session.read(f"{self._folder}/{name}", ASK_S) for name in names)
        return tuple(answer[0] for answer in found if answer is not None)


class SimEpochs:
    """``ports.EpochMirror``: the row that singletons take FOR SHARE, and a bump FOR UPDATE."""

    def __init__(self, way: Way, edges: tuple[str, ...]) -> None:
        self._way = way
        self._edges = edges

    def primary(self, limit_s: float) -> tuple[str, Postgres]:
        """Through the first edge that leads to one, as libpq tries its hosts."""
        source = self._way.network.scheduler.actor.machine
        last: Unreachable | None = None
        for edge in self._edges:
            try:
                return edge, self._way.primary(edge, source, "use the database", min(limit_s, 1.0))
            except Unreachable as error:
                last = error
        assert last is not None
        raise last

    def observe(self, *, limit_s: float) -> Mapping[str, Epoch]:
        _edge, database = self.primary(limit_s)
        return {role: Epoch.of(number) for role, number in database.epochs().items()}

    def bump(self, term: Term, *, limit_s: float) -> None:
        edge, database = self.primary(limit_s)
        tried, role = "put the epoch in force", term.role
        if database.shared.get(role) or role in database.exclusive:
            self._way.network.scheduler.sleep(limit_s)
            raise TimedOut(tried, on=role, saw="a transaction under the last epoch is still under way")
        now = database.epoch(role)
        if now is not None and now > term.epoch.number:
            raise Refused(tried, reasons=(f"{now} is newer",))
        locked = database.exclusive
        locked.add(role)
        try:
            outcome = database.commit(Entry("epoch", (role, term.epoch.number)), limit_s)
        finally:
            locked.discard(role)
        heard = self._way.hears(edge, self._way.network.scheduler.actor.machine, database)
        if outcome is not Outcome.OK or not heard:
            raise TimedOut(tried, on=role, saw="COMMIT did not end")


class SimWriteProof:
    """``ports.WriteProof``."""

    def __init__(self, way: Way, told: Callable[[Postgres, Entry, float, Outcome], None]) -> None:
        self._way = way
        self._told = told
        self.numbers = iter(range(1_000_000, 2_000_000))

    def write(self, edge: str, note: str, *, limit_s: float) -> str:  # noqa: ARG002
        source, scheduler = self._way.network.scheduler.actor.machine, self._way.network.scheduler
        database = self._way.primary(edge, source, "write", limit_s)
        entry, began_s = Entry("write", (next(self.numbers),)), scheduler.now_s
        outcome = database.commit(entry, limit_s, cancelled=True)
        if not self._way.hears(edge, source, database):
            outcome = Outcome.UNKNOWN
        self._told(database, entry, began_s, outcome)
        if outcome is not Outcome.OK:
            raise Unreachable("write", on=edge, saw=f"COMMIT {outcome}")
        return database.name


class Cloud:
    """A site's cloud API: its word on power, and what it does with a request that takes its time.

    ``lies``: it calls a machine off while the task is pending, or while the host behind it is lost.
    """

    def __init__(self, network: Network, site: str, crash: Callable[[Machine], None]) -> None:
        self.network = network
        self.site = site
        self.api = Machine(f"{site}-api", site)
        self.lies = False
        self.takes_s = 0.5
        self._crash = crash

    def observe_servers(self) -> tuple[()]:
        return self.network.request(self.api, "list servers", ASK_S, lambda: ())

    def power_off(self, name: str) -> tuple[str, ...]:
        """Why it is not proven that ``name`` is off."""
        scheduler, machine = self.network.scheduler, self.network.machines[name]
        requested_at = scheduler.now_s

        def take() -> None:
            if not self.lies:
                scheduler.after(self.takes_s, lambda: self._crash(machine))

        self.network.request(self.api, "power off", 10.0, take)
        scheduler.sleep(self.takes_s + 0.2)
        reading = self.network.request(self.api, "read power", 10.0, lambda: self._reading(machine))
        return decide_power_off_proven(reading, requested_at=BEGINNING + timedelta(seconds=requested_at))

    def _reading(self, machine: Machine) -> PowerReading:
        at = BEGINNING + timedelta(seconds=self.network.scheduler.now_s)
        return PowerReading(
            server=machine.name,
            power=Power.ON if machine.up and not self.lies else Power.OFF,
            read_at=at,
            asked_at=at,
            hypervisor=f"{self.site}-host",
            hypervisor_connected=not self.lies,
            task_pending=self.lies,
            automatic_restart=False,
        )


def power_off_site(
    clouds: Mapping[str, Cloud], scheduler: Scheduler
) -> Callable[[str], dict[str, tuple[str, ...]]]:
    """``Means.power_off``, composed as in production: each machine is asked for, all at once."""

    def power_off(site: str) -> dict[str, tuple[str, ...]]:
        cloud = clouds[site]
        cloud.observe_servers()
        names = [name for name, place in MACHINES.items() if place == site]
        answers = ask_together(scheduler)({name: partial(cloud.power_off, name) for name in names})
        return {
            name: (answer.saw or answer.sentence(),) if isinstance(answer, DcctlError) else answer
            for name, answer in answers.items()
        }

    return power_off
