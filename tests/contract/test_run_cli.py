"""``dcctl run`` as it is typed, on a machine that never saw the run: its journal is in ZooKeeper."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from zookeeper_server import Server, running_zookeeper

ENVIRONMENT = Path(__file__).parents[2] / "inventories" / "lab" / "dcctl.yaml"
BEGIN = """
import os, signal, sys
from dcctl.adapters.guard import boot_clock
from dcctl.adapters.zookeeper import SharedJournal, ZooKeeperRuns, ZooKeeperSession
from dcctl.testing.journal import MemoryJournal
run, command, events = sys.argv[1], sys.argv[2], __import__("json").loads(sys.argv[3])
session = ZooKeeperSession(os.environ["DCCTL_ZOOKEEPER"], session_s=2.0, clock=boot_clock)
session.connect(limit_s=90)
runs = ZooKeeperRuns(session, sys.argv[4], who="ann@laptop")
runs.begin(run, command, limit_s=90)
journal = SharedJournal(MemoryJournal(run), runs, limit_s=90)
for type, fields in events:
    journal.append(type, fields)
print("begun", flush=True)
signal.pause()
"""
ACT = """
import os, sys, time
from dcctl.adapters.guard import boot_clock
from dcctl.adapters.zookeeper import SharedJournal, ZooKeeperRuns, ZooKeeperSession
from dcctl.cli.move import asked_of
from dcctl.domain.step import Step
from dcctl.shell import WallClock, perform
from dcctl.testing.journal import MemoryJournal
run, command = sys.argv[1], sys.argv[2]
session = ZooKeeperSession(os.environ["DCCTL_ZOOKEEPER"], session_s=10.0, clock=boot_clock)
session.connect(limit_s=90)
runs = ZooKeeperRuns(session, sys.argv[4], who="ann@laptop")
runs.begin(run, command, limit_s=90)
def work():
    number = 0
    while True:
        number += 1
        yield Step(f"step {number}", "east", 5, lambda: time.sleep(0.2))
        if number == 1:
            print("begun", flush=True)
journal = SharedJournal(MemoryJournal(run), runs, limit_s=90)
perform(work(), clock=WallClock(), journal=journal, about={"command": command}, asked=asked_of(runs, run))
"""
DECIDED = {
    "site": "west",
    "primary": "east-db-1",
    "candidate": "west-db-1",
    "steps": [{"name": "second copy", "skippable": False}, {"name": "verification", "skippable": True}],
}
_made = iter(range(1_000_000))
MOVE = {"step": "move the primary: west-db-1 has the key", "target": "east", "limit_s": 1, "no_return": True}


@dataclass
class Machine:
    """Where somebody types. ``begun`` are processes of runs elsewhere."""

    folder: Path
    environment: str
    hosts: str

    def type(self, *words: str) -> tuple[int, str, str]:
        ended = subprocess.run(
            [sys.executable, "-m", "dcctl.cli.main", "-e", str(self.folder), *words],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
            env={**os.environ, "DCCTL_ZOOKEEPER": self.hosts},
        )
        return ended.returncode, ended.stdout, ended.stderr

    def begin(
        self, run: str, command: str, *events: tuple[str, object], script: str = BEGIN
    ) -> "subprocess.Popen[str]":
        """A run of another machine, which acts until its process is killed."""
        process = subprocess.Popen(
            [sys.executable, "-c", script, run, command, json.dumps(events), self.environment],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "DCCTL_ZOOKEEPER": self.hosts},
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        return process

    def outcome(self, run: str) -> str:
        return str(self.shown(run)["outcome"])

    def shown(self, run: str) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self.type("-o", "json", "run", "show", run)[1])
        return read

    def until(self, run: str, outcome: str) -> None:
        self.wait(lambda: self.outcome(run) == outcome)

    def wait(self, holds: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + 120
        while not holds():
            assert time.monotonic() < deadline_s


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_zookeeper() as (only,):
        yield only


def machine_of(folder: Path, hosts: str) -> Machine:
    """One that has the lab's configuration under another name, and no network of its own."""
    environment = f"night{next(_made)}"
    text = ENVIRONMENT.read_text().replace("environment: lab", f"environment: {environment}")
    lines = [each for each in text.splitlines(keepends=True) if "network_namespace" not in each]
    (folder / "dcctl.yaml").write_text("".join(lines))
    return Machine(folder, environment, hosts)


@pytest.fixture
def machine(tmp_path: Path, server: Server) -> Machine:
    return machine_of(tmp_path, f"127.0.0.1:{server.port}")


