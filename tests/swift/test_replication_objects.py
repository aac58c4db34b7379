"""Objects of unusual kinds and sizes on two real clusters, and bytes that rot where nobody looks."""

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import requests
from swift_client import as_client, following, make_container, wait_for

from dcctl.adapters.swift import Keys, SwiftStore
from dcctl.cli.main import run
from dcctl.domain.document import Answer
from dcctl.testing.documents import document
from dcctl.testing.replication_site import Environment
from dcctl.testing.swift_pair import REALM, REALM_KEY, SYNC_KEY, Cluster, Pair

LIMIT_S = 120
MIB = 1 << 20
LARGE_BYTES = 256 * MIB
MEMORY_BYTES = 200 * MIB
TELLS_ITS_PEAK = """
import sys
from pathlib import Path
from dcctl.cli.main import run
code = run(sys.argv[1:])
peak = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(*peak, file=sys.stderr)
sys.exit(code)
"""
"""dcctl, which ends with its peak. What wait4(2) tells counts the parent that a child was forked from."""


@pytest.fixture
def env(tmp_path: Path, pair: Pair) -> Environment:
    environment = Environment(tmp_path, pair)
    assert run(environment.argv("init")) == 0
    return environment


def test_hot_prefixes_are_looked_at_between_passes(env: Environment, pair: Pair) -> None:
    with following(env, "--every", "3600", "--hot", "in/%Y/", "--hot", "receipts/"):
        wait_for(lambda: env.listed(pair.west, env.heartbeat))  # written after the one whole pass
        as_client(pair.west, "PUT", f"{env.docs}/cold", b"1")
        as_client(pair.west, "PUT", f"{env.docs}/receipts/1", b"1")
        as_client(pair.east, "PUT", time.strftime(f"{env.docs}/in/%Y/1", time.gmtime()), b"1")
        wait_for(lambda: "receipts/1" in env.listed(pair.east))
        wait_for(lambda: any(name.startswith("in/") for name in env.listed(pair.west)))
        assert "cold" not in env.listed(pair.east)


def test_bytes_that_rot_are_found_by_the_sample_and_mended_by_repair(
    env: Environment, pair: Pair, capsys: Any
) -> None:
    content = os.urandom(3000)
    as_client(pair.east, "PUT", f"{env.docs}/o", content)
    assert run(env.argv("once")) == 0
    stored = [
        path
        for path in (pair.west.folder / "devices/d1/objects").rglob("*.data")
        if path.read_bytes() == content
    ]
    assert len(stored) == 1
    stored[0].write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # its metadata is still the old one's

    def reasons() -> str:
        capsys.readouterr()
        assert run(env.argv("status")) == 0
        return str(json.loads(capsys.readouterr().out)["containers"][0]["tally"]["reasons"])

    with following(env, "--every", "0.3", "--sample", "5"):
        # Swift itself quarantines what it has served damaged; from then on it cannot be read.
        wait_for(lambda: "damaged at west: o" in reasons() or "unreadable at west: o" in reasons())
    assert run(env.argv("repair", "--level", "full")) == 0
    assert run(env.argv("verify", "--level", "full")) == 0
    assert [env.objects(cluster)["o"][2] for cluster in pair.clusters] == [content, content]


def test_a_large_object_passes_through_in_little_memory(env: Environment, pair: Pair) -> None:
    path = env.folder / "large"
    with path.open("wb") as file:
        file.write(os.urandom(MIB))
        file.truncate(LARGE_BYTES)
    with path.open("rb") as file:
        answer = requests.put(
            f"{pair.east.url}/{env.docs}/large",
            data=file,
            headers={"X-Auth-Token": pair.east.token()},
            timeout=LIMIT_S,
        )
    assert answer.status_code == 201
    path.unlink()
    done = subprocess.run(
        [sys.executable, "-c", TELLS_ITS_PEAK, *env.argv("once")],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stderr.split()[-2]) * 1024 < MEMORY_BYTES
    seen = [
        requests.head(
            f"{cluster.url}/{env.docs}/large", headers={"X-Auth-Token": cluster.token()}, timeout=LIMIT_S
        ).headers
        for cluster in pair.clusters
    ]
    assert [one["Content-Length"] for one in seen] == [str(LARGE_BYTES)] * 2
    assert (seen[0]["Etag"], seen[0]["X-Timestamp"]) == (seen[1]["Etag"], seen[1]["X-Timestamp"])


