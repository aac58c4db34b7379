"""Failover, carried out: release the key, quarantine, fence, and prove that the survivor carries it all.

Every step looks before it acts and after: a run that was broken off anywhere is gone through again from the
beginning, and what holds already is not done twice. dcctl promotes nobody. What it changes is Patroni's
leader key, where that is safe (``engines.release``), the state of the lost site and, where that site's cloud
answers, the power of its machines.
"""

from collections.abc import Mapping, Sequence

from dcctl.domain.failover import (
    FORGET_LIMIT_S,
    decide_database_fenced,
    decide_edges_lead,
    decide_failover,
    decide_forgotten,
    decide_promoted,
)
from dcctl.domain.plan import Moved, Plan
from dcctl.domain.refusal import Refusal
from dcctl.domain.release import Release
from dcctl.domain.rules import Rule
from dcctl.domain.situation import Situation
from dcctl.domain.step import Step, Work
from dcctl.domain.traffic import Rotation
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
from dcctl.errors import Unreachable


def failover(lost: str, means: Means) -> Work[Moved]:
    """Give up ``lost``. Raises Refused with every reason, before anything is changed.

    Where a person overrides a rule, the key is not released early: what the quorum forgets by itself is then
    part of the evidence.
    """
    plan, found = yield from _planned(lost, means, release=not means.overrides)
    survivor = plan.survivor
    note_overrides(plan, means)
    means.note(
        "failover.decided",
        site=lost,
        survivor=survivor,
        primary=plan.primary,
        roles=plan.roles,
        steps=plan.journalled(),
    )
    if found is not None and not (yield from release(plan, found, means)) and _allowed(found):
        plan, _found = yield from _planned(lost, means, release=False)
    yield change_state(
        means,
        plan.step("quarantine"),
        Rotation.QUARANTINED,
        f"failover to {survivor}",
        from_any_of=tuple(Rotation),
    )
    fences = yield from _fence(plan, means)
    if means.system.database.members:
        yield until_none(
            plan.step("primary at the survivor"), lambda: decide_promoted(survivor, _look(means))
        )
        yield until_none(plan.step("edges lead to it"), lambda: decide_edges_lead(survivor, _look(means)))
        edges = [edge for edge in means.system.edges.edges if means.places[edge] == survivor]
        written = yield write_through(means, plan.step("a write is acknowledged"), edges)
        means.note("failover.writes", site=survivor, written_by=written)
    else:
        written = {}
    yield until_none(plan.step("singletons"), lambda: _why_not_held(lost, means))
    yield until_none(plan.step("verification"), lambda: means.verify(survivor))
    return (yield from _ended(plan, means, fences, written))


def _planned(lost: str, means: Means, *, release: bool = True) -> Work[tuple[Plan, Found | None]]:
    """The plan once nothing stands against it, and what was found of the leader key.

    Unless the key may be released, the quorum must have forgotten the lost primary first: nothing is moved
    before that.
    """
    seen: list[Found | None] = []

    def decide() -> tuple[Plan | Refusal, Sequence[str]]:
        situation = observe_situation(means, losing=lost)
        decided = decide_failover(lost, situation)
        if isinstance(decided, Refusal):
            return decided, ()
        seen[:] = [observe_release(decided, situation, means) if release else None]
        return decided, () if _allowed(seen[0]) else decide_forgotten(lost, situation)

    plan = yield from planned_by(means, "the failover", lost, FORGET_LIMIT_S, decide)
    return plan, seen[0]


def _allowed(found: Found | None) -> bool:
    return found is not None and isinstance(found.decided, Release)


def _look(means: Means) -> Situation:
    return observe_situation(means)


def _fence(plan: Plan, means: Means) -> Work[tuple[str, ...]]:
    """Prove that nobody at the lost site can act: by power where its cloud answers, by the store always.

    A machine whose power is not proven off is fenced by the store alone: its database cannot acknowledge,
    and the work of its singletons is over by their leases, which their successors have waited for.
    """
    step, lost = plan.step("fence"), plan.site
    powers: Mapping[str, Sequence[str]] | str = yield Step(
        "power off what its cloud reaches",
        lost,
        step.limit_s,
        lambda: _power_off(lost, means),
        of=step.name,
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
                f"by the quorum's keys no database at {lost} leads or is named synchronous:"
                " none there can acknowledge a write"
            )
        means.note("failover.fenced", site=lost, saw=fences[-1])
    return tuple(fences)


def _power_off(lost: str, means: Means) -> Mapping[str, Sequence[str]] | str:
    try:
        return means.power_off(lost)
    except Unreachable as error:
        return error.saw or error.sentence()


def _powered_off(powers: Mapping[str, Sequence[str]] | str) -> tuple[str, ...]:
    """What the power-off came to, in sentences; not proven is no failure, and is no fence either."""
    if isinstance(powers, str):
        return (f"no machine was powered off: its cloud does not answer ({powers})",)
    off = [name for name, reasons in powers.items() if not reasons]
    unproven = [f"{name} ({'; '.join(reasons)})" for name, reasons in powers.items() if reasons]
    told = f"powered off and read back: {', '.join(off) or 'none'}"
    return (f"{told}; not proven: {', '.join(unproven)}" if unproven else told,)


def _why_not_held(lost: str, means: Means) -> list[str]:
    """Roles whose work is not written to be over must be in force anywhere but at the lost site."""
    states = means.leases.observe_roles(limit_s=LOOK_LIMIT_S)
    open_ones = [each for each in states if each.lease is not None and not each.lease.released]
    return why_roles_elsewhere(means, open_ones, not_at=lost)


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
