"""Drills that break less than a site: what they plan, what must hold, and their ways out."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_drill_engine import DRILL, Bench, assert_restored, interrupt_after
from two_sites import TwoSites

from dcctl.config.drill import find_drill, load_drill
from dcctl.config.schema import Objectives
from dcctl.domain.check import Verdict
from dcctl.domain.drill import Drill, DrillPlan, Undo, pending_undos
from dcctl.domain.fault import Breakage, Kind, read_breakage
from dcctl.domain.refusal import Refusal
from dcctl.domain.step import Step, Wait, Work
from dcctl.engines.drill_undo import restore
from dcctl.engines.operator import Operator
from dcctl.errors import ConfigurationError, Interrupted, Refused, UsageError
from dcctl.shell import perform
from dcctl.testing.journal import MemoryJournal
from dcctl.testing.system import FakeFault, FakeWorkload

OBJECTIVES = Objectives.model_validate({"recovery_time": "60s", "loss_window": "0s"})
PAUSE = Breakage(Kind.PAUSE, "east-db-1")
DRILLS = ("machine-paused", "one-way-partition", "witness-lost", "zookeeper-leader-lost")


def shipped(name: str) -> Drill:
    return load_drill(find_drill(name)).with_objectives(OBJECTIVES)


class Mover:
    """Switches over as the real one: once Patroni was asked, nothing takes it back."""

    def __init__(self, bench: Bench, *, refuses: bool = False, undone: list[str] | None = None) -> None:
        self._bench, self._refuses, self.undone = bench, refuses, undone if undone is not None else []

    def switch_over(self, to: str) -> Work[Any]:
        if self._refuses:
            raise Refused("switch over", on=to, reasons=("no voter of it is in the quorum",))
        try:
            yield Step("move the primary", to, 5.0, self._move, no_return=True)
            yield Wait("second copy", to, 60.0, 1.0, lambda: self._bench.system.synchronous)
        except Interrupted:
            self.undone.append(to)
            raise

    def _move(self) -> None:
        system = self._bench.system
        self._bench.workload.acknowledged_s()
        system.primary, system.synchronous = "west-db-1", "east-db-1"
        system.timeline += 1

    def fail_over(self, lost: str) -> Work[Any]:
        raise AssertionError(lost)

    def admit(self, site: str) -> Work[Any]:
        raise AssertionError(site)


def bench_of(name: str, **of_mover: Any) -> Bench:
    bench = Bench(drill=shipped(name))
    if bench.drill.respond:
        bench.responder = Mover(bench, **of_mover)
    return bench


@pytest.mark.parametrize(
    ("name", "breakage", "machines", "voters_left"),
    [
        ("machine-paused", PAUSE, ("east-db-1",), 2),
        ("one-way-partition", Breakage(Kind.ONE_WAY, "east", "west"), (), 3),
        ("witness-lost", Breakage(Kind.CUT, "witness"), ("witness-1",), 2),
        ("zookeeper-leader-lost", Breakage(Kind.KILL, "witness-1"), (), 2),
    ],
)
def test_what_is_broken_is_named_with_what_it_takes_along(
    name: str, breakage: Breakage, machines: tuple[str, ...], voters_left: int
) -> None:
    plan = bench_of(name).plan()
    assert isinstance(plan, DrillPlan), plan
    assert plan.breakage == breakage
    assert plan.radius.machines == machines
    assert (plan.radius.voters_left, plan.radius.voters) == (voters_left, 3)
    assert len(plan.radius.edges_left) == 2
    begins = next(step for step in plan.steps if step.startswith(breakage.order()))
    assert plan.steps.index(begins) < plan.steps.index(breakage.way_back())
    amid = [step for step in plan.steps if step.startswith("switch over to west")]
    assert bool(amid) == (plan.drill.respond == "switchover")


@pytest.mark.parametrize("name", DRILLS)
def test_every_drill_that_travels_with_dcctl_holds(name: str) -> None:
    bench = bench_of(name)
    bench.run()
    report = bench.report()
    assert (report.verdict, report.deviations) == (Verdict.HELD, ())
    assert report.findings.lost == ()
    assert_restored(bench)
    moved = name != "one-way-partition"
    assert report.primary_after == ("west-db-1" if moved else "east-db-1")


@pytest.mark.parametrize("name", ["witness-lost", "zookeeper-leader-lost"])
def test_the_switchover_is_the_one_that_the_command_runs(name: str) -> None:
    bench = bench_of(name)
    world = TwoSites(clock=bench.clock)
    bench.system, bench.fault = world.system, world.fault
    bench.workload = FakeWorkload(world.system, bench.drill.workload, run=bench.journal.run)
    bench.responder = Operator(replace(world.means(), journal=bench.journal))
    bench.run()
    report = bench.report()
    assert (report.verdict, report.deviations) == (Verdict.HELD, ())
    assert (report.primary_after, world.leader) == ("west-db-1", "west-edge-1")
    assert world.calls == [("switch", "west-db-1")]
    types = [event.type for event in bench.journal.events()]
    assert types.index("switchover.decided") < types.index("drill.fault") < types.index("move.ended")
    assert_restored(bench)


def test_a_pause_lasts_although_the_client_is_served_sooner() -> None:
    bench = bench_of("machine-paused")
    history = bench.run()
    fault, healed = history.mark("fault"), history.mark("healed")
    assert fault is not None
    assert healed is not None
    assert healed.at_s - fault.at_s >= 45
    assert bench.report().recovery_s == pytest.approx(20, abs=0.3)


def test_the_fault_strikes_once_and_after_the_point_of_no_return() -> None:
    bench = bench_of("zookeeper-leader-lost")
    bench.run()
    story = [
        str(event.fields.get("step") or event.fields.get("wait") or event.type)
        for event in bench.journal.events()
        if event.type in ("step.done", "wait.done", "drill.fault", "drill.switched_over")
    ]
    there = [
        "move the primary",
        "drill.fault",
        "kill the ZooKeeper on witness-1 and keep it down",
        "second copy",
        "drill.switched_over",
    ]
    assert [each for each in story if each in there] == there


def test_a_switchover_that_is_refused_breaks_nothing_and_deviates() -> None:
    bench = bench_of("zookeeper-leader-lost", refuses=True)
    bench.run()
    report = bench.report()
    assert "drill.fault" not in bench.types()
    assert report.verdict is Verdict.DEVIATED
    told = {each.name: each.measured for each in report.deviations}
    assert told["the switchover went on to its end"] == "no: no voter of it is in the quorum"
    assert told["the fault was in force until it was healed"] == "no: it had ended by itself"
    assert_restored(bench)


def test_a_fault_that_cannot_be_made_ends_the_switchover_too() -> None:
    bench = bench_of("witness-lost")
    bench.system.inflict_fails = Refused("cut", on="witness", reasons=("no right to",))
    bench.run()
    told = {each.name: each.measured for each in bench.report().deviations}
    assert "no right to" in told["the switchover went on to its end"]
    assert_restored(bench)


def test_an_interruption_in_the_middle_reaches_the_switchover() -> None:
    bench = bench_of("witness-lost")
    assert isinstance(bench.responder, Mover)
    with pytest.raises(Interrupted):
        bench.run(interrupt_after(bench, "step.done", "cut witness off"))
    assert bench.responder.undone == ["west"]
    assert_restored(bench)


@pytest.mark.parametrize("name", DRILLS)
@pytest.mark.parametrize(
    ("type", "of"),
    [
        ("step.started", lambda breakage: breakage.order()),
        ("step.done", lambda breakage: breakage.order()),
        ("step.done", lambda breakage: Undo.of(breakage).sentence()),
        ("wait.started", lambda _breakage: "acknowledged again"),
    ],
)
def test_an_interruption_mends(name: str, type: str, of: Callable[[Breakage], str]) -> None:
    bench = bench_of(name)
    plan = bench.plan()
    assert isinstance(plan, DrillPlan)
    step = of(plan.breakage)
    with pytest.raises(Interrupted):
        bench.run(interrupt_after(bench, type, step))
    assert_restored(bench)


def test_the_end_of_a_fault_is_in_the_journal_before_it_begins() -> None:
    bench = bench_of("machine-paused")
    pending: list[Undo] = []

    class Watched(FakeFault):
        def inflict(self, breakage: Breakage, *, for_s: float) -> None:
            pending.extend(pending_undos(bench.journal.events()))
            super().inflict(breakage, for_s=for_s)

    bench.fault = Watched(bench.system)
    bench.run()
    assert pending[0] == Undo("mend", "pause east-db-1")


def test_a_pause_that_a_killed_drill_left_is_mended() -> None:
    bench = bench_of("machine-paused")
    killed = MemoryJournal("killed")
    killed.append("undo.written", Undo.of(PAUSE).fields())
    bench.fault.inflict(PAUSE, for_s=120)
    (undo,) = pending_undos(killed.events())
    assert undo.sentence() == "let machine east-db-1 go on"
    perform(
        restore([(killed, undo)], fault=bench.fault, drop=bench.system.tables.discard),
        clock=bench.clock,
        journal=bench.journal,
    )
    assert bench.system.breakages == {}
    assert pending_undos(killed.events()) == ()


def reasons(**changes: Any) -> str:
    plan = Bench(drill=replace(DRILL, cut_site="", **changes)).plan()
    assert isinstance(plan, Refusal)
    return "; ".join(plan.reasons)


def test_what_is_not_there_is_not_broken() -> None:
    assert "north-db-1, is none" in reasons(breaks=Breakage(Kind.PAUSE, "north-db-1"))
    assert "not two places" in reasons(breaks=Breakage(Kind.ONE_WAY, "east", "north"))
    assert "not two places" in reasons(breaks=Breakage(Kind.ONE_WAY, "primary", "east"))
    assert "is none of east-db-1" in reasons(breaks=Breakage(Kind.KILL, "east-edge-1"))


def test_the_witness_is_no_site_to_be_given_up() -> None:
    plan = Bench(drill=replace(DRILL, cut_site="witness", respond="failover")).plan()
    assert isinstance(plan, Refusal)
    assert plan.reasons == ("witness is no site that could be given up",)


@pytest.mark.parametrize(
    "breakage", [PAUSE, Breakage(Kind.ONE_WAY, "east", "west"), Breakage(Kind.CUT, "east")]
)
def test_a_breakage_is_read_back_from_its_word(breakage: Breakage) -> None:
    assert read_breakage(breakage.word()) == breakage
    assert Undo.of(breakage).breakage == breakage


@pytest.mark.parametrize("word", ["pause", "pause a b", "burn east", "cut east west"])
def test_what_is_no_word_of_a_breakage_is_not_read(word: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_breakage(word)


def problems(folder: Path, fault: str, more: str = "") -> Iterator[str]:
    path = folder / "mine.yml"
    path.write_text(
        f"drill: mine\npurpose: to know\nfault: {{{fault}, for_at_most: 60s}}\n"
        f"hold: {{writes_acknowledged_for: 5s, at_most: 50s}}\nsettle: {{at_most: 1m}}\n{more}"
    )
    try:
        load_drill(path)
    except ConfigurationError as error:
        yield from map(str, error.problems)


def test_a_drill_breaks_one_thing(tmp_path: Path) -> None:
    (none,) = problems(tmp_path, "holds: []")
    assert "must name one of cut_site, pause_machine, lose_traffic, kill_voter" in none
    (two,) = problems(tmp_path, "cut_site: east, kill_voter: leader")
    assert two.endswith("not two")
    (holds,) = problems(tmp_path, "pause_machine: primary, holds: [primary]")
    assert "holds goes with cut_site only" in holds
    (given_up,) = problems(tmp_path, "pause_machine: primary", "respond: failover\n")
    assert "a site is given up" in given_up


def test_a_site_is_given_only_where_one_is_cut() -> None:
    with pytest.raises(UsageError, match="leave --site out"):
        load_drill(find_drill("machine-paused")).with_objectives(OBJECTIVES, site="west")
