"""What every row of the replication benchmark is measured on: two real clusters, programs, their disks."""

import asyncio
import contextlib
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from replication_record import Figure, Records
from yarl import URL

from dcctl.adapters.swift import Keys, SwiftStore
from dcctl.testing import replication_site
from dcctl.testing.documents import document
from dcctl.testing.replication_site import REQUIREMENTS, Environment
from dcctl.testing.swift_pair import (
    ACCOUNT,
    PASSWORD,
    PIPELINE,
    REALM,
    REALM_KEY,
    SYNC_KEY,
    USER,
    Cluster,
    Pair,
    two_clusters,
)

KEYS = Keys(REALM, REALM_KEY, SYNC_KEY)
FILTER = Path(__file__).with_name("replication_filter.py")
SMALLEST_BYTES, LARGEST_BYTES = 1024, 65536


@dataclass(frozen=True)
class Ran:
    """A program that ended well, as the operating system accounts for it."""

    seconds: float
    cpu_s: float
    peak_mb: float
    output: str


def run_program(argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> Ran:
    """Run to the end. A program that fails ends the benchmark, with what it said."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        began = time.monotonic()
        child = subprocess.Popen(argv, stdout=out, stderr=err, env=env)
        peak_kb, ended = 0, 0
        try:
            while not ended:
                peak_kb = max(peak_kb, _peak_kb(child.pid))
                time.sleep(0.01)
                ended, status, used = os.wait4(child.pid, os.WNOHANG)
        except BaseException:
            child.kill()
            raise
        seconds = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if child.returncode:
            raise SystemExit(f"{' '.join(argv)}: {child.returncode}: {err.read()[-2000:]}")
        return Ran(seconds, used.ru_utime + used.ru_stime, peak_kb / 1024, out.read())


def _peak_kb(pid: int) -> int:
    """The kernel's high-water mark (rusage's counts what the process was before it became the program)."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0


class Field:
    """Two clusters under measurement, and where figures go."""

    def __init__(self, pair: Pair, folder: Path, records: Records) -> None:
        self.pair, self.folder, self.records = pair, folder, records
        self._lives = 0
        self.rclone_conf = folder / "rclone.conf"
        self.rclone_conf.write_text(
            "\n".join(
                f"[{one.name}]\ntype = swift\nauth = {one.auth_url}\nuser = {USER}\nkey = {PASSWORD}\n"
                "auth_version = 1\n"
                for one in pair.clusters
            )
        )

    def note(
        self, row: str, what: str, value: float, unit: str, *, scale: str, round: int, **more: Any
    ) -> None:
        """Keep a figure and show it."""
        at, load = datetime.now(UTC).isoformat(timespec="seconds"), os.getloadavg()[0]
        self.records.add(Figure(row, what, value, unit, round, scale, at, load, more))
        print(f"{row:<10} {scale:<14} {round} {what:<36} {value:10.3f} {unit}", file=sys.stderr, flush=True)

    def environment(self, *containers: str) -> Environment:
        """A new configured environment that replicates these containers; its base is empty."""
        self._lives += 1
        folder = self.folder / f"life{self._lives}"
        folder.mkdir()
        env = Environment(folder, self.pair)
        path = folder / "dcctl.yaml"
        path.write_text(path.read_text().replace(f"[{env.docs}]", f"[{', '.join(containers)}]"))
        env.containers, env.docs = list(containers), containers[0]
        run_program(dcctl(env, "init"))
        return env

    def servers_cpu_s(self) -> float:
        """Processor seconds of all servers of both clusters since they started."""
        return sum(_cpu_s(one.pid) for cluster in self.pair.clusters for one in cluster.processes.values())

    def empty(self, cluster: Cluster) -> None:
        """Have the cluster forget everything: each copy goes to an empty one."""
        cluster.kill()
        shutil.rmtree(cluster.folder / "devices")
        (cluster.folder / "devices/d1").mkdir(parents=True)
        cluster.start()
        cluster.wait_ready()
        os.sync()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def field(records: Records, *, latency_s: float = 0.0, counting: bool = False) -> Iterator[Field]:
    """Two clusters, gone at the end. With ``latency_s`` every proxy answers later by so much, at no cost."""
    kwargs: dict[str, Any] = {}
    if latency_s or counting:
        kwargs = {
            "pipeline": PIPELINE.replace("catch_errors", "catch_errors replication_filter", 1),
            "extra_filters": "[filter:replication_filter]\n"
            "paste.filter_factory = replication_filter:filter_factory\n"
            f"latency_s = {latency_s}\n",
            "files": (FILTER,),
        }
    folder = Path(tempfile.mkdtemp(prefix="dcctl-bench-"))
    try:
        with two_clusters(REQUIREMENTS, **kwargs) as pair:
            yield Field(pair, folder, records)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def dcctl(env: Environment, *argv: str) -> list[str]:
    return [sys.executable, "-m", "dcctl.cli.main", *env.argv(*argv)]


