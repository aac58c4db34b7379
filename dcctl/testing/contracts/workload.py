"""What every ``ports.Workload`` keeps, the real one and the fake.

class TestMyWorkload(WorkloadContract):
    @pytest.fixture
    def world(self) -> Iterator[WorkloadWorld]: ...
"""

from typing import Protocol

import pytest

from dcctl.domain.availability import measure
from dcctl.domain.history import Action, Findings, Phase, check, operations
from dcctl.domain.history_primary import PrimaryFindings, check_primary
from dcctl.errors import Unreachable
from dcctl.ports import Workload


class WorkloadWorld(Protocol):
    """A database behind two edges, and a client of it at 50 writes and 20 reads a second."""

    workload: Workload
    edges: tuple[str, str]

    def pass_time(self, seconds: float) -> None:
        """Let the client run for that long."""

    def lose_row(self, row: int) -> None:
        """Delete a row behind everyone's back."""

    def tables(self) -> tuple[str, ...]:
        """The drill tables that exist."""

    def break_edge(self, edge: str) -> None:
        """From now on nobody gets through this edge."""

    def break_database(self) -> None:
        """From now on the database answers nobody."""


class WorkloadContract:
    def test_it_writes_through_every_edge_on_schedule_and_reads_everything_back(
        self, world: WorkloadWorld
    ) -> None:
        world.workload.start()
        world.pass_time(2.0)
        acknowledged = world.workload.acknowledged_s()
        history = world.workload.stop()
        assert set(acknowledged) == set(history.edges)
        assert all(
            len(instants) > 20 and list(instants) == sorted(instants) for instants in acknowledged.values()
        )
        found = measure(history, sustained_s=1.0)
        assert 80 <= found.overall.counts.invoked <= 120
        assert found.overall.counts.failed == found.overall.counts.unknown == 0
        assert found.reads.ok > 20
        assert check(history) == Findings(final_read=True)

    def test_every_acknowledgement_says_which_server_gave_it_and_in_which_epoch(
        self, world: WorkloadWorld
    ) -> None:
        world.workload.start()
        world.pass_time(1.0)
        found = check_primary(world.workload.stop())
        assert len(found.terms) == 1
        assert found.terms[0].writes > 20
        assert found == PrimaryFindings(told=True, terms=found.terms)

    def test_rows_are_numbered_once(self, world: WorkloadWorld) -> None:
        world.workload.start()
        world.pass_time(1.0)
        writes = [each.row for each in operations(world.workload.stop()) if each.action is Action.WRITE]
        assert writes == list(range(len(writes)))

    def test_a_row_deleted_behind_its_back_is_lost(self, world: WorkloadWorld) -> None:
        world.workload.start()
        world.pass_time(1.0)
        world.lose_row(3)
        findings = check(world.workload.stop())
        assert findings.lost == (3,)

    def test_a_broken_edge_fails_alone(self, world: WorkloadWorld) -> None:
        world.workload.start()
        world.pass_time(1.0)
        world.break_edge(world.edges[1])
        world.pass_time(2.0)
        history = world.workload.stop()
        east, west = measure(history, sustained_s=1.0).edges
        assert east.counts.ok == east.counts.invoked
        assert west.counts.ok < west.counts.invoked
        assert check(history) == Findings(final_read=True)

    def test_what_gets_no_answer_is_never_acknowledged_and_never_called_failed_wrongly(
        self, world: WorkloadWorld
    ) -> None:
        world.workload.start()
        world.pass_time(1.0)
        world.break_edge(world.edges[1])
        world.break_edge(world.edges[0])
        fault_s = world.workload.mark("fault", "both")
        world.pass_time(1.0)
        late = [
            each
            for each in operations(world.workload.stop())
            if each.action is Action.WRITE and each.invoked_s > fault_s + 0.2
        ]
        assert late
        assert all(each.outcome in (Phase.FAIL, Phase.UNKNOWN) and each.saw for each in late)

    def test_a_final_read_that_does_not_succeed_is_in_the_history(self, world: WorkloadWorld) -> None:
        world.workload.start()
        world.pass_time(0.5)
        world.break_database()
        history = world.workload.stop()
        finals = [each for each in operations(history) if each.action is Action.FINAL]
        assert finals
        assert not check(history).final_read

    def test_marks_are_kept(self, world: WorkloadWorld) -> None:
        world.workload.start()
        at_s = world.workload.mark("fault", "east")
        history = world.workload.stop()
        mark = history.mark("fault")
        assert mark is not None
        assert (mark.at_s, mark.target) == (at_s, "east")

    def test_stopping_again_says_the_same(self, world: WorkloadWorld) -> None:
        world.workload.start()
        world.pass_time(0.3)
        assert world.workload.stop() == world.workload.stop()

    def test_the_table_is_there_until_it_is_dropped(self, world: WorkloadWorld) -> None:
        world.workload.start()
        world.workload.stop()
        assert world.tables() == (world.workload.table,)
        world.workload.drop()
        assert world.tables() == ()
        world.workload.drop()

    def test_starting_without_a_database_changes_nothing(self, world: WorkloadWorld) -> None:
        world.break_database()
        with pytest.raises(Unreachable):
            world.workload.start()

    def test_dropping_without_a_database_says_so(self, world: WorkloadWorld) -> None:
        world.workload.start()
        world.workload.stop()
        world.break_database()
        with pytest.raises(Unreachable):
            world.workload.drop()
