"""A system in memory: two sites and a witness, a replicated database, edges, a client, and what breaks.

``FakeSystem`` is the world, moved by a ``VirtualClock``; the classes below it are the ports over it. Its
fields are how fast it heals and in which ways it breaks its word. It is an idea of Patroni, not a copy:
after a site that holds the primary is cut, the standby is promoted ``promote_after_s`` later; after the
site is healed the old primary is a synchronous standby again ``rejoin_after_s`` later.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dcctl.domain.drill import WorkloadSpec, payload_of, table_of
from dcctl.domain.fault import Breakage, InForce, Kind
from dcctl.domain.history import Action, History, Mark, Phase, Record
from dcctl.domain.observation import ClusterReport, DatabaseReport, EdgeReport, VoterMode, VoterReport
from dcctl.domain.status import Host
from dcctl.errors import DcctlError, TimedOut, Unreachable
from dcctl.testing.clock import VirtualClock

SITES = ("east", "west")
DATABASES = {"east-db-1": "east", "west-db-1": "west"}
EDGES = {"east-edge-1": "east", "west-edge-1": "west"}
VOTERS = {**DATABASES, "witness-1": "witness"}
HOSTS = tuple(
    Host(name, place, f"192.0.2.{number}", ("base",))
    for number, (name, place) in enumerate({**DATABASES, **EDGES, "witness-1": "witness"}.items(), start=1)
)
ADDRESSES = {host.name: host.address for host in HOSTS}
ANSWER_S = 0.005


@dataclass
class FakeSystem:
    """The world. Set its fields; the ports feel them. Safe to share between threads."""

    clock: VirtualClock
    promote_after_s: float = 20.0
    rejoin_after_s: float = 5.0
    drops_standby_after_s: float = 8.0
    lag_bytes: int = 0
    loses_last_acknowledged: int = 0
    """The standby that is promoted lacks that many acknowledged rows: a broken promise."""
    never_rejoins: bool = False
    stranded_for_s: float = 0.0
    """How long after it is healed the old primary stays on its timeline, unless it is started anew (or copied
    anew, where that is ``in_vain``)."""
    in_vain: bool = False
    two_primaries: bool = False
    """After a promotion the old primary goes on acknowledging through its own site's edge."""
    inflict_fails: DcctlError | None = None
    mend_fails: DcctlError | None = None
    mends_in_vain: bool = False
    database_is_down: bool = False
    broken_edges: set[str] = field(default_factory=set)
    down: set[str] = field(default_factory=set)
    """Names of voters, databases and edges that do not answer."""

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self.primary = "east-db-1"
        self.synchronous: str | None = "west-db-1"
        self.timeline = 1
        self.deposed: str | None = None
        self.rows: dict[int, str] = {}
        self.tables: set[str] = set()
        self.breakages: dict[Breakage, float] = {}
        self._broken_at: dict[Breakage, float] = {}
        self._whole_since = 0.0
        self._last_rows: list[int] = []

    def advance(self, now_s: float) -> None:
        """Let everything happen that is due at ``now_s``."""
        with self.lock:
            for breakage, until_s in tuple(self.breakages.items()):
                if now_s >= until_s:
                    self._mend(breakage, until_s)
            dark_s = self._dark_since_s(self.primary)
            if dark_s is not None and now_s >= dark_s + self.promote_after_s and self.synchronous:
                self._promote(self.synchronous)
            standby = next(name for name in DATABASES if name != self.primary)
            apart_s = self._apart_since_s(standby)
            if self.synchronous is None and apart_s is None and not self.never_rejoins:
                if now_s >= self._whole_since + max(self.rejoin_after_s, self.stranded_for_s):
                    self.synchronous = standby
            elif apart_s is not None and now_s >= apart_s + self.drops_standby_after_s:
                self.synchronous = None

    def is_stranded(self) -> bool:
        """Whether the old primary runs on a timeline that has ended."""
        return self.synchronous is None and self.stranded_for_s > 0

    def _dark_since_s(self, name: str) -> float | None:
        """Since when nobody hears of a database: its site is cut off, or its machine stands still."""
        dark = (Breakage(Kind.PAUSE, name), Breakage(Kind.CUT, DATABASES[name]))
        return min((self._broken_at[each] for each in dark if each in self.breakages), default=None)

    def _apart_since_s(self, standby: str) -> float | None:
        """Since when the standby and the primary do not hear each other."""
        since = [self._dark_since_s(standby)]
        if (parted := self._parted(DATABASES[standby], DATABASES[self.primary])) is not None:
            since.append(self._broken_at[parted])
        return min((each for each in since if each is not None), default=None)

    def _parted(self, one: str, other: str) -> Breakage | None:
        """What loses traffic between two places, whichever way: nothing is acknowledged over it."""
        pairs = {(one, other), (other, one)}
        ways = (each for each in self.breakages if each.kind is Kind.ONE_WAY)
        return next((each for each in ways if (each.target, each.toward) in pairs), None)

    def is_cut(self, place: str) -> bool:
        """Whether it is off the network."""
        return Breakage(Kind.CUT, place) in self.breakages

    def cut_since_s(self, place: str) -> float | None:
        """Since when it is off the network; None where it is not."""
        return self._broken_at.get(Breakage(Kind.CUT, place))

    def is_paused(self, name: str) -> bool:
        """Whether its machine stands still."""
        return Breakage(Kind.PAUSE, name) in self.breakages

    def inflict(self, breakage: Breakage, for_s: float) -> None:
        now_s = self.clock.monotonic()
        self._broken_at.setdefault(breakage, now_s)
        self.breakages[breakage] = now_s + for_s

    def mend(self, breakage: Breakage) -> None:
        if breakage in self.breakages:
            self._mend(breakage, self.clock.monotonic())

    def _mend(self, breakage: Breakage, at_s: float) -> None:
        del self.breakages[breakage]
        del self._broken_at[breakage]
        self._whole_since = at_s

    def _promote(self, name: str) -> None:
        for row in self._last_rows[len(self._last_rows) - self.loses_last_acknowledged :]:
            self.rows.pop(row, None)
        self.deposed, self.primary, self.synchronous = self.primary, name, None
        self.timeline += 1

    def writable(self, edge: str) -> bool:
        """Whether a write through ``edge`` is acknowledged now."""
        with self.lock:
            ours, place, standby = EDGES[edge], DATABASES[self.primary], self.synchronous
            confirmed = standby is None or self._apart_since_s(standby) is None
            dark = self.is_cut(ours) or self.is_cut(place) or self._parted(ours, place) is not None
            stands = self.is_paused(edge) or self.is_paused(self.primary)
            return not (dark or stands or edge in self.broken_edges or self.database_is_down) and confirmed

    def acknowledger(self, edge: str) -> tuple[str, int]:
        """The address and the timeline of whoever acknowledges a write through ``edge`` now."""
        with self.lock:
            old = self.deposed
            if self.two_primaries and old and DATABASES[old] == EDGES[edge]:
                return ADDRESSES[old], self.timeline - 1
            return ADDRESSES[self.primary], self.timeline

    def reaches(self, standby: str) -> bool:
        """Whether the primary and ``standby`` hear each other."""
        return self._apart_since_s(standby) is None

    def forgotten(self, place: str) -> bool:
        """Whether the quorum has not heard of ``place`` for a session, which ends as Patroni's ttl does."""
        since_s = self.cut_since_s(place)
        return since_s is not None and self.clock.monotonic() >= since_s + self.promote_after_s

    def voters_up(self) -> list[str]:
        up = [name for name, place in VOTERS.items() if not self.is_cut(place) and name not in self.down]
        broken = {each.target for each in self.breakages if each.kind in (Kind.PAUSE, Kind.KILL)}
        return [name for name in up if name not in broken]

    def has_quorum(self) -> bool:
        return len(self.voters_up()) > len(VOTERS) // 2

    def ask(self, name: str, place: str) -> None:
        """Raise where ``name`` does not answer now."""
        self.advance(self.clock.monotonic())
        if name in self.down:
            raise Unreachable("ask", on=name, saw="Connection refused")
        if self.is_cut(place) or self.is_paused(name):
            raise TimedOut("ask", on=name, saw="no answer within 1 s")


