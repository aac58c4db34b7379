"""Writing a document to both clusters before anybody is told that it is written: the `sync` mode.

Both get it under one timestamp, so nothing is left to replicate. When the peer is away the outbox keeps the
promise instead: then, and only then, the document is part of the loss window.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dcctl.domain.document import Answer, Document
from dcctl.domain.replication import Side, Stamp
from dcctl.errors import DcctlError, Rejected, Unreachable
from dcctl.ports import DocumentStore


@dataclass(frozen=True, slots=True)
class Written:
    """An acknowledged write. ``both``: it would survive the loss of either site."""

    stamp: Stamp
    both: bool
    away: str = ""


async def write_both(  # noqa: PLR0917
    stores: Mapping[Side, DocumentStore],
    home: Side,
    container: str,
    name: str,
    document: Document,
    told: Callable[[bool], None],
) -> Written:
    """Write ``document`` (held in memory) at both sides, under one timestamp of the past of both clocks.

    ``told`` is called once before the answer: with True when both sides have it, else with False, and then
    the caller's outbox must know of it, durably, before the write is acknowledged. Raises what ``home``
    raises; Rejected when it holds something later already: that is no acknowledgement.
    """
    stamp = min(store.now() for store in stores.values())

    async def put(side: Side) -> Answer | DcctlError:
        try:
            return await stores[side].put(container, name, stamp, document)
        except DcctlError as error:
            return error

    here, there = await asyncio.gather(put(home), put(home.other))
    if isinstance(here, DcctlError):
        raise here
    if here is Answer.OLDER:
        where = f"{stores[home].site}:{container}/{name}"
        raise Rejected("write a document", on=where, saw="a later version or a later delete is there already")
    if here is not Answer.APPLIED:
        raise Unreachable("write a document", on=f"{stores[home].site}:{container}/{name}", saw=here.value)
    both = there is Answer.APPLIED
    told(both)
    return Written(stamp, both, away="" if both else str(getattr(there, "value", there)))
