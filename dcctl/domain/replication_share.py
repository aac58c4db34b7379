"""How workers share what is to be replicated: containers cut into ranges of names, taken one at a time.

Sharing spares requests and guards nothing. A range that two workers walk at once, or that a worker goes
on with after it slept through the end of its session, comes out as if one had walked it: writes carry the
stamps that they always had, and a delete is proven once more right before it is carried.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dcctl.domain.replication import Stamp

MANY_BOUNDS = 1000
"""Beyond it ranges are made longer, so that what the ensemble keeps stays small."""


class Share(NamedTuple):
    """The names of ``container`` that are ``after`` < name <= ``upto`` (None: to the end)."""

    container: str
    after: str = ""
    upto: str | None = None

    @property
    def key(self) -> str:
        """Names the share wherever it begins alike; no container's name is like it."""
        return f"{self.container}/{hashlib.sha256(self.after.encode()).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class Worked:
    """The last complete pass over a share, by whichever worker."""

    began: Stamp
    ended: Stamp
    rows: int
    pending: int
    undecided: int
    by: str


@dataclass(frozen=True, slots=True)
class ShareState:
    """A share as the ensemble shows it. ``version`` is of the record of ``worked``; None: there is none."""

    share: Share
    worked: Worked | None = None
    version: int | None = None
    holder: str = ""


@dataclass(frozen=True, slots=True)
class ContainerWork:
    """All shares of a container. ``version`` is of the bounds between them; None: it was never divided."""

    container: str
    bounds: tuple[str, ...]
    version: int | None
    shares: tuple[ShareState, ...]

    @property
    def complete(self) -> tuple[Stamp, int] | None:
        """Since when all of it was walked, and the rows that both sides had; None while a share was not."""
        worked = [one.worked for one in self.shares if one.worked is not None]
        if not worked or len(worked) < len(self.shares):
            return None
        return min(one.began for one in worked), sum(one.rows for one in worked)


def shares_of(container: str, bounds: Sequence[str]) -> tuple[Share, ...]:
    """The ranges between ``bounds``, which are the last names of all ranges but the last."""
    ordered = sorted(set(bounds), key=str.encode)
    return tuple(
        Share(container, after, upto) for after, upto in zip(["", *ordered], [*ordered, None], strict=True)
    )


def decide_share(states: Sequence[ShareState], *, now: Stamp, every_s: float) -> tuple[ShareState, ...]:
    """The shares to try, the most urgent first.

    | share | tried |
    |-------|-------|
    | somebody has it | no |
    | never walked to its end | first, in order |
    | walked ``every_s`` ago or longer | the longest ago first |
    | walked since | no |
    """
    due = [
        one
        for one in states
        if not one.holder and (one.worked is None or now.ticks >= one.worked.ended.plus(every_s).ticks)
    ]
    return tuple(sorted(due, key=lambda one: one.worked.ended.ticks if one.worked is not None else 0))


def decide_division(bounds: Sequence[str], share: Share, upto: str, rows: int, page_rows: int) -> bool:
    """Whether a share is cut at ``upto``, ``rows`` rows after its beginning: each is a page, or more pages
    where there are very many."""
    pages = 1 + len(bounds) // MANY_BOUNDS
    last = share.upto is not None and upto.encode() >= share.upto.encode()
    return not last and rows >= pages * page_rows


def is_ours(container: str, name: str, worker: str, workers: Sequence[str]) -> bool:
    """Whether a told change of ``name`` is for ``worker``: by hash, each name is for one of ``workers``."""
    if worker not in workers:
        return True  # we are not seen: better twice than never
    digest = hashlib.sha256(f"{container}/{name}".encode()).digest()
    ranked = sorted(workers)
    return ranked[int.from_bytes(digest[:8], "big") % len(ranked)] == worker
