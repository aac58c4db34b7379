"""A pass over two clusters that believe nobody's timestamp (``domain/replication_token.py``).

Both listings and the base are merged in one order, a page at a time. Right before a write or a delete both
sides are asked again (HEAD): what changed since the listing is left for the next pass.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from dcctl.domain.document import Answer, Document
from dcctl.domain.replication import TICKS_PER_S, Row, Side, Stamp
from dcctl.domain.replication_account import beside
from dcctl.domain.replication_manifest import token_row_of
from dcctl.domain.replication_pass import Tally, decide_deletes
from dcctl.domain.replication_token import Act, Agreed, TokenDecision, decide_with_tokens
from dcctl.engines.replication_manners import Manners, Time, each_at_once
from dcctl.engines.replication_move import kept_name
from dcctl.engines.replication_options import Options
from dcctl.engines.replication_run import midway, run_to_end, until_nobody_waits
from dcctl.engines.replication_token_manifest import carry_manifest, kept_manifest, look, without_mark
from dcctl.engines.replication_walk import MAX_SENTENCES
from dcctl.errors import DcctlError, Unreachable
from dcctl.ports import TokenBase, TokenStore

Names: TypeAlias = tuple[str, Row | None, Row | None, Agreed | None]
OpenTokenStores: TypeAlias = Callable[[], AbstractAsyncContextManager[Mapping[Side, TokenStore]]]


class TokenReplication:
    """Two stores and a base; ``run`` makes one pass over one container, as ``Replication`` does."""

    def __init__(
        self,
        stores: Mapping[Side, TokenStore],
        base: TokenBase,
        options: Options,
        clock: Time | None = None,
    ) -> None:
        self._stores = stores
        self._base = base
        self._options = options
        self._time = clock or Time()
        self._manners = Manners(options.limits, self._time)
        self.moved = False

    async def run(self, container: str) -> Tally:
        """One pass. Raises Unreachable when a listing cannot be read to its end: then nothing is deleted."""
        for store in self._stores.values():
            await asyncio.to_thread(store.renew)
        tally, began_s = Tally(container), self._time.monotonic()
        known = self._base.complete(container)
        tally.expected = known[1] if known else 0
        doomed: list[tuple[str, Side, Row]] = []
        seen = dict.fromkeys(Side, 0)
        marker: str | None = ""
        began = None
        while marker is not None:
            rows, upto = await _rows(self._stores, self._manners, self._options, container, marker)
            began = began or min(store.now() for store in self._stores.values())
            names = self._names(container, marker, upto, rows)
            for side in Side:
                seen[side] += len(rows[side])
            agreed: dict[str, Agreed | None] = {}
            # Large objects last, one by one: they copy what they are made of where it is not there yet.
            for large, at_once in ((False, self._options.limits.highest), (True, 1)):
                wave = [one for one in names if _is_large(one) is large]
                await each_at_once(partial(self._one, container, tally, agreed, doomed), wave, at_once)
            if not self._options.prefix:
                self._base.agree_tokens(container, agreed)
            marker = upto
        await self._deletes(container, tally, doomed, known[1] if known else None, seen)
        tally.seconds = self._time.monotonic() - began_s
        if not self._options.prefix and began is not None:
            self._base.finish(container, began, tally.rows)
            self._base.ended(container, Stamp(round(self._time.now() * TICKS_PER_S)), tally.document())
        return tally

    def _names(
        self, container: str, after: str, upto: str | None, rows: Mapping[Side, Mapping[str, Row]]
    ) -> list[Names]:
        base = self._base.agreed_tokens(container, after, upto)
        known = {name: one for name, one in base.items() if name.startswith(self._options.prefix)}
        a, b = rows[Side.A], rows[Side.B]
        return [(name, a.get(name), b.get(name), known.get(name)) for name in sorted({*a, *b, *known})]

    async def _one(
        self,
        container: str,
        tally: Tally,
        agreed: dict[str, Agreed | None],
        doomed: list[tuple[str, Side, Row]],
        item: Names,
    ) -> None:
        name, a, b, base = item
        settled = min(store.now() for store in self._stores.values()).plus(-self._options.settled_s)
        decision = decide_with_tokens(base, a, b, settled)
        rows = {Side.A: a, Side.B: b}
        row = rows[decision.source]
        if decision.act is Act.SAME and a is not None and b is not None:
            tally.rows += 1
            now = Agreed(a.hash, a.stamp, b.stamp)
            if now != base:
                agreed[name] = now
        elif decision.act is Act.FORGET:
            agreed[name] = None
        elif decision.act is Act.DELETE and row is not None:
            tally.add("doomed")
            if len(doomed) <= self._options.cap.allowed(tally.expected):
                doomed.append((name, decision.source, row))  # beyond the cap only their number matters
        elif decision.act is Act.LATER:
            tally.add("later")
        elif row is not None:
            await self._carried(container, tally, agreed, decision, rows)

    async def _carried(
        self,
        container: str,
        tally: Tally,
        agreed: dict[str, Agreed | None],
        decision: TokenDecision,
        rows: Mapping[Side, Row | None],
    ) -> None:
        """Carry it, and remember both sides' stamps: the copy's is asked for, where it is still the copy."""
        source, row = decision.source, rows[decision.source]
        assert row is not None  # noqa: S101  # by its decision
        outcome = await self._attempt(tally, partial(self._carry, container, decision, rows))
        self.moved = True
        tally.add(outcome, bytes=row.bytes, conflict=decision.keep and outcome == "copied")
        if outcome not in ("copied", "refreshed"):
            return
        tally.rows += 1
        there = None
        with contextlib.suppress(DcctlError):
            there = await look(self._stores[source.other], container, row.name, large=row.manifest)
        copied = there.stamp if there is not None and there.hash == row.hash else None
        stamps = {source: row.stamp, source.other: copied}
        agreed[row.name] = Agreed(row.hash, stamps[Side.A], stamps[Side.B])

    async def _attempt(self, tally: Tally, work: Callable[[], Awaitable[str]]) -> str:
        try:
            return await self._manners.attempt(work)
        except DcctlError as error:
            if len(tally.reasons) < MAX_SENTENCES:
                tally.reasons.append(str(error))
            return "failed"

    async def _carry(self, container: str, decision: TokenDecision, rows: Mapping[Side, Row | None]) -> str:
        source, target = decision.source, decision.source.other
        src, dst = self._stores[source], self._stores[target]
        row, other = rows[source], rows[target]
        assert row is not None  # noqa: S101  # by its decision
        if not await self._as_listed(target, container, row.name, other):
            return "moved"
        if decision.act is Act.POST:
            head = await look(src, container, row.name, large=row.manifest)
            if head is None or head.stamp.ticks != row.stamp.ticks:
                return "moved"
            answer = await dst.post(container, row.name, row.stamp, without_mark(head.headers))
            return "refreshed" if answer is Answer.APPLIED else "moved"
        if decision.keep and other is not None:
            where = beside(container, self._options.keep.conflicts)
            await self._keep_copy(target, container, other, where, {})
        if row.manifest:
            return await carry_manifest(src, dst, container, row)
        async with src.fetch(container, row.name) as document:
            if document is None or document.head.stamp.ticks != row.stamp.ticks:
                return "moved"
            if document.head.manifest:
                where = f"{src.site}:{container}/{row.name}"
                raise Unreachable("copy", on=where, saw="a large object whose listing has no slo_etag")
            answer = await dst.put(container, row.name, row.stamp, document)
        if answer is not Answer.APPLIED:
            raise Unreachable("copy", on=f"{dst.site}:{container}/{row.name}", saw=answer.value)
        self._manners.transferred(row.bytes)
        return "copied"

    async def _as_listed(self, side: Side, container: str, name: str, row: Row | None) -> bool:
        large = row is not None and row.manifest
        head = await look(self._stores[side], container, name, large=large)
        if head is None or row is None:
            return head is None and row is None
        return (head.hash, head.stamp.ticks) == (row.hash, row.stamp.ticks)

    async def _deletes(
        self,
        container: str,
        tally: Tally,
        doomed: list[tuple[str, Side, Row]],
        known_rows: int | None,
        seen: Mapping[Side, int],
    ) -> None:
        count = tally.count("doomed")
        if not count:
            return
        empty = tuple(self._stores[side].site for side in Side if not seen[side])
        reasons = decide_deletes(
            doomed=count,
            known_rows=known_rows,
            empty_sides=() if self._options.accept_empty else empty,
            base_rebuilt=self._base.forgot(container),
            cap=self._options.cap,
        )
        if reasons:
            tally.deletes_held = count
            tally.reasons += [f"{count} deletes held: {reason}" for reason in reasons]
            return
        gone: dict[str, Agreed | None] = {}

        async def one(item: tuple[str, Side, Row]) -> None:
            name, side, row = item
            outcome = await self._attempt(tally, partial(self._delete, container, side, row))
            tally.add(outcome)
            if outcome == "deleted":
                gone[name] = None

        await each_at_once(one, doomed, self._options.limits.highest)
        self._base.agree_tokens(container, gone)

    async def _delete(self, container: str, side: Side, row: Row) -> str:
        """The bytes to the trash, then away, if both sides are still as they were listed."""
        if not await self._as_listed(side.other, container, row.name, None):
            return "moved"
        expiry = self._stores[side].now().ticks // TICKS_PER_S + self._options.keep.trash_s
        where = beside(container, self._options.keep.trash)
        kept = await self._keep_copy(side, container, row, where, {"X-Delete-At": str(expiry)})
        if not kept or not await self._as_listed(side, container, row.name, row):
            return "moved"
        answer = await self._stores[side].delete(container, row.name, row.stamp)
        return "deleted" if answer in (Answer.APPLIED, Answer.ABSENT) else "moved"

    async def _keep_copy(
        self, side: Side, container: str, row: Row, where: str, headers: Mapping[str, str]
    ) -> bool:
        store, name = self._stores[side], kept_name(container, row, self._stores[side].site)

        async def keep(document: Document) -> Answer:
            given = {k: v for k, v in document.head.headers.items() if k.lower() != "x-delete-at"}
            head = replace(document.head, headers={**given, **headers})
            return await store.put(where, name, row.stamp, replace(document, head=head))

        if row.manifest:
            manifest = await kept_manifest(store, container, row)
            if manifest is None:
                return False
            answer = await keep(manifest)
        else:
            async with store.fetch(container, row.name) as document:
                if document is None or document.head.stamp.ticks != row.stamp.ticks:
                    return False
                answer = await keep(document)
        if answer is not Answer.APPLIED:
            raise Unreachable("keep a copy", on=f"{store.site}:{where}/{name}", saw=answer.value)
        return True


def _is_large(names: Names) -> bool:
    _name, a, b, _agreed = names
    return any(row is not None and row.manifest for row in (a, b))


async def _rows(
    stores: Mapping[Side, TokenStore], manners: Manners, options: Options, container: str, marker: str
) -> tuple[dict[Side, dict[str, Row]], str | None]:
    """Both sides' rows up to the last name of which both pages can speak; None: to the end."""
    limit = options.page_rows

    async def page(side: Side) -> list[Row]:
        text = await manners.attempt(
            partial(stores[side].list_page, container, marker=marker, prefix=options.prefix, limit=limit),
            cost=1,
        )
        return [token_row_of(entry) for entry in json.loads(text)]

    pages = dict(zip(Side, await asyncio.gather(*(page(side) for side in Side)), strict=True))
    ends = [rows[-1].name for rows in pages.values() if len(rows) >= limit]
    upto = min(ends, key=str.encode) if ends else None
    within = {
        side: {row.name: row for row in rows if upto is None or row.name.encode() <= upto.encode()}
        for side, rows in pages.items()
    }
    return within, upto


