"""What the models do next in a situation that was recorded: each change that real life made is one of them.

The situation is put on a bench, a small world of the same ZooKeeper and the same Patroni that a simulation
is made of, and each member takes one turn there, for each way in which what was not recorded may have been.
"""

import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dcctl.errors import Rejected, Unreachable
from dcctl.testing.simulation.database import Entry, Postgres
from dcctl.testing.simulation.ensemble import Ensemble, Node
from dcctl.testing.simulation.network import DATABASES, Network
from dcctl.testing.simulation.patroni import Patroni, Times
from dcctl.testing.simulation.ports import KEYS
from dcctl.testing.simulation.scheduler import Scheduler

TURN_S = 30.0
"""A turn is over by then."""
STRANGER = 999_999
"""A session that no member has."""


@dataclass(frozen=True, slots=True)
class Held:
    """A key that is there: its content and version, and ``session`` if it is ephemeral."""

    value: Any
    version: int = 0
    session: int = 0


@dataclass(frozen=True, slots=True)
class Situation:
    """The keys (``leader``, ``sync``, ``failover``, ``members/NAME``), and what the members said: which of
    ``roles`` each may have had ("primary", "standby"), and how much of the log it has."""

    keys: Mapping[str, Held]
    roles: Mapping[str, frozenset[str]]
    locations: Mapping[str, int] = field(default_factory=dict)


Change = tuple[str, Any]
"""A key and its content then, None where it is gone; or ``SESSION`` and whose session ended with its keys."""
SESSION = "session"
JUDGED = ("leader", "sync", "failover")


def next_changes(situation: Situation) -> dict[Change, str]:
    """Every change of a key that a member may make next, and how it comes about."""
    found: dict[Change, str] = {}
    for name in DATABASES:
        for role, reaches, streams in itertools.product(
            sorted(situation.roles.get(name, ("primary", "standby"))), (True, False), (True, False)
        ):
            bench = _Bench(situation, name, role=role, reaches=reaches, streams=streams)
            for change in bench.turn():
                found.setdefault(change, f"{name} as {role}")
        for change in _Bench(situation, name, role="primary", reaches=True, streams=True).asked():
            found.setdefault(change, f"{name} is asked for a switchover")
    return found


def frozen(value: Any) -> Any:
    """A content as it is compared: of ``/failover`` and ``/sync`` what Patroni reads of them."""
    if not isinstance(value, Mapping):
        return value
    return tuple(sorted((name, each) for name, each in value.items() if each))


class _Bench:
    """One situation, in which ``name`` is about to act."""

    def __init__(self, situation: Situation, name: str, *, role: str, reaches: bool, streams: bool) -> None:
        self.name = name
        self.scheduler = Scheduler(1)
        network = self.network = Network(self.scheduler)
        self.ensemble = Ensemble(self.scheduler, network)
        if not reaches:
            one, other = DATABASES.values()
            network.blocked |= {(one, other), (other, one)}
        self.databases = {
            each: Postgres(self.scheduler, network, network.machines[each]) for each in DATABASES
        }
        self.members: dict[str, Patroni] = {}
        for each, database in self.databases.items():
            database.followers = [other for other in self.databases.values() if other is not database]
            self.members[each] = Patroni(database, self.ensemble, network, Times(), self.members)
        self._place(situation)
        self._settle(situation, role, streams=streams)
        self.changes: list[tuple[int, Change]] = []
        """Each with its zxid."""
        self.ensemble.watch(f"{KEYS}/", self._changed)

    def _place(self, situation: Situation) -> None:
        own = {
            held.session: self.members[key.partition("/")[2]].session.number
            for key, held in situation.keys.items()
            if key.startswith("members/")
        }
        for key, held in situation.keys.items():
            session = own.get(held.session, STRANGER) if held.session else 0
            data = held.value.encode() if isinstance(held.value, str) else json.dumps(held.value).encode()
            self.ensemble.put(f"{KEYS}/{key}", Node(data, held.version, 1, session or 0, 0, 1))

    def _settle(self, situation: Situation, role: str, *, streams: bool) -> None:
        order = sorted(set(situation.locations.values()))
        named = situation.keys.get("sync")
        standby = named.value.get("sync_standby") if named is not None else None
        for name, database in self.databases.items():
            length = order.index(situation.locations[name]) + 1 if name in situation.locations else 1
            database.wal = [Entry("write", (number,)) for number in range(length)]
        acting = self.databases[self.name]
        (other,) = acting.followers
        acting.primary = role == "primary"
        other.primary = not acting.primary and situation.roles.get(other.name) == frozenset({"primary"})
        primary, follower = (acting, other) if acting.primary else (other, acting)
        if primary.primary and standby:
            primary.names = frozenset({standby})
        if primary.primary and streams:
            follower.upstream = primary
            follower.wal = list(primary.wal)
            primary.confirmed[follower.name] = len(primary.wal)
            primary.heard_s[follower.name] = self.scheduler.now_s

    def _changed(self, path: str) -> None:
        key, node = path[len(KEYS) + 1 :], self.ensemble.tree.get(path)
        if key in JUDGED or node is None:
            data = None if node is None else node.data.decode()
            value = frozen(data if key == "leader" or data is None else json.loads(data))
            self.changes.append((self.ensemble.zxid, (key, value)))

    def turn(self) -> Iterator[Change]:
        """The first change of the member's turn; what follows it is asked of the situation after it."""
        yield from self._first(self.members[self.name].tick)

    def asked(self) -> Iterator[Change]:
        """The first change when ``POST /switchover`` asks it to hand over to the other."""
        member = self.members[self.name]
        (other,) = (each for each in DATABASES if each != self.name)

        def ask() -> None:
            member._cluster = member._read()
            with suppress(Rejected):
                member.switch_over(self.name, other)

        yield from self._first(ask)

    def _first(self, act: Any) -> Iterator[Change]:
        machine = self.databases[self.name].machine
        self.scheduler.spawn(self.name, machine, partial(_quietly, act))
        while not self._made() and self.scheduler.actors and self.scheduler.now_s < TURN_S:
            self.scheduler.run_until(self.scheduler.now_s + 0.05)
        for actor in self.scheduler.actors:
            self.scheduler.kill(actor)
        yield from self._made()[:1]

    def _made(self) -> list[Change]:
        """The changes so far. Keys that went at once went with their session."""
        made: list[Change] = []
        for zxid, (key, value) in self.changes:
            gone = [each for at, (each, left) in self.changes if at == zxid and left is None]
            own = f"members/{self.name}"
            if key == "leader" and {"leader", own} <= set(gone):
                made.append((SESSION, self.name))
            elif key in JUDGED:
                made.append((key, value))
        return made


def _quietly(act: Any) -> None:
    with suppress(Unreachable):
        act()
