"""`sync` mode: acknowledged means on both sides, or told to the outbox before the answer."""

import asyncio

import pytest

from dcctl.domain.replication import Side
from dcctl.engines.replication_sync import Written, write_both
from dcctl.errors import Rejected, Unreachable
from dcctl.testing.documents import MemoryStore, VirtualTime, document


class World:
    def __init__(self, skew_s: float = 0.0) -> None:
        self.time = VirtualTime()
        self.a = MemoryStore("east", self.time)
        self.b = MemoryStore("west", self.time, skew_s=skew_s)
        self.told: list[bool] = []

    def write(self, content: bytes) -> Written:
        stores = {Side.A: self.a, Side.B: self.b}
        return asyncio.run(write_both(stores, Side.A, "docs", "o", document(content), self.told.append))


@pytest.mark.parametrize("skew_s", [0.0, -30.0, 30.0])
def test_both_sides_have_it_under_one_stamp_in_nobodys_future(skew_s: float) -> None:
    world = World(skew_s)
    written = world.write(b"1")
    assert written.both
    assert world.told == [True]
    assert world.a.listing("docs") == world.b.listing("docs")
    assert written.stamp <= min(world.a.now(), world.b.now())


def test_a_peer_that_is_away_leaves_it_to_the_outbox() -> None:
    world = World()
    world.b.fail_after = 0
    written = world.write(b"1")
    assert not written.both
    assert "made to fail" in written.away
    assert world.told == [False]


def test_home_that_is_away_is_no_acknowledgement() -> None:
    world = World()
    world.a.fail_after = 0
    with pytest.raises(Unreachable):
        world.write(b"1")
    assert world.told == []


def test_a_later_version_at_home_is_no_acknowledgement() -> None:
    world = World()
    world.a.client_put("docs", "o", b"later")
    world.time.now_s -= 5
    with pytest.raises(Rejected, match="later version"):
        world.write(b"1")
    assert world.told == []
