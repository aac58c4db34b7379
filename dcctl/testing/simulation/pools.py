"""The pools of the edges: whose clients wait, for whom, and until when."""

from collections.abc import Callable, Mapping
from functools import partial

from dcctl.errors import Unreachable
from dcctl.testing.simulation.database import Edge, Postgres, SaysPrimary
from dcctl.testing.simulation.network import EDGES, Network
from dcctl.testing.simulation.scheduler import Scheduler

ASK_S = 2.0
LOOK_EVERY_S = 0.05
UNDER_WAY_S = 1.0
TURN_S = 12.0
"""query_wait_timeout: a client whose turn does not come by then is told so."""


class SimPools:
    """``ports.Pools``: an edge that holds lets go once the new primary is one, or when its time is over."""

    def __init__(
        self,
        scheduler: Scheduler,
        network: Network,
        edges: Mapping[str, Edge],
        members: Mapping[str, SaysPrimary],
        databases: Mapping[str, Postgres],
    ) -> None:
        self._scheduler = scheduler
        self._network = network
        self._edges = edges
        self._members = members
        self._databases = databases
        self._held: dict[str, tuple[str, float]] = {}
        self.under_way = dict.fromkeys(EDGES, 0)

    def observe(self, *, limit_s: float) -> Mapping[str, str]:
        return self._everywhere(limit_s, lambda _edge: None)

    def hold(self, old: str, new: str, *, for_s: float, limit_s: float) -> Mapping[str, str]:  # noqa: ARG002
        def hold(edge: str) -> None:
            self._held[edge] = (new, self._scheduler.now_s + for_s)

        told = self._everywhere(limit_s, hold)
        ends_s = self._scheduler.now_s + UNDER_WAY_S
        while self._scheduler.now_s < ends_s and any(self.under_way[edge] for edge in self._held):
            self._scheduler.sleep(LOOK_EVERY_S)
        return told

    def let_go(self, *, limit_s: float) -> Mapping[str, str]:
        return self._everywhere(limit_s, lambda edge: self._held.pop(edge, None))

    def _everywhere(self, limit_s: float, act: Callable[[str], object]) -> dict[str, str]:
        told = {}
        for name, edge in self._edges.items():
            try:
                ask_s = min(limit_s, ASK_S)
                self._network.request(edge.machine, "ask the pool", ask_s, partial(act, name))
                told[name] = ""
            except Unreachable as error:
                told[name] = error.saw
        return told

    def turn(self, name: str) -> bool:
        """Wait as a client of this edge; False when its turn did not come."""
        ends_s = self._scheduler.now_s + TURN_S
        while self._holds(name):
            if self._scheduler.now_s >= ends_s:
                return False
            self._scheduler.sleep(LOOK_EVERY_S)
        return True

    def _holds(self, name: str) -> bool:
        """What the holder on the edge does each time it looks."""
        if name not in self._held:
            return False
        edge, (new, until_s) = self._edges[name], self._held[name]
        if edge.machine.up and edge.machine.frozen:
            return True
        database = self._databases[new]
        leads = self._network.connected(edge.machine, database.machine) and self._members[new].says_primary
        if leads and database.primary:
            edge.routes.update(dict.fromkeys(edge.routes, False) | {new: True})
        elif edge.machine.up and self._scheduler.now_s < until_s:
            return True
        del self._held[name]
        return False
