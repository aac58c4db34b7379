"""`dcctl provision` against both clouds of the lab, as an operator types it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from guests import dcctl, eventually, inside

from dcctl import resources

pytestmark = pytest.mark.lab

COUNT = 4
WEST = "west-kept-node-1"


@dataclass(frozen=True)
class Environment:
    """An environment of its own in the lab's clouds: its names and addresses are nobody else's."""

    folder: Path
    word: str
    """Begins the names of its groups of machines."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(
            f"{site}-{self.word}-{kind}-1" for site in ("east", "west") for kind in ("node", "voter")
        )

    @property
    def state(self) -> Path:
        return self.folder / ".dcctl"

    def run(self, *arguments: str, expect: int = 0) -> "subprocess.CompletedProcess[str]":
        done = dcctl("-e", str(self.folder), *arguments, limit_s=300)
        assert done.returncode == expect, f"{arguments} ended with {done.returncode}:\n{done.stderr}"
        return done

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        argv = [sys.executable, "-m", "dcctl.cli.main", "-e", str(self.folder), *arguments]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def plan(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.run("-o", "json", "provision", "plan").stdout)
        return document

    def ssh(self, name: str, *command: str) -> "subprocess.CompletedProcess[str]":
        """OpenSSH's own client, told nothing but what the inventory says."""
        variables = json.loads(self.run("inventory", "--host", name).stdout)
        known_hosts = self.state / "known_hosts"
        options = ["-o", f"UserKnownHostsFile={known_hosts}", "-o", "StrictHostKeyChecking=yes"]
        options += ["-o", "BatchMode=yes", "-i", variables["ansible_ssh_private_key_file"]]
        target = f"{variables['ansible_user']}@{variables['ansible_host']}"
        argv = inside("dcctl-operator", "ssh", *options, target, *command)
        return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)


@contextmanager
def environment_in(folder: Path, word: str, first: int) -> Iterator[Environment]:
    def addresses(start: int) -> dict[str, str]:
        return {
            site: f"198.18.{net}.{start}-198.18.{net}.{start + 4}" for net, site in ((1, "east"), (2, "west"))
        }

    document = yaml.safe_load((resources.inventories() / "lab" / "dcctl.yaml").read_text())
    document["environment"] = f"test-{word}"
    del document["demand"]
    document["state_directory"] = str(folder / ".dcctl")
    document["machines"] = {
        f"{word}-node": {
            "sites": ["east", "west"],
            "count": 1,
            "size": "small",
            "roles": ["postgresql", "edge"],
            "addresses": addresses(first),
        },
        f"{word}-voter": {
            "sites": ["east", "west"],
            "count": 1,
            "size": "small",
            "roles": ["zookeeper"],
            "addresses": addresses(first + 5),
        },
    }
    (folder / "dcctl.yaml").write_text(yaml.safe_dump(document))
    made = Environment(folder, word)
    try:
        yield made
    finally:
        dcctl("lab", "heal", check=True)
        made.run("provision", "destroy", "--yes")
        assert made.plan()["changes"] == COUNT


@pytest.fixture
def environment(lab: object, tmp_path: Path) -> Iterator[Environment]:
    """With no machine yet."""
    with environment_in(tmp_path, "fresh", 60) as made:
        yield made


