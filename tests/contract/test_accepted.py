"""``ports.Accepted`` in memory, and as copies on disk."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dcctl.adapters.accepted import AcceptedCopies
from dcctl.errors import Unreachable
from dcctl.ports import Acceptance, Playbooks
from dcctl.testing.contracts.accepted import EAST, TARGETS, AcceptedContract, part
from dcctl.testing.deploy import FakeAcceptance, FakeAccepted, FakeEstate, FakePlaybooks


@dataclass
class InMemory:
    estate: FakeEstate = field(default_factory=lambda: FakeEstate(TARGETS))

    def __post_init__(self) -> None:
        self.accepted = FakeAccepted(self.estate)

    def change(self) -> None:
        self.estate.version += 1


@dataclass
class OnDisk:
    folder: Path
    prepared: list[tuple[Path, Mapping[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.folder / "playbooks" / "roles").mkdir(parents=True)
        (self.folder / "playbooks" / "site.yml").write_text("one")
        (self.folder / "environment" / "group_vars").mkdir(parents=True)
        (self.folder / "environment" / "group_vars" / "all.yml").write_text("fall: 2")
        self.kept = self.folder / "state" / "accepted"

    @property
    def accepted(self) -> AcceptedCopies:
        """As another dcctl finds it."""
        return AcceptedCopies(
            self.kept,
            TARGETS,
            playbooks=self.folder / "playbooks",
            inventory={"all": {"vars": {"digest": (self.folder / "playbooks" / "site.yml").read_text()}}},
            variables=self.folder / "environment",
            prepared=self.prepare,
        )

    def prepare(self, copy: Path, inventory: Mapping[str, Any]) -> tuple[Playbooks, Acceptance]:
        self.prepared.append((copy, inventory))
        estate = FakeEstate(TARGETS)
        return FakePlaybooks(estate), FakeAcceptance(estate)

    def change(self) -> None:
        site = self.folder / "playbooks" / "site.yml"
        site.write_text(site.read_text() + " more")


class TestInMemory(AcceptedContract):
    @pytest.fixture
    def world(self) -> InMemory:
        return InMemory()


class TestOnDisk(AcceptedContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> OnDisk:
        return OnDisk(tmp_path)

    def test_the_way_back_is_what_was_there_when_it_passed(self, world: OnDisk) -> None:
        world.accepted.keep(EAST)
        world.change()
        (world.folder / "environment" / "group_vars" / "all.yml").write_text("fall: 9")
        assert len(world.accepted.earlier(EAST)) == 1
        copy, inventory = world.prepared[0]
        assert (copy / "playbooks" / "site.yml").read_text() == "one"
        assert (copy / "group_vars" / "all.yml").read_text() == "fall: 2"
        assert inventory["all"]["vars"]["digest"] == "one"

    def test_the_same_is_kept_once_and_what_nobody_needs_is_forgotten(self, world: OnDisk) -> None:
        world.accepted.keep(EAST)
        world.accepted.keep(part(("edge",), "west-edge-1"))
        assert len([path for path in world.kept.iterdir() if path.is_dir()]) == 1
        world.change()
        world.accepted.keep(EAST)
        assert len([path for path in world.kept.iterdir() if path.is_dir()]) == 2
        world.accepted.keep(part(("edge",), "west-edge-1"))
        assert len([path for path in world.kept.iterdir() if path.is_dir()]) == 1

    def test_nobody_else_may_read_it(self, world: OnDisk) -> None:
        world.accepted.keep(EAST)
        assert world.kept.stat().st_mode & 0o077 == 0

    @pytest.mark.parametrize("text", ["", "[]", '{"east-db-1": 1}'])
    def test_what_cannot_be_understood_is_no_way_back(self, world: OnDisk, text: str) -> None:
        world.accepted.keep(EAST)
        (world.kept / "accepted.json").write_text(text)
        assert world.accepted.earlier(EAST) == ()

    def test_a_copy_that_is_gone_is_no_way_back(self, world: OnDisk) -> None:
        world.accepted.keep(EAST)
        name = json.loads((world.kept / "accepted.json").read_text())["east-db-1"]["base"]
        (world.kept / name).rename(world.folder / "elsewhere")
        assert world.accepted.earlier(EAST) == ()

    def test_what_cannot_be_written_is_told(self, world: OnDisk) -> None:
        world.kept.parent.mkdir()
        world.kept.write_text("a file")
        with pytest.raises(Unreachable, match="remember what was accepted"):
            world.accepted.keep(EAST)
