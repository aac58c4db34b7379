"""Patroni's rules over its keys (read in Patroni 3.0.2: ``ha.py``, ``dcs/zookeeper.py``).

What is modelled: the leader key is ephemeral, of a session of ``ttl``; a primary that cannot reach ZooKeeper
for ``retry_s`` demotes; one whose session lives looks at what it cached until a watch tells otherwise, and
watches may come late; only whom ``/sync`` names may take a free leader key; whoever has the key promotes
without another look, after it wrote ``/sync`` at the version that it read (0 is written unconditionally);
a standby that does not stream is first struck out of ``/sync`` and then out of PostgreSQL's names, one that
streams is first put into the names; ``POST /switchover`` goes to the primary, which stops, lets the standby
have everything, and gives the key back by ending its session; a key that has our name and the session of an
earlier life of ours is made anew. Recorded drills are replayed through this (``replay``).
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from kazoo.exceptions import BadVersionError, NodeExistsError, NoNodeError

from dcctl.errors import Rejected, TimedOut, Unreachable
from dcctl.testing.simulation.database import Postgres
from dcctl.testing.simulation.ensemble import ANY, Ensemble
from dcctl.testing.simulation.network import Network
from dcctl.testing.simulation.ports import KEYS
from dcctl.testing.simulation.session import SimSession

ASK_S = 1.5
MEMBERS = f"{KEYS}/members/"
REST_S = 2.0
"""How long another member's API is waited for."""


