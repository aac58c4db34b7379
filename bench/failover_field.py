"""The lab as the field of ``bench/failover.py``: its faults, its settings, and a person who is quick."""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import requests

from dcctl import network_namespace, wiring
from dcctl.adapters import http
from dcctl.adapters.postgres.write_proof import PostgresWriteProof
from dcctl.adapters.workload import Login, PostgresWorkload
from dcctl.config import expand
from dcctl.config.load import load
from dcctl.config.reference import resolve
from dcctl.domain.capacity import Capacity, Fit
from dcctl.domain.drill import WorkloadSpec
from dcctl.domain.fault import Breakage, Kind
from dcctl.domain.traffic import Rotation, SiteState
from dcctl.engines.switchover import switchover
from dcctl.errors import DcctlError
from dcctl.lab.fault import LabFault
from dcctl.shell import WallClock, at_once, perform
from dcctl.wiring import failover as moves

CLOCK = WallClock()
CUT_S = 170
WHOLE_LIMIT_S = 240
RUN_LIMIT_S = 90


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
        longest = {"site-lost": 45.0, "standby-lost": 75.0, "primary-killed": 15.0, "switchover": 12.0}
        return 15.0 if self.patroni is None else longest[case]

    def document(self) -> dict[str, Any]:
        parameters = {
            "wal_sender_timeout": self.replication_timeout,
            "wal_receiver_timeout": self.replication_timeout,
            "wal_retrieve_retry_interval": "5s",
        }
        return {**(self.patroni or {}), "postgresql": {"parameters": parameters}}


@dataclass
class IsolatedWriter:
    """A client inside the site that is cut off; its acknowledgements by the monotonic clock."""

    process: "subprocess.Popen[str]"
    lines: list[tuple[float, float]] = field(default_factory=list)

    def read(self) -> None:
        for line in self.process.stdout or ():
            sent, answered = line.split()
            self.lines.append((float(sent), float(answered)))

    def acknowledged_after(self, fault_s: float) -> list[float]:
        """Answers of what was sent after the fault."""
        return [answered for sent, answered in self.lines if sent > fault_s]


@dataclass
class Lab:
    configuration: Any
    fault_began_s: float = 0.0

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

    def kill_database(self, name: str) -> None:
        remote = wiring.remote(self.configuration, name)
        remote.run(["sudo", "pkill", "-KILL", "-x", "postgres"], limit_s=10)

    @contextlib.contextmanager
    def settings(self, settings: Settings) -> Iterator[None]:
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
            quick = replace(stage.means, capacity=self._capacity, documents=None, verify=lambda _site: ())
            with replace(stage, means=quick).acting(journal, f"bench {what}") as means:
                yield means

    def _capacity(self, lost: str) -> Capacity:
        """Known from before, as the controller knows it: how fast a cloud answers is not measured."""
        other = next(site for site in self.configuration.sites if site != lost)
        return Capacity(lost, other, Fit.FITS, (), {})

    def run_since(self, fault_at: datetime) -> dict[str, float]:
        """How far into the fault each step of the controller's failover ended, once its run is over."""
        began = time.monotonic()
        while time.monotonic() - began < RUN_LIMIT_S:
            time.sleep(2.0)
            with contextlib.suppress(DcctlError), self._stage() as stage:
                runs = [each for each in stage.runs.observe_runs(limit_s=5) if "failover" in each]
                events = stage.runs.events(max(runs), limit_s=10) if runs else ()
                if events and events[0].at > fault_at and events[-1].type.startswith("run."):
                    break
        else:
            return {}
        phases = {"run began": (events[0].at - fault_at).total_seconds()}
        for event in events:
            name = event.fields.get("step") or event.fields.get("wait")
            if name and event.type.endswith(".done"):
                phases[str(name).split(":")[0]] = (event.at - fault_at).total_seconds()
        return phases

    def _stage(self) -> Any:
        return moves.stage(self.configuration, clock=CLOCK, ask_within=ask_within)

    def settle(self) -> None:
        """Everything healed, both sites in rotation again."""
        self.whole()
        with moves.stage(self.configuration, clock=CLOCK, ask_within=ask_within) as stage:
            for state in stage.means.states.observe_sites():
                if state.state is not Rotation.ACTIVE:
                    wanted = SiteState(state.site, Rotation.ACTIVE, by="bench", at=CLOCK.now())
                    stage.means.states.change_site(wanted, expected=state.version)

    @contextlib.contextmanager
    def isolated_writer(self, site: str) -> Iterator[IsolatedWriter]:
        edge = next(name for name in self._addresses("edge") if self.place(name) == site)
        address = self._addresses("edge")[edge]
        environment = {
            **os.environ,
            "PGPASSWORD": resolve(self.configuration.secret("postgresql_app")),
            "PGUSER": wiring.APPLICATION,
            "PGDATABASE": wiring.APPLICATION,
        }
        process = subprocess.Popen(
            ["nsenter", f"--net={_namespace_of(address)}", sys.executable, "-u", __file__, address],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        writer = IsolatedWriter(process)
        reading = threading.Thread(target=writer.read)
        reading.start()
        try:
            yield writer
        finally:
            process.terminate()
            process.wait(10)
            reading.join(10)


def _namespace_of(address: str) -> str:
    for path in Path("/run/netns").glob("dcctl-m-*"):
        shown = subprocess.run(
            ["nsenter", f"--net={path}", "ip", "-o", "-4", "address"],
            capture_output=True,
            text=True,
            check=True,
        )
        if f" {address}/" in shown.stdout:
            return str(path)
    raise SystemExit(f"no machine has {address}")


def write_on(address: str) -> None:
    """Commit a row ten times a second through the edge here; print when each was sent and acknowledged.

    Several writers, as one that waits for an answer says nothing of the next.
    """
    warned = threading.local()

    def one() -> None:
        while True:
            with (
                contextlib.suppress(psycopg.Error, OSError),
                psycopg.connect(
                    f"host={address} port={wiring.WRITE_PORT} connect_timeout=2", autocommit=True
                ) as connection,
            ):
                connection.add_notice_handler(lambda _notice: setattr(warned, "now", True))
                while True:
                    warned.now = False
                    sent = time.monotonic()
                    connection.execute("CREATE TABLE IF NOT EXISTS bench_isolated (at timestamptz)")
                    connection.execute("INSERT INTO bench_isolated VALUES (clock_timestamp())")
                    if not warned.now:
                        print(sent, time.monotonic(), flush=True)
                    time.sleep(0.4)
            time.sleep(0.3)

    for _each in range(4):
        threading.Thread(target=one, daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    write_on(sys.argv[1])
