"""Carrying one name from side to side: the requests behind each decision. Every piece may be repeated.

Nothing here is undone or remembered on failure: a write carries the stamp it always had, so doing it
twice, late, or from two workers at once leaves what doing it once leaves.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from dcctl.domain.document import Answer, Document, Head
from dcctl.domain.replication import (
    TICKS_PER_S,
    Copy,
    Decision,
    Forget,
    Later,
    Offer,
    Refresh,
    Resolve,
    Row,
    Rules,
    Same,
    Side,
    Stamp,
    Undecided,
    Version,
    delete_stamp,
    resolve,
)
from dcctl.domain.replication_account import beside, own_name
from dcctl.domain.replication_merge import Witness
from dcctl.domain.replication_pass import Doomed, Held
from dcctl.engines.replication_manners import Manners
from dcctl.errors import Unreachable
from dcctl.ports import DocumentStore

NAME_LIMIT_BYTES = 1024
BELIEVED_S = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a name. ``agreed``: both sides now list the source's row; else look again next pass.

    Kinds: copied refreshed resolved put_back deleted gone moved later doomed undecided failed.
    """

    kind: str
    agreed: bool = False
    bytes: int = 0
    doomed: Doomed | None = None
    conflict: bool = False
    held: Held | None = None


@dataclass(frozen=True, slots=True)
class Keep:
    """Where bytes go that nobody asked to lose. ``trash_s`` is how long removed ones stay."""

    trash: str = "dcctl-trash"
    conflicts: str = "dcctl-conflicts"
    trash_s: int = 30 * 86400


