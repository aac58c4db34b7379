"""``dcctl leader`` as it is typed, on a real ZooKeeper."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from zookeeper_server import Relay, Server, running_zookeeper

LIMIT_S = 60.0
_made = iter(range(1_000_000))

WAITS = "import sys, time; open(sys.argv[1], 'a').write('began\\n'); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + WAITS
TELLS = "import os; print(os.environ['DCCTL_EPOCH'], os.environ['DCCTL_ROLE'])"


class Prompt:
    """``dcctl leader`` in one environment of its own."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.hosts = f"127.0.0.1:{server.port}"
        self.environment = f"cli-{next(_made)}"
        self.marks = folder / "marks"
        self.marks.touch()
        self._folder = folder
        self._started: list[subprocess.Popen[str]] = []

    def argv(self, verb: str, *argv: str, hosts: str = "") -> list[str]:
        where = ["-e", self.environment, "--zookeeper", hosts or self.hosts]
        return [sys.executable, "-m", "dcctl.cli.main", "leader", verb, *where, *argv]

    def run(
        self, verb: str, *argv: str, hosts: str = "", **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.argv(verb, *argv, hosts=hosts),
            check=False,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            env={**os.environ, **environment},
        )

    def hold(self, script: str, *options: str, hosts: str = "") -> "subprocess.Popen[str]":
        """Start a holder and wait until its command began."""
        began = self.marks.read_text()
        argv = self.argv(
            "hold", "auction", *options, "--", sys.executable, "-c", script, str(self.marks), hosts=hosts
        )
        process = subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._started.append(process)
        self.until(lambda: self.marks.read_text() != began or process.poll() is not None)
        return process

    def show(self) -> dict[str, Any]:
        done = self.run("show", "auction", "-o", "json")
        assert done.returncode == 0, done.stderr
        (line,) = json.loads(done.stdout)["roles"]
        assert isinstance(line, dict)
        return line

    def until(self, true: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + LIMIT_S
        while not true():
            assert time.monotonic() < deadline_s
            time.sleep(0.1)

    def close(self) -> None:
        for process in self._started:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.terminate()
            process.communicate(timeout=30)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_zookeeper() as (only,):
        yield only


@pytest.fixture
def prompt(server: Server, tmp_path: Path) -> Iterator[Prompt]:
    with contextlib.closing(Prompt(server, tmp_path)) as prompt:
        yield prompt


def test_the_command_has_its_epoch_its_role_and_its_own_exit_code(prompt: Prompt) -> None:
    done = prompt.run("hold", "auction", "--", sys.executable, "-c", TELLS)
    assert (done.returncode, done.stdout) == (0, "1000000001 auction\n")
    assert done.stderr.splitlines() == ["leader: leads auction under epoch 1000000001"]
    began_s = time.monotonic()
    assert prompt.run("hold", "auction", "--", sys.executable, "-c", "raise SystemExit(37)").returncode == 37
    assert time.monotonic() - began_s < 30, "a released role is taken at once"
    shown = prompt.show()
    assert (shown["epoch"], shown["holder"], shown["released"]) == (1000000002, None, True)
    assert (shown["generation"], shown["counter"]) == (1, 2)


def test_show_tells_who_leads_and_how_old_the_lease_is(prompt: Prompt) -> None:
    assert prompt.run("show").stdout == "no role has ever had a leader\n"
    assert prompt.show()["epoch"] is None
    holder = prompt.hold(WAITS)
    shown = prompt.show()
    assert shown["holder"].endswith(f":{holder.pid}")
    assert (shown["epoch"], shown["session_s"], shown["released"]) == (1000000001, 10.0, False)
    assert shown["lease_age_s"] < 9
    text = prompt.run("show").stdout
    assert "auction" in text
    assert "1000000001" in text
    assert f":{holder.pid}" in text
    assert "of 10 s" in text


def test_no_wait_is_refused_with_the_holder(prompt: Prompt) -> None:
    holder = prompt.hold(WAITS)
    done = prompt.run("hold", "auction", "--no-wait", "--", "true")
    assert done.returncode == 5
    assert f":{holder.pid} leads auction under epoch 1000000001" in done.stderr
    assert f"next: dcctl -e {prompt.environment} leader show" in done.stderr


def test_a_lease_that_may_still_be_used_is_not_taken_without_waiting(prompt: Prompt, server: Server) -> None:
    """The holder and its session are gone; that its work is over has not been said."""
    relay = Relay(server.port)
    holder = prompt.hold(WAITS, "--session", "4", hosts=relay.hosts)
    holder.kill()
    prompt.until(lambda: prompt.show()["holder"] is None)
    done = prompt.run("hold", "auction", "--no-wait", "--", "true")
    relay.close()
    assert done.returncode == 5
    assert "the work under epoch 1000000001 may not be over" in done.stderr
    assert prompt.run("hold", "auction", "--", "true").returncode == 0


@pytest.mark.parametrize("script", [WAITS, STUBBORN])
def test_resigning_hands_over_to_whoever_waits(prompt: Prompt, script: str) -> None:
    first = prompt.hold(script, "--grace", "1")
    began = prompt.marks.read_text()
    waiting = prompt.argv("hold", "auction", "--", sys.executable, "-c", WAITS, str(prompt.marks))
    second = subprocess.Popen(waiting, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    prompt._started.append(second)
    done = prompt.run("resign", "auction")
    assert done.returncode == 0, done.stderr
    _, said = first.communicate(timeout=LIMIT_S)
    assert first.returncode == 0
    assert "resigned auction, epoch 1000000001" in said
    prompt.until(lambda: prompt.marks.read_text() != began)
    assert prompt.show()["holder"].endswith(f":{second.pid}")


def test_nobody_leads_nobody_resigns(prompt: Prompt) -> None:
    done = prompt.run("resign", "auction")
    assert done.returncode == 5
    assert "nobody leads auction" in done.stderr


def test_a_holder_that_is_stopped_is_asked_no_more(prompt: Prompt) -> None:
    holder = prompt.hold(WAITS, "--session", "12")
    os.kill(holder.pid, signal.SIGSTOP)
    done = prompt.run("resign", "auction", "--limit", "1")
    os.kill(holder.pid, signal.SIGCONT)
    assert done.returncode in (0, 4)
    if done.returncode == 4:
        assert "asked no more" in done.stderr
        assert not prompt.show()["asked_to_resign"]


@pytest.mark.parametrize(("script", "number"), [(WAITS, signal.SIGINT), (STUBBORN, signal.SIGTERM)])
def test_asked_to_end_it_ends_the_command_and_releases(prompt: Prompt, script: str, number: int) -> None:
    holder = prompt.hold(script, "--grace", "1")
    holder.send_signal(number)
    _, said = holder.communicate(timeout=LIMIT_S)
    assert holder.returncode == 130
    assert "released" in said
    assert prompt.show()["released"]


def test_an_ensemble_that_does_not_answer_is_unreachable(prompt: Prompt) -> None:
    done = prompt.run("hold", "auction", "--", "true", hosts="127.0.0.1:1")
    assert done.returncode == 4
    assert "no session within 10 s" in done.stderr


def test_a_database_that_does_not_answer_is_unreachable_before_anything_is_claimed(prompt: Prompt) -> None:
    conninfo = "host=127.0.0.1 port=1 user=nobody dbname=nothing"
    done = prompt.run("hold", "auction", "--no-wait", "--conninfo", conninfo, "--", "true")
    assert done.returncode == 4
    assert prompt.show()["epoch"] is None


def test_a_supervisor_is_told_that_the_holder_lives(prompt: Prompt, tmp_path: Path) -> None:
    """systemd ends the whole unit when this stops: a watchdog that no bug of ours can reach."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(address)
        done = prompt.run(
            "hold", "auction", "--", sys.executable, "-c", "import time; time.sleep(2)", NOTIFY_SOCKET=address
        )
        assert done.returncode == 0
        supervisor.setblocking(False)
        heard = []
        with contextlib.suppress(BlockingIOError):
            while True:
                heard.append(supervisor.recv(4096).decode())
    assert heard[0] == "READY=1"
    assert "STATUS=leads auction under epoch 1000000001" in heard
    assert heard.count("WATCHDOG=1") > 4
    assert prompt.run("show", NOTIFY_SOCKET="/nowhere/at-all").returncode == 0
