"""The drill's engine over a system in memory, in virtual time: the good way, and every way out."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from dcctl.domain.check import Verdict
from dcctl.domain.drill import (
    Drill,
    DrillPlan,
    Tolerances,
    Undo,
    WorkloadSpec,
    decide_drill,
    pending_undos,
)
from dcctl.domain.event import Event
from dcctl.domain.fault import Breakage, Kind
from dcctl.domain.history import History
from dcctl.domain.refusal import Refusal
from dcctl.domain.report import Report, decide_report
from dcctl.domain.status import decide_status
from dcctl.engines.drill import Rehearsal, Responder
from dcctl.engines.drill_undo import restore
from dcctl.engines.status import System, in_turn, observe
from dcctl.errors import Interrupted, StepFailed, UndoIncomplete, Unreachable
from dcctl.shell import Interruption, perform
from dcctl.testing.business import FakeBusiness
from dcctl.testing.clock import VirtualClock
from dcctl.testing.journal import MemoryJournal
from dcctl.testing.machines import FakeCloud, FakeMachines
from dcctl.testing.system import (
    HOSTS,
    SITES,
    FakeCoordination,
    FakeDatabase,
    FakeEdges,
    FakeFault,
    FakeReach,
    FakeSystem,
    FakeWorkload,
)

DRILL = Drill(
    name="site-cut",
    purpose="to know",
    cut_site="primary",
    cut_for_at_most_s=120,
    acknowledged_for_s=5,
    hold_at_most_s=60,
    settle_at_most_s=60,
    lag_at_most_bytes=2**24,
    workload=WorkloadSpec(),
    tolerances=Tolerances(recovery_time_s=60, loss_window_s=0),
)

CUT = Breakage(Kind.CUT, "east")


@dataclass
class Bench:
    """A drill and everything that it runs on."""

    drill: Drill = DRILL
    keep: bool = False
    clock: VirtualClock = field(default_factory=VirtualClock)

    def __post_init__(self) -> None:
        self.system = FakeSystem(self.clock)
        self.journal = MemoryJournal("20260102-030405-drill-ab12", now=self.clock.now)
        self.workload = FakeWorkload(self.system, self.drill.workload, run=self.journal.run)
        self.fault = FakeFault(self.system)
        self.business: FakeBusiness | None = None
        self.responder: Responder | None = None
        self.interruption = Interruption()

    def ports(self) -> System:
        return System(
            hosts=HOSTS,
            clouds={},
            reach=FakeReach(self.system),
            coordination=FakeCoordination(self.system),
            database=FakeDatabase(self.system),
            edges=FakeEdges(self.system),
            fault=self.fault,
        )

    def plan(self) -> DrillPlan | Refusal:
        ports = self.ports()
        clouds = {site: FakeMachines(FakeCloud(site), "test").observe_servers for site in SITES}
        return decide_drill(self.drill, HOSTS, without_machines(ports, clouds))

    def run(self, seen: Callable[[Event], None] | None = None) -> History:
        plan = self.plan()
        assert isinstance(plan, DrillPlan)
        rehearsal = Rehearsal(
            environment="test",
            plan=plan,
            system=self.ports(),
            fault=self.fault,
            workload=self.workload,
            journal=self.journal,
            keep=self.keep,
            business=self.business,
            responder=self.responder,
        )
        return perform(
            rehearsal.run(),
            clock=self.clock,
            journal=self.journal,
            seen=seen,
            interruption=self.interruption,
        )

    def report(self) -> Report:
        told = self.business.history() if self.business is not None else None
        return decide_report(self.workload.stop(), self.journal.events(), told)

    def types(self) -> list[str]:
        return [event.type for event in self.journal.events() if event.type.startswith(("drill", "undo"))]


def without_machines(ports: System, clouds: Any) -> Any:
    """The status with both clouds answering and, as in these tests, no server to be missing."""
    status = decide_status("test", HOSTS, observe(replace(ports, clouds=clouds), in_turn))
    return replace(status, problems=tuple(each for each in status.problems if "does not exist" not in each))


def interrupt_after(bench: Bench, type: str, step: str = "") -> Callable[[Event], None]:
    """Ask the run to end as soon as an event of ``type`` (of that step) is in the journal."""

    def seen(event: Event) -> None:
        name = str(event.fields.get("step") or event.fields.get("wait") or "")
        if event.type == type and step in name:
            bench.interruption._asked = True  # what the signal's handler does

    return seen


def assert_restored(bench: Bench) -> None:
    assert bench.system.breakages == {}
    assert bench.system.tables == set()
    assert pending_undos(bench.journal.events()) == ()


def test_a_drill_that_holds() -> None:
    bench = Bench()
    bench.run()
    report = bench.report()
    assert (report.verdict, report.deviations) == (Verdict.HELD, ())
    assert report.site == "east"
    assert (report.primary_before, report.primary_after) == ("east-db-1", "west-db-1")
    assert report.recovery_s == pytest.approx(20, abs=0.3)
    assert report.findings.lost == ()
    assert_restored(bench)
    assert bench.types() == [
        "drill.started",
        "undo.written",
        "drill.warm",
        "undo.written",
        "drill.fault",
        "drill.promoted",
        "drill.served",
        "drill.healed",
        "undo.done",
        "drill.settled",
        "drill.read_back",
        "drill.ended",
        "undo.done",
    ]


def test_the_undo_is_in_the_journal_before_the_fault() -> None:
    bench = Bench()
    pending: list[Undo] = []

    class Watched(FakeFault):
        def inflict(self, breakage: Breakage, *, for_s: float) -> None:
            pending.extend(pending_undos(bench.journal.events()))
            super().inflict(breakage, for_s=for_s)

    bench.fault = Watched(bench.system)
    bench.run()
    assert pending[0] == Undo.of(CUT)


def test_the_cut_carries_its_own_end() -> None:
    bench = Bench(drill=replace(DRILL, cut_for_at_most_s=99))
    limits: list[float] = []

    class Watched(FakeFault):
        def inflict(self, breakage: Breakage, *, for_s: float) -> None:
            limits.append(for_s)
            super().inflict(breakage, for_s=for_s)

    bench.fault = Watched(bench.system)
    bench.run()
    assert limits == [99]


def test_the_standbys_site_can_be_cut() -> None:
    bench = Bench(drill=replace(DRILL, cut_site="standby"))
    bench.run()
    report = bench.report()
    assert (report.verdict, report.site) == (Verdict.HELD, "west")
    assert report.recovery_s == pytest.approx(8, abs=0.2)
    assert report.primary_after == "east-db-1"


def test_slow_recovery_deviates_and_names_the_tolerance() -> None:
    bench = Bench(drill=replace(DRILL, tolerances=Tolerances(recovery_time_s=10, loss_window_s=0)))
    bench.run()
    report = bench.report()
    assert report.verdict is Verdict.DEVIATED
    assert [each.name for each in report.deviations] == [
        "recovery time",
        "longest silence between acknowledged writes",
    ]
    assert_restored(bench)


def test_lost_acknowledgements_deviate_and_keep_the_table_as_evidence() -> None:
    bench = Bench()
    bench.system.loses_last_acknowledged = 2
    bench.run()
    report = bench.report()
    assert report.verdict is Verdict.DEVIATED
    assert len(report.findings.lost) == 2
    assert [each.measured for each in report.deviations if each.name == "acknowledged writes lost"] == [
        "2 rows"
    ]
    assert bench.system.tables == {bench.workload.table}
    assert "drill.kept" in bench.types()


def test_two_sites_that_acknowledge_at_once_deviate_and_keep_the_table_as_evidence() -> None:
    bench = Bench()
    bench.system.two_primaries = True
    bench.run()
    report = bench.report()
    assert report.verdict is Verdict.DEVIATED
    assert {each.name for each in report.deviations} == {
        "one site acknowledges writes at any time",
        "writes acknowledged in an older epoch than one before",
    }
    assert report.findings.lost == ()
    assert bench.system.tables


def test_writes_that_recover_with_the_healing_only_deviate_whatever_the_tolerance() -> None:
    bench = Bench(drill=replace(DRILL, tolerances=Tolerances(recovery_time_s=90, loss_window_s=0)))
    bench.system.promote_after_s = 1000
    bench.run()
    report = bench.report()
    assert report.verdict is Verdict.DEVIATED
    assert report.deviations[0].measured == "60.0 s, only when the site was healed"
    assert "drill.not_served" in bench.types()
    assert_restored(bench)


def test_a_standby_that_does_not_come_back_deviates() -> None:
    bench = Bench()
    bench.system.never_rejoins = True
    bench.run()
    (deviation,) = bench.report().deviations
    assert deviation.name.startswith("steady state again")
    assert "SINGLE-COPY" in deviation.measured


def test_a_fault_that_ends_by_itself_too_early_proves_nothing() -> None:
    bench = Bench(drill=replace(DRILL, cut_for_at_most_s=10))
    bench.run()
    assert "the fault was in force until it was healed" in [each.name for each in bench.report().deviations]


def test_the_table_can_be_kept() -> None:
    bench = Bench(keep=True)
    bench.run()
    assert bench.system.tables == {bench.workload.table}
    assert bench.report().verdict is Verdict.HELD


@pytest.mark.parametrize(
    ("type", "step"),
    [
        ("step.started", "start the writer"),
        ("step.done", "start the writer"),
        ("wait.started", "every edge"),
        ("step.done", "heal site east"),
        ("step.started", "cut east off"),
        ("step.done", "cut east off"),
        ("wait.started", "acknowledged again"),
        ("wait.started", "steady again"),
        ("wait.started", "s more"),
    ],
)
def test_an_interruption_anywhere_restores(type: str, step: str) -> None:
    bench = Bench()
    with pytest.raises(Interrupted):
        bench.run(interrupt_after(bench, type, step))
    assert_restored(bench)
    assert bench.report().verdict is Verdict.INTERRUPTED


def test_a_cut_that_fails_is_healed_and_said() -> None:
    bench = Bench()
    bench.system.inflict_fails = Unreachable("cut", on="east", saw="no right to")
    with pytest.raises(StepFailed, match="no right to"):
        bench.run()
    assert_restored(bench)


def test_a_heal_that_fails_is_exit_code_nine_and_stays_pending() -> None:
    bench = Bench()
    bench.system.mend_fails = Unreachable("heal", on="east", saw="no right to")
    with pytest.raises(UndoIncomplete) as failure:
        bench.run()
    assert failure.value.left == ("heal site east: heal on east: no right to",)
    assert failure.value.next_command == "dcctl drill restore"
    assert Undo.of(CUT) in pending_undos(bench.journal.events())


def test_a_heal_without_effect_is_not_believed() -> None:
    bench = Bench()
    bench.system.mends_in_vain = True
    with pytest.raises(UndoIncomplete, match="heals by itself"):
        bench.run()


def test_a_full_disk_at_the_worst_moment_heals_all_the_same() -> None:
    bench = Bench()

    def fill(event: Event) -> None:
        if event.type == "drill.fault" or event.fields.get("wait", "").startswith(
            "writes acknowledged again"
        ):
            bench.journal.fails = Unreachable("write the journal", saw="No space left on device")

    with pytest.raises((StepFailed, UndoIncomplete, Unreachable)):
        bench.run(fill)
    assert bench.system.breakages == {}


def test_a_database_that_is_not_there_stops_the_drill_before_the_fault() -> None:
    bench = Bench()
    bench.system.broken_edges.add("west-edge-1")
    with pytest.raises(StepFailed):
        bench.run()
    assert "drill.fault" not in bench.types()
    assert_restored(bench)


@pytest.mark.parametrize("end", [{"undo": "mend", "target": "cut east"}, {"undo": "heal", "target": "east"}])
def test_what_a_killed_run_left_is_restored_from_its_journal_by_another(end: dict[str, str]) -> None:
    """As after SIGKILL: the journal ends after the fault, and nothing else is known. ``heal`` is an older
    journal's word."""
    bench = Bench()
    killed = MemoryJournal("killed")
    bench.system.tables.add("dcctl_drill_killed")
    for fields in (Undo("drop", "dcctl_drill_killed").fields(), end):
        killed.append("undo.written", fields)
    bench.fault.inflict(CUT, for_s=120)
    found = pending_undos(killed.events())
    assert found == (Undo.of(CUT), Undo("drop", "dcctl_drill_killed"))
    assert found[0].sentence() == "heal site east"
    perform(
        restore(
            [(killed, undo) for undo in found],
            fault=bench.fault,
            drop=bench.system.tables.discard,
        ),
        clock=bench.clock,
        journal=bench.journal,
    )
    assert bench.system.breakages == {}
    assert bench.system.tables == set()
    assert pending_undos(killed.events()) == ()


