"""How late told writes arrive, and what the application feels of the replicator: clients beside programs."""

import asyncio
import contextlib
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import aiohttp
from replication_field import (
    LARGEST_BYTES,
    SMALLEST_BYTES,
    Field,
    arrivals,
    dcctl,
    fill,
    make_container,
    name_of,
    once,
)
from replication_seed import PEERS, TUNED

from dcctl.adapters.outbox import PostgresOutbox
from dcctl.testing.replication_site import Environment
from dcctl.testing.swift_pair import Cluster

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/contract"))
from postgres import PASSWORD as POSTGRES_PASSWORD
from postgres import running_postgres

CREATED = 201
OBJECT_READ = 200
WARM_UP_S = 3.0
GENTLE_PER_S = 100
"""About rclone's own pace: 50 objects a second."""
GRACE_S = 60.0


class Application:
    """A client with a token of its own cluster, as the document service is one."""

    def __init__(self, cluster: Cluster, session: aiohttp.ClientSession) -> None:
        self._cluster, self._session = cluster, session
        self._headers = {"X-Auth-Token": cluster.token()}
        self._dice = random.Random(cluster.name)  # noqa: S311

    async def put(self, container: str, name: str) -> bool:
        """Whether it was acknowledged (a busy cluster forgets tokens when its memcached is slow)."""
        body = self._dice.randbytes(self._dice.randint(SMALLEST_BYTES, LARGEST_BYTES))
        url = f"{self._cluster.url}/{container}/{name}"
        async with self._session.put(url, headers=self._headers, data=body) as answer:
            await answer.read()
            return answer.status == CREATED

    async def get(self, container: str, name: str) -> bool:
        async with self._session.get(
            f"{self._cluster.url}/{container}/{name}", headers=self._headers
        ) as answer:
            await answer.read()
            return answer.status == OBJECT_READ


async def steadily(work: Callable[[int], Awaitable[None]], rate: float, seconds: float) -> None:
    """``work`` so often, whether the one before has ended or not: a slow answer slows no client down."""
    began, running, number = time.monotonic(), set(), 0
    while time.monotonic() < began + seconds:
        task = asyncio.ensure_future(work(number))
        running.add(task)
        task.add_done_callback(running.discard)
        number += 1
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
    await asyncio.gather(*running)


# -- lag


