"""Carrying out a plan that a person has read: its names and no others, and none that changed since."""

import asyncio
from collections.abc import Sequence

from dcctl.domain.replication_pass import Tally
from dcctl.domain.replication_plan import Planned
from dcctl.engines.replication import Replication
from dcctl.engines.replication_manners import Time
from dcctl.engines.replication_move import Mover, Outcome
from dcctl.engines.replication_options import Options
from dcctl.engines.replication_run import OpenStores, midway, run_to_end
from dcctl.errors import Unreachable
from dcctl.ports import ReplicationBase


def apply_plan(
    stores: OpenStores,
    base: ReplicationBase,
    entries: Sequence[Planned],
    options: Options,
    *,
    clock: Time | None = None,
) -> list[Tally]:
    """One tally for each container; a name that changed since is counted as ``stale`` and left alone."""

    async def run() -> list[Tally]:
        async with stores() as opened:
            replication = Replication(opened, base, options, clock or Time())
            tallies: dict[str, Tally] = {}
            with midway(lambda: any(tally.kinds for tally in tallies.values())):
                for container in dict.fromkeys(one.container for one in entries):
                    tallies[container] = tally = Tally(container)
                    for store in opened.values():
                        await store.list_page(container, limit=1)  # looks at the clock
                    work = [one for one in entries if one.container == container]
                    await asyncio.gather(*(_apply(replication, one, tally) for one in work))
            return list(tallies.values())

    return run_to_end(run())


async def _apply(replication: Replication, entry: Planned, tally: Tally) -> None:
    manners = replication.manners_of(entry.container)
    mover = Mover(replication.stores, entry.container, replication.options.keep, manners)

    async def work() -> Outcome:
        a, b = await replication.rows(entry.container, entry.name)
        if entry.stale(a, b):
            return Outcome("stale")
        outcome = await replication.look(mover, entry.container, entry.name)
        if outcome.doomed is not None:
            return await mover.remove(outcome.doomed, replication.rules(entry.container))
        return outcome

    try:
        outcome = await manners.attempt(work, cost=4)
    except Unreachable as error:
        tally.reasons.append(str(error))
        outcome = Outcome("failed")
    tally.add(outcome.kind, bytes=outcome.bytes, conflict=outcome.conflict)
