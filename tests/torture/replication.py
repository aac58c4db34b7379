"""``make torture-replication``: two real Swift clusters under load and faults, judged by an oracle.

The oracle knows every acknowledged operation with the timestamp that Swift gave it, so it knows what one
cluster would have kept of all of them. Operations whose answer was lost may or may not have happened.
Counts, for ours and for each peer: lost writes, resurrected deletes, wrong metadata, names that did not
converge. Exit code 1 unless ours is zero in every column.

    python tests/torture/replication.py --seed 1 --seconds 40 --replicator ours --replicator container-sync
"""

# ruff: noqa: S311, PLR0917, E501  # loopback addresses only; chance, not secrets
import argparse
import asyncio
import contextlib
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from broken_replicators import BROKEN, what_went_wrong

from dcctl.adapters.swift import Keys, SwiftStore
from dcctl.domain.replication import Stamp
from dcctl.errors import Unreachable
from dcctl.testing.documents import document
from dcctl.testing.replication_site import REQUIREMENTS, ROOT, Environment, make_container
from dcctl.testing.swift_pair import (
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
CONTAINER = "docs"
FAULT_FILTER = "[filter:swift_faults]\npaste.filter_factory = swift_faults:filter_factory\n"


@dataclass
class Name:
    """Everything that happened to one name. ``None`` bytes are a delete."""

    bodies: list[tuple[Stamp, bytes | None]] = field(default_factory=list)
    posts: list[tuple[Stamp, str]] = field(default_factory=list)
    unknown_bodies: list[bytes | None] = field(default_factory=list)
    unknown_post: bool = False

    def expected(self) -> tuple[bytes | None, str | None]:
        stamp, body = max(self.bodies, key=lambda one: (one[0], _hash(one[1])), default=(Stamp(0), None))
        later = max((post for post in self.posts if post[0] > stamp), default=None)
        return body, later[1] if body is not None and later is not None else None


@dataclass
class Score:
    """What went wrong, by name."""

    lost: list[str] = field(default_factory=list)
    resurrected: list[str] = field(default_factory=list)
    metadata: list[str] = field(default_factory=list)
    apart: list[str] = field(default_factory=list)
    history: dict[str, list[str]] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        return {key: len(value) for key, value in vars(self).items() if key != "history"}


def _hash(body: bytes | None) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest() if body is not None else ""


class Clients:
    """What applications do at both sites: every operation is noted with what the cluster answered."""

    def __init__(self, pair: Pair, names: int, seed: int) -> None:
        self.pair = pair
        self.random = random.Random(seed)
        self.names = [f"o{number}" for number in range(names)]
        self.oracle: dict[str, Name] = defaultdict(Name)
        self.counts: dict[str, int] = defaultdict(int)
        self.tokens = {cluster.name: cluster.token() for cluster in pair.clusters}

    async def work(self, until: float, workers: int) -> None:
        limit = aiohttp.ClientTimeout(total=8)
        async with aiohttp.ClientSession(timeout=limit) as session:
            await asyncio.gather(*(self._worker(session, until) for _ in range(workers)))

    async def _worker(self, session: aiohttp.ClientSession, until: float) -> None:
        while time.monotonic() < until:
            cluster = self.random.choice(self.pair.clusters)
            name = self.random.choice(self.names)
            kind = self.random.choices(["put", "overwrite", "post", "delete", "tie"], [4, 3, 3, 2, 0.3])[0]
            try:
                await getattr(self, f"_{kind}")(session, cluster, name)
            except (aiohttp.ClientError, TimeoutError, OSError):
                self.counts["unknown"] += 1
            await asyncio.sleep(self.random.uniform(0, 0.1))

    async def _put(self, session: aiohttp.ClientSession, cluster: Cluster, name: str) -> None:
        body = self.random.randbytes(self.random.randint(0, 3000))
        one = self.oracle[name]
        one.unknown_bodies.append(body)
        status, stamp = await self._ask(session, "PUT", cluster, name, body, {"X-Object-Meta-K": "put"})
        if status in (201, 202):
            one.unknown_bodies.remove(body)
        if status == 201 and stamp:
            one.bodies.append((stamp, body))

    _overwrite = _put

    async def _post(self, session: aiohttp.ClientSession, cluster: Cluster, name: str) -> None:
        value = str(self.random.randrange(10**6))
        one = self.oracle[name]
        known, one.unknown_post = one.unknown_post, True
        status, stamp = await self._ask(session, "POST", cluster, name, None, {"X-Object-Meta-K": value})
        if status < 500:
            one.unknown_post = known
        if status == 202 and stamp:
            one.posts.append((stamp, value))

    async def _delete(self, session: aiohttp.ClientSession, cluster: Cluster, name: str) -> None:
        one = self.oracle[name]
        one.unknown_bodies.append(None)
        status, stamp = await self._ask(session, "DELETE", cluster, name, None, {})
        if status < 500:
            one.unknown_bodies.remove(None)
        if status in (204, 404) and stamp:  # a 404 lays a tombstone too
            one.bodies.append((stamp, None))

    async def _tie(self, _session: aiohttp.ClientSession, _cluster: Cluster, name: str) -> None:
        """The same name at the same instant of two clocks that agree, other bytes: by signed requests."""
        if any(cluster.offset_s for cluster in self.pair.clusters):
            return
        async with (
            SwiftStore("east", self.pair.east.url, KEYS) as a,
            SwiftStore("west", self.pair.west.url, KEYS) as b,
        ):
            stamp = Stamp(round((time.time() - 0.5) * 100_000))
            for store in (a, b):
                body = self.random.randbytes(20)
                self.oracle[name].unknown_bodies.append(body)
                with contextlib.suppress(Exception):
                    answer = await store.put(CONTAINER, name, stamp, document(body))
                    self.oracle[name].unknown_bodies.remove(body)
                    if answer.value == "applied":
                        self.oracle[name].bodies.append((stamp, body))

    async def _ask(
        self,
        session: aiohttp.ClientSession,
        method: str,
        cluster: Cluster,
        name: str,
        data: bytes | None,
        headers: dict[str, str],
    ) -> tuple[int, Stamp | None]:
        self.counts[method] += 1
        async with session.request(
            method,
            f"{cluster.url}/{CONTAINER}/{quote(name)}",
            data=data,
            headers={"X-Auth-Token": self.tokens[cluster.name], **headers},
        ) as answer:
            await answer.read()
            stamp = answer.headers.get("X-Object-Request-Timestamp")
            return answer.status, Stamp.parse(stamp) if stamp else None


async def judge(pair: Pair, oracle: dict[str, Name]) -> Score:
    """Look at both sites with signed requests and compare with what one cluster would have kept."""
    score = Score()
    async with SwiftStore("east", pair.east.url, KEYS) as a, SwiftStore("west", pair.west.url, KEYS) as b:
        listings = [
            {
                row["name"]: (row["hash"], row["last_modified"])
                for row in json.loads(await store.list_page(CONTAINER))
            }
            for store in (a, b)
        ]
        for name, one in sorted(oracle.items()):
            seen = [await _look(store, name) for store in (a, b)]
            if seen[0] != seen[1] or listings[0].get(name) != listings[1].get(name):
                score.apart.append(name)
            body, meta = one.expected()
            if seen[0] != seen[1] or listings[0].get(name) != listings[1].get(name):
                score.history[name] = [
                    *(
                        f"{stamp.text} {'DELETE' if found is None else _hash(found)[:6]}"
                        for stamp, found in sorted(one.bodies, key=lambda each: each[0])[-4:]
                    ),
                    *(f"{stamp.text} POST {value}" for stamp, value in sorted(one.posts)[-2:]),
                    *(
                        f"{store.site}: {got and (_hash(got[0])[:6], got[1], got[2].text)}"
                        for store, got in zip((a, b), seen, strict=True)
                    ),
                ]
            for got in seen:
                _judge_one(score, name, one, body, meta, got)
    return score


async def _look(store: SwiftStore, name: str) -> tuple[bytes, str | None, Stamp] | None:
    """One object; a proxy that had given up on its servers needs up to a minute to try them again."""
    deadline = time.monotonic() + 90
    while True:
        try:
            return await _look_once(store, name)
        except Unreachable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(1)


async def _look_once(store: SwiftStore, name: str) -> tuple[bytes, str | None, Stamp] | None:
    async with store.fetch(CONTAINER, name) as found:
        if found is None:
            return None
        return found.content or b"", found.head.headers.get("X-Object-Meta-K"), found.head.stamp


def _judge_one(
    score: Score,
    name: str,
    one: Name,
    body: bytes | None,
    meta: str | None,
    got: tuple[bytes, str | None, Stamp] | None,
) -> None:
    content = got[0] if got is not None else None
    if content != body:
        if content in one.unknown_bodies or (None in one.unknown_bodies and content is None):
            return
        wrong = score.resurrected if body is None else score.lost
        if name not in wrong:
            wrong.append(name)
        return
    wrong_meta = meta is not None and got is not None and got[1] != meta and not one.unknown_post
    if wrong_meta and name not in score.metadata:
        score.metadata.append(name)


# -- replicators


class Ours:
    """``dcctl replication follow``, killed and started again."""

    label = "ours"

    def __init__(self, pair: Pair, folder: Path) -> None:
        self.environment = Environment(folder, pair)
        text = (folder / "dcctl.yaml").read_text()
        text = text.replace(self.environment.docs, CONTAINER).replace("settled: 1s", "settled: 2s")
        (folder / "dcctl.yaml").write_text(text)
        self._run("init")
        self.process: subprocess.Popen[bytes] | None = None

    def _run(self, *argv: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "dcctl.cli.main", *self.environment.argv(*argv)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in (0, 4, 6, 8):
            raise SystemExit(f"dcctl replication {argv}: {done.returncode} {done.stderr}")
        return dict(json.loads(done.stdout)) if done.stdout else {}

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dcctl.cli.main", *self.environment.argv("follow", "--every", "0.3")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def settle(self, limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        quiet = 0
        while quiet < 2 and time.monotonic() < deadline:
            found = self._run("once", "--accept-empty", "--max-deletes", "100000").get("containers")
            quiet = quiet + 1 if found and not found[0]["kinds"] and not found[0]["resumed"] else 0
        if quiet < 2:
            print(f"did not come to rest: {found}", file=sys.stderr)


class ContainerSync:
    """Swift's own, with its daemon at each site once a second."""

    label = "container-sync"

    def __init__(self, pair: Pair, folder: Path) -> None:  # noqa: ARG002
        self.pair = pair
        for cluster, other in (pair.clusters, pair.clusters[::-1]):
            (cluster.folder / "conf/sync.conf").write_text(
                f"[DEFAULT]\nswift_dir = {cluster.folder}/conf\ndevices = {cluster.folder}/devices\n"
                f"mount_check = false\nuser = root\nbind_port = {cluster.ports['container']}\n"
                "log_level = ERROR\n[container-sync]\ninterval = 1\ncontainer_time = 30\n"
                f"internal_client_conf_path = {cluster.folder}/conf/internal.conf\nsync_proxy =\n"
            )
            (cluster.folder / "conf/internal.conf").write_text(
                f"[DEFAULT]\nswift_dir = {cluster.folder}/conf\n[pipeline:main]\n"
                "pipeline = catch_errors proxy-logging proxy-server\n[app:proxy-server]\nuse = egg:swift#proxy\n"
                "account_autocreate = true\n[filter:proxy-logging]\nuse = egg:swift#proxy_logging\n"
                "[filter:catch_errors]\nuse = egg:swift#catch_errors\n"
            )
            make_container(cluster, CONTAINER, f"//{REALM}/{other.name}/AUTH_test/{CONTAINER}")
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        for cluster in self.pair.clusters:
            self.processes.append(
                subprocess.Popen(
                    cluster.daemon_argv("container-sync", cluster.folder / "conf/sync.conf"),
                    env=cluster.environment,
                    stdout=subprocess.DEVNULL,
                    stderr=(cluster.folder / "sync.log").open("ab"),
                )
            )

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        self.processes.clear()

    def settle(self, limit_s: float) -> None:
        self.start()
        time.sleep(min(limit_s, 40))
        self.kill()


class RcloneBisync:
    """rclone's two-way sync, run after run."""

    label = "rclone bisync"

    def __init__(self, pair: Pair, folder: Path) -> None:
        self.folder = folder
        self.stop = False
        self.process: subprocess.Popen[bytes] | None = None
        lines = []
        for cluster in pair.clusters:
            make_container(cluster, CONTAINER)
            lines.append(
                f"[{cluster.name}]\ntype = swift\nauth = {cluster.auth_url}\nuser = {USER}\nkey = {PASSWORD}\n"
                "auth_version = 1\n"
            )
        (folder / "rclone.conf").write_text("\n".join(lines))
        self._bisync("--resync").wait()

    def _bisync(self, *more: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [
                "rclone",
                "--config",
                str(self.folder / "rclone.conf"),
                "bisync",
                f"east:{CONTAINER}",
                f"west:{CONTAINER}",
                "--workdir",
                str(self.folder / "work"),
                "--force",
                *more,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def start(self) -> None:
        script = (
            f"while :; do rclone --config {self.folder}/rclone.conf bisync east:{CONTAINER} west:{CONTAINER}"
            f" --workdir {self.folder}/work --force || rclone --config {self.folder}/rclone.conf bisync"
            f" east:{CONTAINER} west:{CONTAINER} --workdir {self.folder}/work --resync; sleep 1; done"
        )
        self.process = subprocess.Popen(
            ["sh", "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def kill(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                import os
                import signal

                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def settle(self, limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        for _ in range(3):
            if time.monotonic() < deadline and self._bisync().wait() != 0:
                self._bisync("--resync").wait()


REPLICATORS: dict[str, Callable[[Pair, Path], Any]] = {
    "ours": Ours,
    "container-sync": ContainerSync,
    "rclone-bisync": RcloneBisync,
}


async def faults(pair: Pair, replicator: Any, until: float, seed: int, log: list[str]) -> None:
    """Kill and start again, stop and go on, refuse and truncate, until the time is up; then all is well."""
    dice = random.Random(seed + 1)

    async def kill_server() -> None:
        cluster, server = dice.choice(pair.clusters), dice.choice(["proxy", "object", "container"])
        cluster.kill(server)
        await asyncio.sleep(dice.uniform(0.5, 2))
        cluster.start(server)
        log.append(f"killed {cluster.name} {server}")

    async def partition() -> None:
        cluster = dice.choice(pair.clusters)
        cluster.pause("proxy")
        await asyncio.sleep(dice.uniform(1, 4))
        cluster.unpause("proxy")
        log.append(f"stopped {cluster.name} proxy")

    async def kill_replicator() -> None:
        await asyncio.to_thread(replicator.kill)
        await asyncio.sleep(dice.uniform(0, 1))
        replicator.start()
        log.append("killed the replicator")

    async def refuse() -> None:
        for cluster in pair.clusters:
            (cluster.folder / "conf/faults.json").write_text('{"refuse": 0.05, "truncate": 0.1}')
        await asyncio.sleep(3)
        for cluster in pair.clusters:
            (cluster.folder / "conf/faults.json").write_text("{}")
        log.append("refused and truncated")

    kinds: list[Callable[[], Awaitable[None]]] = [kill_server, partition, kill_replicator, refuse]
    while time.monotonic() < until - 5:
        await asyncio.sleep(dice.uniform(0.5, 2))
        await dice.choice(kinds)()


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="dcctl-torture-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def one_run(
    kind: str, seed: int, seconds: float, names: int, offset_s: float
) -> tuple[Score, dict[str, int], int]:
    pipeline = PIPELINE.replace("container_sync ", "swift_faults container_sync ")
    with (
        _folder() as folder,
        two_clusters(
            REQUIREMENTS,
            pipeline=pipeline,
            extra_filters=FAULT_FILTER,
            offsets_s=(0.0, offset_s),
            files=(ROOT / "tests/swift/swift_faults.py",),
        ) as pair,
    ):
        for cluster in pair.clusters:
            make_container(cluster, CONTAINER)
        replicator = REPLICATORS[kind](pair, folder)
        clients = Clients(pair, names, seed)
        log: list[str] = []

        async def whole() -> Score:
            replicator.start()
            until = time.monotonic() + seconds
            await asyncio.gather(clients.work(until, 6), faults(pair, replicator, until, seed, log))
            await asyncio.to_thread(replicator.kill)
            for cluster in pair.clusters:
                cluster.start()
                cluster.wait_ready()
            await asyncio.sleep(3)
            for cluster in pair.clusters:
                await asyncio.to_thread(cluster.run_daemon, "object-updater")
            await asyncio.to_thread(replicator.settle, 120 + abs(offset_s))
            return await judge(pair, clients.oracle)

        score = asyncio.run(whole())
        return score, dict(clients.counts), len(log)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--names", type=int, default=40)
    parser.add_argument("--offset", type=float, default=0.0, help="seconds by which west's clock is ahead")
    parser.add_argument("--replicator", action="append", choices=[*REPLICATORS, *BROKEN])
    given = parser.parse_args()
    ok = True
    for kind in given.replicator or ["ours"]:
        if kind in BROKEN:
            ours, caught = what_went_wrong(kind, broken=False), what_went_wrong(kind, broken=True)
            print(json.dumps({"replicator": kind, "caught": caught, "ours": ours}), flush=True)
            ok = ok and bool(caught) and not ours
            continue
        score, counts, number = one_run(kind, given.seed, given.seconds, given.names, given.offset)
        print(
            json.dumps(
                {
                    "replicator": kind,
                    "seed": given.seed,
                    "offset_s": given.offset,
                    **score.counts,
                    "operations": counts,
                    "faults": number,
                }
            ),
            flush=True,
        )
        if kind == "ours" and any(score.counts.values()):
            print(json.dumps(vars(score)), flush=True)
            ok = False
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
