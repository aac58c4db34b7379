"""When a failover starts without a person. Pure.

Invariants, which the tests try to break:

1. What is started is the plan that a person would get, or nothing: every reason of ``decide_failover``
   stands against it too, and no rule is overridden.
2. A person's word wins: while automation is paused, in manual mode, or while somebody's run is active,
   nothing is started, and what a person aborted is not started again while the same site stays lost.
3. A site that was given up is not given up again, and nothing ever goes back by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dcctl.domain.automation import (
    Automation,
    LastAction,
    Mode,
    why_aborted,
    why_held_off,
    why_not_automatic,
)
from dcctl.domain.failover import decide_failover
from dcctl.domain.plan import Plan
from dcctl.domain.refusal import Refusal
from dcctl.domain.situation import Situation
from dcctl.domain.traffic import Rotation
from dcctl.domain.verdict import SPOKE_FOR_S, Settled, Sight, Vantage, why_not_settled


@dataclass(frozen=True, slots=True)
class Standing:
    """What a decision rests on beside the situation. ``settled`` by site."""

    configured: Mode
    automation: Automation
    last: LastAction | None
    settled: Mapping[str, Settled]


@dataclass(frozen=True, slots=True)
class Decision:
    """``lost`` is the site that would be given up, None where there is none; ``reasons`` are against it."""

    lost: str | None = None
    plan: Plan | None = None
    reasons: tuple[str, ...] = ()


def decide_automatic(situation: Situation, standing: Standing) -> Decision:
    """Whether a failover starts now, and why not."""
    lost = [site for site in situation.sites if _lost(site, standing)]
    if not lost:
        return Decision()
    if len(lost) > 1:
        return Decision(lost[0], reasons=(f"{' and '.join(lost)} are both lost: nothing can be moved",))
    site = lost[0]
    if not is_needed(site, situation):
        return Decision()
    reasons = [
        *why_not_automatic(standing.configured, standing.automation),
        *why_not_settled(standing.settled.get(site)),
        *why_aborted(standing.last, site),
        *why_held_off(standing.last, situation.at, situation.rules.hold_off),
    ]
    decided = decide_failover(site, situation)
    if isinstance(decided, Refusal):
        reasons += decided.reasons
    if reasons or isinstance(decided, Refusal):
        return Decision(site, reasons=tuple(reasons))
    return Decision(site, decided)


def is_needed(lost: str, situation: Situation) -> bool:
    """Whether something of ``lost`` is still to be moved: a site that was given up and whose database leads
    elsewhere is done with, whatever else is wrong."""
    if situation.state_of(lost).state is not Rotation.QUARANTINED:
        return True
    cluster = situation.cluster.value
    if not situation.status.database.members or cluster is None:
        return False
    return situation.places.get(cluster.leader or "") in (lost, None)


def _lost(site: str, standing: Standing) -> bool:
    settled = standing.settled.get(site)
    return settled is not None and settled.verdict.lost


def decide_suspects(sites: Sequence[str], vantages: Sequence[Vantage]) -> tuple[str, ...]:
    """The sites that are worth a look at everything: somebody elsewhere does not see it, or nobody there
    speaks any more."""
    return tuple(
        site
        for site in sites
        if any(each.place != site and each.sees(site) is Sight.DOWN for each in vantages)
        or not any(each.place == site and abs(each.age_s) <= SPOKE_FOR_S for each in vantages)
    )