class FakeReach:
    """``ports.Reach``."""

    def __init__(self, system: FakeSystem) -> None:
        self._system = system

    def observe_port(self, address: str, port: int) -> float:  # noqa: ARG002
        host = next(host for host in HOSTS if host.address == address)
        self._system.ask(host.name, host.place)
        return 0.001


class FakeCoordination:
    """``ports.Coordination``."""

    voters = tuple(VOTERS)

    def __init__(self, system: FakeSystem) -> None:
        self._system = system

    def observe_voter(self, name: str) -> VoterReport:
        self._system.ask(name, VOTERS[name])
        if Breakage(Kind.KILL, name) in self._system.breakages:
            raise Unreachable("ask", on=name, saw="Connection refused")
        if not self._system.has_quorum():
            return VoterReport(VoterMode.NOT_SERVING)
        leads = name == self._system.voters_up()[-1]
        return VoterReport(VoterMode.LEADER if leads else VoterMode.FOLLOWER)


class FakeDatabase:
    """``ports.Database``."""

    members = tuple(DATABASES)

    def __init__(self, system: FakeSystem) -> None:
        self._system = system

    def observe_member(self, name: str) -> DatabaseReport:
        system = self._system
        with system.lock:
            system.ask(name, DATABASES[name])
            primary = name == system.primary
            streams = primary and system.synchronous and system.reaches(system.synchronous)
            return DatabaseReport(
                name=name,
                primary=primary,
                state="running",
                timeline=system.timeline - (name == system.deposed and system.is_stranded()),
                location_bytes=1000 if primary else 1000 - system.lag_bytes,
                streaming={system.synchronous: "sync"} if streams and system.synchronous else {},
            )

    def observe_cluster(self) -> ClusterReport:
        system = self._system
        with system.lock:
            system.advance(system.clock.monotonic())
            if not system.has_quorum():
                raise Unreachable("read ZooKeeper", on="leader", saw="no quorum")
            alive = [name for name, place in DATABASES.items() if not system.forgotten(place)]
            return ClusterReport(
                None if system.forgotten(DATABASES[system.primary]) else system.primary,
                (system.synchronous,) if system.synchronous is not None else (),
                system.primary,
                tuple(alive),
            )


