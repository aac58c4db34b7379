"""Four replicators that are each wrong in one way, and what two real clusters then show.

Each plays one short history, ours first and then the broken one. Ours has to come through; the broken one
has to be caught in its column, or the torture has no teeth. Nothing here depends on who comes first: what
races elsewhere is made to happen in one order.
"""

import asyncio
import contextlib
import itertools
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import aiohttp
from replication_clients import Client
from replication_oracle import KEYS, Oracle, Score, judge, new_oracle

from dcctl.adapters.replication_base import SqliteBase
from dcctl.adapters.swift import SwiftStore
from dcctl.domain.document import Answer, Document, Head
from dcctl.domain.replication import TICKS_PER_S, Side, Stamp
from dcctl.domain.replication_pass import DeleteCap, Tally
from dcctl.engines.replication import Replication
from dcctl.engines.replication_move import Keep
from dcctl.engines.replication_options import Options
from dcctl.errors import Unreachable
from dcctl.testing.replication_site import make_container
from dcctl.testing.swift_pair import Cluster, Pair

T = TypeVar("T")
LIMIT_S = 120
PASSES = 8
"""As many as a broken one gets: it may never come to rest."""


class Ours(SwiftStore):
    """Right. ``at_delete`` is a client that writes just before a delete arrives."""

    at_delete: Callable[[], Awaitable[object]] | None = None

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
        return await super().delete(container, name, Stamp(round(time.time() * TICKS_PER_S)))


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


async def patiently(work: Callable[[], Awaitable[T]]) -> T:
    """The result of ``work``, again while the clusters do not answer. Raises what it raised in the end."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            return await work()
        except (OSError, aiohttp.ClientError, Unreachable):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.5)


async def made(cluster: Cluster, container: str) -> None:
    await patiently(partial(asyncio.to_thread, make_container, cluster, container))


@dataclass
class Stage:
    """Two clusters with one replicator and a client, in containers of their own."""

    pair: Pair
    docs: str
    stores: dict[Side, Ours]
    base: SqliteBase
    client: Client
    oracle: Oracle
    broken: bool

    @property
    def keep(self) -> Keep:
        return Keep(f"{self.docs}-trash", f"{self.docs}-kept")

    @property
    def containers(self) -> tuple[str, ...]:
        return (self.docs, self.keep.trash, self.keep.conflicts)

    async def answered(self, ask: Callable[[], Awaitable[int]], *wanted: int) -> int:
        """Ask until the cluster has time to answer: a busy host's proxy gives up on its servers early."""

        async def work() -> int:
            if (status := await ask()) >= 500:
                raise Unreachable("ask", on=self.docs, saw=f"HTTP {status}")
            return status

        status = await patiently(work)
        assert not wanted or status in wanted, status
        return status

    async def put(self, cluster: Cluster, name: str, body: bytes) -> None:
        await self.answered(lambda: self.client.put(cluster, name, body), 201)

    async def once(self) -> Tally:
        return await patiently(self._once)

    async def _once(self) -> Tally:
        options = Options(settled_s=0.5, cap=DeleteCap(1.0, 1000), accept_empty=True, keep=self.keep)
        return await Replication(self.stores, self.base, options).run(self.docs)  # type: ignore[arg-type]

    async def settle(self) -> None:
        """Passes until one finds nothing to do; a broken replicator gets some, and then is judged."""
        deadline, passes = time.monotonic() + LIMIT_S, 0
        while time.monotonic() < deadline and not (self.broken and passes >= PASSES):
            if (await self.once()).quiet:
                return
            passes += 1
            await asyncio.sleep(0.5)
        assert self.broken, "ours does not come to rest"

    async def listed(self, cluster: Cluster, name: str) -> None:
        """Until the listing has it: on a busy host the container's update comes later than the object."""
        store = next(store for store in self.stores.values() if store.site == cluster.name)
        deadline = time.monotonic() + LIMIT_S
        while f'"{name}"'.encode() not in await patiently(lambda: store.list_page(self.docs)):
            assert time.monotonic() < deadline
            await asyncio.to_thread(cluster.run_daemon, "object-updater")


