"""From nothing to a lab to nothing, however the way is broken off."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from guests import dcctl, eventually

from dcctl.lab import cgroup, down, machine, up, witness
from dcctl.lab.paths import LAB, RUN

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("no_lab")]

LIGHT = ("lab", "up", "--no-clouds")


def host_networking() -> tuple[str, ...]:
    """Routes, links, rules and forwarding of the host itself."""
    questions = (
        ("ip", "-json", "route", "show", "table", "all"),
        ("ip", "-brief", "link"),
        ("nft", "list", "ruleset"),
        ("sysctl", "net.ipv4.ip_forward", "net.ipv6.conf.all.disable_ipv6"),
    )
    return tuple(
        subprocess.run(question, capture_output=True, text=True, check=True, timeout=10).stdout
        for question in questions
    )


@contextmanager
def coming_up(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A ``lab up`` under way, with its progress to read."""
    argv = [sys.executable, "-m", "dcctl.cli.main", *arguments]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: "subprocess.Popen[str]", words: str) -> None:
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if words in line:
            return
    pytest.fail(f"never said {words!r}, but: {''.join(seen)}")


def drain(process: "subprocess.Popen[str]") -> str:
    assert process.stderr is not None
    return process.stderr.read()


def test_down_leaves_nothing_and_the_host_was_never_touched() -> None:
    before = host_networking()
    dcctl(*LIGHT, check=True)
    assert up.is_up()
    assert machine.state(witness.ID) == "running"
    assert host_networking() == before
    dcctl("lab", "down", check=True)
    assert down.leftovers() == ()
    assert not RUN.exists()
    assert host_networking() == before
    assert {path.name for path in LAB.iterdir()} <= {"cache", "lock"}
    dcctl("lab", "down", check=True)


def test_a_second_lab_is_refused_and_the_first_goes_on() -> None:
    dcctl(*LIGHT, check=True)
    second = dcctl(*LIGHT)
    assert second.returncode == 5
    assert "a lab is running on this host" in second.stderr
    assert "next: dcctl lab status" in second.stderr
    assert machine.state(witness.ID) == "running"


def test_up_and_down_refuse_while_another_is_coming_up() -> None:
    with coming_up(*LIGHT) as first:
        read_until(first, "lab: start")
        for arguments in (LIGHT, ("lab", "down")):
            other = dcctl(*arguments)
            assert other.returncode == 5
            assert f"process {first.pid} is bringing the lab up or down" in other.stderr
        drain(first)
        assert first.wait(timeout=60) == 0


@pytest.mark.parametrize("words", ["lab: networks …", "lab: networks: done", "lab: start"])
def test_a_lab_killed_while_coming_up_is_cleaned_by_the_next(words: str) -> None:
    with coming_up(*LIGHT) as first:
        read_until(first, words)
        first.kill()
    assert not up.is_up()
    dcctl(*LIGHT, check=True)
    assert up.is_up()
    assert len(machine.ids()) == 1
    dcctl("lab", "down", check=True)
    assert down.leftovers() == ()


def test_a_whole_lab_killed_while_its_clouds_start_is_removed(clouds_built: None) -> None:
    with coming_up("lab", "up") as first:
        read_until(first, "west: up")
        first.kill()
    assert down.processes()
    dcctl("lab", "down", check=True)
    assert down.leftovers() == ()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_lab_removes_what_it_made(number: signal.Signals) -> None:
    with coming_up(*LIGHT) as first:
        read_until(first, "lab: start")
        first.send_signal(number)
        said = drain(first)
        assert first.wait(timeout=60) == 130, said
    assert "interrupted" in said
    assert "Traceback" not in said
    assert down.leftovers() == ()


def test_down_works_after_anything_was_killed() -> None:
    dcctl(*LIGHT, check=True)
    init = machine.init_of(witness.ID)
    for pid in cgroup.members(witness.ID):
        if pid != init:
            subprocess.run(["kill", "-9", str(pid)], check=False, capture_output=True)
    machine.delete(witness.ID)
    subprocess.run(["ip", "netns", "delete", "dcctl-backbone"], check=True)
    shown = json.loads(dcctl("lab", "status", "-o", "json", check=True).stdout)
    assert shown["state"] == "partial"
    dcctl("lab", "down", check=True)
    assert down.leftovers() == ()


def test_down_ends_what_others_run_inside_the_lab() -> None:
    dcctl(*LIGHT, check=True)
    argv = ["nsenter", "--net=/run/netns/dcctl-operator", "sleep", "1000"]
    with subprocess.Popen(argv) as stranger:
        assert eventually(lambda: stranger.pid in down.processes(), limit_s=5)
        reaped = threading.Thread(target=stranger.wait)
        reaped.start()
        dcctl("lab", "down", check=True)
        reaped.join(5)
        assert stranger.returncode == -signal.SIGKILL


def test_ssh_and_status_and_cut_from_the_command_line() -> None:
    dcctl(*LIGHT, check=True)
    assert dcctl("lab", "ssh", "witness-1", "--", "hostname", check=True).stdout == "witness-1\n"
    assert dcctl("lab", "ssh", "witness-1", "--", "exit 7").returncode == 7
    nobody = dcctl("lab", "ssh", "nobody")
    assert (nobody.returncode, "the lab has witness-1" in nobody.stderr) == (4, True)
    cuts = json.loads(dcctl("lab", "cut", "witness", "--for", "30", "-o", "json", check=True).stdout)["cuts"]
    assert {"witness"} == {name for cut in cuts for name in (cut["source"], cut["target"])} - {
        "east",
        "west",
        "outside",
    }
    assert dcctl("lab", "ssh", "witness-1", "--", "true").returncode == 255
    assert json.loads(dcctl("lab", "heal", "-o", "json", check=True).stdout) == {"cuts": []}
    shown = json.loads(dcctl("lab", "status", "-o", "json", check=True).stdout)
    assert (shown["state"], [each["name"] for each in shown["machines"]]) == ("up", ["witness-1"])


def test_without_a_lab_each_command_says_so() -> None:
    assert "no lab on this host" in dcctl("lab", "status", check=True).stdout
    for arguments in (("cut", "east"), ("heal",), ("ssh", "witness-1")):
        done = dcctl("lab", *arguments)
        assert (done.returncode, "next: dcctl lab" in done.stderr) == (4, True)
