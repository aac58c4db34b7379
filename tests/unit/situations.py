"""Situations made of a few words, judged from the view up by the real decisions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from dcctl.domain.capacity import Capacity, Fit, Line
from dcctl.domain.leadership import Epoch, Lease, RoleState, Term
from dcctl.domain.observation import (
    ClusterReport,
    DatabaseReport,
    EdgeReport,
    Seen,
    View,
    VoterMode,
    VoterReport,
)
from dcctl.domain.run import ActiveRun
from dcctl.domain.situation import Documents, Situation
from dcctl.domain.status import Host, decide_status
from dcctl.domain.traffic import Rotation, SiteState
from dcctl.domain.verdict import Sight, Vantage

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SITES = ("east", "west")
HOSTS = (
    Host("east-db-1", "east", "192.0.2.1", ("zookeeper", "postgresql")),
    Host("east-edge-1", "east", "192.0.2.2", ("edge", "agent")),
    Host("west-db-1", "west", "192.0.2.3", ("zookeeper", "postgresql")),
    Host("west-edge-1", "west", "192.0.2.4", ("edge", "agent")),
    Host("witness-1", "witness", "192.0.2.5", ("zookeeper", "agent")),
)
PLACES = {host.name: host.place for host in HOSTS}
SILENCE = "no answer within 2 s"
ALL_UP = {"east": Sight.UP, "west": Sight.UP}
EAST_DOWN = {"east": Sight.DOWN, "west": Sight.UP}


def vantage(name: str, sights: Mapping[str, Sight], *, age_s: float = 1.0, **more: object) -> Vantage:
    rotation = dict.fromkeys(SITES, True) if "edge" in name else {}
    return Vantage(name, PLACES[name], age_s, sights, **{"edge": rotation, **more})  # type: ignore[arg-type]


def role(name: str, host: str | None, *, epoch: int = 7, released: bool = False) -> RoleState:
    """A role that ``host`` leads; None: nobody does."""
    lease = Lease(Epoch(1, epoch), 10.0, released, 3, 99, NOW)
    term = Term(name, Epoch(1, epoch), "dcctl-run", host, 4711, NOW) if host else None
    return RoleState(name, Epoch(1, epoch), 1, lease, term)


def state(site: str, rotation: Rotation, reason: str = "") -> SiteState:
    return SiteState(site, rotation, reason, "ann@operator", NOW, "20260102-a", 3)


@dataclass
class World:
    """Everything well, the primary at east. Change what should be otherwise, and take a ``look``."""

    silent: set[str] = field(default_factory=set)
    """Machines and voters that do not answer the operator."""
    quorum: bool = True
    leader: str | None = "east-db-1"
    primaries: tuple[str, ...] = ("east-db-1",)
    synchronous: tuple[str, ...] = ("west-db-1",)
    synchronous_to: str | None = "east-db-1"
    """Who wrote ``/sync`` last."""
    confirmed: tuple[str, ...] = ("west-db-1",)
    members: tuple[str, ...] = ("east-db-1", "west-db-1")
    stopped: set[str] = field(default_factory=set)
    """Databases that answer and do not run."""
    lag_bytes: int = 0
    timelines: Mapping[str, int] = field(default_factory=dict)
    paused: bool = False
    states: Mapping[str, SiteState] = field(default_factory=dict)
    vantages: tuple[Vantage, ...] = (
        vantage("east-edge-1", ALL_UP),
        vantage("west-edge-1", ALL_UP),
        vantage("witness-1", ALL_UP),
    )
    roles: tuple[RoleState, ...] = (role("auction", "east-edge-1"),)
    epochs: Mapping[str, Epoch] = field(default_factory=lambda: {"auction": Epoch(1, 7)})
    witness: bool = True
    fit: Fit = Fit.FITS
    run: ActiveRun | None = None
    documents: Documents | None = None
    documents_unknown: str = ""
    cloud_silent: set[str] = field(default_factory=set)

    def look(self) -> Situation:
        cluster = self._cluster()
        status = decide_status("test", HOSTS, self._view(cluster))
        unread = "no connection to ZooKeeper"
        asked = self.documents is not None or bool(self.documents_unknown)
        return Situation(
            environment="test",
            at=NOW,
            sites=SITES,
            places=PLACES,
            witness=self.witness,
            status=status,
            cluster=cluster,
            states=self._kept(tuple(self.states.get(site, SiteState(site)) for site in SITES), unread),
            vantages=self._kept(self.vantages, unread),
            roles=self._kept(self.roles, unread),
            epochs=Seen(self.epochs),
            active_run=Seen(self.run) if self.quorum else Seen(None, unread),
            capacity=Seen(Capacity("east", "west", self.fit, self._lines(), {})),
            documents=Seen(self.documents, self.documents_unknown) if asked else None,
        )

    def _kept(self, value: object, unread: str) -> Seen:  # type: ignore[type-arg]
        return Seen(value) if self.quorum else Seen(None, unread)

    def _lines(self) -> tuple[Line, ...]:
        return (Line("app", "requests/s", 80.0, 60.0, self.fit, (), "20.0/s too few"),)

    def _cluster(self) -> Seen[ClusterReport]:
        if not self.quorum:
            return Seen(None, "no server is in a quorum")
        return Seen(ClusterReport(self.leader, self.synchronous, self.synchronous_to, self.members))

    def _view(self, cluster: Seen[ClusterReport]) -> View:
        databases = [host.name for host in HOSTS if "postgresql" in host.roles]
        voters = [host.name for host in HOSTS if "zookeeper" in host.roles]
        edges = [host.name for host in HOSTS if "edge" in host.roles]
        serving = VoterReport(VoterMode.FOLLOWER) if self.quorum else VoterReport(VoterMode.NOT_SERVING)
        return View(
            clouds={site: self._unless(site in self.cloud_silent, ()) for site in SITES},
            reachable={host.name: self._answer(host.name, 0.001) for host in HOSTS},
            voters={name: self._answer(name, serving) for name in voters},
            databases={name: self._answer(name, self._database(name)) for name in databases},
            cluster=cluster,
            edges={name: self._answer(name, self._edge()) for name in edges},
        )

    def _database(self, name: str) -> DatabaseReport:
        primary = name in self.primaries
        return DatabaseReport(
            name=name,
            primary=primary,
            state="stopped" if name in self.stopped else "running",
            timeline=self.timelines.get(name, 1),
            location_bytes=10**9 - (0 if primary else self.lag_bytes),
            streaming=dict.fromkeys(self.confirmed, "sync") if primary else {},
            paused=self.paused,
        )

    def _edge(self) -> EdgeReport:
        return EdgeReport({name: (name in self.primaries, "UP") for name in ("east-db-1", "west-db-1")})

    def _answer(self, name: str, value: object) -> Seen:  # type: ignore[type-arg]
        return self._unless(name in self.silent, value)

    def _unless(self, silent: bool, value: object) -> Seen:  # type: ignore[type-arg]
        return Seen(None, SILENCE) if silent else Seen(value)


def east_lost(**changes: object) -> World:
    """East went dark a minute ago; it held the primary and the auction scheduler. Patroni has promoted nobody
    yet, and the quorum has forgotten east."""
    world = World(
        silent={"east-db-1", "east-edge-1"},
        cloud_silent={"east"},
        leader=None,
        primaries=(),
        confirmed=(),
        members=("west-db-1",),
        vantages=(vantage("west-edge-1", EAST_DOWN), vantage("witness-1", EAST_DOWN)),
        roles=(role("auction", None),),
    )
    for name, value in changes.items():
        assert hasattr(world, name), name
        setattr(world, name, value)
    return world
