"""The simulated ensemble under the real adapters keeps what the real ensemble keeps: the same suites."""

from typing import Any

import pytest

from dcctl.testing.contracts.leases import LeasesContract
from dcctl.testing.contracts.runs import RunsContract
from dcctl.testing.contracts.traffic import SitesContract, VantagesContract
from dcctl.testing.simulation.ensemble import Ensemble
from dcctl.testing.simulation.network import PLACES, Network
from dcctl.testing.simulation.ports import SimLeases, SimRuns, sites_of
from dcctl.testing.simulation.scheduler import Machine, Scheduler
from dcctl.testing.simulation.session import SimSession
from dcctl.testing.simulation.views import SimVantages

SESSION_S = 4.0
HERE, THERE = "ann", "west-edge-1"


class InAnActor:
    """A port whose calls are made by a process of the simulation; the test waits for each."""

    def __init__(self, scheduler: Scheduler, machine: Machine, session: SimSession, port: Any) -> None:
        self._scheduler = scheduler
        self._machine = machine
        self.session = session
        self._port = port

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **more: Any) -> Any:
            ended: list[tuple[Any, Exception | None]] = []

            def work() -> None:
                try:
                    ended.append((found(*arguments, **more), None))
                except Exception as error:  # raised again in the test
                    ended.append((None, error))

            self._scheduler.spawn("test", self._machine, work)
            while not ended:
                self._scheduler.run_until(self._scheduler.now_s + 0.05)
            answer, error = ended[0]
            if error is not None:
                raise error
            return answer

        return call


class SimulatedWorld:
    """Two clients: one outside, which can be cut off, and one at a site."""

    def __init__(self, make: Any) -> None:
        self.scheduler = Scheduler(1)
        self.network = Network(self.scheduler)
        self.ensemble = Ensemble(self.scheduler, self.network)
        self.here, self.there = (self._client(name, make) for name in (HERE, THERE))

    def _client(self, name: str, make: Any) -> Any:
        machine = self.network.machines[name]
        session = SimSession(self.ensemble, machine, SESSION_S)
        return InAnActor(self.scheduler, machine, session, make(session))

    def now_s(self) -> float:
        return self.scheduler.now_s

    def pass_time(self, seconds: float) -> None:
        self.scheduler.run_until(self.scheduler.now_s + seconds)

    def cut(self, _client: Any) -> None:
        others = [place for place in PLACES if place != "outside"]
        self.network.blocked = {pair for each in others for pair in ((each, "outside"), ("outside", each))}
        self.network.changed()

    def deafen(self, _client: Any) -> None:
        self.network.blocked = {(place, "outside") for place in PLACES if place != "outside"}
        self.network.changed()

    def heal(self, _client: Any) -> None:
        self.network.blocked = set()
        self.network.changed()
        self.pass_time(1.0)

    def end_session(self, client: Any) -> None:
        self.ensemble.end(client.session.session)
        client.session.renew()

    renew_session = end_session


class TestSimulatedLeases(LeasesContract):
    @pytest.fixture
    def world(self) -> SimulatedWorld:
        return SimulatedWorld(SimLeases)


class TestSimulatedRuns(RunsContract):
    @pytest.fixture
    def world(self) -> SimulatedWorld:
        return SimulatedWorld(lambda session: SimRuns(session, who="ann@ops"))


class TestSimulatedSites(SitesContract):
    @pytest.fixture
    def world(self) -> SimulatedWorld:
        return SimulatedWorld(sites_of)


class TestSimulatedVantages(VantagesContract):
    @pytest.fixture
    def world(self) -> SimulatedWorld:
        return SimulatedWorld(SimVantages)