def measure_lag(field: Field, rate: float, seconds: float, repeat: int) -> None:
    """``rate`` writes a second, half of them at each site, each told in a real outbox; ``follow`` carries.

    The lag of a write: from its acknowledgement at one site until it is durable at the other, by the other
    cluster's file system.
    """
    scale = f"{seconds:.0f} s"
    with running_postgres() as postgres:
        conninfo = f"host=127.0.0.1 port={postgres.port} user=postgres dbname=postgres"
        outboxes = [PostgresOutbox(conninfo, password=POSTGRES_PASSWORD) for _ in field.pair.clusters]
        outboxes[0].ensure_table()
        for number in range(repeat):
            if field.records.has("lag", "p99", scale, number):
                continue
            container = f"lag{number}"
            env = field.environment(container)
            _set_outbox(env, f"{conninfo} password={POSTGRES_PASSWORD}")
            with following(env):
                time.sleep(WARM_UP_S)
                acknowledged = asyncio.run(_write(field, outboxes, container, rate, seconds))
                lags, missing = _lags(field, container, acknowledged)
            for what, value in (
                ("p50", lags[len(lags) // 2]),
                ("p99", lags[int(len(lags) * 0.99)]),
                ("the longest", lags[-1]),
            ):
                field.note("lag", what, value, "s", scale=scale, round=number, rate=rate)
            field.note("lag", "writes", len(lags) + missing, "", scale=scale, round=number)
            field.note("lag", "not arrived", missing, "", scale=scale, round=number)


def _set_outbox(env: Environment, conninfo: str) -> None:
    secret = env.folder / "outbox"
    secret.write_text(conninfo)
    secret.chmod(0o600)
    path = env.folder / "dcctl.yaml"
    path.write_text(path.read_text().replace("  outbox:\n", "  outbox: file:outbox\n"))


@contextlib.contextmanager
def following(env: Environment, *more: str) -> "Iterator[subprocess.Popen[bytes]]":
    """``dcctl replication follow`` as a program."""
    with (env.folder / "follow.log").open("wb") as log:
        child = subprocess.Popen(dcctl(env, "follow", *more), stdout=log, stderr=log)
        try:
            yield child
            if child.poll() is not None:
                raise SystemExit(f"follow ended: {(env.folder / 'follow.log').read_text()[-2000:]}")
        finally:
            child.terminate()
            child.wait(60)


async def _write(
    field: Field, outboxes: Sequence[PostgresOutbox], container: str, rate: float, seconds: float
) -> dict[str, dict[str, float]]:
    """When each write was acknowledged, by site and name."""
    acknowledged: dict[str, dict[str, float]] = {cluster.name: {} for cluster in field.pair.clusters}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def site(cluster: Cluster, outbox: PostgresOutbox) -> None:
            application, one_at_a_time = Application(cluster, session), asyncio.Lock()

            async def write(number: int) -> None:
                name = f"{cluster.name}-{number:06}"
                async with one_at_a_time:
                    told = await asyncio.to_thread(outbox.begin, cluster.name, container, name)
                if not await application.put(container, name):
                    return
                acknowledged[cluster.name][name] = time.time()
                async with one_at_a_time:
                    await asyncio.to_thread(outbox.done, told)

            await steadily(write, rate / 2, seconds)

        await asyncio.gather(
            *(site(cluster, outbox) for cluster, outbox in zip(field.pair.clusters, outboxes, strict=True))
        )
    return acknowledged


def _lags(field: Field, container: str, acknowledged: dict[str, dict[str, float]]) -> tuple[list[float], int]:
    """Sorted; and how many writes have not arrived a minute after the last."""
    deadline, lags = time.monotonic() + GRACE_S, []
    wanted = sum(len(names) for names in acknowledged.values())
    while len(lags) < wanted:
        lags = []
        for cluster, other in (field.pair.clusters, field.pair.clusters[::-1]):
            told = acknowledged[cluster.name]
            lags += [at - told[name] for name, at in arrivals(other, container, list(told)).items()]
        if time.monotonic() > deadline:
            break
        time.sleep(0.5)
    return sorted(lags), wanted - len(lags)


# -- manners


def measure_manners(field: Field, objects: int, rate: float, seconds: float, repeat: int) -> None:
    """What a client of the source's cluster feels, ``rate`` requests a second, while others copy from it."""
    scale = f"{objects} objects"
    east, west = field.pair.clusters
    names = [name_of(number) for number in range(objects)]
    for cluster in (east, west):
        make_container(cluster, "app")
    make_container(east, "bulk")
    asyncio.run(fill(east, "app", names[:500]))
    asyncio.run(fill(east, "bulk", names))
    rclone = ["rclone", "--config", str(field.rclone_conf), "sync", "east:bulk", "west:bulk"]

    def copying() -> list[str]:
        return dcctl(field.environment("bulk"), "once")

    def limited() -> list[str]:
        env = field.environment("bulk")
        path = env.folder / "dcctl.yaml"
        path.write_text(
            path.read_text().replace("replication:", f"replication:\n  max_requests_per_s: {GENTLE_PER_S}", 1)
        )
        return dcctl(env, "once")

    def idle() -> list[str]:
        env = field.environment("app")
        once(env)
        return dcctl(env, "follow", "--every", "5")

    beside: dict[str, Callable[[], list[str]]] = {
        "nobody": lambda: ["sleep", "10000"],
        "dcctl follow, nothing to do": idle,
        "dcctl": copying,
        f"dcctl, max_requests_per_s: {GENTLE_PER_S}": limited,
        "rclone sync, default": lambda: rclone,
        "rclone sync, tuned": lambda: [*rclone, *TUNED],
    }
    assert set(PEERS) >= {"rclone sync, default", "rclone sync, tuned"}  # noqa: S101  # same names in all rows
    for number in range(repeat):
        for what, program in beside.items():
            if field.records.has("manners", f"{what}: p99", scale, number):
                continue
            field.empty(west)
            make_container(west, "app")
            took = asyncio.run(_feel(east, program(), names[:500], rate, seconds))
            more = {"requests": len(took), "mean_s": statistics.fmean(took)}
            for rank, value in (("p50", took[len(took) // 2]), ("p99", took[int(len(took) * 0.99)])):
                field.note(
                    "manners", f"{what}: {rank}", value * 1000, "ms", scale=scale, round=number, **more
                )


async def _feel(
    cluster: Cluster, beside: Sequence[str], names: Sequence[str], rate: float, seconds: float
) -> list[float]:
    """Sorted seconds of requests, three reads to one write, while a program runs beside them."""
    took: list[float] = []
    refused: list[float] = []
    child = await asyncio.create_subprocess_exec(
        *beside, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            application = Application(cluster, session)

            async def work(number: int) -> None:
                began = time.monotonic()
                if number % 4:
                    served = await application.get("app", names[number % len(names)])
                else:
                    served = await application.put("app", f"new{number}")
                (took if served else refused).append(time.monotonic() - began)

            await asyncio.sleep(WARM_UP_S)
            await steadily(work, rate, seconds)
        if child.returncode is not None:
            raise SystemExit(
                f"manners: {' '.join(beside)} ended before the measurement: more objects are needed"
            )
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
    if len(refused) > len(took) // 100:
        raise SystemExit(f"manners: {len(refused)} requests were refused")
    return sorted(took)
