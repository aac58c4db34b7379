"""Switchover: the primary and the singletons move to the other site while both sites answer. Pure."""

from dataclasses import replace

from dcctl.domain.budget import decide_limits
from dcctl.domain.evidence import voters_of
from dcctl.domain.failover import decide_promoted
from dcctl.domain.order import Order
from dcctl.domain.plan import Plan, Planned
from dcctl.domain.refusal import Refusal
from dcctl.domain.rules import Reason, Rule, of, settle, why_closed, why_held_off
from dcctl.domain.situation import (
    Situation,
    roles_of,
    why_busy,
    why_no_quorum,
    why_not_in_rotation,
    why_paused,
    why_short,
    why_two_primaries,
)
from dcctl.domain.traffic import Rotation

LAG_AT_MOST_BYTES = 2**24
"""What a standby may lack when it is asked to take over: it replays that much within a second."""
MOVE_LIMIT_S = 40.0
MOVED_LIMIT_S = 60.0
COPY_LIMIT_S = 120.0
HELD_LIMIT_S = 120.0
VERIFY_LIMIT_S = 60.0


def decide_switchover(to: str, situation: Situation) -> Plan | Refusal:
    """Move what is held at the other site to ``to``, or every reason not to."""
    return _decide("switchover", to, situation, [])


def decide_failback(to: str, situation: Situation) -> Plan | Refusal:
    """A switchover home, to a site that was given up and is admitted again, or every reason not to."""
    reasons = []
    if situation.state_of(to).state is Rotation.QUARANTINED:
        told = f"{to} is quarantined: dcctl admit {to} shows what it lacks, and lets it in"
        reasons.append(Reason(Rule.CAUGHT_UP, told))
    return _decide("failback", to, situation, reasons)


def _decide(what: str, to: str, situation: Situation, more: list[Reason]) -> Plan | Refusal:
    source = situation.other(to)
    reasons = [
        *more,
        *why_no_quorum(situation),
        *_why_silent(situation),
        *_why_not_whole(source, situation),
        *_why_no_standby(to, situation),
        *why_paused(situation),
        *why_two_primaries(situation),
        *why_not_in_rotation(situation, to),
        *why_short(situation, to),
        *_why_not_now(situation),
        *why_busy(situation, Order(what, to).words()),
    ]
    standing, overridden = settle(reasons, situation.overrides)
    if standing:
        return Refusal(standing)
    return replace(_plan(what, to, source, situation), overridden=overridden)


def decide_copied(to: str, situation: Situation) -> tuple[str, ...]:
    """Why no synchronous standby at the site apart from ``to`` is named and confirms (promise 4)."""
    database = situation.status.database
    if not database.members:
        return ()
    if situation.at_place(database.synchronous, situation.other(to)):
        return ()
    if not database.named:
        return ("no synchronous standby is named: the database is SINGLE-COPY",)
    return (f"{', '.join(database.named)} is named synchronous and does not confirm",)


def why_not_moved(plan: Plan, situation: Situation) -> tuple[str, ...]:
    """Why Patroni must not be asked for what ``plan`` moves: something stands against it, or it is another
    move by now."""
    decide = decide_failback if plan.what == "failback" else decide_switchover
    decided = decide(plan.site, situation)
    if isinstance(decided, Refusal):
        return decided.reasons
    if (decided.primary, decided.candidate) == (plan.primary, plan.candidate):
        return ()
    told = f"{decided.primary} is primary and {decided.candidate} is to be"
    return (f"{told} by now, not {plan.primary} and {plan.candidate}",)


def why_not_handed_over(to: str, situation: Situation) -> tuple[str, ...]:
    """Why nobody must be asked to hand a role over to ``to``: who takes it there commits its epoch first."""
    return (*why_no_quorum(situation), *decide_promoted(to, situation))


def _why_not_now(situation: Situation) -> list[Reason]:
    """A planned move waits for its time; one that was begun goes on."""
    if situation.resumed:
        return []
    rules, last = situation.rules, situation.last_move.value
    return [
        *why_closed(rules.change_window, situation.at),
        *why_held_off(rules.hold_off, last, situation.at),
    ]


def _why_not_whole(source: str, situation: Situation) -> list[Reason]:
    """Nothing is moved while the other site is being put right."""
    quarantined = situation.state_of(source).state is Rotation.QUARANTINED
    if not quarantined or not situation.rules.one_site_at_a_time:
        return []
    return [Reason(Rule.ONE_SITE_AT_A_TIME, f"{source} is quarantined: dcctl admit {source}")]


