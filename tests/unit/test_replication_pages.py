"""Listings are read ahead, range by range as the base has them."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_replication_pass import World

from dcctl.adapters.replication_base import SqliteBase
from dcctl.domain.replication import Side, Stamp
from dcctl.domain.replication_merge import count_rows, range_end, split_page
from dcctl.engines.replication_pages import Asked, Pages
from dcctl.errors import Unreachable

BOUNDS = ["c", "f", "i"]


class Cluster:
    """Answers when it is let; ``asked`` is what it was asked for, in order."""

    def __init__(self) -> None:
        self.asked: list[tuple[Side, Asked]] = []
        self.fails = False

    async def page(self, side: Side, asked: Asked) -> bytes:
        self.asked.append((side, asked))
        await asyncio.sleep(0)
        if self.fails:
            raise Unreachable("list", saw="away")
        return f"{side.value}{asked.after}-{asked.upto}".encode()

    def of(self, side: Side) -> list[str]:
        return [f"{asked.after}-{asked.upto}" for each, asked in self.asked if each is side]


def pages(cluster: Cluster, *, upto: str | None = None, ahead: int = 2) -> Pages:
    return Pages(cluster.page, BOUNDS, page_rows=10, new_rows=9, upto=upto, ahead=ahead)


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(_awaited(work))


async def _awaited(work: Callable[[], Awaitable[None]]) -> None:
    await work()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, "something is still under way"


async def _rest() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_the_next_ranges_of_the_base_are_read_before_they_are_asked_for() -> None:
    cluster = Cluster()

    async def work() -> None:
        reader = pages(cluster)
        assert await reader.read("") == {Side.A: b"a-c", Side.B: b"b-c"}
        await _rest()
        assert cluster.of(Side.A) == cluster.of(Side.B) == ["-c", "c-f", "f-i"]
        assert await reader.read("c") == {Side.A: b"ac-f", Side.B: b"bc-f"}
        await reader.read("f")
        await reader.read("i")
        await reader.close()

    run(work)
    assert cluster.of(Side.A) == ["-c", "c-f", "f-i", "i-None"]  # each once


def test_a_range_that_did_not_fit_is_gone_on_with_and_what_was_read_ahead_is_used() -> None:
    cluster = Cluster()

    async def work() -> None:
        reader = pages(cluster)
        await reader.read("")
        assert await reader.read("b") == {Side.A: b"ab-c", Side.B: b"bb-c"}
        await reader.read("c")
        await reader.close()

    run(work)
    assert cluster.of(Side.A).count("b-c") == cluster.of(Side.A).count("c-f") == 1


def test_what_nobody_knows_is_asked_for_with_room_for_names_to_come() -> None:
    reader = pages(Cluster())
    assert reader.asked("a") == Asked("a", "c", 10)
    assert reader.asked("i") == Asked("i", None, 9)


def test_a_share_ends_where_it_ends() -> None:
    cluster = Cluster()

    async def work() -> None:
        reader = pages(cluster, upto="e")
        await reader.read("")
        await _rest()
        await reader.read("c")
        await reader.close()

    run(work)
    assert cluster.of(Side.B) == ["-c", "c-e"]


def test_nothing_is_read_ahead_where_others_may_take_what_follows() -> None:
    cluster = Cluster()

    async def work() -> None:
        reader = pages(cluster, ahead=0)
        await reader.read("")
        await _rest()
        await reader.close()

    run(work)
    assert cluster.of(Side.A) == ["-c"]


def test_a_cluster_that_is_away_is_told_of_once_it_is_asked() -> None:
    cluster = Cluster()

    async def work() -> None:
        reader = pages(cluster)
        await reader.read("")
        cluster.fails = True
        await _rest()
        with pytest.raises(Unreachable):
            await reader.read("c")
        await reader.close()

    run(work)


def test_closing_ends_what_is_under_way() -> None:
    async def never(_side: Side, asked: Asked) -> bytes:
        if asked.after:
            await asyncio.Event().wait()
        return b"[]"

    async def work() -> None:
        reader = Pages(never, BOUNDS, page_rows=10, new_rows=9, upto=None)
        await reader.read("")
        await reader.close()

    run(work)


def _texts(names: list[str]) -> list[bytes]:
    return [json.dumps({"name": name}).encode()[1:-1] for name in names]


def test_the_base_tells_ranges_of_a_page_each(tmp_path: Path) -> None:
    base = SqliteBase(tmp_path / "base.sqlite", "pair")
    for after, upto, count in (("", "b", 4), ("b", "d", 3), ("d", "f", 8), ("f", "h", 1), ("h", None, 2)):
        base.agree("docs", after, upto, [b"row"] * count)
    assert base.bounds("docs", 7) == ["d", "f"]  # 4 + 3, 8 alone, 1 + 2 to the end
    assert base.bounds("docs", 3) == ["b", "d", "f"]
    assert base.bounds("docs", 100) == []
    assert base.bounds("others", 7) == []
    base.close()


def test_a_base_from_before_it_counted_is_used_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "base.sqlite"
    base = SqliteBase(path, "pair")
    base.agree("docs", "", "b", [b"row"])
    base.agree("docs", "b", None, [b"row"])
    base._db.execute("alter table chunk drop column count")
    base.close()
    again = SqliteBase(path, "pair")
    assert not again.rebuilt
    assert again.bounds("docs", 10) == ["b"]
    assert again.rows("docs", "", "b") == [b"row"]
    again.begin("docs", Stamp(1))
    again.close()


@given(st.lists(st.text(st.sampled_from('ab{}", \\é'), min_size=1, max_size=8), min_size=1, unique=True))
def test_the_last_name_of_a_page_is_found_whatever_it_is(names: list[str]) -> None:
    ordered = sorted(names, key=str.encode)
    rows = [
        {"bytes": 1, "hash": "h", "name": name, "content_type": "a{b", "last_modified": "2026-11-22T00:00:00"}
        for name in ordered
    ]
    page = json.dumps(rows).encode()
    assert count_rows(page) == len(split_page(page))
    assert range_end({Side.A: page, Side.B: page}, len(rows)) == ordered[-1]
    assert range_end({Side.A: page, Side.B: page}, 100) is None


def _world_of_three_ranges(tmp_path: Path) -> World:
    world = World(tmp_path, page_rows=10)
    for number in range(27):
        world.a.client_put("docs", f"o{number:02}", b"1")
    world.settle()
    assert world.base.bounds("docs", 9) == ["o08", "o17"]
    world.options = replace(world.options, accept_empty=False)
    return world


def test_a_range_of_which_one_side_has_nothing_left_is_no_empty_listing(tmp_path: Path) -> None:
    world = _world_of_three_ranges(tmp_path)
    for number in range(9):
        world.b.client_delete("docs", f"o{number:02}")
    assert world.step().count("deleted") == 9
    world.settle()
    world.assert_same()
    world.base.close()


def test_names_that_come_and_go_in_one_range_leave_the_others_as_they_were(tmp_path: Path) -> None:
    world = _world_of_three_ranges(tmp_path)
    kept = world.base.digest("docs", "o08", "o17")
    assert kept is not None
    world.a.client_put("docs", "o01-new", b"1")
    world.b.client_delete("docs", "o05")
    world.settle()
    assert world.base.digest("docs", "o08", "o17") == kept
    assert world.base.bounds("docs", 9) == ["o08", "o17"]
    for number in range(10):  # more than fit into a page
        world.a.client_put("docs", f"o01-{number}", b"1")
    world.settle()
    world.assert_same()
    assert world.base.digest("docs", "o08", "o17") == kept
    assert world.base.complete("docs") is not None
    assert world.step().rows == 37
    world.base.close()
