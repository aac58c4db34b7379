"""One pass over one container under way: range by range to the end, then the deletes.

Memory holds a few pages, never the container. Rows are compared as texts; only what differs is parsed.
Deletes wait until the whole of both listings has been seen. Killed anywhere, the next pass goes on from
the last page that was finished.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from dcctl.domain.replication import (
    TICKS_PER_S,
    Copy,
    Decision,
    Forget,
    Later,
    Offer,
    Refresh,
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
    digest_of,
    range_end,
    same_range,
    settled_page,
    split_page,
)
from dcctl.domain.replication_pass import PENDING, Doomed, Held, Tally, decide_deletes
from dcctl.domain.replication_share import Share
from dcctl.engines.replication_manners import each_at_once, first_of
from dcctl.engines.replication_move import Mover, Outcome, act
from dcctl.engines.replication_pages import AHEAD, Asked, Pages
from dcctl.engines.replication_verify import Level, Verification
from dcctl.errors import DcctlError, Unreachable

if TYPE_CHECKING:
    from dcctl.engines.replication import Replication

Divide: TypeAlias = Callable[[str, int], Awaitable[bool]]
MAX_SENTENCES = 20
MAX_FAILURES = 1000
SHOWN_EVERY_S = 2.0
CARRIED = ("copied", "refreshed", "resolved")


class Walk:
    """One pass under way."""

    def __init__(
        self, replication: "Replication", container: str, share: Share, divide: Divide | None
    ) -> None:
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
        self.tally = Tally(container, share.after, self._options.prefix)

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
        """Range by range to the end. While one is settled, the next is fetched, and begun."""
        try:
            async with asyncio.TaskGroup() as group:
                before: tuple[Range, asyncio.Task[None]] | None = None
                while True:
                    current = self._cut(marker, pages)
                    self._draw_sample(current, pages[Side.A])
                    if before is not None and not self._may_overlap(before[0], current):
                        await before[1]
                    onward = await self._onward(current)
                    settled = group.create_task(self._settle(current, before[1] if before else None))
                    if onward is None:
                        return
                    try:
                        pages = await self._pages.read(onward)
                    except DcctlError:
                        await settled  # what was carried is written down
                        raise
                    if before is not None:
                        await before[1]
                    marker, before = onward, (current, settled)
        except BaseExceptionGroup as errors:
            raise first_of(errors) from errors

    def _may_overlap(self, one: Range, other: Range) -> bool:
        """Whether two ranges may be under way at once.

        What is not written down is done again after a SIGKILL: never more than the names of a page. Where
        work is divided, all that came before is counted.
        """
        changes = len(one.witnesses) + len(other.witnesses)
        return self._divide is None and changes <= self._options.page_rows

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

    async def _onward(self, current: Range) -> str | None:
        """After which name the next range begins; None when this one is the last, or what follows is left to
        others: asked before the range is carried, so they may begin."""
        if self._divide is None or current.upto is None:
            return current.upto
        rows = self.tally.rows + current.rows + len(current.witnesses)
        return None if await self._divide(current.upto, rows) else current.upto

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
            digest = digest_of(pages[Side.A])
            if digest == self._base.digest(self._container, after, upto):
                return Range(after, upto, rows=count_rows(pages[Side.A]), unchanged=True)
            return same_range(
                after, upto, pages[Side.A], digest, self._base.rows(self._container, after, upto)
            )
        return cut_range(
            after, upto, pages, self._base.rows(self._container, after, upto), self._options.prefix
        )

    async def _settle(self, current: Range, before: "asyncio.Task[None] | None") -> None:
        """Carry what the range needs; when ``before`` has done so, write down what both sides agree on."""
        rules = self._replication.rules(self._container)
        agreed: dict[str, bytes] = {}
        pending: list[bytes] = []
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
            if text is not None and outcome.agreed:
                agreed[name] = text
            elif text is not None:
                pending.append(text)

        self.tally.todo += len(current.witnesses)
        await each_at_once(one, current.witnesses, self._options.limits.highest * 2)
        if before is not None:
            await before
        self.tally.rows += current.rows + len(agreed) + len(pending)
        if self._writes_base:
            self._remember(current, agreed, pending, held)
        self._show(often=True)

    def _show(self, *, often: bool) -> None:
        """Tell of the progress, between pages once in a while."""
        now_s = self._replication.time.monotonic()
        if self._options.progress is None or not (often or now_s - self._shown_s > SHOWN_EVERY_S):
            return
        self._shown_s, self.tally.seconds = now_s, now_s - self.began_s
        self._options.progress(self.tally)

    def _remember(
        self, current: Range, agreed: Mapping[str, bytes], pending: Sequence[bytes], held: Sequence[Held]
    ) -> None:
        if held:
            self._base.hold(self._container, held)
        if current.unchanged:
            self._base.progressed(self._container, current.upto or "")
            return
        digest = current.digest
        if agreed and len(agreed) == len(current.witnesses):
            # What both will list is known, so that the next pass has nothing to look into here either.
            with contextlib.suppress(ValueError):
                digest = digest_of(settled_page(current.common, agreed))
        self._base.agree(
            self._container,
            current.after,
            current.upto,
            [*current.common, *agreed.values(), *pending],
            digest=digest,
            beyond=current.beyond,
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
            base_rebuilt=self._base.forgot(self._container),
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
