"""One pass over one container of two clusters: a merge of both listings against what they last agreed on.

Memory holds a few pages, never the container. Rows are compared as texts; only what differs is parsed.
Deletes wait until the whole of both listings has been seen. Killed anywhere, the next pass goes on from
the last page that was finished.
"""

import asyncio
import copy
import hashlib
import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias, TypeVar

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
    decide_replication,
)
from dcctl.domain.replication_merge import (
    Range,
    Witness,
    count_rows,
    cut_range,
    range_end,
    same_range,
    split_page,
)
from dcctl.domain.replication_pass import PENDING, DeleteCap, Doomed, Held, Tally, decide_deletes
from dcctl.domain.replication_share import Share
from dcctl.engines.replication_manners import Limits, Manners, Pace, Time
from dcctl.engines.replication_move import Keep, Mover, Outcome
from dcctl.engines.replication_pages import AHEAD, Asked, Pages
from dcctl.engines.replication_verify import Difference, Level, Verification
from dcctl.errors import DcctlError, Unreachable
from dcctl.ports import DocumentStore, ReplicationBase

T = TypeVar("T")
Divide: TypeAlias = Callable[[str, int], Awaitable[bool]]
PAGE_ROWS = 10_000
MAX_SENTENCES = 20
MAX_FAILURES = 1000
SHOWN_EVERY_S = 2.0
CARRIED = ("copied", "refreshed", "resolved")


@dataclass(frozen=True)
class Options:
    """What a pass is told. ``plan`` only says what it would do; nothing is written to either cluster.

    ``emptied`` are containers that one side has removed: there an empty listing is no surprise. ``sample``:
    so many objects, others in each pass, are read and hashed at both sides at its end.
    """

    prefix: str = ""
    plan: Callable[[str, Witness, Decision], None] | None = None
    page_rows: int = PAGE_ROWS
    settled_s: float = 10.0
    reclaim_age_s: float = 604800.0
    margin_s: float = 86400.0
    cap: DeleteCap = field(default_factory=DeleteCap)
    accept_empty: bool = False
    emptied: Collection[str] = ()
    trust_base: bool = True
    keep: Keep = field(default_factory=Keep)
    limits: Limits = field(default_factory=Limits)
    progress: Callable[[Tally], None] | None = None
    arrived: Callable[[str, float], None] | None = None
    sample: int = 0

    @property
    def new_rows(self) -> int:
        """In a page of names of which nothing is known: it leaves room for those to come."""
        return self.page_rows - self.page_rows // 10


class Replication:
    """Two stores, a base and a way of behaving; ``run`` makes one pass over one container."""

    def __init__(
        self,
        stores: Mapping[Side, DocumentStore],
        base: ReplicationBase,
        options: Options,
        clock: Time | None = None,
    ) -> None:
        self.stores = stores
        self.base = base
        self.options = options
        self.time = self._time = clock or Time()
        self._pace = Pace(options.limits, self._time)
        self._manners: dict[str, Manners] = {}
        self.moved = False

    def manners_of(self, container: str) -> Manners:
        """How hard to push this container: each backs off for itself."""
        if container not in self._manners:
            self._manners[container] = Manners(self.options.limits, self._time, self._pace)
        return self._manners[container]

    def over(self, base: ReplicationBase) -> "Replication":
        """The same, remembering in ``base``; both keep to the same limits."""
        other = copy.copy(self)
        other.base = base
        return other

    async def run(self, container: str, *, share: Share | None = None, divide: Divide | None = None) -> Tally:
        """One pass. Raises Unreachable when a listing cannot be read to its end: then nothing is deleted.

        ``share``: over these names only. ``divide`` is asked, with the end of a range and the rows before it,
        whether the pass may end there.
        """
        walk = _Walk(self, container, share or Share(container), divide)
        try:
            tally = await walk.run()
        finally:
            walk.tally.seconds = self._time.monotonic() - walk.began_s
            self.moved = self.moved or bool(walk.tally.kinds)
        if self.options.plan is None and not self.options.prefix:
            self.base.ended(container, Stamp(round(self._time.now() * TICKS_PER_S)), tally.document())
        return tally

    async def carry(self, container: str, name: str, site: str) -> Outcome:
        """One name that was told to have changed at ``site``: two requests where that is all there is to it.

        Else both sides are asked and it is decided as in a pass, deletes included: each is proven by the
        other side's tombstone.
        """
        manners = self.manners_of(container)
        mover = Mover(self.stores, container, self.options.keep, manners)
        source = next(side for side, store in self.stores.items() if store.site == site)

        async def work() -> Outcome:
            gap = self.rules(container).tombstones_may_be_gone
            outcome = await mover.carry(name, source) if not gap else None
            if outcome is not None:
                return outcome
            outcome = await self.look(mover, container, name)
            if outcome.doomed is not None and self.base.complete(container) is not None:
                return await mover.remove(outcome.doomed, self.rules(container))
            return outcome

        return await manners.attempt(work, urgent=True)

    async def rows(self, container: str, name: str) -> tuple[Row | None, Row | None]:
        """What both sides answer to HEAD."""

        async def row(side: Side) -> Row | None:
            head = await self.stores[side].head(container, name)
            return Row(name, head.hash, head.stamp, head.length_bytes) if head is not None else None

        a, b = await asyncio.gather(row(Side.A), row(Side.B))
        return a, b

    async def look(self, mover: Mover, container: str, name: str) -> Outcome:
        """What a name needs by what both sides answer to HEAD, where no listing can be relied on."""
        a, b = await self.rows(container, name)
        decision = decide_replication(None, a, b, self.rules(container))
        if isinstance(decision, Same | Forget):
            return Outcome("gone" if a is None else "late")
        return await act(mover, Witness(None, a, b), decision, None)

    async def mend(self, container: str, differences: Sequence[Difference], tally: Tally) -> None:
        """Differences between objects whose listings agree: metadata, and bytes that rotted on one side."""
        manners = self.manners_of(container)
        mover = Mover(self.stores, container, self.options.keep, manners)
        for one in differences:
            if one.kind in ("metadata", "damaged", "unreadable"):
                tally.add(await manners.attempt(partial(mover.mend, one.name, one.side)))

    def rules(self, container: str) -> Rules:
        """What decisions about ``container`` may rely on at this moment."""
        last = self.base.complete(container)
        now_a, now_b = self.stores[Side.A].now(), self.stores[Side.B].now()
        gap_s = (max(now_a, now_b).ticks - last[0].ticks) / TICKS_PER_S if last is not None else None
        options = self.options
        return Rules(
            now_a=now_a,
            now_b=now_b,
            gap_s=gap_s,
            reclaim_age_s=options.reclaim_age_s,
            margin_s=options.margin_s,
            settled_s=options.settled_s,
        )