def test_restoring_tries_everything_and_says_what_is_left() -> None:
    bench = Bench()
    killed = MemoryJournal("killed")
    undos = (Undo.of(CUT), Undo("drop", "dcctl_drill_killed"))
    for undo in undos:
        killed.append("undo.written", undo.fields())
    bench.system.mend_fails = Unreachable("heal", on="east", saw="no right to")
    dropped: list[str] = []
    with pytest.raises(UndoIncomplete) as failure:
        perform(
            restore([(killed, undo) for undo in undos], fault=bench.fault, drop=dropped.append),
            clock=bench.clock,
            journal=bench.journal,
        )
    assert failure.value.left == ("heal site east: heal on east: no right to",)
    assert dropped == ["dcctl_drill_killed"]


def test_without_means_to_heal_restoring_says_so() -> None:
    bench = Bench()
    killed = MemoryJournal("killed")
    with pytest.raises(UndoIncomplete, match="no means"):
        perform(
            restore([(killed, Undo.of(CUT))], fault=None, drop=bench.system.tables.discard),
            clock=bench.clock,
            journal=bench.journal,
        )


def refusal_of(bench: Bench) -> str:
    plan = bench.plan()
    assert isinstance(plan, Refusal)
    return "; ".join(plan.reasons)


def test_a_plan_names_its_blast_radius() -> None:
    plan = Bench().plan()
    assert isinstance(plan, DrillPlan)
    assert plan.radius.machines == ("east-db-1", "east-edge-1")
    assert (plan.radius.voters_left, plan.radius.voters) == (2, 3)
    assert plan.radius.edges_left == ("west-edge-1",)
    assert (plan.radius.primary, plan.radius.standby) == ("east-db-1", None)


