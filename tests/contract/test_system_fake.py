"""The system in memory keeps the same promises as a deployed one."""

import pytest

from dcctl.testing.clock import VirtualClock
from dcctl.testing.contracts.fault import FaultContract
from dcctl.testing.contracts.system import SystemContract
from dcctl.testing.system import (
    DATABASES,
    EDGES,
    VOTERS,
    FakeCoordination,
    FakeDatabase,
    FakeEdges,
    FakeFault,
    FakeSystem,
)


class FakeWorld:
    places = {**DATABASES, **EDGES, **VOTERS}  # noqa: RUF012

    def __init__(self) -> None:
        self.system = FakeSystem(VirtualClock())
        self.coordination = FakeCoordination(self.system)
        self.database = FakeDatabase(self.system)
        self.edges = FakeEdges(self.system)
        self.fault = FakeFault(self.system)

    def pass_time(self, seconds: float) -> None:
        self.system.clock.sleep(seconds)


class TestFakeSystem(SystemContract):
    @pytest.fixture
    def world(self) -> FakeWorld:
        return FakeWorld()


class TestFakeFault(FaultContract):
    @pytest.fixture
    def world(self) -> FakeWorld:
        return FakeWorld()
