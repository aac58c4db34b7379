"""A drill with clients of the application, and with dcctl as the one who fails over and admits."""

from dataclasses import replace
from typing import Any

import pytest
from test_drill_engine import CUT, DRILL, Bench, interrupt_after

from dcctl import resources
from dcctl.adapters.report import document, render
from dcctl.domain.check import Verdict
from dcctl.domain.drill import BusinessSpec, Undo, pending_undos
from dcctl.domain.step import Step, Wait, Work
from dcctl.engines.drill_undo import restore
from dcctl.errors import Interrupted, Refused, UndoIncomplete
from dcctl.shell import perform
from dcctl.testing.business import FakeBusiness
from dcctl.testing.journal import MemoryJournal

POWER_LOSS = replace(
    DRILL, name="site-power-loss", cut_site="east", application=BusinessSpec(), respond="failover"
)


class FakeResponder:
    """Takes its time, as the real one; ``refuses`` and ``never_admits`` are its bad days."""

    def __init__(self, bench: "BusinessBench", *, refuses: bool = False, never_admits: bool = False) -> None:
        self._bench, self.refuses, self.never_admits = bench, refuses, never_admits
        self.quarantined: set[str] = set()

    def fail_over(self, lost: str) -> Work[Any]:
        if self.refuses:
            raise Refused("fail over", on=lost, reasons=("the witness has not seen it down",))
        yield Wait("evidence", lost, 60.0, 1.0, lambda: self._bench.system.is_cut(lost) or None)
        yield Step("quarantine", lost, 5.0, lambda: self.quarantined.add(lost))
        yield Wait("a new primary", lost, 60.0, 1.0, self._promoted)

    def admit(self, site: str) -> Work[Any]:
        if site not in self.quarantined:
            return
        yield Wait("it caught up", site, 60.0, 1.0, self._caught_up)
        yield Step("admit", site, 5.0, lambda: self.quarantined.discard(site))

    def _pass(self) -> None:
        """Let the clients work up to now, then the system: they do not see what comes after them."""
        self._bench.workload.acknowledged_s()
        self._bench.business.acknowledged_s()
        self._bench.system.advance(self._bench.clock.monotonic())

    def _promoted(self) -> bool | None:
        self._pass()
        return (self._bench.system.primary == "west-db-1") or None

    def _caught_up(self) -> bool | None:
        system = self._bench.system
        self._pass()
        return (system.synchronous is not None and not system.breakages and not self.never_admits) or None


class BusinessBench(Bench):
    """The drill of the whole stack, in memory."""

    def __init__(self, **of_business: Any) -> None:
        super().__init__(drill=POWER_LOSS)
        self.business: FakeBusiness = FakeBusiness(self.system, run=self.journal.run, **of_business)
        self.person = FakeResponder(self)
        self.responder = self.person


def test_a_drill_that_holds_and_everything_that_it_tells() -> None:
    bench = BusinessBench()
    bench.run()
    report = bench.report()
    assert (report.verdict, report.deviations) == (Verdict.HELD, ())
    assert report.business is not None
    assert report.recovery_s == pytest.approx(20, abs=1.5)
    assert report.business.recovery_s == pytest.approx(20, abs=1.5)
    assert bench.person.quarantined == set()
    assert pending_undos(bench.journal.events()) == ()
    assert report.business.at_risk, "the last documents before the fault were not carried yet"
    assert report.business.unsettled == ()
    assert [look.epoch for look in report.business.acting.epochs] == [1, 2]
    order = [type for type in bench.types() if type.startswith("drill.")]
    assert order == [
        "drill.started",
        "drill.warm",
        "drill.fault",
        "drill.failed_over",
        "drill.served",
        "drill.sought",
        "drill.healed",
        "drill.admitted",
        "drill.settled",
        "drill.business_read_back",
        "drill.read_back",
        "drill.converged",
        "drill.ended",
    ]
    told = [line.text for line in report.timeline]
    assert any("epoch 2 of the auction scheduler" in text for text in told)
    assert any("at risk: arrived after all" in text for text in told)


