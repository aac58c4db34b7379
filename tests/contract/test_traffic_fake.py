"""The fakes keep the same promises as ZooKeeper and HAProxy."""

import pytest

from dcctl.ports import Sites, Vantages
from dcctl.testing.contracts.traffic import EdgeRuntimeContract, SitesContract, VantagesContract
from dcctl.testing.traffic import FakeCoordinator, FakeEdge, FakeSites, FakeVantages, edge_servers


class FakeSitesWorld:
    def __init__(self) -> None:
        coordinator = FakeCoordinator()
        self.here: Sites = FakeSites(coordinator)
        self.there: Sites = FakeSites(coordinator)

    def cut(self, sites: Sites) -> None:
        assert isinstance(sites, FakeSites)
        sites.cut = True


class TestFakeSites(SitesContract):
    @pytest.fixture
    def world(self) -> FakeSitesWorld:
        return FakeSitesWorld()


class FakeVantagesWorld:
    def __init__(self) -> None:
        coordinator = FakeCoordinator()
        self.here: Vantages = FakeVantages(coordinator)
        self.there: Vantages = FakeVantages(coordinator)

    def end_session(self, vantages: Vantages) -> None:
        assert isinstance(vantages, FakeVantages)
        vantages.die()

    renew_session = end_session


class TestFakeVantages(VantagesContract):
    @pytest.fixture
    def world(self) -> FakeVantagesWorld:
        return FakeVantagesWorld()


class FakeEdgeWorld:
    def __init__(self) -> None:
        self.edge = FakeEdge(edge_servers("east", {"east-app-1": "east", "west-app-1": "west"}))

    def end(self) -> None:
        self.edge.dark = True


class TestFakeEdge(EdgeRuntimeContract):
    @pytest.fixture
    def world(self) -> FakeEdgeWorld:
        return FakeEdgeWorld()
