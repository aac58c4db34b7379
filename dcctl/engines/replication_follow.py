"""Replication without end: what the application tells within seconds, and passes for everything else."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from typing import overload

from dcctl.domain.replication_feed import Told
from dcctl.domain.replication_lag import Lag
from dcctl.domain.replication_pass import Tally
from dcctl.domain.replication_pause import IDLE, WORKING
from dcctl.engines.replication import Replication
from dcctl.engines.replication_containers import Carried
from dcctl.engines.replication_lag import LagMeter, write_heartbeat
from dcctl.engines.replication_manners import Time
from dcctl.engines.replication_options import Options
from dcctl.engines.replication_run import LATER_S, OpenStores, Passes, run_to_end
from dcctl.engines.replication_share import Worker
from dcctl.engines.replication_token import OpenTokenStores, TokenReplication
from dcctl.engines.replication_told import FEED_PAGE, Carrier, everything
from dcctl.errors import Unreachable
from dcctl.ports import ChangeFeed, Pauses, ReplicationBase, SharedWork, TokenBase

FEED_EVERY_S = 0.1
FEED_PATIENCE_S = 30.0
LAG_EVERY_S = 5.0
HOT_EVERY_S = 1.0
PAUSE_EVERY_S = 0.5


def follow(
    stores: OpenStores,
    base: ReplicationBase,
    containers: Sequence[str],
    options: Options,
    *,
    every_s: float,
    feed: ChangeFeed | None = None,
    work: SharedWork | None = None,
    seen: Callable[[Tally | Unreachable | Lag], None],
    pauses: Sequence[Pauses] = (),
    heartbeat: str | None = None,
    hot: Callable[[], Sequence[str]] = tuple,
    come_and_go: Callable[[], Carried] | None = None,
    clock: Time | None = None,
) -> None:
    """Passes without end; ends quietly on SIGTERM. A cluster that is away is told to ``seen``.

    ``work``: shared with everybody else who works on the same. ``heartbeat``: the container in which each
    side is told until when it has what was made at the other. ``hot`` gives prefixes that are looked at
    between passes, every second. ``pauses`` are asked whether to go on, and told when we have come to rest.
    ``come_and_go`` carries containers themselves and says which there are beside ``containers``.
    """
    time = clock or Time()
    names = Containers(containers, come_and_go, feed)
    gate = Gate(pauses)

    async def run() -> None:
        stop = asyncio.Event()
        told: Replication
        ours: Callable[[Told], bool]
        with _stopped_by(signal.SIGTERM, stop):
            async with stores() as opened, gate.followed(), asyncio.TaskGroup() as group:
                sites = {side: store.site for side, store in opened.items()}
                meter = LagMeter(sites, names)
                options_now = replace(options, arrived=meter.arrived, emptied=names.going)
                replication = Replication(opened, base, options_now, time)
                noted = _noting(meter, seen)
                worker = None
                if work is None:
                    told, ours = replication, everything
                    group.create_task(_passes(replication, names, noted, gate, stop, every_s))
                else:
                    worker = Worker(replication, work, names, every_s=every_s, clock=time)
                    told, ours = worker.told, worker.ours
                    group.create_task(_turns(worker, noted, gate, stop, every_s))
                group.create_task(_watch(gate, stop))
                if come_and_go is not None:
                    with gate.passed() as is_open:
                        if is_open:
                            await names.look(seen)
                    group.create_task(_look(names, seen, gate, stop, every_s, time))
                group.create_task(_hot(replication, names, hot, seen, gate, stop))
                group.create_task(_tell(replication, meter, worker, feed, heartbeat, seen, stop, time))
                if feed is not None:
                    group.create_task(_told(told, feed, seen, gate, stop, time, ours, meter))

    run_to_end(run())


def follow_with_tokens(
    stores: OpenTokenStores,
    base: TokenBase,
    containers: Sequence[str],
    options: Options,
    *,
    every_s: float,
    seen: Callable[[Tally | Unreachable | Lag], None],
    pauses: Sequence[Pauses] = (),
    clock: Time | None = None,
) -> None:
    """Passes without end over clusters that believe nobody's timestamp; ends quietly on SIGTERM."""
    gate = Gate(pauses)

    async def run() -> None:
        stop = asyncio.Event()
        with _stopped_by(signal.SIGTERM, stop):
            async with stores() as opened, gate.followed(), asyncio.TaskGroup() as group:
                replication = TokenReplication(opened, base, options, clock)
                group.create_task(_watch(gate, stop))
                group.create_task(_passes(replication, containers, seen, gate, stop, every_s))

    run_to_end(run())


