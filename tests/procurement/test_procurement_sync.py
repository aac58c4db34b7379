"""The `sync` mode on two real clusters: at both sites before the answer, or told to the outbox."""

import contextlib
import hashlib
import io
import itertools
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
import requests
from procurement.settings import SwiftSettings, SyncSettings
from procurement.storage.both import SyncStorage
from procurement.storage.port import Storage
from procurement.storage.swift import SwiftStorage
from procurement_world import asynchronous, world
from storage_contract import StorageContract
from test_procurement_documents import form, post_form

from dcctl.adapters.outbox import PostgresOutbox
from dcctl.adapters.replication_base import SqliteBase
from dcctl.adapters.swift import Keys, SwiftStore
from dcctl.domain.replication import Side
from dcctl.engines.replication import Replication
from dcctl.engines.replication_manners import Time as RealTime
from dcctl.engines.replication_options import Options
from dcctl.engines.replication_told import carry_told
from dcctl.testing.swift_pair import PASSWORD, REALM, REALM_KEY, SYNC_KEY, USER, Cluster, Pair

pytestmark = pytest.mark.swift
_numbers = itertools.count(1)
LIMIT_S = 60.0
"""A busy machine is no peer that is away: one whose proxy is dead refuses at once."""


class Sites:
    """One container on both clusters, and the service's storage over them at east."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.container = f"sync{next(_numbers)}"
        for cluster in pair.clusters:
            headers = {"X-Auth-Token": cluster.token(), "X-Container-Sync-Key": SYNC_KEY}
            made = requests.put(f"{cluster.url}/{self.container}", headers=headers, timeout=30)
            assert made.status_code == 201

    @contextlib.asynccontextmanager
    async def storage(self, **more: Any) -> AsyncIterator[SyncStorage]:
        sync = SyncSettings(REALM, REALM_KEY, SYNC_KEY)
        east, west = (
            SwiftSettings(one.name, one.auth_url, USER, PASSWORD, self.container, "key", one.url, sync=sync)
            for one in self.pair.clusters
        )
        async with (
            SwiftStorage(east, silence_limit_s=LIMIT_S) as home,
            SwiftStorage(west, silence_limit_s=LIMIT_S) as peer,
        ):
            made = SyncStorage(home, peer, peer_limit_s=LIMIT_S, **more)
            await made.ensure()
            yield made

    def seen(self, cluster: Cluster, name: str) -> dict[str, str] | None:
        """Hash, timestamp and type, as a client sees them."""
        answer = requests.head(
            f"{cluster.url}/{self.container}/{name}",
            headers={"X-Auth-Token": cluster.token()},
            timeout=30,
        )
        if answer.status_code == requests.codes.not_found:
            return None
        assert answer.status_code == requests.codes.ok
        return {key: answer.headers[key] for key in ("Etag", "X-Timestamp", "Content-Type")}


@pytest.fixture
def sites(pair: Pair) -> Sites:
    return Sites(pair)


def outbox(database: str) -> list[tuple[str, bool, bool]]:
    """Each document, whether its upload was acknowledged, and whether nothing is left to carry."""
    with psycopg.connect(database) as connection:
        return connection.execute(
            "SELECT name, done IS NOT NULL, carried IS NOT NULL FROM document_outbox ORDER BY number"
        ).fetchall()


class TestSync(StorageContract):
    @pytest.fixture(autouse=True)
    def on(self, sites: Sites) -> None:
        @contextlib.asynccontextmanager
        async def in_both() -> AsyncIterator[Storage]:
            async with sites.storage() as storage:
                yield storage

        self.storage = in_both


@asynchronous
async def test_a_document_that_is_stored_again_and_again_is_stored_each_time(sites: Sites) -> None:
    async with sites.storage() as storage:
        for number in range(20):
            content = f"{number}".encode()
            digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
            stored = await storage.put(
                "again", io.BytesIO(content), size_bytes=len(content), md5=digest, format="text/plain"
            )
            assert stored
            here, there = (sites.seen(cluster, "again") for cluster in sites.pair.clusters)
            assert here is not None
            assert here["Etag"] == digest
            assert here == there


@asynchronous
async def test_a_document_of_the_cluster_s_own_later_time_is_stored_anew(sites: Sites) -> None:
    east = sites.pair.east
    url, headers = f"{east.url}/{sites.container}/late", {"X-Auth-Token": east.token()}
    digest = hashlib.md5(b"new", usedforsecurity=False).hexdigest()
    async with sites.storage() as storage:
        assert requests.put(url, headers=headers, data=b"old", timeout=30).status_code == 201
        await storage.put("late", io.BytesIO(b"new"), size_bytes=3, md5=digest, format="text/plain")
        seen = sites.seen(east, "late")
        assert seen is not None
        assert seen["Etag"] == digest


@asynchronous
async def test_an_upload_is_at_both_sites_under_one_timestamp_before_its_answer(
    sites: Sites, database: str
) -> None:
    async with sites.storage() as storage, world(database, storage=storage) as w:
        assert (await post_form(w, "/upload", form())).status == 200
        ((name, done, carried),) = outbox(database)
        assert (done, carried) == (True, True)
        here, there = (sites.seen(cluster, name) for cluster in sites.pair.clusters)
        assert here is not None
        assert here == there
        with contextlib.closing(PostgresOutbox(database)) as told:
            assert told.at_risk().count == 0


@asynchronous
async def test_a_peer_that_is_away_is_left_to_the_outbox_and_carried_when_it_is_back(
    sites: Sites, database: str, tmp_path: Any
) -> None:
    west = sites.pair.west
    async with sites.storage(away_s=0) as storage, world(database, storage=storage) as w:
        assert (await post_form(w, "/upload", form())).status == 200
        west.kill("proxy")
        try:
            assert (await post_form(w, "/upload", form(b"while it was away"))).status == 200
        finally:
            west.start("proxy")
            west.wait_ready()
        names = [name for name, _done, _carried in outbox(database)]
        assert [row[1:] for row in outbox(database)] == [(True, True), (True, False)]
        told = PostgresOutbox(database)
        assert told.at_risk().count == 1
        assert sites.seen(west, names[1]) is None
        keys = Keys(REALM, REALM_KEY, SYNC_KEY)
        base = SqliteBase(tmp_path / "base.sqlite", "pair")
        async with (
            SwiftStore("east", sites.pair.east.url, keys) as a,
            SwiftStore("west", west.url, keys) as b,
        ):
            await b.list_page(sites.container)  # looks at the clock
            replication = Replication({Side.A: a, Side.B: b}, base, Options())
            assert await carry_told(replication, told, lambda *_: None, RealTime(), patience_s=0) == 1
        base.close()
        assert told.at_risk().count == 0
        told.close()
        assert sites.seen(west, names[1]) == sites.seen(sites.pair.east, names[1])
        assert (await post_form(w, "/upload", form(b"back"))).status == 200
        assert outbox(database)[2][1:] == (True, True)


@asynchronous
async def test_home_that_is_away_is_no_acknowledgement(sites: Sites, database: str) -> None:
    east = sites.pair.east
    async with sites.storage() as storage, world(database, storage=storage) as w:
        await storage.head("a token is there")
        east.kill("proxy")
        try:
            answer = await post_form(w, "/upload", form())
            assert answer.status == 503
        finally:
            east.start("proxy")
            east.wait_ready()
        assert [row[1:] for row in outbox(database)] == [(False, False)]


@asynchronous
async def test_a_peer_that_did_not_answer_is_not_asked_for_a_while(sites: Sites, database: str) -> None:
    now_s = [0.0]
    west = sites.pair.west
    async with sites.storage(clock=lambda: now_s[0]) as storage, world(database, storage=storage) as w:
        west.kill("proxy")
        try:
            assert (await post_form(w, "/upload", form())).status == 200
        finally:
            west.start("proxy")
            west.wait_ready()
        assert (await post_form(w, "/upload", form())).status == 200
        now_s[0] += 10
        assert (await post_form(w, "/upload", form())).status == 200
    assert [row[2] for row in outbox(database)] == [False, False, True]
