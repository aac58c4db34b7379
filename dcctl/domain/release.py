"""Releasing Patroni's leader key before its session ends: whether that is safe. Pure.

Invariant: of the primary that loses the key, and the standby that takes it, only one can acknowledge a
write from then on. Why it holds is told in docs/explanation/release.md. It rests on three things that are
decided here, and on the transaction that only does what was decided:

- The standby is named in ``/sync``: the primary acknowledges nothing that this standby does not have, until
  it has taken the name out of ``/sync``, which it does against the version that it knows.
- That version is never 0, which Patroni 3.0 sends as "any": and the release rewrites ``/sync``.
- No other member, and no mode of Patroni, lets the primary go on without the key: no failsafe mode, no
  pause, synchronous mode on.

A primary that can still reach the quorum is moved by a switchover: it is not lost (``decide_failover``).
"""

from dataclasses import dataclass

from dcctl.domain.failover import decide_failover
from dcctl.domain.plan import Plan
from dcctl.domain.refusal import Refusal
from dcctl.domain.situation import Situation

PROMOTED_WITHIN_S = 15.0
"""For the standby to take the key: it is told of its end, and asks the last primary for at most 2 s."""


@dataclass(frozen=True, slots=True)
class LeaderKeys:
    """Patroni's keys of one cluster, as the quorum has them, with the versions to write against.

    ``session`` owns the leader key. ``member`` is the content of the leader's own key as a member,
    ``member_session`` owns that one, ``member_created`` is the change that made it. ``sync`` is the content
    of ``/sync`` as it is. ``refusing``: members that are tagged never to be promoted.
    """

    leader: str | None
    session: int
    member: bytes
    member_session: int
    member_created: int
    member_version: int
    sync: bytes
    sync_version: int | None
    """None: there is no such key."""
    synchronous: tuple[str, ...]
    synchronous_to: str | None
    config_version: int
    synchronous_mode: bool
    failsafe_mode: bool
    paused: bool
    switching: bool
    """Somebody asked Patroni for a move, which has not ended."""
    members: tuple[str, ...]
    """Those whose session with the quorum lives."""
    refusing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Release:
    """The key of ``leader`` is to be released, for ``standby`` to take it."""

    leader: str
    standby: str


def decide_release(plan: Plan, situation: Situation, keys: LeaderKeys) -> Release | Refusal | None:
    """Whether ``plan``, a failover that ``situation`` allows, may release the key; None: there is none.

    A Refusal is no reason against the failover, which then waits for the session of the lost primary.
    """
    lost, survivor = plan.site, plan.survivor
    if keys.leader is None or situation.places.get(keys.leader) != lost:
        return None
    reasons = [
        *_why_reached(keys.leader, situation),
        *_why_session(keys),
        *_why_mode(keys),
        *_why_sync(keys, situation, survivor),
    ]
    standbys = [name for name in keys.synchronous if situation.places.get(name) == survivor]
    fit = {name: _why_unfit(name, keys, situation) for name in standbys}
    able = [name for name in standbys if not fit[name]]
    if standbys and not able:
        reasons += [reason for name in standbys for reason in fit[name]]
    return Refusal(tuple(reasons)) if reasons else Release(keys.leader, able[0])


def why_not_released(plan: Plan, situation: Situation, keys: LeaderKeys) -> tuple[str, ...]:
    """Why the key of ``keys`` must not be released any more, by a later look than it was decided over; the
    transaction itself finds out whether ``keys`` are as they were."""
    for decided in (decide_failover(plan.site, situation), decide_release(plan, situation, keys)):
        if isinstance(decided, Refusal):
            return decided.reasons
    return ()


def why_not_taken(release: Release, keys: LeaderKeys) -> tuple[str, ...]:
    """Why the standby has not become leader, by its key; empty once it has."""
    if keys.leader != release.standby:
        return (f"the leader key is held by {keys.leader or 'nobody'}",)
    if keys.synchronous_to != release.standby:
        return (f"{release.standby} has the key and has not written /sync yet",)
    return ()


def _why_reached(leader: str, situation: Situation) -> list[str]:
    """The primary's own word: one that answers can be asked to hand over."""
    own = next((each for each in situation.status.database.members if each.name == leader), None)
    if own is None:
        return [f"{leader}, which holds the leader key, is not configured"]
    return [] if own.reason else [f"{leader} answers: it is moved by a switchover"]


def _why_session(keys: LeaderKeys) -> list[str]:
    """The member's key tells this leader key from the next one: both end with one session."""
    if keys.leader in keys.members and keys.member_session == keys.session:
        return []
    return [f"{keys.leader} has not kept its own key in the session of the leader key: it begins or ends"]


def _why_mode(keys: LeaderKeys) -> list[str]:
    reasons = []
    if not keys.synchronous_mode:
        reasons.append("Patroni's synchronous mode is off: the standby may lack acknowledged writes")
    if keys.failsafe_mode:
        reasons.append("Patroni's failsafe mode is on: a primary may go on without the key")
    if keys.paused:
        reasons.append("Patroni is paused: it promotes nobody")
    if keys.switching:
        reasons.append("Patroni was asked for a move that has not ended")
    return reasons


def _why_sync(keys: LeaderKeys, situation: Situation, survivor: str) -> list[str]:
    if keys.sync_version is None or not keys.synchronous:
        return ["the database is SINGLE-COPY: no synchronous standby is named"]
    reasons = []
    if keys.synchronous_to != keys.leader:
        reasons.append(f"/sync tells of {keys.synchronous_to or 'nobody'}, and {keys.leader} leads")
    if not [name for name in keys.synchronous if situation.places.get(name) == survivor]:
        reasons.append(f"the synchronous standby is {', '.join(keys.synchronous)}, not at {survivor}")
    if keys.sync_version == 0:
        reasons.append("/sync is at version 0, which Patroni writes without a condition: deploy postgresql")
    return reasons


def _why_unfit(name: str, keys: LeaderKeys, situation: Situation) -> list[str]:
    """Why this standby would not take the key."""
    own = next((each for each in situation.status.database.members if each.name == name), None)
    reasons = []
    if name not in keys.members:
        reasons.append(f"{name} is not in touch with the quorum")
    if name in keys.refusing:
        reasons.append(f"{name} is tagged never to be promoted")
    if own is None or own.reason:
        reasons.append(f"{name} does not answer")
    elif own.state != "running":
        reasons.append(f"{name} is {own.state}")
    return reasons
