"""Files come into both sides under their modification times; a second pass reads nothing."""

import asyncio
import os
from pathlib import Path

import pytest

from dcctl.adapters.file_tree import DirectoryTree
from dcctl.domain.replication import Row, Side, Stamp
from dcctl.domain.replication_import import Need, SourceFile, decide_import
from dcctl.engines.replication_import import Import, Imported
from dcctl.engines.replication_manners import Limits, Manners, Time
from dcctl.errors import NotFound, Unreachable
from dcctl.testing.documents import MemoryStore, VirtualTime

NOW = Stamp(1_800_000_000 * 100_000)
FILE = SourceFile(b"a/b", 3, NOW.plus(-100))
SAME = Row("a/b", "h", FILE.stamp, 3)


@pytest.mark.parametrize(
    ("file", "a", "b", "need"),
    [
        (FILE, None, None, Need.WRITE),
        (FILE, SAME, None, Need.WRITE),
        (FILE, SAME, SAME, Need.NOTHING),
        (FILE, SAME._replace(bytes=4), SAME, Need.WRITE),
        (FILE, SAME._replace(stamp=NOW), SAME, Need.NEWER_THERE),
        (SourceFile(b"a", 3, NOW.plus(5)), None, None, Need.LATER),
        (SourceFile(b"\xff", 3, NOW), None, None, Need.UNREADABLE_NAME),
        (SourceFile(b"link", 3, NOW.plus(-100), plain=False), None, None, Need.LEFT_OUT),
    ],
)
def test_every_row_of_the_table(file: SourceFile, a: Row | None, b: Row | None, need: Need) -> None:
    assert decide_import(file, a, b, NOW) is need


class Pair:
    def __init__(self) -> None:
        self.time = VirtualTime(4_000_000_000.0)
        self.a, self.b = MemoryStore("east", self.time), MemoryStore("west", self.time)

    def bring(self, root: Path) -> tuple[Imported, dict]:  # type: ignore[type-arg]
        async def run() -> tuple[Imported, dict]:  # type: ignore[type-arg]
            stores = {Side.A: self.a, Side.B: self.b}
            manners = Manners(Limits(attempts=1), Time())
            work = Import(stores, DirectoryTree(root), "docs", "old/", manners)
            return await work.run(), await work.certify()

        return asyncio.run(run())


def test_files_arrive_on_both_sides_and_are_certified(tmp_path: Path) -> None:
    for name in ("a-b", "a/x", "a/sub/y", "a0", "ü", "empty"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() if name != "empty" else b"")
    (tmp_path / "large").write_bytes(os.urandom(3 << 20))
    pair = Pair()
    done, certificate = pair.bring(tmp_path)
    assert done.kinds == {"written": 7}
    assert certificate["same"]
    assert certificate["files"]["count"] == 7
    assert pair.a.listing("docs") == pair.b.listing("docs")
    before = len(pair.a.calls)
    done, _ = pair.bring(tmp_path)
    assert done.kinds == {"unchanged": 7}
    assert set(pair.a.calls[before:]) == {"list"}
    (tmp_path / "a0").write_bytes(b"changed")
    done, certificate = pair.bring(tmp_path)
    assert done.kinds == {"unchanged": 6, "written": 1}
    assert certificate["same"]


def test_what_is_not_in_the_tree_shows_in_the_certificate(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    pair = Pair()
    pair.b.client_put("docs", "old/extra", b"2")
    _done, certificate = pair.bring(tmp_path)
    assert not certificate["same"]


def test_a_name_that_is_not_utf8_is_told_and_the_others_arrive(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/\xff", "wb") as odd:  # noqa: PTH123  # a name in bytes
        odd.write(b"1")
    (tmp_path / "b").write_bytes(b"1")
    pair = Pair()
    done, _ = pair.bring(tmp_path)
    assert done.kinds == {"unreadable_name": 1, "written": 1}
    assert not done.complete


def test_what_is_no_file_is_told_and_left_out(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"1")
    (tmp_path / "link").symlink_to(tmp_path / "b")
    (tmp_path / "folder").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    pair = Pair()
    done, certificate = pair.bring(tmp_path)
    assert done.kinds == {"left_out": 3, "written": 1}
    assert "'old/link': left out" in done.reasons
    assert (done.complete, certificate["same"], certificate["files"]["count"]) == (True, True, 1)
    assert list(pair.a.listing("docs")) == ["old/b"]


def test_a_file_that_changes_while_it_is_read_is_told_and_comes_with_the_next_pass(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"1")
    tree = DirectoryTree(tmp_path)
    first = next(tree.files())
    (tmp_path / "a").write_bytes(b"longer")
    with pytest.raises(Unreachable, match="it changes while it is read"):
        tree.read(first)
    pair = Pair()
    assert pair.bring(tmp_path)[0].kinds == {"written": 2}


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such directory"):
        DirectoryTree(tmp_path / "nosuch")
