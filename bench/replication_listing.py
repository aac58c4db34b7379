"""Passes over rows that nobody changed, and over rows of which one in a thousand was."""

import asyncio
import json
import random
import subprocess
import time
from collections.abc import Sequence

import aiohttp
from replication_field import KEYS, Field, fill, once, raw_copies, raw_request

from dcctl.testing.replication_site import Environment
from dcctl.testing.swift_pair import ACCOUNT, Cluster

PAGE = 10_000
COPIES_IN_FLIGHT = 8
INJECT = """
import sys, random
from swift.common.utils import hash_path, set_swift_dir, storage_directory
from swift.container.backend import ContainerBroker
conf, devices, account, container, rows, stamp = sys.argv[1:]
set_swift_dir(conf)
from swift.common.ring import Ring
part = Ring(conf, ring_name="container").get_part(account, container)
hashed = hash_path(account, container)
path = f"{devices}/d1/" + storage_directory("containers", part, hashed) + f"/{hashed}.db"
broker = ContainerBroker(path)
dice = random.Random(7)
with broker.get() as connection:
    connection.executemany(
        "insert into object (name, created_at, size, content_type, etag, deleted, storage_policy_index)"
        " values (?, ?, ?, 'application/octet-stream', ?, 0, 0)",
        ((f"2026/11/{n % 28:02}/{n:09}", f"{float(stamp) - n / 1000:.5f}", 1000 + n % 60000,
          f"{dice.getrandbits(128):032x}") for n in range(int(rows))),
    )
    connection.commit()
"""


def inject(cluster: Cluster, container: str, rows: int, stamp: str) -> None:
    """Rows straight into the container's database: a listing needs no objects."""
    values = (f"{cluster.folder}/conf", f"{cluster.folder}/devices", ACCOUNT, container, str(rows), stamp)
    python = [str(cluster.bin / "python"), "-W", "ignore", "-c", INJECT]
    subprocess.run([*python, *values], check=True)


class Listing:
    """A container of so many rows on both sides, and a base that knows it."""

    def __init__(self, field: Field, rows: int) -> None:
        self.field, self.rows, self.scale = field, rows, f"{rows} rows"
        self.container = f"rows{rows}"
        self.env: Environment = field.environment(self.container)
        stamp = f"{time.time() - 86400:.5f}"
        for cluster in field.pair.clusters:
            inject(cluster, self.container, rows, stamp)

    def first_pass(self) -> None:
        ran, _ = once(self.env)
        self._note("listing", "first pass, no base", ran.seconds, 0, cpu_s=ran.cpu_s, peak_mb=ran.peak_mb)

    def round(self, number: int) -> None:
        """Raw and ours in turn; then one row in a thousand is changed at east."""
        measures = [self._raw, self._unchanged]
        for measure in measures if number % 2 == 0 else reversed(measures):
            measure(number)
        self._churn(number)

    def _raw(self, number: int) -> None:
        before = self.field.servers_cpu_s(), time.process_time()
        seconds = asyncio.run(self._list_both())
        servers, ours = self.field.servers_cpu_s() - before[0], time.process_time() - before[1]
        self._note("listing", "raw listing of both", seconds, number, cpu_s=ours, servers_cpu_s=servers)
        self._note("processor", "raw listing of both", servers + ours, number)

    def _unchanged(self, number: int) -> None:
        before = self.field.servers_cpu_s()
        ran, tally = once(self.env)
        servers = self.field.servers_cpu_s() - before
        self._note("processor", "dcctl", servers + ran.cpu_s, number)
        if tally["kinds"]:
            raise SystemExit(f"unchanged: {tally}")
        self._note(
            "listing",
            "dcctl",
            ran.seconds,
            number,
            cpu_s=ran.cpu_s,
            peak_mb=ran.peak_mb,
            engine_s=tally["seconds"],
            servers_cpu_s=servers,
        )
        self.field.note("memory", "dcctl", ran.peak_mb, "MB", scale=self.scale, round=number)

    def _churn(self, number: int) -> None:
        """Six of ten changes are overwrites, four are new names, all over the container."""
        changes = max(self.rows // 1000, 10)
        dice = random.Random(number)  # noqa: S311
        old = dice.sample(range(self.rows), changes * 6 // 10)
        new = dice.sample(range(self.rows), changes - len(old))
        names = [f"2026/11/{n % 28:02}/{n:09}" for n in old]
        names += [f"2026/11/{n % 28:02}/{n:09}-{number}" for n in new]
        asyncio.run(fill(self.field.pair.east, self.container, names, age_s=20))
        time.sleep(1)
        copies = asyncio.run(
            raw_copies(self.field.pair, self.container, f"copies{number}", names, COPIES_IN_FLIGHT)
        )
        self._note("churn", "the copies alone, by a bare loop", copies, number)
        ran, tally = once(self.env)
        if tally["kinds"] != {"copied": changes}:
            raise SystemExit(f"churn: {tally}")
        self.rows += len(new)
        self._note(
            "churn", "dcctl", ran.seconds, number, cpu_s=ran.cpu_s, engine_s=tally["seconds"], changes=changes
        )
        unchanged = self.field.records.values("listing", "dcctl", self.scale)[number]
        wanted = unchanged + copies
        self._note("churn", "an unchanged pass and the copies", wanted, number)

    async def _list_both(self) -> float:
        began = time.monotonic()
        seen = await asyncio.gather(
            *(_list_raw(cluster, self.container) for cluster in self.field.pair.clusters)
        )
        if any(count != self.rows for count in seen):
            raise SystemExit(f"raw listing: {seen} of {self.rows}")
        return time.monotonic() - began

    def _note(self, row: str, what: str, seconds: float, number: int, **more: float) -> None:
        self.field.note(row, what, seconds, "s", scale=self.scale, round=number, **more)


async def _list_raw(cluster: Cluster, container: str) -> int:
    """Page after page as fast as the cluster gives them; nothing is read but where the next begins."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        marker, seen = "", 0
        while True:
            url, headers = raw_request(cluster, "GET", container, "")
            url = url.with_path(url.raw_path.rstrip("/"), encoded=True).with_query(
                {"format": "json", "limit": str(PAGE), "marker": marker}
            )
            headers["X-Container-Sync-Auth"] = KEYS.sign("GET", url.raw_path, "")
            async with session.get(url, headers=headers) as answer:
                page = await answer.read()
            if page == b"[]":
                return seen
            seen += page.count(b'"hash"')
            marker = json.loads(b"{" + page[page.rindex(b'{"') + 1 : -1])["name"]


def measure_listing(field: Field, rows: Sequence[int], repeat: int) -> None:
    """Unchanged passes at each size, and the churn."""
    for count in rows:
        scale = f"{count} rows"
        missing = [
            number for number in range(repeat) if not field.records.has("churn", "dcctl", scale, number)
        ]
        if not missing:
            continue
        listing = Listing(field, count)
        listing.first_pass()
        for number in missing:
            listing.round(number)
