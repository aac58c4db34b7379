"""Failover: what a lost site carried goes to the other one. Pure.

The database is promoted by Patroni, never by dcctl: what is decided here is whether that is safe to rely
on, and whether traffic and singletons may follow. Every reason against it is told at once.
"""

from dataclasses import replace

from dcctl.domain.budget import decide_limits
from dcctl.domain.order import Order
from dcctl.domain.plan import Plan, Planned
from dcctl.domain.refusal import Refusal
from dcctl.domain.rules import Reason, Rule, of, settle
from dcctl.domain.situation import (
    Situation,
    roles_of,
    sessions_of,
    why_busy,
    why_no_quorum,
    why_not_in_rotation,
    why_paused,
    why_short,
)
from dcctl.domain.traffic import Rotation
from dcctl.domain.verdict import NO_WITNESS

RELEASE, FORGET, QUARANTINE, FENCE = (
    "release the leader key",
    "the quorum forgets the site",
    "quarantine",
    "fence",
)
RELEASE_LIMIT_S = 21.0
"""For the two transactions, and for the standby to take the key (``engines.release``)."""
FORGET_LIMIT_S = 120.0
"""Until the quorum has forgotten a site's databases: Patroni's ttl (30 s by default) and a round."""
WRITE_LIMIT_S = 15.0
FENCE_LIMIT_S = 90.0
PROMOTED_LIMIT_S = 120.0
EDGES_LIMIT_S = 60.0
HELD_LIMIT_S = 90.0
VERIFY_LIMIT_S = 90.0


def decide_failover(lost: str, situation: Situation) -> Plan | Refusal:
    """Give up ``lost`` and go on at the other site, or every reason not to."""
    survivor = situation.other(lost)
    reasons = [
        *why_not_lost(lost, situation),
        *_why_unreachable(survivor, situation),
        *why_no_quorum(situation),
        *_why_no_copy(lost, survivor, situation),
        *why_paused(situation),
        *why_not_in_rotation(situation, survivor),
        *why_short(situation, survivor),
        *_why_loss(lost, situation),
        *why_busy(situation, Order("failover", lost).words()),
    ]
    standing, overridden = settle(reasons, situation.overrides)
    if standing:
        return Refusal(standing)
    return replace(_plan(lost, survivor, situation), overridden=overridden)


def decide_forgotten(lost: str, situation: Situation) -> tuple[str, ...]:
    """Why the quorum may still know a primary at ``lost``; empty once it cannot.

    It has forgotten every database there, or the survivor leads beyond recall.
    """
    if situation.cluster.value is None and situation.status.database.members:
        return (f"Patroni's keys cannot be read: {situation.cluster.reason}",)
    if is_led_by_survivor(lost, situation):
        return ()
    return tuple(f"the session of {name} has not ended yet" for name in sessions_of(situation, lost))


def is_led_by_survivor(lost: str, situation: Situation) -> bool:
    """Whether a database of the other site has the leader key and has written ``/sync`` since: what a former
    leader writes there on the view that it had is refused."""
    cluster = situation.cluster.value
    if cluster is None or cluster.leader is None or cluster.leader != cluster.synchronous_to:
        return False
    return situation.places.get(cluster.leader) == situation.other(lost)


def why_not_given_up(lost: str, situation: Situation) -> tuple[str, ...]:
    """Why ``lost`` must not be put out of rotation: what the plan was decided from does not hold, or the
    quorum may still know a primary there.

    What it costs was weighed when it was decided, and is not weighed half way: the primary may have moved
    since, and documents that are not replicated only grow older.
    """
    decided = decide_failover(lost, situation)
    against = decided.reasons if isinstance(decided, Refusal) else ()
    standing = tuple(each for each in against if not (isinstance(each, Reason) and each.rule.weighs))
    return standing or decide_forgotten(lost, situation)


