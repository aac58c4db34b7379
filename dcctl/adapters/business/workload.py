"""``ports.Business`` with aiohttp: buyers and suppliers of the application, through the edges.

One asyncio loop in a thread of its own, behind synchronous calls. Journeys begin on schedule, through the
edges in turn, whatever the latency. Beside them the store is asked which scheduler's epoch is in force.
"""

import asyncio
import collections
import hashlib
import itertools
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol, TypeAlias, TypeVar

from dcctl.adapters.business.journeys import Journeys
from dcctl.adapters.business.notes import Notes
from dcctl.adapters.business.request import Lane, Requests
from dcctl.domain.business import Act, BusinessHistory, Copy, Fact, Inventory, Line, Look
from dcctl.domain.drill import BusinessSpec, titles_of
from dcctl.domain.history import Mark
from dcctl.errors import DcctlError, TimedOut, Unreachable
from dcctl.ports import DocumentStore

T = TypeVar("T")
Stores: TypeAlias = Callable[[], AbstractAsyncContextManager[Mapping[str, DocumentStore]]]
Journey: TypeAlias = Callable[[Lane, float], Coroutine[Any, Any, None]]

INVENTORY_LIMIT_S = 30.0
"""A cluster that was just healed may take as long as a failover until a primary answers."""


class StoreRecord(Protocol):
    """What the database itself says, asked through the edges. Raises DcctlError when it does not answer."""

    async def look(self) -> tuple[int, str, float] | None:
        """The scheduler's epoch, its holder and since when; None before there was one."""

    async def acts(self, since: datetime) -> Sequence[tuple[str, int, int, float, float, bool]]:
        """Rounds that began since: tender, number, epoch, when, how late, whether missed."""

    async def facts(self, prefix: str, documents: Sequence[str]) -> Sequence[Fact]:
        """Tenders and bids whose marker begins with ``prefix``, and these documents."""

    async def close(self) -> None:
        """Hang up."""


