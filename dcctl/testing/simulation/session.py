"""One client's session with the simulated ensemble, with the face of ``ZooKeeperSession``.

The adapters that run against a real ensemble run against this one: their transactions, their comparisons
of versions and their handling of lost answers are what is simulated, not a copy of them.

A client that is cut off stays SUSPENDED: it hears that its session ended only once it is connected again.
What it asked for at the moment of the cut may have been carried out, may be carried out when the connection
is back (kazoo's queue), or never.
"""

from collections.abc import Callable
from typing import Any

from kazoo.exceptions import KazooException, NoNodeError

from dcctl.errors import TimedOut, Unreachable
from dcctl.testing.simulation.ensemble import ANY, Ensemble, Node, Op
from dcctl.testing.simulation.scheduler import Machine

RECONNECT_S = 0.4
OFTEN = 0.1
"""How often a request takes long enough for others to act meanwhile."""
SLOW_S = 0.2
SHORTEST_S = 0.001
"""No request is given less."""


class SimSession:
    """A client on ``machine``. ``close`` is its goodbye, ``die`` the end of its process."""

    def __init__(self, ensemble: Ensemble, machine: Machine, session_s: float) -> None:
        self.ensemble = ensemble
        self._scheduler = ensemble.scheduler
        self._chance = ensemble.scheduler.random.random
        self.machine = machine
        self.session_s = session_s
        self.client = Client(ensemble)
        self.acknowledged_s: float | None = None
        self.gone = False
        self._voter: Machine | None = None
        self._well_at = -1
        """The count of changes at which nothing was between this client and its voter; else none."""
        self._again_s = 0.0
        self._late: list[list[Op]] = []
        self._voters = sorted(ensemble.voters, key=lambda each: each.place != machine.place)
        self.session = ensemble.new_session(session_s, self._is_heard)
        ensemble.listen(self.session)

    def clock(self) -> float:
        return self._scheduler.now_s

    @property
    def number(self) -> int | None:
        return self.session.number

    def close(self) -> None:
        if self.session.silent_s is None and not self.session.ended:
            self.ensemble.end(self.session)
        self.die()

    def die(self) -> None:
        self.gone = True
        self.ensemble.settle()

    def _is_heard(self) -> bool:
        """Whether the leader hears of this session: pings go on by themselves while the process lives."""
        ensemble, network, voter = self.ensemble, self.ensemble.network, self._voter
        if self.gone or not self.machine.answers:
            return False
        if voter is not None and network.connected(self.machine, voter) and ensemble.answers(voter):
            return ensemble.serves(voter)
        return any(network.connected(self.machine, each) and ensemble.serves(each) for each in self._voters)

    # The face of ZooKeeperSession.

    def sent(self, _tried: str, request: Callable[[], "Asked"]) -> "Asked":
        return request()

    def wait(self, tried: str, asked: "Asked", limit_s: float) -> Any:
        result = self._carry_out(tried, asked, limit_s)
        if isinstance(result, Exception):
            try:
                raise result
            finally:
                del result  # it knows this frame: they would keep each other
        return result

    def look_for(self, path: str) -> "Asked":
        return Read(path)

    def found(self, tried: str, asked: "Asked", limit_s: float) -> tuple[Any, Node] | None:
        answer = self._carry_out(tried, asked, limit_s)
        return None if isinstance(answer, NoNodeError) else answer

    def ask(self, tried: str, request: Callable[[], "Asked"], limit_s: float) -> Any:
        sent_s = self.clock()
        try:
            answer = self.wait(tried, request(), limit_s)
        except KazooException:
            self.acknowledged_s = sent_s
            raise
        self.acknowledged_s = sent_s
        return answer

    def read(self, path: str, limit_s: float) -> tuple[Any, Node] | None:
        sent_s = self._scheduler.now_s
        answer = self._carry_out("read", Read(path), limit_s)
        self.acknowledged_s = sent_s
        return None if isinstance(answer, NoNodeError) else answer

    # One request.

    def _carry_out(self, tried: str, asked: "Asked", limit_s: float) -> Any:
        ensemble, scheduler = self.ensemble, self._scheduler
        _whoever_was_killed_asks_nothing = scheduler.actor
        limit_s = max(limit_s, SHORTEST_S)
        voter = self._voter
        if voter is None or (self._well_at != ensemble.changes and not self._is_well()):
            voter = self._connected(tried, asked, limit_s)
        delay = self._chance()
        if delay < OFTEN:
            scheduler.sleep(delay / 2)
        if self._well_at != ensemble.changes and not self._is_well():
            if not ensemble.network.goes(self.machine, voter):
                self._lose(tried, limit_s)
            if asked.ops is not None and not ensemble.serves(voter):
                self._lose(tried, limit_s)  # a voter without a leader takes no writes
        if self.session.ended:
            self.renew()
            raise Unreachable(tried, on="ZooKeeper", saw="the session has expired")
        result = asked.carry_out(ensemble, self.session.number, voter)
        if asked.ops is not None and ensemble.leader is not None and ensemble.leader.disk_s > SLOW_S:
            scheduler.sleep(min(ensemble.leader.disk_s, limit_s))
            if ensemble.leader is not None and ensemble.leader.disk_s > limit_s:
                raise TimedOut(tried, on="ZooKeeper", saw=f"no answer within {limit_s:g} s")
        if voter.name in ensemble.network.loses_answers or (
            self._well_at != ensemble.changes
            and not self._is_well()
            and not ensemble.network.connected(self.machine, voter)
        ):
            self._lose(tried, limit_s)
        return result

    def _is_well(self) -> bool:
        """Whether nothing is between this client and its voter, which is in the quorum: that is so most of
        the time, and is looked at again after anything changed."""
        ensemble, voter = self.ensemble, self._voter
        well = (
            voter is not None and ensemble.network.connected(self.machine, voter) and ensemble.serves(voter)
        )
        self._well_at = ensemble.changes if well else -1
        return well

    def _connected(self, tried: str, asked: "Asked", limit_s: float) -> Machine:
        """The voter that this client talks to. Unreachable while it is SUSPENDED."""
        ensemble, network, voter = self.ensemble, self.ensemble.network, self._voter
        if voter is None:
            if self.clock() >= self._again_s:
                for each in self._voters:
                    if network.connected(self.machine, each) and ensemble.answers(each):
                        self._reconnect(each)
                        return each
            raise Unreachable(tried, on="ZooKeeper", saw="no connection to ZooKeeper")
        if network.connected(self.machine, voter) and ensemble.answers(voter):
            return voter
        # The moment of the cut: the request is on its way.
        if asked.ops is not None and not self.session.ended:
            if network.goes(self.machine, voter) and ensemble.serves(voter):
                asked.carry_out(ensemble, self.session.number, voter)
            elif ensemble.scheduler.random.random() < 0.5:
                self._late.append(asked.ops)
        self._lose(tried, limit_s)
        raise AssertionError

    def _lose(self, tried: str, limit_s: float) -> None:
        """No answer within the limit; the connection is given up."""
        self._voter, self._well_at = None, -1
        self.ensemble.scheduler.sleep(limit_s)
        self._again_s = self.clock() + RECONNECT_S
        raise TimedOut(tried, on="ZooKeeper", saw=f"no answer within {limit_s:g} s")

    def _reconnect(self, voter: Machine) -> None:
        self._voter, self._well_at = voter, -1
        late, self._late = self._late, []
        if self.session.ended:
            self.renew()
        elif self.ensemble.serves(voter):
            for ops in late:
                self.ensemble.commit(self.session.number, ops)
        self.ensemble.listen(self.session)

    def renew(self) -> None:
        """The client heard that its session has expired, and has another."""
        self.session = self.ensemble.new_session(self.session_s, self._is_heard)
        self.ensemble.listen(self.session)