class Containers(Sequence[str]):
    """The containers to replicate now. ``look`` changes them between passes, and tells ``feed``."""

    def __init__(
        self,
        fixed: Sequence[str],
        come_and_go: Callable[[], Carried] | None,
        feed: ChangeFeed | None = None,
    ) -> None:
        self._fixed = tuple(fixed)
        self._look = come_and_go
        self._feed = feed
        self._now = self._fixed
        self.going: set[str] = set()

    async def look(self, seen: Callable[[Tally | Unreachable | Lag], None]) -> None:
        """A side that does not answer leaves them as they were."""
        if self._look is None:
            return
        try:
            found = await asyncio.to_thread(self._look)
        except Unreachable as error:
            seen(error)
            return
        self._now = tuple(dict.fromkeys((*self._fixed, *found.names)))
        if self._feed is not None:
            self._feed.watch(self._now)
        self.going.clear()
        self.going.update(found.going)

    def __len__(self) -> int:
        return len(self._now)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        return self._now[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now)


async def _look(  # noqa: PLR0917
    names: Containers,
    seen: Callable[[Tally | Unreachable | Lag], None],
    gate: "Gate",
    stop: asyncio.Event,
    every_s: float,
    time: Time,
) -> None:
    """Again and again, for a twentieth of the time at most: each container costs a question on both sides."""
    took_s = 0.0
    while not stop.is_set():
        await _wait(stop, max(every_s, 20 * took_s))
        began = time.monotonic()
        with gate.passed() as is_open:
            if is_open:
                await names.look(seen)
        took_s = time.monotonic() - began


