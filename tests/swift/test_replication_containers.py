"""Containers that come and go, on two real clusters; nothing with an object in it is ever removed."""

import json
import os
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from swift_client import as_client, following, wait_for

from dcctl.cli.main import run
from dcctl.testing.replication_site import Environment
from dcctl.testing.swift_pair import Cluster, Pair

LIMIT_S = 120


class World:
    """An environment whose containers come and go; their names begin as no others do."""

    def __init__(self, folder: Path, pair: Pair, capsys: Any) -> None:
        self.env = Environment(folder, pair)
        self.like = f"go-{self.env.docs}-"
        self.capsys = capsys
        path = self.env.folder / "dcctl.yaml"
        path.write_text(
            path.read_text().replace("  settled: 1s", f'  settled: 1s\n  containers_like: ["{self.like}"]')
        )
        assert run(self.env.argv("init")) == 0

    def dcctl(self, *argv: str, code: int = 0) -> dict[str, Any]:
        self.capsys.readouterr()
        got = run(self.env.argv(*argv))
        out, err = self.capsys.readouterr()
        assert got == code, f"{out[-1500:]}{err}"
        return dict(json.loads(out)) if out else {}

    def name(self, number: int) -> str:
        return f"{self.like}{number}"

    def there(self, cluster: Cluster, name: str) -> bool:
        try:
            return as_client(cluster, "HEAD", name) == 204
        except HTTPError as error:
            error.close()
            return False


@pytest.fixture
def world(tmp_path: Path, pair: Pair, capsys: Any) -> World:
    return World(tmp_path, pair, capsys)


def test_a_container_is_made_and_removed_on_the_other_side_too(world: World, pair: Pair) -> None:
    east, west, name = pair.east, pair.west, world.name(1)
    as_client(east, "PUT", name, X_Container_Read=".r:*", X_Container_Meta_Owner="cdb")
    for number in range(3):
        as_client(east, "PUT", f"{name}/o{number}", os.urandom(100))
    world.dcctl("once")
    world.env.assert_same(name)
    assert sorted(world.env.objects(west, name)) == ["o0", "o1", "o2"]
    assert world.dcctl("settings", "--dry-run")["changed"] == []
    assert world.dcctl("containers")["changes"] == []
    for number in range(3):
        as_client(west, "DELETE", f"{name}/o{number}")
    as_client(west, "DELETE", name)
    found = world.dcctl("once")["containers"]
    assert [one["kinds"] for one in found if one["container"] == name] == [{"doomed": 3, "deleted": 3}]
    assert len(world.env.objects(east, world.env.trash)) == 3
    assert [one["outcome"] for one in world.dcctl("containers")["changes"]] == ["removed"]
    assert not world.there(east, name)
    assert not world.there(west, name)


def test_a_container_that_was_removed_on_one_side_and_written_to_on_the_other_stays(
    world: World, pair: Pair
) -> None:
    name = world.name(1)
    as_client(pair.east, "PUT", name)
    as_client(pair.east, "PUT", f"{name}/old", b"1")
    world.dcctl("once")
    as_client(pair.west, "DELETE", f"{name}/old")
    as_client(pair.west, "DELETE", name)
    as_client(pair.east, "PUT", f"{name}/new", b"2")
    world.dcctl("once")
    world.env.assert_same(name)
    assert sorted(world.env.objects(pair.west, name)) == ["new"]
    assert [one["outcome"] for one in world.dcctl("containers")["changes"]] == ["not empty"]
    assert world.dcctl("containers", "--keep", name)["changes"] == []
    as_client(pair.east, "DELETE", f"{name}/new")
    world.dcctl("once", "--accept-empty")
    assert world.dcctl("containers")["changes"] == []
    assert world.there(pair.east, name)
    assert world.there(pair.west, name)


def test_many_removals_wait_for_a_person(world: World, pair: Pair) -> None:
    names = [world.name(number) for number in range(4)]
    for name in names:
        as_client(pair.east, "PUT", name)
    world.dcctl("containers")
    for name in names:
        as_client(pair.west, "DELETE", name)
    held = world.dcctl("containers", code=8)["held"]
    assert any("exceed the cap" in reason for reason in held)
    assert all(world.there(pair.east, name) for name in names)
    done = world.dcctl("containers", "--max-removals", "4", "--accept-empty")["changes"]
    assert [one["outcome"] for one in done] == ["removed"] * 4
    assert not any(world.there(pair.east, name) for name in names)


def test_follow_carries_containers_too(world: World, pair: Pair) -> None:
    name = world.name(1)
    with following(world.env, "--every", "0.3"):
        as_client(pair.west, "PUT", name)
        as_client(pair.west, "PUT", f"{name}/o", b"1")
        wait_for(lambda: world.there(pair.east, name))
        wait_for(lambda: "o" in world.env.listed(pair.east, name))
        as_client(pair.west, "DELETE", f"{name}/o")
        as_client(pair.west, "DELETE", name)
        wait_for(lambda: not world.there(pair.east, name) and not world.there(pair.west, name))
