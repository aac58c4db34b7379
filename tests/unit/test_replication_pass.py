"""Passes over two clusters in memory: what happens to names, in virtual time."""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dcctl.adapters.replication_base import SqliteBase
from dcctl.domain.document import Answer, Document
from dcctl.domain.replication import Side, Stamp
from dcctl.domain.replication_merge import count_rows, digest_of, settled_page
from dcctl.domain.replication_pass import Tally
from dcctl.engines.replication import Replication
from dcctl.engines.replication_manners import Limits, Time
from dcctl.engines.replication_move import Outcome
from dcctl.engines.replication_options import Options
from dcctl.errors import Refused, Unreachable
from dcctl.testing.documents import MemoryStore, VirtualTime

DAY = 86400.0


class World:
    """Two clusters, a base and a clock. ``step`` lets time go by and makes one pass."""

    def __init__(self, folder: Path, *, page_rows: int = 10_000, skew_s: float = 0.0) -> None:
        self.time = VirtualTime()
        self.a = MemoryStore("east", self.time)
        self.b = MemoryStore("west", self.time, skew_s=skew_s)
        for store in (self.a, self.b):
            store.containers |= {"dcctl-trash": {}, "dcctl-conflicts": {}}
        self.path = folder / "base.sqlite"
        self.base = SqliteBase(self.path, "east-west")
        self.options = Options(page_rows=page_rows, limits=Limits(attempts=1), accept_empty=True)

    def once(self) -> Tally:
        async def sleep(seconds: float) -> None:
            self.time.now_s += seconds

        clock = Time(now=self.time, monotonic=self.time, sleep=sleep)
        stores = {Side.A: self.a, Side.B: self.b}
        return asyncio.run(Replication(stores, self.base, self.options, clock).run("docs"))

    def carry(self, name: str, site: str) -> Outcome:
        async def told() -> Outcome:
            replication = Replication({Side.A: self.a, Side.B: self.b}, self.base, self.options)
            return await replication.carry("docs", name, site)

        return asyncio.run(told())

    def step(self, seconds: float = 60.0) -> Tally:
        self.time.now_s += seconds
        return self.once()

    def settle(self) -> Tally:
        for _ in range(6):
            if (tally := self.step()).quiet:
                return tally
        raise AssertionError(f"does not come to rest: {tally}")

    def lose_base(self) -> None:
        self.base.close()
        self.path.unlink()
        self.base = SqliteBase(self.path, "east-west")

    def assert_same(self) -> None:
        assert self.a.listing("docs") == self.b.listing("docs")

    def names(self) -> list[str]:
        return list(self.a.listing("docs"))


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Makes worlds and closes what they hold open."""
    made: list[World] = []

    def one(**named: float) -> World:
        made.append(World(tmp_path, **named))  # type: ignore[arg-type]
        return made[-1]

    yield one
    for world in made:
        world.base.close()


@pytest.fixture
def world(make: Callable[..., World]) -> World:
    return make()


def test_writes_at_both_sites_meet(world: World) -> None:
    world.a.client_put("docs", "from-a", b"1", X_Object_Meta_K="v")
    world.b.client_put("docs", "from-b", b"2")
    tally = world.step()
    assert (tally.count("copied"), tally.bytes) == (2, 2)
    world.assert_same()
    assert world.step().quiet


def test_after_a_pass_that_carried_everything_the_next_one_knows_every_page(world: World) -> None:
    for name in ("a", "m", "ö", "z"):
        world.a.client_put("docs", name, b"1")
    world.settle()
    world.time.now_s += 60
    world.a.client_put("docs", "m", b"2")
    world.a.client_put("docs", "b", b"3")
    world.b.client_put("docs", "y", b"4")
    world.b.client_put("docs", "é", b"5")
    assert world.step().count("copied") == 4
    page = asyncio.run(world.b.list_page("docs"))
    assert count_rows(page) == 7
    assert world.base.digest("docs", "", None) == digest_of(page)


def test_the_page_to_come_is_in_the_order_of_names_whatever_arrived_first() -> None:
    a, b, m, z = (f'"name": "{name}"'.encode() for name in ("a", "b", "m", "z"))
    assert settled_page([a, m], {"z": z, "b": b}) == b"[{" + b"}, {".join([a, b, m, z]) + b"}]"


def test_a_page_of_which_something_is_left_is_not_known(world: World) -> None:
    world.a.client_put("docs", "a", b"1")
    world.b.client_put("docs", "b", b"1")

    async def put(*_: object) -> object:
        raise Unreachable("PUT", on="west:docs/a", saw="made to fail")

    world.b.put = put  # type: ignore[assignment,method-assign]
    tally = world.step()
    assert (tally.count("copied"), tally.count("failed")) == (1, 1)
    assert world.base.digest("docs", "", None) is None


class Killed(BaseException):
    """Ends a pass as SIGKILL does: nothing catches it."""


def _two_pages(make: Callable[..., World], changed: Iterable[str]) -> World:
    """Eight names in two ranges of the base, some of them written anew at east."""
    world = make(page_rows=4)
    for name in "abcdefgh":
        world.a.client_put("docs", name, b"1")
    world.settle()
    world.time.now_s += 60
    for name in changed:
        world.a.client_put("docs", name, b"2")
    world.time.now_s += 60
    return world


def test_a_range_that_was_carried_before_an_earlier_one_is_not_written_down_before_it(
    make: Callable[..., World],
) -> None:
    world = _two_pages(make, "ag")
    real, later = world.b.put, asyncio.Event()

    async def put(container: str, name: str, stamp: Stamp, document: Document) -> Answer:
        if name == "g":
            answer = await real(container, name, stamp, document)
            later.set()
            return answer
        await asyncio.wait_for(later.wait(), 60)
        raise Killed

    world.b.put = put  # type: ignore[method-assign]
    with pytest.raises(Killed):
        world.once()
    world.b.put = real  # type: ignore[method-assign]
    assert world.step().count("copied") == 1
    world.assert_same()


def test_no_more_than_the_names_of_a_page_are_under_way_and_not_written_down(
    make: Callable[..., World],
) -> None:
    world = _two_pages(make, "abcefgh")
    real, order = world.b.put, list[str]()

    async def put(container: str, name: str, stamp: Stamp, document: Document) -> Answer:
        for _ in range(1000 if name == "b" else 0):
            await asyncio.sleep(0)
        order.append(name)
        return await real(container, name, stamp, document)

    world.b.put = put  # type: ignore[method-assign]
    assert world.once().count("copied") == 7
    assert sorted(order[:3]) == ["a", "b", "c"]
    world.assert_same()


def test_a_copied_object_costs_two_requests(world: World) -> None:
    world.a.tells_bodies = True  # else it costs a third, which asks for the body's stamp
    world.a.client_put("docs", "o", b"1")
    world.time.now_s += 60
    before = len(world.a.calls + world.b.calls)
    world.once()
    done = (world.a.calls + world.b.calls)[before:]
    assert sorted(call for call in done if call != "list") == ["head", "put"]  # the fake's GET says head


def test_an_overwrite_is_carried(world: World) -> None:
    world.a.client_put("docs", "o", b"1")
    world.step()
    world.b.client_put("docs", "o", b"2")
    world.step()
    world.assert_same()
    assert world.a.containers["docs"]["o"].content == b"2"


def test_a_delete_is_carried_and_its_bytes_kept(world: World) -> None:
    world.a.client_put("docs", "o", b"precious")
    world.settle()
    world.b.client_delete("docs", "o")
    assert world.step().count("deleted") == 1
    world.assert_same()
    assert world.names() == []
    (kept,) = world.a.containers["dcctl-trash"].items()
    assert kept[0].startswith("docs/o@")
    assert kept[1].content == b"precious"
    assert kept[1].delete_at > world.time.now_s


def test_a_delete_survives_the_loss_of_the_base(world: World) -> None:
    world.a.client_put("docs", "o", b"1")
    world.settle()
    world.b.client_delete("docs", "o")
    world.lose_base()
    world.step()
    assert world.names() == ["o"], "no deletes before one pass was complete"
    world.settle()
    world.assert_same()
    assert world.names() == []


def test_a_write_after_the_delete_wins(world: World) -> None:
    world.a.client_put("docs", "o", b"1")
    world.settle()
    world.b.client_delete("docs", "o")
    world.time.now_s += 1
    world.a.client_put("docs", "o", b"2")
    world.settle()
    world.assert_same()
    assert world.b.containers["docs"]["o"].content == b"2"


def test_a_delete_after_the_write_wins(world: World) -> None:
    world.a.client_put("docs", "o", b"1")
    world.settle()
    world.a.client_put("docs", "o", b"2")
    world.time.now_s += 1
    world.b.client_delete("docs", "o")
    world.settle()
    world.assert_same()
    assert world.names() == []


def test_a_late_listing_is_not_taken_for_a_delete(world: World) -> None:
    world.a.client_put("docs", "o", b"1")
    world.settle()
    world.b.hidden.add(("docs", "o"))
    for _ in range(3):
        assert world.step().count("deleted") == 0
    world.b.hidden.clear()
    world.settle()
    assert world.names() == ["o"]


def test_a_post_moves_metadata_only(world: World) -> None:
    world.a.client_put("docs", "o", b"1", X_Object_Meta_K="old")
    world.settle()
    world.a.client_post("docs", "o", X_Object_Meta_K="new")
    assert world.step().count("refreshed") == 1
    world.assert_same()
    assert world.b.containers["docs"]["o"].headers["X-Object-Meta-K"] == "new"
    assert world.b.containers["docs"]["o"].body == world.a.containers["docs"]["o"].body


def test_a_put_of_the_same_bytes_is_no_post(world: World) -> None:
    world.a.client_put("docs", "o", b"1", X_Object_Meta_K="old")
    world.settle()
    world.a.client_put("docs", "o", b"1", X_Object_Meta_K="new")
    world.settle()
    world.assert_same()
    assert world.b.containers["docs"]["o"].body == world.a.containers["docs"]["o"].body


def test_a_post_does_not_bring_back_an_old_body(world: World) -> None:
    """The lost update of the native container-sync: v1, then v2 at B, then a POST at A."""
    world.a.client_put("docs", "o", b"v1")
    world.settle()
    world.b.client_put("docs", "o", b"v2")
    world.time.now_s += 1
    world.a.client_post("docs", "o", X_Object_Meta_K="new")
    world.settle()
    world.assert_same()
    assert world.a.containers["docs"]["o"].content == b"v2"
    assert world.a.containers["docs"]["o"].headers["X-Object-Meta-K"] == "new"


def test_a_new_object_that_was_posted_to_at_once_keeps_both_stamps(world: World) -> None:
    world.a.client_put("docs", "o", b"v1")
    world.a.client_post("docs", "o", X_Object_Meta_K="new")
    world.once()
    world.settle()
    world.assert_same()
    assert world.b.containers["docs"]["o"].body == world.a.containers["docs"]["o"].body


def test_a_post_does_not_undo_a_delete(world: World) -> None:
    world.a.client_put("docs", "o", b"v1")
    world.settle()
    world.b.client_delete("docs", "o")
    world.time.now_s += 1
    world.a.client_post("docs", "o", X_Object_Meta_K="new")
    world.settle()
    world.assert_same()
    assert world.names() == []


def test_the_loser_of_a_conflict_is_kept(world: World) -> None:
    world.a.client_put("docs", "o", b"first")
    world.b.client_put("docs", "o", b"second")
    tally = world.step()
    assert tally.conflicts == 1
    world.assert_same()
    assert world.a.containers["docs"]["o"].content == b"second"
    ((_name, kept),) = world.a.containers["dcctl-conflicts"].items()
    assert kept.content == b"first"


def test_a_tie_converges(world: World) -> None:
    world.a.client_put("docs", "o", b"one")
    world.time.now_s -= 1 / 100_000
    world.b.client_put("docs", "o", b"two")
    assert world.a.containers["docs"]["o"].body == world.b.containers["docs"]["o"].body
    world.settle()
    world.assert_same()


def test_nothing_is_written_in_the_other_sides_future(make: Callable[..., World]) -> None:
    world = make(skew_s=-30.0)
    world.step()
    world.a.client_put("docs", "o", b"early")
    assert world.step(10).count("later") == 1
    assert world.b.client_put("docs", "o", b"acknowledged")
    world.settle()
    world.assert_same()


def test_after_a_gap_longer_than_reclaim_age_a_person_decides(world: World) -> None:
    world.a.client_put("docs", "o", b"1")
    world.a.client_put("docs", "kept", b"1")
    world.settle()
    world.b.client_delete("docs", "o")
    world.time.now_s += 8 * DAY
    world.b.client_put("docs", "new", b"1")
    tally = world.once()
    assert (tally.count("undecided"), tally.count("copied"), tally.count("deleted")) == (1, 1, 0)
    assert [held.row.name for held in world.base.held("docs")] == ["o"]
    assert "o" in world.a.containers["docs"]


def test_what_waits_for_a_person_waits_in_later_passes_too(world: World) -> None:
    world.a.client_put("docs", "o", b"1")
    world.a.client_put("docs", "later", b"1")
    world.settle()
    world.b.client_delete("docs", "o")
    world.time.now_s += 8 * DAY
    for _ in range(3):  # the first of them was a complete pass: the second has no gap before it
        assert world.step().count("undecided") == 1
    assert [held.row.name for held in world.base.held("docs")] == ["o"]
    assert list(world.b.listing("docs")) == ["later"]
    del world.a.containers["docs"]["o"]  # a person decided
    assert world.settle().quiet
    world.b.client_delete("docs", "later")
    assert world.step().count("deleted") == 1


def test_after_a_gap_what_expired_on_one_side_is_left_to_a_person_by_name(world: World) -> None:
    world.a.client_put("docs", "o", b"1")
    world.settle()
    world.a.client_put("docs", "o", b"2", X_Delete_At=str(int(world.time.now_s) + 60))
    world.b.client_put("docs", "o", b"3")
    world.time.now_s += 8 * DAY
    assert world.step().count("undecided") == 1
    assert [held.row.name for held in world.base.held("docs")] == ["o"]


def test_what_waits_for_a_person_outlives_a_pass_that_was_cut_short(make: Callable[..., World]) -> None:
    world = make(page_rows=2)
    for number in range(6):
        world.a.client_put("docs", f"o{number}", b"1")
    world.settle()
    world.b.client_delete("docs", "o0")
    world.time.now_s += 8 * DAY
    _fail_from(world.b, "list", after=2)
    with pytest.raises(Unreachable):
        world.once()
    world.b.list_page = MemoryStore.list_page.__get__(world.b)  # type: ignore[method-assign]
    for _ in range(3):
        world.step()
    assert [held.row.name for held in world.base.held("docs")] == ["o0"]
    assert "o0" not in world.b.listing("docs")


def test_after_a_gap_what_was_told_before_it_waits_for_a_person(world: World) -> None:
    world.settle()
    world.a.client_put("docs", "o", b"1")
    world.b.client_delete("docs", "o")  # later, and its tombstone is forgotten before anybody asks
    world.time.now_s += 8 * DAY
    assert world.carry("o", "east").kind == "undecided"
    assert world.b.listing("docs") == {}
    world.a.client_put("docs", "new", b"1")
    assert world.carry("new", "east").kind == "copied"


def test_no_deletes_after_an_empty_listing(world: World) -> None:
    for number in range(3):
        world.a.client_put("docs", f"o{number}", b"1")
    world.settle()
    for number in range(3):
        world.b.client_delete("docs", f"o{number}")
    world.options = replace(world.options, accept_empty=False)
    tally = world.step()
    assert (tally.count("deleted"), tally.deletes_held) == (0, 3)
    assert "lists nothing" in tally.reasons[0]


def test_no_deletes_beyond_the_cap(world: World) -> None:
    for number in range(100):
        world.a.client_put("docs", f"o{number}", b"1")
    world.settle()
    for number in range(60):
        world.b.client_delete("docs", f"o{number}")
    tally = world.step()
    assert (tally.count("deleted"), tally.deletes_held) == (0, 60)
    assert "cap of 50" in tally.reasons[0]


def test_no_deletes_after_a_failed_page(make: Callable[..., World]) -> None:
    world = make(page_rows=2)
    for number in range(6):
        world.a.client_put("docs", f"o{number}", b"1")
    world.settle()
    world.b.client_delete("docs", "o0")
    world.time.now_s += 60
    _fail_from(world.b, "list", after=2)
    with pytest.raises(Unreachable):
        world.once()
    assert "o0" in world.a.containers["docs"]
    world.b.list_page = MemoryStore.list_page.__get__(world.b)  # type: ignore[method-assign]
    world.settle()
    assert world.names() == [f"o{number}" for number in range(1, 6)]


def _fail_from(store: MemoryStore, what: str, *, after: int) -> None:
    """From the call after ``after`` calls on, listing fails: a cluster that goes away midway."""
    answer: Callable[..., object] = store.list_page
    seen = 0

    async def list_page(container: str, **named: object) -> object:
        nonlocal seen
        seen += 1
        if seen > after:
            raise Unreachable(what, on=store.site, saw="made to fail")
        return await answer(container, **named)  # type: ignore[misc]

    store.list_page = list_page  # type: ignore[assignment,method-assign]


def test_pages_cover_every_name_once(make: Callable[..., World]) -> None:
    world = make(page_rows=3)
    for number in range(20):
        (world.a if number % 3 else world.b).client_put("docs", f"o{number:02}", b"1")
    for odd in ('q"}, {x', "ü", "a/b", "\U0001f600", "ﬀ", "}, {"):
        world.b.client_put("docs", odd, b"2")
    assert world.step().count("copied") == 26
    world.assert_same()
    assert world.step().quiet
    world.a.client_put("docs", "o05x", b"1")
    world.b.client_delete("docs", "o10")
    world.settle()
    world.assert_same()
    assert len(world.names()) == 26


def test_expired_objects_go_on_both_sides(world: World) -> None:
    world.a.client_put("docs", "o", b"1", X_Delete_At=str(int(world.time.now_s) + 100))
    world.settle()
    world.time.now_s += 200
    world.a.client_delete("docs", "o")  # what Swift's expirer does on one side first
    world.settle()
    world.assert_same()


def test_a_base_of_another_pair_is_refused(world: World) -> None:
    world.base.close()
    with pytest.raises(Refused, match="belongs to east-west, not to north-south"):
        SqliteBase(world.path, "north-south")


def test_a_damaged_base_is_rebuilt_and_nothing_deleted_in_that_pass(world: World) -> None:
    world.a.client_put("docs", "o", b"1")
    world.settle()
    world.base.close()
    world.path.write_bytes(b"no database at all" * 1000)
    world.b.client_delete("docs", "o")
    world.base = SqliteBase(world.path, "east-west")
    assert world.base.rebuilt
    tally = world.step()
    assert (tally.count("deleted"), tally.deletes_held) == (0, 1)
    assert "damaged" in tally.reasons[0]
    assert world.step().count("deleted") == 1, "who follows goes on with the same base"
    world.assert_same()
    assert world.names() == []


def test_a_killed_pass_goes_on_from_its_last_page(make: Callable[..., World]) -> None:
    world = make(page_rows=2)
    for number in range(10):
        world.a.client_put("docs", f"o{number}", b"1")
    world.time.now_s += 60
    _fail_from(world.a, "list", after=4)
    with pytest.raises(Unreachable):
        world.once()
    done = len(world.b.listing("docs"))
    assert 0 < done < 10
    world.a.list_page = MemoryStore.list_page.__get__(world.a)  # type: ignore[method-assign]
    before = world.b.calls.count("put")
    world.once()
    assert world.b.calls.count("put") - before <= 10 - done + 2
    world.assert_same()


def test_a_sample_is_read_at_both_sides_and_rotten_bytes_are_told(world: World) -> None:
    for number in range(3):
        world.a.client_put("docs", f"o{number}", b"precious")
    world.settle()
    world.options = replace(world.options, sample=30)
    tally = world.step()
    assert (tally.sampled > 0, tally.kinds) == (True, {})
    stored = world.b.containers["docs"]
    for name, one in stored.items():
        stored[name] = replace(one, content=b"rotten!!")
    world.b.hash_kept = hashlib.md5(b"precious", usedforsecurity=False).hexdigest()
    tally = world.step()
    assert tally.count("damaged") == tally.sampled
    assert "damaged at west: o" in tally.reasons[0]
    assert "repair" in tally.reasons[0]


def test_a_prefix_is_all_that_a_pass_looks_at_and_the_base_stays_as_it_was(
    make: Callable[..., World],
) -> None:
    world = make(page_rows=3)
    for name in ("a1", "a2", "in/1", "in/2", "in/3", "in/4", "z1", "z2"):
        world.a.client_put("docs", name, b"1")
    world.settle()
    before = world.base.rows("docs", "", None), world.base.complete("docs")
    for name in ("a3", "in/5", "z3"):
        world.a.client_put("docs", name, b"1")
    for name in ("a1", "in/1", "z1"):
        world.b.client_delete("docs", name)
    world.options = replace(world.options, prefix="in/")
    tally = world.step()
    assert (tally.prefix, tally.kinds) == ("in/", {"copied": 1, "doomed": 1, "deleted": 1})
    assert sorted(world.b.listing("docs")) == ["a2", "in/2", "in/3", "in/4", "in/5", "z2"]
    assert sorted(world.a.listing("docs"))[:3] == ["a1", "a2", "a3"]
    assert (world.base.rows("docs", "", None), world.base.complete("docs")) == before
    world.options = replace(world.options, prefix="")
    assert world.step().kinds == {"copied": 2, "doomed": 2, "deleted": 2}
    world.assert_same()