def replicate_with_tokens(
    stores: OpenTokenStores,
    base: TokenBase,
    containers: Sequence[str],
    options: Options,
    *,
    wait_s: float = 0.0,
    clock: Time | None = None,
) -> list[Tally]:
    """One pass over every container, and more for up to ``wait_s`` while a write is too young."""
    time = clock or Time()

    async def run() -> list[Tally]:
        async with stores() as opened:
            replication = TokenReplication(opened, base, options, time)
            with midway(lambda: replication.moved):
                return [await until_nobody_waits(replication, name, wait_s, time) for name in containers]

    return run_to_end(run())


def compare_with_tokens(
    stores: OpenTokenStores, containers: Sequence[str], options: Options, *, clock: Time | None = None
) -> dict[str, dict[str, str]]:
    """By container, the names whose bytes differ by the listings, and how."""

    async def run() -> dict[str, dict[str, str]]:
        async with stores() as opened:
            return {name: await _differences(opened, name, options, clock) for name in containers}

    return run_to_end(run())


async def _differences(
    stores: Mapping[Side, TokenStore], container: str, options: Options, clock: Time | None
) -> dict[str, str]:
    """The names whose bytes differ by the listings, and how; timestamps say nothing here."""
    manners = Manners(options.limits, clock or Time())
    for store in stores.values():
        await asyncio.to_thread(store.renew)
    found, marker = {}, ""
    while True:
        rows, upto = await _rows(stores, manners, options, container, marker)
        for name in sorted({*rows[Side.A], *rows[Side.B]}):
            a, b = rows[Side.A].get(name), rows[Side.B].get(name)
            if a is None or b is None:
                found[name] = f"missing at {stores[Side.A if a is None else Side.B].site}"
            elif a.hash != b.hash:
                found[name] = f"{a.hash} and {b.hash}"
        if upto is None:
            return found
        marker = upto