class Mover:
    """Moves names of one container between two stores."""

    def __init__(
        self, stores: Mapping[Side, DocumentStore], container: str, keep: Keep, manners: Manners
    ) -> None:
        self._stores = stores
        self._container = container
        self._keep = keep
        self._manners = manners

    async def copy(self, row: Row, source: Side, *, ask_first: bool, base: Row | None) -> Outcome:
        """GET and signed PUT, and the POST that came after, if one did.

        Refused as older: the other side knows better, and is asked what.
        """
        dst = self._stores[source.other]
        async with self._stores[source].fetch(self._container, row.name) as document:
            if document is None:
                return Outcome("gone")
            if document.head.stamp.ticks != row.stamp.ticks:
                return Outcome("moved")
            body = document.head.body
            if body is None:
                body = await self._body_stamp(source, row, base) if ask_first else row.stamp
            if not await self._is_past(row.stamp, source.other, row.name):
                return Outcome("later")
            answer = await self._put(source, row, body, document)
        if answer is not Answer.APPLIED:
            there = await dst.head(self._container, row.name)
            if there is None:
                headers, posted = document.head.headers, Answer.OLDER
                if body.ticks != row.stamp.ticks:
                    posted = await dst.post(self._container, row.name, row.stamp, headers)
                expired = posted is Answer.APPLIED  # there, not deleted (``_posted``)
                doomed = Doomed(source, row, body, None)
                return Outcome("moved") if expired else Outcome("doomed", doomed=doomed)
            if there.hash != row.hash or there.stamp.ticks > row.stamp.ticks:
                return Outcome("later")
        agreed = True
        if body.ticks != row.stamp.ticks:
            posted = await dst.post(self._container, row.name, row.stamp, document.head.headers)
            agreed = posted is Answer.APPLIED
        return Outcome("copied", agreed=agreed, bytes=document.head.length_bytes)

    async def carry(self, name: str, source: Side) -> Outcome | None:
        """What ``source`` has of a name that was told to have changed there, to the other side at once.

        None: it takes a look at both sides, because it is gone here, or the other side knows better.
        """
        dst = self._stores[source.other]
        async with self._stores[source].fetch(self._container, name) as document:
            if document is None or not await self._is_past(document.head.stamp, source.other, name):
                return None
            head = document.head
            row = Row(name, head.hash, head.stamp, head.length_bytes, head.manifest)
            body = head.body or await self._body_stamp(source, row, None)
            answer = await self._put(source, row, body, document)
        if answer is not Answer.APPLIED:
            return None
        if body.ticks != row.stamp.ticks:
            await dst.post(self._container, name, row.stamp, head.headers)
        return Outcome("copied", agreed=True, bytes=head.length_bytes)

    async def refresh(self, row: Row, source: Side, base: Row | None) -> Outcome:
        """The same bytes under a later stamp: carry the PUT if that is what it was, else the POST."""
        if await self._stores[source].holds(self._container, row.name, row.stamp):
            return await self.copy(row, source, ask_first=False, base=base)
        return await self._posted(row, source) or Outcome("later")

    async def offer(self, row: Row, present: Side, base: Row | None, last_seen: Stamp | None) -> Outcome:
        """Ask the side that lacks it for a tombstone; put the object back where there is none."""
        other = self._stores[present.other]
        proven = row.stamp
        held = await other.holds(self._container, row.name, proven)
        if not held:
            proven = await self._body_stamp(present, row, base)
            held = proven != row.stamp and await other.holds(self._container, row.name, proven)
            if held and (posted := await self._posted(row, present)) is not None:
                return Outcome("moved") if posted.agreed else posted  # it had expired there
        if not held:
            outcome = await self.copy(row, present, ask_first=proven != row.stamp, base=base)
            return replace(outcome, kind="put_back") if outcome.kind == "copied" else outcome
        refused = await self._refused(row, present, proven, await other.head(self._container, row.name))
        if refused.doomed is None:
            return refused
        return replace(refused, doomed=replace(refused.doomed, last_seen=last_seen))

    async def resolve(self, a: Row, b: Row, base: Row | None) -> Outcome:
        """Order two versions as Swift would have, had both been written to one cluster."""
        version_a, version_b = [
            Version(side, row.hash, await self._body_stamp(side, row, base), row.stamp)
            for side, row in ((Side.A, a), (Side.B, b))
        ]
        verdict = resolve(version_a, version_b)
        rows = {Side.A: a, Side.B: b}
        for side, stamp in ((verdict.body_to, verdict.body_stamp), (verdict.post_to, verdict.post_stamp)):
            if side is not None and not await self._is_past(stamp, side, a.name):
                return Outcome("later")
        conflict = verdict.keep is not None and not rows[verdict.keep].same(base)
        if (
            conflict
            and verdict.keep is not None
            and not await self._keep_loser(rows[verdict.keep], verdict.keep)
        ):
            return Outcome("moved")
        if verdict.body_to is not None:
            source = verdict.body_to.other
            async with self._stores[source].fetch(self._container, a.name) as document:
                if document is None or document.head.stamp.ticks != rows[source].stamp.ticks:
                    return Outcome("moved")
                answer = await self._put(source, rows[source], verdict.body_stamp, document)
            if answer is not Answer.APPLIED:
                return Outcome("later")
        if verdict.post_to is not None:
            head = await self._stores[verdict.post_to.other].head(self._container, a.name)
            if head is None or head.stamp.ticks != verdict.post_stamp.ticks:
                return Outcome("moved")
            await self._stores[verdict.post_to].post(
                self._container, a.name, verdict.post_stamp, head.headers
            )
        return Outcome("resolved", conflict=conflict)

    async def remove(self, doomed: Doomed, rules: Rules) -> Outcome:
        """Carry a delete: prove it once more, move the bytes to the trash, delete that version only."""
        store, other = self._stores[doomed.side], self._stores[doomed.side.other]
        name = doomed.row.name
        if not await other.holds(self._container, name, doomed.proven):
            return Outcome("later")
        if await other.head(self._container, name) is not None:
            return Outcome("later")
        async with store.fetch(self._container, name) as document:
            if document is not None:
                if document.head.stamp.ticks != doomed.row.stamp.ticks:
                    return Outcome("moved")
                await self._put_away(doomed, document)
        stamp = delete_stamp(doomed.row.stamp, last_seen=doomed.last_seen, now=store.now(), rules=rules)
        answer = await store.delete(self._container, name, stamp)
        return Outcome("later") if answer is Answer.OLDER else Outcome("deleted")

    async def put_back(self, row: Row, present: Side) -> Outcome:
        """A person says that it stays: under its own stamp, or anew where a tombstone is later than that."""
        other = self._stores[present.other]
        async with self._stores[present].fetch(self._container, row.name) as document:
            if document is None:
                return Outcome("gone")
            if document.head.stamp.ticks != row.stamp.ticks:
                return Outcome("moved")
            stamp = row.stamp
            if not await self._is_past(stamp, present.other, row.name):
                return Outcome("later")
            if await other.holds(self._container, row.name, stamp):
                stamp = min(store.now() for store in self._stores.values())
            answer = await self._put(present, row, stamp, document)
        done = answer is Answer.APPLIED
        return Outcome("put_back" if done else "later", bytes=document.head.length_bytes)

    async def discard(self, row: Row, present: Side, *, rules: Rules) -> Outcome:
        """A person says that it goes."""
        store = self._stores[present]
        async with store.fetch(self._container, row.name) as document:
            if document is None:
                return Outcome("gone")
            if document.head.stamp.ticks != row.stamp.ticks:
                return Outcome("moved")
            await self._put_away(Doomed(present, row, row.stamp, None), document)
        stamp = delete_stamp(row.stamp, last_seen=None, now=store.now(), rules=rules)
        answer = await store.delete(self._container, row.name, stamp)
        return Outcome("later" if answer is Answer.OLDER else "deleted")

    async def mend(self, name: str, damaged: Side | None) -> str:
        """Write one side's object over the other's, just after it: the whole side's where one is damaged.

        For differences that no stamp orders. Metadata that differs under one stamp goes the way of a tie.
        """
        heads = {side: await store.head(self._container, name) for side, store in self._stores.items()}
        whole = damaged.other if damaged is not None else max(Side, key=lambda side: _weight(heads[side]))
        async with self._stores[whole].fetch(self._container, name) as document:
            if document is None:
                return "moved"
            row = Row(name, document.head.hash, document.head.stamp, document.head.length_bytes)
            answer = await self._put(whole, row, document.head.stamp.next, document)
            return "mended" if answer is Answer.APPLIED else "later"

    # -- pieces

    async def _is_past(self, stamp: Stamp, side: Side, name: str) -> bool:
        """Whether a side's clock has passed ``stamp``. Asked anew after a silence: it may have been set."""
        store = self._stores[side]
        if store.silent_s() > BELIEVED_S:
            await store.head(self._container, name)
        return stamp <= store.now()

    async def _posted(self, row: Row, source: Side) -> Outcome | None:
        """The POST that came after the body, to the other side at its own time. None: it is refused there.

        It tells what has expired there from what was deleted, which both answer 404: at the time of the POST
        an expired object was there still, and takes it; a deleted one was not.
        """
        head = await self._stores[source].head(self._container, row.name)
        if head is None or head.stamp.ticks != row.stamp.ticks:
            return Outcome("moved")
        if not await self._is_past(row.stamp, source.other, row.name):
            return Outcome("later")
        answer = await self._stores[source.other].post(self._container, row.name, row.stamp, head.headers)
        return Outcome("refreshed", agreed=True) if answer is Answer.APPLIED else None

    async def _refused(self, row: Row, source: Side, stamp: Stamp, there: Head | None) -> Outcome:
        """Why a version was older than what the other side holds: deleted there, or newer there."""
        if there is None:
            return Outcome("doomed", doomed=Doomed(source, row, stamp, None))
        same = there.hash == row.hash and there.stamp.ticks == row.stamp.ticks
        return Outcome("copied", agreed=True) if same else Outcome("later")

    async def _put(self, source: Side, row: Row, stamp: Stamp, document: Document) -> Answer:
        if document.head.manifest and document.content is not None:
            await self._segments(source, document.content)
        answer = await self._stores[source.other].put(self._container, row.name, stamp, document)
        if answer in (Answer.DAMAGED, Answer.ABSENT):
            raise Unreachable(
                "copy",
                on=f"{self._stores[source.other].site}:{self._container}/{row.name}",
                saw="the bytes were damaged on the way" if answer is Answer.DAMAGED else "no such container",
            )
        self._manners.transferred(document.head.length_bytes)
        return answer

    async def _segments(self, source: Side, manifest: bytes) -> None:
        """Segments before the manifest that names them. An inline ``data`` segment needs nothing."""
        for segment in json.loads(manifest):
            path = segment.get("name")
            if not path:
                continue
            container, _, name = path.lstrip("/").partition("/")
            mover = Mover(self._stores, beside(self._container, container), self._keep, self._manners)
            await mover.ensure_there(name, source, segment.get("hash", ""))

    async def ensure_there(self, name: str, source: Side, hash: str) -> None:
        """Copy an object that a manifest needs, unless the other side has those bytes, or knows better."""
        dst = self._stores[source.other]
        there = await dst.head(self._container, name)
        if there is not None and there.hash == hash:
            return
        if await self.carry(name, source) is not None:
            return
        head = await self._stores[source].head(self._container, name)
        if head is not None and not await self._is_past(head.stamp, source.other, name):
            on = f"{dst.site}:{self._container}/{name}"
            raise Unreachable("carry a segment", on=on, saw="its timestamp is in the future there: it waits")

    async def _keep_loser(self, row: Row, side: Side) -> bool:
        """A copy of a body that is about to lose, beside its cluster's other conflicts. False: it moved."""
        store = self._stores[side]
        async with store.fetch(self._container, row.name) as document:
            if document is None or document.head.hash != row.hash:
                return False
            name = kept_name(self._container, row, store.site)
            await _stored(store, beside(self._container, self._keep.conflicts), name, row.stamp, document)
        return True

    async def _put_away(self, doomed: Doomed, document: Document) -> None:
        store = self._stores[doomed.side]
        expiry = store.now().ticks // TICKS_PER_S + self._keep.trash_s
        headers = {k: v for k, v in document.head.headers.items() if k.lower() != "x-delete-at"}
        head = replace(document.head, headers={**headers, "X-Delete-At": str(expiry)})
        name = kept_name(self._container, doomed.row, store.site)
        trash = beside(self._container, self._keep.trash)
        await _stored(store, trash, name, doomed.row.stamp, replace(document, head=head))

    async def _body_stamp(self, side: Side, row: Row, base: Row | None) -> Stamp:
        """The stamp of the body itself, where the listing shows the latest POST's."""
        if await self._stores[side].holds(self._container, row.name, row.stamp):
            return row.stamp
        head = await self._stores[side].head(self._container, row.name)
        if head is not None and head.body is not None:
            return head.body
        return await self._search_body_stamp(side, row, base)

    async def _search_body_stamp(self, side: Side, row: Row, base: Row | None) -> Stamp:
        """Search it below the listed stamp, by asking; about 45 questions at worst, 2 when the base knows."""

        async def held(ticks: int) -> bool:
            return await self._stores[side].holds(self._container, row.name, Stamp(ticks))

        high = row.stamp.ticks  # not held: the body is older
        if base is not None and base.hash == row.hash and base.stamp.ticks < high:
            known = base.stamp.ticks
            if await held(known):
                if not await held(known + 1):
                    return Stamp(known)
                low = known + 1
                return Stamp(await _bisect(held, low, high))
            high = known
        step = TICKS_PER_S
        low = high - step
        while low > 0 and not await held(low):
            high, step = low, step * 4
            low = high - step
        return Stamp(await _bisect(held, max(low, 0), high))


