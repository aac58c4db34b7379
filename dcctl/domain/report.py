"""The report of a drill: from its journal and the client's history to a verdict, and nothing else.

Pure, so that a report can be made again years later, and also after the drill was killed: what the
journal lacks is reported as not having happened.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from dcctl.domain.availability import Measurement, measure
from dcctl.domain.business import BusinessHistory
from dcctl.domain.business_report import BusinessReport, decide_business_report
from dcctl.domain.check import Check, Verdict
from dcctl.domain.drill import CONTROLLER, FAILOVER, SWITCHOVER
from dcctl.domain.event import Event, sentence
from dcctl.domain.history import Findings, History, Phase, check, operations
from dcctl.domain.history_primary import PrimaryFindings, check_primary
from dcctl.domain.history_report import UNKNOWN_LOSS, primary_checks, row_checks, rows


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the timeline. ``after_fault_s`` is None when there was no fault."""

    at: datetime
    after_fault_s: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A vertical line in the picture, in seconds since the history began."""

    at_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that ``report.json`` and ``report.html`` say. Seconds count from the history's begin."""

    run: str
    environment: str
    drill: str
    purpose: str
    verdict: Verdict
    began_at: datetime
    site: str
    primary_before: str
    primary_after: str
    recovery_s: float | None
    recovered_unaided: bool
    """Whether that was before the site was healed: only then did the system recover by itself."""
    longest_outage_s: float
    loss_window_s: float | None
    checks: tuple[Check, ...]
    findings: Findings
    primary: PrimaryFindings
    """Who acknowledged the writes, and whether one at a time did."""
    measurement: Measurement
    marks: tuple[Mark, ...]
    timeline: tuple[Line, ...]
    started: Mapping[str, Any]
    """What the drill was started with: its numbers, its tolerances, its blast radius."""
    business: BusinessReport | None = None
    """What the application's clients saw, where there were any."""

    @property
    def deviations(self) -> tuple[Check, ...]:
        """The checks that did not hold."""
        return tuple(each for each in self.checks if not each.held)


def decide_report(
    history: History, events: Sequence[Event], business: BusinessHistory | None = None
) -> Report:
    """Judge one drill by its ``history``, the application's, and its journal's ``events``."""
    course = {event.type: event for event in reversed(events)}
    started = course["drill.started"].fields if "drill.started" in course else {}
    sustained_s = float(started.get("acknowledged_for_s", 5.0))
    measurement = measure(history, sustained_s=sustained_s)
    findings, primary = check(history), check_primary(history)
    window_s = loss_window_s(history, findings)
    unaided = recovered_unaided(history, measurement)
    told = None
    if business is not None:
        limit_s = float(started.get("tolerances", {}).get("recovery_time_s", 0.0))
        told = decide_business_report(business, recovery_limit_s=limit_s, sustained_s=sustained_s)
    checks = (
        _recovery_check(started, measurement, unaided=unaided),
        *_checks(started, course, measurement, findings, window_s),
        *primary_checks(primary),
        *_response_checks(started, course),
        *(told.checks if told else ()),
    )
    return Report(
        run=history.run,
        environment=started.get("environment", ""),
        drill=started.get("drill", ""),
        purpose=started.get("purpose", ""),
        verdict=_verdict(course, checks),
        began_at=history.began_at,
        site=started.get("site", ""),
        primary_before=started.get("primary", ""),
        primary_after=_primary_after(course, started),
        recovery_s=measurement.overall.recovery_s,
        recovered_unaided=unaided,
        longest_outage_s=measurement.overall.longest_outage.length_s,
        loss_window_s=window_s,
        checks=checks,
        findings=findings,
        primary=primary,
        measurement=measurement,
        marks=tuple(Mark(mark.at_s, MARKS[mark.name]) for mark in history.marks if mark.name in MARKS),
        timeline=timeline(history, events, measurement, business, told),
        started=started,
        business=told,
    )


