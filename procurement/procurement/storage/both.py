"""The `sync` mode: a document is at both sites before anybody is told that it is stored.

Invariant: ``put`` says True only when both clusters have acknowledged the bytes under one timestamp; then
nothing is left to carry. While the peer is away ``put`` says False, and the outbox keeps the promise: then,
and only then, the document is part of the loss window. The home cluster alone decides whether it is stored.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from logging import getLogger
from typing import IO

from procurement.errors import Unavailable
from procurement.storage.port import Stored
from procurement.storage.swift import SwiftStorage

log = getLogger(__name__)

PEER_LIMIT_S = 5.0
AWAY_S = 5.0


class SyncStorage:
    """``home`` with every new document written to ``peer`` too. ``away_s``: how long a peer that did not
    answer is left alone, so that uploads do not wait for it one by one."""

    def __init__(
        self,
        home: SwiftStorage,
        peer: SwiftStorage,
        *,
        peer_limit_s: float = PEER_LIMIT_S,
        away_s: float = AWAY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.site = home.site
        self.container = home.container
        self._home = home
        self._peer = peer
        self._peer_limit_s = peer_limit_s
        self._away_s = away_s
        self._clock = clock
        self._away_until = -1.0

    async def ensure(self) -> None:
        await self._home.ensure()

    async def put(self, name: str, content: IO[bytes], *, size_bytes: int, md5: str, format: str) -> bool:
        stamp = await self._stamp()
        if stamp is None:
            return await self._home.put(name, content, size_bytes=size_bytes, md5=md5, format=format)

        async def there() -> bool:
            try:
                async with asyncio.timeout(self._peer_limit_s):
                    return await self._peer.put_at(stamp, name, content, size_bytes, md5, format)
            except (Unavailable, TimeoutError) as error:
                self._left_alone(error)
                return False

        peer = asyncio.create_task(there())
        try:
            if await self._home.put_at(stamp, name, content, size_bytes, md5, format):
                return await peer
            # One that was stored while the peer was away has the cluster's own time, which ours is behind.
            return await self._home.put(name, content, size_bytes=size_bytes, md5=md5, format=format)
        finally:
            peer.cancel()
            await asyncio.gather(peer, return_exceptions=True)

    async def head(self, name: str) -> Stored | None:
        return await self._home.head(name)

    def get(self, name: str) -> AbstractAsyncContextManager[AsyncIterator[bytes] | None]:
        return self._home.get(name)

    async def delete(self, name: str) -> None:
        await self._home.delete(name)

    def temporary_url(self, name: str, *, filename: str, expires_s: int) -> str | None:
        return self._home.temporary_url(name, filename=filename, expires_s=expires_s)

    async def _stamp(self) -> str | None:
        """A timestamp in the past of both clocks, as Swift writes them; None while the peer is away.

        In a cluster's future it would make that cluster's clients write in vain until then.
        """
        if self._clock() < self._away_until:
            return None
        try:
            async with asyncio.timeout(self._peer_limit_s):
                there_s = await self._peer.clock_ahead()
        except (Unavailable, TimeoutError) as error:
            self._left_alone(error)
            return None
        return f"{time.time() + min(await self._home.clock_ahead(), there_s):016.5f}"

    def _left_alone(self, error: Exception) -> None:
        self._away_until = self._clock() + self._away_s
        log.warning("%s is left to the outbox for a while: %s", self._peer.site, error or "no answer in time")
