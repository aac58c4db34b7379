"""Token mode as typed, on two real clusters whose proxies have no ``container_sync``."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from swift_client import REQUIREMENTS, as_client

from dcctl.cli.main import run
from dcctl.testing.replication_site import Environment
from dcctl.testing.swift_pair import PIPELINE, two_clusters

LIMIT_S = 120


def test_two_clusters_without_the_middleware_are_kept_the_same_and_what_is_not_promised_is_named(
    tmp_path: Path, capsys: Any
) -> None:
    pipeline = PIPELINE.replace("container_sync ", "").replace("dcctl_stamps ", "")
    with two_clusters(REQUIREMENTS, pipeline=pipeline) as pair:
        env = Environment(tmp_path, pair)
        path = env.folder / "dcctl.yaml"
        text = path.read_text()
        for key in ("realm", "realm_key", "container_key"):
            text = re.sub(rf"  {key}: .*\n", f"  {key}:\n", text)
        path.write_text(text + "  tokens: true\n")
        east, west, docs = pair.east, pair.west, env.docs

        def dcctl(*argv: str, code: int = 0) -> dict[str, Any]:
            capsys.readouterr()
            got = run(env.argv(*argv))
            out, err = capsys.readouterr()
            assert got == code, err
            return dict(json.loads(out)) if out else {}

        def contents(cluster: Any) -> dict[str, tuple[bytes, str | None]]:
            return {
                name: (body, headers.get("x-object-meta-k"))
                for name, (_hash, headers, body) in env.objects(cluster).items()
            }

        dcctl("init")
        warnings = [one["sentence"] for one in dcctl("check")["findings"] if one["where"] == "tokens"]
        assert any("deleted objects return" in sentence for sentence in warnings)
        assert dcctl("status")["not_promised"] == warnings
        for number in range(12):
            as_client((east, west)[number % 2], "PUT", f"{docs}/o{number}%20%D0%94", str(number).encode())
        as_client(east, "PUT", f"{docs}/posted", b"1", X_Object_Meta_K="first")
        assert dcctl("once", "--wait", "60")["containers"][0]["pending"] == 0
        assert contents(east) == contents(west)
        assert len(contents(west)) == 13
        dcctl("once", "--wait", "60")
        as_client(west, "POST", f"{docs}/posted", X_Object_Meta_K="second")
        as_client(west, "DELETE", f"{docs}/o1%20%D0%94")
        as_client(east, "PUT", f"{docs}/o2%20%D0%94", b"over")
        dcctl("once", "--wait", "60")
        assert contents(east) == contents(west)
        assert contents(east)["posted"] == (b"1", "second")
        assert contents(east)["o2 \u0414"] == (b"over", None)
        assert len(contents(east)) == 12
        assert len(env.listed(east, env.trash)) == 1
        assert dcctl("verify")["containers"][0]["same"]
        dcctl("repair", code=2)
        dcctl("follow", "--shared", code=2)

        process = subprocess.Popen(
            [sys.executable, "-m", "dcctl.cli.main", *env.argv("follow", "--every", "0.5")],
            stderr=subprocess.PIPE,
            text=True,
        )

        def wait_for(what: Callable[[], object]) -> None:
            deadline = time.monotonic() + LIMIT_S
            while not what():
                assert time.monotonic() < deadline
                time.sleep(0.2)

        try:
            as_client(west, "PUT", f"{docs}/late", b"1")
            wait_for(lambda: "late" in env.listed(east))
        finally:
            process.terminate()
            _out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