def why_not_switched_off(lost: str, situation: Situation) -> tuple[str, ...]:
    """Why no machine of ``lost`` must be powered off: it is not given up, or lives."""
    state = situation.state_of(lost).state
    if situation.states.value is not None and state is not Rotation.QUARANTINED:
        return (f"{lost} is {state}, not quarantined",)
    seen = [
        *why_not_lost(lost, situation),
        *_why_unreachable(situation.other(lost), situation),
        *why_no_quorum(situation),
    ]
    standing, _overridden = settle(seen, situation.overrides)
    return standing or decide_forgotten(lost, situation)


def decide_rest(lost: str, situation: Situation) -> Plan:
    """What is left of a failover whose site is back, quarantined, while the survivor leads: its proofs."""
    whole = _plan(lost, situation.other(lost), situation)
    before = (RELEASE, FORGET, QUARANTINE, FENCE)
    steps = [each for each in whole.steps if each.name not in before]
    led = "each role is led, under the epoch that is in force"
    return replace(
        whole,
        steps=tuple(replace(each, proof=led) if each.name == "singletons" else each for each in steps),
        loss=(),
        notes=(f"{lost} is back and stays quarantined: what was begun is proven, nothing is switched off",),
    )


def decide_database_fenced(lost: str, situation: Situation) -> tuple[str, ...]:
    """Why a database of ``lost`` may still acknowledge a write; empty when none can.

    By the quorum's word: nobody there holds the leader key, and ``/sync`` names the survivor alone, so
    that a primary over there waits for a standby that confirms to it no more: the store itself rejects
    (docs/explanation/release.md). The sync key changes only in the quorum. Once the survivor leads and has
    written it, whom it names over there follows the survivor: a site that is back already.
    """
    if not situation.status.database.members:
        return ()
    cluster = situation.cluster.value
    if cluster is None:
        return (f"Patroni's keys cannot be read: {situation.cluster.reason}",)
    reasons = list(decide_forgotten(lost, situation))
    led_elsewhere = bool(cluster.leader) and situation.places.get(cluster.leader or "") != lost
    followed = is_led_by_survivor(lost, situation)
    if not followed and (at_lost := situation.at_place(cluster.synchronous, lost)):
        reasons.append(f"{', '.join(at_lost)} at {lost} is named synchronous")
    if not led_elsewhere and not cluster.synchronous:
        reasons.append("nobody leads, and no synchronous standby is named: a single copy may be anywhere")
    return tuple(reasons)


def decide_promoted(survivor: str, situation: Situation) -> tuple[str, ...]:
    """Why the primary is not at ``survivor`` beyond doubt: by its key and by its own word."""
    database, cluster = situation.status.database, situation.cluster.value
    if not database.members:
        return ()
    if cluster is None:
        return (f"Patroni's keys cannot be read: {situation.cluster.reason}",)
    if situation.places.get(cluster.leader or "") != survivor:
        return (f"the leader key is held by {cluster.leader or 'nobody'}",)
    primaries = database.primaries
    own = [each for each in database.members if each.name == cluster.leader and each.role == "primary"]
    if primaries != (cluster.leader,) or not own:
        return (f"{', '.join(primaries) or 'nobody'} says that it is primary, {cluster.leader} has the key",)
    return () if own[0].state == "running" else (f"{cluster.leader} is {own[0].state}",)


def decide_edges_lead(survivor: str, situation: Situation) -> tuple[str, ...]:
    """Why clients of the edges at ``survivor`` do not reach the primary."""
    primary = situation.status.database.primary
    edges = [edge for edge in situation.status.edges if edge.place == survivor]
    if not situation.status.database.members:
        return ()
    return tuple(
        f"edge {edge.name} does not answer: {edge.reason}"
        if not edge.up
        else f"edge {edge.name} sends writes to {', '.join(edge.routes_to) or 'nobody'}"
        for edge in edges
        if edge.routes_to != (primary,)
    )


