"""Bringing a tree of files into both clusters at once, and certifying that it is there.

Files and both listings are merged in one order, so memory does not grow with their number, and a later
pass costs a listing and no reading: a file is stored under its modification time.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

from dcctl.domain.document import Answer
from dcctl.domain.replication import Row, Side, row_of
from dcctl.domain.replication_import import Manifest, Need, SourceFile, decide_import, same_manifests
from dcctl.engines.replication_manners import Manners
from dcctl.errors import DcctlError, Unreachable
from dcctl.ports import DocumentStore, FileTree

BATCH = 2000
MAX_SENTENCES = 20


@dataclass
class Imported:
    """What became of files, by need; what could not be done, in sentences."""

    kinds: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    reasons: list[str] = field(default_factory=list)

    def add(self, kind: str) -> None:
        self.kinds[kind] = self.kinds.get(kind, 0) + 1

    @property
    def complete(self) -> bool:
        return not set(self.kinds) & {"later", "failed", "unreadable_name"}

    def document(self) -> dict[str, Any]:
        return {"kinds": dict(sorted(self.kinds.items())), "bytes": self.bytes, "reasons": self.reasons}


class Import:
    """One tree into one container of two stores. ``done``: what became of files so far."""

    def __init__(
        self,
        stores: Mapping[Side, DocumentStore],
        tree: FileTree,
        container: str,
        prefix: str,
        manners: Manners,
    ) -> None:
        self._stores = stores
        self._tree = tree
        self._container = container
        self._prefix = prefix
        self._manners = manners
        self.done = Imported()

    async def run(self) -> Imported:
        """One pass over the tree. May be repeated at any time, also after it was killed."""
        done = self.done = Imported()
        listings = {side: _Cursor(self._rows(side)) for side in Side}
        files = self._tree.files()
        while batch := await asyncio.to_thread(_take, files):
            work = []
            for file in batch:
                name = self._prefix + file.path.decode(errors="replace")
                a, b = [await listings[side].at(name) for side in Side]
                need = decide_import(file, a, b, min(store.now() for store in self._stores.values()))
                if need is Need.WRITE:
                    work.append((file, name))
                else:
                    self._note(done, need, name)
            left = iter(work)
            await asyncio.gather(*(self._worker(left, done) for _ in range(self._manners.in_flight_limit)))
        return done

    def _note(self, done: Imported, need: Need, name: str) -> None:
        done.add(need.value)
        if need is not Need.NOTHING and len(done.reasons) < MAX_SENTENCES:
            done.reasons.append(f"{name!r}: {need.value.replace('_', ' ')}")

    async def _worker(self, left: Iterator[tuple[SourceFile, str]], done: Imported) -> None:
        for file, name in left:
            try:
                done.add(await self._manners.attempt(partial(self._write, file, name)))
                done.bytes += file.size_bytes
            except DcctlError as error:
                done.add("failed")
                if len(done.reasons) < MAX_SENTENCES:
                    done.reasons.append(str(error))

    async def _write(self, file: SourceFile, name: str) -> str:
        for store in self._stores.values():
            document = await asyncio.to_thread(self._tree.read, file)
            answer = await store.put(self._container, name, file.stamp, document)
            if answer in (Answer.DAMAGED, Answer.ABSENT):
                raise Unreachable("import", on=f"{store.site}:{self._container}/{name}", saw=answer.value)
        return "written"

    async def certify(self) -> dict[str, Any]:
        """Count, bytes and checksum of the sorted manifest: of the files themselves and of both sides."""
        manifests = {"files": Manifest(), **{store.site: Manifest() for store in self._stores.values()}}
        files = self._tree.files()
        while batch := await asyncio.to_thread(_take, files):
            for file in (one for one in batch if one.plain):
                document = await asyncio.to_thread(self._tree.read, file)
                name = self._prefix + file.path.decode(errors="replace")
                manifests["files"].add(name, document.head.hash, document.head.length_bytes)
        for side, store in self._stores.items():
            async for row in self._rows(side):
                manifests[store.site].add(row.name, row.hash, row.bytes)
        return {
            "same": same_manifests(manifests.values()),
            **{name: manifest.document() for name, manifest in manifests.items()},
        }

    async def _rows(self, side: Side) -> AsyncIterator[Row]:
        marker = ""
        while True:
            page = await self._manners.attempt(
                partial(self._stores[side].list_page, self._container, marker=marker, prefix=self._prefix),
                cost=1,
            )
            entries = json.loads(page)
            for entry in entries:
                yield row_of(entry)
            if not entries:
                return
            marker = entries[-1]["name"]


class _Cursor:
    """A sorted listing, asked for names in sorted order."""

    def __init__(self, rows: AsyncIterator[Row]) -> None:
        self._rows = rows
        self._next: Row | None = None
        self._ended = False

    async def at(self, name: str) -> Row | None:
        while not self._ended and (self._next is None or self._next.name.encode() < name.encode()):
            self._next = await anext(self._rows, None)
            self._ended = self._next is None
        return self._next if self._next is not None and self._next.name == name else None


def _take(files: Iterator[SourceFile]) -> list[SourceFile]:
    return list(islice(files, BATCH))
