"""The fake keeps the same promises as the ensemble that it stands for."""

import pytest

from dcctl.ports import Leases
from dcctl.testing.clock import VirtualClock
from dcctl.testing.contracts.leases import LeasesContract
from dcctl.testing.leadership import FakeEnsemble, FakeLeases


class FakeWorld:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        ensemble = FakeEnsemble(self.clock)
        self.here: Leases = FakeLeases(ensemble, 4.0, latency_s=0.002)
        self.there: Leases = FakeLeases(ensemble, 4.0, latency_s=0.002)

    def now_s(self) -> float:
        return self.clock.monotonic()

    def pass_time(self, seconds: float) -> None:
        self.clock.sleep(seconds)

    def cut(self, leases: Leases) -> None:
        assert isinstance(leases, FakeLeases)
        leases.cut()

    def deafen(self, leases: Leases) -> None:
        assert isinstance(leases, FakeLeases)
        leases.lose_answers = True

    def heal(self, leases: Leases) -> None:
        assert isinstance(leases, FakeLeases)
        leases.lose_answers = False
        leases.heal()


class TestFakeLeases(LeasesContract):
    @pytest.fixture
    def world(self) -> FakeWorld:
        return FakeWorld()