def why_not_lost(lost: str, situation: Situation) -> list[Reason]:
    """By the verdict that agents and status show too; unknown never moves anything."""
    verdict = situation.verdict_of(lost)
    reasons = of(Rule.ONLY_A_LOST_SITE, (f"{lost} is not lost: {each}" for each in verdict.lives))
    if situation.vantages.value is None:
        return reasons  # told with the quorum
    if not situation.witness and not situation.rules.witness_required:
        return reasons + of(
            Rule.NO_UNKNOWN_VERDICT,
            (f"unknown: {each}" for each in verdict.missing if each != NO_WITNESS),
        )
    for each in verdict.missing:
        rule = Rule.WITNESS_REQUIRED if each == NO_WITNESS else Rule.NO_UNKNOWN_VERDICT
        reasons.append(Reason(rule, f"unknown: {each}"))
    return reasons


def _why_loss(lost: str, situation: Situation) -> list[Reason]:
    """Why more documents may be missing than the environment allows."""
    limit = situation.rules.max_loss_window
    if limit is None or situation.documents is None:
        return []
    documents = situation.documents.value
    if documents is None:
        told = f"how far the documents of {lost} are replicated is not known: {situation.documents.reason}"
        return [Reason(Rule.MAX_LOSS_WINDOW, told)]
    if not documents.pending or (documents.oldest_s or 0.0) <= limit.total_seconds():
        return []
    told = f"{documents.pending} documents of {lost} are not replicated"
    oldest = f"the oldest for {documents.oldest_s:.0f} s; {limit.total_seconds():.0f} s are allowed"
    return [Reason(Rule.MAX_LOSS_WINDOW, f"{told}, {oldest}")]


def _why_unreachable(survivor: str, situation: Situation) -> list[Reason]:
    if situation.answers_of(survivor):
        return []
    told = f"{survivor} does not answer here either: this may be the place that is cut off"
    return [Reason(Rule.ONLY_A_LOST_SITE, told)]


def _why_no_copy(lost: str, survivor: str, situation: Situation) -> list[Reason]:
    return of(Rule.NO_WRITE_LOST, _why_lacking(lost, survivor, situation))


def _why_lacking(lost: str, survivor: str, situation: Situation) -> list[str]:
    """Why the survivor may lack writes that were acknowledged (DESIGN promise 4)."""
    database, cluster = situation.status.database, situation.cluster.value
    if not database.members or cluster is None:
        return []
    if situation.places.get(cluster.leader or "") == survivor:
        return []
    holders = situation.at_place(cluster.synchronous, survivor)
    if not cluster.synchronous:
        return [f"the database is SINGLE-COPY: {survivor} may lack writes that {lost} acknowledged"]
    if not holders:
        named = ", ".join(cluster.synchronous)
        return [f"the synchronous standby is {named}, not at {survivor}: it may lack acknowledged writes"]
    answering = [each.name for each in database.members if each.name in holders and each.state == "running"]
    if not answering:
        return [f"{', '.join(holders)}, which has every acknowledged write, does not run"]
    return []


def _plan(lost: str, survivor: str, situation: Situation) -> Plan:
    cluster = situation.cluster.value
    leader = cluster.leader if cluster else None
    last = leader or (cluster.synchronous_to if cluster else None)
    moves = bool(cluster) and situation.places.get(leader or "") != survivor
    held = situation.at_place(cluster.synchronous, survivor) if cluster else ()
    candidate = (held[0] if held else None) if moves else leader
    roles = roles_of(situation, lost)
    return Plan(
        what="failover",
        site=lost,
        survivor=survivor,
        primary=last,
        candidate=candidate,
        roles=roles,
        loss=_loss(lost, candidate, situation, moves=moves),
        notes=_notes(lost, situation),
        steps=decide_limits(
            _steps(lost, survivor, situation, candidate, roles), situation.past.get("failover")
        ),
    )


def _loss(lost: str, candidate: str | None, situation: Situation, *, moves: bool) -> tuple[str, ...]:
    found = []
    if situation.status.database.members:
        copy = f"{candidate} has every acknowledged write" if moves else f"{candidate} is and stays primary"
        found.append(f"database: no acknowledged write ({copy})")
        found.append(f"afterwards the database is SINGLE-COPY until {lost} is admitted")
    if situation.documents is not None:
        documents = situation.documents.value
        if documents is None:
            why = situation.documents.reason
            found.append(f"documents acknowledged at {lost} and not replicated: not known ({why})")
        else:
            word = "none was pending" if not documents.pending else f"{documents.pending} names were pending"
            found.append(
                f"documents acknowledged at {lost} and not replicated are missing until it returns: {word}"
            )
    return tuple(found)


