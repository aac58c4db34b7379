"""The right to act, in memory."""

import pytest

from dcctl.ports import Runs
from dcctl.testing.clock import VirtualClock
from dcctl.testing.contracts.runs import RunsContract
from dcctl.testing.runs import FakeRegistry, FakeRuns


class FakeWorld:
    def __init__(self) -> None:
        registry = FakeRegistry(VirtualClock())
        self.clients = (FakeRuns(registry), FakeRuns(registry))
        self.here: Runs = self.clients[0]
        self.there: Runs = self.clients[1]

    def end_session(self, runs: Runs) -> None:
        self.clients[0 if runs is self.here else 1].end_session()


class TestFakeRuns(RunsContract):
    @pytest.fixture
    def world(self) -> FakeWorld:
        return FakeWorld()
