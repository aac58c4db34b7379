"""What the application's history proves: about its data, its documents' bytes, and its one scheduler.

Pure, and judged by facts alone: an acknowledgement is a set of facts that must hold for ever after. Every
tuple of findings is sorted, and empty is good.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dcctl.domain.business import (
    READS,
    Act,
    BusinessHistory,
    Copy,
    Exchange,
    Fact,
    Inventory,
    Invoked,
    Kind,
    Look,
    exchanges,
)
from dcctl.domain.history import Phase

CLOCKS_APART_S = 0.0
"""How far the store's clock may be behind the schedulers'. A round begins inside its transaction and a
successor's epoch after it, so on one clock the order is strict."""


@dataclass(frozen=True, slots=True)
class BusinessFindings:
    """Without an ``inventory`` nothing is proven about ``lost``, ``vanished`` and ``failed_yet_present``."""

    inventory: bool
    lost: tuple[str, ...] = ()
    """Acknowledged, and not in the database at the end as it was acknowledged."""
    vanished: tuple[str, ...] = ()
    """Returned by a read, and not in the database at the end."""
    altered: tuple[str, ...] = ()
    """Two answers disagree about what never changes: a hash, a title, the bytes."""
    stale: tuple[str, ...] = ()
    """A read missed what was acknowledged or read before it began, or showed an older state."""
    phantom: tuple[str, ...] = ()
    """There at the end, and nobody had asked for it."""
    failed_yet_present: tuple[str, ...] = ()
    """There at the end, although its request was answered with *not done*."""


def check_business(history: BusinessHistory) -> BusinessFindings:
    """Run every checker about the data."""
    done = exchanges(history)
    found = inventory(history)
    acknowledged = [fact for each in done if _acknowledges(each) for fact in each.facts]
    read = [fact for each in done if each.invoked.kind in READS for fact in each.facts]
    return BusinessFindings(
        inventory=found is not None,
        lost=() if found is None else _missing(acknowledged, found),
        vanished=() if found is None else _missing(read, found),
        altered=_altered([*acknowledged, *read, *(found or {}).values()]),
        stale=_stale(done),
        phantom=() if found is None else _phantom(history, found),
        failed_yet_present=() if found is None else _failed_yet_present(done, found),
    )


def inventory(history: BusinessHistory) -> dict[str, Fact] | None:
    """The facts of the last inventory that was read; None when none was."""
    whole = [line for line in history.lines if isinstance(line, Inventory) and line.ok]
    return {fact.key: fact for fact in whole[-1].facts} if whole else None


def contradicts(known: Fact, found: Fact | None) -> bool:
    """Whether ``known`` was true and ``found``, of a later moment, shows that it is not any more."""
    return found is None or found.holds != known.holds or found.rank < known.rank


def _acknowledges(each: Exchange) -> bool:
    return each.outcome is Phase.OK and each.invoked.kind not in READS


def _missing(known: Iterable[Fact], found: Mapping[str, Fact]) -> tuple[str, ...]:
    return _sorted(fact.key for fact in known if contradicts(fact, found.get(fact.key)))


def _altered(facts: Iterable[Fact]) -> tuple[str, ...]:
    holds: dict[str, set[str]] = {}
    for fact in facts:
        holds.setdefault(fact.key, set()).add(fact.holds)
    return _sorted(key for key, values in holds.items() if len(values) > 1)


def _stale(done: Sequence[Exchange]) -> tuple[str, ...]:
    known = [
        (each.ended.at_s, fact)
        for each in done
        if each.ended is not None and each.outcome is Phase.OK
        for fact in each.facts
    ]
    missed = set()
    for each in done:
        if each.invoked.kind not in READS or each.outcome is not Phase.OK:
            continue
        shown = {fact.key: fact for fact in each.facts}
        missed |= {
            fact.key
            for at_s, fact in known
            if at_s < each.invoked.at_s
            and covers(each.invoked.subject, fact.key)
            and (fact.key not in shown or shown[fact.key].rank < fact.rank)
        }
    return _sorted(missed)


def covers(subject: str, key: str) -> bool:
    """Whether a read of ``subject`` shows ``key`` if it is there."""
    return key == subject or key.startswith(f"{subject}/")


def _phantom(history: BusinessHistory, found: Mapping[str, Fact]) -> tuple[str, ...]:
    asked = {line.marker for line in history.lines if isinstance(line, Invoked)}
    return _sorted(fact.key for fact in found.values() if fact.marker and fact.marker not in asked)


