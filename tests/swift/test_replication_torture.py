"""The torture in small, on two real clusters: ours comes through, and each wrong replicator is caught.

What races elsewhere happens here in one order; ``make torture-replication`` is the whole of it, with chance.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

import pytest
from broken_replicators import BROKEN, play

from dcctl.testing.replication_site import REQUIREMENTS
from dcctl.testing.swift_pair import Pair, two_clusters


@pytest.fixture(scope="module")
def pair_with() -> Iterator[Callable[[float], Pair]]:
    """A pair in which west's clock is shifted by so many seconds; of its own, for a disk is lost in it."""
    started = {}
    with contextlib.ExitStack() as stack:

        def one(offset_s: float) -> Pair:
            if offset_s not in started:
                started[offset_s] = stack.enter_context(two_clusters(REQUIREMENTS, offsets_s=(0.0, offset_s)))
            return started[offset_s]

        yield one


@pytest.mark.parametrize("name", BROKEN)
def test_ours_comes_through_and_the_wrong_one_is_caught(
    name: str, pair_with: Callable[[float], Pair]
) -> None:
    one = BROKEN[name]
    pair = pair_with(one.offset_s)
    ours = asyncio.run(play(pair, one, broken=False))
    assert ours.clean, ours
    wrong = asyncio.run(play(pair, one, broken=True))
    assert wrong.counts[one.column], wrong
