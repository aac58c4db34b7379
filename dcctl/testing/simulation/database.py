"""PostgreSQL as far as its promises go: a log, a standby that confirms, rows that are locked.

A commit is acknowledged once one of the standbys that the primary was told are synchronous has it, or at
once when none is. One that waits and is cancelled ends with a warning: *unknown*. What a server wrote to its
log stays there until ``pg_rewind`` takes it away (PostgreSQL documentation, "Synchronous Replication").
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import partial
from typing import NamedTuple, Protocol

from dcctl.errors import TimedOut, Unreachable
from dcctl.testing.simulation.network import DATABASES, Network
from dcctl.testing.simulation.scheduler import Machine, Scheduler

STREAM_S = 0.004
IDLE_LIMIT_S = 10.0
"""idle_in_transaction_session_timeout: how long a client may hold a lock and do nothing."""


class Entry(NamedTuple):
    """One committed transaction: ``("write", number)``, ``("epoch", role, number)`` or
    ``("work", role, number, epoch)``."""

    kind: str
    about: tuple[object, ...]


class Outcome(StrEnum):
    """What the client of a transaction was told."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARNING = "ended with a warning"
    FAILED = "failed"


class Postgres:
    """One server. ``names``: its synchronous_standby_names. ``upstream``: whom it streams from."""

    def __init__(self, scheduler: Scheduler, network: Network, machine: Machine) -> None:
        self.scheduler = scheduler
        self.network = network
        self.machine = machine
        self.name = machine.name
        self.running = True
        self.primary = False
        self.timeline = 1
        self.wal: list[Entry] = []
        self.names: frozenset[str] = frozenset()
        self.upstream: Postgres | None = None
        self.confirmed: dict[str, int] = {}
        self.heard_s: dict[str, float] = {}
        """When a standby last streamed."""
        self.shared: dict[str, int] = {}
        self.exclusive: set[str] = set()
        self._waiting: list[tuple[int, Callable[[Outcome], None]]] = []

    # Transactions.

    def commit(self, entry: Entry, limit_s: float, *, cancelled: bool = False) -> Outcome:
        """Write ``entry`` and wait for the standby. ``cancelled``: after ``limit_s`` the wait is cancelled
        here, which ends with a warning; else the client hangs up."""
        if not self.running or not self.primary:
            return Outcome.FAILED
        self.wal.append(entry)
        told: list[Outcome] = []

        def register(wake: Callable[[], None]) -> None:
            def tell(outcome: Outcome) -> None:
                if not told:
                    told.append(outcome)
                    wake()

            self._waiting.append((len(self.wal), tell))
            late = Outcome.WARNING if cancelled else Outcome.UNKNOWN
            self.scheduler.after(limit_s, lambda: tell(late))
            self.scheduler.after(STREAM_S + self.machine.disk_s, self.stream)

        self.scheduler.wait(register)
        return told[0]

    def stream(self) -> None:
        """Carry the log to the standby that follows, and tell whom it frees."""
        if not self.running or not self.primary or self.machine.frozen:
            return
        for standby in self.followers:
            if standby.follows(self):
                new = len(standby.wal) < len(self.wal)
                standby.wal.extend(self.wal[len(standby.wal) :])
                self.heard_s[standby.name] = self.scheduler.now_s
                if new and standby.machine.disk_s > STREAM_S:
                    position = len(standby.wal)
                    self.scheduler.after(standby.machine.disk_s, partial(self._confirm, standby, position))
                else:
                    self.confirmed[standby.name] = len(standby.wal)
        self.settle()

    followers: "list[Postgres]"

    def _confirm(self, standby: "Postgres", position: int) -> None:
        if standby.follows(self) and not self.machine.frozen:
            self.confirmed[standby.name] = max(position, self.confirmed.get(standby.name, 0))
            self.settle()

    def follows(self, primary: "Postgres") -> bool:
        return (
            self.running
            and not self.primary
            and self.upstream is primary
            and self.timeline == primary.timeline
            and self.network.connected(self.machine, primary.machine)
        )

    def settle(self) -> None:
        """Acknowledge what may be."""
        if not self._waiting or self.machine.frozen or not self.running or not self.primary:
            return
        safe = len(self.wal) if not self.names else max(self.confirmed.get(each, 0) for each in self.names)
        waiting = self._waiting
        self._waiting = [each for each in waiting if each[0] > safe]
        for index, tell in waiting:
            if index <= safe:
                tell(Outcome.OK)

    # What Patroni does to it.

    def set_names(self, names: frozenset[str]) -> None:
        self.names = names
        self.settle()

    def stop(self) -> None:
        """No primary any more, and whoever waits is cut off."""
        self.primary = False
        self.names, self.confirmed, self.heard_s = frozenset(), {}, {}
        self.shared, self.exclusive = {}, set()
        waiting, self._waiting = self._waiting, []
        for _index, tell in waiting:
            tell(Outcome.UNKNOWN)

    def promote(self) -> None:
        self.primary, self.upstream = True, None
        self.timeline += 1
        self.names, self.confirmed = frozenset(), {}

    def crash(self) -> None:
        self.running = False
        self.stop()

    def rejoin(self, primary: "Postgres") -> None:
        """Follow ``primary``; what was written here beyond what it has is rewound."""
        self.upstream, self.timeline = primary, primary.timeline
        if primary.wal[: len(self.wal)] != self.wal:
            common = next(
                index
                for index, entry in enumerate(self.wal)
                if index >= len(primary.wal) or primary.wal[index] != entry
            )
            del self.wal[common:]

    def streams(self, standby: str, within_s: float) -> bool:
        return self.scheduler.now_s - self.heard_s.get(standby, -1e9) <= within_s

    # The row of a role's epoch.

    def epoch(self, role: str) -> int | None:
        for kind, about in reversed(self.wal):
            if kind == "epoch" and about[0] == role:
                number = about[1]
                assert isinstance(number, int)
                return number
        return None

    def epochs(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for kind, about in self.wal:
            if kind == "epoch":
                role, number = about
                assert isinstance(role, str)
                assert isinstance(number, int)
                found[role] = number
        return found


class SaysPrimary(Protocol):
    """What answers ``GET /primary``."""

    @property
    def says_primary(self) -> bool: ...


class Edge:
    """An HAProxy: it asks each Patroni whether it is primary, and sends writes to those that say so."""

    def __init__(
        self, scheduler: Scheduler, network: Network, machine: Machine, lets: Callable[[str], bool]
    ) -> None:
        self.scheduler = scheduler
        self.network = network
        self.machine = machine
        self.lets = lets
        self.routes: dict[str, bool] = dict.fromkeys(DATABASES, False)

    def check(self, members: Mapping[str, SaysPrimary], databases: Mapping[str, Postgres]) -> None:
        for name, member in members.items():
            machine = databases[name].machine
            self.routes[name] = self.network.connected(self.machine, machine) and member.says_primary


class Way:
    """How clients reach the primary: through an edge, over a connection of their own."""

    def __init__(self, network: Network, edges: dict[str, Edge], databases: dict[str, Postgres]) -> None:
        self.network = network
        self.edges = edges
        self.databases = databases

    def primary(self, edge: str, source: Machine, tried: str, limit_s: float) -> Postgres:
        """The server that ``edge`` leads to. Unreachable says why there is none."""
        through = self.edges[edge]
        if not self.network.connected(source, through.machine):
            self.network.scheduler.sleep(limit_s)
            raise TimedOut(tried, on=edge, saw=f"no answer within {limit_s:g} s")
        up = [name for name, routed in through.routes.items() if routed and through.lets(name)]
        if not up:
            raise Unreachable(tried, on=edge, saw="no primary")
        database = self.databases[up[-1]]
        if not self.network.connected(through.machine, database.machine):
            self.network.scheduler.sleep(limit_s)
            raise TimedOut(tried, on=edge, saw=f"no answer within {limit_s:g} s")
        if not database.running or not database.primary:
            raise Unreachable(tried, on=edge, saw="the database is not accepting writes")
        return database

    def hears(self, edge: str, source: Machine, database: Postgres) -> bool:
        """Whether the answer comes back."""
        through = self.edges[edge]
        return (
            through.lets(database.name)
            and self.network.connected(source, through.machine)
            and self.network.connected(through.machine, database.machine)
        )
