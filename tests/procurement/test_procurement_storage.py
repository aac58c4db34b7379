"""Both storages keep the same contract: memory, and a real Swift."""

import contextlib
import itertools
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web
from procurement.errors import Unavailable
from procurement.service import listening
from procurement.settings import SwiftSettings
from procurement.storage.memory import MemoryStorage
from procurement.storage.port import Storage
from procurement.storage.swift import SwiftStorage
from procurement_world import asynchronous
from storage_contract import StorageContract, put

from dcctl.testing.swift_pair import Cluster

_numbers = itertools.count(1)


@contextlib.asynccontextmanager
async def in_memory() -> AsyncIterator[Storage]:
    yield MemoryStorage("east")


class TestMemory(StorageContract):
    storage = staticmethod(in_memory)


def swift_settings(cluster: Cluster, **more: str) -> SwiftSettings:
    given = {
        "site": "east",
        "auth_url": cluster.auth_url,
        "user": "test:tester",
        "key": "testing",
        "container": f"documents{next(_numbers)}",
        "temp_url_key": "a-key-for-tests",
        "public_url": cluster.url,
    }
    return SwiftSettings(**(given | more))


@pytest.mark.swift
class TestSwift(StorageContract):
    @pytest.fixture(autouse=True)
    def on(self, cluster: Cluster) -> None:
        @contextlib.asynccontextmanager
        async def in_swift() -> AsyncIterator[Storage]:
            async with SwiftStorage(swift_settings(cluster)) as storage:
                await storage.ensure()
                yield storage

        self.storage: Callable[[], contextlib.AbstractAsyncContextManager[Storage]] = in_swift

    @asynchronous
    async def test_a_wrong_key_is_a_sentence_with_the_site(self, cluster: Cluster) -> None:
        async with SwiftStorage(swift_settings(cluster, key="wrong")) as storage:
            with pytest.raises(Unavailable, match=r"east: GET a token: HTTP 401"):
                await storage.ensure()

    @asynchronous
    async def test_a_container_that_is_missing_is_not_an_absent_document(self, cluster: Cluster) -> None:
        async with SwiftStorage(swift_settings(cluster)) as storage:
            with pytest.raises(Unavailable, match="HTTP 404"):
                await put(storage, "a", b"a")

    @asynchronous
    async def test_an_expired_token_is_renewed_within_the_request(self, cluster: Cluster) -> None:
        async with SwiftStorage(swift_settings(cluster)) as storage:
            await storage.ensure()
            url, _ = await storage._authorized()
            storage._token = (url, "AUTH_tk_expired")
            await put(storage, "a", b"a")
            assert await storage.head("a") is not None

    @asynchronous
    async def test_a_server_that_hangs_ends_in_a_sentence(self, cluster: Cluster) -> None:
        async with SwiftStorage(swift_settings(cluster), silence_limit_s=0.5) as storage:
            await storage.ensure()
            cluster.pause("object")
            try:
                with pytest.raises(Unavailable, match="east: PUT a"):
                    await put(storage, "a", b"a")
            finally:
                cluster.unpause("object")


@asynchronous
async def test_keystone_gives_token_and_address() -> None:
    """Keystone's v3 answers, with a catalogue, served by a stand-in; the real one is asked in ``vendors``."""
    heard: list[object] = []

    async def tokens(request: web.Request) -> web.Response:
        heard.append((await request.json())["auth"])
        endpoint = {"interface": "public", "url": f"http://{request.host}/v1/AUTH_p"}
        body = {"token": {"catalog": [{"type": "object-store", "endpoints": [endpoint]}]}}
        return web.json_response(body, status=201, headers={"X-Subject-Token": "secret"})

    async def container(request: web.Request) -> web.Response:
        return web.Response(status=201 if request.headers["X-Auth-Token"] == "secret" else 401)

    made = web.Application()
    made.add_routes([web.post("/v3/auth/tokens", tokens), web.put("/v1/AUTH_p/documents", container)])
    async with listening(made, "127.0.0.1", 0) as port:
        settings = SwiftSettings("east", f"http://127.0.0.1:{port}/v3", "project:us", "pass", "documents")
        async with SwiftStorage(settings) as storage:
            await storage.ensure()
    domain = {"name": "Default"}
    assert heard == [
        {
            "identity": {
                "methods": ["password"],
                "password": {"user": {"name": "us", "domain": domain, "password": "pass"}},
            },
            "scope": {"project": {"name": "project", "domain": domain}},
        }
    ]