def once(env: Environment) -> tuple[Ran, dict[str, Any]]:
    """One pass as a program; what it says of its (first) container."""
    ran = run_program(dcctl(env, "once"))
    return ran, json.loads(ran.output)["containers"][0]


def make_container(cluster: Cluster, name: str) -> None:
    """Make it on a cluster that may be so busy that its memcached forgets a token."""
    for left in reversed(range(10)):
        try:
            replication_site.make_container(cluster, name)
        except urllib.error.HTTPError as error:
            error.close()
            if not left:
                raise
            time.sleep(1)
        else:
            return


def name_of(number: int) -> str:
    return f"o{number:07}"


async def fill(
    cluster: Cluster, container: str, names: Sequence[str], *, age_s: float = 3600, flight: int = 8
) -> None:
    """Objects of 1 to 64 KB that are an hour old."""
    dice = random.Random(1)  # noqa: S311
    sizes = [dice.randint(SMALLEST_BYTES, LARGEST_BYTES) for _ in names]
    async with SwiftStore(cluster.name, cluster.url, KEYS) as store:
        await store.list_page(container, limit=1)  # looks at the clock
        left = iter(zip(names, sizes, strict=True))

        async def worker() -> None:
            for name, size in left:
                body = document(os.urandom(size))
                await store.put(container, name, store.now().plus(-age_s), body)

        await asyncio.gather(*(worker() for _ in range(flight)))


def raw_request(
    cluster: Cluster, method: str, container: str, name: str, stamp: str = ""
) -> tuple[URL, dict[str, str]]:
    """Where to send a signed request, and with which headers; no more than Swift asks for."""
    path = quote(f"/v1/{ACCOUNT}/{container}/{name}")
    headers = {"X-Container-Sync-Auth": KEYS.sign(method, path, stamp)}
    if stamp:
        headers["X-Timestamp"] = stamp
    return URL(cluster.endpoint.removesuffix("/v1") + path, encoded=True), headers


async def raw_copies(pair: Pair, source: str, target: str, names: Sequence[str], flight: int) -> float:
    """Seconds that a bare loop takes: GET at east, signed PUT at west, ``flight`` at once. The ceiling."""
    make_container(pair.west, target)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        left = iter(names)

        async def worker() -> None:
            for name in left:
                url, headers = raw_request(pair.east, "GET", source, name)
                async with session.get(url, headers=headers) as answer:
                    body, stamp, etag = (
                        await answer.read(),
                        answer.headers["X-Timestamp"],
                        answer.headers["Etag"],
                    )
                    assert answer.status == 200  # noqa: S101, PLR2004
                url, headers = raw_request(pair.west, "PUT", target, name, stamp)
                async with session.put(url, headers={**headers, "ETag": etag}, data=body) as answer:
                    await answer.read()
                    assert answer.status == 201  # noqa: S101, PLR2004

        began = time.monotonic()
        await asyncio.gather(*(worker() for _ in range(flight)))
        return time.monotonic() - began


def arrivals(cluster: Cluster, container: str, names: Sequence[str]) -> dict[str, float]:
    """When each object was made durable at ``cluster``, seconds since 1970, by the file system's own word."""
    wanted = {
        hashlib.md5(
            f"dcctl/{ACCOUNT}/{container}/{name}dcctl".encode(), usedforsecurity=False
        ).hexdigest(): name
        for name in names
    }
    return {
        wanted[path.parent.name]: path.stat().st_ctime
        for path in (cluster.folder / "devices/d1/objects").glob("*/*/*/*.data")
        if path.parent.name in wanted
    }


def count_objects(cluster: Cluster) -> int:
    return sum(1 for _ in (cluster.folder / "devices/d1/objects").glob("*/*/*/*.data"))


def last_arrival(cluster: Cluster) -> float:
    return max(path.stat().st_ctime for path in (cluster.folder / "devices/d1/objects").glob("*/*/*/*.data"))


def set_sync(cluster: Cluster, container: str, to: str) -> None:
    """Point Swift's own container-sync at ``to``; "" stops it, and makes it begin anew when set again."""
    headers = {"X-Auth-Token": cluster.token(), "X-Container-Sync-To": to}
    request = urllib.request.Request(f"{cluster.url}/{container}", method="POST", headers=headers)  # noqa: S310
    urllib.request.urlopen(request).close()  # noqa: S310