@pytest.fixture(scope="module")
def applied(lab: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """With every machine up; tests leave it so."""
    with environment_in(tmp_path_factory.mktemp("applied"), "kept", 70) as made:
        made.run("provision", "plan", "--exit-code", expect=8)
        done = made.run("provision", "apply", "--yes")
        assert f"done: {COUNT} created; machines answer as themselves" in done.stdout
        yield made


def test_apply_gives_machines_that_are_who_they_say(applied: Environment) -> None:
    for name in applied.names:
        told = applied.ssh(name, "hostname; sudo -n id -u; ls /etc/ssh/ssh_host_*_key | wc -l")
        assert told.returncode == 0, told.stderr
        assert told.stdout.split() == [name, "0", "1"]


def test_a_second_apply_has_nothing_to_do_and_nothing_to_ask(applied: Environment) -> None:
    applied.run("provision", "plan", "--exit-code")
    assert f"nothing to do: {COUNT} as configured" in applied.run("provision", "apply").stdout


def test_ansible_reaches_every_machine_through_the_inventory(applied: Environment) -> None:
    script = applied.folder / "hosts"
    script.write_text(
        f'#!/bin/sh\nexec {sys.executable} -m dcctl.cli.main -e {applied.folder} inventory "$@"\n'
    )
    script.chmod(0o755)
    ansible = Path(sys.executable).parent / "ansible"
    argv = inside("dcctl-operator", str(ansible), "-i", str(script), "all", "-m", "ping", "-o")
    environment = {**os.environ, "ANSIBLE_HOME": str(applied.folder / "ansible"), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("SUCCESS") == COUNT + 1  # the witness too


def test_a_machine_that_was_put_off_is_powered_on(applied: Environment) -> None:
    applied.ssh(WEST, "sudo", "systemctl", "poweroff")
    assert eventually(
        lambda: [a["name"] for a in applied.plan()["actions"] if a["do"] == "power on"] == [WEST],
        limit_s=60,
        every_s=0.5,
    )
    done = applied.run("provision", "apply", "--yes")
    assert "1 powered on, 3 as configured" in done.stdout
    assert applied.ssh(WEST, "hostname").stdout.strip() == WEST


@pytest.mark.parametrize("after_s", [1.0, 3.0])
def test_an_apply_that_was_killed_is_finished_by_the_next(environment: Environment, after_s: float) -> None:
    process = environment.start("provision", "apply", "--yes")
    try:
        time.sleep(after_s)  # anywhere: the moment is the point
    finally:
        process.kill()
        process.communicate()
    environment.run("provision", "apply", "--yes")
    assert environment.plan()["changes"] == 0
    for name in environment.names:
        assert environment.ssh(name, "hostname").stdout.strip() == name


def test_ctrl_c_lets_what_runs_end_and_says_what_goes_on(environment: Environment) -> None:
    process = environment.start("provision", "apply", "--yes")
    try:
        assert eventually(lambda: list(environment.state.glob("runs/*/journal.jsonl")), limit_s=30)
        process.send_signal(signal.SIGINT)
        _out, err = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, err
    assert f"next: dcctl -e {environment.folder} provision apply" in err
    shown = json.loads(environment.run("-o", "json", "run", "show").stdout)
    assert shown["outcome"] == "interrupted"
    environment.run("provision", "apply", "--yes")
    assert environment.plan()["changes"] == 0


def test_a_dark_site_stops_apply_and_destroy_and_not_the_inventory(applied: Environment) -> None:
    dcctl("lab", "cut", "west", "--for", "120", check=True)
    refused = applied.run("provision", "apply", "--yes", expect=4)
    assert "west" in refused.stderr
    assert "west last answered at" in refused.stderr
    assert "west cannot be asked" in applied.run("provision", "destroy", "--yes", expect=5).stderr
    began = time.monotonic()
    listed = json.loads(applied.run("inventory", "--list").stdout)
    assert time.monotonic() - began < 2
    assert listed["_meta"]["hostvars"][WEST]["dcctl_last_seen"]["power"] == "on"
    applied.run("provision", "plan", "--site", "east", "--exit-code")
    dcctl("lab", "heal", check=True)
    assert applied.plan()["changes"] == 0


def test_a_password_that_is_refused_is_one_sentence(environment: Environment) -> None:
    wrong = environment.folder / "wrong"
    wrong.touch(mode=0o600)
    wrong.write_text("not the password\n")
    path = environment.folder / "dcctl.yaml"
    right = path.read_text()
    document = yaml.safe_load(right)
    document["sites"]["west"]["password"] = f"file:{wrong}"
    path.write_text(yaml.safe_dump(document))
    refused = environment.run("provision", "apply", "--yes", expect=4)
    path.write_text(right)
    assert "west" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "not the password" not in refused.stderr
    assert environment.plan()["changes"] == COUNT
