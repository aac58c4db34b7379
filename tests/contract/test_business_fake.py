"""The fake clients of the application keep the same promises as the real ones."""

import pytest

from dcctl.testing.business import FakeBusiness
from dcctl.testing.clock import VirtualClock
from dcctl.testing.contracts.business import BusinessContract
from dcctl.testing.system import FakeSystem


class FakeWorld:
    sites = ("east", "west")

    def __init__(self) -> None:
        self.system = FakeSystem(VirtualClock())
        self.business = FakeBusiness(self.system)

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.1)):
            self.system.clock.sleep(0.1)
            self.business.acknowledged_s()


class TestFakeBusiness(BusinessContract):
    @pytest.fixture
    def world(self) -> FakeWorld:
        return FakeWorld()
