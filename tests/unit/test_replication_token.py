"""Token mode: what a name needs without anybody's timestamps, and passes over two clusters in memory."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dcctl.adapters.replication_base import SqliteBase
from dcctl.adapters.swift import FRESH_S, Token
from dcctl.domain.document import Answer, Document, Head
from dcctl.domain.replication import Row, Side, Stamp
from dcctl.domain.replication_pass import DeleteCap, Tally
from dcctl.domain.replication_token import Act, Agreed, TokenDecision, decide_with_tokens
from dcctl.engines.replication_manners import Time
from dcctl.engines.replication_move import hash_of
from dcctl.engines.replication_options import Options
from dcctl.engines.replication_token import TokenReplication
from dcctl.errors import Rejected
from dcctl.testing.documents import MemoryStore, VirtualTime

NOW = Stamp(1_000_000)


def row(hash: str, ticks: int) -> Row:
    return Row("o", hash, Stamp(ticks))


X = Agreed("x", Stamp(10), Stamp(20))
UNSEEN = Agreed("x", Stamp(10), None)


@pytest.mark.parametrize(
    ("base", "a", "b", "decision"),
    [
        (X, row("x", 10), row("x", 20), TokenDecision(Act.SAME)),
        (None, row("y", 5), row("y", 7), TokenDecision(Act.SAME)),
        (UNSEEN, row("x", 10), row("x", 33), TokenDecision(Act.SAME)),
        (X, row("x", 99), row("x", 98), TokenDecision(Act.SAME)),
        (X, row("x", 11), row("x", 20), TokenDecision(Act.POST, Side.A)),
        (X, row("x", 10), row("x", 21), TokenDecision(Act.POST, Side.B)),
        (X, row("x", 10), None, TokenDecision(Act.DELETE, Side.A)),
        (X, None, row("x", 20), TokenDecision(Act.DELETE, Side.B)),
        (X, row("y", 30), None, TokenDecision(Act.COPY, Side.A)),
        (X, row("x", 11), None, TokenDecision(Act.COPY, Side.A)),
        (None, None, row("y", 30), TokenDecision(Act.COPY, Side.B)),
        (X, row("y", 30), row("x", 20), TokenDecision(Act.COPY, Side.A)),
        (X, row("x", 10), row("y", 30), TokenDecision(Act.COPY, Side.B)),
        (X, row("y", 30), row("z", 40), TokenDecision(Act.COPY, Side.B, keep=True)),
        (None, row("y", 50), row("z", 40), TokenDecision(Act.COPY, Side.A, keep=True)),
        (X, None, None, TokenDecision(Act.FORGET)),
        (X, row("x", 10), row("y", NOW.ticks + 1), TokenDecision(Act.LATER)),
        (None, row("y", NOW.ticks + 1), None, TokenDecision(Act.LATER)),
    ],
)
def test_every_row_of_the_table(
    base: Agreed | None, a: Row | None, b: Row | None, decision: TokenDecision
) -> None:
    assert decide_with_tokens(base, a, b, NOW) == decision


class Believing(MemoryStore):
    """A cluster in memory that believes nobody: every write gets its own time."""

    def renew(self) -> None:
        pass

    async def put(self, container: str, name: str, stamp: Stamp, document: Document) -> Answer:  # noqa: ARG002
        return await super().put(container, name, self._tick(), document)

    async def post(
        self,
        container: str,
        name: str,
        stamp: Stamp,  # noqa: ARG002
        headers: Mapping[str, str],
    ) -> Answer:
        return await super().post(container, name, self._tick(), headers)

    async def delete(self, container: str, name: str, stamp: Stamp) -> Answer:  # noqa: ARG002
        return await super().delete(container, name, self._tick())

    # -- static large objects: a manifest of each cluster's own, which says when it looked at the segments

    def large(self, name: str, parts: list[dict[str, Any]], **headers: str) -> None:
        """What a client does with ``multipart-manifest=put``."""
        found = [self._verified(one) for one in parts]
        self.client_put("docs", name, json.dumps(found).encode(), X_Static_Large_Object="True", **headers)

    def _verified(self, part: dict[str, Any]) -> dict[str, Any]:
        if "data" in part:
            return part
        container, _, name = part["path"].lstrip("/").partition("/")
        one = self.containers.get(container, {}).get(name)
        if one is None or one.content is None:
            raise Rejected("PUT", on=self.site, saw="404")
        large = "X-Static-Large-Object" in one.headers
        etag = etag_of(one.content) if large else hash_of(one.content)
        if part["etag"] != etag or part["size_bytes"] != len(one.content):
            raise Rejected("PUT", on=self.site, saw="Etag Mismatch")
        more = {key: part[key] for key in ("range",) if key in part} | ({"sub_slo": True} if large else {})
        looked = {"name": part["path"], "hash": etag, "bytes": len(one.content), "last_modified": self.time()}
        return looked | more

    async def put_manifest(
        self, container: str, name: str, parts: bytes, headers: Mapping[str, str]
    ) -> Answer:
        assert container == "docs"
        assert "X-Static-Large-Object" not in headers, "a reserved header"
        self.large(
            name, json.loads(parts), **{key.replace("-", "_"): value for key, value in headers.items()}
        )
        return Answer.APPLIED

    async def shown(self, container: str, name: str) -> Head | None:
        head = await self.head(container, name)
        content = self.containers[container][name].content if head is not None else None
        return head if not head or not head.manifest or not content else replace(head, hash=etag_of(content))

    async def list_page(self, container: str, **how: Any) -> bytes:
        rows = json.loads(await super().list_page(container, **how))
        for row in rows:
            one = self.containers[container][row["name"]]
            if "X-Static-Large-Object" in one.headers and one.content is not None:
                row["slo_etag"] = f'"{etag_of(one.content)}"'
        return json.dumps(rows).encode()


def etag_of(manifest: bytes) -> str:
    """A large object's own ETag (``swift.common.middleware.slo``)."""

    def of(one: dict[str, str]) -> str:
        if "data" in one:
            return hash_of(one["data"].encode())
        return f"{one['hash']}:{one['range']};" if "range" in one else one["hash"]

    return hash_of("".join(of(one) for one in json.loads(manifest)).encode())


