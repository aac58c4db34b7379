"""``dcctl replication follow --shared`` twice, on two real clusters and a real ZooKeeper."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from swift_client import as_client, wait_for
from zookeeper_server import running_zookeeper

from dcctl.cli.main import run
from dcctl.testing.replication_site import Environment
from dcctl.testing.swift_pair import Pair


def start(env: Environment, zookeeper: str) -> "subprocess.Popen[str]":
    argv = ["follow", "--shared", "--every", "0.5", "--zookeeper", zookeeper]
    return subprocess.Popen(
        [sys.executable, "-m", "dcctl.cli.main", *env.argv(*argv)], stderr=subprocess.PIPE, text=True
    )


def status(env: Environment, port: int, capsys: Any) -> dict[str, Any]:
    capsys.readouterr()
    assert run(env.argv("status", "--shared", "--zookeeper", f"127.0.0.1:{port}")) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_workers_come_without_configuration_share_and_take_over(
    tmp_path: Path, pair: Pair, capsys: Any
) -> None:
    env = Environment(tmp_path, pair, containers=3)
    assert run(env.argv("init")) == 0
    with running_zookeeper() as (server,):
        workers = [start(env, f"127.0.0.1:{server.port}") for _ in range(2)]
        try:
            for number in range(4):
                for container in env.containers:
                    as_client(pair.clusters[number % 2], "PUT", f"{container}/o{number}", os.urandom(1000))
            for cluster in pair.clusters:
                for name in env.containers:
                    wait_for(lambda: len(env.listed(cluster, name)) == 4)  # noqa: B023  # called at once
            walked: set[str] = set()

            def both_have_walked() -> bool:
                shares = [
                    share for one in status(env, server.port, capsys)["containers"] for share in one["shares"]
                ]
                walked.update(share["by"] for share in shares if share["by"])
                return len(walked) == 2

            wait_for(both_have_walked)
            assert run(env.argv("pause", "--zookeeper", f"127.0.0.1:{server.port}")) == 0
            wait_for(lambda: status(env, server.port, capsys)["at_rest"])
            as_client(pair.east, "PUT", f"{env.docs}/paused", b"1")
            time.sleep(1.5)  # several turns' time
            assert "paused" not in env.listed(pair.west)
            assert len(status(env, server.port, capsys)["followers"]) == 2
            assert run(env.argv("resume", "--zookeeper", f"127.0.0.1:{server.port}")) == 0
            wait_for(lambda: "paused" in env.listed(pair.west))
            workers[0].kill()  # its shares are free when its session has run out
            as_client(pair.east, "PUT", f"{env.docs}/late", b"1")
            as_client(pair.west, "DELETE", f"{env.docs}/o3")
            wait_for(lambda: "late" in env.listed(pair.west) and "o3" not in env.listed(pair.east))
        finally:
            for worker in workers:
                worker.terminate()
            ended = [worker.communicate(timeout=30)[1] for worker in workers]
    assert workers[1].returncode == 0, ended
    env.assert_same()
