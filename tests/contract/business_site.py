"""One site of the application as a process of its own, its documents in a folder: to be killed and frozen.

python business_site.py SITE ADDRESS:PORT FOLDER CONNINFO        PGPASSWORD in the environment
"""

import asyncio
import contextlib
import hashlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

from aiohttp import web
from procurement.cdb import Cdb
from procurement.database import Database
from procurement.documents import Documents
from procurement.domain.signature import Keyring
from procurement.service import application, listening
from procurement.storage.port import Stored
from procurement.web import Brokers

SEED = "11" * 32
TOKEN = "a-token-for-tests"
HOST = "documents.test"


class FolderStorage:
    """The bytes of one site."""

    container = "documents"

    def __init__(self, site: str, folder: Path) -> None:
        self.site = site
        self._folder = folder / site
        self._folder.mkdir(parents=True, exist_ok=True)

    async def ensure(self) -> None:
        pass

    async def put(self, name: str, content: IO[bytes], *, size_bytes: int, md5: str, format: str) -> None:  # noqa: ARG002
        partial = self._folder / f".{name}"
        partial.write_bytes(content.read(size_bytes))
        partial.replace(self._folder / name)

    async def head(self, name: str) -> Stored | None:
        path = self._folder / name
        if not path.exists():
            return None
        data = path.read_bytes()
        return Stored(hashlib.md5(data, usedforsecurity=False).hexdigest(), len(data), "text/plain")

    @contextlib.asynccontextmanager
    async def get(self, name: str) -> AsyncIterator[AsyncIterator[bytes] | None]:
        path = self._folder / name
        yield _whole(path.read_bytes()) if path.exists() else None

    async def delete(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)

    def temporary_url(self, name: str, *, filename: str, expires_s: int) -> str | None:  # noqa: ARG002
        return None


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def main(site: str, listen: str, folder: Path, conninfo: str) -> None:
    """Serve until killed."""
    address, _, port = listen.rpartition(":")
    brokers, keys = Brokers({"drill": TOKEN}), Keyring(SEED)
    storages = {each: FolderStorage(each, folder) for each in ("east", "west")}
    peers = tuple(storage for name, storage in storages.items() if name != site)
    url = f"http://{HOST}"
    async with Database(conninfo) as database:
        cdb = Cdb(database, brokers, keys, url, url, frozenset({HOST}), "http://auctions.test")
        documents = Documents(database, brokers, keys, storages[site], url, url, peers)
        made = application([*cdb.routes(), *documents.routes()])

        async def name_us(_request: web.Request, answer: web.StreamResponse) -> None:
            answer.headers["X-Served-By"] = f"{site}-app-1"

        made.on_response_prepare.append(name_us)
        async with listening(made, address, int(port)):
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4]))
