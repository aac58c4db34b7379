"""What a drill's report says of the application: who was served and by whom, what is at risk, who acted."""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dcctl.domain.availability import BUSINESS_GAP_S, Counts, Gap, gaps, recovery_s
from dcctl.domain.business import READS, BusinessHistory, Copy, Exchange, Kind, exchanges
from dcctl.domain.business_check import (
    ActingFindings,
    BusinessFindings,
    DocumentCourse,
    check_acting,
    check_business,
    decide_courses,
)
from dcctl.domain.check import Check, none_of
from dcctl.domain.history import Phase

SHOWN = 3
"""So many names in a phrase; the report has all of them."""


@dataclass(frozen=True, slots=True)
class KindService:
    """One kind of request through one edge (empty: all of them together)."""

    edge: str
    kind: str
    counts: Counts
    longest_silence_s: float
    """Between acknowledgements, from the first request of the kind to the last."""


@dataclass(frozen=True, slots=True)
class ServedBy:
    """Which servers answered through an edge before the fault, while the site was dark, and once all was
    steady again."""

    edge: str
    site: str
    before: tuple[str, ...]
    during: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BusinessReport:
    """Everything about the application. Seconds count from the begin of its own history."""

    fault_s: float
    """Zero where there was none."""
    changes: Counts
    reads: Counts
    recovery_s: float | None
    recovered_unaided: bool
    longest_silence: Gap
    by_kind: tuple[KindService, ...]
    served_by: tuple[ServedBy, ...]
    findings: BusinessFindings
    acting: ActingFindings
    documents: int
    """Acknowledged."""
    at_risk: tuple[DocumentCourse, ...]
    unsettled: tuple[DocumentCourse, ...]
    """Acknowledged, and not found at every site in the end with the bytes that were acknowledged."""
    reasons: tuple[tuple[str, int], ...]
    checks: tuple[Check, ...]


def decide_business_report(
    history: BusinessHistory, *, recovery_limit_s: float, sustained_s: float
) -> BusinessReport:
    """Judge one drill by what the application's clients noted."""
    done = exchanges(history)
    changes = [each for each in done if each.invoked.kind not in READS]
    fault, healed = history.mark("fault"), history.mark("healed")
    acks = _acknowledged_s(changes)
    begin_s, end_s = _span(changes)
    recovery = (
        None
        if fault is None
        else recovery_s(acks, fault_s=fault.at_s, sustained_s=sustained_s, broken_gap_s=BUSINESS_GAP_S)
    )
    courses = decide_courses(history)
    sites = set(history.edges.values())
    report = BusinessReport(
        fault_s=fault.at_s if fault else 0.0,
        changes=_counts(changes),
        reads=_counts(each for each in done if each.invoked.kind in READS),
        recovery_s=recovery,
        recovered_unaided=recovery is not None
        and fault is not None
        and (healed is None or fault.at_s + recovery < healed.at_s),
        longest_silence=max(gaps(acks, begin_s, end_s), key=lambda gap: gap.length_s),
        by_kind=tuple(_by_kind(done, tuple(history.edges))),
        served_by=tuple(_served_by(history, done)),
        findings=check_business(history),
        acting=check_acting(history),
        documents=len(courses),
        at_risk=tuple(each for each in courses if each.at_risk),
        unsettled=tuple(each for each in courses if each.wrong or set(each.arrived) < sites),
        reasons=_reasons(done),
        checks=(),
    )
    checks = tuple(_checks(history, report, recovery_limit_s))
    return replace(report, checks=checks)


def _span(changes: Sequence[Exchange]) -> tuple[float, float]:
    instants = [each.invoked.at_s for each in changes]
    return (min(instants), max(instants)) if instants else (0.0, 0.0)


def _acknowledged_s(done: Iterable[Exchange]) -> list[float]:
    return sorted(each.ended.at_s for each in done if each.ended and each.outcome is Phase.OK)


def _counts(done: Iterable[Exchange]) -> Counts:
    outcomes = Counter(each.outcome for each in done)
    return Counts(outcomes.total(), outcomes[Phase.OK], outcomes[Phase.FAIL], outcomes[Phase.UNKNOWN])


def _by_kind(done: Sequence[Exchange], edges: Sequence[str]) -> Iterator[KindService]:
    for kind, edge in itertools.product(Kind, ("", *edges)):
        some = [each for each in done if each.invoked.kind is kind and edge in ("", each.invoked.edge)]
        if some:
            silences = gaps(_acknowledged_s(some), *_span(some))
            yield KindService(edge, str(kind), _counts(some), max(gap.length_s for gap in silences))


def _served_by(history: BusinessHistory, done: Sequence[Exchange]) -> Iterator[ServedBy]:
    fault, healed, settled = (history.mark(name) for name in ("fault", "healed", "settled"))
    periods = (
        (0.0, fault.at_s if fault else float("inf")),
        (fault.at_s if fault else float("inf"), healed.at_s if healed else float("inf")),
        (settled.at_s if settled else float("inf"), float("inf")),
    )
    for edge, site in history.edges.items():
        servers = (
            {
                each.ended.by
                for each in done
                if each.ended
                and each.outcome is Phase.OK
                and each.invoked.edge == edge
                and each.ended.by
                and begin_s <= each.invoked.at_s < end_s
            }
            for begin_s, end_s in periods
        )
        yield ServedBy(edge, site, *(tuple(sorted(names)) for names in servers))


