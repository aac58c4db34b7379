"""Reading nodes of a real ZooKeeper, one server on loopback."""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from postgres import free_port

from dcctl.adapters.zookeeper import ZooKeeperVoters
from dcctl.domain.observation import VoterMode
from dcctl.errors import DcctlError, Unreachable

JARS = Path("/usr/share/java")


@pytest.fixture(scope="module")
def zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server's port; skips the test where ZooKeeper is not installed."""
    if not (JARS / "zookeeper.jar").exists() or shutil.which("java") is None:
        pytest.skip(f"ZooKeeper is not installed ({JARS}/zookeeper.jar); apt-get install zookeeper")
    folder, port = tmp_path_factory.mktemp("zookeeper"), free_port()
    (folder / "zoo.cfg").write_text(
        f"tickTime=500\ndataDir={folder}\nclientPort={port}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n"
    )
    main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
    argv = ["java", "-Xmx64m", "-XX:TieredStopAtLevel=1", "-cp", f"{JARS}/*", main, str(folder / "zoo.cfg")]
    with (folder / "log").open("wb") as log, subprocess.Popen(argv, stdout=log, stderr=log) as process:
        try:
            _wait_for(ZooKeeperVoters({"x": "127.0.0.1"}, limit_s=1.0, port=port))
            yield port
        finally:
            process.kill()


def _wait_for(voters: ZooKeeperVoters) -> None:
    """Until it serves; at first nobody listens, then it says that it does not serve."""
    deadline = time.monotonic() + 60
    mode = None
    while mode is not VoterMode.STANDALONE:
        assert time.monotonic() < deadline, f"ZooKeeper did not start: {mode}"
        with contextlib.suppress(DcctlError):
            mode = voters.observe_voter("x").mode
        time.sleep(0.05)


def test_nodes_are_read_and_absent_ones_are_none(zookeeper: int) -> None:
    writer = KazooClient(hosts=f"127.0.0.1:{zookeeper}")
    writer.start(timeout=10)
    writer.create("/patroni/lab/leader", b"east-db-1", makepath=True)
    writer.stop()
    writer.close()
    voters = ZooKeeperVoters({"x": "127.0.0.1"}, limit_s=2.0, port=zookeeper)
    assert voters.read("/patroni/lab/leader", "/patroni/lab/sync") == (b"east-db-1", None)


def test_a_voter_that_is_gone_is_passed_over(zookeeper: int) -> None:
    voters = ZooKeeperVoters({"gone": "127.0.0.9", "x": "127.0.0.1"}, limit_s=2.0, port=zookeeper)
    assert voters.read("/zookeeper/quota") == (b"",)


def test_no_voter_at_all_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="gone: Connection refused"):
        ZooKeeperVoters({"gone": "127.0.0.9"}, limit_s=1.0, port=free_port()).read("/leader")
