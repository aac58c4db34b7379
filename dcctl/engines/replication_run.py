"""The synchronous door of the replicator: passes over containers, once or again and again."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar

from dcctl.domain.replication import Rules, Side
from dcctl.domain.replication_pass import Tally
from dcctl.engines.replication import Replication
from dcctl.engines.replication_import import Import, Imported
from dcctl.engines.replication_manners import Manners, Time, first_of
from dcctl.engines.replication_move import Mover
from dcctl.engines.replication_options import Options
from dcctl.engines.replication_verify import Level, Verdict, Verification
from dcctl.errors import Interrupted, StepFailed, Unreachable
from dcctl.ports import DocumentStore, FileTree, ReplicationBase

T = TypeVar("T")
OpenStores: TypeAlias = Callable[[], AbstractAsyncContextManager[Mapping[Side, DocumentStore]]]

MENDED_AT_ONCE = 10_000
"""Differences that only HEAD or GET can see, of which one repair mends so many: they are kept in memory."""
LATER_S = 1.0
"""How soon a name that had to wait for the other side's clock is looked at again."""


def replicate_once(
    stores: OpenStores,
    base: ReplicationBase,
    containers: Sequence[str],
    options: Options,
    *,
    wait_s: float = 0.0,
    clock: Time | None = None,
) -> list[Tally]:
    """One pass over every container. Up to ``wait_s`` seconds longer while names wait for a clock.

    Raises what a listing that cannot be read raises; Interrupted on Ctrl-C.
    """
    time = clock or Time()

    async def run() -> list[Tally]:
        async with stores() as opened:
            replication = Replication(opened, base, options, time)
            with midway(lambda: replication.moved):
                return [await until_nobody_waits(replication, name, wait_s, time) for name in containers]

    return run_to_end(run())


@contextlib.contextmanager
def midway(changed: Callable[[], bool]) -> Iterator[None]:
    """A cluster that goes away in the block is StepFailed, not Unreachable, once something was changed."""
    try:
        yield
    except Unreachable as error:
        if not changed():
            raise
        raise StepFailed(
            error.tried,
            run="replication",
            step="pass",
            on=error.on,
            saw=error.saw,
            next_command="the same command again: what was done is not done twice",
        ) from error


def compare(
    stores: OpenStores,
    containers: Sequence[str],
    options: Options,
    *,
    level: str,
    clock: Time | None = None,
) -> list[Verdict]:
    """Compare both sides to ``level`` (listing, metadata, full); nothing is written."""
    time = clock or Time()

    async def run() -> list[Verdict]:
        async with stores() as opened:
            verification = _verification(opened, options, level, time)
            return [await verification.run(name) for name in containers]

    return run_to_end(run())


def mend(
    stores: OpenStores,
    base: ReplicationBase,
    containers: Sequence[str],
    options: Options,
    *,
    level: str,
    clock: Time | None = None,
) -> list[Tally]:
    """Carry every difference anew, as if nothing were remembered, then what only HEAD or GET can see."""
    time = clock or Time()
    fresh = replace(options, trust_base=False)

    async def run() -> list[Tally]:
        async with stores() as opened:
            replication = Replication(opened, base, fresh, time)
            tallies: list[Tally] = []
            with midway(lambda: replication.moved):
                for name in containers:
                    tally = await replication.run(name)
                    tallies.append(tally)
                    if Level[level.upper()] > Level.LISTING:
                        verification = _verification(opened, options, level, time, shown=MENDED_AT_ONCE)
                        await replication.mend(name, await verification.run(name), tally)
            return tallies

    return run_to_end(run())


def answer(
    stores: OpenStores,
    base: ReplicationBase,
    container: str,
    options: Options,
    *,
    names: frozenset[str],
    keep: bool,
    clock: Time | None = None,
) -> Tally:
    """Carry out what a person decided about undecided ``names`` (empty: all of them)."""
    time = clock or Time()

    async def run() -> Tally:
        tally = Tally(container)
        async with stores() as opened:
            manners = Manners(options.limits, time)
            for store in opened.values():
                await manners.attempt(partial(store.list_page, container, limit=1))  # looks at the clock
            mover = Mover(opened, container, options.keep, manners)
            with midway(lambda: bool(tally.kinds)):
                for held in list(base.held(container)):
                    if names and held.row.name not in names:
                        continue
                    carry = mover.put_back if keep else partial(mover.discard, rules=_rules(opened, options))
                    outcome = await manners.attempt(partial(carry, held.row, held.side))
                    tally.add(outcome.kind, bytes=outcome.bytes)
                    if outcome.kind in ("put_back", "deleted", "gone"):
                        base.decided(container, held.row.name)
        return tally

    return run_to_end(run())


def import_tree(
    stores: OpenStores,
    tree: FileTree,
    container: str,
    options: Options,
    *,
    certify: bool,
    clock: Time | None = None,
) -> tuple[Imported, dict[str, Any] | None]:
    """Bring ``tree`` into both sides, under ``options.prefix``; the certificate if asked for."""

    async def run() -> tuple[Imported, dict[str, Any] | None]:
        async with stores() as opened:
            work = Import(opened, tree, container, options.prefix, Manners(options.limits, clock or Time()))
            with midway(lambda: bool({"written", "failed"} & set(work.done.kinds))):
                await work.run()
                return work.done, await work.certify() if certify else None

    return run_to_end(run())


async def ask_writable(stores: OpenStores, containers: Sequence[str]) -> dict[tuple[str, str], str | None]:
    """By site and container, why a signed write is refused there; None where it would be taken."""
    found: dict[tuple[str, str], str | None] = {}
    async with stores() as opened:
        for store in opened.values():
            for container in containers:
                try:
                    await store.list_page(container, limit=1)  # looks at the clock
                    await store.holds(container, ".dcctl-check", store.now().plus(-1))
                except Unreachable as error:
                    found[store.site, container] = error.saw
                else:
                    found[store.site, container] = None
    return found


def _rules(opened: Mapping[Side, DocumentStore], options: Options) -> Rules:
    return Rules(
        now_a=opened[Side.A].now(),
        now_b=opened[Side.B].now(),
        reclaim_age_s=options.reclaim_age_s,
        margin_s=options.margin_s,
        settled_s=options.settled_s,
    )


def _verification(
    opened: Mapping[Side, DocumentStore], options: Options, level: str, time: Time, *, shown: int = 1000
) -> Verification:
    return Verification(
        opened,
        Manners(options.limits, time),
        lambda: _rules(opened, options),
        level=Level[level.upper()],
        prefix=options.prefix,
        page_rows=options.page_rows,
        shown=shown,
    )


class Passes(Protocol):
    """What makes passes, with signed requests or with tokens."""

    async def run(self, container: str) -> Tally:
        """One pass over a container."""


async def until_nobody_waits(replication: Passes, container: str, wait_s: float, time: Time) -> Tally:
    """One pass, and more for up to ``wait_s`` seconds while a name has to wait for a clock."""
    deadline = time.monotonic() + wait_s
    tally = await replication.run(container)
    while (tally.count("later") or tally.count("moved")) and time.monotonic() < deadline:
        await time.sleep(LATER_S)
        tally = tally.plus(await replication.run(container))
    return tally


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise Interrupted("replicate: what was under way is looked at again by the next pass") from None
    except BaseExceptionGroup as errors:
        raise first_of(errors) from errors