class FakeEdges:
    """``ports.Edges``."""

    edges = tuple(EDGES)

    def __init__(self, system: FakeSystem) -> None:
        self._system = system

    def observe_edge(self, name: str) -> EdgeReport:
        system = self._system
        with system.lock:
            system.ask(name, EDGES[name])
            return EdgeReport(
                {
                    each: (
                        each == system.primary and not system.is_cut(place),
                        "UP" if each == system.primary else "DOWN",
                    )
                    for each, place in DATABASES.items()
                }
            )


class FakeFault:
    """``ports.Fault``."""

    def __init__(self, system: FakeSystem) -> None:
        self._system = system

    def observe_breakages(self) -> tuple[InForce, ...]:
        system = self._system
        now_s = system.clock.monotonic()
        with system.lock:
            system.advance(now_s)
            return tuple(InForce(each, until_s - now_s) for each, until_s in system.breakages.items())

    def inflict(self, breakage: Breakage, *, for_s: float) -> None:
        named = (breakage.target, *filter(None, [breakage.toward]))
        of_places = breakage.kind in (Kind.CUT, Kind.ONE_WAY)
        known = VOTERS.values() if of_places else [host.name for host in HOSTS]
        if unknown := set(named) - set(known):
            raise Unreachable(breakage.order(), on=", ".join(unknown), saw="there is no such thing")
        if self._system.inflict_fails is not None:
            raise self._system.inflict_fails
        with self._system.lock:
            self._system.inflict(breakage, for_s)

    def mend(self, breakage: Breakage) -> None:
        if self._system.mend_fails is not None:
            raise self._system.mend_fails
        with self._system.lock:
            if not self._system.mends_in_vain:
                self._system.mend(breakage)


