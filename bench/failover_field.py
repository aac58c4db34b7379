"""The lab as the field of ``bench/failover.py``: its faults, its settings, and a person who is quick."""

import contextlib
import json
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

import requests
from failover_isolated import IsolatedWriter, writing

from dcctl import network_namespace, wiring
from dcctl.adapters import http
from dcctl.adapters.postgres.write_proof import PostgresWriteProof
from dcctl.adapters.workload import Login, PostgresWorkload
from dcctl.config import expand
from dcctl.config.load import load
from dcctl.config.reference import resolve
from dcctl.domain.automation import Mode
from dcctl.domain.capacity import Capacity, Fit
from dcctl.domain.drill import WorkloadSpec
from dcctl.domain.fault import Breakage, Kind
from dcctl.domain.machine import Power
from dcctl.domain.traffic import Rotation, SiteState
from dcctl.engines.controller import certify, change_automation
from dcctl.engines.switchover import switchover
from dcctl.errors import DcctlError
from dcctl.lab import machine
from dcctl.lab.fault import LabFault
from dcctl.shell import WallClock, at_once, perform
from dcctl.wiring import drill
from dcctl.wiring import failover as moves
from dcctl.wiring.automation import automations
from dcctl.wiring.capacity import capacity

CLOCK = WallClock()
CUT_S = 170
WHOLE_LIMIT_S = 240
RUN_LIMIT_S = 90
POWER_LIMIT_S = 180
READY_LIMIT_S = 60
CALM_S = 75.0
"""After a site was healed, until it is lost again: one that went and came is watched for longer."""


def ask_within(limit_s: float) -> Any:
    return partial(at_once, limit_s=limit_s)


@dataclass(frozen=True)
class Settings:
    """What Patroni is told; None leaves it as deployed. ``replication_timeout`` is PostgreSQL's."""

    name: str
    patroni: dict[str, int] | None
    replication_timeout: str = ""

    def patience_s(self, case: str) -> float:
        """At least this long after the fault: before, it may not have had its effect."""
        longest = {
            "site-power-loss": 45.0,
            "site-lost": 45.0,
            "standby-lost": 75.0,
            "primary-killed": 15.0,
            "switchover": 12.0,
        }
        return 15.0 if self.patroni is None else longest[case]

    def document(self) -> dict[str, Any]:
        parameters = {
            "wal_sender_timeout": self.replication_timeout,
            "wal_receiver_timeout": self.replication_timeout,
            "wal_retrieve_retry_interval": "5s",
        }
        return {**(self.patroni or {}), "postgresql": {"parameters": parameters}}


