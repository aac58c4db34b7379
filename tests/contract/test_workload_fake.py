"""The fake client keeps the same promises as the real one."""

import pytest

from dcctl.domain.drill import WorkloadSpec
from dcctl.testing.clock import VirtualClock
from dcctl.testing.contracts.workload import WorkloadContract
from dcctl.testing.system import FakeSystem, FakeWorkload


class FakeWorld:
    edges = ("east-edge-1", "west-edge-1")

    def __init__(self) -> None:
        self.system = FakeSystem(VirtualClock())
        self.workload = FakeWorkload(self.system, WorkloadSpec(reads_per_s=20))

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.1)):
            self.system.clock.sleep(0.1)
            self.workload.acknowledged_s()

    def lose_row(self, row: int) -> None:
        del self.system.rows[row]

    def tables(self) -> tuple[str, ...]:
        return tuple(self.system.tables)

    def break_edge(self, edge: str) -> None:
        self.system.broken_edges.add(edge)

    def break_database(self) -> None:
        self.system.database_is_down = True


class TestFakeWorkload(WorkloadContract):
    @pytest.fixture
    def world(self) -> FakeWorld:
        return FakeWorld()
