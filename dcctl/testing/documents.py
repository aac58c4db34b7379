"""``ports.DocumentStore`` in memory: Swift's order of events, tombstones and all, in virtual time."""

import contextlib
import hashlib
import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from dcctl.domain.document import Answer, Document, Head, carried
from dcctl.domain.replication import TICKS_PER_S, Stamp
from dcctl.domain.replication_feed import Told
from dcctl.errors import NotFound, Unreachable

NEVER = Stamp(0)


@dataclass(frozen=True)
class Stored:
    """A body with its stamp, or a tombstone (``content`` None); metadata with the stamp of its POST."""

    body: Stamp
    content: bytes | None
    headers: Mapping[str, str] = field(default_factory=dict)
    meta: Stamp = NEVER

    @property
    def listed(self) -> Stamp:
        return max(self.body, self.meta)

    @property
    def delete_at(self) -> int:
        return int(next((v for k, v in self.headers.items() if k.lower() == "x-delete-at"), "0"))


class VirtualTime:
    """Seconds since 1970 that move only when told to; shared by everything in one test."""

    def __init__(self, now_s: float = 1_800_000_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def document(content: bytes, headers: Mapping[str, str] | None = None) -> Document:
    """A document to write, with the hash that its bytes have."""
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    given = {"Content-Type": "application/octet-stream", **(headers or {})}
    return Document(Head(digest, Stamp(0), len(content), given), content)


class MemoryStore:
    """One cluster. ``skew_s`` shifts its clock; after ``fail_after`` more calls it is away; ``hidden``
    names are stored and not listed (a container update that is late)."""

    def __init__(
        self,
        site: str,
        time: VirtualTime,
        *,
        skew_s: float = 0.0,
        reclaim_age_s: float = 604800.0,
        tells_bodies: bool = False,
    ) -> None:
        self.site = site
        self.time = time
        self.skew_s = skew_s
        self.reclaim_age_s = reclaim_age_s
        self.tells_bodies = tells_bodies
        self.containers: dict[str, dict[str, Stored]] = {"docs": {}}
        self.hidden: set[tuple[str, str]] = set()
        self.fail_after: int | None = None
        self.calls: list[str] = []
        self.hash_kept: str | None = None
        """What the cluster goes on calling the hash of bytes that have rotted."""

    def now(self) -> Stamp:
        return Stamp(round((self.time() + self.skew_s) * TICKS_PER_S))

    def silent_s(self) -> float:
        return 0.0

    # -- what clients do, with the cluster's own clock

    def client_put(self, container: str, name: str, content: bytes, **headers: str) -> bool:
        """An ordinary PUT; False is Swift's 202: not applied, so not an acknowledgement."""
        given = {key.replace("_", "-"): value for key, value in headers.items()}
        return self._put(container, name, self._tick(), document(content, given)) is Answer.APPLIED

    def client_post(self, container: str, name: str, **headers: str) -> bool:
        given = {key.replace("_", "-"): value for key, value in headers.items()}
        return self._post(container, name, self._tick(), given) is Answer.APPLIED

    def client_delete(self, container: str, name: str) -> bool:
        return self._delete(container, name, self._tick()) is Answer.APPLIED

    def _tick(self) -> Stamp:
        self.time.now_s += 1 / TICKS_PER_S
        return self.now()

    def listing(self, container: str) -> dict[str, tuple[str, Stamp, dict[str, str]]]:
        """Everything a client can see: hash, listed stamp and metadata by name."""
        return {
            name: (_hash(one.content), Stamp(one.listed.ticks), dict(one.headers))
            for name, one in sorted(self._reclaimed(container).items())
            if one.content is not None
        }

    # -- the port

    async def list_page(
        self,
        container: str,
        *,
        marker: str = "",
        upto: str | None = None,
        prefix: str = "",
        limit: int = 10_000,
    ) -> bytes:
        self._called("list")
        names = sorted(self._reclaimed(container), key=lambda name: name.encode())
        rows = [
            {
                "bytes": len(one.content),
                "hash": self.hash_kept or _hash(one.content),
                "name": name,
                "content_type": one.headers.get("Content-Type", ""),
                "last_modified": one.listed.instant.strftime("%Y-%m-%dT%H:%M:%S.%f"),
            }
            for name in names
            if (one := self.containers[container][name]).content is not None
            and name.encode() > marker.encode()
            and (upto is None or name.encode() <= upto.encode())
            and name.startswith(prefix)
            and (container, name) not in self.hidden
        ]
        return json.dumps(rows[:limit]).encode()

    @contextlib.asynccontextmanager
    async def fetch(self, container: str, name: str) -> AsyncIterator[Document | None]:
        head = await self.head(container, name)
        if head is None:
            yield None
            return
        content = self.containers[container][name].content
        yield Document(head, content)

    async def head(self, container: str, name: str) -> Head | None:
        self._called("head")
        one = self._live(container, name)
        if one is None or one.content is None:
            return None
        body = one.body if self.tells_bodies else None
        return Head(
            self.hash_kept or _hash(one.content),
            Stamp(one.listed.ticks),
            len(one.content),
            carried(one.headers),
            body,
        )

    async def put(self, container: str, name: str, stamp: Stamp, document: Document) -> Answer:
        self._called("put")
        if document.chunks is not None:
            content = b"".join([chunk async for chunk in document.chunks])
            document = replace(document, content=content, chunks=None)
        return self._put(container, name, stamp, document)

    async def post(self, container: str, name: str, stamp: Stamp, headers: Mapping[str, str]) -> Answer:
        self._called("post")
        return self._post(container, name, stamp, headers)

    async def delete(self, container: str, name: str, stamp: Stamp) -> Answer:
        self._called("delete")
        return self._delete(container, name, stamp)

    async def holds(self, container: str, name: str, stamp: Stamp) -> bool:
        self._called("holds")
        one = self._reclaimed(container).get(name)
        return one is not None and one.body >= stamp

    # -- Swift's object server

    def _put(self, container: str, name: str, stamp: Stamp, document: Document) -> Answer:
        stored = self._reclaimed(container)
        old = stored.get(name)
        if old is not None and old.body >= stamp:
            return Answer.OLDER
        assert document.content is not None
        if _hash(document.content) != document.head.hash:
            return Answer.DAMAGED
        new = Stored(stamp, document.content, dict(document.head.headers), stamp)
        if old is not None and old.content is not None and old.meta > stamp:
            new = replace(new, headers=_posted(new.headers, old.headers), meta=old.meta)
        stored[name] = new
        return Answer.APPLIED

    def _post(self, container: str, name: str, stamp: Stamp, headers: Mapping[str, str]) -> Answer:
        one = self._live(container, name)
        if one is None:
            return Answer.ABSENT
        if one.listed >= stamp:
            return Answer.OLDER
        self.containers[container][name] = replace(one, headers=_posted(one.headers, headers), meta=stamp)
        return Answer.APPLIED

    def _delete(self, container: str, name: str, stamp: Stamp) -> Answer:
        stored = self._reclaimed(container)
        live, old = self._live(container, name), stored.get(name)
        if live is not None and live.body >= stamp:
            return Answer.OLDER
        if old is None or old.body < stamp:
            stored[name] = Stored(stamp, None)
        return Answer.APPLIED if live is not None else Answer.ABSENT

    def _live(self, container: str, name: str) -> Stored | None:
        one = self._reclaimed(container).get(name)
        if one is None or one.content is None:
            return None
        return None if 0 < one.delete_at <= self.now().ticks // TICKS_PER_S else one

    def _reclaimed(self, container: str) -> dict[str, Stored]:
        """The container's names, tombstones older than ``reclaim_age`` forgotten."""
        if container not in self.containers:
            raise NotFound("list", on=f"{self.site}:{container}", saw="no such container")
        stored = self.containers[container]
        horizon = self.now().plus(-self.reclaim_age_s)
        for name in [name for name, one in stored.items() if one.content is None and one.body < horizon]:
            del stored[name]
        return stored

    def _called(self, what: str) -> None:
        self.calls.append(what)
        if self.fail_after is not None:
            if self.fail_after <= 0:
                raise Unreachable(what, on=self.site, saw="made to fail")
            self.fail_after -= 1


def _hash(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _posted(body: Mapping[str, str], post: Mapping[str, str]) -> dict[str, str]:
    """Metadata after a POST: all of it replaced, the content type kept unless given."""
    return {**({"Content-Type": body["Content-Type"]} if "Content-Type" in body else {}), **post}


class MemoryFeed:
    """``ports.ChangeFeed`` in memory, with what an application does to it."""

    def __init__(self, time: VirtualTime) -> None:
        self._time = time
        self._changes: dict[int, Told] = {}
        self._numbers = itertools.count(1)
        self.watched: tuple[str, ...] = ()

    def begin(self, site: str, container: str, name: str) -> int:
        number = next(self._numbers)
        self._changes[number] = Told(number, site, container, name, self._now(), None)
        return number

    def done(self, number: int) -> None:
        self._changes[number] = replace(self._changes[number], done=self._now())

    def watch(self, containers: Sequence[str]) -> None:
        self.watched = tuple(containers)

    def pending(self, limit: int) -> tuple[Told, ...]:
        return tuple(self._changes[number] for number in sorted(self._changes)[:limit])

    def settle(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._changes.pop(number, None)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._time(), UTC)