MARKS = {
    "fault": "fault",
    "promoted": "promotion",
    "failed over": "failed over",
    "healed": "healed",
    "admitted": "admitted",
    "settled": "steady again",
}
"""The client's marks that the picture shows, by what it calls them."""


def _verdict(course: Mapping[str, Event], checks: Sequence[Check]) -> Verdict:
    if "drill.ended" not in course:
        return Verdict.INTERRUPTED
    return Verdict.HELD if all(each.held for each in checks) else Verdict.DEVIATED


def _primary_after(course: Mapping[str, Event], started: Mapping[str, Any]) -> str:
    for type in ("drill.settled", "drill.promoted"):
        if type in course:
            return str(course[type].fields["primary"])
    return str(started.get("primary", ""))


def loss_window_s(history: History, findings: Findings) -> float | None:
    """How much time the lost acknowledgements span, from the oldest lost one to the fault or the newest
    lost one, whichever is later; 0 when none is lost, None when it is not known."""
    if not findings.final_read:
        return None
    lost = set(findings.lost)
    ends = [
        each.ended_s
        for each in operations(history)
        if each.row in lost and each.outcome is Phase.OK and each.ended_s is not None
    ]
    fault = history.mark("fault")
    return max([*ends, fault.at_s if fault else 0.0]) - min(ends) if ends else 0.0


def recovered_unaided(history: History, measurement: Measurement) -> bool:
    """Whether writes recovered while the fault was still in force."""
    recovery_s, healed = measurement.overall.recovery_s, history.mark("healed")
    if recovery_s is None or measurement.fault_s is None:
        return False
    return healed is None or measurement.fault_s + recovery_s < healed.at_s


def _recovery_check(started: Mapping[str, Any], measurement: Measurement, *, unaided: bool) -> Check:
    limit_s = float(started.get("tolerances", {}).get("recovery_time_s", 0.0))
    recovery_s = measurement.overall.recovery_s
    measured = "writes did not recover" if recovery_s is None else f"{recovery_s:.1f} s"
    if recovery_s is not None and not unaided:
        measured += ", only when the site was healed"
    held = recovery_s is not None and unaided and recovery_s <= limit_s
    return Check("recovery time", f"at most {limit_s:g} s", measured, held)


def _checks(
    started: Mapping[str, Any],
    course: Mapping[str, Event],
    measurement: Measurement,
    findings: Findings,
    window_s: float | None,
) -> Iterator[Check]:
    limits = started.get("tolerances", {})
    limit_s, outage_s = float(limits.get("recovery_time_s", 0.0)), measurement.overall.longest_outage.length_s
    yield Check(
        "longest silence between acknowledged writes",
        f"at most {limit_s:g} s",
        f"{outage_s:.1f} s",
        outage_s <= limit_s,
    )
    loss_limit_s = float(limits.get("loss_window_s", 0.0))
    yield Check(
        "acknowledged writes lost",
        "none" if loss_limit_s == 0 else f"none older than {loss_limit_s:g} s",
        UNKNOWN_LOSS if window_s is None else rows(findings.lost),
        window_s is not None and window_s <= loss_limit_s and not (loss_limit_s == 0 and findings.lost),
    )
    yield from row_checks(findings)
    yield _fault_check(course)
    yield _settled_check(course, started)
    late_limit_s = float(limits.get("lateness_s", 0.0))
    yield Check(
        "the client kept its own schedule",
        f"99 % within {late_limit_s * 1000:.0f} ms",
        f"99 % within {measurement.lateness_p99_s * 1000:.0f} ms",
        measurement.lateness_p99_s <= late_limit_s,
    )


def _fault_check(course: Mapping[str, Event]) -> Check:
    healed = course.get("drill.healed")
    measured = "there was no fault"
    if "drill.fault" in course:
        measured = "it did not end"
    if healed:
        measured = "yes" if healed.fields["in_force"] else "no: it had ended by itself"
    return Check("the fault was in force until it was healed", "yes", measured, measured == "yes")


