"""The requests behind a decision, where a wrong stamp would bury what no listing shows."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from test_replication_pass import DAY, World

from dcctl.domain.document import Answer, Document
from dcctl.domain.replication import Side, Stamp, row_of
from dcctl.engines.replication_manners import Limits, Manners, Time
from dcctl.engines.replication_move import Keep, Mover, hash_of, kept_name
from dcctl.engines.replication_walk import MAX_FAILURES, MAX_SENTENCES
from dcctl.errors import Unreachable


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    for store in (made.a, made.b):
        store.containers["parts"] = {}
    yield made
    made.base.close()


def put_large(world: World, *parts: tuple[str, bytes]) -> None:
    """A static large object at east, of segments that are there."""
    manifest = [{"name": f"/parts/{name}", "hash": hash_of(one), "bytes": len(one)} for name, one in parts]
    world.a.client_put("docs", "large", json.dumps(manifest).encode(), X_Static_Large_Object="True")


def test_segments_are_there_before_the_manifest_that_names_them(world: World) -> None:
    world.a.client_put("parts", "1", b"one")
    world.a.client_put("parts", "2", b"two")
    put_large(world, ("1", b"one"), ("2", b"two"))
    real, order = world.b.put, list[str]()

    async def put(container: str, name: str, stamp: Stamp, document: Document) -> Answer:
        order.append(f"{container}/{name}")
        return await real(container, name, stamp, document)

    world.b.put = put  # type: ignore[method-assign]
    assert world.step().kinds == {"copied": 1}
    assert order == ["parts/1", "parts/2", "docs/large"]
    assert world.a.listing("parts") == world.b.listing("parts")


def test_a_segment_goes_under_its_bodys_own_stamp_and_buries_no_newer_one(world: World) -> None:
    """A POST hides that the segment's bytes are older than what the other side has of that name."""
    world.a.client_put("parts", "1", b"old")
    put_large(world, ("1", b"old"))
    world.b.client_put("parts", "1", b"new")
    world.a.client_post("parts", "1", X_Object_Meta_K="late")
    world.step()
    assert world.b.containers["parts"]["1"].content == b"new"
    world.assert_same()


def test_a_segment_is_not_written_in_the_other_sides_future_and_its_manifest_waits(world: World) -> None:
    world.a.client_put("parts", "1", b"one")
    put_large(world, ("1", b"one"))
    world.time.now_s += 60
    world.a.client_put("parts", "1", b"one")
    world.b.skew_s = -30
    tally = world.step(1)
    assert (tally.kinds, "its timestamp is in the future there" in tally.reasons[0]) == (
        {"failed": 1},
        True,
    )
    assert (world.b.listing("parts"), world.b.listing("docs")) == ({}, {})
    assert world.step(60).kinds == {"copied": 1}
    assert world.a.listing("parts") == world.b.listing("parts")


def test_what_a_person_keeps_is_not_written_in_the_other_sides_future(world: World) -> None:
    world.b.skew_s = -30
    world.a.client_put("docs", "o", b"1")
    mover = Mover(
        {Side.A: world.a, Side.B: world.b}, "docs", Keep(), Manners(Limits(), Time(monotonic=world.time))
    )

    async def put_back() -> str:
        (entry,) = json.loads(await world.a.list_page("docs"))
        return (await mover.put_back(row_of(entry), Side.A)).kind

    assert asyncio.run(put_back()) == "later"
    assert world.b.listing("docs") == {}
    world.time.now_s += 60
    assert asyncio.run(put_back()) == "put_back"
    world.assert_same()


def test_bytes_that_are_damaged_on_the_way_are_not_written_and_come_with_the_next_pass(world: World) -> None:
    world.a.client_put("docs", "o", b"whole")
    world.a.client_put("docs", "other", b"1")
    real = world.b.put

    async def put(container: str, name: str, stamp: Stamp, document: Document) -> Answer:
        if name == "o":
            document = replace(document, content=(document.content or b"")[:2])
        return await real(container, name, stamp, document)

    world.b.put = put  # type: ignore[method-assign]
    tally = world.step()
    assert tally.kinds == {"failed": 1, "copied": 1}
    assert "west:docs/o: the bytes were damaged on the way" in tally.reasons[0]
    assert list(world.b.listing("docs")) == ["other"]
    world.b.put = real  # type: ignore[method-assign]
    assert world.step().kinds == {"copied": 1}
    world.assert_same()


