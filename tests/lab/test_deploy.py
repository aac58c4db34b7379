"""Deploys of real machines, as an operator types them, and what goes wrong with them."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from deployable import Environment, environment
from guests import Guest, eventually, specification

from dcctl.adapters.openssh import PERSIST_S
from dcctl.adapters.workspace import MEMORY, PREFIX
from dcctl.domain.known_hosts import parse, render
from dcctl.lab import machine

pytestmark = pytest.mark.lab

FIRST = 210
ROLES = {"base", "zookeeper", "postgresql", "edge"}


@pytest.fixture(scope="module")
def deployed(substrate: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """Five machines with everything on them; what a test breaks, it mends."""
    made: list[str] = []

    def define(name: str, place: str, last_octet: int, **more: str) -> Guest:
        spec = machine.define(specification(name, place, last_octet, **more))
        made.append(spec.id)
        return Guest(spec)

    try:
        folder = tmp_path_factory.mktemp("deploy") / "test"
        ready = environment(folder, define, name="test", first=FIRST)
        with looked_for(ready.secrets) as found:
            first = ready.deploy(limit_s=600)
        assert found == []
        assert first["changed"] > 0
        yield ready
    finally:
        for id in made:
            machine.delete(id)


@contextmanager
def looked_for(secrets: Mapping[str, str]) -> Iterator[list[str]]:
    """Where, meanwhile, a secret is in an argument list, an environment or a file in memory."""
    marks = [secret.split()[0].encode() for secret in secrets.values()]
    found: list[str] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.3):
            for file in (
                *(path / name for path in Path("/proc").glob("[0-9]*") for name in ("cmdline", "environ")),
                *(path for path in MEMORY.glob(f"{PREFIX}*/**/*") if path.is_file()),
            ):
                with suppress(OSError):
                    content = file.read_bytes()
                    found.extend(str(file) for mark in marks if mark in content)

    looker = threading.Thread(target=look)
    looker.start()
    try:
        yield found
    finally:
        ended.set()
        looker.join()


def test_a_second_deploy_changes_nothing_and_finds_everything_sound(deployed: Environment) -> None:
    second = deployed.deploy()
    assert second["changed"] == 0
    assert {recap["machine"] for recap in second["machines"]} == set(deployed.guests)
    assert {finding["role"] for finding in second["findings"]} == ROLES
    assert all(finding["passed"] for finding in second["findings"])


@pytest.mark.parametrize("name", ["east-db-1", "west-db-1"])
def test_a_member_talks_to_its_own_voter_or_the_witness(deployed: Environment, name: str) -> None:
    """Its own comes first; one that is silent for 2 s is left for the next.

    The other site's would take it along into the dark.
    """
    guest = deployed.guests[name]
    peers = guest.run("sudo ss -Htn state established '( dport = 2181 )' | awk '{print $4}'")
    near = {f"{each.address}:2181" for each in (guest, deployed.guests["test-witness"])}
    assert set(peers.split()) <= near, peers
    assert peers


def test_nothing_changed_is_no_drift(deployed: Environment) -> None:
    compared = deployed.dcctl("deploy", "--check", "-o", "json")
    assert (compared.returncode, json.loads(compared.stdout)["changes"]) == (0, [])


def test_no_secret_is_left_behind(deployed: Environment) -> None:
    marks = [secret.split()[0] for secret in deployed.secrets.values()]
    runs = "".join(path.read_text() for path in (deployed.folder / ".dcctl").rglob("*") if path.is_file())
    assert not [mark for mark in marks if mark in runs]
    look = " || ".join(f"sudo journalctl --no-pager | grep -F {mark}" for mark in marks)
    for guest in deployed.guests.values():
        assert guest.run(f"{look} || true") == ""


def test_drift_is_told_and_mended(deployed: Environment) -> None:
    edge = deployed.guests["east-edge-1"]
    edge.run("sudo sed -i 's/fall 2/fall 9/' /etc/haproxy/haproxy.cfg")
    compared = deployed.dcctl("deploy", "edge", "--check")
    assert compared.returncode == 8
    assert "east-edge-1" in compared.stderr
    assert "/etc/haproxy/haproxy.cfg" in compared.stderr
    assert edge.run("grep -c 'fall 9' /etc/haproxy/haproxy.cfg") == "1"

    mended = deployed.deploy("edge")
    assert {change["machine"] for change in mended["changes"]} == {"east-edge-1"}
    assert edge.run("grep -c 'fall 2' /etc/haproxy/haproxy.cfg") == "1"


def test_an_interrupted_change_takes_effect_at_the_next_deploy(deployed: Environment) -> None:
    edge = deployed.guests["east-edge-1"]
    before = edge.run("systemctl show haproxy --property StateChangeTimestampMonotonic")
    edge.run("sudo touch /etc/haproxy/haproxy.cfg")
    reloaded = deployed.deploy("edge", "--limit", "east-edge-1")
    assert [change["task"] for change in reloaded["changes"]] == ["Have HAProxy read its configuration again"]
    assert edge.run("systemctl show haproxy --property StateChangeTimestampMonotonic") != before
    assert deployed.deploy("edge", "--limit", "east-edge-1")["changed"] == 0


def test_a_full_disk_is_told_by_the_task_that_met_it(deployed: Environment) -> None:
    edge = deployed.guests["west-edge-1"]
    edge.run(
        "sudo sh -c 'cp /etc/haproxy/haproxy.cfg /tmp/kept && mount -t tmpfs -o size=4k full /etc/haproxy"
        " && cp /dev/zero /etc/haproxy/haproxy.cfg' 2>/dev/null || true"
    )
    try:
        failed = deployed.dcctl("deploy", "edge")
        assert failed.returncode == 6, failed.stderr
        last = failed.stderr[failed.stderr.index("error: ") :]
        assert "west-edge-1: task 'edge: Write the configuration' failed" in last
        assert "No space left on device" in last
        assert f"next: dcctl -e {deployed.folder} deploy edge" in last
    finally:
        edge.run("sudo umount /etc/haproxy")
    assert deployed.deploy("edge")["changed"] == 0


def test_a_machine_that_is_off_is_named_and_the_others_go_on(deployed: Environment) -> None:
    dark = deployed.guests["west-edge-1"]
    deployed.guests["east-edge-1"].run("sudo sed -i 's/fall 2/fall 9/' /etc/haproxy/haproxy.cfg")
    machine.halt(dark.id)
    try:
        failed = deployed.dcctl("deploy", "edge")
        assert failed.returncode == 6, failed.stderr
        assert "west-edge-1: it cannot be reached:" in failed.stderr
    finally:
        dark.boot()
    assert deployed.guests["east-edge-1"].run("grep -c 'fall 2' /etc/haproxy/haproxy.cfg") == "1"


def test_a_check_that_fails_ends_a_deploy(deployed: Environment) -> None:
    witness = deployed.guests["test-witness"]
    # sshd believes the first file that says it, and this one is not dcctl's to remove.
    witness.run("echo 'PasswordAuthentication yes' | sudo tee /etc/ssh/sshd_config.d/00-someone.conf")
    try:
        failed = deployed.dcctl("deploy", "base", "--limit", "witness")
        assert failed.returncode == 6, failed.stderr
        told = "test-witness: base: keys alone let in: sshd says passwordauthentication yes"
        assert told in failed.stderr
    finally:
        witness.run("sudo rm /etc/ssh/sshd_config.d/00-someone.conf")


def test_a_host_key_that_changed_is_refused(deployed: Environment) -> None:
    known = deployed.folder / ".dcctl" / "known_hosts"
    kept = known.read_text()
    hosts = parse(kept)
    other = next(host for host in hosts if host.name == "west-edge-1").host_key
    known.write_text(
        render(replace(host, host_key=other) if host.name == "east-edge-1" else host for host in hosts)
    )
    try:
        failed = deployed.dcctl("deploy", "edge")
        assert failed.returncode == 6
        assert "east-edge-1: it cannot be reached: its host key is not the recorded one" in failed.stderr
    finally:
        known.write_text(kept)


def test_a_secret_that_patroni_cannot_set_is_refused_before_anything(deployed: Environment) -> None:
    secret = deployed.folder / "secrets" / "postgresql_app"
    kept = secret.read_text()
    secret.write_text("grün\n")
    try:
        refused = deployed.dcctl("deploy", "postgresql")
        assert refused.returncode == 3
        assert "postgresql_app" in refused.stderr
        assert "grün" not in refused.stderr
    finally:
        secret.write_text(kept)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_deploy_that_is_ended_leaves_nothing_running(deployed: Environment, number: signal.Signals) -> None:
    with subprocess.Popen(
        deployed.command("deploy"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        while "role" not in process.stderr.readline():
            assert process.poll() is None, "it ended before it began"
        time.sleep(1)
        os.kill(process.pid, number)
        process.wait(timeout=60)
    assert process.returncode == (130 if number is signal.SIGINT else -number)
    ours = f"/{PREFIX}{process.pid}-"
    # What was killed could close nothing: its tasks end, and then each idle connection by itself.
    assert eventually(lambda: not playing(ours), limit_s=30 + 2 * PERSIST_S), playing(ours)
    assert deployed.deploy("base", "--limit", "witness")["changed"] == 0
    assert not list(MEMORY.glob(f"{PREFIX}{process.pid}-*"))


def playing(workspace: str) -> list[str]:
    """Processes whose arguments name this folder: Ansible's, and ssh's connections."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            arguments = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if workspace in arguments:
                found.append(arguments)
    return found
