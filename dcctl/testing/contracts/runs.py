"""What every ``ports.Runs`` keeps, ZooKeeper and the fake.

class TestMyRuns(RunsContract):
    @pytest.fixture
    def world(self) -> RunsWorld: ...
"""

from datetime import UTC, datetime
from typing import Any, Protocol

import pytest

from dcctl.domain.event import Event
from dcctl.errors import LeadershipLost, Refused
from dcctl.ports import Runs

LIMIT_S = 8.0


class RunsWorld(Protocol):
    """An ensemble and two clients of it, each with its own session."""

    here: Runs
    there: Runs

    def end_session(self, runs: Runs) -> None:
        """The session ends, as after a kill; the client itself may go on, not knowing."""


def event(run: str, seq: int, type: str, **fields: Any) -> Event:
    return Event(datetime(2026, 1, 2, 3, 4, tzinfo=UTC), run, seq, type, fields)


def step(run: str, seq: int, what: str, limit_s: float = 60.0) -> Event:
    return event(run, seq, f"step.{what}", step="fence", target="east", limit_s=limit_s)


class RunsContract:
    def test_nobody_acts_at_first(self, world: RunsWorld) -> None:
        assert world.here.observe_active(limit_s=LIMIT_S) is None
        assert world.here.events("20260102-a", limit_s=LIMIT_S) == ()

    def test_one_run_acts_and_a_second_is_refused_naming_it(self, world: RunsWorld) -> None:
        world.here.begin("20260102-a", "failover apply --lost east", limit_s=LIMIT_S)
        active = world.there.observe_active(limit_s=LIMIT_S)
        assert active is not None
        assert (active.run, active.epoch, active.alive) == ("20260102-a", 1, True)
        assert active.command == "failover apply --lost east"
        with pytest.raises(Refused, match=r"run 20260102-a is active: failover apply --lost east, by "):
            world.there.begin("20260102-b", "switchover", limit_s=LIMIT_S)

    def test_after_its_end_another_begins_under_a_higher_epoch(self, world: RunsWorld) -> None:
        world.here.begin("20260102-a", "one", limit_s=LIMIT_S)
        world.here.end(limit_s=LIMIT_S)
        assert world.there.observe_active(limit_s=LIMIT_S) is None
        world.there.begin("20260102-b", "two", limit_s=LIMIT_S)
        active = world.here.observe_active(limit_s=LIMIT_S)
        assert active is not None
        assert (active.run, active.epoch) == ("20260102-b", 2)

    def test_the_events_of_a_run_are_there_for_everybody(self, world: RunsWorld) -> None:
        world.here.begin("20260102-a", "one", limit_s=LIMIT_S)
        told = [event("20260102-a", 1, "run.started", command="one"), step("20260102-a", 2, "started")]
        for each in told:
            world.here.append(each, limit_s=LIMIT_S)
        assert world.there.events("20260102-a", limit_s=LIMIT_S) == tuple(told)

    def test_what_was_begun_and_not_ended_is_known(self, world: RunsWorld) -> None:
        world.here.begin("20260102-a", "one", limit_s=LIMIT_S)
        world.here.append(step("20260102-a", 1, "started"), limit_s=LIMIT_S)
        active = world.there.observe_active(limit_s=LIMIT_S)
        assert active is not None
        assert active.doing == ("fence on east",)
        world.here.append(step("20260102-a", 2, "done"), limit_s=LIMIT_S)
        active = world.there.observe_active(limit_s=LIMIT_S)
        assert active is not None
        assert active.doing == ()

    def test_a_dead_owner_does_not_block(self, world: RunsWorld) -> None:
        world.here.begin("20260102-a", "one", limit_s=LIMIT_S)
        world.end_session(world.here)
        active = world.there.observe_active(limit_s=LIMIT_S)
        assert active is not None
        assert not active.alive
        world.there.begin("20260102-b", "two", limit_s=LIMIT_S)

    def test_a_dead_owner_is_not_taken_over_while_what_it_began_may_go_on(self, world: RunsWorld) -> None:
        world.here.begin("20260102-a", "one", limit_s=LIMIT_S)
        world.here.append(step("20260102-a", 1, "started", limit_s=300.0), limit_s=LIMIT_S)
        world.end_session(world.here)
        with pytest.raises(Refused, match=r"broken off while it did: fence on east; .* s more"):
            world.there.begin("20260102-b", "two", limit_s=1.0)

    def test_what_it_began_is_over_after_its_time_limit(self, world: RunsWorld) -> None:
        world.here.begin("20260102-a", "one", limit_s=LIMIT_S)
        world.here.append(step("20260102-a", 1, "started", limit_s=1.0), limit_s=LIMIT_S)
        world.end_session(world.here)
        world.there.begin("20260102-b", "two", limit_s=LIMIT_S)

    def test_who_was_taken_over_begins_nothing_any_more(self, world: RunsWorld) -> None:
        world.here.begin("20260102-a", "one", limit_s=LIMIT_S)
        world.end_session(world.here)
        world.there.begin("20260102-b", "two", limit_s=LIMIT_S)
        with pytest.raises(LeadershipLost, match="20260102-b"):
            world.here.append(step("20260102-a", 1, "started"), limit_s=LIMIT_S)
        world.here.end(limit_s=LIMIT_S)
        active = world.there.observe_active(limit_s=LIMIT_S)
        assert active is not None
        assert active.run == "20260102-b"
        world.there.append(step("20260102-b", 1, "started"), limit_s=LIMIT_S)

    def test_who_lost_its_session_and_not_its_right_goes_on(self, world: RunsWorld) -> None:
        world.here.begin("20260102-a", "one", limit_s=LIMIT_S)
        world.end_session(world.here)
        world.here.append(step("20260102-a", 1, "started"), limit_s=LIMIT_S)
        with pytest.raises(Refused, match="is active"):
            world.there.begin("20260102-b", "two", limit_s=1.0)