@pytest.mark.parametrize(
    ("disturb", "reason"),
    [
        (lambda system: setattr(system, "synchronous", None), "SINGLE-COPY"),
        (lambda system: system.down.add("west-db-1"), "west-db-1"),
        (lambda system: system.down.add("witness-1"), "voter witness-1 is out"),
        (lambda system: system.down.add("west-edge-1"), "edge west-edge-1 does not answer"),
        (lambda system: setattr(system, "lag_bytes", 2**25), "bytes behind"),
        (lambda system: system.inflict(Breakage(Kind.CUT, "west"), 100), "cut off on purpose"),
    ],
)
def test_without_a_steady_state_nothing_begins(disturb: Callable[[FakeSystem], None], reason: str) -> None:
    bench = Bench()
    bench.system.never_rejoins = True
    disturb(bench.system)
    assert reason in refusal_of(bench)


def test_a_site_that_does_not_exist_is_refused() -> None:
    assert "none of east, west" in refusal_of(Bench(drill=replace(DRILL, cut_site="north")))


def test_every_reason_is_given_at_once() -> None:
    bench = Bench(drill=replace(DRILL, cut_site="north"))
    bench.system.down |= {"witness-1", "west-edge-1"}
    reasons = refusal_of(bench)
    assert all(part in reasons for part in ("witness-1", "west-edge-1", "north"))


