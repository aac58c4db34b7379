"""Drills and status on the whole lab: both clouds, the machines deployed, a site really cut off."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from guests import eventually
from stack import joined

from dcctl import wiring
from dcctl.config.load import load
from dcctl.config.reference import resolve
from dcctl.config.schema import Configuration
from dcctl.lab import network
from dcctl.lab.fault import LabFault
from dcctl.testing.contracts.system import SystemContract

pytestmark = pytest.mark.lab

STEADY_LIMIT_S = 180
HELD_LIMIT_S = 60
OF_TIME = (
    "recovery time",
    "longest silence between acknowledged writes",
    "the client kept its own schedule",
    "the application's recovery time",
    "auction rounds missed (more than 120 s late)",
)
"""What a drill judges by the clock: a test on a busy host does not, a drill does."""
DRILL = """
drill: {name}
purpose: to know whether it holds
workload: {{warm_up: 2s, cool_down: 2s}}
fault: {{cut_site: {site}, for_at_most: 110s}}
respond: {respond}
hold: {{writes_acknowledged_for: 3s, at_most: 90s}}
settle: {{at_most: 120s}}
"""

TABLES = """
import psycopg, sys
with psycopg.connect(host=sys.argv[1], user="app", dbname="app") as connection:
    query = "SELECT tablename FROM pg_tables WHERE tablename LIKE 'dcctl_drill_%'"
    print(*(name for name, in connection.execute(query)))
"""
"""Run in the operator's network."""


