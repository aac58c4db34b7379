"""What the histories of a drill, ``history.jsonl`` and ``business.jsonl``, prove by themselves: as checks.

Everything here can be decided again from those two files alone (`dcctl drill check`).
"""

from collections.abc import Iterator, Sequence

from dcctl.domain.business import BusinessHistory
from dcctl.domain.business_check import check_acting, check_business
from dcctl.domain.business_report import acting_check, data_checks
from dcctl.domain.check import Check, none_of
from dcctl.domain.history import Findings, History, check
from dcctl.domain.history_primary import PrimaryFindings, check_primary

UNKNOWN_LOSS = "not known: the final read did not succeed"


def decide_history_checks(history: History, business: BusinessHistory | None = None) -> tuple[Check, ...]:
    """Judge the writer's history, and that of the application's clients where there is one. Nothing that was
    acknowledged may be lost here: what a drill tolerates is not in its history."""
    findings = check(history)
    lost = rows(findings.lost) if findings.final_read else UNKNOWN_LOSS
    checks = [
        Check("acknowledged writes lost", "none", lost, findings.final_read and not findings.lost),
        *row_checks(findings),
        *primary_checks(check_primary(history)),
    ]
    if business is not None:
        checks += [*data_checks(check_business(business)), acting_check(check_acting(business))]
    return tuple(checks)


def row_checks(findings: Findings) -> Iterator[Check]:
    """What the writer's reads contradict, but for what is lost."""
    return none_of(
        {
            "rows that vanished after having been read": findings.vanished,
            "rows that nobody had written": findings.phantom,
            "rows whose content changed": findings.altered,
            "writes acknowledged twice": findings.acknowledged_twice,
            "failed writes that are there all the same": findings.failed_yet_present,
            "reads that missed an earlier acknowledged row": findings.stale,
        },
        rows,
    )


def primary_checks(primary: PrimaryFindings) -> Iterator[Check]:
    """Who acknowledged; nothing where the history does not tell."""
    if not primary.told:
        return
    against = (*primary.overlapped, *primary.unattributed)
    terms = ", then ".join(f"{term.site} in epoch {term.epoch}" for term in primary.terms) or "nobody"
    measured = f"one: {terms}"
    if primary.unattributed:
        measured = f"not known who acknowledged {rows(primary.unattributed)}"
    if primary.overlapped:
        measured = f"{rows(primary.overlapped)} acknowledged while another site was: {terms}"
    yield Check("one site acknowledges writes at any time", "one", measured, not against)
    yield Check(
        "writes acknowledged in an older epoch than one before",
        "none",
        rows(primary.fell),
        not primary.fell,
    )


def rows(found: Sequence[int]) -> str:
    """How many, for people."""
    return "none" if not found else f"{len(found)} row{'s' if len(found) > 1 else ''}"