class FakeWorkload:
    """``ports.Workload``: what was due since the last look happens at the next one, in order."""

    def __init__(self, system: FakeSystem, spec: WorkloadSpec, *, run: str = "run") -> None:
        self.table = table_of(run)
        self._system = system
        self._spec = spec
        self._run = run
        self._began_at = system.clock.now()
        self._began_s = system.clock.monotonic()
        self._records: list[Record] = []
        self._marks: list[Mark] = []
        self._acknowledged: dict[str, list[float]] = {edge: [] for edge in EDGES}
        self._next_row = 0
        self._running = False
        self._stopped: History | None = None
        self._next_op = 0

    def start(self) -> None:
        if not any(self._system.writable(edge) for edge in EDGES):
            raise Unreachable(f"use table {self.table}", on="every edge", saw="no answer within 1 s")
        self._system.tables.add(self.table)
        self._started_s = self._now_s()
        self._running = True

    def acknowledged_s(self) -> Mapping[str, Sequence[float]]:
        self._catch_up()
        return {edge: tuple(instants) for edge, instants in self._acknowledged.items()}

    def mark(self, name: str, target: str) -> float:
        self._catch_up()
        self._marks.append(Mark(self._now_s(), name, target))
        return self._now_s()

    def stop(self) -> History:
        if self._running:
            self._catch_up()
            self._running = False
            self._final_read()
        return History(
            self._run,
            self._began_at,
            self._spec.writes_per_s,
            tuple(EDGES),
            tuple(self._records),
            tuple(self._marks),
            {ADDRESSES[name]: place for name, place in DATABASES.items()},
        )

    def drop(self) -> None:
        if not any(self._system.writable(edge) for edge in EDGES):
            raise Unreachable(f"use table {self.table}", on="every edge", saw="no answer within 1 s")
        self._system.tables.discard(self.table)

    def _now_s(self) -> float:
        return self._system.clock.monotonic() - self._began_s

    def _catch_up(self) -> None:
        if not self._running:
            return
        every_s = 1 / self._spec.writes_per_s
        reads_each = max(1, round(self._spec.writes_per_s / self._spec.reads_per_s))
        while (due_s := self._started_s + self._next_row * every_s) <= self._now_s() - ANSWER_S:
            self._system.advance(self._began_s + due_s)
            row = self._next_row
            edge = tuple(EDGES)[row % len(EDGES)]
            self._write(row, edge, due_s)
            if row % reads_each == 0:
                self._read(row, edge, due_s)
            self._next_row += 1

    def _write(self, row: int, edge: str, due_s: float) -> None:
        ok = self._system.writable(edge)
        if ok:
            with self._system.lock:
                self._system.rows[row] = payload_of(self._run, row)
                self._system._last_rows.append(row)  # the same world
            self._acknowledged[edge].append(due_s + ANSWER_S)
        saw = "" if ok else "not connected: no answer within 2 s"
        self._note(
            Action.WRITE,
            edge,
            due_s,
            Phase.OK if ok else Phase.FAIL,
            took_s=ANSWER_S if ok else 2.0,
            row=row,
            saw=saw,
            acknowledged=self._system.acknowledger(edge) if ok else ("", None),
        )

    def _read(self, row: int, edge: str, due_s: float) -> None:
        if self._system.writable(edge):
            low = max(0, row - 99)
            rows = frozenset(each for each in range(low, row + 1) if each in self._system.rows)
            self._note(
                Action.READ, edge, due_s + ANSWER_S, Phase.OK, took_s=ANSWER_S, window=(low, row), rows=rows
            )

    def _final_read(self) -> None:
        edge = next((edge for edge in EDGES if self._system.writable(edge)), "")
        if edge:
            rows = frozenset(self._system.rows)
            self._note(Action.FINAL, edge, self._now_s(), Phase.OK, took_s=ANSWER_S, rows=rows)
        else:
            self._note(
                Action.FINAL, next(iter(EDGES)), self._now_s(), Phase.FAIL, took_s=1.0, saw="no answer"
            )

    def _note(
        self,
        action: Action,
        edge: str,
        at_s: float,
        phase: Phase,
        *,
        took_s: float,
        saw: str = "",
        rows: frozenset[int] = frozenset(),
        acknowledged: tuple[str, int | None] = ("", None),
        **invoked: Any,
    ) -> None:
        op, self._next_op = self._next_op, self._next_op + 1
        row = invoked.get("row")
        self._records.append(Record(at_s, op, action, Phase.INVOKE, edge, **invoked))
        by, epoch = acknowledged
        self._records.append(
            Record(at_s + took_s, op, action, phase, edge, row=row, rows=rows, saw=saw, by=by, epoch=epoch)
        )
