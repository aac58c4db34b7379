"""The memory of shared work keeps the contract."""

import pytest

from dcctl.ports import SharedWork
from dcctl.testing.contracts.work import SharedWorkContract
from dcctl.testing.work import MemoryEnsemble, MemoryWork


class TestMemoryWork(SharedWorkContract):
    @pytest.fixture(autouse=True)
    def _ensemble(self) -> None:
        self.ensemble = MemoryEnsemble()

    def session(self, who: str) -> SharedWork:
        return MemoryWork(self.ensemble, who)

    def end(self, work: SharedWork) -> None:
        self.ensemble.expire(work.who)
