"""What an application of the two clusters does, with a token of its own; and who replicates beside it."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dcctl.testing.replication_site import Environment
from dcctl.testing.swift_pair import SYNC_KEY, Cluster


def make_container(cluster: Cluster, name: str, **headers: str) -> None:
    as_client(cluster, "PUT", name, X_Container_Sync_Key=SYNC_KEY, **headers)


def as_client(cluster: Cluster, method: str, path: str, data: bytes | None = None, **headers: str) -> int:
    """What an application does, with a token; the status. Raises urllib's HTTPError from 400 on."""
    given = {key.replace("_", "-"): value for key, value in headers.items()}
    request = urllib.request.Request(  # noqa: S310
        f"{cluster.url}/{path}", data=data, method=method, headers={"X-Auth-Token": _token(cluster), **given}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return int(answer.status)


LIMIT_S = 120.0


def wait_for(what: Callable[[], object]) -> None:
    """Until it is so; for a busy host."""
    deadline = time.monotonic() + LIMIT_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@dataclass
class Following:
    """``dcctl replication follow`` in a process of its own; ``err`` is what it said, known at its end."""

    process: "subprocess.Popen[str]"
    err: str = ""


@contextmanager
def following(env: Environment, *argv: str) -> Iterator[Following]:
    """It follows until the end of the block, and must end well when it is told to."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dcctl.cli.main", *env.argv("follow", *argv)],
        stderr=subprocess.PIPE,
        text=True,
    )
    made = Following(process)
    try:
        yield made
    finally:
        process.terminate()
        _out, made.err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, made.err


_tokens: dict[str, str] = {}


def _token(cluster: Cluster) -> str:
    if cluster.url not in _tokens:
        _tokens[cluster.url] = cluster.token()
    return _tokens[cluster.url]