def _reasons(done: Iterable[Exchange]) -> tuple[tuple[str, int], ...]:
    bad = Counter(
        f"{each.invoked.kind}: {each.outcome}: {each.ended.saw if each.ended else 'no end was recorded'}"
        for each in done
        if each.outcome is not Phase.OK
    )
    return tuple(sorted(bad.items(), key=lambda pair: (-pair[1], pair[0])))


def _checks(history: BusinessHistory, report: BusinessReport, limit_s: float) -> Iterator[Check]:
    yield _recovery_check(report, limit_s)
    yield from data_checks(report.findings)
    yield acting_check(report.acting)
    yield from _round_checks(history, report.acting)
    yield from _document_checks(history, report)
    yield _sites_check(history, report.served_by)


def data_checks(findings: BusinessFindings) -> Iterator[Check]:
    """What the application's record and its reads contradict."""
    known = findings.inventory
    yield Check(
        "acknowledged tenders, bids and documents lost",
        "none",
        _named(findings.lost) if known else "not known: the record could not be read",
        known and not findings.lost,
    )
    yield from none_of(
        {
            "records that vanished after having been read": findings.vanished,
            "records whose content changed": findings.altered,
            "reads of the application that missed something earlier": findings.stale,
            "records that nobody had asked for": findings.phantom,
            "refused requests that were done all the same": findings.failed_yet_present,
        },
        _named,
    )


def _recovery_check(report: BusinessReport, limit_s: float) -> Check:
    measured = "it did not recover" if report.recovery_s is None else f"{report.recovery_s:.1f} s"
    if report.recovery_s is not None and not report.recovered_unaided:
        measured += ", only when the site was healed"
    held = report.recovery_s is not None and report.recovered_unaided and report.recovery_s <= limit_s
    return Check("the application's recovery time", f"at most {limit_s:g} s", measured, held)


def acting_check(acting: ActingFindings) -> Check:
    """Whether one scheduler acted at any time."""
    epochs = ", then ".join(f"{_host(look.holder)}" for look in acting.epochs) or "nobody was seen"
    against = (*acting.fell, *acting.overlapped)
    return Check(
        "one acting auction scheduler at any time, by the store's record",
        "one",
        _named(against) if against else f"one: {epochs}; {len(acting.rounds)} rounds",
        bool(acting.epochs) and not against,
    )


def _round_checks(history: BusinessHistory, acting: ActingFindings) -> Iterator[Check]:
    yield Check(
        "auction rounds missed (more than 120 s late)",
        "none",
        "none" if not acting.missed else str(acting.missed),
        not acting.missed,
    )
    if history.mark("fault") is not None:
        fault_s = history.began_at.timestamp() + _mark_s(history, "fault")
        healed_s = history.began_at.timestamp() + _mark_s(history, "healed")
        acts = [each for each in acting.rounds if fault_s < each.started_epoch_s < healed_s]
        yield Check(
            "auctions went on while the site was dark",
            "yes",
            f"{len(acts)} rounds, the first {acts[0].started_epoch_s - fault_s:.1f} s after the fault"
            if acts
            else "no round began",
            bool(acts),
        )


def _host(holder: str) -> str:
    """The machine of ``who@machine:process``; any other holder as it is."""
    return holder.partition("@")[2].partition(":")[0] or holder


def _mark_s(history: BusinessHistory, name: str) -> float:
    mark = history.mark(name)
    return mark.at_s if mark else float("inf")


def _document_checks(history: BusinessHistory, report: BusinessReport) -> Iterator[Check]:
    fault_s, healed_s = _mark_s(history, "fault"), _mark_s(history, "healed")
    asked = [line for line in history.lines if isinstance(line, Copy) and fault_s <= line.at_s <= healed_s]
    count = len(report.at_risk)
    yield Check(
        "documents at risk while the site was dark",
        "each known by name",
        f"{count} of {report.documents}" if asked else "not known: the survivor was not asked",
        bool(asked) or not report.documents,
    )
    missing = tuple(each.name for each in report.unsettled)
    yield Check(
        "acknowledged documents not at both sites in the end, with their md5",
        "none",
        _named(missing),
        not missing,
    )


def _sites_check(history: BusinessHistory, served_by: Sequence[ServedBy]) -> Check:
    silent = [
        f"{each.edge} {when} by {', '.join(servers) or 'nobody'}"
        for each in served_by
        for when, servers in (("before", each.before), ("after", each.after))
        if not _own(servers, each.site, history.machines)
    ]
    return Check(
        "both sites served, before and after, by their own servers",
        "through each edge",
        "; ".join(silent) or "yes",
        not silent and bool(served_by),
    )


def _own(servers: Sequence[str], site: str, machines: Mapping[str, str]) -> bool:
    return any(machines.get(name) == site for name in servers)


def _named(names: Sequence[str]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)}: {', '.join(names[:SHOWN])}{more}"
