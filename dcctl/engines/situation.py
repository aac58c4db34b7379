"""Looking at everything that a move is decided from, and the waits that all moves share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dcctl.domain.budget import Past
from dcctl.domain.capacity import Capacity
from dcctl.domain.leadership import Epoch, RoleState, Term
from dcctl.domain.observation import Seen
from dcctl.domain.plan import Plan, Planned
from dcctl.domain.refusal import Refusal
from dcctl.domain.rules import Override, SafetyRules, noted
from dcctl.domain.run import ActiveRun, no_return_of
from dcctl.domain.situation import (
    Documents,
    Situation,
    why_not_held,
)
from dcctl.domain.status import decide_status
from dcctl.domain.step import Step, Wait, Work
from dcctl.domain.traffic import Rotation, SiteState
from dcctl.domain.verdict import OPERATOR, decide_vantage
from dcctl.engines.status import Ask, System, observe
from dcctl.errors import DcctlError, NotFound, Refused, TimedOut, Unreachable
from dcctl.ports import (
    EpochMirror,
    Journal,
    LeaderKey,
    Leases,
    Pools,
    Runs,
    Sites,
    Switch,
    Vantages,
    WriteProof,
)

LOOK_EVERY_S = 1.0
LOOK_LIMIT_S = 5.0
"""For what is asked of the ensemble and the database in one look."""


@dataclass(frozen=True, slots=True)
class Means:
    """What moves something. ``now`` gives the instant at which a look was taken: looks carry their time.

    ``power_off`` switches every machine of a site off through its cloud and says for each why that is not
    proven (empty: it is); it ends within its own limit. ``documents`` compares both sites, or for a site
    that is lost tells what the replicator knew last. ``verify`` says what clients at a site cannot do.
    ``who`` is the person. ``dcctl`` is how the next command begins.
    """

    environment: str
    sites: tuple[str, ...]
    witness: bool
    system: System
    ask: Ask
    now: Callable[[], datetime]
    states: Sites
    vantages: Vantages
    runs: Runs
    leases: Leases
    epochs: EpochMirror
    capacity: Callable[[str], Capacity]
    documents: Callable[[str | None], Documents] | None
    power_off: Callable[[str], dict[str, tuple[str, ...]]]
    switch: Switch
    write: WriteProof
    verify: Callable[[str], tuple[str, ...]]
    who: str
    dcctl: str = "dcctl"
    journal: Journal | None = None
    """Of the run; None while only a plan is looked at."""
    patience_s: float = 0.0
    """How long reasons against the move are waited for to pass; 0: the first look decides."""
    place: str = OPERATOR
    """From where it looks: the operator's machine, or an agent's place."""
    term: Term | None = None
    """The term of the role ``controller`` under which it acts; None is a person."""
    rules: SafetyRules = field(default_factory=SafetyRules)
    overrides: tuple[Override, ...] = ()
    """The rules that a person overrides for this one run."""
    pools: Pools | None = None
    """None where clients have no pool that can be held."""
    leader_key: LeaderKey | None = None
    """None where a lost primary's session is waited for."""
    past: Mapping[str, Past] = field(default_factory=dict)
    """By kind of run what the last ones took, as far as it was read before."""

    @property
    def places(self) -> dict[str, str]:
        return {host.name: host.place for host in self.system.hosts}

    @property
    def run(self) -> str:
        return self.journal.run if self.journal is not None else ""

    @property
    def resumed(self) -> bool:
        """Whether the run was begun before."""
        events = self.journal.events() if self.journal is not None else ()
        return any(event.type == "run.resumed" for event in events)

    @property
    def past_no_return(self) -> bool:
        """Whether a step of the run was begun from which there is no way back."""
        return self.journal is not None and no_return_of(self.journal.events()) is not None

    def note(self, type: str, **fields: Any) -> None:
        if self.journal is not None:
            self.journal.append(type, fields)


