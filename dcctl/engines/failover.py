"""Failover, carried out: release the key, quarantine, fence, and prove that the survivor carries it all.

Every step looks before it acts and after: a run that was broken off anywhere is gone through again from the
beginning, and what holds already is not done twice. dcctl promotes nobody. What it changes is Patroni's
leader key, where that is safe (``engines.release``), the state of the lost site and, where that site's cloud
answers, the power of its machines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dcctl.domain.failover import (
    FENCE,
    FORGET_LIMIT_S,
    QUARANTINE,
    decide_database_fenced,
    decide_edges_lead,
    decide_failover,
    decide_forgotten,
    decide_promoted,
    why_not_given_up,
    why_not_switched_off,
)
from dcctl.domain.failover_returned import decide_returned, is_back
from dcctl.domain.plan import Moved, Plan
from dcctl.domain.refusal import Refusal
from dcctl.domain.release import Release
from dcctl.domain.rules import Rule
from dcctl.domain.situation import Situation
from dcctl.domain.step import Step, Work
from dcctl.domain.traffic import Rotation
from dcctl.engines.look import Looks
from dcctl.engines.release import Found, observe_release, release
from dcctl.engines.situation import (
    LOOK_LIMIT_S,
    Means,
    change_state,
    look_once,
    note_overrides,
    observe_situation,
    planned_by,
    until_none,
    why_roles_elsewhere,
    write_through,
)
from dcctl.errors import CredentialsRefused, DcctlError, Overtaken, Rejected, Unreachable


@dataclass(frozen=True, slots=True)
class _Decided:
    """``found`` is what there was of the leader key. ``back``: the site is, and the plan is what is left."""

    plan: Plan
    found: Found | None = None
    back: bool = False


def failover(lost: str, means: Means) -> Work[Moved]:
    """Give up ``lost``. Raises Refused with every reason, before anything is changed.

    Where a person overrides a rule about evidence, the key is not released early: what the quorum forgets by
    itself is then part of it. A site that comes back before it is given up, or is back when the run is
    resumed, is not waited for: this raises Overtaken, or proves the rest (``domain.failover_returned``).
    """
    looks = Looks(lambda: observe_situation(means, losing=lost), means.now)
    decided = yield from _planned(lost, means, looks)
    _note_decided(decided, means)
    if (found := decided.found) is not None:
        released = yield from release(decided.plan, found, means, looks)
        if not released and _allowed(found):
            decided = yield from _planned(lost, means, looks, release=False)
            if decided.back:
                _note_decided(decided, means)
    plan, survivor = decided.plan, decided.plan.survivor
    if decided.back:
        fences: tuple[str, ...] = (f"{lost} is back, and {plan.primary} at {survivor} has the leader key",)
    else:
        fences = yield from _given_up(plan, means, looks)
    written: Mapping[str, str] = {}
    if means.system.database.members:
        yield until_none(
            plan.step("primary at the survivor"), lambda: decide_promoted(survivor, _look(means))
        )
        yield until_none(plan.step("edges lead to it"), lambda: decide_edges_lead(survivor, _look(means)))
        edges = [edge for edge in means.system.edges.edges if means.places[edge] == survivor]
        written = yield write_through(means, plan.step("a write is acknowledged"), edges)
        means.note("failover.writes", site=survivor, written_by=written)
    yield until_none(plan.step("singletons"), lambda: _why_not_held(lost, means))
    yield until_none(plan.step("verification"), lambda: means.verify(survivor))
    return (yield from _ended(plan, means, fences, written))


def _note_decided(decided: _Decided, means: Means) -> None:
    plan = decided.plan
    note_overrides(plan, means)
    means.note(
        "failover.returned" if decided.back else "failover.decided",
        site=plan.site,
        survivor=plan.survivor,
        primary=plan.primary,
        roles=plan.roles,
        steps=plan.journalled(),
    )


def _given_up(plan: Plan, means: Means, looks: Looks[Situation]) -> Work[tuple[str, ...]]:
    """Out of rotation, and fenced; what proves the fences."""
    yield change_state(
        means,
        plan.step(QUARANTINE),
        Rotation.QUARANTINED,
        f"failover to {plan.survivor}",
        from_any_of=tuple(Rotation),
        needs=looks.needs(lambda situation: why_not_given_up(plan.site, situation)),
    )
    return (yield from _fence(plan, means, looks))


def _planned(lost: str, means: Means, looks: Looks[Situation], *, release: bool = True) -> Work[_Decided]:
    """The plan once nothing stands against it.

    Unless the key may be released, the quorum must have forgotten the lost primary first: nothing is moved
    before that. A site that is back when a run is resumed, or while this is waited for, ends the wait.
    """
    seen: list[_Decided] = []

    def decide() -> tuple[Plan | Refusal, Sequence[str]]:
        situation = looks.look()
        waited = means.resumed or bool(seen)
        if waited and (rest := _rest(lost, situation, means)) is not None:
            seen[:] = [_Decided(rest, back=True)]
            return rest, ()
        decided = decide_failover(lost, situation)
        if isinstance(decided, Refusal):
            return decided, ()
        found = observe_release(decided, situation, means) if release else None
        seen[:] = [_Decided(decided, found)]
        return decided, () if _allowed(found) else decide_forgotten(lost, situation)

    yield from planned_by(means, "the failover", lost, FORGET_LIMIT_S, decide)
    return seen[0]


def _rest(lost: str, situation: Situation, means: Means) -> Plan | None:
    """What is left to prove of a run whose site is back. Raises Overtaken where that is nothing."""
    returned = decide_returned(lost, situation, passed=means.past_no_return)
    if isinstance(returned, Refusal):
        quarantined = situation.state_of(lost).state is Rotation.QUARANTINED
        next_command = f"{means.dcctl} admit {lost}" if quarantined else f"{means.dcctl} status"
        raise Overtaken("the failover", on=lost, reasons=returned.reasons, next_command=next_command)
    return returned


def _allowed(found: Found | None) -> bool:
    return found is not None and isinstance(found.decided, Release)


def _look(means: Means) -> Situation:
    return observe_situation(means)


def _fence(plan: Plan, means: Means, looks: Looks[Situation]) -> Work[tuple[str, ...]]:
    """Prove that nobody at the lost site can act: by power where its cloud answers, by the store always.

    A machine whose power is not proven off is fenced by the store alone: its database cannot acknowledge,
    and the work of its singletons is over by their leases, which their successors have waited for.
    """
    step, lost = plan.step(FENCE), plan.site
    powers: Mapping[str, Sequence[str]] | str = yield Step(
        "power off what its cloud reaches",
        lost,
        step.limit_s,
        lambda: _power_off(lost, means),
        of=step.name,
        needs=looks.needs(lambda situation: why_not_switched_off(lost, situation)),
    )
    fences = list(_powered_off(powers))
    means.note("failover.power", site=lost, saw=fences[0])
    if means.system.database.members:
        if stated := [each for each in means.overrides if each.rule is Rule.FENCE]:
            # A person's word stands for the fence. Patroni alone promotes, and only by its own rules.
            fences.append(f"{stated[0].by} states that nobody at {lost} can act: {stated[0].reason}")
        else:
            yield until_none(step, lambda: decide_database_fenced(lost, _look(means)))
            fences.append(
                f"by the quorum's keys no database at {lost} leads, nor does a standby confirm to one:"
                " none there can acknowledge a write"
            )
        means.note("failover.fenced", site=lost, saw=fences[-1])
    return tuple(fences)


def _power_off(lost: str, means: Means) -> Mapping[str, Sequence[str]] | str:
    try:
        return means.power_off(lost)
    except DcctlError as error:  # whatever it is: that is no fence, and the stores must do
        saw = error.saw or error.sentence()
        silent = isinstance(error, Unreachable) and not isinstance(error, (CredentialsRefused, Rejected))
        return f"its cloud does not answer ({saw})" if silent else saw


def _powered_off(powers: Mapping[str, Sequence[str]] | str) -> tuple[str, ...]:
    """What the power-off came to, in sentences; not proven is no failure, and is no fence either."""
    if isinstance(powers, str):
        return (f"no machine was powered off: {powers}",)
    off = [name for name, reasons in powers.items() if not reasons]
    unproven = [f"{name} ({'; '.join(reasons)})" for name, reasons in powers.items() if reasons]
    told = f"powered off and read back: {', '.join(off) or 'none'}"
    return (f"{told}; not proven: {', '.join(unproven)}" if unproven else told,)


def _why_not_held(lost: str, means: Means) -> list[str]:
    """Roles whose work is not written to be over must be in force anywhere but at the ``lost`` site.

    Where that is back, it may have taken up what was free: under the epoch in force, as anybody may.
    """
    states = means.leases.observe_roles(limit_s=LOOK_LIMIT_S)
    open_ones = [each for each in states if each.lease is not None and not each.lease.released]
    reasons = why_roles_elsewhere(means, open_ones, not_at=lost)
    return why_roles_elsewhere(means, open_ones) if reasons and is_back(lost, _look(means)) else reasons


def _ended(plan: Plan, means: Means, fences: tuple[str, ...], written: Mapping[str, str]) -> Work[Moved]:
    limit_s = plan.step("verification").limit_s
    situation: Situation = yield look_once(
        "look at what there is now", plan.survivor, limit_s, lambda: _look(means)
    )
    database = situation.status.database
    single = bool(database.members) and not database.synchronous
    if single:
        means.note("failover.single_copy", primary=database.primary, site=plan.survivor)
    means.note("move.ended", what=plan.what, site=plan.site, survivor=plan.survivor)
    roles = {each.role: each.term.holder for each in situation.roles.value or () if each.term is not None}
    return Moved(plan, database.primary, single, fences, written, roles)
