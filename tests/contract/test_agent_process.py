"""``dcctl agent`` as a process, between a real ZooKeeper and a real HAProxy."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
import requests
from haproxy_edge import Edge, running_edge
from postgres import free_port
from zookeeper_server import Relay, running_zookeeper

from dcctl.adapters.guard import boot_clock
from dcctl.adapters.haproxy import HaproxyRuntime
from dcctl.adapters.zookeeper import ZooKeeperSession, ZooKeeperSites, ZooKeeperVantages
from dcctl.domain.traffic import WRITES, Rotation, SiteState

START = """
import sys
from dcctl.wiring import ensemble
from dcctl.adapters.guard import boot_clock
from dcctl.adapters.zookeeper import ZooKeeperSession
# The configuration knows ZooKeeper's usual port alone; here it listens elsewhere.
ensemble.new_session = lambda _configuration: ZooKeeperSession(sys.argv[1], session_s=2.0, clock=boot_clock)
from dcctl.wiring import probe
probe.probe_round = lambda _configuration, _place, specs=None: tuple
from dcctl.cli.main import main
main(sys.argv[2:])
"""
CONFIGURATION = Path(__file__).parents[2] / "inventories/lab/dcctl.yaml"
OK, BAD = 200, 503


class World:
    def __init__(self, folder: Path, hosts: str, edge: Edge) -> None:
        self.relay = Relay(int(hosts.rpartition(":")[2]))
        self.edge, self.runtime = edge, HaproxyRuntime(edge.socket, limit_s=5)
        self.port = free_port()
        text = CONFIGURATION.read_text().replace("network_namespace: dcctl-operator\n", "")
        (folder / "dcctl.yaml").write_text(text)
        self.log = folder / "log"
        self.argv = [
            *(sys.executable, "-c", START, self.relay.hosts, "-e", str(folder), "agent"),
            *("--name", "east-edge-1", "--listen", "127.0.0.1", "--port", str(self.port)),
            *("--runtime-socket", str(edge.socket)),
        ]
        self.session = ZooKeeperSession(hosts, session_s=10.0, clock=boot_clock)
        self.session.connect(limit_s=20)
        self.sites = ZooKeeperSites(self.session, "lab", ("east", "west"), limit_s=10)
        self.vantages = ZooKeeperVantages(self.session, "lab", limit_s=10)
        self.process = self.start()

    def start(self) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
            return subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stderr=log, env=environment)

    def until(self, holds: Callable[[], object], limit_s: float = 60.0) -> None:
        deadline_s = time.monotonic() + limit_s
        while not holds():
            assert time.monotonic() < deadline_s, self.log.read_text()
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)

    def want(self, site: str, state: Rotation) -> None:
        now = {each.site: each.version for each in self.sites.observe_sites()}
        self.sites.change_site(SiteState(site, state, by="a test"), expected=now[site])

    def in_rotation(self, name: str) -> bool:
        found = [each.in_rotation for each in self.runtime.observe_servers() if each.name == name]
        return any(found)

    def writes(self) -> set[bool]:
        """Whether this edge sends writes to the databases."""
        return {each.in_rotation for each in self.runtime.observe_servers() if each.backend == WRITES}

    def health(self) -> tuple[int, str]:
        with suppress(requests.RequestException):
            answer = requests.get(f"http://127.0.0.1:{self.port}/healthz", timeout=2)
            return answer.status_code, " ".join(json.loads(answer.text)["reasons"])
        return 0, ""

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.session.close()
        self.relay.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_zookeeper() as (server,), running_edge("east") as (edge, _applications):
        folder = tmp_path_factory.mktemp("agent")
        with closing(World(folder, f"127.0.0.1:{server.port}", edge)) as world:
            world.until(lambda: world.health()[0] == OK)
            yield world


@contextmanager
def frozen(world: World) -> Iterator[None]:
    world.relay.frozen = True
    try:
        yield
    finally:
        world.relay.frozen = False
    world.until(lambda: world.health()[0] == OK)


def test_it_brings_the_edge_up_drains_and_publishes(world: World) -> None:
    world.until(lambda: world.in_rotation("east-app-1"))
    world.want("east", Rotation.DRAINED)
    world.until(lambda: not world.in_rotation("east-app-1"))
    world.until(lambda: world.edge.ask("/healthz")[0] == BAD)

    def published() -> bool:
        seen = {each.vantage: each.edge for each in world.vantages.observe_vantages()}
        applied = seen.get("east-edge-1")
        return applied is not None and applied.rotation["east"] is False

    world.until(published)
    metrics = requests.get(f"http://127.0.0.1:{world.port}/metrics", timeout=5).text
    assert 'dcctl_site_state{site="east",state="drained"} 1.0' in metrics


def test_cut_off_it_says_so_keeps_the_weights_and_its_observation_ends(world: World) -> None:
    with frozen(world):
        world.until(lambda: "last answered" in world.health()[1])
        assert world.health()[0] == BAD
        world.until(lambda: "east is fenced" in world.health()[1])
        world.until(lambda: world.writes() == {False})
        world.until(lambda: world.vantages.observe_vantages() == ())
        world.want("east", Rotation.ACTIVE)
        time.sleep(1.5)  # three rounds: an agent that guesses would have acted
        assert not world.in_rotation("east-app-1")
    world.until(lambda: world.in_rotation("east-app-1"))
    world.until(lambda: len(world.vantages.observe_vantages()) == 1)


def test_a_frozen_agent_answers_nobody_and_its_observation_ends(world: World) -> None:
    world.process.send_signal(signal.SIGSTOP)
    try:
        world.until(lambda: world.health()[0] == 0)
        world.until(lambda: world.vantages.observe_vantages() == ())
    finally:
        world.process.send_signal(signal.SIGCONT)
    world.until(lambda: len(world.vantages.observe_vantages()) == 1)


def test_asked_to_end_it_leaves_nothing_and_the_weights_as_they_are(world: World) -> None:
    world.until(lambda: len(world.vantages.observe_vantages()) == 1)
    before = world.in_rotation("east-app-1")
    world.process.send_signal(signal.SIGTERM)
    assert world.process.wait(30) == 0, world.log.read_text()
    assert world.vantages.observe_vantages() == (), "it did not wait for its session to run out"
    assert world.in_rotation("east-app-1") == before
    world.process = world.start()
    world.until(lambda: world.health()[0] == OK)


def test_killed_another_life_takes_over(world: World) -> None:
    world.process.kill()
    world.process.wait()
    world.process = world.start()
    world.until(lambda: world.health()[0] == OK)
    world.want("east", Rotation.QUARANTINED)
    world.until(lambda: not world.in_rotation("east-app-1"))
    time.sleep(2.5)  # the session of its former life runs out
    world.until(lambda: len(world.vantages.observe_vantages()) == 1)