def _settled_check(course: Mapping[str, Event], started: Mapping[str, Any]) -> Check:
    limit_s = float(started.get("settle_at_most_s", 0.0))
    wanted = f"within {limit_s:g} s of healing"
    name = "steady state again, a synchronous standby at the other site"
    settled, healed = course.get("drill.settled"), course.get("drill.healed")
    if settled and healed:
        return Check(name, wanted, f"after {(settled.at - healed.at).total_seconds():.1f} s", True)  # noqa: FBT003
    failed = course.get("drill.not_settled")
    saw = f": {failed.fields['saw']}" if failed and failed.fields.get("saw") else ""
    return Check(name, wanted, f"no{saw}", False)  # noqa: FBT003


def _response_checks(started: Mapping[str, Any], course: Mapping[str, Event]) -> Iterator[Check]:
    """Whether dcctl did what the person would have who was called, where the drill asks for it."""
    asked = {
        FAILOVER: (
            ("failed over by the plan", "drill.failed_over", "drill.not_failed_over"),
            ("the returned site admitted", "drill.admitted", ""),
        ),
        CONTROLLER: (
            ("given up by the controller, by itself", "drill.failed_over", "drill.not_failed_over"),
            ("the returned site admitted", "drill.admitted", ""),
        ),
        SWITCHOVER: (
            ("the switchover went on to its end", "drill.switched_over", "drill.not_switched_over"),
        ),
    }
    for name, did, did_not in asked.get(str(started.get("respond", "")), ()):
        saw = course[did_not].fields.get("saw", "") if did_not in course else ""
        yield Check(name, "yes", "yes" if did in course else f"no: {saw}" if saw else "no", did in course)


def _of_primary(history: History) -> Iterator[tuple[datetime, str]]:
    """Who acknowledges from when on, but for who did from the beginning."""
    for term in check_primary(history).terms[1:]:
        at = history.began_at + timedelta(seconds=term.since_s)
        yield at, f"client: {term.site} acknowledges, in epoch {term.epoch} of the database"


def _of_business(business: BusinessHistory, report: BusinessReport) -> Iterator[tuple[datetime, str]]:
    """What the store and the clusters said, as lines of the timeline."""
    for look in report.acting.epochs:
        since = datetime.fromtimestamp(look.since_epoch_s, UTC)
        yield (
            max(since, business.began_at),
            f"the store: epoch {look.epoch} of the auction scheduler in force, {look.holder}",
        )
    arrivals = [
        max(each.arrived.values()) for each in report.at_risk if each.arrived and each not in report.unsettled
    ]
    if arrivals:
        count = len(arrivals)
        yield (
            business.began_at + timedelta(seconds=max(arrivals)),
            f"{count} document{'s' if count > 1 else ''} at risk: arrived after all",
        )


def timeline(
    history: History,
    events: Sequence[Event],
    measurement: Measurement,
    business: BusinessHistory | None = None,
    of_business: BusinessReport | None = None,
) -> tuple[Line, ...]:
    """The drill as a story, in order: what the journal says, and what the client noticed."""
    told = [(event.at, text) for event in events if (text := sentence(event))]
    told += _of_primary(history)
    if business is not None and of_business is not None:
        told += _of_business(business, of_business)
    for gap in measurement.outages:
        begin, end = (history.began_at + timedelta(seconds=each) for each in (gap.begin_s, gap.end_s))
        told.append((begin, "client: the last acknowledged write"))
        told.append((end, f"client: a write is acknowledged again, after {gap.length_s:.1f} s of silence"))
    fault_at = next((event.at for event in events if event.type == "drill.fault"), None)
    return tuple(
        Line(at, (at - fault_at).total_seconds() if fault_at else None, text)
        for at, text in sorted(told, key=lambda line: line[0])
    )
