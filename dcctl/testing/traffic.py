"""Traffic in memory: the ensemble's word on sites and vantages, and edges with their servers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from dcctl.domain.traffic import LEASE, WRITES, EdgeServer, Observation, SiteState
from dcctl.errors import DcctlError, Refused, Rejected, TimedOut, Unreachable


@dataclass
class FakeCoordinator:
    """What the ensemble keeps; the sites and vantages below are views of it. ``dark``: no quorum."""

    sites: Sequence[str] = ("east", "west")
    states: dict[str, SiteState] = field(default_factory=dict)
    observations: dict[str, Observation] = field(default_factory=dict)
    dark: bool = False


class FakeSites:
    """``ports.Sites`` of one client of ``coordinator``, which ``cut`` keeps from it."""

    def __init__(self, coordinator: FakeCoordinator) -> None:
        self.coordinator = coordinator
        self.cut = False
        self.lose_answers = False
        """Changes are written and no answer comes back."""

    def observe_sites(self) -> tuple[SiteState, ...]:
        _reach(self.coordinator, cut=self.cut)
        states = self.coordinator.states
        return tuple(states.get(site, SiteState(site)) for site in self.coordinator.sites)

    def change_site(self, state: SiteState, *, expected: int | None) -> SiteState:
        _reach(self.coordinator, cut=self.cut)
        now = self.coordinator.states.get(state.site, SiteState(state.site))
        if now.version != expected:
            if replace(now, version=None) == replace(state, version=None):
                return now
            raise Refused(
                f"change the state of {state.site}",
                reasons=(f"{now.by or 'somebody'} made it {now.state} meanwhile",),
                next_command="dcctl status",
            )
        written = replace(state, version=0 if expected is None else expected + 1)
        self.coordinator.states[state.site] = written
        if self.lose_answers:
            raise TimedOut(f"change the state of {state.site}", saw="no answer")
        return written


class FakeVantages:
    """``ports.Vantages`` of one vantage; ``die`` ends its session."""

    def __init__(self, coordinator: FakeCoordinator) -> None:
        self.coordinator = coordinator
        self.cut = False
        self._own: str | None = None

    def publish(self, observation: Observation) -> None:
        _reach(self.coordinator, cut=self.cut)
        self._own = observation.vantage
        self.coordinator.observations[observation.vantage] = observation

    def withdraw(self) -> None:
        _reach(self.coordinator, cut=self.cut)
        self.die()

    def observe_vantages(self) -> tuple[Observation, ...]:
        _reach(self.coordinator, cut=self.cut)
        return tuple(self.coordinator.observations[name] for name in sorted(self.coordinator.observations))

    def die(self) -> None:
        """The session ends, and with it what it published."""
        if self._own is not None:
            self.coordinator.observations.pop(self._own, None)
            self._own = None


def _reach(coordinator: FakeCoordinator, *, cut: bool) -> None:
    if cut or coordinator.dark:
        raise Unreachable("ask ZooKeeper", saw="no connection to ZooKeeper")


class FakeEdge:
    """``ports.EdgeRuntime``. Set ``refuses`` to what it answers to every change, ``dark`` to silence it."""

    def __init__(self, servers: Sequence[EdgeServer]) -> None:
        self.servers = {(server.backend, server.name): server for server in servers}
        self.refuses: DcctlError | None = None
        self.deaf = False
        """Takes every change for done and does nothing."""
        self.dark = False
        self.commands: list[tuple[str, str, bool]] = []

    def observe_servers(self) -> tuple[EdgeServer, ...]:
        self._reach()
        return tuple(self.servers.values())

    def steer(self, backend: str, server: str, *, in_rotation: bool, at_once: bool = False) -> None:
        self._reach()
        self.commands.append((backend, server, in_rotation))
        if self.refuses is not None:
            raise self.refuses
        key = (backend, server)
        if key not in self.servers:
            raise Rejected(f"steer {backend}/{server}", on="the edge", saw="No such server.")
        if not self.deaf:
            left = 0 if at_once and not in_rotation else self.servers[key].in_flight
            self.servers[key] = replace(self.servers[key], in_rotation=in_rotation, in_flight=left)

    def works_on(self, backend: str, server: str, sessions: int) -> None:
        """How much is in flight there from now on."""
        key = (backend, server)
        self.servers[key] = replace(self.servers[key], in_flight=sessions)

    def _reach(self) -> None:
        if self.dark:
            raise Unreachable("ask HAProxy", on="its runtime socket", saw="Connection refused")


class FakeTraffic:
    """``ports.EdgeTraffic`` over fake edges."""

    def __init__(self, edges: Mapping[str, FakeEdge]) -> None:
        self.edges = tuple(edges)
        self._edges = dict(edges)

    def observe_servers(self, edge: str) -> tuple[EdgeServer, ...]:
        return self._edges[edge].observe_servers()


def edge_servers(
    own: str, places: Mapping[str, str], backends: Sequence[str] = ("cdb",)
) -> tuple[EdgeServer, ...]:
    """What an edge at ``own`` has when all is well; ``places`` are the application's machines by name."""
    applications = [name for name in places if "app" in name]
    return (
        *(EdgeServer(backend, name, True, True, "UP") for backend in backends for name in applications),  # noqa: FBT003
        EdgeServer("rotation", own, True, True, "no check"),  # noqa: FBT003
    )


def fenced_servers(own: str, places: Mapping[str, str]) -> tuple[EdgeServer, ...]:
    """What an edge at ``own`` has besides, which its site's lease is about."""
    databases = [name for name in places if "db" in name]
    return (
        EdgeServer(LEASE, own, True, True, "no check"),  # noqa: FBT003
        *(EdgeServer(WRITES, name, True, True, "UP") for name in databases),  # noqa: FBT003
    )
