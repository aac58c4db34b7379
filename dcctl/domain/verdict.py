"""What is to be thought of a site, from everything that was seen of it: one definition for agents, status
and failover. Pure.

| we see it | others see it (fresh, elsewhere) | the ensemble has it | verdict |
|---|---|---|---|
| yes | none sees it down | yes | UP |
| yes | some see it down, or a part of it is not well | yes | DEGRADED |
| yes | whatever | no | ISOLATED: it lives, and has lost the quorum |
| no, or we did not look | one sees it | yes | UNREACHABLE-FROM-ME |
| no, or we did not look | one sees it | no | ISOLATED |
| no | none sees it | yes | UNREACHABLE-FROM-ME: it speaks to the quorum |
| no | two places see it down, the witness among them | no | DOWN |
| the same, and its cloud says that its machines run | | no | ISOLATED |
| no | fewer than two places, or not the witness, looked just now | no | UNKNOWN |
| no | nobody says: there is no quorum here | | UNKNOWN, and ISOLATED for our own site |

*The ensemble has it*: a voter of the site is in the quorum, or an agent there published just now. Silence is
UNKNOWN: a stale vantage is one that did not look, and a probe that died saw nothing, neither up nor down.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

from dcctl.domain.probe import Health, ProbeResult
from dcctl.domain.traffic import Observation

FRESH_FOR_S = 15.0
"""An observation older than this, or from as far in the future, says nothing."""
SPOKE_FOR_S = 2.5
"""A site's own agent, which publishes every second, is heard for so long."""
VANTAGES_NEEDED = 2
WITNESS = "witness"
NO_WITNESS = "no witness is configured: a cut between two sites looks the same from both"
OPERATOR = "operator"
"""The vantage that dcctl has where a person runs it."""
CLOUD_PROBES = ("cloud", "api", "versions", "certificate")
"""Probes of a site's cloud (dcctl.config.probing): its API may live elsewhere, and serves no client."""


class Sight(StrEnum):
    """What one vantage saw of a site. UNKNOWN: it did not look, its probes died, or it looked long ago."""

    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"