@dataclass
class Lab:
    configuration: Any
    fault_began_s: float = 0.0
    healed_s: float = 0.0

    @classmethod
    @contextlib.contextmanager
    def opened(cls, environment: str) -> "Iterator[Lab]":
        configuration = load(environment)
        if configuration.network_namespace:
            network_namespace.enter(configuration.network_namespace)
        yield cls(configuration)

    # Who is where.

    def _addresses(self, role: str) -> dict[str, str]:
        return {each.name: str(each.address) for each in expand.with_role(self.configuration, role)}

    def place(self, machine: str) -> str:
        return next(each.place for each in expand.machines(self.configuration) if each.name == machine)

    def members(self) -> dict[str, dict[str, Any]]:
        found = {}
        for name, address in self._addresses("postgresql").items():
            with contextlib.suppress(DcctlError, ValueError):
                _status, text = http.get(f"http://{address}:8008/patroni", limit_s=3, tried="ask", on=name)
                found[name] = json.loads(text)
        return found

    def primary_and_standby(self) -> tuple[str, str]:
        members = self.members()
        primary = next(name for name, own in members.items() if own["role"] in ("master", "primary"))
        return primary, next(name for name in members if name != primary)

    def whole(self) -> None:
        """Wait until every member runs, the standby confirms, and every edge leads to the primary."""
        began = time.monotonic()
        while time.monotonic() - began < WHOLE_LIMIT_S:
            with contextlib.suppress(DcctlError, StopIteration, KeyError):
                if self._is_whole():
                    return
            time.sleep(1.0)
        raise SystemExit("the lab did not become whole")

    def _is_whole(self) -> bool:
        members = self.members()
        if len(members) < len(self._addresses("postgresql")):
            return False
        primary, standby = self.primary_and_standby()
        streaming = {each["application_name"]: each["sync_state"] for each in members[primary]["replication"]}
        if streaming.get(standby) not in ("sync", "quorum") or members[standby]["state"] != "running":
            return False
        edges = self._addresses("edge")
        proof = PostgresWriteProof(
            edges,
            user=wiring.APPLICATION,
            password=resolve(self.configuration.secret("postgresql_app")),
            database=wiring.APPLICATION,
            port=wiring.WRITE_PORT,
        )
        return all(proof.write(edge, "bench", limit_s=3) for edge in edges)

    def edge_at(self, site: str) -> tuple[str, str]:
        """The name and the address of a site's edge."""
        return next(each for each in self._addresses("edge").items() if self.place(each[0]) == site)

    def applications(self) -> dict[str, str]:
        return self._addresses("procurement")

    def workload(self, *, pool: bool) -> PostgresWorkload:
        """The drills' client, through the edges' pools or straight to the primary."""
        return PostgresWorkload(
            WorkloadSpec(writes_per_s=50.0),
            run=f"bench-{secrets.token_hex(3)}",
            edges=self._addresses("edge"),
            servers={},
            login=Login(
                user=wiring.APPLICATION,
                password=resolve(self.configuration.secret("postgresql_app")),
                database=wiring.APPLICATION,
                port=wiring.POOL_PORT if pool else wiring.WRITE_PORT,
            ),
            keep=lambda _line: None,
            now=CLOCK.now,
        )

    # What is done to it.

    @contextlib.contextmanager
    def cut(self, site: str) -> Iterator[None]:
        fault, cut = LabFault(), Breakage(Kind.CUT, site)
        fault.inflict(cut, for_s=CUT_S)
        try:
            yield
        finally:
            fault.mend(cut)
            self.healed_s = time.monotonic()

    @contextlib.contextmanager
    def power_loss(self, site: str) -> Iterator[None]:
        """Dark at one instant, its cloud's API too; a moment later its machines are off, and stay so."""
        ids = [id for id in machine.ids() if machine.read(id).place == site]
        try:
            with self.cut(site):
                with ThreadPoolExecutor(len(ids)) as hands:
                    list(hands.map(machine.halt, ids))
                yield
        finally:
            self._power_on(site, ids)

    def _power_on(self, site: str, ids: list[str]) -> None:
        """By its cloud, which has seen them go off, and would again switch off what it believes to be off."""
        names = [each.name for each in expand.machines(self.configuration) if each.place == site]
        began = time.monotonic()
        while any(machine.state(id) != "running" for id in ids):
            if time.monotonic() - began > POWER_LIMIT_S:
                raise SystemExit(f"the machines of {site} were not powered on again")
            for name in names:
                with contextlib.suppress(DcctlError), wiring.machines(self.configuration, site) as cloud:
                    cloud.ensure_power(name, Power.ON)
            time.sleep(1.0)
        self.healed_s = time.monotonic()

    def kill_database(self, name: str) -> None:
        remote = wiring.remote(self.configuration, name)
        remote.run(["sudo", "pkill", "-KILL", "-x", "postgres"], limit_s=10)

    @contextlib.contextmanager
    def automation(self, *, paused: bool) -> Iterator[None]:
        """Automatic, or nobody but Patroni acts; afterwards what people said before."""
        with automations(self.configuration) as said:
            before = said.observe()
            for site in () if paused else self.configuration.sites:
                found = capacity(self.configuration, site, ask=ask_within(READY_LIMIT_S))
                said.record_certificate(certify(found, "bench", CLOCK.now()))
            mode = None if paused else Mode.AUTOMATIC
            change_automation(said, by="bench", at=CLOCK.now(), reason="bench", paused=paused, mode=mode)
        try:
            yield
        finally:
            with automations(self.configuration) as said:
                said.change(before, expected=said.observe().version)

    def ready(self, lost: str) -> None:
        """Wait until the controller would give ``lost`` up by itself, as if it never had before."""
        began = time.monotonic()
        while time.monotonic() < self.healed_s + CALM_S and self.healed_s:
            time.sleep(1.0)
        while True:
            with automations(self.configuration) as said, self._stage() as stage:
                said.record_last(None)
                held = drill.leaders(stage.means)
                reasons = drill.why_not_by_itself(self.configuration, stage.means, lost, held)
            if not reasons:
                return
            if time.monotonic() - began > READY_LIMIT_S + CALM_S:
                raise SystemExit(f"the controller would not give {lost} up: {'; '.join(reasons)}")
            time.sleep(2.0)

    @contextlib.contextmanager
    def settings(self, settings: Settings) -> Iterator[None]:
        """Patroni as it is told, and alone where it is told something."""
        with self.automation(paused=settings.patroni is not None), self._patroni(settings):
            yield

    @contextlib.contextmanager
    def _patroni(self, settings: Settings) -> Iterator[None]:
        if settings.patroni is None:
            yield
            return
        before = self._config()
        self._patch(settings.document())
        time.sleep(15.0)  # the session of another ttl is a new one
        try:
            yield
        finally:
            changed = settings.document()
            parameters = {
                name: before["postgresql"]["parameters"].get(name)
                for name in changed["postgresql"]["parameters"]
            }
            self._patch(
                {name: before[name] for name in settings.patroni} | {"postgresql": {"parameters": parameters}}
            )
            time.sleep(15.0)

    def _config(self) -> dict[str, Any]:
        primary, _standby = self.primary_and_standby()
        address = self._addresses("postgresql")[primary]
        _status, text = http.get(f"http://{address}:8008/config", limit_s=5, tried="read", on=primary)
        found: dict[str, Any] = json.loads(text)
        return found

    def _patch(self, document: dict[str, Any]) -> None:
        self.whole()
        primary, _standby = self.primary_and_standby()
        address = self._addresses("postgresql")[primary]
        login = (moves.PATRONI_USER, resolve(self.configuration.secret("patroni_api")))
        requests.patch(
            f"http://{address}:8008/config", json=document, auth=login, timeout=10
        ).raise_for_status()

    def switch_over(self, primary: str, standby: str, *, ours: bool) -> None:
        if not ours:
            address = self._addresses("postgresql")[primary]
            login = (moves.PATRONI_USER, resolve(self.configuration.secret("patroni_api")))
            body = {"leader": primary, "candidate": standby}
            http.post(
                f"http://{address}:8008/switchover", body, login=login, limit_s=60, tried="move", on=primary
            )
            return
        with self._acting("switchover") as means:
            perform(switchover(self.place(standby), means), clock=CLOCK, journal=means.journal)

    @contextlib.contextmanager
    def _acting(self, what: str) -> Iterator[Any]:
        with (
            moves.stage(self.configuration, clock=CLOCK, ask_within=ask_within) as stage,
            wiring.journal(self.configuration, what=what, clock=CLOCK) as journal,
        ):
            quick = replace(
                stage.means,
                capacity=self._capacity,
                documents=None,
                verify=lambda _site: (),
                patience_s=float(READY_LIMIT_S),
            )
            with replace(stage, means=quick).acting(journal, f"bench {what}") as means:
                yield means

    def _capacity(self, lost: str) -> Capacity:
        """Known from before, as the controller knows it: how fast a cloud answers is not measured."""
        other = next(site for site in self.configuration.sites if site != lost)
        return Capacity(lost, other, Fit.FITS, (), {})

    def run_since(self, fault_at: datetime, lost: str) -> dict[str, float]:
        """How far into the fault each step of the controller's failover ended, once its run is over."""
        began = time.monotonic()
        while time.monotonic() - began < RUN_LIMIT_S:
            time.sleep(2.0)
            with contextlib.suppress(DcctlError), self._stage() as stage:
                runs = [each for each in stage.runs.observe_runs(limit_s=5) if "failover" in each]
                events = list(stage.runs.events(max(runs), limit_s=10)) if runs else []
                ended = len(events) > 1 and events[-1].type.startswith("run.")
                if ended and events[0].at > fault_at:
                    break
        else:
            return {}
        phases = {"run began": (events[0].at - fault_at).total_seconds()}
        for event in events:
            name = event.fields.get("step") or event.fields.get("wait")
            if name and event.type.endswith(".done"):
                phases[self._unnamed(str(name), lost)] = (event.at - fault_at).total_seconds()
        return phases

    def _unnamed(self, step: str, lost: str) -> str:
        """The step's name, the same whichever site was lost."""
        words = step.split(":", maxsplit=1)[0]
        for name in self._addresses("postgresql"):
            words = words.replace(name, "the primary" if self.place(name) == lost else "the standby")
        return words

    def _stage(self) -> Any:
        return moves.stage(self.configuration, clock=CLOCK, ask_within=ask_within)

    def settle(self) -> None:
        """Everything healed, both sites in rotation again, once what the controller had begun is over."""
        self.whole()
        began = time.monotonic()
        while time.monotonic() - began < WHOLE_LIMIT_S:
            with contextlib.suppress(DcctlError), self._stage() as stage:
                out = [
                    each for each in stage.means.states.observe_sites() if each.state is not Rotation.ACTIVE
                ]
                left = stage.runs.observe_active(limit_s=5) is not None  # one that was broken off may stay
                if not out and (not left or time.monotonic() - began > RUN_LIMIT_S):
                    return
                for state in out:
                    wanted = SiteState(state.site, Rotation.ACTIVE, by="bench", at=CLOCK.now())
                    stage.means.states.change_site(wanted, expected=state.version)
            time.sleep(1.0)
        raise SystemExit("the sites were not put back into rotation")

    @contextlib.contextmanager
    def isolated_writer(self, site: str) -> Iterator[IsolatedWriter]:
        _name, address = self.edge_at(site)
        password = resolve(self.configuration.secret("postgresql_app"))
        with writing(address, user=wiring.APPLICATION, password=password) as writer:
            yield writer