def _notes(lost: str, situation: Situation) -> tuple[str, ...]:
    notes = []
    sessions = sessions_of(situation, lost)
    if sessions and _releasable(lost, situation) is None:
        notes.append(f"the quorum still knows {', '.join(sessions)}: nothing is moved before that has ended")
    active = situation.active_run.value
    if active is not None:
        notes.append(f"run {active.run} was broken off and will be taken over")
    if situation.state_of(lost).state is Rotation.QUARANTINED:
        notes.append(f"{lost} is quarantined already: this goes on where an earlier failover ended")
    return tuple(notes)


def _steps(
    lost: str, survivor: str, situation: Situation, candidate: str | None, roles: tuple[str, ...]
) -> tuple[Planned, ...]:
    home = f"dcctl failback apply --to {lost}"
    steps = [
        *_release(lost, situation, candidate, home),
        Planned(FORGET, lost, "no session of a database there lives, or the survivor leads", FORGET_LIMIT_S),
        Planned(
            QUARANTINE,
            lost,
            "its state in ZooKeeper, by compare-and-set",
            WRITE_LIMIT_S,
            effect=f"{lost} is written to be quarantined",
            needs=f"{lost} is lost, and the quorum knows no primary there",
            no_return=True,
            way_back=f"dcctl admit {lost}",
        ),
        Planned(
            FENCE,
            lost,
            "power read back as off where its cloud answers; else nobody there can acknowledge",
            FENCE_LIMIT_S,
            effect="its machines are powered off, where its cloud answers",
            needs=f"{lost} is lost and quarantined",
            way_back="dcctl provision apply",
        ),
    ]
    if situation.status.database.members:
        steps += [
            Planned(
                "primary at the survivor",
                survivor,
                f"{candidate} has the key and runs",
                PROMOTED_LIMIT_S,
                way_back=home,
            ),
            Planned(
                "edges lead to it",
                survivor,
                "each edge sends writes to the primary",
                EDGES_LIMIT_S,
                skippable=True,
            ),
            Planned(
                "a write is acknowledged",
                survivor,
                "committed through each edge there",
                EDGES_LIMIT_S,
                skippable=True,
            ),
        ]
    named = ", ".join(roles) or "none that is open"
    steps += [
        Planned(
            "singletons",
            survivor,
            f"held there under a higher epoch: {named}",
            HELD_LIMIT_S,
            skippable=True,
            way_back=home,
        ),
        Planned(
            "verification",
            survivor,
            "what clients use there works, documents too",
            VERIFY_LIMIT_S,
            skippable=True,
        ),
    ]
    return tuple(steps)


def _releasable(lost: str, situation: Situation) -> str | None:
    """The leader at ``lost`` whose key may be released early, should ``domain.release`` allow it then.

    Where a person's word stands in for evidence of the lost site, what the quorum forgets by itself is part
    of the evidence, and the key is kept.
    """
    leader = situation.cluster.value.leader if situation.cluster.value else None
    stated = any(each.rule.about_evidence for each in situation.overrides)
    if not situation.releases or stated or not situation.status.database.members:
        return None
    return leader if situation.places.get(leader or "") == lost else None


def _release(lost: str, situation: Situation, candidate: str | None, home: str) -> list[Planned]:
    """The step that may save the wait for the session."""
    leader = _releasable(lost, situation)
    if leader is None:
        return []
    return [
        Planned(
            RELEASE,
            lost,
            f"{candidate} has the key and has written /sync; else the next step waits",
            RELEASE_LIMIT_S,
            effect=f"Patroni's leader key of {leader} is deleted, in one transaction that rewrites /sync",
            needs=f"{lost} is lost, {leader} silent, {candidate} runs and is in /sync",
            no_return=True,
            way_back=home,
        )
    ]
