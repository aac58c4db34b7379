"""A plan is carried out as it was read: its names and no others, and none that changed since."""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from test_replication_pass import World

from dcctl.cli.replication_view import progress_line
from dcctl.domain.replication import Side
from dcctl.domain.replication_pass import Tally
from dcctl.domain.replication_plan import Planned, Version, plan_document, read_plan
from dcctl.engines.replication_manners import Limits, Manners, Pace, Time
from dcctl.engines.replication_plan import apply_plan
from dcctl.errors import Busy, CredentialsRefused, Rejected, TimedOut, Unreachable
from dcctl.ports import DocumentStore


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.base.close()


def planned(world: World) -> list[Planned]:
    found: list[Planned] = []

    def note(name: str, witness: Any, decision: Any) -> None:
        kind = type(decision).__name__.lower()
        found.append(Planned("docs", name, kind, "", 1, Version.of(witness.a), Version.of(witness.b)))

    options, world.options = world.options, replace(world.options, plan=note)
    world.step()
    world.options = options
    return found


def applied(world: World, entries: list[Planned]) -> dict[str, int]:
    @contextlib.asynccontextmanager
    async def stores() -> AsyncIterator[Mapping[Side, DocumentStore]]:
        yield {Side.A: world.a, Side.B: world.b}

    text = json.dumps(plan_document("pair", datetime(2026, 1, 1, tzinfo=UTC), entries))
    _pair, read = read_plan(json.loads(text))
    clock = Time(now=world.time, monotonic=world.time)
    tallies = apply_plan(stores, world.base, read, world.options, clock=clock)
    return tallies[0].kinds if tallies else {}


def test_only_what_is_in_the_plan_is_done_and_nothing_that_changed_since(world: World) -> None:
    for name in ("deleted", "same"):
        world.a.client_put("docs", name, b"1")
    world.settle()
    for name in ("copied", "struck", "changed"):
        world.a.client_put("docs", name, b"1")
    world.b.client_delete("docs", "deleted")
    entries = [one for one in planned(world) if one.name != "struck"]
    assert sorted(one.name for one in entries) == ["changed", "copied", "deleted"]
    world.a.client_put("docs", "changed", b"2")
    assert applied(world, entries) == {"copied": 1, "deleted": 1, "stale": 1}
    assert sorted(world.b.listing("docs")) == ["copied", "same"]
    assert applied(world, entries) == {"stale": 3}, "carried out, it is of the past"


@pytest.mark.parametrize("content", [None, [], {"version": 2}, {"version": 1, "entries": [{"name": "x"}]}])
def test_what_is_no_plan_is_said_so(content: Any) -> None:
    with pytest.raises(ValueError, match=r"not a plan|entry 0"):
        read_plan(content)


def test_a_container_that_asks_for_patience_gets_it_and_does_not_slow_the_others_down() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    clock = Time(monotonic=lambda: 0.0, sleep=sleep)
    limits = Limits(attempts=3)
    pace = Pace(limits, clock)
    busy, calm = Manners(limits, clock, pace), Manners(limits, clock, pace)
    done: list[str] = []

    async def refuse() -> None:
        raise Busy("PUT", on="east:docs", saw="HTTP 498", retry_after_s=30)

    async def carry() -> None:
        done.append("carried")

    async def run() -> None:
        with pytest.raises(Busy):
            await busy.attempt(refuse)
        assert slept == [30.0, 30.0], "as long as it asked for, before each new try"
        slept.clear()
        await calm.attempt(carry)

    asyncio.run(run())
    assert (done, slept) == (["carried"], [])
    assert (busy.in_flight_limit, calm.in_flight_limit) == (limits.lowest, limits.start)


def test_what_was_refused_is_not_tried_again_and_what_did_not_answer_is() -> None:
    tried: list[str] = []

    async def sleep(seconds: float) -> None:
        assert 0 < seconds <= 10

    manners = Manners(Limits(attempts=3), Time(monotonic=lambda: 0.0, sleep=sleep))

    async def fail(error: Unreachable) -> None:
        tried.append(type(error).__name__)
        raise error

    async def run() -> None:
        for kind in (Unreachable, TimedOut, Rejected, CredentialsRefused):
            with pytest.raises(kind):
                await manners.attempt(partial(fail, kind("PUT", on="east:docs")))

    asyncio.run(run())
    assert tried == ["Unreachable"] * 3 + ["TimedOut"] * 3 + ["Rejected", "CredentialsRefused"]


def test_what_a_person_reads_of_a_pass_under_way_has_its_rate_its_bytes_and_its_end() -> None:
    tally = Tally("docs", rows=150, expected=1000, seconds=4.0, bytes=8000, todo=7, kinds={"copied": 50})
    assert progress_line(tally) == (
        "docs: 150 of about 1000 looked at, 50 carried (12/s), 7 to do on this page, 8000 bytes (2000/s),"
        " about 17 s left"
    )
    assert "left" not in progress_line(Tally("docs"))


@pytest.mark.parametrize(
    ("limits", "work", "seconds"),
    [
        (Limits(requests_per_s=10), 50, 9.8),
        (Limits(bytes_per_s=1000), 20, 19.0),
    ],
)
def test_all_containers_keep_to_one_limit_of_requests_and_bytes(
    limits: Limits, work: int, seconds: float
) -> None:
    now = 0.0

    async def sleep(for_s: float) -> None:
        nonlocal now
        now += for_s

    clock = Time(monotonic=lambda: now, sleep=sleep)
    pace = Pace(limits, clock)
    both = [Manners(limits, clock, pace) for _ in range(2)]

    async def run() -> None:
        for number in range(work):
            manners = both[number % 2]

            async def piece(manners: Manners = manners) -> None:
                manners.transferred(1000)

            await manners.attempt(piece, cost=2)

    asyncio.run(run())
    assert now == pytest.approx(seconds, abs=0.5)


def test_the_time_left_follows_from_the_rate_so_far() -> None:
    tally = Tally("docs", rows=200, expected=1000, seconds=4.0)
    assert tally.left_s == 16.0
    assert Tally("docs").left_s is None


@pytest.mark.parametrize(
    ("rate_of", "about"),
    [
        (
            lambda at_once: 10.0 * at_once,
            (28, 32),
        ),  # as between sites far apart
        (lambda at_once: 400.0 - 10.0 * at_once, (4, 6)),
        (lambda at_once: 150.0 - abs(at_once - 16), (14, 18)),
    ],
)
def test_as_many_are_in_flight_as_are_fastest_however_the_rate_swings(
    rate_of: Callable[[int], float], about: tuple[int, int]
) -> None:
    now, swing = 0.0, random.Random(7)  # noqa: S311  # repeatable
    manners = Manners(Limits(), Time(monotonic=lambda: now))
    seen: list[int] = []

    async def work() -> None:
        nonlocal now
        now += swing.uniform(0.97, 1.03) / rate_of(manners.in_flight_limit)
        seen.append(manners.in_flight_limit)

    async def run() -> None:
        while now < 200:
            await manners.attempt(work)

    asyncio.run(run())
    late = seen[len(seen) // 2 :]
    assert about[0] <= sum(late) / len(late) <= about[1]
