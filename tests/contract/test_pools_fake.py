"""The fake keeps the same promises as PgBouncer on the edges."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from dcctl.testing.clock import VirtualClock
from dcctl.testing.contracts.pools import EDGES, PoolsContract
from dcctl.testing.pools import FakePools


@dataclass
class FakeClient:
    waits: Callable[[], bool]
    clock: VirtualClock
    primary: Callable[[], str]

    def answer(self) -> str:
        while self.waits():
            self.clock.sleep(0.1)
        return self.primary()


class FakePoolsWorld:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.primary = "east-db-1"
        self.pools = FakePools(self.clock, EDGES, lambda: self.primary)

    def ask(self, edge: str) -> FakeClient:
        return FakeClient(lambda: self.pools.holds(edge), self.clock, lambda: self.primary)

    def promote(self) -> None:
        self.primary = "west-db-1"

    def lose(self, edge: str) -> None:
        self.pools.silent[edge] = "no answer on port 22"


class TestFakePools(PoolsContract):
    @pytest.fixture
    def world(self) -> FakePoolsWorld:
        return FakePoolsWorld()
