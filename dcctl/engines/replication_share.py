"""A worker among others: it takes a share of a container, makes a pass over it, and gives it back.

The ensemble spares workers each other's work and guards nothing (``domain/replication_share.py``). So a
worker that does not reach it goes on alone, with everything: more requests, no harm.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dcctl.domain.replication import TICKS_PER_S, Stamp
from dcctl.domain.replication_feed import Told
from dcctl.domain.replication_lag import Heartbeat
from dcctl.domain.replication_pass import Held, Tally
from dcctl.domain.replication_share import (
    ContainerWork,
    Share,
    ShareState,
    Worked,
    decide_division,
    decide_share,
    is_ours,
    shares_of,
)
from dcctl.engines.replication import Replication
from dcctl.engines.replication_manners import Time
from dcctl.errors import Unreachable
from dcctl.ports import ReplicationBase, SharedWork


class ShareOfBase:
    """``ports.ReplicationBase`` for one share: what is remembered of it here, and what others did to it."""

    def __init__(self, base: ReplicationBase, state: ShareState) -> None:
        self._base = base
        self._share = state.share
        self._worked = state.worked
        self.finished: tuple[Stamp, int] | None = None

    def forgot(self, container: str) -> bool:  # noqa: ARG002
        return self._base.forgot(self._share.key)

    def digest(self, container: str, after: str, upto: str | None) -> bytes | None:  # noqa: ARG002
        return self._base.digest(self._share.key, after, upto)

    def rows(self, container: str, after: str, upto: str | None) -> list[bytes]:  # noqa: ARG002
        return self._base.rows(self._share.key, after, upto)

    def bounds(self, container: str, rows: int) -> list[str]:  # noqa: ARG002
        return self._base.bounds(self._share.key, rows)

    def agree(
        self,
        container: str,  # noqa: ARG002
        after: str,
        upto: str | None,
        rows: Sequence[bytes],
        *,
        digest: bytes | None = None,
        beyond: Sequence[bytes] = (),
    ) -> None:
        self._base.agree(self._share.key, after, upto, rows, digest=digest, beyond=beyond)

    def progressed(self, container: str, marker: str) -> None:  # noqa: ARG002
        self._base.progressed(self._share.key, marker)

    def begin(self, container: str, now: Stamp) -> tuple[str, Stamp]:
        """Goes on with a pass of ours that was cut short, unless another finished one since."""
        marker, began = self._base.begin(self._share.key, now)
        if self._worked is not None and began < self._worked.began:
            marker, began = "", now
        for held in list(self._base.held(container)) if not marker else ():
            name = held.row.name.encode()
            upto = self._share.upto
            if name > self._share.after.encode() and (upto is None or name <= upto.encode()):
                self._base.decided(container, held.row.name)
        return marker, began

    def finish(self, container: str, began: Stamp, rows: int) -> None:  # noqa: ARG002
        self._base.finish(self._share.key, began, rows)
        self.finished = (began, rows)

    def complete(self, container: str) -> tuple[Stamp, int] | None:  # noqa: ARG002
        """By whichever worker."""
        ours = self._base.complete(self._share.key)
        if self._worked is None:
            return ours
        theirs = (self._worked.began, self._worked.rows)
        return theirs if ours is None else max(ours, theirs)

    def ended(self, container: str, at: Stamp, tally: dict[str, Any]) -> None:
        self._base.ended(container, at, tally)

    def hold(self, container: str, held: Sequence[Held]) -> None:
        self._base.hold(container, held)

    def decided(self, container: str, name: str) -> None:
        self._base.decided(container, name)

    def held(self, container: str) -> Iterator[Held]:
        return self._base.held(container)


class _Whole(ShareOfBase):
    """A container of which all shares were walked, for changes that are told: deletes may be carried."""

    def __init__(self, base: ReplicationBase, work: Callable[[str], ContainerWork | None]) -> None:
        super().__init__(base, ShareState(Share("")))
        self._of = work

    def complete(self, container: str) -> tuple[Stamp, int] | None:
        work = self._of(container)
        return work.complete if work is not None else None


class Worker:
    """One worker. ``turn`` is one share; ``ours`` tells which told changes are its own."""

    def __init__(
        self,
        replication: Replication,
        work: SharedWork,
        containers: Sequence[str],
        *,
        every_s: float,
        clock: Time,
    ) -> None:
        self._replication = replication
        self._work = work
        self._containers = containers
        self._every_s = every_s
        self._time = clock
        self._known: dict[str, ContainerWork] = {}
        self._workers: tuple[str, ...] = ()
        self._alone: dict[Share, Worked] = {}
        self.told = replication.over(_Whole(replication.base, self._known.get))

    def ours(self, change: Told) -> bool:
        """Whether this change is for us: each name is for one of those who work now."""
        return is_ours(change.container, change.name, self._work.who, self._workers)

    def walked_last(self, container: str, after: str) -> bool:
        """Whether nobody else has walked the share that begins there since we did."""
        known = self._known.get(container)
        states = known.shares if known is not None else ()
        return any(one.share.after == after and _by(one) in ("", self._work.who) for one in states)

    def heartbeats(self, sites: Sequence[str], settled_s: float) -> list[Heartbeat]:
        """By all workers together: one for each site, while nothing at all is pending."""
        works = [self._known.get(name) for name in self._containers]
        complete = [work.complete for work in works if work is not None]
        began = [one[0] for one in complete if one is not None]
        shares = [one for work in works if work is not None for one in work.shares]
        if len(began) < len(works) or any(one.worked is None or one.worked.pending for one in shares):
            return []
        until, now = min(began).plus(-settled_s).instant, self._now().instant
        return [Heartbeat(site, until, now, 0, 0) for site in sites]

    async def turn(self) -> Tally | Unreachable | None:
        """A pass over the most urgent share that nobody has; None when nothing is due.

        A cluster that is away is returned, as a pass without shares tells of it.
        """
        try:
            state = await self._take()
        except Unreachable as error:
            return await self._turn_alone(error)
        if state is None:
            return None
        worked = None
        try:
            tally, worked = await self._walk(state)
        except Unreachable as error:
            return error
        finally:
            await self._give_back(state, worked)
        return tally

    async def _take(self) -> ShareState | None:
        self._workers = await asyncio.to_thread(self._work.observe_workers)
        names = tuple(self._containers)
        for container in names:
            self._known[container] = await asyncio.to_thread(self._work.observe_work, container)
        states = [one for name in names for one in self._known[name].shares]
        for state in decide_share(states, now=self._now(), every_s=self._every_s):
            taken = await asyncio.to_thread(self._work.take, state.share)
            if taken is None:
                continue
            if taken.worked != state.worked:  # another was here between our look and our hand
                await asyncio.to_thread(self._work.give_back, taken, None)
                continue
            self._alone.clear()
            return taken
        return None

    async def _walk(self, state: ShareState) -> tuple[Tally, Worked | None]:
        share = state.share
        base = ShareOfBase(self._replication.base, state)
        page_rows = self._replication.options.new_rows

        async def divide(upto: str, rows: int) -> bool:
            known = self._known[share.container]
            if not decide_division(known.bounds, share, upto, rows, page_rows):
                return False
            try:
                return await asyncio.to_thread(self._work.divide, known, upto)
            except Unreachable:
                return False

        tally = await self._replication.over(base).run(share.container, share=share, divide=divide)
        if base.finished is None:
            return tally, None
        began, rows = base.finished
        pending = tally.pending + tally.resumed  # what was left before it was cut short is not known
        worked = Worked(began, self._now(), rows, pending, tally.count("undecided"), self._work.who)
        return tally, worked

    async def _give_back(self, state: ShareState, worked: Worked | None) -> None:
        try:
            await asyncio.to_thread(self._work.give_back, state, worked)
        except Unreachable:
            return  # it is free when our session ends; what became of it is walked again

    async def _turn_alone(self, why: Unreachable) -> Tally | Unreachable | None:
        """Without the ensemble: every share as it was last seen, in turn."""
        self._workers = ()
        states = []
        for name in self._containers:
            known = self._known.get(name)
            shares = shares_of(name, known.bounds if known is not None else ())
            states += [ShareState(share, self._alone.get(share)) for share in shares]
        due = decide_share(states, now=self._now(), every_s=self._every_s)
        if not due:
            return None
        self._known.setdefault(due[0].share.container, ContainerWork(due[0].share.container, (), None, ()))
        try:
            tally, worked = await self._walk(due[0])
        except Unreachable as error:
            return error
        if worked is not None:
            self._alone[due[0].share] = worked
        tally.reasons.append(f"working alone: {why}")
        return tally

    def _now(self) -> Stamp:
        return Stamp(round(self._time.now() * TICKS_PER_S))


def _by(state: ShareState) -> str:
    return state.worked.by if state.worked is not None else ""