def part(content: bytes, name: str, **more: str) -> dict[str, Any]:
    return {"path": name, "etag": hash_of(content), "size_bytes": len(content), **more}


class World:
    def __init__(self, folder: Path) -> None:
        self.time = VirtualTime()
        self.a, self.b = Believing("east", self.time), Believing("west", self.time)
        for store in (self.a, self.b):
            store.containers |= {"dcctl-trash": {}, "dcctl-conflicts": {}, "parts": {}}
        self.folder = folder
        self.base = SqliteBase(folder / "base.sqlite", "pair")
        self.options = Options(page_rows=3)

    def go(self) -> Tally:
        self.time.now_s += 60

        async def sleep(seconds: float) -> None:
            self.time.now_s += seconds

        clock = Time(now=self.time, monotonic=self.time, sleep=sleep)
        stores = {Side.A: self.a, Side.B: self.b}
        return asyncio.run(TokenReplication(stores, self.base, self.options, clock).run("docs"))

    def assert_same(self) -> dict[str, bytes | None]:
        found: list[dict[str, bytes | None]] = [
            {name: one.content for name, one in store.containers["docs"].items() if one.content is not None}
            for store in (self.a, self.b)
        ]
        assert found[0] == found[1]
        return found[0]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.base.close()


def test_writes_at_both_sites_meet_and_a_second_pass_is_quiet(world: World) -> None:
    for number in range(7):
        (world.a if number % 2 else world.b).client_put("docs", f"o{number}", str(number).encode())
    assert world.go().kinds == {"copied": 7}
    assert len(world.assert_same()) == 7
    for _ in range(2):
        again = world.go()
        assert (again.kinds, again.rows) == ({}, 7)


