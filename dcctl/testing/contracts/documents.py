"""What every ``ports.DocumentStore`` keeps: Swift's rules for requests that bring their own timestamp.

Each test is a row of the table in docs/reference/replication.md. A subclass gives ``with_store``.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from dcctl.domain.document import Answer, Head
from dcctl.domain.replication import Row, Stamp, row_of
from dcctl.errors import CredentialsRefused, NotFound
from dcctl.ports import DocumentStore
from dcctl.testing.documents import document

Body = Callable[[DocumentStore, str], Awaitable[None]]
V1, V2 = document(b"version 1", {"X-Object-Meta-V": "1"}), document(b"version 2", {"X-Object-Meta-V": "2"})


class DocumentStoreContract:
    """Give ``with_store(body)``: run ``body(store, container)`` on a store with an empty container."""

    def with_store(self, body: Body) -> None:
        raise NotImplementedError

    def test_put_newer_is_applied_and_equal_or_older_is_not(self) -> None:
        async def body(store: DocumentStore, container: str) -> None:
            t = await _t(store, container)
            assert await store.put(container, "o", t, V1) is Answer.APPLIED
            assert await store.put(container, "o", t, V2) is Answer.OLDER
            assert await store.put(container, "o", t.plus(-1), V2) is Answer.OLDER
            assert (await _row(store, container)).hash == V1.head.hash
            assert await store.put(container, "o", t.plus(1), V2) is Answer.APPLIED
            assert (await _row(store, container)).hash == V2.head.hash

        self.with_store(body)

    def test_listing_keeps_the_stamp_to_its_last_digit(self) -> None:
        async def body(store: DocumentStore, container: str) -> None:
            t = Stamp((await _t(store, container)).ticks // 10 * 10 + 7)
            await store.put(container, "o", t, V1)
            row = await _row(store, container)
            assert (row.stamp, row.bytes) == (t, 9)

        self.with_store(body)

    def test_a_page_ends_with_the_name_that_was_asked_for(self) -> None:
        async def body(store: DocumentStore, container: str) -> None:
            t = await _t(store, container)
            for name in ("a", "b", "b c", "b/", "bb", "c"):
                await store.put(container, name, t, V1)
            page = json.loads(await store.list_page(container, marker="a", upto="b"))
            assert [one["name"] for one in page] == ["b"]
            page = json.loads(await store.list_page(container, marker="b", upto="bb"))
            assert [one["name"] for one in page] == ["b c", "b/", "bb"]

        self.with_store(body)

    def test_damaged_bytes_are_refused_and_change_nothing(self) -> None:
        async def body(store: DocumentStore, container: str) -> None:
            t = await _t(store, container)
            lie = document(b"version 1")
            lie = type(lie)(Head("f" * 32, lie.head.stamp, 9, {}), lie.content)
            assert await store.put(container, "o", t, lie) is Answer.DAMAGED
            assert await store.head(container, "o") is None

        self.with_store(body)

    def test_a_delete_beats_what_is_older_only(self) -> None:
        async def body(store: DocumentStore, container: str) -> None:
            t = await _t(store, container)
            await store.put(container, "o", t, V1)
            assert await store.delete(container, "o", t) is Answer.OLDER
            assert await store.delete(container, "o", t.plus(-1)) is Answer.OLDER
            assert await store.head(container, "o") is not None
            assert await store.delete(container, "o", t.next) is Answer.APPLIED
            assert await store.head(container, "o") is None

        self.with_store(body)

    def test_a_delete_of_an_unknown_name_lays_a_tombstone(self) -> None:
        async def body(store: DocumentStore, container: str) -> None:
            t = await _t(store, container)
            assert await store.delete(container, "o", t) is Answer.ABSENT
            assert await store.put(container, "o", t.plus(-1), V1) is Answer.OLDER
            assert await store.put(container, "o", t.plus(1), V1) is Answer.APPLIED

        self.with_store(body)

    def test_a_post_moves_the_listed_stamp_and_hides_the_bodys(self) -> None:
        async def body(store: DocumentStore, container: str) -> None:
            t = await _t(store, container)
            await store.put(container, "o", t, V1)
            assert await store.post(container, "o", t.plus(2), {"X-Object-Meta-V": "9"}) is Answer.APPLIED
            assert await store.post(container, "o", t.plus(1), {"X-Object-Meta-V": "8"}) is Answer.OLDER
            head = await store.head(container, "o")
            assert head is not None
            assert (head.stamp, head.headers["X-Object-Meta-V"]) == (t.plus(2), "9")
            assert (await _row(store, container)).stamp == t.plus(2)
            # a body between the two lands, and the later POST outlives it
            assert await store.put(container, "o", t.plus(1), V2) is Answer.APPLIED
            head = await store.head(container, "o")
            assert head is not None
            assert (head.hash, head.stamp, head.headers["X-Object-Meta-V"]) == (V2.head.hash, t.plus(2), "9")

        self.with_store(body)

    def test_holds_tells_the_bodys_own_stamp_and_changes_nothing(self) -> None:
        async def body(store: DocumentStore, container: str) -> None:
            t = await _t(store, container)
            assert not await store.holds(container, "o", t)
            await store.put(container, "o", t, V1)
            await store.post(container, "o", t.plus(2), {"X-Object-Meta-V": "9"})
            asked = [t.plus(-1), t, t.next, t.plus(2)]
            assert [await store.holds(container, "o", one) for one in asked] == [True, True, False, False]
            assert (await _row(store, container)).hash == V1.head.hash
            await store.delete(container, "o", t.plus(1))
            asked = [t, t.plus(1), t.plus(2)]
            assert [await store.holds(container, "o", one) for one in asked] == [True, True, False]

        self.with_store(body)

    def test_a_delete_between_body_and_post_takes_both(self) -> None:
        async def body(store: DocumentStore, container: str) -> None:
            t = await _t(store, container)
            await store.put(container, "o", t, V1)
            await store.post(container, "o", t.plus(2), {"X-Object-Meta-V": "9"})
            assert await store.delete(container, "o", t.plus(1)) is Answer.APPLIED
            assert await store.head(container, "o") is None
            assert json.loads(await store.list_page(container)) == []

        self.with_store(body)

    def test_a_post_to_nothing_is_answered_absent(self) -> None:
        async def body(store: DocumentStore, container: str) -> None:
            answer = await store.post(container, "o", await _t(store, container), {"X-Object-Meta-V": "9"})
            assert answer is Answer.ABSENT

        self.with_store(body)

    def test_a_tie_is_broken_by_the_offset(self) -> None:
        async def body(store: DocumentStore, container: str) -> None:
            t = await _t(store, container)
            await store.put(container, "o", t, V1)
            assert await store.put(container, "o", t.next, V2) is Answer.APPLIED
            row = await _row(store, container)
            assert (row.hash, row.stamp) == (V2.head.hash, t)

        self.with_store(body)

    def test_listings_come_in_pages_in_byte_order(self) -> None:
        async def body(store: DocumentStore, container: str) -> None:
            t = await _t(store, container)
            names = ["a b", "a+b", "a/ü", "a?b=c&d", "a%2Fb", "€", "\U0001f600", "ﬀ", 'q"}, {"x', "new\nline"]
            for name in names:
                assert await store.put(container, name, t, V1) is Answer.APPLIED, name
            got: list[str] = []
            while page := json.loads(
                await store.list_page(container, marker=got[-1] if got else "", limit=3)
            ):
                got += [entry["name"] for entry in page]
            assert got == sorted(names, key=lambda name: name.encode())

        self.with_store(body)

    def test_zero_bytes_and_headers_travel(self) -> None:
        async def body(store: DocumentStore, container: str) -> None:
            headers = {
                "Content-Type": "text/plain; charset=utf-8",
                "Content-Encoding": "gzip",
                "Content-Disposition": 'attachment; filename="ü.txt"',
                "X-Object-Meta-Name": "Договір",
            }
            await store.put(container, "o", await _t(store, container), document(b"", headers))
            async with store.fetch(container, "o") as got:
                assert got is not None
                assert got.content == b""
                assert got.head.headers == headers

        self.with_store(body)

    def test_an_expired_object_is_absent(self) -> None:
        async def body(store: DocumentStore, container: str) -> None:
            t = await _t(store, container)
            past = str(t.plus(10).ticks // 100_000)
            gone = document(b"x", {"X-Delete-At": past})
            assert await store.put(container, "o", t.plus(-5), gone) is Answer.APPLIED
            assert await store.head(container, "o") is None
            async with store.fetch(container, "o") as got:
                assert got is None

        self.with_store(body)

    def test_a_missing_container_is_an_error(self) -> None:
        async def body(store: DocumentStore, _container: str) -> None:
            # Swift cannot check a signature where there is no container, and says 401
            with pytest.raises((NotFound, CredentialsRefused)):
                await store.list_page("nosuch")

        self.with_store(body)


async def _t(store: DocumentStore, container: str) -> Stamp:
    """A stamp a minute ago by the cluster's clock."""
    await store.list_page(container)
    return store.now().plus(-60)


async def _row(store: DocumentStore, container: str) -> Row:
    (entry,) = json.loads(await store.list_page(container))
    return row_of(entry)


def run(coroutine: Awaitable[None]) -> None:
    """``asyncio.run`` for an awaitable."""

    async def whole() -> None:
        await coroutine

    asyncio.run(whole())
