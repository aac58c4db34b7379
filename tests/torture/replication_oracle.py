"""The oracle: it knows every acknowledged operation with the timestamp that Swift gave it.

So it knows what one cluster would have kept of all of them. An operation whose answer was lost may have
happened or not; where its bytes are found, it happened, at the timestamp that they carry.
"""

import asyncio
import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import aiohttp

from dcctl.adapters.swift import Keys, SwiftStore
from dcctl.domain.document import Head
from dcctl.domain.replication import TICKS_PER_S, Row, Stamp, row_of
from dcctl.errors import Unreachable
from dcctl.testing.swift_pair import REALM, REALM_KEY, SYNC_KEY, Cluster, Pair

KEYS = Keys(REALM, REALM_KEY, SYNC_KEY)
NEVER = Stamp(0)
LATE = Stamp(10**16)
LOOK_LIMIT_S = 90
COLUMNS = ("lost", "resurrected", "metadata", "apart")


@dataclass(frozen=True)
class Change:
    """A body (None: a delete) with its metadata, or the metadata of a POST."""

    stamp: Stamp
    body: bytes | None = None
    meta: str | None = None
    delete_at: int = 0


@dataclass(frozen=True)
class Seen:
    """An object as a client gets it, and what it was stored with."""

    content: bytes
    head: Head

    @property
    def headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.head.headers.items()}

    @property
    def meta(self) -> str | None:
        return self.headers.get("x-object-meta-k")


@dataclass
class History:
    """Everything that happened to one name. ``vanished`` are writes that a future timestamp swallowed."""

    writes: list[Change] = field(default_factory=list)
    posts: list[Change] = field(default_factory=list)
    unknown_writes: list[Change] = field(default_factory=list)
    unknown_posts: list[Change] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)

    def winner(self, writes: list[Change]) -> Change:
        return max(writes, key=lambda one: (one.stamp, hash_of(one.body)), default=Change(NEVER))

    def last(self, winner: Change) -> Change:
        """Whose metadata counts: the latest POST's after the winning body, or the body's own."""
        return max((one for one in self.posts if one.stamp > winner.stamp), default=winner, key=_stamp)

    def lives(self, now_s: float) -> bool:
        """Whether one cluster would have it: what a person answers who knows everything."""
        winner = self.winner(self.writes)
        return winner.body is not None and not 0 < self.last(winner).delete_at <= now_s

    def wrong_with(self, seen: Seen | None, now_s: float, *, stamps: bool, expired: bool) -> str | None:
        """The column in which what one site has counts; None when it is right.

        ``stamps``: this replicator keeps timestamps. ``expired``: the clusters' own expirers ran meanwhile,
        each for itself.
        """
        writes = list(self.writes)
        if seen is not None:
            at = (seen.head.body or seen.head.stamp) if stamps else LATE
            writes += [replace(one, stamp=at) for one in self.unknown_writes if one.body == seen.content]
        winner = self.winner(writes)
        last = self.last(winner)
        may_be = (last, *self.unknown_posts)
        if seen is None:
            may_end = any(0 < one.delete_at <= now_s for one in (*may_be, *self.unknown_writes))
            if winner.body is None or may_end or any(one.body is None for one in self.unknown_writes):
                return None
            return None if expired and self._expiry_after(winner.stamp) else "lost"
        if winner.body is None:
            return "resurrected"
        if seen.content not in [one.body for one in writes if one.stamp.ticks == winner.stamp.ticks]:
            return "lost"
        if any(one.body == seen.content and one.meta == seen.meta for one in self._tied(writes, winner)):
            return None
        right = any(one.meta == seen.meta and not 0 < one.delete_at <= now_s for one in may_be)
        return None if right else "metadata"

    def _tied(self, writes: list[Change], winner: Change) -> list[Change]:
        """Bodies of one timestamp, while no POST came after them: the metadata of either is right."""
        tied = [one for one in writes if one.stamp.ticks == winner.stamp.ticks]
        return tied if len(tied) > 1 and self.last(winner) is winner else []

    def _expiry_after(self, stamp: Stamp) -> bool:
        """An expirer that had not seen this body yet deleted the one before, at its time to go."""
        known = (*self.writes, *self.posts, *self.unknown_writes, *self.unknown_posts)
        return any(one.delete_at * TICKS_PER_S > stamp.ticks for one in known)


Oracle = defaultdict[str, History]


def new_oracle() -> Oracle:
    return defaultdict(History)


@dataclass
class Score:
    """What went wrong, by name; ``notes`` tell the story of each."""

    lost: list[str] = field(default_factory=list)
    resurrected: list[str] = field(default_factory=list)
    metadata: list[str] = field(default_factory=list)
    apart: list[str] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        return {column: len(getattr(self, column)) for column in COLUMNS}

    @property
    def clean(self) -> bool:
        return not any(self.counts.values())

    def note(self, column: str, name: str) -> None:
        names = getattr(self, column)
        if name not in names:
            names.append(name)