def _why_silent(situation: Situation) -> list[Reason]:
    """A switchover needs both sites whole: it is not the way out of a failure."""
    return of(Rule.ONE_SITE_AT_A_TIME, _silent(situation))


def _silent(situation: Situation) -> list[str]:
    status, reasons = situation.status, []
    for site in situation.sites:
        if not situation.answers_of(site):
            reasons.append(f"{site} does not answer: dcctl failover plan --lost {site}")
            continue
        silent = [each.name for each in status.database.members if each.place == site and each.reason]
        silent += [each.name for each in status.edges if each.place == site and not each.up]
        if silent:
            reasons.append(f"{', '.join(silent)} at {site} does not answer")
        if any(each.place == site for each in status.voters) and not voters_of(site, situation.status):
            reasons.append(f"no voter of {site} is in the quorum")
    return reasons


def _why_no_standby(to: str, situation: Situation) -> list[Reason]:
    return of(Rule.NO_WRITE_LOST, _lacking(to, situation))


def _lacking(to: str, situation: Situation) -> list[str]:
    database = situation.status.database
    if not database.members:
        return []
    primary = next((each for each in database.members if each.role == "primary"), None)
    if primary is None or primary.place == to:
        return [] if primary else ["no database answers as primary"]
    confirmed = situation.at_place(database.synchronous, to)
    if not confirmed:
        named = ", ".join(database.named)
        if not named:
            return [f"the database is SINGLE-COPY: nobody at {to} has every acknowledged write"]
        here = situation.at_place(database.named, to)
        return [f"{named} is named synchronous and {'does not confirm' if here else f'is not at {to}'}"]
    lag = max((each.lag_bytes or 0 for each in database.members if each.name in confirmed), default=0)
    if lag > LAG_AT_MOST_BYTES:
        return [f"{', '.join(confirmed)} is {lag} bytes behind; at most {LAG_AT_MOST_BYTES} are allowed"]
    return []


def _plan(what: str, to: str, source: str, situation: Situation) -> Plan:
    database = situation.status.database
    moves = bool(database.members) and database.primary_place != to
    candidate = situation.at_place(database.synchronous, to)[0] if moves else database.primary
    roles = roles_of(situation, source)
    return Plan(
        what=what,
        site=to,
        survivor=to,
        primary=database.primary,
        candidate=candidate,
        roles=roles,
        loss=("nothing: both sites answer, and the standby confirms every write",),
        notes=_notes(to, situation, moves=moves, roles=roles),
        steps=decide_limits(_steps(to, source, situation, candidate, roles), situation.past.get(what)),
    )


def _notes(to: str, situation: Situation, *, moves: bool, roles: tuple[str, ...]) -> tuple[str, ...]:
    if not moves:
        return () if roles else (f"everything is at {to}: nothing is to do",)
    if situation.pools is None:
        return ()
    if situation.pools.value is None:
        return (f"whether clients can be held is not known: {situation.pools.reason}",)
    return tuple(
        f"clients of the pool of {edge} are not held, and see a break: {why}"
        for edge, why in situation.pools.value.items()
        if why
    )


def _steps(
    to: str, source: str, situation: Situation, candidate: str | None, roles: tuple[str, ...]
) -> tuple[Planned, ...]:
    back = f"dcctl switchover apply --to {source}"
    steps, database = [], situation.status.database
    if database.members:
        steps += [
            Planned(
                "move the primary",
                source,
                f"{candidate} has the key",
                MOVE_LIMIT_S,
                effect=f"Patroni is asked to hand the key to {candidate}, while clients of the pools wait",
                needs=f"{database.primary} has the key, {candidate} confirms every write, both sites answer",
                no_return=True,
                way_back=back,
            ),
            Planned("primary at the target", to, f"{candidate} says so itself", MOVED_LIMIT_S),
            Planned("second copy", source, "a synchronous standby is named there and confirms", COPY_LIMIT_S),
            Planned(
                "edges lead to it",
                to,
                "every edge sends writes to the primary",
                MOVED_LIMIT_S,
                skippable=True,
            ),
        ]
    named = ", ".join(roles) or "none is held elsewhere"
    steps += [
        Planned(
            "singletons",
            to,
            f"resigned until they are held there: {named}",
            HELD_LIMIT_S,
            effect="who holds one elsewhere is asked to end its work" if roles else "",
            needs=("the primary is there" if database.members else "the quorum serves") if roles else "",
            skippable=True,
            way_back=back if roles else "",
        ),
        Planned(
            "verification", to, "a write through each edge is acknowledged", VERIFY_LIMIT_S, skippable=True
        ),
    ]
    return tuple(steps)
