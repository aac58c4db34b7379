"""Releasing Patroni's leader key, carried out: only where ``decide_release`` says so, and proven after."""

from dataclasses import dataclass, replace

from dcctl.domain.failover import RELEASE
from dcctl.domain.plan import Plan
from dcctl.domain.refusal import Refusal
from dcctl.domain.release import (
    PROMOTED_WITHIN_S,
    LeaderKeys,
    Release,
    decide_release,
    why_not_released,
    why_not_taken,
)
from dcctl.domain.situation import Situation
from dcctl.domain.step import Step, Wait, Work
from dcctl.engines.look import Looks
from dcctl.engines.situation import LOOK_LIMIT_S, Means
from dcctl.errors import Refused, Unreachable

LOOK_EVERY_S = 0.2
RELEASE_LIMIT_S = 3.0
"""For both transactions. What was not answered by then may still happen, and only as it was decided."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was decided over which keys; ``decided`` None: there is no key to release."""

    keys: LeaderKeys
    decided: Release | Refusal | None


def observe_release(plan: Plan, situation: Situation, means: Means) -> Found | None:
    """Whether the key may be released; None where this is no part of ``plan``."""
    if means.leader_key is None or not plan.has(RELEASE):
        return None
    keys = means.leader_key.observe_keys(limit_s=LOOK_LIMIT_S)
    return Found(keys, decide_release(plan, situation, keys))


def preview_release(plan: Plan, situation: Situation, means: Means) -> Plan:
    """``plan`` as a person is shown it: where the key would be kept as things are now, its step says why."""
    try:
        found = observe_release(plan, situation, means)
    except Unreachable:
        return plan
    if found is None or not isinstance(found.decided, Refusal):
        return plan
    told = f"kept as things are now, the next step waits: {'; '.join(found.decided.reasons)}"
    steps = (replace(each, proof=told) if each.name == RELEASE else each for each in plan.steps)
    return replace(plan, steps=tuple(steps))


def release(plan: Plan, found: Found, means: Means, looks: Looks[Situation]) -> Work[bool]:
    """Release the key; whether the standby has it. False: nothing was moved, and the session is waited for.

    Raises LeadershipLost where another run, or another controller, has the right to act now.
    """
    decided = found.decided
    if isinstance(decided, Refusal):
        means.note("failover.key_kept", site=plan.site, saw="; ".join(decided.reasons))
    if not isinstance(decided, Release):
        return False
    try:
        saw = yield Step(
            f"release the leader key of {decided.leader}",
            plan.site,
            RELEASE_LIMIT_S * 2,
            lambda: _release(found.keys, means),
            of=RELEASE,
            no_return=True,
            needs=looks.needs(lambda situation: why_not_released(plan, situation, found.keys)),
        )
    except Refused as error:  # what it needs does not hold any more: all is decided anew
        means.note("failover.key_kept", site=plan.site, saw="; ".join(error.reasons))
        return False
    taken = yield _taken(plan, decided, means)
    means.note("failover.key_released", site=plan.site, leader=decided.leader, saw=taken or saw)
    return not taken


def _release(keys: LeaderKeys, means: Means) -> str:
    assert means.leader_key is not None  # noqa: S101
    try:
        means.leader_key.release(keys, term=means.term, limit_s=RELEASE_LIMIT_S)
    except Refused as error:
        return "; ".join(error.reasons)
    except Unreachable as error:  # it may have happened: the keys will tell
        return error.sentence()
    return "released"


def _taken(plan: Plan, decided: Release, means: Means) -> Wait:
    """Until the standby has the key and has written ``/sync``, or ``PROMOTED_WITHIN_S`` are over."""
    looks = int(PROMOTED_WITHIN_S / LOOK_EVERY_S)
    said: list[str] = []
    left = iter(range(looks))

    def until() -> str | None:
        assert means.leader_key is not None  # noqa: S101
        try:
            said[:] = why_not_taken(decided, means.leader_key.observe_keys(limit_s=LOOK_LIMIT_S))
        except Unreachable as error:
            said[:] = [error.sentence()]
        if not said:
            return ""
        return None if next(left, None) is not None else "; ".join(said)

    return Wait(
        f"{decided.standby} becomes leader",
        plan.survivor,
        PROMOTED_WITHIN_S * 4,
        LOOK_EVERY_S,
        until,
        lambda: "; ".join(said),
        of=RELEASE,
    )