class _Walk:
    """One pass under way."""

    def __init__(self, replication: Replication, container: str, share: Share, divide: Divide | None) -> None:
        self._replication = replication
        self._upto = share.upto
        self._after = share.after
        self._divide = divide
        self._base = replication.base
        self._options = replication.options
        self._stores = replication.stores
        self._container = container
        self._manners = replication.manners_of(container)
        self._mover = Mover(self._stores, container, self._options.keep, self._manners)
        self._writes_base = self._options.plan is None and not self._options.prefix
        self._doomed: list[Doomed] = []
        self._last_seen: Stamp | None = None
        self._known_rows = 0
        self._sample: dict[int, bytes] = {}
        self._pages_seen = 0
        self._pages = self._open_pages()
        self.began_s = replication.time.monotonic()
        self._shown_s = self.began_s
        self.tally = Tally(container, share.after)

    def _open_pages(self) -> Pages:
        options = self._options
        bounds = [] if options.prefix else self._base.bounds(self._container, options.new_rows)
        return Pages(
            self._page,
            bounds,
            page_rows=options.page_rows,
            new_rows=options.new_rows,
            upto=self._upto,
            ahead=0 if self._divide else AHEAD,
        )

    async def run(self) -> Tally:
        try:
            return await self._run()
        finally:
            await self._pages.close()

    async def _run(self) -> Tally:
        pages = await self._pages.read(self._after)  # also the first look at both clocks
        empty = [
            self._stores[side].site
            for side, page in pages.items()
            if page == b"[]" and await self._lists_nothing(side)
        ]
        known = self._base.complete(self._container)
        self._last_seen = known[0].plus(-self._options.settled_s) if known else None
        self._known_rows = self.tally.expected = known[1] if known else 0
        marker, began = "", min(store.now() for store in self._stores.values())
        if self._writes_base:
            marker, began = self._base.begin(self._container, began)
        if marker:
            self.tally.resumed = True
            pages = await self._pages.read(marker)
        self.tally.began = began
        await self._walk(marker or self._after, pages)
        if self._options.plan is None:
            await self._read_sample()
            await self._deletes(known[1] if known else None, empty)
        if self._writes_base:
            # While a person has to decide, the gap stays: the next pass would know as little as this one.
            since = known[0] if known is not None and self._waits_for_a_person() else began
            self._base.finish(self._container, since, self.tally.rows)
        return self.tally

    async def _lists_nothing(self, side: Side) -> bool:
        """Whether an empty first page stands for all of the listing: it may be of one range only."""
        if self._pages.asked(self._after).upto == self._upto:
            return True
        return await self._page(side, Asked(self._after, self._upto, 1)) == b"[]"

    def _waits_for_a_person(self) -> bool:
        """In this pass, or in the part of it that came before it was cut short."""
        if self.tally.count("undecided"):
            return True
        return self.tally.resumed and next(iter(self._base.held(self._container)), None) is not None

    async def _walk(self, marker: str, pages: dict[Side, bytes]) -> None:
        """Range by range to the end; the next pages are fetched while a range is being settled."""
        while True:
            current = self._cut(marker, pages)
            self._draw_sample(current, pages[Side.A])
            if current.upto is None or await self._ends_at(current):
                await self._settle(current)
                return
            ahead = asyncio.create_task(self._pages.read(current.upto))
            try:
                await self._settle(current)
                pages = await ahead
            finally:
                ahead.cancel()
                await asyncio.gather(ahead, return_exceptions=True)
            marker = current.upto

    def _draw_sample(self, current: Range, page: bytes) -> None:
        """Each page has the same chance for each place in the sample."""
        self._pages_seen += 1
        wanted = [place for place in range(self._options.sample) if random.random() * self._pages_seen < 1]  # noqa: S311
        texts = (split_page(page) if current.unchanged else current.common) if wanted else ()
        for place in wanted:
            if texts:
                self._sample[place] = random.choice(texts)  # noqa: S311  # chance, not secrets

    async def _read_sample(self) -> None:
        """Bytes rot where nobody looks: say so; ``verify`` and ``repair`` are for a person to start."""
        if not self._sample:
            return
        replication, container = self._replication, self._container
        verification = Verification(
            self._stores, self._manners, lambda: replication.rules(container), level=Level.FULL
        )
        self.tally.sampled = len(set(self._sample.values()))
        for one in await verification.sample(container, sorted(set(self._sample.values()))):
            if one.kind == "expired":
                continue
            self.tally.add(one.kind)
            site = self._stores[one.side].site if one.side is not None else "both sides"
            self.tally.reasons.append(
                f"{one.kind} at {site}: {one.name}: {one.saw} (dcctl replication repair)"
            )

    async def _ends_at(self, current: Range) -> bool:
        """Whether what follows is left to others; asked before the range is carried, so they may begin."""
        if self._divide is None or current.upto is None:
            return False
        rows = self.tally.rows + current.rows + len(current.witnesses)
        return await self._divide(current.upto, rows)

    async def _page(self, side: Side, asked: Asked) -> bytes:
        return await self._manners.attempt(
            lambda: self._stores[side].list_page(
                self._container,
                marker=asked.after,
                upto=asked.upto,
                prefix=self._options.prefix,
                limit=asked.limit,
            ),
            cost=1,
        )

    def _cut(self, after: str, pages: Mapping[Side, bytes]) -> Range:
        same = pages[Side.A] == pages[Side.B]
        asked = self._pages.asked(after)
        upto = range_end(pages, asked.limit)
        if upto is None and asked.upto != self._upto:
            upto = asked.upto
        if same:
            digest = hashlib.blake2b(pages[Side.A], digest_size=16).digest()
            if digest == self._base.digest(self._container, after, upto):
                return Range(after, upto, rows=count_rows(pages[Side.A]), unchanged=True)
            return same_range(
                after, upto, pages[Side.A], digest, self._base.rows(self._container, after, upto)
            )
        return cut_range(
            after, upto, pages, self._base.rows(self._container, after, upto), self._options.prefix
        )

    async def _settle(self, current: Range) -> None:
        """Carry what the range needs, then write down what both sides agree on."""
        rules = self._replication.rules(self._container)
        agreed: list[bytes] = []
        held: list[Held] = []

        async def one(name: str) -> None:
            witness = current.witnesses[name]
            base = witness.base if self._options.trust_base else None
            decision = decide_replication(base, witness.a, witness.b, rules)
            outcome = await self._carry(name, witness, decision)
            self.tally.todo -= 1
            self._show(often=False)
            if outcome.kind != "same":
                self.tally.add(outcome.kind, bytes=outcome.bytes, conflict=outcome.conflict)
            if outcome.kind in CARRIED and self._last_seen is not None:
                self._arrived(decision, witness)
            if outcome.kind in PENDING:
                self._left_pending(decision, witness)
            if outcome.doomed is not None:
                self._doom(outcome.doomed)
            if outcome.held is not None:
                held.append(outcome.held)
            text = witness.text(decision) if outcome.agreed else witness.base_text
            if text is not None:
                agreed.append(text)

        self.tally.todo = len(current.witnesses)
        await each_at_once(one, current.witnesses, self._options.limits.highest * 2)
        self.tally.rows += current.rows + len(agreed)
        if self._writes_base:
            self._remember(current, agreed, held)
        self._show(often=True)

    def _show(self, *, often: bool) -> None:
        """Tell of the progress, between pages once in a while."""
        now_s = self._replication.time.monotonic()
        if self._options.progress is None or not (often or now_s - self._shown_s > SHOWN_EVERY_S):
            return
        self._shown_s, self.tally.seconds = now_s, now_s - self.began_s
        self._options.progress(self.tally)

    def _remember(self, current: Range, agreed: Sequence[bytes], held: Sequence[Held]) -> None:
        if held:
            self._base.hold(self._container, held)
        if current.unchanged:
            self._base.progressed(self._container, current.upto or "")
            return
        rows = [*current.common, *agreed]
        digest = None if agreed else current.digest
        self._base.agree(
            self._container, current.after, current.upto, rows, digest=digest, beyond=current.beyond
        )

    def _left_pending(self, decision: Decision, witness: Witness) -> None:
        """The age of the oldest change that is not on both sides is the lag of the side that made it."""
        side = made_at(decision, witness)
        self.tally.behind[side].add(witness.row(side))

    def _arrived(self, decision: Decision, witness: Witness) -> None:
        """Changes made since the last complete pass count for the lag; older ones are a copy's, not lag."""
        side = made_at(decision, witness)
        stamp = witness.row(side).stamp
        if self._last_seen is not None and stamp > self._last_seen and self._options.arrived is not None:
            now = self._stores[side.other].now()
            self._options.arrived(self._stores[side].site, max(0.0, (now.ticks - stamp.ticks) / TICKS_PER_S))

    def _doom(self, doomed: Doomed) -> None:
        """Keep a delete for the end of the pass; beyond the cap only their number matters."""
        if len(self._doomed) <= self._options.cap.allowed(self._known_rows):
            self._doomed.append(doomed)

    async def _carry(self, name: str, witness: Witness, decision: Decision) -> Outcome:
        if self._options.plan is not None:
            if not isinstance(decision, Same | Forget):
                self._options.plan(name, witness, decision)
                return Outcome("planned")
            return Outcome("same", agreed=True)
        try:
            return await self._manners.attempt(partial(self._act, name, witness, decision))
        except DcctlError as error:
            if len(self.tally.reasons) < MAX_SENTENCES:
                self.tally.reasons.append(str(error))
            if self.tally.count("failed") >= MAX_FAILURES:
                raise Unreachable(
                    f"carry objects ({MAX_FAILURES} failed)", on=self._container, saw=str(error)
                ) from error
            return Outcome("failed")

    async def _act(self, name: str, witness: Witness, decision: Decision) -> Outcome:
        outcome = await act(self._mover, witness, decision, self._last_seen)
        if outcome.kind in ("moved", "gone"):
            # The listing is older than the object: a container server that was away may be behind for long.
            return await self._replication.look(self._mover, self._container, name)
        return outcome

    async def _deletes(self, known_rows: int | None, empty: Sequence[str]) -> None:
        count = self.tally.count("doomed")
        if not count:
            return
        expected = self._options.accept_empty or self._container in self._options.emptied
        reasons = decide_deletes(
            doomed=count,
            known_rows=known_rows,
            empty_sides=() if expected else tuple(empty),
            base_rebuilt=self._base.rebuilt,
            cap=self._options.cap,
        )
        if reasons:
            self.tally.deletes_held = count
            self.tally.reasons += [f"{count} deletes held: {reason}" for reason in reasons]
            return
        rules = self._replication.rules(self._container)

        async def one(doomed: Doomed) -> None:
            try:
                outcome = await self._manners.attempt(lambda: self._mover.remove(doomed, rules), cost=5)
            except DcctlError as error:
                outcome = Outcome("failed")
                self.tally.reasons.append(str(error))
            self.tally.add(outcome.kind)

        await each_at_once(one, self._doomed, self._options.limits.highest * 2)


def made_at(decision: Decision, witness: Witness) -> Side:
    """Where the change was made that the other side lacks."""
    match decision:
        case Copy(side) | Refresh(side) | Offer(side) | Undecided(side):
            return side
        case Later(side):
            return side.other
        case _:
            if witness.a is None or witness.b is None:
                return Side.A if witness.b is None else Side.B
            return Side.A if witness.a.stamp >= witness.b.stamp else Side.B


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


async def each_at_once(work: Callable[[T], Awaitable[None]], items: Iterable[T], at_once: int) -> None:
    """``work`` on every item, by ``at_once`` tasks; the first failure ends all."""
    left = iter(items)

    async def worker() -> None:
        for item in left:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(worker())
    except BaseExceptionGroup as errors:
        raise first_of(errors) from errors


def first_of(error: BaseException) -> BaseException:
    """The error that a task group carries; one of ours where there is one."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    found = [first_of(one) for one in error.exceptions]
    return next((one for one in found if isinstance(one, DcctlError)), found[0])