class Gate:
    """Lets work through unless somebody has paused it, and knows when nothing is under way any more.

    What cannot be asked now stays as it was last seen.
    """

    def __init__(self, pauses: Sequence[Pauses]) -> None:
        self._pauses = tuple(pauses)
        self._said = [False for _ in pauses]
        self._under_way = 0

    @contextlib.contextmanager
    def passed(self) -> Iterator[bool]:
        """Whether to begin something; it is under way until the end of the block."""
        if any(self._said):
            yield False
            return
        self._under_way += 1
        try:
            yield True
        finally:
            self._under_way -= 1

    @contextlib.asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Look before anything is begun; say at the end that we follow no more."""
        await self.look()
        try:
            yield
        finally:
            for one in self._pauses:
                with contextlib.suppress(Unreachable):
                    await asyncio.to_thread(one.report, None)

    async def look(self) -> None:
        """Ask whether it is paused, and say what we are."""
        for number, one in enumerate(self._pauses):
            with contextlib.suppress(Unreachable):
                self._said[number] = await asyncio.to_thread(one.observe_pause) is not None
        state = IDLE if any(self._said) and not self._under_way else WORKING
        for one in self._pauses:
            with contextlib.suppress(Unreachable):
                await asyncio.to_thread(one.report, state)


async def _watch(gate: Gate, stop: asyncio.Event) -> None:
    while not stop.is_set():
        await gate.look()
        await _wait(stop, PAUSE_EVERY_S)


async def _passes(  # noqa: PLR0917
    replication: Passes,
    containers: Sequence[str],
    seen: Callable[[Tally | Unreachable | Lag], None],
    gate: Gate,
    stop: asyncio.Event,
    every_s: float,
) -> None:
    while not stop.is_set():
        with gate.passed() as is_open:
            if is_open:
                await _pass_all(replication, containers, seen)
        await _wait(stop, every_s)


async def _hot(  # noqa: PLR0917
    replication: Replication,
    containers: Sequence[str],
    hot: Callable[[], Sequence[str]],
    seen: Callable[[Tally | Unreachable | Lag], None],
    gate: Gate,
    stop: asyncio.Event,
) -> None:
    """Names that begin with a hot prefix; what the base knows of them is left to whole passes."""
    while not stop.is_set():
        with gate.passed() as is_open:
            for prefix in hot() if is_open else ():
                part = replication.over(replication.base)
                part.options = replace(replication.options, prefix=prefix, sample=0)
                await _pass_all(part, containers, seen)
        await _wait(stop, HOT_EVERY_S)


async def _turns(
    worker: Worker,
    seen: Callable[[Tally | Unreachable | Lag], None],
    gate: Gate,
    stop: asyncio.Event,
    every_s: float,
) -> None:
    while not stop.is_set():
        with gate.passed() as is_open:
            result = await worker.turn() if is_open else None
        if result is not None:
            seen(result)
        if not isinstance(result, Tally):
            await _wait(stop, min(every_s, LATER_S))


async def _told(  # noqa: PLR0917
    replication: Replication,
    feed: ChangeFeed,
    seen: Callable[[Tally | Unreachable | Lag], None],
    gate: Gate,
    stop: asyncio.Event,
    time: Time,
    ours: Callable[[Told], bool],
    meter: LagMeter,
) -> None:
    carrier = Carrier(
        replication,
        feed,
        meter.arrived,
        time,
        patience_s=FEED_PATIENCE_S,
        ours=ours,
        passed=gate.passed,
    )
    try:
        while not stop.is_set():
            try:
                await carrier.look()
            except Unreachable as error:
                seen(error)
                await _wait(stop, LATER_S)
            await _wait(stop, FEED_EVERY_S)
    finally:
        with contextlib.suppress(Unreachable):
            await carrier.close()


def _noting(
    meter: LagMeter, seen: Callable[[Tally | Unreachable | Lag], None]
) -> Callable[[Tally | Unreachable | Lag], None]:
    def noted(result: Tally | Unreachable | Lag) -> None:
        if isinstance(result, Tally):
            meter.passed(result)
        seen(result)

    return noted


async def _tell(  # noqa: PLR0917
    replication: Replication,
    meter: LagMeter,
    worker: Worker | None,
    feed: ChangeFeed | None,
    heartbeat: str | None,
    seen: Callable[[Tally | Unreachable | Lag], None],
    stop: asyncio.Event,
    time: Time,
) -> None:
    """The lag of each direction to ``seen``, and to the other side as a heartbeat."""
    while not stop.is_set():
        await _wait(stop, LAG_EVERY_S)
        try:
            told = await asyncio.to_thread(feed.pending, FEED_PAGE) if feed is not None else ()
            if worker is not None:
                meter.keep(worker.walked_last)
            for lag in meter.lags(told, time.now()):
                seen(lag)
            await _beat(replication, meter, worker, heartbeat, time)
        except Unreachable as error:
            seen(error)


async def _beat(
    replication: Replication, meter: LagMeter, worker: Worker | None, heartbeat: str | None, time: Time
) -> None:
    if heartbeat is None:
        return
    settled_s = replication.options.settled_s
    there = {store.site: replication.stores[side.other] for side, store in replication.stores.items()}
    if worker is not None:
        beats = worker.heartbeats(list(there), settled_s)
    else:
        beats = list(meter.heartbeats(settled_s, time.now()))
    for beat in beats:
        await write_heartbeat(there[beat.source], heartbeat, beat)


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


async def _pass_all(
    replication: Passes, containers: Sequence[str], seen: Callable[[Tally | Unreachable | Lag], None]
) -> None:
    for name in containers:
        try:
            seen(await replication.run(name))
        except Unreachable as error:
            seen(error)


@contextlib.contextmanager
def _stopped_by(number: signal.Signals, stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        loop.remove_signal_handler(number)
