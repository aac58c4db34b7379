"""What was seen of a running system, from one vantage: each part's own answer, or why there was none.

An answer that did not come is data. Nothing here says whether the system is well: ``domain.status`` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

from dcctl.domain.fault import InForce
from dcctl.domain.machine import Server
from dcctl.domain.run import ActiveRun
from dcctl.domain.traffic import SiteState
from dcctl.domain.verdict import Vantage

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Seen(Generic[T]):
    """A value, or None with the reason why there is none, as a sentence."""

    value: T | None
    reason: str = ""


class VoterMode(StrEnum):
    """What a ZooKeeper server says of itself."""

    LEADER = "leader"
    FOLLOWER = "follower"
    STANDALONE = "standalone"
    NOT_SERVING = "not serving"
    """It runs and belongs to no quorum."""


@dataclass(frozen=True, slots=True)
class VoterReport:
    """One ZooKeeper server's answer to ``srvr``. ``connections`` counts its clients."""

    mode: VoterMode
    zxid: str = ""
    connections: int = 0


@dataclass(frozen=True, slots=True)
class DatabaseReport:
    """What one database says of itself.

    ``location_bytes`` is its position in the write-ahead log: written, on a primary; received, on a
    standby. ``streaming`` are the standbys that this primary streams to, with PostgreSQL's ``sync_state``
    of each (``sync``, ``quorum``, ``async``, ``potential``); empty on a standby.
    """

    name: str
    primary: bool
    state: str
    timeline: int | None
    location_bytes: int | None = None
    streaming: Mapping[str, str] = field(default_factory=dict)
    paused: bool = False
    replayed_at: datetime | None = None
    """When the last transaction that a standby has replayed was committed, by the primary's clock."""


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """What the quorum knows: who holds the leader key (None: nobody), and which standbys are named
    synchronous, sorted, to which primary. ``members`` are those whose session with the quorum lives.
    ``ended`` is the last timeline that a promotion ended, and the position in the log at which."""

    leader: str | None
    synchronous: tuple[str, ...]
    synchronous_to: str | None = None
    members: tuple[str, ...] = ()
    ended: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class EdgeReport:
    """One edge's answer: for each of its database servers whether it is in rotation, and its word for it."""

    servers: Mapping[str, tuple[bool, str]]

    @property
    def routes_to(self) -> tuple[str, ...]:
        """The servers that writes are sent to, sorted."""
        return tuple(sorted(name for name, (up, _word) in self.servers.items() if up))


@dataclass(frozen=True, slots=True)
class AtRisk:
    """Documents that were acknowledged and are at one site only: what losing that site now would lose.

    ``oldest_s``: how long the oldest has been waiting, by the database's clock. ``by_site``: how many each
    site alone has. ``names`` (site, container/name) are the oldest of them.
    """

    count: int
    oldest_s: float = 0.0
    by_site: Mapping[str, int] = field(default_factory=dict)
    names: tuple[tuple[str, str], ...] = ()

    def sentence(self) -> str:
        what = "1 document is" if self.count == 1 else f"{self.count} documents are"
        return f"{what} acknowledged and not yet at the other site"

    def lost_with(self, site: str, *, shown: int = 10) -> str:
        """What would be gone with ``site`` now, by name as far as told."""
        count = self.by_site.get(site, 0)
        if not count:
            return f"none that {site} alone has"
        names = [name for at, name in self.names if at == site][:shown]
        more = f" and {count - len(names)} more" if count > len(names) else ""
        what = "1 document that" if count == 1 else f"{count} documents that"
        return f"{what} {site} alone has: {', '.join(names)}{more}"


@dataclass(frozen=True, slots=True)
class ReplicationLag:
    """What the replicator said last: how long the oldest document waits that one site alone has, and how
    many there are."""

    oldest_s: float
    behind: int


@dataclass(frozen=True, slots=True)
class View:
    """One look at everything. Keys are names of sites, machines, voters, members and edges."""

    clouds: Mapping[str, Seen[tuple[Server, ...]]]
    reachable: Mapping[str, Seen[float]]
    """Seconds that a connection to the machine took."""
    voters: Mapping[str, Seen[VoterReport]]
    databases: Mapping[str, Seen[DatabaseReport]]
    cluster: Seen[ClusterReport]
    edges: Mapping[str, Seen[EdgeReport]]
    breakages: tuple[InForce, ...] = ()
    """What is broken on purpose."""
    documents: Seen[AtRisk] | None = None
    """None where no documents are replicated."""
    states: Seen[tuple[SiteState, ...]] = field(default_factory=lambda: Seen(None, "not asked"))
    """What is wanted of each site, as the ensemble has it."""
    vantages: Seen[tuple[Vantage, ...]] | None = None
    """What the agents published last; None where nobody is asked."""
    active_run: ActiveRun | None = None
    """The run that has the right to act, where there is one and somebody asked."""