def test_a_delete_is_carried_under_the_time_when_the_other_side_was_last_seen_to_have_it(
    world: World,
) -> None:
    world.a.client_put("docs", "o", b"1")
    world.settle()
    last = world.base.complete("docs")
    assert last is not None
    world.time.now_s += 60
    world.b.client_delete("docs", "o")
    assert world.step().count("deleted") == 1
    assert world.a.containers["docs"]["o"].body == last[0].plus(-world.options.settled_s)


def test_a_delete_of_an_old_version_is_never_stamped_where_swift_keeps_no_tombstone(world: World) -> None:
    """Below ``reclaim_age`` the body would go on to answer GET, and be listed no more."""
    world.a.client_put("docs", "o", b"1")
    for _ in range(6):
        world.step(5 * DAY)
    world.b.client_delete("docs", "o")
    assert world.carry("o", "west").kind == "deleted"
    assert world.a.containers["docs"]["o"].body == world.a.now().plus(-6 * DAY)


def test_a_delete_that_comes_after_its_proof_is_gone_is_not_carried(world: World) -> None:
    """Between the listing and the delete the name was written anew at the side that had deleted it."""
    world.a.client_put("docs", "o", b"1")
    world.settle()
    world.b.client_delete("docs", "o")
    world.time.now_s += 60
    real, asked = world.b.holds, list[str]()

    async def holds(container: str, name: str, stamp: Stamp) -> bool:
        answer = await real(container, name, stamp)
        if not asked:
            world.b.client_put("docs", "o", b"2")
        asked.append(name)
        return answer

    world.b.holds = holds  # type: ignore[method-assign]
    assert world.once().count("deleted") == 0
    assert world.a.containers["docs"]["o"].content is not None
    world.settle()
    world.assert_same()
    assert world.a.containers["docs"]["o"].content == b"2"


def test_two_versions_never_have_the_same_name_in_the_trash_however_long_theirs_is() -> None:
    def row(name: str, ticks: int) -> object:
        return row_of(
            {
                "name": name,
                "hash": "h",
                "bytes": 1,
                "last_modified": Stamp(ticks).instant.strftime("%Y-%m-%dT%H:%M:%S.%f"),
            }
        )

    long = "ü" * 510
    names = [
        kept_name("docs", row(name, ticks), site)  # type: ignore[arg-type]
        for name in (f"{long}a", f"{long}b", "a", "b")
        for ticks in (1, 2)
        for site in ("east", "west")
    ]
    assert len(set(names)) == len(names)
    assert max(len(name.encode()) for name in names) <= 1024


def test_a_side_that_goes_away_while_bytes_are_kept_loses_nothing(world: World) -> None:
    """No room in the trash: the version that was to go stays."""
    world.a.client_put("docs", "o", b"1")
    world.settle()
    world.b.client_delete("docs", "o")
    real = world.a.put

    async def put(container: str, name: str, stamp: Stamp, document: Document) -> Answer:
        if container == "dcctl-trash":
            raise Unreachable("PUT", on="east:dcctl-trash", saw="HTTP 507")
        return await real(container, name, stamp, document)

    world.a.put = put  # type: ignore[method-assign]
    assert world.step().kinds == {"doomed": 1, "failed": 1}
    assert "o" in world.a.listing("docs")
    world.a.put = real  # type: ignore[method-assign]
    assert world.step().count("deleted") == 1


def test_a_pass_in_which_very_much_fails_ends_and_the_next_one_does_all_of_it(world: World) -> None:
    count = MAX_FAILURES + 50
    for number in range(count):
        world.a.client_put("docs", f"o{number:04}", b"1")
    world.time.now_s += 60
    real = world.b.put

    async def put(*_: object) -> Answer:
        raise Unreachable("PUT", on="west:docs", saw="HTTP 507")

    world.b.put = put  # type: ignore[method-assign]
    with pytest.raises(Unreachable, match=r"1000 failed.*HTTP 507"):
        world.once()
    world.b.put = real  # type: ignore[method-assign]
    assert world.step().kinds == {"copied": count}
    world.assert_same()


def test_what_failed_is_told_in_a_few_sentences(world: World) -> None:
    for number in range(30):
        world.a.client_put("docs", f"o{number:04}", b"1")

    async def put(*_: object) -> Answer:
        raise Unreachable("PUT", on="west:docs", saw="HTTP 507")

    world.b.put = put  # type: ignore[method-assign]
    tally = world.step()
    assert (tally.kinds, tally.pending, len(tally.reasons)) == ({"failed": 30}, 30, MAX_SENTENCES)
