"""Two clusters whose application tells nothing: the proxies do."""

import os
from pathlib import Path

from swift_client import as_client, following, wait_for

from dcctl.cli.main import run
from dcctl.testing.replication_site import Environment
from dcctl.testing.swift_pair import Pair


def test_what_the_proxies_tell_is_carried_though_no_pass_comes_by(tmp_path: Path, pair: Pair) -> None:
    env = Environment(tmp_path, pair)
    path = env.folder / "dcctl.yaml"
    path.write_text(path.read_text().replace("  settled: 1s", "  settled: 1s\n  proxy_feed: true"))
    assert run(env.argv("init")) == 0
    as_client(pair.east, "PUT", f"{env.docs}/early", b"1")
    with following(env, "--every", "3600"):
        # The heartbeat is written after the one whole pass: from then on only the proxies tell.
        wait_for(lambda: env.listed(pair.west, env.heartbeat))
        assert "early" in env.listed(pair.west)
        as_client(pair.west, "PUT", f"{env.docs}/d%D0%BE%20c", os.urandom(500))
        wait_for(lambda: "d\u043e c" in env.listed(pair.east))
        as_client(pair.east, "POST", f"{env.docs}/d%D0%BE%20c", X_Object_Meta_K="v")
        as_client(pair.east, "DELETE", f"{env.docs}/early")
        wait_for(lambda: "early" not in env.listed(pair.west))
        wait_for(lambda: env.objects(pair.west) == env.objects(pair.east))
    assert env.assert_same()["d\u043e c"][1]["x-object-meta-k"] == "v"