def observe_situation(
    means: Means,
    *,
    losing: str | None = None,
    epochs: bool = False,
    compare: bool = False,
    pools: bool = False,
) -> Situation:
    """One look. ``losing``: also whether the other site carries everything without that one. ``epochs``:
    also those in force in the database, which takes its time where there is no primary. ``compare``: also
    the documents of both sites, which takes its time where one is dark. ``pools``: also whether clients of
    the edges can be held.

    What does not answer is in the answer, with the reason. Raises what is no silence.
    """
    asked: dict[str, Callable[[], Any]] = {
        "states": means.states.observe_sites,
        # Their age is of the moment at which they were read, however long the rest of the look takes.
        "vantages": lambda: (means.vantages.observe_vantages(), means.now()),
        "roles": lambda: means.leases.observe_roles(limit_s=LOOK_LIMIT_S),
        "run": lambda: means.runs.observe_active(limit_s=LOOK_LIMIT_S),
        "last": lambda: means.runs.observe_last_move(limit_s=LOOK_LIMIT_S),
        "view": lambda: observe(means.system, means.ask),
    }
    # What may take long comes first, and what is judged by its age last.
    answers = {**means.ask(_slow(means, losing, compare=compare, pools=pools)), **means.ask(asked)}
    if isinstance(answers["view"], DcctlError):
        raise answers["view"]
    status = decide_status(means.environment, means.system.hosts, answers["view"])
    roles = _seen(answers["roles"])
    read: Seen[Any] = _seen(answers["vantages"])
    vantages, read_at = read.value if read.value is not None else (None, means.now())
    return Situation(
        environment=means.environment,
        at=read_at,
        sites=means.sites,
        places=means.places,
        witness=means.witness,
        status=status,
        cluster=answers["view"].cluster,
        states=_seen(answers["states"]),
        vantages=Seen(
            tuple(decide_vantage(each, means.sites, read_at) for each in vantages)
            if vantages is not None
            else None,
            read.reason,
        ),
        roles=roles,
        epochs=_epochs(means, roles) if epochs else Seen(None, "not asked"),
        active_run=_not_ours(_seen(answers["run"]), means.run),
        capacity=_seen(answers["capacity"]) if losing is not None else Seen(None, "not asked"),
        documents=_seen(answers["documents"]) if "documents" in answers else None,
        place=means.place,
        rules=means.rules,
        overrides=means.overrides,
        last_move=_seen(answers["last"]),
        resumed=means.resumed,
        pools=_seen(answers["pools"]) if "pools" in answers else None,
        past=means.past,
        releases=means.leader_key is not None,
    )


def _slow(means: Means, losing: str | None, *, compare: bool, pools: bool) -> dict[str, Callable[[], Any]]:
    """Questions that are answered by clouds, by listings and over SSH."""
    asked: dict[str, Callable[[], Any]] = {}
    if losing is not None:
        site = losing
        asked["capacity"] = lambda: means.capacity(site)
    if means.documents is not None and (compare or losing is not None):
        documents = means.documents
        asked["documents"] = lambda: documents(losing)
    if pools and (held := means.pools) is not None:
        asked["pools"] = lambda: held.observe(limit_s=LOOK_LIMIT_S)
    return asked


def _not_ours(seen: Seen[ActiveRun], run: str) -> Seen[ActiveRun]:
    return Seen(None) if seen.value is not None and seen.value.run == run else seen


def _epochs(means: Means, roles: Seen[tuple[RoleState, ...]]) -> Seen[Mapping[str, Epoch]]:
    if not roles.value:
        return Seen({})
    try:
        return Seen(means.epochs.observe(limit_s=LOOK_LIMIT_S))
    except NotFound:
        return Seen({})  # a database without the application's schema checks no epoch
    except DcctlError as error:
        return Seen(None, error.saw or error.sentence())


def _seen(answer: Any) -> Seen[Any]:
    if isinstance(answer, DcctlError):
        return Seen(None, answer.saw or answer.sentence())
    return Seen(answer)


def until_none(planned: Planned, reasons: Callable[[], Sequence[str]]) -> Wait:
    """Look until there is no reason left; what does not answer is a reason. Nothing is changed meanwhile."""
    said: list[str] = []

    def until() -> bool | None:
        try:
            said[:] = reasons()
        except Unreachable as error:
            said[:] = [error.sentence()]
        return None if said else True

    return Wait(
        f"{planned.name}: {planned.proof}",
        planned.target,
        planned.limit_s,
        LOOK_EVERY_S,
        until,
        lambda: "; ".join(said[:5]) or "nothing yet",
        of=planned.name,
        instead=True if planned.skippable else None,
    )


def look_once(name: str, target: str, limit_s: float, look: Callable[[], Situation]) -> Wait:
    """One look, which is no intent: whoever takes over a run that was broken off in it need not wait."""
    return Wait(name, target, limit_s, LOOK_EVERY_S, look)


