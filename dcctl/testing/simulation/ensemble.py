"""ZooKeeper as its clients feel it: a quorum of voters, sessions that end on the server's side, one tree.

What is modelled (ZooKeeper Programmer's Guide and Internals): writes go through a leader that a majority
follows; a voter that was cut from its leader goes on answering pings and reads, from what it knew, for
``SYNC_LIMIT_S``; a session ends when the leader has not heard of it for its time, and a new leader counts
from its election; ephemeral nodes end with their session; a transaction is all or nothing; a new node is at
version 0.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from kazoo.exceptions import (
    BadVersionError,
    NodeExistsError,
    NoNodeError,
    RolledBackError,
    RuntimeInconsistency,
)

from dcctl.testing.simulation.network import VOTERS, Network
from dcctl.testing.simulation.scheduler import BEGINNING, Machine, Scheduler

SYNC_LIMIT_S = 3.0
ELECTION_S = (0.3, 3.0)
BEGAN_AT_S = BEGINNING.timestamp()
ANY = -1


class Node(NamedTuple):
    """A node, and the Stat of it."""

    data: Any
    version: int
    mzxid: int
    ephemeralOwner: int  # noqa: N815  # kazoo's name
    mtime: int
    czxid: int


class Session:
    """``silent_s``: since when the leader has not heard of it; None while it does."""

    def __init__(self, number: int, session_s: float, heard: Callable[[], bool]) -> None:
        self.number = number
        self.session_s = session_s
        self.heard = heard
        self.silent_s: float | None = None
        self.ended = False


Op: TypeAlias = tuple[Any, ...]
"""``("set", path, data, version)``, ``("create", path, data, ephemeral, makepath)``,
``("check", path, version)`` or ``("delete", path, version)``."""


class Ensemble:
    """The servers. ``leader`` is None while nobody is followed by a majority."""

    def __init__(self, scheduler: Scheduler, network: Network) -> None:
        self.scheduler = scheduler
        self.network = network
        self.voters = [network.machines[name] for name in VOTERS]
        self.tree: dict[str, Node] = {}
        self.children: dict[str, set[str]] = {}
        self.changed: dict[str, int] = {}
        """The zxid at which a node last got or lost a child (its pzxid)."""
        self.sessions: dict[int, Session] = {}
        self._numbers = 0
        self.leader: Machine | None = self.voters[-1]
        self.zxid = 0
        self.stale: dict[str, tuple[float, dict[str, Node]]] = {}
        """Voters that their leader does not reach: since when, and what they know."""
        self._electing = False
        self.changes = 0
        """How often who serves, or who is connected to whom, may have changed."""
        self._watchers: list[tuple[str, Callable[[str], None]]] = []
        network.listeners.append(self.settle)

    # Who serves.

    def serves(self, voter: Machine) -> bool:
        """Whether ``voter`` belongs to the quorum."""
        leader = self.leader
        return leader is not None and (voter is leader or self.network.connected(voter, leader))

    def answers(self, voter: Machine) -> bool:
        """Whether ``voter`` takes clients: of the quorum, or not aware yet that it is not."""
        return voter.answers and (self.serves(voter) or voter.name in self.stale)

    def settle(self) -> None:
        """Follow what changed in the network: the leader, who is stale, whose session is heard."""
        self.changes += 1
        leader = self.leader
        if leader is not None and not self._followed(leader):
            self.leader = None
            for voter in self.voters:
                self._cut_off(voter)
        elif leader is not None:
            for voter in self.voters:
                if self.serves(voter):
                    self.stale.pop(voter.name, None)
                elif voter.name not in self.stale:
                    self._cut_off(voter)
        if self.leader is None and not self._electing:
            self._electing = True
            self.scheduler.after(self.scheduler.random.uniform(*ELECTION_S), self._elect)
        for session in self.sessions.values():
            self.listen(session)

    def _followed(self, leader: Machine) -> bool:
        followers = sum(each is leader or self.network.connected(each, leader) for each in self.voters)
        return leader.answers and followers > len(self.voters) // 2

    def _cut_off(self, voter: Machine) -> None:
        self.stale[voter.name] = (self.scheduler.now_s, dict(self.tree))
        self.scheduler.after(SYNC_LIMIT_S, lambda: self._give_up(voter))

    def _give_up(self, voter: Machine) -> None:
        since = self.stale.get(voter.name)
        if since is not None and self.scheduler.now_s >= since[0] + SYNC_LIMIT_S - 1e-6:
            del self.stale[voter.name]
            self.changes += 1
            self.settle()

    def _elect(self) -> None:
        self._electing = False
        able = [voter for voter in self.voters if self._followed(voter)]
        if able:
            self.leader = self.scheduler.random.choice(able)
            self.changes += 1
            for session in self.sessions.values():
                if session.silent_s is not None:
                    session.silent_s = self.scheduler.now_s  # a new leader counts anew
                    self._expire_later(session)
            self.settle()
        elif any(each.answers for each in self.voters):
            self._electing = True
            self.scheduler.after(0.5, self._elect)

    # Sessions.

    def new_session(self, session_s: float, heard: Callable[[], bool]) -> Session:
        self._numbers += 1
        session = Session(self._numbers, session_s, heard)
        self.sessions[session.number] = session
        return session

    def listen(self, session: Session) -> None:
        """Whether the leader hears of ``session`` now; when not, its time runs."""
        if session.ended:
            return
        if session.heard():
            session.silent_s = None
        elif session.silent_s is None:
            session.silent_s = self.scheduler.now_s
            self._expire_later(session)

    def _expire_later(self, session: Session) -> None:
        since_s = session.silent_s

        def expire() -> None:
            if session.silent_s != since_s or session.ended:
                return
            if self.leader is None:
                return  # the next one counts anew
            self.end(session)

        self.scheduler.after(session.session_s, expire)

    def end(self, session: Session) -> None:
        """The leader closes a session; its nodes go."""
        session.ended = True
        del self.sessions[session.number]
        self.zxid += 1
        for path in [path for path, node in self.tree.items() if node.ephemeralOwner == session.number]:
            self.put(path, None)
            self._told(path)

    # The tree.

    def look(self, voter: Machine) -> dict[str, Node]:
        """What ``voter`` knows."""
        stale = self.stale.get(voter.name) if self.stale else None
        return self.tree if stale is None else stale[1]

    def commit(self, session: int, ops: Sequence[Op]) -> list[Any]:
        """All of ``ops`` in order, or none; kazoo's results of a transaction."""
        self.zxid += 1
        before: list[tuple[str, Node | None]] = []
        results = []
        for index, op in enumerate(ops):
            error = self._why_not(op)
            if error is not None:
                for path, node in reversed(before):
                    self.put(path, node)
                after = len(ops) - index - 1
                return [RolledBackError()] * index + [error] + [RuntimeInconsistency()] * after
            before.append((op[1], self.tree.get(op[1])))
            results.append(self._apply(session, op))
        for op in ops:
            if op[0] != "check":
                self._told(op[1])
        return results

    def _why_not(self, op: Op) -> Any:
        kind, path = op[0], op[1]
        node = self.tree.get(path)
        if kind == "create":
            folder = path.rpartition("/")[0]
            if not op[4] and folder not in self.tree and folder not in self.children:
                return NoNodeError()
            return NodeExistsError() if node is not None else None
        if node is None:
            return NoNodeError()
        version: int = op[3] if kind == "set" else op[2]
        return BadVersionError() if version not in (ANY, node.version) else None

    def _apply(self, session: int, op: Op) -> Any:
        kind, path = op[0], op[1]
        at = int((BEGAN_AT_S + self.scheduler.now_s) * 1000)
        if kind == "create":
            self.put(path, Node(op[2], 0, self.zxid, session if op[3] else 0, at, self.zxid))
            return path
        if kind == "set":
            old = self.tree[path]
            self.tree[path] = Node(op[2], old.version + 1, self.zxid, old.ephemeralOwner, at, old.czxid)
            return self.tree[path]
        if kind == "delete":
            self.put(path, None)
        return True

    def put(self, path: str, node: Node | None) -> None:
        """What a tree is like from now on, whoever may do so; nobody is told."""
        folder, _slash, name = path.rpartition("/")
        if node is None or path not in self.tree:
            self.changed[folder] = self.zxid
        if node is None:
            self.tree.pop(path, None)
            self.children[folder].discard(name)
            return
        self.tree[path] = node
        while name not in self.children.setdefault(folder, set()):
            self.children[folder].add(name)
            folder, _slash, name = folder.rpartition("/")

    def watch(self, folder: str, told: Callable[[str], None]) -> None:
        """Let ``told`` be called with the path of every change in ``folder``, once it is made."""
        self._watchers.append((folder, told))

    def _told(self, path: str) -> None:
        for folder, told in self._watchers:
            if path.startswith(folder):
                told(path)
