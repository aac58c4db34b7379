"""Carrying what the application tells of its writes, each as it is told: a slow one holds up no other."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime

from dcctl.domain.replication_feed import Told, decide_ready
from dcctl.domain.replication_pass import PENDING
from dcctl.engines.replication import Replication
from dcctl.engines.replication_manners import Time
from dcctl.errors import Unreachable
from dcctl.ports import ChangeFeed

FEED_PAGE = 500


def everything(_change: Told) -> bool:
    return True


@contextmanager
def _open() -> Iterator[bool]:
    yield True


class Carrier:
    """``look`` begins to carry what is told now. What has to wait stays in the feed and is begun again.

    ``ours``: which changes are for us. ``passed`` says whether to begin one; it is under way until the end of
    its block.
    """

    def __init__(
        self,
        replication: Replication,
        feed: ChangeFeed,
        arrived: Callable[[str, float], None],
        time: Time,
        *,
        patience_s: float,
        ours: Callable[[Told], bool] = everything,
        passed: Callable[[], AbstractContextManager[bool]] = _open,
    ) -> None:
        self._replication = replication
        self._feed = feed
        self._arrived = arrived
        self._time = time
        self._patience_s = patience_s
        self._ours = ours
        self._passed = passed
        self._under_way: dict[tuple[str, str, str], asyncio.Task[None]] = {}
        self._carried: list[int] = []

    async def look(self) -> int:
        """Begin what is not under way; how many changes were settled of those that have arrived since."""
        settled = await self._settle()
        now = datetime.fromtimestamp(self._time.now(), UTC)
        told = await asyncio.to_thread(self._feed.pending, FEED_PAGE)
        known = set(self._carried)  # arrived while the feed was read
        mine = tuple(change for change in told if change.number not in known and self._ours(change))
        # Of several changes of one name the clusters only show the last: it is carried once.
        by_name: dict[tuple[str, str, str], list[Told]] = {}
        for change in decide_ready(mine, now=now, patience_s=self._patience_s):
            by_name.setdefault((change.site, change.container, change.name), []).append(change)
        for key, changes in by_name.items():
            if key not in self._under_way:
                self._under_way[key] = asyncio.create_task(self._carry(key, changes))
        return settled

    async def rest(self) -> int:
        """Wait for all that is under way, and settle it."""
        while self._under_way:
            await asyncio.wait(self._under_way.values())
            await asyncio.sleep(0)
            self._judge()
        return await self._settle()

    async def close(self) -> None:
        """End what is under way: it is told again."""
        for task in self._under_way.values():
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        self._under_way.clear()
        await self._settle()

    def _judge(self) -> None:
        """Forget what has ended; raise what went wrong with one."""
        ended = [(key, task) for key, task in self._under_way.items() if task.done()]
        for key, _ in ended:
            del self._under_way[key]
        for _, task in ended:
            task.result()

    async def _settle(self) -> int:
        self._judge()
        if not self._carried:
            return 0
        numbers = tuple(self._carried)
        await asyncio.to_thread(self._feed.settle, numbers)
        del self._carried[: len(numbers)]
        return len(numbers)

    async def _carry(self, key: tuple[str, str, str], changes: list[Told]) -> None:
        site, container, name = key
        with self._passed() as is_open:
            if not is_open:
                return
            try:
                outcome = await self._replication.carry(container, name, site)
            except Unreachable:
                return
        if outcome.kind in PENDING or outcome.kind == "doomed":
            return
        now_s = self._time.now()
        for change in changes:
            self._carried.append(change.number)
            if change.done is not None:
                self._arrived(site, now_s - change.done.timestamp())


async def carry_told(
    replication: Replication,
    feed: ChangeFeed,
    arrived: Callable[[str, float], None],
    time: Time,
    *,
    patience_s: float,
) -> int:
    """Carry all that the feed tells now; how many were settled."""
    carrier = Carrier(replication, feed, arrived, time, patience_s=patience_s)
    return await carrier.look() + await carrier.rest()
