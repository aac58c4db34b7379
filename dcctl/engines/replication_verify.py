"""Comparing two clusters without moving anything: listings, then metadata, then every byte."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from typing import Any

from dcctl.domain.document import Head
from dcctl.domain.replication import Row, Rules, Side
from dcctl.domain.replication_merge import Witness, cut_range, range_end, rows_of, whole_rows
from dcctl.engines.replication_manners import Manners
from dcctl.ports import DocumentStore

AT_ONCE = 16


class Level(IntEnum):
    """How closely to look; each includes those before."""

    LISTING = 0
    METADATA = 1
    FULL = 2


@dataclass(frozen=True, slots=True)
class Difference:
    """One name on which the sides differ. ``side`` lacks it, is behind, or is damaged."""

    kind: str
    container: str
    name: str
    side: Side | None
    saw: str


@dataclass
class Verdict:
    """What was compared and what differed. ``differences`` holds the first of them, ``kinds`` counts all."""

    container: str
    rows: int = 0
    bytes: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    manifest: str = ""

    def document(self, sites: Sequence[str]) -> dict[str, Any]:
        """As JSON values; ``sites`` are the names of A and B."""
        names = dict(zip(Side, sites, strict=True))
        return {
            "container": self.container,
            "rows": self.rows,
            "bytes": self.bytes,
            "same": self.same,
            "kinds": self.kinds,
            "manifest": self.manifest,
            "differences": [
                {
                    "kind": one.kind,
                    "name": one.name,
                    "site": names[one.side] if one.side is not None else None,
                    "saw": one.saw,
                }
                for one in self.differences
            ],
        }

    @property
    def same(self) -> bool:
        return not any(count for kind, count in self.kinds.items() if kind not in ("pending", "expired"))


def classify(witness: Witness, rules: Rules) -> tuple[str, Side | None, str]:
    """The kind of a difference that the listings show.

    | seen | kind |
    |------|------|
    | written within the settling time, or in a side's future | pending |
    | one side lists it | missing |
    | same stamp, other bytes | tie |
    | other stamps | stale: the side with the earlier one |
    """
    a, b = witness.a, witness.b
    latest = max(row.stamp for row in (a, b) if row is not None)
    if latest > min(rules.now_a, rules.now_b).plus(-rules.settled_s):
        return "pending", None, f"changed at {latest.instant.isoformat()}"
    if a is None or b is None:
        side = Side.A if a is None else Side.B
        return "missing", side, f"the other side has it from {latest.instant.isoformat()}"
    if a.stamp.ticks == b.stamp.ticks:
        return "tie", None, f"{a.hash} and {b.hash} at {latest.instant.isoformat()}"
    side = Side.A if a.stamp < b.stamp else Side.B
    what = "metadata" if a.hash == b.hash else "bytes"
    return "stale", side, f"{what} of {min(a.stamp, b.stamp).instant.isoformat()}"


class Verification:
    """Compares one container of two stores."""

    def __init__(
        self,
        stores: Mapping[Side, DocumentStore],
        manners: Manners,
        rules: Callable[[], Rules],
        *,
        level: Level,
        prefix: str = "",
        page_rows: int = 10_000,
        shown: int = 1000,
    ) -> None:
        self._stores = stores
        self._manners = manners
        self._rules = rules
        self._level = level
        self._prefix = prefix
        self._page_rows = page_rows
        self._shown = shown

    async def run(self, container: str) -> Verdict:
        """The verdict. Raises Unreachable when a listing cannot be read to its end."""
        verdict = Verdict(container)
        manifest = hashlib.sha256()
        marker = ""
        while True:
            pages = await self._pages(container, marker)
            upto = range_end(pages, self._page_rows)
            current = cut_range(marker, upto, pages, (), self._prefix)
            rules = self._rules()
            # Texts may differ where rows do not: a large object's size is not listed alike.
            alike = {name: one.a for name, one in current.witnesses.items() if one.a and one.a.same(one.b)}
            for name, witness in current.witnesses.items():
                if name in alike:
                    continue
                kind, side, saw = classify(witness, rules)
                if kind == "missing" and side is not None:
                    kind, saw = await self._why_missing(container, witness, side, saw)
                self._note(verdict, Difference(kind, container, name, side, saw))
            verdict.rows += current.rows + len(alike)
            for text in (*current.common, *(f"{name}\0{row.hash}".encode() for name, row in alike.items())):
                manifest.update(text)
            if self._level > Level.LISTING:
                await self._look(verdict, [*_rows(current.common), *alike.values()])
            if upto is None:
                break
            marker = upto
        verdict.manifest = manifest.hexdigest()
        return verdict

    async def sample(self, container: str, texts: Sequence[bytes]) -> list[Difference]:
        """Read and hash some rows, on which the listings agreed, at both sides."""
        verdict = Verdict(container)
        await self._look(verdict, _rows(texts))
        return verdict.differences

    async def _pages(self, container: str, marker: str) -> dict[Side, bytes]:
        async def page(side: Side) -> bytes:
            return await self._manners.attempt(
                lambda: self._stores[side].list_page(
                    container, marker=marker, prefix=self._prefix, limit=self._page_rows
                ),
                cost=1,
            )

        a, b = await asyncio.gather(page(Side.A), page(Side.B))
        return {Side.A: a, Side.B: b}

    async def _why_missing(self, container: str, witness: Witness, side: Side, saw: str) -> tuple[str, str]:
        """By two HEADs: expired where it is listed, or an orphan that answers and is not listed."""
        row = witness.row(side.other)
        here = await self._manners.attempt(lambda: self._stores[side].head(container, row.name))
        if here is not None:
            return "orphan", "it answers and is not listed"
        there = await self._manners.attempt(lambda: self._stores[side.other].head(container, row.name))
        return ("expired", "it is listed and has expired") if there is None else ("missing", saw)

    def _note(self, verdict: Verdict, difference: Difference) -> None:
        verdict.kinds[difference.kind] = verdict.kinds.get(difference.kind, 0) + 1
        if len(verdict.differences) < self._shown:
            verdict.differences.append(difference)

    async def _look(self, verdict: Verdict, rows: list[Row]) -> None:
        """HEAD or GET on both sides of every row that the listings agree on."""
        left = iter(rows)

        async def worker() -> None:
            for row in left:
                difference = await self._manners.attempt(partial(self._compare, verdict, row))
                if difference is not None:
                    self._note(verdict, difference)

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))

    async def _compare(self, verdict: Verdict, row: Row) -> Difference | None:
        container = verdict.container
        heads: dict[Side, Head | None] = {}
        for side, store in self._stores.items():
            if self._level < Level.FULL:
                heads[side] = await store.head(container, row.name)
                continue
            async with store.fetch(container, row.name) as document:
                heads[side] = document.head if document is not None else None
                if document is None:
                    continue
                if document.head.hash != row.hash:
                    return None  # written since the listing
                digest = hashlib.md5(document.content or b"", usedforsecurity=False)
                if document.chunks is not None:
                    async for chunk in document.chunks:
                        digest.update(chunk)
                verdict.bytes += document.head.length_bytes
                if digest.hexdigest() != row.hash:
                    return Difference("damaged", container, row.name, side, "bytes do not match the hash")
        a, b = heads[Side.A], heads[Side.B]
        if a is None or b is None:
            both = a is None and b is None
            side = Side.A if a is None else Side.B
            kind = "expired" if both else "unreadable"
            return Difference(kind, container, row.name, None if both else side, "listed, and answers 404")
        mine, theirs = _comparable(a), _comparable(b)
        if mine != theirs:
            names = sorted(key for key in {*mine, *theirs} if mine.get(key) != theirs.get(key))
            return Difference("metadata", container, row.name, None, ", ".join(names))
        return None


def _comparable(head: Head) -> dict[str, str]:
    return {name.lower(): value for name, value in head.headers.items()}


def _rows(texts: Sequence[bytes]) -> list[Row]:
    kept = list(texts)
    try:
        return [row for row, _text in rows_of(kept)]
    except ValueError:
        page = b"[{" + b"}, {".join(kept) + b"}]"
        return [row for row, _text in rows_of(whole_rows(page))]
