"""Four replicators that are each wrong in one way, and what two real clusters then show.

Each plays one short history, first with ours and then with the broken one. Ours has to come through; the
broken one has to be caught, or the torture has no teeth.
"""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp

from dcctl.adapters.replication_base import SqliteBase
from dcctl.adapters.swift import Keys, SwiftStore
from dcctl.domain.document import Answer, Document, Head
from dcctl.domain.replication import Side, Stamp
from dcctl.domain.replication_pass import DeleteCap
from dcctl.engines.replication import Options, Replication
from dcctl.testing.replication_site import REQUIREMENTS, make_container
from dcctl.testing.swift_pair import REALM, REALM_KEY, SYNC_KEY, Cluster, Pair, two_clusters

KEYS = Keys(REALM, REALM_KEY, SYNC_KEY)
DOCS = "docs"


class Ours(SwiftStore):
    """Right. ``at_delete`` is a client that writes just before a delete arrives."""

    at_delete: Callable[[], Awaitable[None]] | None = None

    async def delete(self, container: str, name: str, stamp: Stamp) -> Answer:
        if self.at_delete is not None:
            write, self.at_delete = self.at_delete, None
            await write()
        return await super().delete(container, name, stamp)


class TakesAbsenceForADelete(Ours):
    async def holds(self, container: str, name: str, stamp: Stamp) -> bool:  # noqa: ARG002
        return True


class StampsDeletesNow(Ours):
    async def delete(self, container: str, name: str, stamp: Stamp) -> Answer:
        await super().delete(container, name, stamp)
        return await super().delete(container, name, self.now().plus(1))


class TakesThePostsTimeForTheBodys(Ours):
    async def holds(self, container: str, name: str, stamp: Stamp) -> bool:
        head = await super().head(container, name)
        return head is not None and head.stamp >= stamp

    async def head(self, container: str, name: str) -> Head | None:
        head = await super().head(container, name)
        return replace(head, body=None) if head is not None else None

    @contextlib.asynccontextmanager
    async def fetch(self, container: str, name: str) -> AsyncIterator[Document | None]:
        async with super().fetch(container, name) as found:
            yield Document(replace(found.head, body=None), found.content, found.chunks) if found else None


class WritesIntoTheFuture(Ours):
    def now(self) -> Stamp:
        return super().now().plus(3600)


@dataclass
class Stage:
    """Two clusters with one replicator, and clients."""

    pair: Pair
    stores: dict[Side, Ours]
    base: SqliteBase
    session: aiohttp.ClientSession
    lost: list[str]

    async def passes(self, count: int) -> None:
        options = Options(settled_s=0.5, cap=DeleteCap(1.0, 1000), accept_empty=True)
        for _ in range(count):
            await Replication(self.stores, self.base, options).run(DOCS)  # type: ignore[arg-type]
            await asyncio.sleep(0.7)

    async def ask(self, cluster: Cluster, method: str, name: str, data: bytes = b"", **headers: str) -> int:
        given = {"X-Auth-Token": await asyncio.to_thread(cluster.token), **headers}
        url = f"{cluster.url}/{DOCS}/{name}"
        async with self.session.request(method, url, data=data, headers=given) as answer:
            await answer.read()
            return answer.status

    async def put(self, cluster: Cluster, name: str, data: bytes) -> None:
        if await self.ask(cluster, "PUT", name, data) != 201:
            self.lost.append(f"{name}: a client's write was answered 202")

    async def expect(self, name: str, data: bytes) -> None:
        for store in self.stores.values():
            async with store.fetch(DOCS, name) as found:
                if found is None or found.content != data:
                    self.lost.append(f"{name} at {store.site}: not what was acknowledged")


async def absence(stage: Stage) -> None:
    east, west = stage.pair.clusters
    await stage.put(east, "a", b"1")
    await stage.passes(2)
    # its disk was replaced: nothing there remembers a delete, because there was none
    await asyncio.to_thread(west.kill, "object", "container", "account")
    for kind in ("objects", "containers", "accounts"):
        await asyncio.to_thread(shutil.rmtree, west.folder / "devices/d1" / kind, ignore_errors=True)
    await asyncio.to_thread(west.start)
    await asyncio.to_thread(west.wait_ready)
    await asyncio.to_thread(make_container, west, DOCS)
    await asyncio.to_thread(make_container, west, "dcctl-trash")
    await stage.passes(3)
    await stage.expect("a", b"1")


async def delete_now(stage: Stage) -> None:
    east, west = stage.pair.clusters
    await stage.put(east, "a", b"1")
    await stage.passes(2)
    await stage.ask(west, "DELETE", "a")
    stage.stores[Side.A].at_delete = lambda: stage.put(west, "a", b"2")
    await stage.passes(3)
    await stage.expect("a", b"2")


async def post(stage: Stage) -> None:
    east, west = stage.pair.clusters
    await stage.put(east, "a", b"1")
    await stage.passes(2)
    await stage.put(west, "a", b"2")
    await stage.ask(east, "POST", "a", **{"X-Object-Meta-K": "late"})
    await stage.passes(3)
    await stage.expect("a", b"2")


async def future(stage: Stage) -> None:
    east, west = stage.pair.clusters
    await stage.put(east, "a", b"1")
    await stage.passes(2)
    await stage.put(west, "a", b"2")


BROKEN = {
    "broken-absence": (TakesAbsenceForADelete, absence, 0.0),
    "broken-delete-now": (StampsDeletesNow, delete_now, 0.0),
    "broken-post": (TakesThePostsTimeForTheBodys, post, 0.0),
    "broken-future": (WritesIntoTheFuture, future, -30.0),
}


def what_went_wrong(name: str, *, broken: bool) -> list[str]:
    """Play the history of ``name``, with ours or with the broken one."""
    kind, history, offset_s = BROKEN[name]
    store = kind if broken else Ours

    async def play(pair: Pair, folder: Path) -> list[str]:
        async with contextlib.AsyncExitStack() as stack:
            stores = {
                side: await stack.enter_async_context(store(cluster.name, cluster.url, KEYS))
                for side, cluster in zip(Side, pair.clusters, strict=True)
            }
            base = stack.enter_context(contextlib.closing(SqliteBase(folder / "base.sqlite", "pair")))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            stage = Stage(pair, stores, base, session, [])  # type: ignore[arg-type]
            await history(stage)
            return stage.lost

    with (
        tempfile.TemporaryDirectory(prefix="dcctl-broken-") as folder,
        two_clusters(REQUIREMENTS, offsets_s=(0.0, offset_s)) as pair,
    ):
        for cluster in pair.clusters:
            for container in (DOCS, "dcctl-trash", "dcctl-conflicts"):
                make_container(cluster, container)
        return asyncio.run(play(pair, Path(folder)))
