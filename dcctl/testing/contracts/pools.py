"""What every ``ports.Pools`` keeps.

class TestMyPools(PoolsContract):
    @pytest.fixture
    def world(self) -> Iterator[PoolsWorld]: ...
"""

from typing import Protocol

from dcctl.ports import Pools

LIMIT_S = 120.0
EDGES = ("east-edge-1", "west-edge-1")
HELD = dict.fromkeys(EDGES, "")


class Client(Protocol):
    """One request through an edge's pool."""

    def answer(self) -> str:
        """The database that answered; returns once it has. Raises AssertionError where none does."""


class PoolsWorld(Protocol):
    """Edges ``east-edge-1`` and ``west-edge-1``, each with a pool; ``east-db-1`` is primary."""

    pools: Pools

    def ask(self, edge: str) -> Client:
        """A client of this edge's pool sends a request, and waits."""

    def promote(self) -> None:
        """From now on ``west-db-1`` is primary, and ``east-db-1`` is gone."""

    def lose(self, edge: str) -> None:
        """The edge answers nobody any more."""


class PoolsContract:
    def hold(self, world: PoolsWorld, *, for_s: float = LIMIT_S) -> dict[str, str]:
        return dict(world.pools.hold("east-db-1", "west-db-1", for_s=for_s, limit_s=LIMIT_S))

    def test_all_can_be_held_and_nobody_is(self, world: PoolsWorld) -> None:
        assert dict(world.pools.observe(limit_s=LIMIT_S)) == HELD
        assert [world.ask(edge).answer() for edge in EDGES] == ["east-db-1", "east-db-1"]

    def test_held_clients_are_answered_by_the_new_primary_and_see_no_error(self, world: PoolsWorld) -> None:
        assert self.hold(world) == HELD
        clients = [world.ask(edge) for edge in EDGES]
        world.promote()
        assert [client.answer() for client in clients] == ["west-db-1", "west-db-1"]
        assert [world.ask(edge).answer() for edge in EDGES] == ["west-db-1", "west-db-1"]

    def test_clients_that_are_let_go_are_answered_by_whoever_is_primary(self, world: PoolsWorld) -> None:
        assert self.hold(world) == HELD
        clients = [world.ask(edge) for edge in EDGES]
        assert dict(world.pools.let_go(limit_s=LIMIT_S)) == HELD
        assert [client.answer() for client in clients] == ["east-db-1", "east-db-1"]

    def test_letting_go_may_be_repeated_and_nobody_need_be_held(self, world: PoolsWorld) -> None:
        for _each in range(2):
            assert dict(world.pools.let_go(limit_s=LIMIT_S)) == HELD
        assert [world.ask(edge).answer() for edge in EDGES] == ["east-db-1", "east-db-1"]

    def test_the_pools_let_go_by_themselves_when_nobody_is_promoted(self, world: PoolsWorld) -> None:
        assert self.hold(world, for_s=0.2) == HELD
        assert [world.ask(edge).answer() for edge in EDGES] == ["east-db-1", "east-db-1"]

    def test_a_hold_replaces_the_one_before(self, world: PoolsWorld) -> None:
        for _each in range(2):
            assert self.hold(world) == HELD
        clients = [world.ask(edge) for edge in EDGES]
        world.promote()
        assert [client.answer() for client in clients] == ["west-db-1", "west-db-1"]

    def test_an_edge_that_is_gone_is_told_and_the_others_are_held(self, world: PoolsWorld) -> None:
        world.lose("west-edge-1")
        for told in (world.pools.observe(limit_s=LIMIT_S), self.hold(world)):
            assert told["east-edge-1"] == ""
            assert told["west-edge-1"]
        client = world.ask("east-edge-1")
        world.promote()
        assert client.answer() == "west-db-1"
        assert world.pools.let_go(limit_s=LIMIT_S)["west-edge-1"]
