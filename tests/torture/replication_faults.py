"""What fails while clients work: servers, replicators, links, answers. In the end all is well again."""

# ruff: noqa: S311  # chance, not secrets
import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from replicators import Links

from dcctl.testing.swift_pair import Cluster, Pair

EXPIRERS = ("container-updater", "object-expirer")
CALM_S = 5
"""The end of a run, so that what is stopped goes on before it."""


class Faults:
    """One fault at a time, drawn by the seed. ``seen`` counts them; ``expired``: an expirer ran meanwhile;
    ``forgotten``: so many tombstones were older than ``reclaim_age``, and are gone."""

    def __init__(self, pair: Pair, links: Links, replicator: Any, seed: int) -> None:
        self.seen: Counter[str] = Counter()
        self.expired = False
        self.forgotten = 0
        self._pair = pair
        self._links = links
        self._replicator = replicator
        self._dice = random.Random(seed + 1)

    async def chance(self, until: float) -> None:
        """Any of them, until the monotonic clock says ``until``."""
        kinds: list[Callable[[], Awaitable[None]]] = [
            self.kill_server,
            self.kill_replicator,
            self.stop_proxy,
            self.partition,
            self.refuse,
        ]
        if not any(cluster.offset_s for cluster in self._pair.clusters):
            kinds.append(self.expire)
        while time.monotonic() < until - CALM_S:
            await asyncio.sleep(self._dice.uniform(0.5, 2))
            await self._dice.choice(kinds)()

    async def kill_server(self) -> None:
        cluster, server = self._cluster(), self._dice.choice(["proxy", "object", "container"])
        await asyncio.to_thread(cluster.kill, server)
        await asyncio.sleep(self._dice.uniform(0.5, 2))
        cluster.start(server)
        self.seen["servers killed"] += 1

    async def kill_replicator(self) -> None:
        await asyncio.to_thread(self._replicator.kill)
        await asyncio.sleep(self._dice.uniform(0, 1))
        await asyncio.to_thread(self._replicator.start)
        self.seen["replicator killed"] += 1

    async def stop_proxy(self) -> None:
        cluster = self._cluster()
        cluster.pause("proxy")
        await asyncio.sleep(self._dice.uniform(1, 4))
        cluster.unpause("proxy")
        self.seen["proxies stopped"] += 1

    async def partition(self) -> None:
        """The replicator loses a site, its clients do not: no answer, or refused."""
        link = self._links[self._cluster().name]
        await asyncio.to_thread(self._dice.choice([link.cut, link.silence]))
        await asyncio.sleep(self._dice.uniform(3, 10))
        await asyncio.to_thread(link.heal)
        self.seen["partitions"] += 1

    async def refuse(self) -> None:
        for cluster in self._pair.clusters:
            (cluster.folder / "conf/faults.json").write_text('{"refuse": 0.05, "truncate": 0.1}')
        await asyncio.sleep(3)
        for cluster in self._pair.clusters:
            (cluster.folder / "conf/faults.json").write_text("{}")
        self.seen["refusals and truncations"] += 1

    async def expire(self) -> None:
        """One site's expirer comes by, the other's does not."""
        self.expired = True
        cluster = self._cluster()
        for daemon in EXPIRERS:
            await asyncio.to_thread(run_daemon, cluster, daemon)
        self.seen["expirers"] += 1

    async def long_partition(self, seconds: float) -> None:
        """Between the sites, while both go on; meanwhile the clusters forget their old tombstones."""
        link = self._links["west"]
        await asyncio.to_thread(link.cut)
        await asyncio.sleep(seconds)
        for cluster in self._pair.clusters:
            before = _tombstones(cluster)
            await asyncio.to_thread(run_daemon, cluster, "object-replicator")
            self.forgotten += len(before - _tombstones(cluster))
        await asyncio.to_thread(link.heal)
        self.seen[f"partition of {seconds:.0f} s"] += 1

    def _cluster(self) -> Cluster:
        return self._dice.choice(self._pair.clusters)


def _tombstones(cluster: Cluster) -> set[Path]:
    return set((cluster.folder / "devices/d1/objects").rglob("*.ts"))


def run_daemon(cluster: Cluster, daemon: str) -> None:
    cluster.run_daemon(daemon)