def _failed_yet_present(done: Sequence[Exchange], found: Mapping[str, Fact]) -> tuple[str, ...]:
    failed = {each.invoked.marker for each in done if each.outcome is Phase.FAIL} - {""}
    return _sorted(fact.key for fact in found.values() if fact.marker in failed)


@dataclass(frozen=True, slots=True)
class ActingFindings:
    """What the store's own record says of the scheduler. ``epochs`` are those that were seen, in order."""

    epochs: tuple[Look, ...]
    rounds: tuple[Act, ...] = ()
    fell: tuple[str, ...] = ()
    """An epoch in force was followed by a lower one, or borne by two holders."""
    overlapped: tuple[str, ...] = ()
    """A row by an older epoch after a newer one had begun."""
    missed: int = 0
    """Rounds that began too late, by the application's own rule."""


def check_acting(history: BusinessHistory) -> ActingFindings:
    """Exactly one acts at any time: epochs only grow, and none acts after a newer one began."""
    looks = sorted((line for line in history.lines if isinstance(line, Look)), key=lambda each: each.at_s)
    acts = sorted(
        (line for line in history.lines if isinstance(line, Act)), key=lambda each: each.started_epoch_s
    )
    began: dict[int, Look] = {}
    for look in looks:
        began.setdefault(look.epoch, look)
    return ActingFindings(
        epochs=tuple(began.values()),
        rounds=tuple(acts),
        fell=_sorted(
            f"{_term(before)}, then {_term(after)}"
            for before, after in itertools.pairwise(looks)
            if after.epoch < before.epoch or (after.epoch == before.epoch and after.holder != before.holder)
        ),
        overlapped=_sorted(
            f"tender {act.tender} round {act.stage} by epoch {act.epoch}, after epoch {look.epoch} had begun"
            for act in acts
            for look in began.values()
            if act.epoch < look.epoch and act.started_epoch_s > look.since_epoch_s + CLOCKS_APART_S
        )
        + _sorted(
            f"tender {after.tender} round {after.stage} by epoch {after.epoch}, after a row by {before.epoch}"
            for before, after in itertools.pairwise(acts)
            if after.epoch < before.epoch
        ),
        missed=sum(act.missed for act in acts),
    )


def _term(look: Look) -> str:
    return f"epoch {look.epoch} of {look.holder}"


@dataclass(frozen=True, slots=True)
class DocumentCourse:
    """An acknowledged document: where its bytes were missing while the site was dark, and when they came."""

    name: str
    acknowledged_s: float
    by: str
    at_risk: bool
    """Acknowledged, and not at the surviving site while the other was dark: the loss window."""
    arrived: Mapping[str, float]
    """Per site, when its bytes were first found there with the md5 that was acknowledged."""
    wrong: tuple[str, ...]
    """Sites where other bytes were found."""


def decide_courses(history: BusinessHistory) -> tuple[DocumentCourse, ...]:
    """What became of every acknowledged document's bytes, in the order of acknowledgement."""
    copies: dict[str, list[Copy]] = {}
    for line in history.lines:
        if isinstance(line, Copy):
            copies.setdefault(line.name, []).append(line)
    fault, healed = history.mark("fault"), history.mark("healed")
    lost_site = fault.target if fault else ""

    def course(each: Exchange, fact: Fact) -> DocumentCourse:
        name, arrived = fact.key.removeprefix("bytes/"), dict[str, float]()
        seen = copies.get(name, [])
        for copy in seen:
            if copy.md5 == fact.holds:
                arrived.setdefault(copy.site, copy.at_s)
        return DocumentCourse(
            name=name,
            acknowledged_s=each.ended.at_s if each.ended else 0.0,
            by=each.ended.by if each.ended else "",
            at_risk=any(
                copy.site != lost_site and copy.md5 != fact.holds
                for copy in seen
                if fault and fault.at_s <= copy.at_s and (healed is None or copy.at_s <= healed.at_s)
            ),
            arrived=arrived,
            wrong=_sorted(copy.site for copy in seen if copy.md5 not in ("", fact.holds)),
        )

    return tuple(
        course(each, fact)
        for each in exchanges(history)
        if each.invoked.kind is Kind.UPLOAD and each.outcome is Phase.OK
        for fact in each.facts
    )


def _sorted(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(texts)))
