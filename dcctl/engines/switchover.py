"""Switchover and failback, carried out: Patroni moves the primary, the second copy is back, roles follow.

A source that dies in the middle is no switchover any more: the same run goes on as its failover, by the same
evidence as any failover, and begins from whatever it finds. Nothing needs to be undone first.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from dcctl.domain.failover import decide_edges_lead, decide_promoted, why_not_lost
from dcctl.domain.failover_returned import is_back
from dcctl.domain.plan import Moved, Plan
from dcctl.domain.refusal import Refusal
from dcctl.domain.situation import Situation
from dcctl.domain.step import Step, Wait, Work
from dcctl.domain.switchover import (
    decide_copied,
    decide_failback,
    decide_switchover,
    why_not_handed_over,
    why_not_moved,
)
from dcctl.domain.traffic import Rotation
from dcctl.engines.failover import failover
from dcctl.engines.look import Looks
from dcctl.engines.situation import (
    LOOK_EVERY_S,
    LOOK_LIMIT_S,
    Means,
    look_once,
    note_overrides,
    observe_situation,
    planned_by,
    until_none,
    why_roles_elsewhere,
    write_through,
)
from dcctl.errors import DcctlError, Interrupted, Refused, Rejected, TimedOut, Unreachable

DECIDE_LIMIT_S = 30.0
EVIDENCE_LIMIT_S = 90.0
"""For enough vantages to see that a source that fell silent is lost."""
HOLD_S = 10.0
"""A client waits as long at most. Longer than a move takes; shorter than what clients put up with."""
HOLD_ASK_LIMIT_S = 5.0
READY_LIMIT_S = 5.0
LET_GO_LIMIT_S = 2.0
"""Where the source has died nothing waits for its edges; what was not told lets go by itself."""
RESIGN_TRIES = 5
RESIGN_LIMIT_S = 30.0
"""For the holder to end its work (its grace), and for another to begin."""


def switchover(to: str, means: Means) -> Work[Moved]:
    """Move the primary and the singletons to ``to``. Raises Refused with every reason, changing nothing."""
    return (yield from _planned_move("switchover", to, means, decide_switchover))


def failback(to: str, means: Means) -> Work[Moved]:
    """The same, home to a site that was given up and is admitted again."""
    return (yield from _planned_move("failback", to, means, decide_failback))


def _planned_move(
    what: str, to: str, means: Means, decide_move: Callable[[str, Situation], Plan | Refusal]
) -> Work[Moved]:
    source = next(site for site in means.sites if site != to)
    lost: list[str] = []
    back: list[str] = []
    looks = Looks(lambda: observe_situation(means, losing=source, pools=True), means.now)

    def decide() -> tuple[Plan | Refusal, Sequence[str]]:
        situation = looks.look()
        # Until something has moved, a source that died is a failover of its own.
        if means.past_no_return and not why_not_lost(source, situation):
            lost.append(f"{source} is lost")
            raise DcctlError(lost[0])
        if _was_given_up(source, situation, means):
            back.append(f"{source} was given up, and is back")
            raise DcctlError(back[0])
        return decide_move(to, situation), ()

    try:
        plan = yield from planned_by(means, f"the {what}", to, DECIDE_LIMIT_S, decide)
    except DcctlError:
        if back:
            return (yield from failover(source, means))
        if not lost:
            raise
        return (yield from _escalated(source, lost[0], means))
    note_overrides(plan, means)
    means.note(
        "switchover.decided",
        site=to,
        primary=plan.primary,
        candidate=plan.candidate,
        roles=plan.roles,
        steps=plan.journalled(),
    )
    try:
        moved = yield from _move(plan, source, means, looks)
    except Interrupted:
        raise
    except DcctlError as error:
        if isinstance(error, Refused) and not means.past_no_return:
            raise  # nothing was begun: a source that died is a failover of its own
        alive = yield Step(
            "look whether the source still answers",
            source,
            LOOK_LIMIT_S,
            lambda: _answers(source, means),
            undo=True,
        )
        if not alive:
            return (yield from _escalated(source, error.sentence(), means))
        error.next_command = error.next_command or f"{means.dcctl} run resume {means.run}"
        raise
    means.note("move.ended", what=what, site=to, survivor=to)
    return moved


def _was_given_up(source: str, situation: Situation, means: Means) -> bool:
    """Whether this run became the failover of a source that is back now: the rest of that is what is left."""
    events = means.journal.events() if means.resumed and means.journal is not None else ()
    escalated = any(event.type == "switchover.escalated" for event in events)
    quarantined = situation.state_of(source).state is Rotation.QUARANTINED
    return escalated and quarantined and is_back(source, situation)


def _escalated(source: str, saw: str, means: Means) -> Work[Moved]:
    """Go on as the failover of ``source``, once the evidence for it suffices; it may take a while to."""
    means.note("switchover.escalated", source=source, saw=saw)
    if (pools := means.pools) is not None:
        yield Step(
            "let the clients of the pools go on",
            source,
            LET_GO_LIMIT_S,
            lambda: pools.let_go(limit_s=LET_GO_LIMIT_S),
            undo=True,
        )
    patience_s = max(means.patience_s, EVIDENCE_LIMIT_S)
    try:
        return (yield from failover(source, replace(means, patience_s=patience_s)))
    except Refused as error:
        # The switchover has begun: what is refused now is how it goes on.
        raise Unreachable(
            "go on as a failover",
            on=source,
            saw="; ".join(error.reasons),
            next_command=f"{means.dcctl} failover plan --lost {source}",
        ) from error


def _move(plan: Plan, source: str, means: Means, looks: Looks[Situation]) -> Work[Moved]:
    to, written = plan.survivor, {}
    moved = Looks(lambda: _look(means), means.now)
    if means.system.database.members:
        step = plan.step("move the primary")
        yield Step(
            f"{step.name}: {step.proof}",
            source,
            step.limit_s,
            lambda: _switch(plan, step.limit_s, means),
            of=step.name,
            no_return=True,
            needs=looks.needs(lambda situation: why_not_moved(plan, situation)),
        )
        yield until_none(
            plan.step("primary at the target"), lambda: decide_promoted(to, _look(means, losing=source))
        )
        yield until_none(plan.step("second copy"), lambda: decide_copied(to, _look(means, losing=source)))
        yield until_none(plan.step("edges lead to it"), lambda: _why_astray(moved.look()))
    for role in plan.roles:
        needs = moved.needs(lambda situation: why_not_handed_over(to, situation), lasting=True)
        yield from _hand_over(role, to, means, needs)
    if means.system.database.members:
        written = yield write_through(means, plan.step("verification"), means.system.edges.edges)
    limit_s = plan.step("verification").limit_s
    situation: Situation = yield look_once("look at what there is now", to, limit_s, lambda: _look(means))
    database = situation.status.database
    roles = {each.role: each.term.holder for each in situation.roles.value or () if each.term is not None}
    single = bool(database.members) and not database.synchronous
    return Moved(plan, database.primary, single, (), written, roles)


def _look(means: Means, *, losing: str | None = None) -> Situation:
    """One look; it raises where the site that is being left is lost for certain: nothing can go on then."""
    situation = observe_situation(means)
    if losing is not None and not why_not_lost(losing, situation):
        raise DcctlError(f"{losing} is lost")
    return situation


def _answers(site: str, means: Means) -> bool:
    try:
        return bool(_look(means).answers_of(site))
    except DcctlError:
        return False


def _switch(plan: Plan, limit_s: float, means: Means) -> str:
    """Ask Patroni, unless the primary is there. An answer that did not come is for the next look to tell."""
    situation = _look(means)
    if not decide_promoted(plan.survivor, situation):
        return "the primary is there already"
    leader = situation.cluster.value.leader if situation.cluster.value else None
    if leader is None or leader != plan.primary or plan.candidate is None:
        raise Rejected(
            "move the primary", on=plan.survivor, saw=f"{leader or 'nobody'} leads now, not {plan.primary}"
        )
    # Before anybody waits; where it cannot be, moving takes longer.
    for member in (leader, plan.candidate):
        if why := means.switch.make_ready(member, limit_s=READY_LIMIT_S):
            means.note("switchover.not_ready", member=member, saw=why)
    limit_s -= 2 * READY_LIMIT_S + HOLD_ASK_LIMIT_S
    try:
        with _held(leader, plan.candidate, means):
            return means.switch.switch_over(leader, plan.candidate, limit_s=limit_s)
    except TimedOut as error:
        return error.sentence()


@contextmanager
def _held(leader: str, candidate: str, means: Means) -> Iterator[None]:
    """Clients of the pools wait between two transactions meanwhile; the pools let go by themselves.

    A pool that cannot be held is no reason not to move: its clients see what those without a pool see.
    """
    if means.pools is None:
        yield
        return
    saw = means.pools.hold(leader, candidate, for_s=HOLD_S, limit_s=HOLD_ASK_LIMIT_S)
    try:
        yield
    except BaseException:
        means.pools.let_go(limit_s=HOLD_ASK_LIMIT_S)
        raise
    clients = {edge: why or "held" for edge, why in saw.items()}
    means.note("switchover.held", clients=clients, saw="; ".join(f"{e}: {why}" for e, why in clients.items()))


def _why_astray(situation: Situation) -> list[str]:
    return [reason for site in situation.sites for reason in decide_edges_lead(site, situation)]


def _hand_over(
    role: str, to: str, means: Means, needs: Callable[[], Sequence[str]]
) -> Generator[Any, Any, None]:
    """Ask whoever leads elsewhere to resign until it is led at ``to``: the wrong side may be faster."""
    for _attempt in range(RESIGN_TRIES):
        asked = yield Step(
            f"ask for {role} to be handed over",
            to,
            LOOK_LIMIT_S * 2,
            lambda: _ask_to_resign(role, to, means),
            of="singletons",
            no_return=True,
            needs=needs,
        )
        there = yield _led_anew(role, to, asked, means)
        if there:
            return
    raise TimedOut(
        f"move {role} to {to}",
        saw=f"it was taken up elsewhere {RESIGN_TRIES} times: does {to} contend for it?",
    )


def _ask_to_resign(role: str, to: str, means: Means) -> int | None:
    """The epoch whose holder was asked; None where it is led at ``to``, or by nobody."""
    state = means.leases.observe_role(role, limit_s=LOOK_LIMIT_S)
    if state.term is None or means.places.get(state.term.host) == to:
        return None
    means.leases.ask_to_resign(role, state.term.epoch, means.who, limit_s=LOOK_LIMIT_S)
    return state.term.epoch.number


def _led_anew(role: str, to: str, asked: int | None, means: Means) -> Wait:
    """True once ``role`` is in force at ``to``; False when another elsewhere leads it under a new epoch."""
    said = [f"nobody leads {role}"]

    def until() -> bool | None:
        try:
            state = means.leases.observe_role(role, limit_s=LOOK_LIMIT_S)
            said[:] = why_roles_elsewhere(means, [state], at=to)
        except Unreachable as error:
            said[:] = [error.sentence()]
            return None
        if not said:
            return True
        elsewhere = state.term is not None and means.places.get(state.term.host) != to
        return False if elsewhere and state.term and state.term.epoch.number != asked else None

    return Wait(
        f"{role} is led at {to}",
        to,
        RESIGN_LIMIT_S,
        LOOK_EVERY_S,
        until,
        lambda: "; ".join(said),
        of="singletons",
        instead=True,
    )