@dataclass(slots=True)
class Times:
    """Patroni's settings. ``drop_s``: until a standby that is silent counts as not streaming."""

    ttl_s: float = 20.0
    loop_s: float = 2.0
    retry_s: float = 5.0
    drop_s: float = 8.0
    watch_s: float = 0.02


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a Patroni read of its keys."""

    leader: str | None
    leader_session: int
    sync_leader: str | None
    synchronous: tuple[str, ...]
    sync_version: int | None
    members: tuple[str, ...]
    candidate: str | None

    def may_lead(self, name: str) -> bool:
        return self.sync_leader is None or name == self.sync_leader or name in self.synchronous


def sync_note(leader: str, standby: str | None) -> bytes:
    return json.dumps({"leader": leader, "sync_standby": standby}, sort_keys=True).encode()


class Patroni:
    """One member's Patroni. ``says_primary`` is its answer to ``GET /primary``."""

    def __init__(
        self,
        postgres: Postgres,
        ensemble: Ensemble,
        network: Network,
        times: Times,
        others: "Mapping[str, Patroni]",
    ) -> None:
        self.postgres = postgres
        self.name = postgres.name
        self.ensemble = ensemble
        self.network = network
        self.times = times
        self.others = others
        self.paused = False
        self.session = SimSession(ensemble, postgres.machine, times.ttl_s)
        self._cluster: Cluster | None = None
        self._dirty = True
        self._silent_s: float | None = None
        self._locked_s = -1e9
        """When the leader key was last known to be ours."""
        ensemble.watch(f"{KEYS}/", self._watch)

    def _watch(self, path: str) -> None:
        if not path.startswith(MEMBERS):
            delay_s = self.ensemble.scheduler.random.uniform(0.0, self.times.watch_s)
            self.ensemble.scheduler.after(delay_s, self._stain)

    def _stain(self) -> None:
        """The watch arrives; whoever is frozen or cut off hears of it afterwards."""
        if self.postgres.machine.answers and self.session.session.silent_s is None:
            self._dirty = True
        elif self.postgres.machine.up:
            self.ensemble.scheduler.after(0.2 + self.times.watch_s, self._stain)

    @property
    def says_primary(self) -> bool:
        postgres, now_s = self.postgres, self.ensemble.scheduler.now_s
        return postgres.running and postgres.primary and now_s - self._locked_s <= self.times.ttl_s

    def run(self) -> None:
        """The loop, for as long as the process lives."""
        scheduler = self.ensemble.scheduler
        while True:
            self.tick()
            scheduler.sleep(self.times.loop_s * scheduler.random.uniform(0.6, 1.0))

    def restart(self) -> None:
        """The machine boots: a new process with a new session, and PostgreSQL as a standby of nobody."""
        self.session.die()
        self.session = SimSession(self.ensemble, self.postgres.machine, self.times.ttl_s)
        self._cluster, self._dirty, self._silent_s = None, True, None
        self._locked_s = -1e9
        self.postgres.upstream = None

    def tick(self) -> None:
        try:
            cluster = self._load()
        except Unreachable:
            self._without_quorum()
            return
        self._silent_s = None
        try:
            if self.postgres.primary:
                self._as_primary(cluster)
            else:
                self._as_standby(cluster)
        except Unreachable:
            self._dirty = True

    def _without_quorum(self) -> None:
        now_s = self.ensemble.scheduler.now_s
        self._dirty = True
        self._silent_s = now_s if self._silent_s is None else self._silent_s
        if self.postgres.primary and now_s - self._silent_s >= self.times.retry_s:
            self.postgres.stop()

    # The keys.

    def _load(self) -> Cluster:
        """The cluster: read, or as cached. Saying that this member lives shows whether ZooKeeper does."""
        path, session = f"{KEYS}/members/{self.name}", self.session
        node = self.ensemble.tree.get(path)
        if node is not None and node.ephemeralOwner == session.number:
            session.ask("touch", partial(session.client.set_async, path, b"{}"), ASK_S)
        else:
            if node is not None:
                with contextlib.suppress(NoNodeError):
                    session.ask("delete", partial(session.client.delete_async, path), ASK_S)
            with contextlib.suppress(NodeExistsError):
                session.ask(
                    "touch",
                    partial(session.client.create_async, path, b"{}", ephemeral=True, makepath=True),
                    ASK_S,
                )
            self._dirty = True
        if self._cluster is None or self._dirty:
            self._dirty = False
            self._cluster = self._read()
        return self._cluster

    def _read(self) -> Cluster:
        session = self.session
        leader = session.read(f"{KEYS}/leader", ASK_S)
        sync = session.read(f"{KEYS}/sync", ASK_S)
        failover = session.read(f"{KEYS}/failover", ASK_S)
        fields: dict[str, Any] = json.loads(sync[0]) if sync else {}
        named = fields.get("sync_standby")
        return Cluster(
            leader=leader[0].decode() if leader else None,
            leader_session=leader[1].ephemeralOwner if leader else 0,
            sync_leader=fields.get("leader"),
            synchronous=(named,) if named else (),
            sync_version=sync[1].version if sync else None,
            members=tuple(sorted(self.ensemble.children.get(f"{KEYS}/members", ()))),
            candidate=json.loads(failover[0]).get("member") if failover else None,
        )

    def _write_sync(self, cluster: Cluster, standby: str | None) -> bool:
        """Rewrite ``/sync`` at the version read; False when it was changed meanwhile."""
        version = cluster.sync_version or ANY  # as Patroni sends it
        note = sync_note(self.name, standby)
        self._dirty = True
        try:
            self.session.ask(
                "sync", partial(self.session.client.set_async, f"{KEYS}/sync", note, version), ASK_S
            )
        except (BadVersionError, NoNodeError):
            return False
        return True

    # A primary.

    def _as_primary(self, cluster: Cluster) -> None:
        postgres = self.postgres
        if cluster.leader == self.name and self._has_lock(cluster):
            if cluster.candidate not in (None, self.name):
                self._hand_over(cluster)
            else:
                if cluster.candidate is not None:
                    self._forget_candidate()
                self._keep_synchronous(cluster)
        elif cluster.leader is None and self._acquire():  # who runs as primary is not asked for /sync
            self._keep_synchronous(cluster)
        else:
            postgres.stop()

    def _has_lock(self, cluster: Cluster) -> bool:
        """The leader key has our name. Of a session that is not ours, it is deleted, whoever has it by now,
        and made anew (``_update_leader``: "ownership mismatch")."""
        if cluster.leader_session == self.session.number:
            self._locked_s = self.ensemble.scheduler.now_s
            return True
        self._dirty = True
        with contextlib.suppress(NoNodeError):
            self.session.ask("delete", partial(self.session.client.delete_async, f"{KEYS}/leader"), ASK_S)
        return self._acquire()

    def _keep_synchronous(self, cluster: Cluster) -> None:
        postgres = self.postgres
        postgres.stream()
        streaming = [
            name
            for name, other in self.others.items()
            if name != self.name
            and postgres.streams(name, self.times.drop_s)
            and (other.postgres.follows(postgres) or name in cluster.synchronous)
        ]
        gone = [name for name in cluster.synchronous if name not in streaming]
        if gone or cluster.sync_leader != self.name:
            if self._write_sync(cluster, None):
                postgres.set_names(frozenset())
        elif streaming and not cluster.synchronous:
            postgres.set_names(frozenset(streaming))
            postgres.stream()
            if postgres.confirmed.get(streaming[0], 0) >= len(postgres.wal) and not self._write_sync(
                cluster, streaming[0]
            ):
                return
        elif cluster.synchronous and postgres.names != frozenset(cluster.synchronous):
            postgres.set_names(frozenset(cluster.synchronous))

    def _hand_over(self, cluster: Cluster) -> None:
        candidate = cluster.candidate or ""
        standby = self.others[candidate].postgres if candidate in self.others else None
        if standby is None or candidate not in cluster.synchronous or not standby.follows(self.postgres):
            self._forget_candidate()
            return
        self.postgres.stream()
        self.postgres.stop()
        self.ensemble.scheduler.sleep(0.3)
        self._release()

    def _release(self) -> None:
        """The session is ended, and with it all of its keys; another one begins (``_delete_leader``)."""
        self._dirty = True
        self.session.close()
        self.session = SimSession(self.ensemble, self.postgres.machine, self.times.ttl_s)

    def _forget_candidate(self) -> None:
        """The key stays, and names nobody."""
        self._dirty = True
        with contextlib.suppress(NoNodeError):
            forget = partial(self.session.client.set_async, f"{KEYS}/failover", b"{}")
            self.session.ask("forget", forget, ASK_S)

    # A standby.

    def _as_standby(self, cluster: Cluster) -> None:
        postgres = self.postgres
        if not postgres.running:
            postgres.running = True
        if cluster.leader == self.name:
            if self._has_lock(cluster):
                self._promote(cluster)
        elif cluster.leader is None:
            asked = cluster.candidate == self.name
            other = not asked and cluster.candidate is not None and self._reaches(cluster.candidate)
            healthy = asked or (not other and self._is_healthiest(cluster))
            if healthy and cluster.may_lead(self.name) and self._acquire():
                self._promote(cluster)
        else:
            self._follow(cluster.leader)

    def _reaches(self, name: str | None) -> bool:
        other = self.others.get(name or "")
        return other is not None and self.network.connected(self.postgres.machine, other.postgres.machine)

    def _is_healthiest(self, cluster: Cluster) -> bool:
        """By asking the others that ``/sync`` lets lead: nobody is primary, and nobody but the last leader
        has more of the log."""
        for name, other in self.others.items():
            if not cluster.may_lead(name):
                continue
            if name != self.name and not self._reaches(name):
                self.ensemble.scheduler.sleep(REST_S)  # nobody answers
            if name == self.name or not self._reaches(name) or not other.postgres.running:
                continue
            ahead = len(other.postgres.wal) > len(self.postgres.wal) and name != cluster.sync_leader
            if other.postgres.primary or ahead:
                return False
        return True

    def _acquire(self) -> bool:
        path = f"{KEYS}/leader"
        create = partial(self.session.client.create_async, path, self.name.encode(), ephemeral=True)
        self._dirty = True
        try:
            self.session.ask("lead", create, ASK_S)
        except NodeExistsError:
            return False
        self._locked_s = self.ensemble.scheduler.now_s
        return True

    def _promote(self, cluster: Cluster) -> None:
        """With the leader key: written to ``/sync`` first, and then done, without another look."""
        if cluster.candidate is not None:
            self._forget_candidate()
        if not self._write_sync(cluster, None):
            return  # postponed to the next round: the key is kept
        self.ensemble.scheduler.sleep(self.ensemble.scheduler.random.uniform(0.1, 1.0))
        if not self.postgres.running:
            return  # killed meanwhile: started again, and promoted, in the next round
        self.postgres.promote()
        self._locked_s = self.ensemble.scheduler.now_s

    def _follow(self, leader: str) -> None:
        primary = self.others[leader].postgres
        if not self._reaches(leader) or not primary.primary or not primary.running:
            return
        if not self.postgres.follows(primary):
            if primary.wal[: len(self.postgres.wal)] != self.postgres.wal:
                self.ensemble.scheduler.sleep(self.ensemble.scheduler.random.uniform(0.5, 2.0))
                if not self._reaches(leader) or not primary.primary or self.postgres.primary:
                    return
            self.postgres.rejoin(primary)
        primary.stream()

    # The REST API.

    def switch_over(self, leader: str, candidate: str) -> None:
        """``POST /switchover``, taken; raises Rejected as Patroni answers 412."""
        cluster = self._cluster
        if not self.postgres.primary or leader != self.name or cluster is None:
            raise Rejected("switch over", on=self.name, saw="HTTP 412: leader name does not match")
        if candidate not in cluster.synchronous:
            raise Rejected("switch over", on=self.name, saw="HTTP 412: candidate is not synchronous")
        note, path = json.dumps({"leader": leader, "member": candidate}).encode(), f"{KEYS}/failover"
        client = self.session.client
        try:
            self.session.ask("switch over", partial(client.set_async, path, note), ASK_S)
        except NoNodeError:
            self.session.ask("switch over", partial(client.create_async, path, note), ASK_S)


