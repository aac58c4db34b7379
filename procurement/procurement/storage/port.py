"""What the document service asks of a storage. Every implementation passes ``tests/procurement``'s contract.

Every call ends within its own time limit. ``Unavailable`` means that the storage did not do its part; after
``put`` the bytes may then be there nevertheless: the outbox holds the intent.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import IO, Protocol


@dataclass(frozen=True, slots=True)
class Stored:
    """What a storage says of an object."""

    md5: str
    size_bytes: int
    format: str


class Storage(Protocol):
    """The documents of one site."""

    site: str
    container: str

    async def ensure(self) -> None:
        """Make what is missing to store anything at all. Raises Unavailable."""

    async def put(self, name: str, content: IO[bytes], *, size_bytes: int, md5: str, format: str) -> bool:
        """Store the bytes and have them checked against ``md5`` on arrival. Raises Unavailable.

        Whether the other site has them too now (``storage/both.py``): else somebody has to carry them there.
        A storage that already has a newer object of this name has not stored ours, and says so by raising.
        """

    async def head(self, name: str) -> Stored | None:
        """What is stored under ``name``; None: nothing. Raises Unavailable."""

    def get(self, name: str) -> AbstractAsyncContextManager[AsyncIterator[bytes] | None]:
        """The bytes in chunks, or None when there are none. Raises Unavailable."""

    async def delete(self, name: str) -> None:
        """Remove it; absent is done. Raises Unavailable."""

    def temporary_url(self, name: str, *, filename: str, expires_s: int) -> str | None:
        """An address from which anybody may download until ``expires_s`` (seconds since 1970).

        None: this storage has no such thing, and the service hands out the bytes itself.
        """