def test_an_overwrite_a_post_and_a_delete_are_carried(world: World) -> None:
    for name in ("written", "posted", "gone"):
        world.a.client_put("docs", name, b"1")
    world.go()
    world.b.client_put("docs", "written", b"2")
    world.b.client_post("docs", "posted", X_Object_Meta_K="v")
    world.b.client_delete("docs", "gone")
    assert world.go().kinds == {"copied": 1, "refreshed": 1, "doomed": 1, "deleted": 1}
    assert world.assert_same() == {"written": b"2", "posted": b"1"}
    assert world.a.containers["docs"]["posted"].headers["X-Object-Meta-K"] == "v"
    assert len(world.a.listing("dcctl-trash")) == 1
    assert world.go().kinds == {}


def test_of_two_writes_the_later_stays_and_the_other_is_kept(world: World) -> None:
    world.a.client_put("docs", "o", b"1")
    world.go()
    world.a.client_put("docs", "o", b"2")
    world.b.client_put("docs", "o", b"3")
    tally = world.go()
    assert (tally.kinds, tally.conflicts) == ({"copied": 1}, 1)
    assert world.assert_same() == {"o": b"3"}
    assert [one.content for one in world.a.containers["dcctl-conflicts"].values()] == [b"2"]


def test_a_write_beats_a_delete(world: World) -> None:
    world.a.client_put("docs", "o", b"1")
    world.go()
    world.b.client_delete("docs", "o")
    world.a.client_put("docs", "o", b"2")
    assert world.go().kinds == {"copied": 1}
    assert world.assert_same() == {"o": b"2"}


def test_a_young_write_waits(world: World) -> None:
    world.options = Options(settled_s=130)
    world.a.client_put("docs", "o", b"1")
    assert world.go().kinds == {"later": 1}
    assert world.go().kinds == {"later": 1}
    assert world.go().kinds == {"copied": 1}


def test_with_the_base_lost_deleted_objects_return_and_nothing_is_deleted(world: World) -> None:
    for name in ("o", "p"):
        world.a.client_put("docs", name, b"1")
    world.go()
    world.b.client_delete("docs", "o")
    world.base.close()
    (world.folder / "base.sqlite").unlink()
    world.base = SqliteBase(world.folder / "base.sqlite", "pair")
    assert world.go().kinds == {"copied": 1}
    assert sorted(world.assert_same()) == ["o", "p"]


def test_no_deletes_after_an_empty_listing_or_beyond_the_cap(world: World) -> None:
    for number in range(7):
        world.a.client_put("docs", f"o{number}", b"1")
    world.go()
    for number in range(7):
        world.b.client_delete("docs", f"o{number}")
    held = world.go()
    assert held.deletes_held == 7
    assert "west lists nothing" in held.reasons[0]
    world.options = Options(accept_empty=True, cap=DeleteCap(0.0, 3))
    assert "exceed the cap of 3" in world.go().reasons[0]
    world.options = Options(accept_empty=True)
    assert world.go().kinds == {"doomed": 7, "deleted": 7}
    assert world.assert_same() == {}


def test_what_a_late_listing_lacks_is_not_deleted(world: World) -> None:
    """A container that is cut into shards may not list an object for a while."""
    world.a.client_put("docs", "o", b"1")
    world.a.client_put("docs", "p", b"1")
    world.go()
    world.b.hidden.add(("docs", "o"))
    assert world.go().kinds == {"doomed": 1, "moved": 1}
    world.b.hidden.clear()
    assert world.go().kinds == {}
    assert sorted(world.assert_same()) == ["o", "p"]