async def act(  # noqa: PLR0911  # a table
    mover: Mover, witness: Witness, decision: Decision, last_seen: Stamp | None
) -> Outcome:
    """The requests behind a decision."""
    base = witness.base
    match decision:
        case Copy(source, ask_first):
            return await mover.copy(witness.row(source), source, ask_first=ask_first, base=base)
        case Refresh(source):
            return await mover.refresh(witness.row(source), source, base)
        case Offer(present):
            return await mover.offer(witness.row(present), present, base, last_seen)
        case Resolve():
            return await mover.resolve(witness.row(Side.A), witness.row(Side.B), base)
        case Later():
            return Outcome("later")
        case Undecided(present, reason):
            return Outcome("undecided", held=Held(present, witness.row(present), reason))
        case Same() | Forget():
            return Outcome("same", agreed=True)


async def _bisect(held: Callable[[int], Awaitable[bool]], low: int, high: int) -> int:
    """The last held tick, where ``low`` is held and ``high`` is not."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if await held(middle) else (low, middle)
    return low


async def _stored(store: DocumentStore, container: str, name: str, stamp: Stamp, document: Document) -> None:
    answer = await store.put(container, name, stamp, document)
    if answer in (Answer.DAMAGED, Answer.ABSENT):
        raise Unreachable("keep a copy", on=f"{store.site}:{container}/{name}", saw=answer.value)


def hash_of(content: bytes) -> str:
    """The hash by which Swift knows these bytes."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _weight(head: Head | None) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(head.headers.items())) if head is not None else ()


def kept_name(container: str, row: Row, site: str) -> str:
    """Where a version is kept in the trash or among conflicts: never the same name for two versions."""
    suffix = f"@{row.stamp.text}.{site}"
    name = f"{own_name(container)}/{row.name}"
    room = NAME_LIMIT_BYTES - len(suffix.encode()) - 1
    if len(name.encode()) > room:
        digest = hashlib.sha256(name.encode()).hexdigest()[:32]
        name = name.encode()[: room - 33].decode(errors="ignore") + "~" + digest
    return name + suffix