def test_a_pending_undo_is_a_reason() -> None:
    bench = Bench()
    plan = decide_drill(DRILL, HOSTS, without_machines(bench.ports(), {}), pending=("heal site east",))
    assert isinstance(plan, Refusal)
    assert plan.reasons[0] == "an earlier undo is pending: heal site east"


def test_what_the_target_must_hold_is_brought_there_ahead_or_is_a_reason() -> None:
    bench = Bench()
    clouds = {site: FakeMachines(FakeCloud(site), "test").observe_servers for site in SITES}
    status = without_machines(bench.ports(), clouds)
    asked = replace(DRILL, cut_site="west", holds=("primary", "auction"))
    leaders = {"auction": "east"}
    refused = decide_drill(asked, HOSTS, status, leaders=leaders)
    assert isinstance(refused, Refusal)
    assert refused.reasons == (
        "west does not hold the primary: east does",
        "west does not hold the role auction: east does",
    )
    plan = decide_drill(asked, HOSTS, status, leaders=leaders, ahead=True)
    assert isinstance(plan, DrillPlan)
    assert plan.steps[0].startswith("switchover to west first")
    there = replace(asked, cut_site="east")
    held = decide_drill(there, HOSTS, status, leaders=leaders, ahead=True)
    assert isinstance(held, DrillPlan)
    assert not [step for step in held.steps if "switchover" in step]


def test_the_report_is_the_same_when_it_is_made_again() -> None:
    bench = Bench()
    bench.run()
    assert bench.report() == bench.report()


def test_the_report_of_a_run_without_any_event_is_an_interrupted_one() -> None:
    bench = Bench()
    report = decide_report(bench.workload.stop(), ())
    assert report.verdict is Verdict.INTERRUPTED


def test_the_timeline_tells_the_story_in_order() -> None:
    bench = Bench()
    bench.run()
    lines = bench.report().timeline
    assert [line.at for line in lines] == sorted(line.at for line in lines)
    story = [line.text for line in lines]
    fault = next(line for line in lines if line.text.startswith("FAULT"))
    promoted = next(line for line in lines if line.text.startswith("Patroni promoted"))
    assert fault.after_fault_s == 0
    assert promoted.at - fault.at == timedelta(seconds=promoted.after_fault_s or 0)
    assert any("a write is acknowledged again, after 19.8" in text for text in story)