class SimSwitch:
    """``ports.Switch`` from where a person sits."""

    def __init__(self, members: Mapping[str, Patroni], network: Network) -> None:
        self._members = members
        self._network = network

    def make_ready(self, member: str, *, limit_s: float) -> str:  # noqa: ARG002
        return ""

    def start_anew(self, member: str, *, limit_s: float) -> str:
        return self._asked(member, "start a standby anew", limit_s)

    def rebuild(self, member: str, *, limit_s: float) -> str:
        return self._asked(member, "rebuild a standby", limit_s)

    def _asked(self, name: str, tried: str, limit_s: float) -> str:
        """A standby here is rewound by itself, whenever it reaches the primary."""
        machine = self._members[name].postgres.machine
        self._network.request(machine, tried, min(limit_s, 10.0), lambda: None)
        return "restarted"

    def switch_over(self, leader: str, candidate: str, *, limit_s: float) -> str:
        member, scheduler = self._members[leader], self._network.scheduler
        tried = f"move the primary to {candidate}"
        if not member.postgres.machine.up:
            scheduler.sleep(limit_s)
            raise TimedOut(tried, on=leader, saw="no answer")
        self._network.request(
            member.postgres.machine, tried, min(limit_s, 10.0), lambda: member.switch_over(leader, candidate)
        )
        began_s = scheduler.now_s
        while scheduler.now_s - began_s < limit_s:
            scheduler.sleep(1.0)
            if self._members[candidate].says_primary:
                return "Successfully switched over"
        raise TimedOut(tried, on=leader, saw=f"no answer within {limit_s:g} s")