def test_the_page_names_every_document_at_risk() -> None:
    bench = BusinessBench()
    bench.run()
    report = bench.report()
    page = render(report, templates=resources.templates(), version="0")
    assert report.business is not None
    for course in report.business.at_risk:
        assert course.name in page
    assert document(report)["business"]["at_risk"][0]["name"] == report.business.at_risk[0].name


@pytest.mark.parametrize(
    ("broken", "name"),
    [
        ({"loses": 2}, "acknowledged tenders, bids and documents lost"),
        ({"stops_acting": True}, "auctions went on while the site was dark"),
        (
            {"carried_after_s": 1e6},
            "acknowledged documents not at both sites in the end, with their md5",
        ),
    ],
)
def test_a_promise_that_is_broken_deviates(broken: dict[str, Any], name: str) -> None:
    bench = BusinessBench(**broken)
    bench.run()
    report = bench.report()
    assert report.verdict is Verdict.DEVIATED
    assert name in {check.name for check in report.deviations}


def test_a_failover_that_is_refused_is_told_and_the_site_is_healed() -> None:
    bench = BusinessBench()
    bench.person.refuses = True
    bench.run()
    report = bench.report()
    (failed,) = [check for check in report.checks if check.name == "failed over by the plan"]
    assert not failed.held
    assert "the witness has not seen it down" in failed.measured
    assert bench.system.breakages == {}
    assert pending_undos(bench.journal.events()) == ()


def test_a_site_that_cannot_be_admitted_stays_to_be_undone() -> None:
    bench = BusinessBench()
    bench.person.never_admits = True
    with pytest.raises(UndoIncomplete) as failure:
        bench.run()
    assert failure.value.left[0].startswith("admit site east")
    assert pending_undos(bench.journal.events()) == (Undo("admit", "east"),)
    assert bench.system.breakages == {}


@pytest.mark.parametrize("moment", ["quarantine", "a new primary", "acknowledged again", "it caught up"])
def test_ctrl_c_heals_and_admits_before_it_ends(moment: str) -> None:
    bench = BusinessBench()
    with pytest.raises(Interrupted):
        bench.run(interrupt_after(bench, *_begun(moment)))
    assert bench.system.breakages == {}
    assert bench.person.quarantined == set()
    assert pending_undos(bench.journal.events()) == ()
    assert bench.report().verdict is Verdict.INTERRUPTED


def _begun(moment: str) -> tuple[str, str]:
    return ("step.started" if moment == "quarantine" else "wait.started", moment)


def test_what_a_killed_run_left_is_healed_before_it_is_admitted() -> None:
    bench = BusinessBench()
    killed = MemoryJournal("killed")
    for undo in (Undo("admit", "east"), Undo.of(CUT)):
        killed.append("undo.written", undo.fields())
    bench.person.quarantined.add("east")
    bench.fault.inflict(CUT, for_s=120)
    pending = pending_undos(killed.events())
    assert pending == (Undo.of(CUT), Undo("admit", "east"))
    perform(
        restore(
            [(killed, undo) for undo in pending],
            fault=bench.fault,
            drop=lambda _table: None,
            admit=bench.person.admit,
        ),
        clock=bench.clock,
        journal=bench.journal,
    )
    assert (bench.system.breakages, bench.person.quarantined) == ({}, set())
    assert pending_undos(killed.events()) == ()


def test_without_means_to_admit_it_is_said() -> None:
    left: list[str] = []
    with pytest.raises(UndoIncomplete) as failure:
        perform(
            restore([(MemoryJournal("killed"), Undo("admit", "east"))], fault=None, drop=left.append),
            clock=BusinessBench().clock,
            journal=MemoryJournal("restore"),
        )
    assert failure.value.left == ("admit site east: this environment has no means to",)