def test_a_corrupt_base_is_rebuilt_without_deletes_in_that_pass(
    env: Environment, pair: Pair, capsys: Any
) -> None:
    for name in ("o", "p"):
        as_client(pair.east, "PUT", f"{env.docs}/{name}", b"1")
    assert run(env.argv("once")) == 0
    as_client(pair.west, "DELETE", f"{env.docs}/o")
    (base,) = (env.folder / ".dcctl/replication").glob("base.sqlite")
    base.write_bytes(b"\0" * 100 + b"not a database")
    capsys.readouterr()
    assert run(env.argv("once")) == 8
    found = json.loads(capsys.readouterr().out)["containers"][0]
    assert found["deletes_held"] == 1
    assert "the base was damaged" in found["reasons"][0]
    assert env.listed(pair.east) == {"o", "p"}
    assert run(env.argv("once")) == 0
    assert sorted(env.assert_same()) == ["p"]


def versions(cluster: Cluster, container: str) -> set[str]:
    """The hashes of all versions that a versioned container has kept, the present one's too."""
    request = urllib.request.Request(  # noqa: S310
        f"{cluster.url}/{container}?versions&format=json", headers={"X-Auth-Token": cluster.token()}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return {row["hash"] for row in json.loads(answer.read())}


def test_a_versioned_container_keeps_what_a_signed_write_goes_over_and_tells_no_tombstones(
    pair: Pair,
) -> None:
    """Nothing is lost there between a listing and a write; but a question for a stamp is not answered, and
    an object is a link to its version. So `check` refuses them; where nothing may be lost, names are written
    once."""
    make_container(pair.east, "versioned", X_Versions_Enabled="true")
    as_client(pair.east, "PUT", "versioned/o", b"a client's")

    async def whole() -> None:
        keys = Keys(REALM, REALM_KEY, SYNC_KEY)
        async with SwiftStore("east", pair.east.url, keys) as store:
            head = await store.head("versioned", "o")
            assert head is not None
            assert "X-Symlink-Target" in head.headers
            late, newer = document(b"a late one"), document(b"a newer one")
            assert not await store.holds("versioned", "o", head.stamp.plus(-5))
            assert await store.put("versioned", "o", head.stamp.plus(-5), late) is Answer.OLDER
            assert await store.put("versioned", "o", head.stamp.plus(0.5), newer) is Answer.APPLIED
            kept = versions(pair.east, "versioned")
            assert {late.head.hash, newer.head.hash, document(b"a client's").head.hash} <= kept

    asyncio.run(whole())


def test_a_name_that_is_written_once_loses_nothing_between_listing_and_write(
    env: Environment, pair: Pair
) -> None:
    """A client's write of the very name that is being carried: the later stays, and with names of their own
    both do."""
    as_client(pair.east, "PUT", f"{env.docs}/8c1d-east", b"east")
    as_client(pair.west, "PUT", f"{env.docs}/77f0-west", b"west")
    assert run(env.argv("once")) == 0
    as_client(pair.west, "PUT", f"{env.docs}/0a2b-west", b"meanwhile")
    assert run(env.argv("once")) == 0
    found = env.assert_same()
    assert {body for _hash, _headers, body in found.values()} == {b"east", b"west", b"meanwhile"}
    assert env.objects(pair.east, env.conflicts) == env.objects(pair.west, env.conflicts) == {}