def test_what_changed_since_the_listing_is_left_for_the_next_pass(world: World) -> None:
    world.a.client_put("docs", "o", b"1")
    world.go()
    world.a.client_put("docs", "o", b"2")
    heads = world.b.head

    async def late(container: str, name: str) -> object:
        if world.b.containers["docs"][name].content == b"1":
            world.b.client_put(container, name, b"3")
        return await heads(container, name)

    world.b.head = late  # type: ignore[assignment,method-assign]
    assert world.go().kinds == {"moved": 1}
    assert world.b.containers["docs"]["o"].content == b"3"


def test_a_large_object_is_made_anew_of_its_segments_and_is_the_same_on_both_sides(world: World) -> None:
    world.a.client_put("parts", "1", b"one")
    world.a.client_put("parts", "2", b"two")
    world.a.large("inner", [part(b"two", "/parts/2")], Content_Type="text/plain")
    inner = world.a.containers["docs"]["inner"].content
    assert inner is not None
    sub = {"path": "/docs/inner", "etag": etag_of(inner), "size_bytes": len(inner)}
    world.time.now_s += 1
    world.a.large(
        "large", [part(b"one", "/parts/1", range="0-1"), {"data": "MTIz"}, sub], X_Object_Meta_K="v"
    )
    world.options = Options(page_rows=1)
    assert world.go().kinds in ({"copied": 2}, {"copied": 1})
    assert sorted(world.b.listing("parts")) == ["1", "2"]
    for name in ("inner", "large"):
        ours, theirs = (store.containers["docs"][name] for store in (world.a, world.b))
        assert ours.content is not None
        assert theirs.content is not None
        assert ours.content != theirs.content, "each cluster has a manifest of its own"
        assert etag_of(ours.content) == etag_of(theirs.content)
        assert ours.headers == theirs.headers
    for _ in range(2):
        assert world.go().kinds == {}
    world.b.client_post("docs", "large", X_Object_Meta_K="w", X_Static_Large_Object="True")
    assert world.go().kinds == {"refreshed": 1}
    assert world.a.containers["docs"]["large"].headers["X-Object-Meta-K"] == "w"


def test_a_large_object_that_goes_is_kept_as_its_manifest_whatever_became_of_its_segments(
    world: World,
) -> None:
    world.a.client_put("parts", "1", b"one")
    world.a.large("large", [part(b"one", "/parts/1")])
    world.go()
    world.b.client_delete("docs", "large")
    world.a.client_delete("parts", "1")
    world.options = Options(accept_empty=True)
    assert world.go().kinds == {"doomed": 1, "deleted": 1}
    (kept,) = world.a.containers["dcctl-trash"].values()
    assert json.loads(kept.content or b"") == [part(b"one", "/parts/1")]
    assert kept.headers["X-Object-Meta-Dcctl-Manifest"] == "slo"
    assert "X-Delete-At" in kept.headers


@pytest.mark.parametrize(
    ("there", "words"), [(b"two", "other bytes are there"), (None, "the large object is broken")]
)
def test_a_segment_that_is_not_as_the_manifest_says_is_left_alone_and_named(
    world: World, there: bytes | None, words: str
) -> None:
    world.a.client_put("parts", "1", b"one")
    world.a.large("large", [part(b"one", "/parts/1")])
    if there is None:
        world.a.client_delete("parts", "1")
    else:
        world.b.client_put("parts", "1", there)
    tally = world.go()
    assert tally.kinds == {"failed": 1}
    assert words in tally.reasons[0]
    assert "parts/1" in tally.reasons[0]
    assert "large" not in world.b.containers["docs"]
    assert (world.b.listing("parts") != {}) is (there is not None)


def test_a_token_is_asked_for_again_before_it_is_old() -> None:
    now_s, asked = [0.0], []

    def ask() -> str:
        asked.append(now_s[0])
        return f"token {len(asked)}"

    token = Token(ask, clock=lambda: now_s[0])
    token.renew()
    token.renew()
    now_s[0] = FRESH_S + 1
    token.renew()
    assert asked == [0.0, FRESH_S + 1]
    assert token.headers("PUT", "/v1/a/c/o", "1.0") == {"X-Auth-Token": "token 2"}