def test_a_run_of_a_machine_that_died_is_read_and_ended_elsewhere(machine: Machine) -> None:
    run = "20260102-030405-switchover-aaaa"
    started = ("run.started", {"command": "switchover apply --to west"})
    process = machine.begin(run, "switchover apply --to west", started, ("switchover.decided", DECIDED))
    try:
        code, _out, said = machine.type("run", "resume", run)
        assert code == 5
        assert "is active: switchover apply --to west, by ann@laptop" in said
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    machine.until(run, "broken off")

    code, told, _said = machine.type("run", "show")
    assert code == 0
    assert "the primary moves from east-db-1 to west-db-1" in told
    assert f"next: dcctl -e {machine.folder} run resume {run}" in told

    code, told, _said = machine.type("run", "watch", run)
    assert code == 0
    assert told.splitlines()[-1].endswith(f"run resume {run}"), "it has ended: nothing is waited for"
    code, _told, said = machine.type("run", "pause", run)
    assert (code, f"run {run} is broken off" in said) == (5, True)

    code, _told, said = machine.type("run", "skip", "second copy", "--reason", "seen by eye")
    assert code == 5
    assert "nobody's word replaces that; what a person may state: verification" in said
    assert machine.type("run", "skip", "verification", "--reason", " ")[0] == 2

    code, told, _said = machine.type("run", "abort", "aaaa", "--reason", "not tonight")
    assert code == 0
    assert "nothing was moved" in told
    code, _told, said = machine.type("run", "resume", "aaaa")
    assert (code, "was aborted: begin a new one" in said) == (5, True)
    assert machine.type("run", "list")[1].count("aborted") == 1


def test_a_run_that_acts_elsewhere_is_paused_and_let_go_on(machine: Machine) -> None:
    run = "20260102-030405-switchover-dddd"
    process = machine.begin(run, "switchover apply --to west", script=ACT)
    try:
        code, told, said = machine.type("run", "pause", run, "--reason", "one moment")
        assert (code, told.splitlines()[0]) == (0, f"run {run} is paused"), said
        assert told.splitlines()[1].endswith(f"run resume {run}")
        paused = machine.shown(run)
        last = paused["timeline"][-1]
        assert (paused["outcome"], last["name"].startswith("PAUSED by ")) == ("paused", True)
        assert ": one moment" in last["name"]
        # Each word typed takes longer than several steps would.
        assert machine.shown(run)["timeline"] == paused["timeline"], "nothing is begun meanwhile"
        code, _told, said = machine.type("run", "pause", run)
        assert (code, f"run {run} is paused" in said) == (5, True)
        code, told, said = machine.type("run", "resume", run)
        assert code == 0, said
        machine.until(run, "active")
        begun = len(paused["timeline"])
        machine.wait(lambda: len(machine.shown(run)["timeline"]) > begun + 2)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    machine.until(run, "broken off")


def test_after_the_point_of_no_return_it_is_not_given_up(machine: Machine) -> None:
    run = "20260102-030405-switchover-bbbb"
    started = ("run.started", {"command": "switchover apply --to west"})
    process = machine.begin(run, "switchover apply --to west", started, ("step.started", MOVE))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    machine.until(run, "broken off")
    code, _told, said = machine.type("run", "abort", "--reason", "not tonight")
    assert code == 5
    assert "the point of no return is passed: move the primary: west-db-1 has the key on east" in said
    assert f"dcctl run resume {run}" in said


def test_without_an_ensemble_only_this_machine_is_known_and_nothing_is_asked(tmp_path: Path) -> None:
    machine = machine_of(tmp_path, "127.0.0.1:1")
    code, told, said = machine.type("run", "list")
    assert (code, told) == (0, "nothing has run yet\n")
    assert "only what was run on this machine is shown" in said
    (machine.folder / ".dcctl" / "runs" / "20260102-030405-drain-cccc").mkdir(parents=True)
    journal = machine.folder / ".dcctl" / "runs" / "20260102-030405-drain-cccc" / "journal.jsonl"
    line = {"at": "2026-01-02T03:04:05Z", "run": "20260102-030405-drain-cccc", "seq": 1}
    journal.write_text(
        json.dumps({**line, "type": "run.started", "fields": {"command": "drain east"}}) + '\n{"at": "2026-'
    )
    assert machine.outcome("cccc") == "broken off"
    code, _told, said = machine.type("run", "abort", "cccc", "--reason", "not tonight")
    assert (code, "ask ZooKeeper of the run" in said) == (4, True)
    assert machine.type("run", "resume", "cccc", "--yes")[0] == 4