async def judge(
    pair: Pair, container: str, oracle: Mapping[str, History], *, stamps: bool = True, expired: bool = False
) -> Score:
    """Look at both sites, at rest, and compare with what one cluster would have kept.

    ``stamps``: both sites have to list the same timestamps too; else the same bytes and metadata will do.
    """
    score = Score()
    async with (
        SwiftStore("east", pair.east.url, KEYS) as a,
        SwiftStore("west", pair.west.url, KEYS) as b,
        aiohttp.ClientSession() as session,
    ):
        tokens = [await asyncio.to_thread(cluster.token) for cluster in pair.clusters]
        listings = [await _listing(store, container) for store in (a, b)]
        for name, history in sorted(oracle.items()):
            seen = [
                await _look(store, session, cluster, token, container, name)
                for store, cluster, token in zip((a, b), pair.clusters, tokens, strict=True)
            ]
            rows = [listing.get(name) for listing in listings]
            if not _together(seen, rows, stamps=stamps):
                score.note("apart", name)
            if history.vanished:
                score.note("lost", name)
            for one in seen:
                wrong = history.wrong_with(one, time.time(), stamps=stamps, expired=expired)
                if wrong is not None:
                    score.note(wrong, name)
            if any(name in getattr(score, column) for column in COLUMNS):
                score.notes[name] = _story(history, seen, rows)
    return score


def _together(seen: list[Seen | None], rows: list[Row | None], *, stamps: bool) -> bool:
    a, b = seen
    if a is None or b is None:
        return a is b and (not stamps or rows[0] == rows[1])
    if rows[0] is None or rows[1] is None:  # it answers GET and is not listed
        return False
    if (a.content, a.meta) != (b.content, b.meta):
        return False
    if not stamps:
        return True
    same_rows = rows[0].hash == rows[1].hash and rows[0].stamp.ticks == rows[1].stamp.ticks
    return same_rows and a.headers == b.headers and a.head.stamp.ticks == b.head.stamp.ticks


async def _listing(store: SwiftStore, container: str) -> dict[str, Row]:
    found: dict[str, Row] = {}
    marker = ""
    while rows := [row_of(one) for one in json.loads(await store.list_page(container, marker=marker))]:
        found |= {row.name: row for row in rows}
        marker = rows[-1].name
    return found


async def _look(  # noqa: PLR0917
    store: SwiftStore, session: aiohttp.ClientSession, cluster: Cluster, token: str, container: str, name: str
) -> Seen | None:
    """One object; a server that was killed may need a while to answer again."""
    deadline = time.monotonic() + LOOK_LIMIT_S
    while True:
        try:
            head = await store.head(container, name)
            async with session.get(
                f"{cluster.url}/{container}/{name}", headers={"X-Auth-Token": token}
            ) as answer:
                content = await answer.read()
                if (head is None) == (answer.status == 404) and answer.status in (200, 404):
                    return Seen(content, head) if head is not None else None
                problem = f"HTTP {answer.status}"
        except (Unreachable, aiohttp.ClientError) as error:
            problem = str(error)
        if time.monotonic() > deadline:
            raise Unreachable("look", on=f"{cluster.name}:{container}/{name}", saw=problem)
        await asyncio.sleep(1)


def hash_of(body: bytes | None) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest() if body is not None else ""


def _stamp(one: Change) -> Stamp:
    return one.stamp


def _story(history: History, seen: list[Seen | None], rows: list[Row | None]) -> list[str]:
    def told(one: Change, what: str) -> str:
        until = f" until {one.delete_at}" if one.delete_at else ""
        return f"{one.stamp.text} {what} {one.meta}{until}"

    events = [
        (one, "DELETE" if one.body is None else f"PUT {hash_of(one.body)[:6]}") for one in history.writes
    ]
    events += [(one, "POST") for one in history.posts]
    lost_answers = [(one, "PUT or DELETE?") for one in history.unknown_writes]
    lost_answers += [(one, "POST?") for one in history.unknown_posts]
    story = [told(*event) for event in sorted(events, key=lambda event: event[0].stamp)[-8:]]
    story += [told(*event) for event in lost_answers] + history.vanished
    for site, one, row in zip(("east", "west"), seen, rows, strict=True):
        has = f"{hash_of(one.content)[:6]} {one.meta} {one.head.stamp.text}" if one is not None else "404"
        body = f" body {one.head.body.text}" if one is not None and one.head.body is not None else ""
        listed = f"listed {row.hash[:6]} {row.stamp.text}" if row is not None else "not listed"
        story.append(f"{site}: {has}{body}, {listed}")
    return story
