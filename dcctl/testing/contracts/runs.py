"""What every ``ports.Runs`` keeps, ZooKeeper and the fake.

class TestMyRuns(RunsContract):
    @pytest.fixture
    def world(self) -> RunsWorld: ...
"""

from datetime import UTC, datetime
from typing import Any, Protocol

import pytest

from dcctl.domain.event import Event
from dcctl.domain.rules import LastMove
from dcctl.domain.run import Asked, Wish
from dcctl.errors import LeadershipLost, NotFound, Refused
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

    def test_what_is_told_later_stands_where_it_was_written(self, world: RunsWorld) -> None:
        world.here.begin("20260102-a", "drill run site-cut", limit_s=LIMIT_S)
        for number in (9, 1, 30):
            world.here.append(event("20260102-a", number, "drill.fault"), limit_s=LIMIT_S)
        assert [each.seq for each in world.there.events("20260102-a", limit_s=LIMIT_S)] == [1, 9, 30]

    def test_who_began_a_run_and_for_what_is_there_for_everybody(self, world: RunsWorld) -> None:
        world.here.begin("20260102-a", "drill run site-cut", limit_s=LIMIT_S)
        world.here.end(limit_s=LIMIT_S)
        ordered = world.there.observe_ordered("20260102-a", limit_s=LIMIT_S)
        assert ordered is not None
        assert (bool(ordered.who), ordered.command) == (True, "drill run site-cut")
        assert world.there.observe_ordered("20260102-b", limit_s=LIMIT_S) is None

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

    def test_a_move_that_was_broken_off_is_resumed_or_aborted_first(self, world: RunsWorld) -> None:
        world.here.begin("20260102-a", "switchover apply --to west", limit_s=LIMIT_S)
        world.end_session(world.here)
        with pytest.raises(Refused, match=r"dcctl run resume 20260102-a .* dcctl run abort 20260102-a"):
            world.there.begin("20260102-b", "drain east", limit_s=LIMIT_S)
        world.there.begin("20260102-a", "switchover apply --to west", limit_s=LIMIT_S)
        active = world.there.observe_active(limit_s=LIMIT_S)
        assert active is not None
        assert (active.run, active.epoch, active.alive) == ("20260102-a", 2, True)
        with pytest.raises(LeadershipLost, match="20260102-a"):
            world.here.append(step("20260102-a", 1, "started"), limit_s=LIMIT_S)

    def test_the_same_command_and_a_failover_go_on_from_what_they_find(self, world: RunsWorld) -> None:
        world.here.begin("20260102-a", "switchover apply --to west", limit_s=LIMIT_S)
        world.end_session(world.here)
        world.there.begin("20260102-b", "switchover apply --to west", limit_s=LIMIT_S)
        world.end_session(world.there)
        world.here.begin("20260102-c", "failover apply --lost east", limit_s=LIMIT_S)

    def test_a_resumed_run_goes_on_in_the_same_journal(self, world: RunsWorld) -> None:
        world.here.begin("20260102-a", "admit east", limit_s=LIMIT_S)
        world.here.append(event("20260102-a", 1, "run.started", command="admit east"), limit_s=LIMIT_S)
        world.here.append(step("20260102-a", 2, "started", limit_s=1.0), limit_s=LIMIT_S)
        world.end_session(world.here)
        world.there.begin("20260102-a", "admit east", limit_s=LIMIT_S)
        world.there.append(event("20260102-a", 3, "run.resumed", by="bob"), limit_s=LIMIT_S)
        assert [each.seq for each in world.there.events("20260102-a", limit_s=LIMIT_S)] == [1, 2, 3]
        active = world.there.observe_active(limit_s=LIMIT_S)
        assert active is not None
        assert active.doing == ()
        world.there.end(limit_s=LIMIT_S)
        assert world.here.observe_runs(limit_s=LIMIT_S) == ("20260102-a",)

    def test_a_run_that_ended_may_be_resumed_under_its_name(self, world: RunsWorld) -> None:
        world.here.begin("20260102-a", "admit east", limit_s=LIMIT_S)
        world.here.append(event("20260102-a", 1, "run.started", command="admit east"), limit_s=LIMIT_S)
        world.here.end(limit_s=LIMIT_S)
        world.there.begin("20260102-a", "admit east", limit_s=LIMIT_S)
        world.there.append(event("20260102-a", 2, "run.resumed", by="bob"), limit_s=LIMIT_S)

    @pytest.mark.parametrize("word", ["run.done", "run.overtaken"])
    def test_a_run_whose_last_word_is_kept_blocks_nobody_when_its_process_dies(
        self, world: RunsWorld, word: str
    ) -> None:
        world.here.begin("20260102-a", "failover apply --lost east", limit_s=LIMIT_S)
        world.here.append(event("20260102-a", 1, "run.started"), limit_s=LIMIT_S)
        world.here.append(event("20260102-a", 2, word), limit_s=LIMIT_S)
        active = world.there.observe_active(limit_s=LIMIT_S)
        assert active is not None
        assert active.alive, "it may still forget old runs"
        world.end_session(world.here)
        assert world.there.observe_active(limit_s=LIMIT_S) is None
        world.there.begin("20260102-b", "admit east", limit_s=LIMIT_S)
        with pytest.raises(LeadershipLost):
            world.here.append(step("20260102-a", 3, "started"), limit_s=LIMIT_S)

    def test_what_people_ask_is_there_for_the_run_to_read(self, world: RunsWorld) -> None:
        at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
        with pytest.raises(NotFound):
            world.there.ask("20260102-x", Asked(Wish.PAUSE, "bob", at), limit_s=LIMIT_S)
        world.here.begin("20260102-a", "admit east", limit_s=LIMIT_S)
        world.here.append(event("20260102-a", 1, "run.started", command="admit east"), limit_s=LIMIT_S)
        assert world.here.observe_asked("20260102-a", limit_s=LIMIT_S) == ()
        skip = Asked(Wish.SKIP, "bob", at, "seen by eye", "verification")
        world.there.ask("20260102-a", Asked(Wish.PAUSE, "bob", at, "one"), limit_s=LIMIT_S)
        world.there.ask("20260102-a", Asked(Wish.PAUSE, "ann", at, "two"), limit_s=LIMIT_S)
        world.there.ask("20260102-a", skip, limit_s=LIMIT_S)
        assert world.here.observe_asked("20260102-a", limit_s=LIMIT_S) == (
            Asked(Wish.PAUSE, "ann", at, "two"),
            skip,
        )
        world.there.withdraw("20260102-a", Wish.PAUSE, limit_s=LIMIT_S)
        world.there.withdraw("20260102-a", Wish.ABORT, limit_s=LIMIT_S)
        assert world.here.observe_asked("20260102-a", limit_s=LIMIT_S) == (skip,)
        assert [each.seq for each in world.here.events("20260102-a", limit_s=LIMIT_S)] == [1]

    def test_the_last_move_is_remembered_over_other_runs(self, world: RunsWorld) -> None:
        assert world.here.observe_last_move(limit_s=LIMIT_S) is None
        world.here.begin("20260102-a", "switchover apply --to west", limit_s=LIMIT_S)
        ended = event("20260102-a", 1, "move.ended", what="switchover", site="west")
        world.here.append(ended, limit_s=LIMIT_S)
        world.here.end(limit_s=LIMIT_S)
        world.there.begin("20260102-b", "drain east", limit_s=LIMIT_S)
        world.there.end(limit_s=LIMIT_S)
        moved = LastMove("switchover", "west", "20260102-a", ended.at)
        assert world.here.observe_last_move(limit_s=LIMIT_S) == moved

    def test_a_run_that_is_over_is_forgotten_whole_and_only_by_who_may_act(self, world: RunsWorld) -> None:
        at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
        world.here.begin("20260102-a", "drain east", limit_s=LIMIT_S)
        for number in (1, 2, 3):
            world.here.append(event("20260102-a", number, "noted"), limit_s=LIMIT_S)
        world.there.ask("20260102-a", Asked(Wish.PAUSE, "bob", at), limit_s=LIMIT_S)
        world.here.end(limit_s=LIMIT_S)
        with pytest.raises(LeadershipLost):
            world.there.forget("20260102-a", limit_s=LIMIT_S)
        world.there.begin("20260102-b", "drain west", limit_s=LIMIT_S)
        with pytest.raises(Refused, match="the one that acts"):
            world.there.forget("20260102-b", limit_s=LIMIT_S)
        assert world.there.forget("20260102-a", limit_s=LIMIT_S)
        assert world.here.observe_runs(limit_s=LIMIT_S) == ("20260102-b",)
        assert world.here.events("20260102-a", limit_s=LIMIT_S) == ()
        assert world.here.observe_asked("20260102-a", limit_s=LIMIT_S) == ()
        assert world.there.forget("20260102-a", limit_s=LIMIT_S), "gone already is done"
        world.there.append(step("20260102-b", 1, "started"), limit_s=LIMIT_S)

    def test_whoever_lost_the_right_forgets_nothing(self, world: RunsWorld) -> None:
        world.here.begin("20260102-a", "one", limit_s=LIMIT_S)
        world.here.append(event("20260102-a", 1, "noted"), limit_s=LIMIT_S)
        world.here.end(limit_s=LIMIT_S)
        world.here.begin("20260102-b", "two", limit_s=LIMIT_S)
        world.end_session(world.here)
        world.there.begin("20260102-a", "one", limit_s=LIMIT_S)
        with pytest.raises(LeadershipLost):
            world.here.forget("20260102-a", limit_s=LIMIT_S)
        assert len(world.there.events("20260102-a", limit_s=LIMIT_S)) == 1
