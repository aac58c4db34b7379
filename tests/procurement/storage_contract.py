"""What every ``Storage`` must do; a subclass says where one comes from."""

import hashlib
import io
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import aiohttp
import pytest
from procurement.errors import Unavailable
from procurement.storage.port import Storage, Stored
from procurement_world import asynchronous

FAR_S = 4_000_000_000


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


async def put(
    storage: Storage, name: str, content: bytes, *, claimed: str = "", format: str = "text/plain"
) -> None:
    digest = claimed or md5(content)
    await storage.put(name, io.BytesIO(content), size_bytes=len(content), md5=digest, format="text/plain")


async def read(storage: Storage, name: str) -> bytes | None:
    async with storage.get(name) as chunks:
        return None if chunks is None else b"".join([chunk async for chunk in chunks])


class StorageContract:
    storage: Callable[[], AbstractAsyncContextManager[Storage]]

    @asynchronous
    async def test_what_is_put_is_there(self) -> None:
        async with self.storage() as storage:
            for name, content in (("a", b"one"), ("b", b""), ("c/ä %2F?", bytes(range(256)) * 1024)):
                await put(storage, name, content)
                assert await storage.head(name) == Stored(md5(content), len(content), "text/plain")
                assert await read(storage, name) == content

    @asynchronous
    async def test_absence_is_none(self) -> None:
        async with self.storage() as storage:
            assert await storage.head("never") is None
            assert await read(storage, "never") is None
            await storage.delete("never")

    @asynchronous
    async def test_what_is_deleted_is_gone(self) -> None:
        async with self.storage() as storage:
            await put(storage, "gone", b"soon")
            await storage.delete("gone")
            assert await storage.head("gone") is None

    @asynchronous
    async def test_putting_again_is_harmless_and_ensure_too(self) -> None:
        async with self.storage() as storage:
            await put(storage, "twice", b"same")
            await storage.ensure()
            await put(storage, "twice", b"same")
            assert await read(storage, "twice") == b"same"

    @asynchronous
    async def test_bytes_that_are_not_what_was_announced_are_not_kept(self) -> None:
        async with self.storage() as storage:
            with pytest.raises(Unavailable):
                await put(storage, "damaged", b"bytes", claimed=md5(b"others"))
            assert await storage.head("damaged") is None

    @asynchronous
    async def test_a_temporary_address_gives_the_bytes_to_anybody_until_it_ends(self) -> None:
        async with self.storage() as storage, aiohttp.ClientSession() as anybody:
            await put(storage, "public", b"for all")
            address = storage.temporary_url("public", filename="назва файлу.txt", expires_s=FAR_S)
            if address is None:
                return  # this storage has none, which is allowed
            async with anybody.get(address) as answer:
                assert answer.status == 200
                assert await answer.read() == b"for all"
                assert answer.content_disposition is not None
                assert answer.content_disposition.filename == "назва файлу.txt"
            over = storage.temporary_url("public", filename="a", expires_s=1_000_000_000)
            assert over is not None
            for refused in (over, address.replace("public?", "other?"), address.replace("e", "f", 1)):
                async with anybody.get(refused) as answer:
                    assert answer.status in (401, 404)

    @asynchronous
    async def test_a_temporary_address_is_only_for_reading(self) -> None:
        async with self.storage() as storage, aiohttp.ClientSession() as anybody:
            await put(storage, "kept", b"kept")
            address = storage.temporary_url("kept", filename="kept", expires_s=FAR_S)
            if address is None:
                return
            async with anybody.put(address, data=b"changed") as answer:
                assert answer.status == 401
            assert await read(storage, "kept") == b"kept"
