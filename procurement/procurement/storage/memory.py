"""``Storage`` in memory, for tests: it can be down, slow is not simulated."""

import contextlib
import hashlib
from collections.abc import AsyncIterator
from typing import IO

from procurement.errors import Unavailable
from procurement.storage.port import Stored

CHUNK_BYTES = 1 << 16


class MemoryStorage:
    """One site's documents. ``down`` makes every call fail; ``lose_answers`` stores and then fails."""

    def __init__(self, site: str, container: str = "documents") -> None:
        self.site = site
        self.container = container
        self.objects: dict[str, tuple[bytes, str]] = {}
        self.down = False
        self.lose_answers = False

    async def ensure(self) -> None:
        self._reach()

    async def put(self, name: str, content: IO[bytes], *, size_bytes: int, md5: str, format: str) -> bool:
        self._reach()
        data = content.read(size_bytes)
        if hashlib.md5(data, usedforsecurity=False).hexdigest() != md5 or len(data) != size_bytes:
            raise Unavailable(f"{self.site}: PUT {name}: the bytes arrived damaged")
        self.objects[name] = (data, format)
        if self.lose_answers:
            raise Unavailable(f"{self.site}: PUT {name}: no answer")
        return False

    async def head(self, name: str) -> Stored | None:
        self._reach()
        if name not in self.objects:
            return None
        data, format = self.objects[name]
        return Stored(hashlib.md5(data, usedforsecurity=False).hexdigest(), len(data), format)

    @contextlib.asynccontextmanager
    async def get(self, name: str) -> AsyncIterator[AsyncIterator[bytes] | None]:
        self._reach()
        yield _chunks(self.objects[name][0]) if name in self.objects else None

    async def delete(self, name: str) -> None:
        self._reach()
        self.objects.pop(name, None)

    def temporary_url(self, name: str, *, filename: str, expires_s: int) -> str | None:  # noqa: ARG002
        return None

    def _reach(self) -> None:
        if self.down:
            raise Unavailable(f"{self.site}: no answer")


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), CHUNK_BYTES):
        yield data[start : start + CHUNK_BYTES]
