"""What applications do at both sites; the oracle is told of every operation and of its answer."""

# ruff: noqa: S311  # chance, not secrets
import asyncio
import contextlib
import email.utils
import itertools
import json
import random
import time
from collections import defaultdict
from dataclasses import replace

import aiohttp
from replication_oracle import KEYS, NEVER, Change, Oracle

from dcctl.adapters.swift import SwiftStore
from dcctl.domain.document import Answer
from dcctl.domain.replication import TICKS_PER_S, Stamp
from dcctl.errors import DcctlError
from dcctl.testing.documents import document
from dcctl.testing.swift_pair import Cluster, Pair

CLIENT_LIMIT_S = 8
SEGMENTS = "segments"
KINDS = {
    "put": 6.0,
    "post": 3.0,
    "delete": 2.0,
    "tie": 0.4,
    "large": 0.4,
    "put_for_a_while": 0.8,
    "post_for_a_while": 0.4,
}
FOR_EVER = {kind: weight for kind, weight in KINDS.items() if not kind.endswith("for_a_while")}


class Client:
    """Operations of an application with a token. One whose answer is lost raises, and stays unknown."""

    def __init__(
        self, session: aiohttp.ClientSession, tokens: dict[str, str], oracle: Oracle, container: str
    ) -> None:
        self.oracle = oracle
        self.counts: dict[str, int] = defaultdict(int)
        self._session = session
        self._tokens = tokens
        self._container = container
        self._numbers = itertools.count(1)

    async def put(self, cluster: Cluster, name: str, body: bytes, *, delete_at: int = 0) -> int:
        return await self._write(cluster, name, self._change(body, delete_at), body)

    async def large(self, cluster: Cluster, name: str, *parts: bytes) -> None:
        """A static large object: segments first, then the manifest that names them."""
        manifest = []
        for part in parts:
            path = f"{SEGMENTS}/{name}-{next(self._numbers)}"
            status, _stamp = await self._ask("PUT", cluster, path, data=part)
            if status != 201:
                return
            manifest.append({"path": f"/{path}"})
        change = self._change(b"".join(parts), 0)
        await self._write(cluster, name, change, json.dumps(manifest).encode(), "?multipart-manifest=put")

    async def post(self, cluster: Cluster, name: str, *, delete_at: int = 0) -> int:
        history, change = self.oracle[name], self._change(None, delete_at)
        history.unknown_posts.append(change)
        status, stamp = await self._ask("POST", cluster, self._path(name), headers=_headers(change))
        if status < 500:
            history.unknown_posts.remove(change)
        if status == 202 and stamp is not None:
            history.posts.append(replace(change, stamp=stamp))
        return status

    async def delete(self, cluster: Cluster, name: str) -> int:
        history, change = self.oracle[name], Change(NEVER)
        history.unknown_writes.append(change)
        status, stamp = await self._ask("DELETE", cluster, self._path(name))
        if status < 500:
            history.unknown_writes.remove(change)
        if status in (204, 404) and stamp is not None:  # a 404 lays a tombstone too
            history.writes.append(replace(change, stamp=stamp))
        return status

    async def tie(self, pair: Pair, name: str, *bodies: bytes) -> None:
        """The same name at the same instant of two clocks, other bytes: by signed requests."""
        behind_s = min(cluster.offset_s for cluster in pair.clusters)
        stamp = Stamp(round((time.time() + behind_s - 0.5) * TICKS_PER_S))
        for cluster, body in zip(pair.clusters, bodies, strict=True):
            self.counts["TIE"] += 1
            change = Change(NEVER, body)
            self.oracle[name].unknown_writes.append(change)
            with contextlib.suppress(DcctlError):
                async with SwiftStore(cluster.name, cluster.url, KEYS) as store:
                    answer = await store.put(self._container, name, stamp, document(body))
                self.oracle[name].unknown_writes.remove(change)
                if answer is Answer.APPLIED:
                    self.oracle[name].writes.append(replace(change, stamp=stamp))

    async def _write(self, cluster: Cluster, name: str, change: Change, data: bytes, query: str = "") -> int:
        history = self.oracle[name]
        history.unknown_writes.append(change)
        path = self._path(name) + query
        status, stamp = await self._ask("PUT", cluster, path, data=data, headers=_headers(change))
        if status < 500 and (status != 201 or stamp is not None):
            history.unknown_writes.remove(change)
        if status == 201 and stamp is not None:
            history.writes.append(replace(change, stamp=stamp))
        if status == 202 and stamp is not None:
            await self._why_older(cluster, name, stamp)
        return status

    async def _why_older(self, cluster: Cluster, name: str, stamp: Stamp) -> None:
        """A client's PUT was answered 202: is what is there from the cluster's future?"""
        self.counts["202"] += 1
        url = f"{cluster.url}/{self._path(name)}"
        async with self._session.head(url, headers=self._signed_in(cluster)) as answer:
            there, date = answer.headers.get("X-Timestamp"), answer.headers.get("Date")
        if there is None or date is None:
            return
        now_s = email.utils.parsedate_to_datetime(date).timestamp()
        if Stamp.parse(there).ticks > (now_s + 1) * TICKS_PER_S:
            self.oracle[name].vanished.append(
                f"{stamp.text} PUT at {cluster.name} was answered 202: {there} is there, at {date}"
            )

    async def _ask(
        self,
        method: str,
        cluster: Cluster,
        path: str,
        *,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Stamp | None]:
        self.counts[method] += 1
        given = {**self._signed_in(cluster), **(headers or {})}
        url = f"{cluster.url}/{path}"
        async with self._session.request(method, url, data=data, headers=given) as answer:
            await answer.read()
            stamp = answer.headers.get("X-Object-Request-Timestamp")
            return answer.status, Stamp.parse(stamp) if stamp else None

    def _path(self, name: str) -> str:
        return f"{self._container}/{name}"

    def _signed_in(self, cluster: Cluster) -> dict[str, str]:
        return {"X-Auth-Token": self._tokens[cluster.name]}

    def _change(self, body: bytes | None, delete_at: int) -> Change:
        return Change(NEVER, body, str(next(self._numbers)), delete_at)