class Verdict(StrEnum):
    """What a site is, as far as can be said from here."""

    UP = "UP"
    DEGRADED = "DEGRADED"
    DOWN = "DOWN"
    ISOLATED = "ISOLATED"
    UNREACHABLE_FROM_ME = "UNREACHABLE-FROM-ME"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Vantage:
    """A place that looked. ``age_s`` is 0 for our own look, which happened just now."""

    name: str
    place: str
    age_s: float
    sights: Mapping[str, Sight]
    edge: Mapping[str, bool | None] = field(default_factory=dict)
    """What the edge beside it has in rotation, by site."""

    @property
    def fresh(self) -> bool:
        return abs(self.age_s) <= FRESH_FOR_S

    def sees(self, site: str) -> Sight:
        return self.sights.get(site, Sight.UNKNOWN) if self.fresh else Sight.UNKNOWN


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that speaks for or against one site, from where somebody looks (``place``).

    ``own`` is what is seen from there; ``answers`` what of the site answered. ``vantages`` are those that
    were published, of whatever age. ``quorum``: whether one answers here; without it ``vantages`` and
    ``voters`` are worth nothing. ``voters`` of the site belong to the quorum. ``runs``: its cloud says that
    machines of it run. ``troubles`` are sentences about parts of it that are not well.
    """

    site: str
    place: str
    own: Sight
    vantages: tuple[Vantage, ...] = ()
    quorum: bool = True
    witness: bool = True
    answers: tuple[str, ...] = ()
    voters: tuple[str, ...] = ()
    runs: bool = False
    troubles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SiteVerdict:
    """``lives`` are sentences that speak for its life, ``missing`` what keeps from saying that it is lost.

    Where both are empty, nobody who looked saw anything of it, and enough looked: it is lost.
    """

    site: str
    verdict: Verdict
    reasons: tuple[str, ...]
    lives: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def lost(self) -> bool:
        """Whether it may be given up."""
        return self.verdict in (Verdict.DOWN, Verdict.ISOLATED) and not self.lives and not self.missing

    def sentence(self) -> str:
        why = "; ".join(self.reasons)
        return f"{self.site} is {self.verdict}{f': {why}' if why else ''}"


GONE = "the ensemble has neither a voter nor an agent there"


def decide_verdict(evidence: Evidence) -> SiteVerdict:
    """The table above. Every reason is a sentence."""
    elsewhere = _elsewhere(evidence)
    verb = "answer" if len(evidence.answers) > 1 else "answers"
    answers = (f"{', '.join(evidence.answers) or 'it'} {verb} here",) if evidence.own is Sight.UP else ()
    seen = tuple([f"{name} sees it" for name, _place, sight in elsewhere if sight is Sight.UP])
    blind = tuple([f"{name} does not see it" for name, _place, sight in elsewhere if sight is Sight.DOWN])
    spoke = _spoke(evidence) if evidence.quorum else ()
    missing: tuple[str, ...] = ()
    reasons: tuple[str, ...]
    if not evidence.quorum:
        own = evidence.place == evidence.site
        which = Verdict.ISOLATED if own else Verdict.UNKNOWN
        missing = ("no quorum answers at this site" if own else "no quorum answers here",)
        reasons = missing
    elif answers or seen or spoke:
        which, reasons = _living(answers, seen, spoke, (*blind, *evidence.troubles))
    elif missing := _missing(evidence, elsewhere):
        which, reasons = Verdict.UNKNOWN, missing
    elif evidence.runs:
        which, reasons = Verdict.ISOLATED, (*blind, "its cloud says that its machines run")
    else:
        which, reasons = Verdict.DOWN, (*blind, GONE)
    return SiteVerdict(evidence.site, which, reasons, (*answers, *seen, *spoke), missing)


def _living(
    answers: tuple[str, ...], seen: tuple[str, ...], spoke: tuple[str, ...], troubles: tuple[str, ...]
) -> tuple[Verdict, tuple[str, ...]]:
    """A site of which something was seen or heard."""
    if not spoke:
        return Verdict.ISOLATED, (*answers, *seen, GONE)
    if answers:
        return (Verdict.DEGRADED if troubles else Verdict.UP), troubles
    return Verdict.UNREACHABLE_FROM_ME, (*seen, *spoke)


def _elsewhere(evidence: Evidence) -> tuple[tuple[str, str, Sight], ...]:
    """Name, place and sight of each published vantage that is not at the site itself."""
    if not evidence.quorum:
        return ()
    return tuple(
        (each.name, each.place, each.sees(evidence.site))
        for each in evidence.vantages
        if each.place != evidence.site
    )


def _spoke(evidence: Evidence) -> tuple[str, ...]:
    """Who of the site speaks to the quorum now."""
    agents = tuple(
        f"{each.name} reached the quorum from there {each.age_s:.0f} s ago"
        for each in evidence.vantages
        if each.place == evidence.site and abs(each.age_s) <= SPOKE_FOR_S
    )
    voters = (f"voter {', '.join(evidence.voters)} is in the quorum",) if evidence.voters else ()
    return (*agents, *voters)


def _missing(evidence: Evidence, elsewhere: Sequence[tuple[str, str, Sight]]) -> tuple[str, ...]:
    """What keeps from saying that a site of which nothing was seen is lost."""
    missing = [] if evidence.witness else [NO_WITNESS]
    down = {place for _name, place, sight in elsewhere if sight is Sight.DOWN}
    if evidence.own is Sight.DOWN and evidence.place != evidence.site:
        down.add(evidence.place)
    if len(down) < VANTAGES_NEEDED:
        missing.append(
            f"{len(down)} of {VANTAGES_NEEDED} vantages that are needed saw {evidence.site} down just now"
        )
    if evidence.witness and WITNESS not in down:
        missing.append(f"the witness has not seen {evidence.site} down{_how_old(evidence.vantages)}")
    return tuple(missing)


def _how_old(vantages: Sequence[Vantage]) -> str:
    ages = [each.age_s for each in vantages if each.place == WITNESS]
    if not ages:
        return "; it has published no observation"
    return f"; it looked {ages[0]:.0f} s ago, which says nothing" if abs(ages[0]) > FRESH_FOR_S else ""


def decide_vantage(seen: Observation, sites: Sequence[str], now: datetime) -> Vantage:
    """What ``seen`` is worth ``now``."""
    results = seen.pulse or seen.results
    return Vantage(
        name=seen.vantage,
        place=seen.place,
        age_s=(now - seen.at).total_seconds(),
        sights={site: decide_sight(results, site) for site in sites},
        edge=dict(seen.edge.rotation) if seen.edge is not None and not seen.edge.problem else {},
    )


def decide_sight(results: Sequence[ProbeResult], site: str) -> Sight:
    """One thing that answers makes it UP; DOWN needs a probe that failed often enough, and none right."""
    cloud, sight = _cloud_probes(site), Sight.UNKNOWN
    for each in results:
        if each.site != site or each.name in cloud:
            continue
        if each.ok:
            return Sight.UP
        if each.ok is False and each.health is Health.DOWN:
            sight = Sight.DOWN
    return sight


@lru_cache(maxsize=64)
def _cloud_probes(site: str) -> frozenset[str]:
    return frozenset(f"{site}/{what}" for what in CLOUD_PROBES)


@dataclass(frozen=True, slots=True)
class Settled:
    """A verdict that was the same for a while. ``since_s`` by the clock of whoever looks; ``changes`` are
    when it changed, newest last."""

    verdict: SiteVerdict
    since_s: float
    looks: int = 1
    changes: tuple[float, ...] = ()


STEADY_S = 60.0
"""A site that changed within so long before flaps."""
LOOKS_NEEDED = 1
"""Of the one who decides; each vantage has missed two probes by then, and the plan looks again itself."""
LOOKS_OF_A_FLAPPING_SITE = 10


def decide_settled(before: Settled | None, verdict: SiteVerdict, now_s: float) -> Settled:
    """``verdict``, seen at ``now_s``, added to what was seen ``before``: lost and not lost are counted."""
    if before is None:
        return Settled(verdict, now_s)
    if before.verdict.lost == verdict.lost:
        return Settled(verdict, before.since_s, before.looks + 1, before.changes)
    recent = tuple(at_s for at_s in (*before.changes, now_s) if now_s - at_s <= STEADY_S)
    return Settled(verdict, now_s, 1, recent)


def why_not_settled(settled: Settled | None) -> tuple[str, ...]:
    """Why a verdict is not to be acted on yet: it must be seen so for longer where the site went and came
    within the last minute."""
    if settled is None:
        return ("nobody has looked yet",)
    site = settled.verdict.site
    flaps = len(settled.changes) > 1
    needed = LOOKS_OF_A_FLAPPING_SITE if flaps else LOOKS_NEEDED
    if settled.looks >= needed:
        return ()
    why = f"; it changed {len(settled.changes)} times within {STEADY_S:g} s" if flaps else ""
    return (f"{site} was seen so {settled.looks} of {needed} times in a row{why}",)
