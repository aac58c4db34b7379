"""A cluster's clock, known from its answers; nothing is written in its future when it is set back."""

import math
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_replication_pass import World

from dcctl.domain.replication import TICKS_PER_S, Stamp
from dcctl.domain.replication_clock import CLOCK_MEMORY_S, ClusterClock
from dcctl.engines.replication_move import BELIEVED_S
from dcctl.testing.documents import MemoryStore

TRUTH_S = 1_800_000_000.0


def told(clock: ClusterClock, truth_s: float, asked_s: float, heard_s: float) -> None:
    """An answer that is sent when the cluster's clock shows ``truth_s``."""
    clock.saw(formatdate(math.floor(truth_s), usegmt=True), asked_s, heard_s)


def test_of_many_answers_the_one_that_says_most_is_believed() -> None:
    clock = ClusterClock()
    assert (clock.now(0.0), clock.silent_s(0.0)) == (Stamp(0), math.inf)
    clock.saw(None, 0.0, 0.0)
    assert clock.now(0.0) == Stamp(0)
    for at_s in (0.9, 1.0, 1.5):
        told(clock, TRUTH_S + at_s, at_s, at_s)
    assert clock.now(1.5) == Stamp(round((TRUTH_S + 1.5) * TICKS_PER_S))
    assert clock.silent_s(3.0) == 1.5


def test_a_clock_that_is_set_back_is_believed_from_its_first_answer_on() -> None:
    clock = ClusterClock()
    for at_s in range(50):
        told(clock, TRUTH_S + at_s, at_s, at_s)
    told(clock, TRUTH_S + 50 - 1.5, 50.0, 50.1)
    assert clock.now(50.1) <= Stamp(round((TRUTH_S + 50.1 - 1.5) * TICKS_PER_S))


def test_a_slow_answer_says_little_of_the_latest_and_is_no_setting_back() -> None:
    clock = ClusterClock()
    told(clock, TRUTH_S, 0.0, 0.0)
    told(clock, TRUTH_S + 1, 1.0, 31.0)
    assert clock.now(31.0) == Stamp(round((TRUTH_S + 31) * TICKS_PER_S))


def test_less_than_a_second_back_shows_where_date_changes_or_is_forgotten() -> None:
    clock = ClusterClock()
    told(clock, TRUTH_S, 0.0, 0.0)
    told(clock, TRUTH_S + 0.9, 1.3, 1.3)  # set back by 0.4
    assert clock.now(1.3) <= Stamp(round((TRUTH_S + 0.9) * TICKS_PER_S))
    clock = ClusterClock()
    told(clock, TRUTH_S, 0.0, 0.0)
    told(clock, TRUTH_S + 60.7, CLOCK_MEMORY_S + 1.1, CLOCK_MEMORY_S + 1.1)
    assert clock.now(CLOCK_MEMORY_S + 1.1) <= Stamp(round((TRUTH_S + 60.7) * TICKS_PER_S))


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 1), st.floats(0, 1)), max_size=8))
def test_a_clock_that_is_not_set_is_never_thought_to_be_ahead_and_nothing_is_forgotten(
    answers: list[tuple[float, float, float]],
) -> None:
    clock, local_s, best_s = ClusterClock(), 1000.0, -math.inf
    for wait_s, there_s, back_s in answers:
        asked_s = local_s + wait_s
        local_s = asked_s + there_s + back_s
        told(clock, TRUTH_S + asked_s + there_s, asked_s, local_s)
        best_s = max(best_s, math.floor(TRUTH_S + asked_s + there_s) - local_s)
        assert clock.now(local_s).ticks <= (TRUTH_S + local_s) * TICKS_PER_S + 1
        assert clock.now(local_s).ticks >= (local_s + best_s) * TICKS_PER_S - 1


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.base.close()


class Silent(MemoryStore):
    """Known by its answers alone, and set back by half a minute since the last of them."""

    heard = False

    def _called(self, what: str) -> None:
        self.heard = True
        super()._called(what)

    def silent_s(self) -> float:
        return 0.0 if self.heard else BELIEVED_S + 0.1

    def now(self) -> Stamp:
        return super().now().plus(0 if self.heard else 30)


def test_what_is_told_after_a_silence_is_not_written_before_the_clock_is_asked_anew(world: World) -> None:
    world.a.client_put("docs", "o", b"1")
    world.b = Silent("west", world.time, skew_s=-30.0)
    assert world.carry("o", "east").kind == "later"
    assert world.b.containers["docs"] == {}
    assert "put" not in world.b.calls
    world.time.now_s += 31
    assert world.carry("o", "east").kind == "copied"
    world.assert_same()


def put(world: World) -> None:
    world.a.client_put("docs", "o", b"2")


def post(world: World) -> None:
    world.a.client_post("docs", "o", X_Object_Meta_K="v")


def put_at_both(world: World) -> None:
    world.b.client_put("docs", "o", b"3")
    world.a.client_put("docs", "o", b"2")


def post_at_both(world: World) -> None:
    world.b.client_post("docs", "o", X_Object_Meta_K="w")
    world.a.client_post("docs", "o", X_Object_Meta_K="v")


@pytest.mark.parametrize("change", [put, post, put_at_both, post_at_both])
def test_a_clock_that_is_set_back_within_a_pass_is_not_written_past(
    world: World, change: Callable[[World], None]
) -> None:
    """Between the listings and the write, while the other side is asked for the object."""
    world.a.client_put("docs", "o", b"1")
    world.settle()
    world.time.now_s += 60
    change(world)
    before = world.b.listing("docs")
    real = world.a._called

    def called(what: str) -> None:
        real(what)
        if what != "list" and world.b.skew_s == 0.0:
            world.b.skew_s = -30.0

    world.a._called = called  # type: ignore[method-assign]
    assert world.step(1).count("later") == 1
    assert world.b.skew_s == -30.0
    assert world.b.listing("docs") == before
    assert world.b.containers["dcctl-conflicts"] == {}
    world.time.now_s += 60
    world.settle()
    world.assert_same()
