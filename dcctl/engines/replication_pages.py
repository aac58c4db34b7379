"""The listings of both sides, page by page, each cluster read ahead of what is settled.

Where the base has a range of names, that very range is asked for: names that came or went in one range leave
all others comparable by a digest. It also tells what comes next before a page has arrived, so neither cluster
waits for the other.
"""

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from dcctl.domain.replication import Side

_Reading: TypeAlias = "dict[Side, deque[tuple[Asked, asyncio.Task[bytes]]]]"
AHEAD = 2
"""Pages of each side that are read beyond the one that is settled: what they take is memory."""


@dataclass(frozen=True, slots=True)
class Asked:
    """``after`` < name <= ``upto`` (None: to the end), ``limit`` rows at most."""

    after: str
    upto: str | None
    limit: int


class Pages:
    """``read`` gives the pages that follow a name. ``close`` it."""

    def __init__(
        self,
        fetch: Callable[[Side, Asked], Awaitable[bytes]],
        bounds: Sequence[str],
        *,
        page_rows: int,
        new_rows: int,
        upto: str | None,
        ahead: int = AHEAD,
    ) -> None:
        """``bounds``: ends of ranges that should fit into ``page_rows``; where there are none, ``new_rows``
        are asked for. ``upto`` ends it all.
        """
        self._fetch = fetch
        self._bounds = [bound.encode() for bound in bounds]
        self._page_rows = page_rows
        self._new_rows = new_rows
        self._upto = upto
        self._ahead = ahead
        self._reading: _Reading = {side: deque() for side in Side}
        self._begun: set[asyncio.Task[bytes]] = set()

    def asked(self, after: str) -> Asked:
        """What is asked for after this name."""
        place = bisect_right(self._bounds, after.encode())
        if place < len(self._bounds):
            bound = self._bounds[place].decode()
            if self._upto is None or bound.encode() < self._upto.encode():
                return Asked(after, bound, self._page_rows)
        return Asked(after, self._upto, self._new_rows)

    async def read(self, after: str) -> dict[Side, bytes]:
        """The pages after this name."""
        asked = self.asked(after)
        tasks = {side: self._task(side, asked) for side in Side}
        try:
            await asyncio.gather(*tasks.values())
        finally:
            for task in tasks.values():
                task.cancel()
        return {side: task.result() for side, task in tasks.items()}

    async def close(self) -> None:
        """End what is under way."""
        for task in self._begun:
            task.cancel()
        await asyncio.gather(*self._begun, return_exceptions=True)

    def _task(self, side: Side, asked: Asked) -> "asyncio.Task[bytes]":
        """One that is under way already, or a new one; what is to be read after it is begun, too."""
        reading = self._reading[side]
        found = next((task for known, task in reading if known == asked), None)
        task = found or self._begin(side, asked, None)
        while reading and reading[0][0].after.encode() <= asked.after.encode():
            _, passed = reading.popleft()
            if passed is not task:
                passed.cancel()
        last, before = reading[-1] if reading else (asked, task)
        while len(reading) < self._ahead and last.upto is not None and last.upto != self._upto:
            last = self.asked(last.upto)
            before = self._begin(side, last, before)
            reading.append((last, before))
        return task

    def _begin(self, side: Side, asked: Asked, before: "asyncio.Task[bytes] | None") -> "asyncio.Task[bytes]":
        task = asyncio.create_task(self._read(side, asked, before))
        self._begun.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[bytes]") -> None:
        self._begun.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked for the page is told; a page nobody asks for matters to nobody

    async def _read(self, side: Side, asked: Asked, before: "asyncio.Task[bytes] | None") -> bytes:
        """One after the other: more at once from one cluster is not faster."""
        if before is not None:
            await asyncio.wait([before])
        return await self._fetch(side, asked)