async def absence(stage: Stage) -> None:
    """West's disk is replaced by an empty one: nothing there remembers a delete, because there was none."""
    east, west = stage.pair.clusters
    await stage.put(east, "a", b"1")
    await stage.listed(east, "a")
    await stage.settle()
    west.lose_disk()  # in this thread: its servers die with the one that starts them
    for container in stage.containers:
        await made(west, container)
    await stage.settle()


async def delete_now(stage: Stage) -> None:
    """Deleted at west; written there again while the delete is on its way to east."""
    east, west = stage.pair.clusters
    await stage.put(east, "a", b"1")
    await stage.listed(east, "a")
    await stage.settle()
    await stage.answered(lambda: stage.client.delete(west, "a"), 204, 404)
    stage.stores[Side.A].at_delete = lambda: stage.put(west, "a", b"2")
    await stage.settle()


async def post(stage: Stage) -> None:
    """A new body at west, then new metadata at east, where the old body still is."""
    east, west = stage.pair.clusters
    await stage.put(east, "a", b"1")
    await stage.listed(east, "a")
    await stage.settle()
    await stage.put(west, "a", b"2")
    await stage.answered(lambda: stage.client.post(east, "a"), 202)
    await stage.settle()


async def future(stage: Stage) -> None:
    """West's clock is behind; its clients go on writing a name that east has written."""
    east, west = stage.pair.clusters
    await stage.put(east, "a", b"1")
    await stage.listed(east, "a")
    while not (await stage.once()).kinds:
        await asyncio.sleep(0.5)
    await stage.answered(lambda: stage.client.put(west, "a", b"2"))


@dataclass(frozen=True)
class Broken:
    """``column``: where it has to show. ``rests``: the history ends with both sites the same."""

    store: type[Ours]
    history: Callable[[Stage], Awaitable[None]]
    label: str
    column: str
    offset_s: float = 0.0
    rests: bool = True


BROKEN = {
    "broken-absence": Broken(TakesAbsenceForADelete, absence, "absence taken for a delete", "lost"),
    "broken-delete-now": Broken(StampsDeletesNow, delete_now, "a delete stamped now", "lost"),
    "broken-post": Broken(TakesThePostsTimeForTheBodys, post, "a POST's time used as the body's", "lost"),
    "broken-future": Broken(
        WritesIntoTheFuture, future, "a future timestamp written", "lost", offset_s=-30.0, rests=False
    ),
}
_numbers = itertools.count(1)


async def play(pair: Pair, one: Broken, *, broken: bool) -> Score:
    """The history of ``one``, with ours or with the broken replicator, and what the oracle says of it."""
    docs, oracle = f"played{next(_numbers)}", new_oracle()
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="dcctl-broken-"))
        kind = one.store if broken else Ours
        stores = {
            side: await stack.enter_async_context(kind(cluster.name, cluster.url, KEYS))
            for side, cluster in zip(Side, pair.clusters, strict=True)
        }
        base = stack.enter_context(contextlib.closing(SqliteBase(Path(folder) / "base.sqlite", "pair")))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        tokens = {
            cluster.name: await patiently(partial(asyncio.to_thread, cluster.token))
            for cluster in pair.clusters
        }
        client = Client(session, tokens, oracle, docs)
        stage = Stage(pair, docs, stores, base, client, oracle, broken)  # type: ignore[arg-type]
        for cluster in pair.clusters:
            for container in stage.containers:
                await made(cluster, container)
        await one.history(stage)
    if not one.rests:  # judged by what clients were answered: the rest comes when west's clock is there
        return Score(lost=[name for name, history in oracle.items() if history.vanished])
    return await patiently(lambda: judge(pair, docs, oracle))
