"""``dcctl replication`` as typed, on two real clusters; looked at with python-swiftclient."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from swift_client import as_client, following, make_container, wait_for

from dcctl.adapters.replication_base import SqliteBase
from dcctl.adapters.swift import Keys, SwiftStore
from dcctl.cli.main import run
from dcctl.domain.replication import Side
from dcctl.engines.replication import Replication
from dcctl.engines.replication_options import Options
from dcctl.testing.replication_site import Environment
from dcctl.testing.swift_pair import ACCOUNT, REALM, REALM_KEY, SYNC_KEY, Pair

KEYS = Keys(REALM, REALM_KEY, SYNC_KEY)


@pytest.fixture
def env(tmp_path: Path, pair: Pair) -> Environment:
    environment = Environment(tmp_path, pair)
    assert run(environment.argv("init")) == 0
    return environment


Dcctl = Callable[..., dict[str, Any]]


@pytest.fixture
def dcctl(env: Environment, capsys: pytest.CaptureFixture[str]) -> Iterator[Dcctl]:
    capsys.readouterr()

    def typed(*argv: str, code: int = 0) -> dict[str, Any]:
        got = run(env.argv(*argv))
        out, err = capsys.readouterr()
        assert got == code, err
        return dict(json.loads(out)) if out else {}

    yield typed


def kinds(document: dict[str, Any]) -> dict[str, int]:
    return dict(document["containers"][0]["kinds"])


@pytest.mark.parametrize("newer", ["expired", "living"])
def test_a_post_that_lifted_an_expiry_is_carried_though_the_other_side_has_expired(
    env: Environment, dcctl: Dcctl, newer: str
) -> None:
    """What has expired answers 404 as what was deleted does; only the latter was. A real delete stays one.
    ``newer``: which side has the newer body."""
    east, west = env.pair.clusters
    for name in ("lifted", "deleted"):
        as_client(east, "PUT", f"{env.docs}/{name}", b"old")
    dcctl("once")
    for name in ("lifted", "deleted"):
        as_client(east if newer == "expired" else west, "PUT", f"{env.docs}/{name}", b"new")
    ends = int(time.time()) + 2
    as_client(east, "POST", f"{env.docs}/lifted", X_Delete_At=str(ends))
    as_client(east, "DELETE", f"{env.docs}/deleted")
    for name in ("lifted", "deleted"):
        as_client(west, "POST", f"{env.docs}/{name}", X_Object_Meta_K="kept")
    assert time.time() < ends, "the expiry has to come after the POST"
    time.sleep(ends + 0.1 - time.time())  # the world's time, nothing to wait for otherwise
    dcctl("once")
    dcctl("once")
    for cluster in env.pair.clusters:
        found = env.objects(cluster)
        assert list(found) == ["lifted"], cluster.name
        _hash, headers, content = found["lifted"]
        assert (content, headers["x-object-meta-k"]) == (b"new", "kept")
        assert "x-delete-at" not in headers


def test_init_may_be_repeated_and_check_then_finds_nothing_to_refuse(dcctl: Dcctl) -> None:
    assert not any(one["changed"] for one in dcctl("init")["containers"])
    levels = {one["level"] for one in dcctl("check")["findings"]}
    assert levels <= {"ok", "warn"}


def test_everything_an_object_has_arrives(env: Environment, dcctl: Dcctl) -> None:
    east, west, docs = env.pair.east, env.pair.west, env.docs
    later = str(int(time.time()) + 5000)
    as_client(
        east,
        "PUT",
        f"{docs}/full",
        b"\x1f\x8b gzip",
        Content_Type="text/plain; charset=utf-8",
        Content_Encoding="gzip",
        Content_Disposition='attachment; filename="x"',
        X_Delete_At=later,
        X_Object_Meta_Owner="%D0%94%D0%BE%D0%B3",
    )
    as_client(west, "PUT", f"{docs}/empty", b"")
    for odd in (
        "a%20b",
        "%D0%94/%D0%BE",
        "q%22%7D%2C%20%7Bx",
        "per%2525cent",
        "a%3Fb%3Dc%26d%23e",
        "new%0Aline",
    ):
        as_client(east, "PUT", f"{docs}/{odd}", odd.encode())
    as_client(west, "PUT", f"{docs}/large", os.urandom(3 << 20))
    assert kinds(dcctl("once")) == {"copied": 9}
    found = env.assert_same()
    assert found["full"][1]["x-delete-at"] == later
    assert kinds(dcctl("once")) == {}
    assert dcctl("verify", "--level", "full")["containers"][0]["kinds"] == {}


def test_a_delete_is_carried_and_its_bytes_kept(env: Environment, dcctl: Dcctl) -> None:
    for number in range(5):
        as_client(env.pair.east, "PUT", f"{env.docs}/o{number}", b"1")
    dcctl("once")
    as_client(env.pair.west, "DELETE", f"{env.docs}/o1")
    assert kinds(dcctl("once"))["deleted"] == 1
    assert sorted(env.assert_same()) == ["o0", "o2", "o3", "o4"]
    assert [name.split("@")[0] for name in env.objects(env.pair.east, env.trash)] == [f"{env.docs}/o1"]
    assert kinds(dcctl("once")) == {}


def test_a_copied_object_costs_two_requests(env: Environment) -> None:
    for number in range(20):
        as_client(env.pair.east, "PUT", f"{env.docs}/o{number}", b"1")
    time.sleep(2)

    async def one_pass() -> int:
        base = SqliteBase(env.folder / "base.sqlite", "pair")
        async with (
            SwiftStore("east", env.pair.east.url, KEYS) as a,
            SwiftStore("west", env.pair.west.url, KEYS) as b,
        ):
            tally = await Replication({Side.A: a, Side.B: b}, base, Options(settled_s=1)).run(env.docs)
            base.close()
            assert tally.kinds == {"copied": 20}
            return a.requests + b.requests

    listings = 2
    assert asyncio.run(one_pass()) == 2 * 20 + listings


def test_a_post_does_not_bring_back_an_old_body(env: Environment, dcctl: Dcctl) -> None:
    as_client(env.pair.east, "PUT", f"{env.docs}/o", b"v1")
    dcctl("once")
    as_client(env.pair.west, "PUT", f"{env.docs}/o", b"v2")
    as_client(env.pair.east, "POST", f"{env.docs}/o", X_Object_Meta_K="late")
    dcctl("once")
    dcctl("once")
    _hash, headers, body = env.assert_same()["o"]
    assert (body, headers["x-object-meta-k"]) == (b"v2", "late")
    kept = env.objects(env.pair.east, env.conflicts) | env.objects(env.pair.west, env.conflicts)
    assert [body for _hash, _headers, body in kept.values()] == [b"v1"]


def test_large_objects_of_both_kinds_arrive_with_their_segments(
    tmp_path: Path, pair: Pair, capsys: Any
) -> None:
    env = Environment(tmp_path, pair, containers=2)
    assert run(env.argv("init")) == 0
    docs, segments = env.containers
    for number in range(2):
        as_client(pair.east, "PUT", f"{segments}/s{number}", os.urandom(1500))
    manifest = [{"path": f"/{segments}/s{number}"} for number in range(2)]
    as_client(
        pair.east,
        "PUT",
        f"{docs}/slo?multipart-manifest=put",
        json.dumps(manifest).encode(),
        Content_Type="application/pdf",
        X_Object_Meta_K="v",
    )
    as_client(pair.east, "PUT", f"{docs}/dlo", b"", X_Object_Manifest=f"{segments}/s")
    assert run(env.argv("once")) == 0
    west, east = env.objects(pair.west), env.objects(pair.east)
    assert len(west["slo"][2]) == len(west["dlo"][2]) == 3000
    for name in ("slo", "dlo"):
        assert west[name][2] == east[name][2]
        assert west[name][1]["content-type"] == east[name][1]["content-type"]
    capsys.readouterr()
    assert run(env.argv("once")) == 0
    assert json.loads(capsys.readouterr().out)["containers"][0]["kinds"] == {}
    assert run(env.argv("verify", "--level", "metadata")) == 0, "a replica's size is not listed alike"


def test_killed_anywhere_the_next_pass_finishes(env: Environment, dcctl: Dcctl) -> None:
    for number in range(120):
        as_client(env.pair.east, "PUT", f"{env.docs}/o{number}", os.urandom(2000))
    for delay_s in (1.2, 1.5, 1.8):
        process = subprocess.Popen(
            [sys.executable, "-m", "dcctl.cli.main", *env.argv("once")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
    dcctl("once")
    assert len(env.assert_same()) == 120


def test_a_wrong_key_is_one_clear_error_and_nothing_is_changed(env: Environment, capsys: Any) -> None:
    as_client(env.pair.east, "PUT", f"{env.docs}/o", b"1")
    (env.folder / "container-key").write_text("wrong")
    assert run(env.argv("once")) == 4
    assert "HTTP 401" in capsys.readouterr().err
    assert run(env.argv("check")) == 5
    assert "another key" in capsys.readouterr().err
    (env.folder / "container-key").write_text(SYNC_KEY)
    (env.folder / "realm-key").write_text("wrong")
    assert run(env.argv("once")) == 4
    assert "HTTP 401" in capsys.readouterr().err
    assert run(env.argv("check")) == 5
    assert "does not take signed writes: HTTP 401" in " ".join(capsys.readouterr().err.split())
    assert env.objects(env.pair.west) == {}


def test_a_missing_container_and_a_versioned_one_are_found_by_check(env: Environment, capsys: Any) -> None:
    as_client(env.pair.west, "DELETE", env.docs)
    assert run(env.argv("once")) == 4
    capsys.readouterr()
    assert run(env.argv("check")) == 5
    assert "no such container" in capsys.readouterr().err
    make_container(env.pair.west, env.docs, X_Versions_Enabled="true")
    assert run(env.argv("check")) == 5
    assert "keeps versions" in capsys.readouterr().err


def test_a_cluster_that_is_away_changes_nothing_and_says_so(env: Environment, capsys: Any) -> None:
    as_client(env.pair.east, "PUT", f"{env.docs}/o", b"1")
    env.pair.west.kill("proxy")
    try:
        assert run(env.argv("once")) == 4
        assert "west" in capsys.readouterr().err
    finally:
        env.pair.west.start("proxy")
        env.pair.west.wait_ready()
    assert run(env.argv("once")) == 0
    env.assert_same()


def test_verify_classes_differences_and_repair_mends_them(env: Environment, dcctl: Dcctl) -> None:
    for name in ("missing", "stale", "meta", "same"):
        as_client(env.pair.east, "PUT", f"{env.docs}/{name}", b"1")
    dcctl("once")
    time.sleep(1.5)
    as_client(env.pair.east, "PUT", f"{env.docs}/stale", b"2")
    as_client(env.pair.east, "PUT", f"{env.docs}/new", b"2")
    assert dcctl("verify")["containers"][0]["kinds"] == {"pending": 2}
    time.sleep(2.5)
    assert dcctl("verify", code=8)["containers"][0]["kinds"] == {"missing": 1, "stale": 1}
    dcctl("repair")
    assert dcctl("verify", "--level", "full")["containers"][0]["same"]
    env.assert_same()


def test_a_full_disk_under_the_base_loses_nothing(env: Environment, capsys: Any) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root to mount a small disk")
    for number in range(400):
        as_client(env.pair.east, "PUT", f"{env.docs}/{'n' * 200}{number}", b"")
    state = env.folder / ".dcctl"
    state.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(state)], check=True)
    try:
        assert run(env.argv("once")) in (4, 6)
        err = capsys.readouterr().err
        assert "keep the base of the replication" in err
        assert "Traceback" not in err
    finally:
        subprocess.run(["umount", str(state)], check=True)
    assert run(env.argv("once")) == 0
    assert len(env.assert_same()) == 400


def test_a_quota_that_is_used_up_is_told_and_nothing_else_suffers(env: Environment, dcctl: Dcctl) -> None:
    as_client(env.pair.west, "POST", env.docs, X_Container_Meta_Quota_Bytes="10")
    as_client(env.pair.east, "PUT", f"{env.docs}/large", b"x" * 100)
    as_client(env.pair.east, "PUT", f"{env.docs}/small", b"x")
    found = dcctl("once", code=8)["containers"][0]
    assert found["kinds"] == {"copied": 1, "failed": 1}
    assert "413" in found["reasons"][0]
    as_client(env.pair.west, "POST", env.docs, X_Remove_Container_Meta_Quota_Bytes="x")
    dcctl("once")
    assert len(env.assert_same()) == 2


def test_follow_carries_changes_tells_its_lag_waits_when_told_to_and_stops(
    env: Environment, dcctl: Dcctl
) -> None:
    with following(env, "--every", "0.2") as follower:
        as_client(env.pair.west, "PUT", f"{env.docs}/o", b"1")
        wait_for(lambda: env.listed(env.pair.east))
        env.assert_same()
        assert run(env.argv("once")) == 5, "a second replicator of one base is refused"
        wait_for(lambda: env.listed(env.pair.west, env.heartbeat))
        wait_for(lambda: env.listed(env.pair.east, env.heartbeat))
        beats = dcctl("report")["heartbeats"]
        assert {site: beat["pending"] for site, beat in beats.items()} == {"east": 0, "west": 0}
        assert dcctl("pause", "--here")["paused"]
        wait_for(lambda: dcctl("status")["at_rest"])
        as_client(env.pair.west, "PUT", f"{env.docs}/later", b"1")
        time.sleep(1.5)  # several passes' time
        assert "later" not in env.listed(env.pair.east)
        assert not dcctl("resume", "--here")["paused"]
        wait_for(lambda: "later" in env.listed(env.pair.east))
    assert "1 copied" in follower.err


def test_access_lists_and_metadata_of_containers_follow_the_side_that_changed(
    env: Environment, dcctl: Dcctl
) -> None:
    as_client(env.pair.east, "POST", env.docs, X_Container_Read=".r:*", X_Container_Meta_Owner="cdb")
    assert [one["site"] for one in dcctl("settings", "--dry-run")["changed"]] == ["west"]
    assert [one["site"] for one in dcctl("settings")["changed"]] == ["west"]
    assert dcctl("settings")["changed"] == []
    as_client(env.pair.west, "POST", env.docs, X_Container_Read="")
    assert [one["site"] for one in dcctl("settings")["changed"]] == ["east"]
    as_client(env.pair.west, "POST", env.docs, X_Container_Read="a:b")
    as_client(env.pair.east, "POST", env.docs, X_Container_Read="c:d")
    assert dcctl("settings", code=8)["conflicts"] == [f"{env.docs}: x-container-read"]


def test_files_are_brought_in_and_certified(env: Environment, dcctl: Dcctl, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "2026").mkdir(parents=True)
    for number in range(5):
        path = tree / "2026" / f"{number}.pdf"
        path.write_bytes(os.urandom(3000))
        os.utime(path, (time.time() - 60, time.time() - 60))  # nothing is written in a cluster's future
    done = dcctl("import", str(tree), "--container", env.docs, "--certify")
    assert done["kinds"] == {"written": 5}
    assert done["certificate"]["same"]
    assert dcctl("import", str(tree), "--container", env.docs)["kinds"] == {"unchanged": 5}
    assert kinds(dcctl("once")) == {}
    env.assert_same()


def test_the_account_of_the_tests_is_the_one_configured(env: Environment) -> None:
    assert env.pair.east.url.endswith(ACCOUNT)
