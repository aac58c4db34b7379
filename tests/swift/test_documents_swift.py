"""Real Swift keeps the contract that the engine relies on: every row of the table of measured answers."""

import asyncio

import pytest
from swift_client import as_client

from dcctl.adapters.swift import Keys, SwiftStore
from dcctl.errors import CredentialsRefused, Unreachable
from dcctl.testing.contracts.documents import Body, DocumentStoreContract, run
from dcctl.testing.swift_pair import REALM, REALM_KEY, SYNC_KEY, Pair

KEYS = Keys(REALM, REALM_KEY, SYNC_KEY)


class TestSwiftStore(DocumentStoreContract):
    @pytest.fixture(autouse=True)
    def _where(self, pair: Pair, container: str) -> None:
        self.pair, self.container = pair, container

    def with_store(self, body: Body) -> None:
        async def whole() -> None:
            async with SwiftStore("east", self.pair.east.url, KEYS) as store:
                await body(store, self.container)

        run(whole())


def test_a_wrong_key_is_refused_by_name(pair: Pair, container: str) -> None:
    async def whole() -> None:
        keys = Keys(REALM, REALM_KEY, "another key")
        async with SwiftStore("east", pair.east.url, keys) as store:
            with pytest.raises(CredentialsRefused, match=f"east:{container}"):
                await store.list_page(container)

    asyncio.run(whole())


def test_a_cluster_that_is_away_is_unreachable(container: str) -> None:
    async def whole() -> None:
        async with SwiftStore("east", "http://127.0.0.1:1/v1/AUTH_test", KEYS) as store:
            with pytest.raises(Unreachable, match="east"):
                await store.list_page(container)

    asyncio.run(whole())


def test_an_ordinary_token_is_not_believed_its_timestamp(pair: Pair, container: str) -> None:
    as_client(pair.east, "PUT", f"{container}/o", b"x", X_Timestamp="1000000000.00000")

    async def whole() -> None:
        async with SwiftStore("east", pair.east.url, KEYS) as store:
            head = await store.head(container, "o")
            assert head is not None
            assert head.stamp.ticks > 1_500_000_000 * 100_000

    asyncio.run(whole())


def test_a_put_under_a_future_stamp_is_answered_202_and_lost(pair: Pair, container: str) -> None:
    """The hazard behind «never write a timestamp in the destination's future»."""

    async def whole() -> None:
        from dcctl.testing.documents import document

        async with SwiftStore("east", pair.east.url, KEYS) as store:
            await store.list_page(container)
            await store.put(container, "o", store.now().plus(60), document(b"from the future"))

    asyncio.run(whole())
    assert as_client(pair.east, "PUT", f"{container}/o", b"of now") == 202
