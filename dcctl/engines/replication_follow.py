"""Replication without end: what the application tells within seconds, and passes for everything else."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from dcctl.domain.replication_feed import Lag, Told, decide_ready, measure_lag
from dcctl.domain.replication_pass import PENDING, Tally
from dcctl.engines.replication import Options, Replication
from dcctl.engines.replication_manners import Time
from dcctl.engines.replication_run import LATER_S, OpenStores, run_to_end
from dcctl.engines.replication_share import Worker
from dcctl.errors import Unreachable
from dcctl.ports import ChangeFeed, ReplicationBase, SharedWork

FEED_PAGE = 500
FEED_EVERY_S = 0.1
FEED_PATIENCE_S = 30.0
LAG_EVERY_S = 10.0


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
    paused: Callable[[], bool] = lambda: False,
    clock: Time | None = None,
) -> None:
    """Passes without end; ends quietly on SIGTERM. A cluster that is away is told to ``seen``.

    ``work``: shared with everybody else who works on the same.
    """
    time = clock or Time()

    async def run() -> None:
        stop = asyncio.Event()
        told: Replication
        ours: Callable[[Told], bool]
        with _stopped_by(signal.SIGTERM, stop):
            async with stores() as opened, asyncio.TaskGroup() as group:
                replication = Replication(opened, base, options, time)
                if work is None:
                    told, ours = replication, _everything
                    group.create_task(_passes(replication, containers, seen, paused, stop, every_s))
                else:
                    worker = Worker(replication, work, containers, every_s=every_s, clock=time)
                    told, ours = worker.told, worker.ours
                    group.create_task(_turns(worker, seen, paused, stop, every_s))
                if feed is not None:
                    group.create_task(_told(told, feed, seen, paused, stop, time, ours))

    run_to_end(run())


async def _passes(  # noqa: PLR0917
    replication: Replication,
    containers: Sequence[str],
    seen: Callable[[Tally | Unreachable | Lag], None],
    paused: Callable[[], bool],
    stop: asyncio.Event,
    every_s: float,
) -> None:
    while not stop.is_set():
        if not paused():
            await _pass_all(replication, containers, seen)
        await _wait(stop, every_s)


async def _turns(
    worker: Worker,
    seen: Callable[[Tally | Unreachable | Lag], None],
    paused: Callable[[], bool],
    stop: asyncio.Event,
    every_s: float,
) -> None:
    while not stop.is_set():
        result = None if paused() else await worker.turn()
        if result is not None:
            seen(result)
        if not isinstance(result, Tally):
            await _wait(stop, min(every_s, LATER_S))


async def _told(  # noqa: PLR0917
    replication: Replication,
    feed: ChangeFeed,
    seen: Callable[[Tally | Unreachable | Lag], None],
    paused: Callable[[], bool],
    stop: asyncio.Event,
    time: Time,
    ours: Callable[[Told], bool],
) -> None:
    lags_s: list[float] = []
    told_at = time.monotonic()
    while not stop.is_set():
        settled = 0
        if not paused():
            try:
                settled = await carry_told(
                    replication, feed, lags_s, time, patience_s=FEED_PATIENCE_S, ours=ours
                )
            except Unreachable as error:
                seen(error)
                await _wait(stop, LATER_S)
        if time.monotonic() - told_at > LAG_EVERY_S and lags_s:
            pending = [one.begun for one in await asyncio.to_thread(feed.pending, FEED_PAGE)]
            seen(measure_lag(lags_s, pending, datetime.fromtimestamp(time.now(), UTC)))
            lags_s.clear()
            told_at = time.monotonic()
        if not settled:
            await _wait(stop, FEED_EVERY_S)


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


def _everything(_change: Told) -> bool:
    return True


async def carry_told(
    replication: Replication,
    feed: ChangeFeed,
    lags_s: list[float],
    time: Time,
    *,
    patience_s: float,
    ours: Callable[[Told], bool] = _everything,
) -> int:
    """Carry what the feed tells now; how many were settled. What has to wait stays in the feed."""
    now = datetime.fromtimestamp(time.now(), UTC)
    told = tuple(change for change in await asyncio.to_thread(feed.pending, FEED_PAGE) if ours(change))
    ready = decide_ready(told, now=now, patience_s=patience_s)
    settled: list[int] = []
    # Of several changes of one name the clusters only show the last: it is carried once.
    by_name: dict[tuple[str, str, str], list[Told]] = {}
    for change in ready:
        by_name.setdefault((change.site, change.container, change.name), []).append(change)

    async def one(key: tuple[str, str, str]) -> None:
        site, container, name = key
        try:
            outcome = await replication.carry(container, name, site)
        except Unreachable:
            return
        if outcome.kind in PENDING or outcome.kind == "doomed":
            return
        arrived = time.now()
        for change in by_name[key]:
            settled.append(change.number)
            if change.done is not None:
                lags_s.append(arrived - change.done.timestamp())

    await asyncio.gather(*(one(key) for key in by_name))
    if settled:
        await asyncio.to_thread(feed.settle, tuple(settled))
    return len(settled)


async def _pass_all(
    replication: Replication, containers: Sequence[str], seen: Callable[[Tally | Unreachable | Lag], None]
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
