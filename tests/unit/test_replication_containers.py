"""Containers that come and go: made where they lack, removed where they are empty, never with an object."""

import asyncio

import pytest

from dcctl.domain.replication import Side
from dcctl.domain.replication_containers import (
    BOTH,
    GOING,
    Decided,
    Need,
    RemovalCap,
    Seen,
    decide_container_need,
    decide_containers,
)
from dcctl.engines.replication_containers import Carried, carry_containers
from dcctl.engines.replication_follow import Containers
from dcctl.errors import Unreachable
from dcctl.testing.accounts import Kept, MemoryAccount
from dcctl.testing.documents import MemoryFeed, VirtualTime

NEW, PAIRED, FULL = Seen("", 0), Seen(BOTH, 0), Seen(BOTH, 3)
GONE, LEFT = Seen(GOING, 0), Seen(GOING, 2)


@pytest.mark.parametrize(
    ("a", "b", "need", "side"),
    [
        (PAIRED, FULL, Need.NOTHING, None),
        (NEW, NEW, Need.JOIN, None),
        (NEW, FULL, Need.JOIN, None),
        (PAIRED, GONE, Need.JOIN, None),
        (NEW, LEFT, Need.JOIN, None),
        (NEW, None, Need.MAKE, Side.B),
        (Seen("", 5), None, Need.MAKE, Side.B),
        (PAIRED, None, Need.REMOVE, Side.A),
        (GONE, None, Need.REMOVE, Side.A),
        (FULL, None, Need.REVIVE, Side.B),
        (LEFT, None, Need.REVIVE, Side.B),
        (GONE, GONE, Need.REMOVE, None),
        (GONE, LEFT, Need.WAIT, None),
    ],
)
def test_every_row_of_the_table(a: Seen, b: Seen | None, need: Need, side: Side | None) -> None:
    assert decide_container_need("c", a, b) == Decided("c", need, side)
    exchanged = Decided("c", need, side.other if side is not None else None)
    assert decide_container_need("c", b, a) == exchanged


def test_what_is_on_neither_side_needs_nothing() -> None:
    assert decide_container_need("c", None, None) is None


@pytest.mark.parametrize(
    ("removed", "accept_empty", "cap", "words"),
    [
        (3, False, RemovalCap(), None),
        (4, False, RemovalCap(), "4 removals exceed the cap of 3"),
        (4, False, RemovalCap(0.0, 4), None),
        (10, False, RemovalCap(0.0, 10), "a side has none of 10 containers"),
        (10, True, RemovalCap(0.0, 10), None),
    ],
)
def test_when_removals_are_held(removed: int, accept_empty: bool, cap: RemovalCap, words: str | None) -> None:
    a = {f"c{number}": PAIRED for number in range(10)} | {"new": NEW}
    b = {f"c{number}": FULL for number in range(removed, 10)}
    decided, held = decide_containers(a, b, cap=cap, accept_empty=accept_empty)
    assert sum(one.need is Need.REMOVE for one in decided) == (removed if words is None else 0)
    assert any(one.need is Need.MAKE for one in decided), "nothing else is held"
    assert (held == ()) if words is None else (words in held[0])


class World:
    def __init__(self) -> None:
        self.east, self.west = MemoryAccount("east"), MemoryAccount("west")

    def carry(self, **how: bool) -> Carried:
        accounts = {Side.A: self.east, Side.B: self.west}
        return carry_containers(accounts, ("t-",), "key", cap=RemovalCap(), apart=("t-trash",), **how)

    def done(self, **how: bool) -> list[tuple[str, Need]]:
        return [(one.name, one.need) for one in self.carry(**how).done]


def test_a_new_container_appears_on_the_other_side_with_its_settings() -> None:
    world = World()
    world.east.kept["t-1"] = Kept(settings={"x-container-read": ".r:*"}, objects=2)
    world.east.kept["other"] = world.east.kept["t-trash"] = Kept()
    assert world.done(dry_run=True) == [("t-1", Need.MAKE)]
    assert world.west.kept == {}
    assert world.carry().names == ("t-1",)
    assert world.west.kept["t-1"] == Kept("key", BOTH, {"x-container-read": ".r:*"})
    assert (world.east.kept["t-1"].key, world.east.kept["t-1"].mark) == ("key", BOTH)
    assert world.done() == []


def test_a_removed_container_goes_on_both_sides_once_it_is_empty_and_not_before() -> None:
    world = World()
    world.east.kept["t-1"] = Kept(objects=2)
    world.carry()
    world.west.kept["t-1"].objects = 2
    del world.west.kept["t-1"]  # its objects were deleted there before
    carried = world.carry()
    assert [one.need for one in carried.done] == [Need.REVIVE]
    assert (carried.names, carried.going) == (("t-1",), {"t-1"})
    assert world.done() == [("t-1", Need.WAIT)]
    world.east.kept["t-1"].objects = 0  # the deletes were proven and carried
    assert world.done() == [("t-1", Need.REMOVE)]
    assert world.east.kept == world.west.kept == {}


def test_who_asked_knows_what_was_begun_when_a_side_goes_away() -> None:
    world = World()
    world.east.kept |= {"t-1": Kept(), "t-2": Kept()}
    accounts = {Side.A: world.east, Side.B: world.west}
    begun: list[str] = []

    def look(*, dry_run: bool = False) -> Carried:
        return carry_containers(accounts, ("t-",), "key", cap=RemovalCap(), begun=begun, dry_run=dry_run)

    look(dry_run=True)
    assert begun == []

    def away(*_args: object, **_named: object) -> bool:
        raise Unreachable("make a container", on="west")

    there = world.west.ensure_container
    world.west.ensure_container = away  # type: ignore[method-assign]
    with pytest.raises(Unreachable):
        look()
    assert begun == ["t-1"]
    world.west.ensure_container = there  # type: ignore[method-assign]
    look()
    begun.clear()
    look()
    assert begun == [], "all was there"


def test_one_that_was_made_again_meanwhile_stays() -> None:
    world = World()
    world.east.kept["t-1"] = Kept()
    world.carry()
    world.west.kept["t-1"] = Kept()
    assert world.done() == [("t-1", Need.JOIN)]
    assert world.west.kept["t-1"].mark == BOTH


def test_one_that_got_an_object_at_the_last_moment_is_not_removed() -> None:
    world = World()
    world.east.kept["t-1"] = Kept()
    world.carry()
    del world.west.kept["t-1"]
    seen = world.east.observe_container

    def late(name: str) -> object:
        facts = seen(name)
        world.east.kept[name].objects = 1
        return facts

    world.east.observe_container = late  # type: ignore[assignment,method-assign]
    assert world.done() == [("t-1", Need.WAIT)]
    assert "t-1" in world.east.kept


def test_who_tells_of_writes_is_asked_about_containers_that_have_come() -> None:
    feed = MemoryFeed(VirtualTime())
    told: list[object] = []
    names = Containers(["docs"], lambda: Carried(("t-1", "t-2"), frozenset({"t-2"})), feed)
    asyncio.run(names.look(told.append))
    assert list(names) == list(feed.watched) == ["docs", "t-1", "t-2"]
    assert names.going == {"t-2"}

    def away() -> Carried:
        raise Unreachable("look", on="west")

    unlooked = Containers(["docs"], away, feed)
    asyncio.run(unlooked.look(told.append))
    assert (list(unlooked), len(feed.watched), len(told)) == (["docs"], 3, 1)
