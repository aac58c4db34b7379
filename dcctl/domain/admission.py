"""Admission: a quarantined site that came back is compared with the one that went on, and let in. Pure."""

from collections.abc import Collection
from dataclasses import replace

from dcctl.domain.budget import decide_limits
from dcctl.domain.evidence import voters_of
from dcctl.domain.order import Order
from dcctl.domain.plan import Plan, Planned
from dcctl.domain.refusal import Refusal
from dcctl.domain.rejoin import REBUILD, decide_rejoin, why_behind
from dcctl.domain.rules import Reason, Rule, of, settle
from dcctl.domain.situation import (
    Situation,
    why_busy,
    why_no_quorum,
)
from dcctl.domain.traffic import Rotation
from dcctl.domain.verdict import Sight

WRITE_LIMIT_S = 15.0
APPLIED_LIMIT_S = 60.0


def decide_admission(site: str, situation: Situation, *, rebuild: bool = False) -> Plan | Refusal:
    """Put ``site`` back into rotation, or every reason why it is not ready.

    A database there that does not follow is no reason where a step of the plan sees to that
    (``domain.rejoin``).
    """
    state = situation.state_of(site)
    quarantined = state.state is Rotation.QUARANTINED
    rejoins = decide_rejoin(site, situation, rebuild=rebuild) if quarantined else ()
    reasons = [*why_no_quorum(situation), *why_busy(situation, Order("admit", site).words())]
    if state.state is Rotation.DRAINED:
        told = f"{site} is drained, not quarantined: dcctl undrain {site}"
        reasons.append(Reason(Rule.CAUGHT_UP, told))
    if quarantined:
        lacks = [
            *_why_silent(site, situation),
            *_why_behind(site, situation, but={each.target for each in rejoins}),
            *_why_documents_differ(situation),
            *_why_epochs_differ(situation),
            *_why_unseen(site, situation),
        ]
        reasons += of(Rule.CAUGHT_UP, lacks)
    standing, overridden = settle(reasons, situation.overrides)
    if standing:
        return Refusal(standing)
    return replace(_plan(site, situation, rejoins), overridden=overridden)


def why_not_admitted(site: str, situation: Situation) -> tuple[str, ...]:
    """Why ``site`` must not be let in: it lacks something, now."""
    decided = decide_admission(site, situation)
    if isinstance(decided, Refusal):
        return decided.reasons
    quarantined = situation.state_of(site).state is Rotation.QUARANTINED
    return tuple(_why_behind(site, situation)) if quarantined else ()


def decide_applied(site: str, situation: Situation) -> tuple[str, ...]:
    """Why the edges do not show ``site`` in rotation yet: by what their agents say, each fresh."""
    beside = [each for each in situation.vantages.value or () if each.edge or each.place in situation.sites]
    edges = {edge.name for edge in situation.status.edges}
    told = {each.name: each for each in beside if each.name in edges}
    return tuple(
        f"{name}: {_saw(told.get(name), site)}"
        for name in sorted(edges)
        if name not in told or not told[name].fresh or told[name].edge.get(site) is not True
    )


def _saw(vantage: object, site: str) -> str:
    return "its agent is silent" if vantage is None else f"{site} is not in rotation there yet"


def _why_silent(site: str, situation: Situation) -> list[str]:
    status, reasons = situation.status, []
    for each in status.sites:
        if each.name == site and not each.answers:
            reasons.append(f"the cloud's API at {site} does not answer: {each.reason}")
    for machine in status.machines:
        if machine.place == site and not machine.reachable:
            reasons.append(f"{machine.name} does not answer: {machine.reason}")
    for edge in status.edges:
        if edge.place == site and not edge.up:
            reasons.append(f"edge {edge.name} does not answer: {edge.reason}")
    mine = [voter.name for voter in status.voters if voter.place == site]
    if out := sorted(set(mine) - set(voters_of(site, situation.status))):
        reasons.append(f"voter {', '.join(out)} is not in the quorum")
    return reasons


