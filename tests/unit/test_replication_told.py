"""Changes that are told are carried as they are told; none waits for another."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_replication_pass import World

from dcctl.domain.document import Answer, Document
from dcctl.domain.replication import Side, Stamp
from dcctl.engines.replication import Replication
from dcctl.engines.replication_manners import Limits, Manners, Time
from dcctl.engines.replication_told import Carrier
from dcctl.testing.documents import MemoryFeed, MemoryStore, VirtualTime


class HeldStore(MemoryStore):
    """Takes a PUT of ``slow`` only once it is let."""

    def __init__(self, site: str, time: VirtualTime) -> None:
        super().__init__(site, time, tells_bodies=True)
        self.let = asyncio.Event()

    async def put(self, container: str, name: str, stamp: Stamp, document: Document) -> Answer:
        if name == "slow":
            await self.let.wait()
        return await super().put(container, name, stamp, document)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    one = World(tmp_path)
    one.a.tells_bodies = True
    yield one
    one.base.close()


class Telling:
    def __init__(self, world: World, *, paused: bool = False) -> None:
        self.world = world
        self.west = HeldStore("west", world.time)
        self.feed = MemoryFeed(world.time)
        self.paused = paused
        self.under_way = 0
        clock = Time(now=world.time, monotonic=world.time)
        replication = Replication({Side.A: world.a, Side.B: self.west}, world.base, world.options, clock)
        self.carrier = Carrier(
            replication, self.feed, lambda *_: None, clock, patience_s=30, passed=self._passed
        )

    def put(self, name: str, content: bytes = b"1") -> None:
        number = self.feed.begin("east", "docs", name)
        self.world.a.client_put("docs", name, content)
        self.feed.done(number)

    @contextmanager
    def _passed(self) -> Iterator[bool]:
        self.under_way += 1
        try:
            yield not self.paused
        finally:
            self.under_way -= 1

    async def look(self) -> int:
        """A look, and all that can be done is done."""
        settled = await self.carrier.look()
        for _ in range(50):
            await asyncio.sleep(0)
        return settled

    def names(self) -> list[str]:
        return list(self.west.listing("docs"))


def test_a_slow_one_holds_up_no_other(world: World) -> None:
    async def run() -> None:
        telling = Telling(world)
        telling.put("slow")
        telling.put("quick")
        await telling.look()
        telling.put("later")
        assert await telling.look() == 1
        assert telling.names() == ["later", "quick"]
        telling.west.let.set()
        assert await telling.carrier.rest() == 2
        assert telling.names() == ["later", "quick", "slow"]
        assert telling.feed.pending(10) == ()

    asyncio.run(run())


def test_a_name_that_changes_while_it_is_carried_is_carried_once_more(world: World) -> None:
    async def run() -> None:
        telling = Telling(world)
        telling.put("slow", b"1")
        await telling.look()
        telling.put("slow", b"2")
        await telling.look()
        assert telling.west.calls.count("put") == 0  # one at a time
        telling.west.let.set()
        await telling.carrier.rest()
        assert len(telling.feed.pending(10)) == 1
        await telling.look()
        await telling.carrier.rest()
        assert telling.west.listing("docs") == world.a.listing("docs")

    asyncio.run(run())


def test_nothing_is_begun_while_paused_and_nothing_is_lost(world: World) -> None:
    async def run() -> None:
        telling = Telling(world, paused=True)
        telling.put("quick")
        await telling.look()
        assert (telling.names(), telling.under_way, len(telling.feed.pending(10))) == ([], 0, 1)
        telling.paused = False
        await telling.look()
        await telling.carrier.rest()
        assert telling.names() == ["quick"]

    asyncio.run(run())


def test_what_is_cut_is_told_again(world: World) -> None:
    async def run() -> None:
        telling = Telling(world)
        telling.put("slow")
        telling.put("quick")
        await telling.look()
        await telling.carrier.close()
        assert telling.under_way == 0
        assert [change.name for change in telling.feed.pending(10)] == ["slow"]

    asyncio.run(run())


def test_what_is_told_does_not_wait_behind_a_long_copy() -> None:
    done: list[str] = []

    async def run() -> None:
        manners = Manners(Limits(lowest=1, start=1, highest=1), Time())

        async def work(name: str) -> None:
            await asyncio.sleep(0)
            done.append(name)

        first = [asyncio.create_task(manners.attempt(lambda n=f"copy{n}": work(n))) for n in range(3)]
        await asyncio.sleep(0)
        await manners.attempt(lambda: work("told"), urgent=True)
        await asyncio.gather(*first)

    asyncio.run(run())
    assert done == ["copy0", "told", "copy1", "copy2"]
