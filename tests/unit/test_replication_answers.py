"""What a person decides about names is done to these names; a command that is cut midway says so."""

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest
from test_replication_pass import DAY, World

from dcctl.adapters.file_tree import DirectoryTree
from dcctl.domain.replication import Side, Stamp
from dcctl.domain.replication_import import SourceFile
from dcctl.domain.replication_pass import Tally
from dcctl.domain.replication_plan import Planned, Version
from dcctl.engines.replication_manners import Time
from dcctl.engines.replication_plan import apply_plan
from dcctl.engines.replication_run import OpenStores, answer, import_tree, replicate_once
from dcctl.errors import StepFailed, Unreachable
from dcctl.ports import DocumentStore
from dcctl.testing.documents import MemoryStore


class Asked:
    """Names that wait for a person, after a gap longer than tombstones live."""

    def __init__(self, world: World, *names: str) -> None:
        self.world = world
        for name in ("kept", *names):
            world.a.client_put("docs", name, b"1")
        world.settle()
        for name in names:
            world.b.client_delete("docs", name)
        world.time.now_s += 8 * DAY
        assert world.once().count("undecided") == len(names)

    def answer(self, *names: str, keep: bool) -> Tally:
        world = self.world
        clock = Time(now=world.time, monotonic=world.time)
        return answer(
            stores_of(world),
            world.base,
            "docs",
            world.options,
            names=frozenset(names),
            keep=keep,
            clock=clock,
        )

    @property
    def held(self) -> list[str]:
        return sorted(one.row.name for one in self.world.base.held("docs"))


def stores_of(world: World) -> OpenStores:
    @contextlib.asynccontextmanager
    async def stores() -> AsyncIterator[Mapping[Side, DocumentStore]]:
        yield {Side.A: world.a, Side.B: world.b}

    return stores


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.base.close()


def test_names_are_put_back_or_go_as_a_person_says_and_no_others(world: World) -> None:
    asked = Asked(world, "a", "b", "c")
    assert asked.answer("a", keep=True).kinds == {"put_back": 1}
    assert asked.held == ["b", "c"]
    assert asked.answer("b", keep=False).kinds == {"deleted": 1}
    assert asked.held == ["c"]
    assert sorted(world.a.listing("docs")) == ["a", "c", "kept"]
    assert sorted(world.b.listing("docs")) == ["a", "kept"]
    assert asked.answer(keep=False).kinds == {"deleted": 1}
    assert [one.split("@")[0] for one in world.a.listing("dcctl-trash")] == ["docs/b", "docs/c"]
    world.settle()
    world.assert_same()


def test_what_is_kept_goes_over_a_tombstone_that_is_still_there(world: World) -> None:
    asked = Asked(world, "a")
    world.b.client_delete("docs", "a")  # a 404, which lays a new tombstone
    world.time.now_s += 1
    assert asked.answer(keep=True).kinds == {"put_back": 1}
    assert "a" in world.b.listing("docs")
    world.settle()
    world.assert_same()


@pytest.mark.parametrize(("keep", "left"), [(True, ["a", "kept"]), (False, ["kept"])])
def test_a_name_that_was_written_since_it_was_asked_about_is_left_and_asked_about_anew(
    world: World, keep: bool, left: list[str]
) -> None:
    asked = Asked(world, "a")
    world.a.client_put("docs", "a", b"2")
    tally = asked.answer(keep=keep)
    assert (tally.kinds, tally.pending, asked.held) == ({"moved": 1}, 1, ["a"])
    assert world.a.containers["docs"]["a"].content == b"2"
    assert world.step().kinds == {"undecided": 1}
    asked.answer(keep=keep)
    world.settle()
    world.assert_same()
    assert sorted(world.b.listing("docs")) == left


def test_a_cluster_that_goes_away_midway_leaves_what_was_done_and_the_rest_to_be_asked_again(
    world: World,
) -> None:
    asked = Asked(world, "a", "b")
    world.b.fail_after = 3  # the clock, and what the first name takes
    with pytest.raises(StepFailed, match="west") as caught:
        asked.answer(keep=True)
    assert "again" in caught.value.next_command
    assert asked.held == ["b"]
    world.b.fail_after = 0
    with pytest.raises(Unreachable):
        asked.answer(keep=True)
    world.b.fail_after = None
    assert asked.answer(keep=True).kinds == {"put_back": 1}


def test_a_pass_over_two_containers_of_which_the_second_cannot_be_read_was_begun(world: World) -> None:
    world.a.client_put("docs", "a", b"1")
    world.time.now_s += 60
    clock = Time(now=world.time, monotonic=world.time)

    def once() -> None:
        replicate_once(stores_of(world), world.base, ["docs", "missing"], world.options, clock=clock)

    with pytest.raises(StepFailed, match="no such container"):
        once()
    assert "a" in world.b.listing("docs")
    with pytest.raises(Unreachable):
        once()


def test_a_plan_of_two_containers_of_which_the_second_cannot_be_read_was_begun(world: World) -> None:
    world.a.client_put("docs", "a", b"1")
    world.time.now_s += 60
    stamp = world.a.containers["docs"]["a"].body.text
    (digest, _, _) = world.a.listing("docs")["a"]
    entries = [
        Planned("docs", "a", "copy", "east", 1, Version(digest, stamp), None),
        Planned("missing", "b", "copy", "east", 1, None, None),
    ]
    with pytest.raises(StepFailed, match="no such container"):
        apply_plan(stores_of(world), world.base, entries, world.options, clock=Time(now=world.time))
    assert "a" in world.b.listing("docs")


class Vanishing(DirectoryTree):
    """A tree in use: a file and a folder are removed between two looks."""

    def _folder(self, path: bytes, prefix: bytes) -> Iterator[SourceFile]:
        for file in super()._folder(path, prefix):
            yield file
            (Path(path.decode()) / "b").unlink(missing_ok=True)
            if (Path(path.decode()) / "c").exists():
                (Path(path.decode()) / "c/d").unlink()
                (Path(path.decode()) / "c").rmdir()


def tree(root: Path) -> Path:
    folder = root / "tree"
    (folder / "c").mkdir(parents=True)
    for name in ("a", "b", "c/d", "e"):
        (folder / name).write_bytes(b"1")
    return folder


def test_what_is_removed_while_a_tree_is_read_is_not_in_it(tmp_path: Path) -> None:
    assert [file.path for file in Vanishing(tree(tmp_path)).files()] == [b"a", b"e"]


def test_an_import_that_cannot_be_certified_was_begun(world: World, tmp_path: Path) -> None:
    files = DirectoryTree(tree(tmp_path))
    world.time.now_s = 4_000_000_000.0
    real = world.b.list_page

    async def list_page(container: str, **how: object) -> bytes:
        if "e" in world.b.containers["docs"]:
            raise Unreachable("list", on="west:docs", saw="away")
        return await real(container, **how)  # type: ignore[arg-type]

    world.b.list_page = list_page  # type: ignore[method-assign]
    with pytest.raises(StepFailed, match="west:docs: away"):
        import_tree(stores_of(world), files, "docs", world.options, certify=True)
    world.b.list_page = MemoryStore.list_page.__get__(world.b)  # type: ignore[method-assign]
    done, certificate = import_tree(stores_of(world), files, "docs", world.options, certify=True)
    assert (done.kinds, certificate is not None and certificate["same"]) == ({"unchanged": 4}, True)
    assert Stamp(0) < world.b.containers["docs"]["a"].body