def planned_by(
    means: Means,
    what: str,
    site: str,
    limit_s: float,
    decide: Callable[[], tuple[Plan | Refusal, Sequence[str]]],
) -> Work[Plan]:
    """Look until there is a plan and nothing to wait for. Raises Refused when the first look refuses, or
    what was seen last after ``means.patience_s``.

    Later looks may miss something that answers slowly: they are repeated, and never acted on. What is acted
    on is the plan of the very look that had nothing against it.
    """
    said: list[str] = []
    looked: list[bool] = []
    last: list[Refusal] = []

    def until() -> Plan | None:
        try:
            decided, waits_for = decide()
        except Unreachable as error:
            said[:] = [error.sentence()]
            return None
        if isinstance(decided, Refusal):
            if not looked and not means.patience_s:
                raise Refused(what, on=site, reasons=decided.reasons, next_command=f"{means.dcctl} status")
            said[:], last[:] = decided.reasons, [decided]
            return None
        looked.append(True)
        said[:], last[:] = waits_for, []
        return None if said else decided

    try:
        plan: Plan = yield Wait(
            f"nothing stands against {what}",
            site,
            limit_s + means.patience_s,
            LOOK_EVERY_S,
            until,
            lambda: "; ".join(said),
        )
    except TimedOut as error:
        if not last:
            raise
        command = f"{means.dcctl} status"
        raise Refused(what, on=site, reasons=last[0].reasons, next_command=command) from error
    return plan


def note_overrides(plan: Plan, means: Means) -> None:
    """Which rules do not stand against this run, by whose word, and what they would have said."""
    for told in noted(means.overrides, plan.overridden):
        means.note("rule.overridden", **told)


def change_state(
    means: Means,
    planned: Planned,
    state: Rotation,
    reason: str,
    *,
    from_any_of: Sequence[Rotation],
    needs: Callable[[], Sequence[str]],
) -> Step:
    """Write what is wanted of a site against the version that is there now; there already is done.

    A site that is in none of ``from_any_of`` was changed by somebody else meanwhile: Refused.
    """

    def effect() -> SiteState:
        now = next(each for each in means.states.observe_sites() if each.site == planned.target)
        if now.state is state:
            return now
        if now.state not in from_any_of:
            reason_against = f"{now.by or 'somebody'} made {now.site} {now.state} meanwhile"
            raise Refused(f"make {planned.target} {state}", reasons=(reason_against,))
        wanted = SiteState(planned.target, state, reason=reason, by=means.who, at=means.now(), run=means.run)
        means.states.change_site(wanted, expected=now.version)
        now = next(each for each in means.states.observe_sites() if each.site == planned.target)
        if now.state is not state:
            raise Unreachable(f"make {planned.target} {state}", saw=f"it reads {now.state} afterwards")
        return now

    return Step(
        f"{planned.name}: {planned.proof}",
        planned.target,
        planned.limit_s,
        effect,
        of=planned.name,
        no_return=planned.no_return,
        needs=needs,
    )


def write_through(means: Means, planned: Planned, edges: Sequence[str]) -> Wait:
    """Until a row is committed through each of ``edges``."""
    said: dict[str, str] = {}
    proven: dict[str, str] = {}

    def until() -> dict[str, str] | None:
        for edge in edges:
            if edge not in proven:
                try:
                    proven[edge] = means.write.write(edge, means.run, limit_s=LOOK_LIMIT_S)
                except Unreachable as error:
                    said[edge] = error.saw
        return proven if len(proven) == len(edges) else None

    return Wait(
        f"{planned.name}: {planned.proof}",
        planned.target,
        planned.limit_s,
        LOOK_EVERY_S,
        until,
        lambda: "; ".join(f"{edge}: {saw}" for edge, saw in said.items() if edge not in proven),
        of=planned.name,
        instead=proven if planned.skippable else None,
    )


def why_roles_elsewhere(
    means: Means, states: Sequence[RoleState], *, at: str | None = None, not_at: str | None = None
) -> list[str]:
    """For each of the roles why it is not in force ``at`` a site, or anywhere but ``not_at``.

    The database is asked only once all of them are led there: the way to it may lead through a dark site.
    """
    if misplaced := [
        why for each in states if (why := why_not_held(each, means.places, {}, at=at, not_at=not_at))
    ]:
        return misplaced
    epochs = _epochs(means, Seen(tuple(states)))
    if epochs.value is None:
        return [f"the epochs in the database cannot be read: {epochs.reason}"]
    reasons = (why_not_held(state, means.places, epochs.value, at=at, not_at=not_at) for state in states)
    return [reason for reason in reasons if reason]