class HttpBusiness:
    """See ``ports.Business``. ``keep`` is called with every line of the history, in any thread."""

    def __init__(
        self,
        spec: BusinessSpec,
        *,
        run: str,
        edges: Mapping[str, tuple[str, str]],
        machines: Mapping[str, str],
        token: str,
        record: StoreRecord,
        stores: Stores,
        container: str,
        keep: Callable[[Line], None],
        now: Callable[[], datetime],
    ) -> None:
        """``edges``: name to (site, URL); ``machines``: name to site; ``container`` holds the documents."""
        self._spec, self._run, self._record = spec, run, record
        self._stores, self._container = stores, container
        self._sites = {name: site for name, (site, _url) in edges.items()}
        self._machines = dict(machines)
        self._notes = Notes(tuple(edges), keep)
        self._began_at = now()
        self._lanes = [Lane(name, url) for name, (_site, url) in edges.items()]
        self._requests = Requests(spec, self._lanes, token=token, notes=self._notes)
        self._journeys = Journeys(spec, self._requests, run=run, now_s=self._notes.now_s)
        self._found: dict[str, set[str]] = collections.defaultdict(set)
        self._arrivals: list[asyncio.Task[None]] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    # The synchronous door.

    def start(self) -> None:
        try:
            self._call(self._begin(), limit_s=self._door_limit_s)
        except BaseException:
            self._close()
            raise

    def acknowledged_s(self) -> Mapping[str, Sequence[float]]:
        return self._notes.acknowledged_s()

    def mark(self, name: str, target: str) -> float:
        at_s = self._notes.now_s()
        self._notes.write(Mark(at_s, name, target))
        return at_s

    def seek(self, site: str) -> tuple[str, ...]:
        return self._call(self._seek(site), limit_s=self._spec.seek_limit_s + 5.0)

    def stop(self) -> BusinessHistory:
        if self._arrivals:
            self._call(self._end(), limit_s=self._door_limit_s + 2 * INVENTORY_LIMIT_S)
        self._close()
        return self.history()

    def history(self) -> BusinessHistory:
        """Everything noted so far."""
        return BusinessHistory(self._run, self._began_at, self._sites, self._machines, self._notes.lines())

    @property
    def _door_limit_s(self) -> float:
        return 10.0 + 2 * (self._spec.connect_limit_s + self._spec.answer_limit_s)

    def _call(self, work: Coroutine[Any, Any, T], *, limit_s: float) -> T:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="business", daemon=True)
            self._thread.start()
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(limit_s)
        except TimeoutError as error:
            future.cancel()
            raise TimedOut(
                "drive the application's clients", on=self._run, saw=f"no end after {limit_s:g} s"
            ) from error

    def _close(self) -> None:
        if self._loop is None or self._thread is None:
            return
        self._call(self._hang_up(), limit_s=self._door_limit_s)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None

    # Inside the loop.

    async def _begin(self) -> None:
        await self._requests.open()
        spec, journeys = self._spec, self._journeys
        streams: tuple[tuple[float, Journey], ...] = (
            (spec.tenders_per_s, journeys.tender),
            (spec.bids_per_s, journeys.bid),
            (spec.documents_per_s, journeys.document),
            (spec.reads_per_s, journeys.read),
        )
        # Not all at the same moment: a client who is silent between them would look like an outage.
        self._arrivals = [
            asyncio.create_task(self._arrive(per_s, journey, after_s=number / len(streams) * 2 / per_s))
            for number, (per_s, journey) in enumerate(streams)
        ]
        self._arrivals.append(asyncio.create_task(self._keep_looking()))

    async def _arrive(self, per_s: float, journey: Journey, *, after_s: float) -> None:
        """Begin a journey at every due time, through the edges in turn; when late, catch up at once."""
        begin_s = self._notes.now_s() + after_s
        for number in itertools.count():
            due_s = begin_s + number / per_s
            await asyncio.sleep(max(0.0, due_s - self._notes.now_s()))
            task = asyncio.create_task(journey(self._lanes[number % len(self._lanes)], due_s))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _keep_looking(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(1 / self._spec.looks_per_s)

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(self._spec.answer_limit_s):
                seen = await self._record.look()
        except (DcctlError, TimeoutError):
            return  # a store that is away says nothing of its epoch; a later look does
        if seen is not None:
            self._notes.write(Look(self._notes.now_s(), *seen))

    async def _seek(self, site: str) -> tuple[str, ...]:
        acknowledged = self._notes.acknowledged("bytes/")
        wanted = [name for name in acknowledged if name not in self._found[site]]
        if not wanted:
            return ()
        try:
            async with asyncio.timeout(self._spec.seek_limit_s), self._stores() as stores:
                for name in wanted:
                    md5 = await self._fetch(stores[site], name)
                    self._notes.write(Copy(self._notes.now_s(), site, name, md5))
                    if md5 == acknowledged[name]:
                        self._found[site].add(name)
        except TimeoutError:
            raise TimedOut(
                "fetch the acknowledged documents", on=site, saw=f"no end after {self._spec.seek_limit_s:g} s"
            ) from None
        return tuple(name for name in wanted if name not in self._found[site])

    async def _fetch(self, store: DocumentStore, name: str) -> str:
        """The md5 of the bytes that are really there, not of a header; empty: there are none."""
        async with store.fetch(self._container, name) as document:
            if document is None:
                return ""
            if document.content is None:
                raise Unreachable("fetch a document", on=name, saw="it is larger than any that was sent")
            return hashlib.md5(document.content, usedforsecurity=False).hexdigest()

    async def _end(self) -> None:
        for task in self._arrivals:
            task.cancel()
        await asyncio.gather(*self._arrivals, return_exceptions=True)
        self._arrivals = []
        await asyncio.gather(*self._under_way)
        deadline_s = self._notes.now_s() + INVENTORY_LIMIT_S
        while not await self._take_inventory() and self._notes.now_s() < deadline_s:
            await asyncio.sleep(1.0)

    async def _take_inventory(self) -> bool:
        try:
            async with asyncio.timeout(INVENTORY_LIMIT_S):
                documents = tuple(self._notes.acknowledged("registered/"))
                facts = await self._record.facts(titles_of(self._run), documents)
                acts = await self._record.acts(self._began_at)
        except (DcctlError, TimeoutError) as error:
            saw = error.sentence() if isinstance(error, DcctlError) else "no answer in time"
            self._notes.write(Inventory(self._notes.now_s(), ok=False, saw=saw))
            return False
        await self._look()
        for act in acts:
            self._notes.write(Act(*act))
        self._notes.write(Inventory(self._notes.now_s(), ok=True, facts=tuple(facts)))
        return True

    async def _hang_up(self) -> None:
        for task in self._arrivals:
            task.cancel()
        await self._record.close()
        await self._requests.close()
