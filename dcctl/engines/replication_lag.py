"""What ``follow`` knows of the lag, and the heartbeats by which each site knows of the other."""

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from dcctl.domain.document import Answer, Document, Head
from dcctl.domain.replication import Side, Stamp
from dcctl.domain.replication_feed import Told
from dcctl.domain.replication_lag import Behind, Heartbeat, Lag, decide_until, measure_lag
from dcctl.domain.replication_pass import Tally
from dcctl.engines.replication_move import hash_of
from dcctl.engines.replication_run import OpenStores
from dcctl.errors import Unreachable
from dcctl.ports import DocumentStore

ARRIVALS_KEPT = 10_000


def beat_name(site: str) -> str:
    """The heartbeat's name, of the site whose changes it speaks of."""
    return f"from-{site}"


class LagMeter:
    """Told of arrivals and of passes; ``lags`` is what stands now. Arrivals are forgotten once told."""

    def __init__(self, sites: Mapping[Side, str], containers: Sequence[str]) -> None:
        self._sites = dict(sites)
        self._containers = containers
        self._arrived: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=ARRIVALS_KEPT))
        self._passes: dict[tuple[str, str], Tally] = {}

    def arrived(self, site: str, seconds: float) -> None:
        """A change made at ``site`` has arrived."""
        self._arrived[site].append(seconds)

    def passed(self, tally: Tally) -> None:
        """A pass has ended."""
        self._passes[tally.container, tally.after] = tally

    def keep(self, mine: Callable[[str, str], bool]) -> None:
        """Forget shares (container, beginning) that another has walked since."""
        self._passes = {key: tally for key, tally in self._passes.items() if mine(*key)}

    def lags(self, told: Sequence[Told], now_s: float) -> tuple[Lag, ...]:
        """Per direction. Containers that are gone count no more."""
        now = datetime.fromtimestamp(now_s, UTC)
        found = tuple(
            measure_lag(site, list(self._arrived[site]), told, self._behind(side), now)
            for side, site in self._sites.items()
        )
        self._arrived.clear()
        return found

    def heartbeats(self, settled_s: float, now_s: float) -> Iterator[Heartbeat]:
        """What to write about each side; nothing while a container has not been walked in one piece."""
        passes = [tally for tally in self._passes.values() if tally.container in self._containers]
        if not passes or not {tally.container for tally in passes} >= set(self._containers):
            return
        if any(tally.resumed or _leaves_deletes(tally) for tally in passes):
            return  # what was left before it was cut short is not known, nor when a delete was made
        began = min(tally.began for tally in passes if tally.began is not None)
        for side, site in self._sites.items():
            behind = [one for _, one in self._behind(side)]
            yield Heartbeat(
                site,
                decide_until(began, settled_s, behind).instant,
                datetime.fromtimestamp(now_s, UTC),
                sum(one.objects for one in behind),
                sum(one.bytes for one in behind),
            )

    def _behind(self, side: Side) -> list[tuple[str, Behind]]:
        return [
            (name, tally.behind[side])
            for (name, _), tally in self._passes.items()
            if name in self._containers
        ]


def _leaves_deletes(tally: Tally) -> bool:
    return tally.pending > sum(one.objects for one in tally.behind.values())


async def write_heartbeat(store: DocumentStore, container: str, heartbeat: Heartbeat) -> None:
    """Keep it at the site that it was written for. A later one there stays."""
    content = json.dumps(heartbeat.document()).encode()
    head = Head(hash_of(content), Stamp(0), len(content), {"Content-Type": "application/json"})
    answer = await store.put(container, beat_name(heartbeat.source), store.now(), Document(head, content))
    if answer in (Answer.ABSENT, Answer.DAMAGED):
        raise Unreachable("keep a heartbeat", on=f"{store.site}:{container}", saw=answer.value)


async def read_heartbeat(store: DocumentStore, container: str, source: str) -> Heartbeat | None:
    """What stands at ``store`` about ``source``; None where nothing does."""
    async with store.fetch(container, beat_name(source)) as document:
        if document is None or document.content is None:
            return None
        try:
            return Heartbeat.of(json.loads(document.content))
        except ValueError as error:
            where = f"{store.site}:{container}/{beat_name(source)}"
            raise Unreachable("read a heartbeat", on=where, saw=str(error)) from error


async def read_heartbeats(stores: OpenStores, container: str) -> dict[str, Heartbeat | str]:
    """By the site whose changes they speak of; a sentence where there is none, or no answer."""
    async with stores() as opened:

        async def one(side: Side) -> Heartbeat | str:
            try:
                beat = await read_heartbeat(opened[side.other], container, opened[side].site)
            except Unreachable as error:
                return str(error)
            return beat or f"{opened[side.other].site} has no heartbeat from there"

        found = await asyncio.gather(*(one(side) for side in opened))
        return {store.site: beat for store, beat in zip(opened.values(), found, strict=True)}