def _why_behind(site: str, situation: Situation, *, but: Collection[str] = ()) -> list[str]:
    """The database there must follow the new timeline as a synchronous standby, or be the primary."""
    database = situation.status.database
    mine = [each for each in database.members if each.place == site]
    if not mine:
        return []
    if database.primary_place == site:
        return [] if any(each.role == "primary" for each in mine) else [f"no primary answers at {site}"]
    return [why for each in mine if each.name not in but and (why := why_behind(each, database))]


def _why_documents_differ(situation: Situation) -> list[str]:
    if situation.documents is None:
        return []
    documents = situation.documents.value
    if documents is None:
        return [f"whether the documents are replicated is not known: {situation.documents.reason}"]
    reasons = []
    if documents.pending:
        reasons.append(f"{documents.pending} documents are not replicated yet: dcctl replication plan")
    if documents.held:
        reasons.append(f"{documents.held} documents are for a person to decide: dcctl replication held")
    return reasons


def _why_epochs_differ(situation: Situation) -> list[str]:
    if situation.epochs.value is None:
        return [f"the epochs in the database cannot be read: {situation.epochs.reason}"]
    return [
        f"the database has epoch {inforce.number} of {role.role} in force, ZooKeeper {role.epoch.number}"
        for role in situation.roles.value or ()
        if role.epoch is not None
        and role.term is not None
        and (inforce := situation.epochs.value.get(role.role)) is not None
        and inforce != role.epoch
    ]


def _why_unseen(site: str, situation: Situation) -> list[str]:
    """Agents must be at work there, and the others must see the site."""
    vantages = situation.vantages.value
    if vantages is None:
        return []  # told with the quorum
    reasons = []
    if not any(each.place == site and each.fresh for each in vantages):
        reasons.append(f"no agent at {site} has published an observation just now")
    for name, _place, sight in situation.sights_of(site):
        if sight is Sight.DOWN:
            reasons.append(f"{name} sees {site} down")
    return reasons


def _plan(site: str, situation: Situation, rejoins: tuple[Planned, ...]) -> Plan:
    other = situation.other(site)
    database = situation.status.database
    mine = [each for each in database.members if each.place == site]
    left_behind = {each.target for each in rejoins}
    notes = [
        why_behind(each, database)
        if each.name in left_behind
        else f"{each.name} follows {database.primary} on timeline {each.timeline},"
        f" {each.lag_bytes or 0} bytes behind"
        for each in mine
        if each.name != database.primary
    ]
    cluster = situation.cluster.value
    if mine and cluster is not None and cluster.ended is not None:
        timeline, position = cluster.ended
        notes.append(
            f"timeline {timeline} ended at {position >> 32:X}/{position & 0xFFFFFFFF:X}:"
            " what was written on it beyond that is rewound"
        )
    if situation.documents is not None and situation.documents.value is not None:
        notes.append("documents: nothing is pending, nothing waits for a person")
    notes += [
        f"{role.role} is led by {role.term.host} under epoch {role.term.epoch.number}"
        for role in situation.roles.value or ()
        if role.term is not None
    ]
    state = situation.state_of(site)
    if state.state is Rotation.ACTIVE:
        notes.append(f"{site} is in rotation already: what is looked at is whether the edges show it")
    return Plan(
        what="admission",
        site=site,
        survivor=other,
        primary=database.primary,
        candidate=None,
        roles=(),
        loss=tuple(each.effect for each in rejoins if each.name == REBUILD),
        notes=tuple(notes),
        steps=decide_limits((*rejoins, *_steps(site)), situation.past.get("admission")),
    )


def _steps(site: str) -> tuple[Planned, ...]:
    return (
        Planned(
            "admit",
            site,
            "its state in ZooKeeper, by compare-and-set",
            WRITE_LIMIT_S,
            effect=f"{site} is written to be active",
            needs=f"{site} answers, follows the primary as a synchronous standby, and lacks no document",
            no_return=True,
            way_back=f"dcctl drain {site}",
        ),
        Planned("in rotation", site, "each edge's agent shows it", APPLIED_LIMIT_S, skippable=True),
    )