@dataclass(frozen=True)
class System:
    """The lab's own environment, deployed, with a state directory of the test's."""

    folder: Path

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "dcctl.cli.main", "-e", str(self.folder), *arguments]

    def run(self, *arguments: str, expect: int = 0, limit_s: float = 400) -> str:
        done = subprocess.run(
            self.command(*arguments), capture_output=True, text=True, timeout=limit_s, check=False
        )
        assert done.returncode == expect, (
            f"{arguments} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
        return done.stdout if expect == 0 else done.stdout + done.stderr

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.run("status", "-o", "json"))
        return document

    def diagnosis(self) -> tuple[int, dict[str, str]]:
        """The exit code of `dcctl doctor`, and how each thing is."""
        done = subprocess.run(
            self.command("doctor", "-o", "json"), capture_output=True, text=True, timeout=300, check=False
        )
        assert done.stdout, done.stderr
        findings = json.loads(done.stdout)["findings"]
        return done.returncode, {each["subject"]: each["readiness"] for each in findings}

    def steady(self) -> bool:
        return not self.status()["problems"]

    def drill(self, name: str, site: str, *, respond: str = "nothing") -> str:
        path = self.folder / f"{name}.yml"
        path.write_text(DRILL.format(name=name, site=site, respond=respond))
        return str(path)

    def drilled(self, drill: str) -> dict[str, Any]:
        """The report of a drill that ended by itself, whether it held or deviated."""
        done = subprocess.run(
            self.command("drill", "run", drill, "-o", "json"),
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode in (0, 7), done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def start_and_hold(self) -> "subprocess.Popen[str]":
        """A drill that is holding its site dark, and about to give it up."""
        process = subprocess.Popen(
            self.command("drill", "run", self.drill("held", "primary", respond="failover")),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert eventually(network.observe_cuts, limit_s=HELD_LIMIT_S, every_s=0.2), "nothing was cut"
        return process

    def tables(self) -> list[str]:
        """The drill tables there are, asked for through an edge as a client would."""
        password = resolve(load(str(self.folder)).secret("postgresql_app"))
        edge = next(each for each in self.status()["machines"] if "edge" in each["name"])["address"]
        done = subprocess.run(
            ["nsenter", "--net=/run/netns/dcctl-operator", sys.executable, "-c", TABLES, edge],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PGPASSWORD": password},
        )
        return done.stdout.split()


@pytest.fixture(scope="module")
def deployed(whole_stack: Path) -> System:
    return System(whole_stack)


class LabWorld:
    """The deployed system through the real adapters, from within the operator's network."""

    def __init__(self, configuration: Configuration) -> None:
        seen = wiring.system(configuration, limit_s=1.0)
        self.coordination, self.database, self.edges = seen.coordination, seen.database, seen.edges
        self.fault = LabFault()
        self.places = {host.name: host.place for host in seen.hosts}

    def pass_time(self, seconds: float) -> None:
        time.sleep(seconds)


class TestLabSystem(SystemContract):
    @pytest.fixture
    def world(self, system: "System") -> Iterator[LabWorld]:
        configuration = load(str(system.folder))
        with joined(configuration.network_namespace or ""):
            yield LabWorld(configuration)


@pytest.fixture
def system(deployed: System) -> Iterator[System]:
    """Steady before every test, and nothing cut after it."""
    assert eventually(deployed.steady, limit_s=STEADY_LIMIT_S, every_s=2), deployed.status()["problems"]
    yield deployed
    network.heal()


def test_status_shows_everything_on_one_screen(system: System) -> None:
    screen = system.run("status")
    assert "all well" in screen
    assert "is its synchronous standby" in screen
    assert "quorum 3/3" in screen
    assert screen.count("sends writes to") == 2


def test_a_steady_system_is_ready_for_a_failover(system: System) -> None:
    """A busy host is given time: what did not answer is unknown, and that is not readiness."""
    assert eventually(lambda: system.diagnosis()[0] == 0, limit_s=STEADY_LIMIT_S, every_s=2), (
        system.diagnosis()
    )


def test_a_dark_site_is_shown_and_refuses_a_drill(system: System) -> None:
    network.cut("east", for_s=110)
    status = system.status()
    assert [site["answers"] for site in status["sites"]] == [False, True]
    assert status["quorum"] == 2
    assert any(problem.startswith("site east is cut off on purpose") for problem in status["problems"])
    said = system.run("drill", "plan", "site-cut", expect=5)
    assert "site east: its API does not answer" in said
    probes = json.loads(system.run("probe", "-o", "json"))["results"]
    assert not [each for each in probes if each["site"] == "east" and (each["ok"] or each["answered"])]
    assert any(each["ok"] for each in probes if each["site"] == "west")
    code, found = system.diagnosis()
    assert code == 8
    assert "ok" not in (
        found["services at east"],
        found["credentials of east"],
        found["capacity without west"],
    )


def deviations(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in report["checks"] if not each["held"] and each["name"] not in OF_TIME]


def test_losing_a_whole_site_is_survived_and_measured(system: System) -> None:
    """Clients of the application work while the site goes dark, dcctl fails over, and admits it again."""
    report = system.drilled("site-power-loss")
    assert (report["site"], deviations(report)) == ("east", [])
    assert report["primary_before"].startswith("east")
    assert report["primary_after"].startswith("west")
    assert report["findings"]["final_read"]
    assert report["findings"]["lost"] == []
    business = report["business"]
    assert business["findings"]["inventory"]
    assert business["changes"]["ok"] > 50
    assert len(business["acting"]["epochs"]) >= 2
    assert business["documents"] > 5
    assert business["unsettled"] == []
    assert network.observe_cuts() == ()
    assert system.tables() == []
    page = Path(report["report"])
    assert {each.name for each in page.parent.iterdir()} == {
        "journal.jsonl",
        "history.jsonl",
        "business.jsonl",
        "report.json",
        "report.html",
    }
    again = json.loads(system.run("drill", "report", report["run"], "-o", "json"))
    assert again == report


def test_losing_the_standbys_site_is_survived_and_measured(system: System) -> None:
    before = system.status()["database"]["primary"]
    report = system.drilled(system.drill("standby", "standby"))
    assert (report["findings"]["lost"], deviations(report)) == ([], [])
    assert report["primary_after"] == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_drill_heals_before_it_ends(system: System, number: signal.Signals) -> None:
    process = system.start_and_hold()
    time.sleep(2)
    process.send_signal(number)
    _out, said = process.communicate(timeout=300)
    assert process.returncode == 130, said
    assert network.observe_cuts() == ()
    assert system.tables() == []
    shown = json.loads(system.run("drill", "show", "-o", "json"))
    assert shown["verdict"] == "interrupted"


def test_what_a_killed_drill_left_is_restored_from_its_journal(system: System) -> None:
    process = system.start_and_hold()
    time.sleep(2)
    process.kill()
    process.communicate()
    assert network.observe_cuts() != ()
    said = system.run("drill", "plan", "site-cut", expect=5)
    assert "an earlier undo is pending: heal site" in said
    restored = json.loads(system.run("drill", "restore", "-o", "json"))["restored"]
    assert [each.split(" ")[0] for each in restored] == ["heal", "admit", "drop"]
    assert network.observe_cuts() == ()
    assert system.tables() == []
    assert json.loads(system.run("drill", "restore", "-o", "json"))["restored"] == []
    assert json.loads(system.run("drill", "report", "-o", "json"))["verdict"] == "interrupted"