class Asked:
    """A request. ``ops``: the change that it asks for; None where it only looks."""

    __slots__ = ()
    ops: list[Op] | None

    def carry_out(self, ensemble: Ensemble, session: int, voter: Machine) -> Any:
        raise NotImplementedError


class Read(Asked):
    """A node."""

    __slots__ = ("_path",)
    ops = None

    def __init__(self, path: str) -> None:
        self._path = path

    def carry_out(self, ensemble: Ensemble, session: int, voter: Machine) -> Any:  # noqa: ARG002
        node = ensemble.look(voter).get(self._path)
        return NoNodeError() if node is None else (node.data, node)


class Look(Asked):
    """Something of the tree."""

    __slots__ = ("_look",)
    ops = None

    def __init__(self, look: Callable[[dict[str, Node]], Any]) -> None:
        self._look = look

    def carry_out(self, ensemble: Ensemble, session: int, voter: Machine) -> Any:  # noqa: ARG002
        return self._look(ensemble.look(voter))


class Change(Asked):
    """A transaction, or a single change."""

    __slots__ = ("_single", "ops")

    def __init__(self, ops: list[Op], *, single: bool = False) -> None:
        self.ops: list[Op] = ops
        self._single = single

    def carry_out(self, ensemble: Ensemble, session: int, voter: Machine) -> Any:  # noqa: ARG002
        results = ensemble.commit(session, self.ops)
        return results[0] if self._single else results


class Client:
    """What the adapters use of kazoo's client."""

    def __init__(self, ensemble: Ensemble) -> None:
        self._ensemble = ensemble
        self.connected = True

    def get_async(self, path: str) -> Asked:
        return Read(path)

    def get_children_async(self, path: str) -> Asked:
        def look(tree: dict[str, Node]) -> Any:
            if tree is self._ensemble.tree:
                return sorted(self._ensemble.children.get(path, ()))
            below = (each[len(path) + 1 :] for each in tree if each.startswith(f"{path}/"))
            return sorted({each.partition("/")[0] for each in below})

        return Look(look)

    def create_async(
        self, path: str, value: Any = b"", *, ephemeral: bool = False, makepath: bool = False
    ) -> Asked:
        return Change([("create", path, value, ephemeral, makepath)], single=True)

    def set_async(self, path: str, value: Any, version: int = ANY) -> Asked:
        return Change([("set", path, value, version)], single=True)

    def delete_async(self, path: str, version: int = ANY) -> Asked:
        return Change([("delete", path, version)], single=True)

    def transaction(self) -> "Transaction":
        return Transaction()


class Transaction:
    """kazoo's transaction."""

    def __init__(self) -> None:
        self.ops: list[Op] = []

    def create(self, path: str, value: Any = b"", *, ephemeral: bool = False) -> None:
        self.ops.append(("create", path, value, ephemeral, False))

    def set_data(self, path: str, value: Any, version: int = ANY) -> None:
        self.ops.append(("set", path, value, version))

    def check(self, path: str, version: int) -> None:
        self.ops.append(("check", path, version))

    def delete(self, path: str, version: int = ANY) -> None:
        self.ops.append(("delete", path, version))

    def commit_async(self) -> Asked:
        return Change(self.ops)
