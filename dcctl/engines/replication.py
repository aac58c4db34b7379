"""One pass over one container of two clusters: a merge of both listings against what they last agreed on."""

import asyncio
import copy
from collections.abc import Mapping
from functools import partial

from dcctl.domain.replication import (
    TICKS_PER_S,
    Forget,
    Row,
    Rules,
    Same,
    Side,
    Stamp,
    decide_replication,
)
from dcctl.domain.replication_merge import Witness
from dcctl.domain.replication_pass import Tally
from dcctl.domain.replication_share import Share
from dcctl.engines.replication_manners import Manners, Pace, Time
from dcctl.engines.replication_move import Mover, Outcome, act
from dcctl.engines.replication_options import Options
from dcctl.engines.replication_verify import Verdict
from dcctl.engines.replication_walk import Divide, Walk
from dcctl.errors import DcctlError
from dcctl.ports import DocumentStore, ReplicationBase

MENDED = ("metadata", "damaged", "unreadable", "orphan")
"""Differences that no listing shows, or that a pass takes for the same."""


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
        walk = Walk(self, container, share or Share(container), divide)
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

    async def mend(self, container: str, verdict: Verdict, tally: Tally) -> None:
        """Metadata, bytes that rotted on one side, and what answers on a side that does not list it."""
        manners = self.manners_of(container)
        mover = Mover(self.stores, container, self.options.keep, manners)
        found = [one for one in verdict.differences if one.kind in MENDED]
        for one in found:
            try:
                tally.add(await manners.attempt(partial(mover.mend, one.name, one.side)))
                self.moved = True
            except DcctlError as error:
                tally.add("failed")
                tally.reasons.append(str(error))
        left = sum(verdict.kinds.get(kind, 0) for kind in MENDED) - len(found)
        if left:
            tally.kinds["later"] = tally.count("later") + left
            tally.reasons.append(f"{left} more differ: dcctl replication repair again")

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