def _headers(change: Change) -> dict[str, str]:
    headers = {"X-Object-Meta-K": str(change.meta)}
    return headers | ({"X-Delete-At": str(change.delete_at)} if change.delete_at else {})


class Crowd:
    """Clients that do what the seed says, at both sites at once, on few names."""

    def __init__(
        self, pair: Pair, client: Client, names: int, seed: int, kinds: dict[str, float] = KINDS
    ) -> None:
        self._pair = pair
        self._client = client
        self._names = [f"o{number}" for number in range(names)]
        self._dice = random.Random(seed)
        self._kinds = kinds

    async def work(self, until: float, clients: int) -> None:
        """Until the monotonic clock says ``until``."""
        await asyncio.gather(*(self._work(until) for _ in range(clients)))

    async def _work(self, until: float) -> None:
        while time.monotonic() < until:
            kind = self._dice.choices(list(self._kinds), list(self._kinds.values()))[0]
            cluster, name = self._dice.choice(self._pair.clusters), self._dice.choice(self._names)
            try:
                await self._do(kind, cluster, name)
            except (aiohttp.ClientError, TimeoutError, OSError):
                self._client.counts["unknown"] += 1
            await asyncio.sleep(self._dice.uniform(0, 0.1))

    async def _do(self, kind: str, cluster: Cluster, name: str) -> None:
        bytes_of = self._dice.randbytes
        until = int(time.time() + max(0.0, cluster.offset_s)) + self._dice.randint(3, 9)
        match kind:
            case "put":
                await self._client.put(cluster, name, bytes_of(self._dice.randint(0, 3000)))
            case "put_for_a_while":
                await self._client.put(cluster, name, bytes_of(50), delete_at=until)
            case "post":
                await self._client.post(cluster, name)
            case "post_for_a_while":
                await self._client.post(cluster, name, delete_at=until)
            case "delete":
                await self._client.delete(cluster, name)
            case "large":
                await self._client.large(cluster, name, bytes_of(300), bytes_of(200))
            case "tie":
                await self._client.tie(self._pair, name, bytes_of(20), bytes_of(20))
