"""Longer without a pass than tombstones live: a person decides, and both answers work."""

import json
import time
from pathlib import Path
from typing import Any

from swift_client import as_client

from dcctl.cli.main import run
from dcctl.testing.replication_site import REQUIREMENTS, Environment
from dcctl.testing.swift_pair import two_clusters


def test_after_a_gap_longer_than_reclaim_age_both_answers_work(tmp_path: Path, capsys: Any) -> None:
    with two_clusters(REQUIREMENTS, reclaim_age_s=8) as pair:
        env = Environment(tmp_path, pair)
        path = env.folder / "dcctl.yaml"
        path.write_text(
            path.read_text().replace("settled: 1s", "settled: 1s\n  reclaim_age: 8s\n  margin: 2s")
        )

        def typed(*argv: str, code: int = 0) -> dict[str, Any]:
            capsys.readouterr()
            assert run(env.argv(*argv)) == code
            return dict(json.loads(capsys.readouterr().out))

        typed("init")
        for name in ("kept", "removed", "same"):
            as_client(pair.east, "PUT", f"{env.docs}/{name}", b"1")
        typed("once")
        for name in ("kept", "removed"):
            as_client(pair.west, "DELETE", f"{env.docs}/{name}")
        time.sleep(9)
        found = typed("once", code=8)["containers"][0]
        assert found["kinds"] == {"undecided": 2}
        assert sorted(env.objects(pair.east)) == ["kept", "removed", "same"]
        waiting = typed("status")["containers"][0]["undecided"]
        assert sorted(one["name"] for one in waiting) == ["kept", "removed"]
        assert typed("keep", "kept", "--container", env.docs)["kinds"] == {"put_back": 1}
        assert typed("remove", "--all", "--container", env.docs)["kinds"] == {"deleted": 1}
        typed("once")
        assert sorted(env.assert_same()) == ["kept", "same"]
        assert len(env.objects(pair.east, env.trash)) == 1
