"""``make bench-replication``: seed copies and unchanged passes on two real clusters, beside peers.

    python bench/replication.py --objects 10000 --rows 1000000 --repeat 5     the full figures
    python bench/replication.py --objects 400 --rows 100000 --repeat 1        a look, in two minutes

The ceiling is a raw loop of GET and signed PUT in this process with the number in flight that is fastest
here. Copies are timed from outside, as programs, Python's start included; passes over unchanged rows by
their own clock too. Medians.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dcctl.adapters.swift import Keys, SwiftStore
from dcctl.testing.documents import MemoryFeed, document
from dcctl.testing.replication_site import REQUIREMENTS, Environment, make_container
from dcctl.testing.swift_pair import (
    ACCOUNT,
    PASSWORD,
    REALM,
    REALM_KEY,
    SYNC_KEY,
    USER,
    Cluster,
    Pair,
    two_clusters,
)

KEYS = Keys(REALM, REALM_KEY, SYNC_KEY)
INJECT = """
import sys, random
from swift.common.utils import hash_path, storage_directory
from swift.container.backend import ContainerBroker
conf, devices, account, container, rows, stamp = sys.argv[1:]
from swift.common.utils import set_swift_dir
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


class Bench:
    """Two clusters with what is measured on them; figures by name."""

    def __init__(self, pair: Pair, folder: Path) -> None:
        self.pair, self.folder = pair, folder
        self.figures: dict[str, list[float]] = defaultdict(list)
        (folder / "rclone.conf").write_text(
            "\n".join(
                f"[{one.name}]\ntype = swift\nauth = {one.auth_url}\nuser = {USER}\nkey = {PASSWORD}\n"
                "auth_version = 1\n"
                for one in pair.clusters
            )
        )

    def note(self, name: str, value: float, unit: str) -> None:
        self.figures[f"{name} [{unit}]"].append(value)
        print(f"{name:<44} {value:10.1f} {unit}", file=sys.stderr, flush=True)

    def environment(self, container: str) -> Environment:
        """A configured environment that replicates ``container``."""
        folder = self.folder / container
        folder.mkdir()
        env = Environment(folder, self.pair)
        path = folder / "dcctl.yaml"
        path.write_text(path.read_text().replace(env.docs, container))
        env.docs = container
        return env

    def dcctl(self, env: Any, *argv: str) -> tuple[float, dict[str, Any]]:
        """Seconds and result of one command, run as a program."""
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "dcctl.cli.main", *env.argv(*argv)],
            capture_output=True,
            text=True,
            check=False,
        )
        took = time.monotonic() - began
        if done.returncode:
            raise SystemExit(f"dcctl {argv}: {done.returncode} {done.stderr}")
        return took, json.loads(done.stdout)

    # -- seed copies

    def seed(self, objects: int, repeat: int) -> None:
        best = 0
        for number in range(repeat):
            container = f"seed{number}"
            env = self.environment(container)
            self.dcctl(env, "init")
            asyncio.run(self._fill(self.pair.east, container, objects))
            for flight in (8, 16) if not best else (best,):
                rate = asyncio.run(self._ceiling(container, f"ceiling{number}-{flight}", objects, flight))
                self.note(f"seed: ceiling, {flight} in flight", rate, "objects/s")
            if not best:
                rates = {f: self.figures[f"seed: ceiling, {f} in flight [objects/s]"][0] for f in (8, 16)}
                best = max(rates, key=lambda flight: rates[flight])
            took, result = self.dcctl(env, "once")
            copied = result["containers"][0]["kinds"].get("copied", 0)
            if copied != objects:
                raise SystemExit(f"seed: {copied} of {objects} copied: {result}")
            self.note("seed: dcctl replication once", objects / took, "objects/s")
            self._rclone(container, f"rclone{number}", objects, "rclone sync, default")
            self._rclone(
                container,
                f"tuned{number}",
                objects,
                "rclone sync, tuned",
                "--transfers",
                "16",
                "--checkers",
                "16",
                "--fast-list",
                "--size-only",
            )
            self._swift(container, f"swift{number}", objects)

    async def _fill(self, cluster: Cluster, container: str, objects: int) -> None:
        dice = random.Random(1)  # noqa: S311
        sizes = [dice.randint(1024, 65536) for _ in range(objects)]
        async with SwiftStore(cluster.name, cluster.url, KEYS) as store:
            await store.list_page(container)
            left = iter(range(objects))

            async def worker() -> None:
                for number in left:
                    body = document(os.urandom(sizes[number]))
                    await store.put(container, f"o{number:07}", store.now().plus(-3600), body)

            await asyncio.gather(*(worker() for _ in range(12)))

    async def _ceiling(self, source: str, target: str, objects: int, flight: int) -> float:
        make_container(self.pair.west, target)
        async with (
            SwiftStore("east", self.pair.east.url, KEYS) as a,
            SwiftStore("west", self.pair.west.url, KEYS) as b,
        ):
            left = iter(range(objects))

            async def worker() -> None:
                for number in left:
                    async with a.fetch(source, f"o{number:07}") as found:
                        assert found is not None  # noqa: S101
                        await b.put(target, f"o{number:07}", found.head.stamp, found)

            began = time.monotonic()
            await asyncio.gather(*(worker() for _ in range(flight)))
            return objects / (time.monotonic() - began)

    def _rclone(self, source: str, target: str, objects: int, label: str, *more: str) -> None:
        argv = [
            "rclone",
            "--config",
            str(self.folder / "rclone.conf"),
            "sync",
            f"east:{source}",
            f"west:{target}",
        ]
        self._timed(f"seed: {label}", [*argv, *more], objects)

    def _swift(self, source: str, target: str, objects: int) -> None:
        work = self.folder / target
        work.mkdir()
        program = str(Path(sys.executable).with_name("swift"))
        login = {one.name: ["-A", one.auth_url, "-U", USER, "-K", PASSWORD] for one in self.pair.clusters}
        script = [
            [program, *login["east"], "download", source, "-D", str(work), "-q"],
            [program, *login["west"], "upload", target, str(work), "--object-name", "", "-q"],
        ]
        began = time.monotonic()
        for argv in script:
            subprocess.run(argv, check=True, capture_output=True)
        self.note("seed: swift download, swift upload", objects / (time.monotonic() - began), "objects/s")
        shutil.rmtree(work)

    def _timed(self, label: str, argv: list[str], objects: int) -> None:
        began = time.monotonic()
        subprocess.run(argv, check=True, capture_output=True)
        self.note(label, objects / (time.monotonic() - began), "objects/s")

    # -- lag

    def lag(self, rate: float, seconds: float) -> None:
        """Writes at ``rate`` a second, half of them at each side, each told; how late they arrive."""
        env = self.environment("lag")
        self.dcctl(env, "init")
        lags, pending = asyncio.run(self._lag(rate, seconds))
        lags.sort()
        self.note(f"lag at {rate:.0f} writes/s, p50", lags[len(lags) // 2], "s")
        self.note(f"lag at {rate:.0f} writes/s, p99", lags[int(len(lags) * 0.99)], "s")
        self.note(f"writes told and not arrived after {seconds:.0f} s", pending, "writes")

    async def _lag(self, rate: float, seconds: float) -> tuple[list[float], int]:
        from dcctl.adapters.replication_base import SqliteBase  # noqa: PLC0415
        from dcctl.domain.replication import Side  # noqa: PLC0415
        from dcctl.engines.replication import Options, Replication  # noqa: PLC0415
        from dcctl.engines.replication_follow import carry_told  # noqa: PLC0415
        from dcctl.engines.replication_manners import Time  # noqa: PLC0415

        clock = Time()
        feed = MemoryFeed(clock.now)  # type: ignore[arg-type]  # wall time
        base = SqliteBase(self.folder / "lag.sqlite", "bench")
        lags: list[float] = []
        stop = time.monotonic() + seconds
        async with (
            SwiftStore("east", self.pair.east.url, KEYS) as a,
            SwiftStore("west", self.pair.west.url, KEYS) as b,
        ):
            for store in (a, b):
                await store.list_page("lag")
            replication = Replication({Side.A: a, Side.B: b}, base, Options(), clock)
            dice = random.Random(3)  # noqa: S311

            async def write(store: SwiftStore, number: int) -> None:
                told = feed.begin(store.site, "lag", f"{store.site}{number}")
                body = document(dice.randbytes(dice.randint(1024, 65536)))
                await store.put("lag", f"{store.site}{number}", store.now(), body)
                feed.done(told)

            async def writer(store: SwiftStore) -> None:
                began, number, running = time.monotonic(), 0, set()
                while time.monotonic() < stop:
                    task = asyncio.create_task(write(store, number))
                    running.add(task)
                    task.add_done_callback(running.discard)
                    number += 1
                    await asyncio.sleep(max(0.0, began + number * 2 / rate - time.monotonic()))
                await asyncio.gather(*running)

            async def carrier() -> None:
                while time.monotonic() < stop + 1:
                    if not await carry_told(
                        replication, feed, lambda _site, lag_s: lags.append(lag_s), clock, patience_s=30
                    ):
                        await asyncio.sleep(0.05)

            await asyncio.gather(writer(a), writer(b), carrier())
        base.close()
        return lags, len(feed.pending(100_000))

    # -- unchanged passes

    def unchanged(self, rows: int, repeat: int) -> None:
        container = f"rows{rows}"
        env = self.environment(container)
        self.dcctl(env, "init")
        for cluster in self.pair.clusters:
            make_container(cluster, container)
            inject(cluster, container, rows)
        took, _ = self.dcctl(env, "once")
        self.note(f"first pass over {rows} rows, no base", took, "s")
        for _ in range(repeat):
            raw = asyncio.run(self._raw_listing(container, rows))
            self.note(f"raw listing of both sides, {rows} rows", raw, "s")
            took, result = self.dcctl(env, "once")
            if result["containers"][0]["rows"] != rows:
                raise SystemExit(f"unchanged: {result}")
            self.note(f"unchanged pass over {rows} rows, as a program", took, "s")
            self.note(f"unchanged pass over {rows} rows", result["containers"][0]["seconds"], "s")
            self.note(f"memory of an unchanged pass over {rows} rows", self._memory(env), "MB")
        churn = rows // 1000
        asyncio.run(self._overwrite(container, rows, churn))
        took, result = self.dcctl(env, "once")
        self.note(f"pass over {rows} rows, {churn} changed", result["containers"][0]["seconds"], "s")
        if result["containers"][0]["kinds"].get("copied") != churn:
            raise SystemExit(f"churn: {result}")

    def _memory(self, env: Any) -> float:
        """Peak resident megabytes of one pass, from a child of its own."""
        script = (
            "import resource, subprocess, sys;"
            "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, sys.executable, "-m", "dcctl.cli.main", *env.argv("once")],
            capture_output=True,
            text=True,
            check=True,
        )
        return int(done.stdout) / 1024

    async def _raw_listing(self, container: str, rows: int) -> float:
        async def one(cluster: Cluster) -> None:
            async with SwiftStore(cluster.name, cluster.url, KEYS) as store:
                marker, seen = "", 0
                while page := await store.list_page(container, marker=marker):
                    if page == b"[]":
                        break
                    seen += page.count(b'"hash"')
                    marker = json.loads(b"{" + page[page.rindex(b'"bytes"') : -2] + b"}")["name"]
                if seen != rows:
                    raise SystemExit(f"raw listing: {seen} of {rows}")

        began = time.monotonic()
        await asyncio.gather(*(one(cluster) for cluster in self.pair.clusters))
        return time.monotonic() - began

    async def _overwrite(self, container: str, rows: int, count: int) -> None:
        async with SwiftStore("east", self.pair.east.url, KEYS) as store:
            await store.list_page(container, limit=1)
            for each in range(count):
                number = each * (rows // count)
                name = f"2026/11/{number % 28:02}/{number:09}"
                await store.put(container, name, store.now().plus(-20), document(b"changed"))


def inject(cluster: Cluster, container: str, rows: int) -> None:
    """Rows straight into the container's database: a listing needs no objects."""
    stamp = f"{time.time() - 86400:.5f}" if not hasattr(inject, "stamp") else inject.stamp
    inject.stamp = stamp  # type: ignore[attr-defined]
    subprocess.run(
        [
            str(cluster.bin / "python"),
            "-W",
            "ignore",
            "-c",
            INJECT,
            str(cluster.folder / "conf"),
            str(cluster.folder / "devices"),
            ACCOUNT,
            container,
            str(rows),
            stamp,
        ],
        check=True,
    )


def ratios(figures: dict[str, float]) -> dict[str, float]:
    """The figures that the objectives speak of, as far as they were measured."""
    found = {}
    ours = figures.get("seed: dcctl replication once [objects/s]")
    ceiling = max((v for k, v in figures.items() if k.startswith("seed: ceiling")), default=None)
    if ours and ceiling:
        found["seed, ours to the ceiling"] = ours / ceiling
    for name, value in figures.items():
        if ours and name.startswith(("seed: rclone", "seed: swift")):
            found[f"seed, ours to {name[6:].partition(' [')[0]}"] = ours / value
        if name.startswith("raw listing"):
            rows = name.split(",")[1].split()[0]
            found[f"listing rate, ours to raw, {rows} rows"] = (
                value / figures[f"unchanged pass over {rows} rows [s]"]
            )
    return found


def half_the_ceiling(figures: dict[str, list[float]]) -> float:
    """Half the rate of the raw loop of this run."""
    return max(statistics.median(v) for k, v in figures.items() if k.startswith("seed: ceiling")) / 2


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="dcctl-bench-"))
    try:
        with two_clusters(REQUIREMENTS) as pair:
            bench = Bench(pair, folder)
            parts: list[Callable[[], None]] = []
            if given.objects:
                parts.append(lambda: bench.seed(given.objects, given.repeat))
            if given.objects:
                parts.append(lambda: bench.lag(half_the_ceiling(bench.figures), 20))
            if given.rows:
                parts.append(lambda: bench.unchanged(10_000, given.repeat))
                parts.append(lambda: bench.unchanged(given.rows, given.repeat))
            for part in parts:
                part()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    medians = {name: statistics.median(values) for name, values in bench.figures.items()}
    report = {"medians": medians, "ratios": ratios(medians), "load": os.getloadavg()}
    report["self_max_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    json.dump(report, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
