"""A catalogue of systems that are each wrong in one way. The simulation must catch every one of them.

Each is our own composition with one port or one decision replaced; nothing in production knows of it.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from types import ModuleType
from typing import Any

from kazoo.exceptions import NoNodeError

import dcctl.domain.failover as failover_decisions
import dcctl.engines.admission as admission_engine
import dcctl.engines.failover as failover_engine
import dcctl.engines.release as release_engine
import dcctl.engines.switchover as switchover_engine
import dcctl.engines.traffic as traffic_engine
from dcctl.domain import admission
from dcctl.domain.leadership import Renewal, Term
from dcctl.domain.machine import PowerReading
from dcctl.domain.plan import Plan
from dcctl.domain.refusal import Refusal
from dcctl.domain.release import LeaderKeys, Release
from dcctl.domain.situation import Situation
from dcctl.domain.step import Step, Work
from dcctl.domain.traffic import Rotation, RotationPlan, SiteState
from dcctl.engines.release import Found
from dcctl.engines.situation import Means
from dcctl.errors import Unreachable
from dcctl.testing.simulation import views
from dcctl.testing.simulation.database import Outcome, Postgres
from dcctl.testing.simulation.network import DATABASES
from dcctl.testing.simulation.patroni import sync_note
from dcctl.testing.simulation.people import Command
from dcctl.testing.simulation.ports import KEYS, SimLeases, SimRuns, leader_key_of
from dcctl.testing.simulation.schedule import Fault, Schedule
from dcctl.testing.simulation.session import SimSession
from dcctl.testing.simulation.singleton import NoLock
from dcctl.testing.simulation.world import Variant

QUIET_S = 5.0


@dataclass(frozen=True)
class Broken:
    """``why`` says what is wrong. ``faults`` are what it is bad at: its schedules are made of them, at times
    that a seed chooses around these. ``decisions`` are replaced while a simulation runs."""

    name: str
    why: str
    faults: tuple[Fault, ...]
    variant: Variant = field(default_factory=Variant)
    decisions: tuple[tuple[ModuleType, str, Callable[..., Any]], ...] = ()
    shown_by: int = 1
    """A seed that showed it when this was written: it is tried first."""

    def schedule(self, seed: int) -> Schedule:
        """Its schedule of a seed."""
        chance = random.Random(f"{self.name} {seed}")  # noqa: S311
        faults = [
            replace(
                each,
                at_s=round(each.at_s + chance.uniform(0.0, 3.0), 1),
                for_s=round(each.for_s * chance.uniform(0.9, 1.1), 1),
            )
            for each in self.faults
        ]
        return Schedule(seed, tuple(sorted(faults, key=lambda each: each.at_s)))

    @contextmanager
    def composed(self) -> Iterator[Variant]:
        """The composition, with its decisions in place of ours."""
        ours = [(module, name, getattr(module, name)) for module, name, _theirs in self.decisions]
        try:
            for module, name, theirs in self.decisions:
                setattr(module, name, theirs)
            yield self.variant
        finally:
            for module, name, decision in ours:
                setattr(module, name, decision)


class TrustsEvents(SimLeases):
    """As long as no event says LOST, the lease counts as renewed."""

    def renew(self, term: Term, version: int, *, limit_s: float) -> Renewal:
        try:
            return super().renew(term, version, limit_s=limit_s)
        except Unreachable:
            return Renewal(self._clock(), self.session_s, version)


class BareKey:
    """The leader key is deleted by itself: nothing is checked, and ``/sync`` stays at its version."""

    def __init__(self, session: SimSession, runs: Any) -> None:
        self._session = session
        self._ours = leader_key_of(session, runs)

    def observe_keys(self, *, limit_s: float) -> LeaderKeys:
        return self._ours.observe_keys(limit_s=limit_s)

    def release(self, keys: LeaderKeys, *, term: Term | None, limit_s: float) -> None:
        del keys, term
        with suppress(NoNodeError):
            delete = partial(self._session.client.delete_async, f"{KEYS}/leader")
            self._session.ask("delete the key", delete, limit_s)


class NamesTheSurvivor(BareKey):
    """A standby that is hardly behind counts as a second copy: it is written into ``/sync``."""

    def observe_keys(self, *, limit_s: float) -> LeaderKeys:
        keys = self._ours.observe_keys(limit_s=limit_s)
        standby = next(name for name in DATABASES if name != keys.leader)
        return replace(keys, synchronous=(standby,), synchronous_to=keys.leader, sync_version=1)

    def release(self, keys: LeaderKeys, *, term: Term | None, limit_s: float) -> None:
        note = sync_note(str(keys.leader), keys.synchronous[0])
        self._session.ask(
            "name the standby", partial(self._session.client.set_async, f"{KEYS}/sync", note), limit_s
        )
        super().release(keys, term=term, limit_s=limit_s)


class AllowsByAge(SimRuns):
    """A run that wrote nothing for a few seconds counts as dead."""

    def _observe(self, limit_s: float) -> Any:
        active, version, epoch = super()._observe(limit_s)
        if active is not None and self._seen is not None and self._clock() - self._seen[1] > QUIET_S:
            active = replace(active, alive=False, free_in_s=0.0)
        return active, version, epoch

    def begin(self, run: str, command: str, *, limit_s: float) -> None:
        self._again(self._observe, limit_s)
        self._sleep(QUIET_S + 1)
        super().begin(run, command, limit_s=limit_s)


def _repeats(command: Command, means: Means) -> Work[None]:
    """What the journal says was begun is done again, whatever there is by now."""
    if command.what == "failover":
        state = SiteState(command.site, Rotation.QUARANTINED, by=means.who, at=means.now(), run=means.run)

        def quarantine() -> None:
            before = next(each for each in means.states.observe_sites() if each.site == command.site)
            means.states.change_site(state, expected=before.version)

        yield Step("quarantine", command.site, 15.0, quarantine)


def _trusts_the_cloud(_reading: PowerReading, **_more: Any) -> tuple[str, ...]:
    return ()


def _drains_anyway(
    site: str, states: Sequence[SiteState], _serving: Any, edges: Mapping[str, bool], **_more: Any
) -> RotationPlan:
    before = next(each for each in states if each.site == site)
    change = before.state is Rotation.ACTIVE
    to = Rotation.DRAINED if change else before.state
    return RotationPlan(site, to, before, change, tuple(name for name, up in edges.items() if up), (), ())


def _admits_anyway(site: str, situation: Situation, **_more: Any) -> Plan:
    return admission._plan(site, situation, ())


def _nothing(*_args: Any, **_more: Any) -> tuple[str, ...]:
    return ()


def _deaf_to(*words: str) -> Callable[[str, Situation], Plan | Refusal]:
    """``decide_failover`` without the reasons that have one of ``words`` in them."""

    def decide(lost: str, situation: Situation) -> Plan | Refusal:
        decided = failover_decisions.decide_failover(lost, situation)
        if isinstance(decided, Plan):
            return decided
        left = tuple(each for each in decided.reasons if not any(word in each for word in words))
        return Refusal(left) if left else failover_decisions._plan(lost, situation.other(lost), situation)

    return decide


def _release_whatever(plan: Plan, _situation: Situation, means: Means) -> Found | None:
    assert means.leader_key is not None
    keys = means.leader_key.observe_keys(limit_s=5.0)
    if keys.leader is None or DATABASES[keys.leader] != plan.site:
        return None
    return Found(keys, Release(keys.leader, next(name for name in DATABASES if name != keys.leader)))


def _counts_warnings(outcome: Outcome) -> Outcome:
    return Outcome.OK if outcome is Outcome.WARNING else outcome


def _no_lock(database: Postgres, _role: str) -> NoLock:
    return NoLock(database)


def _cut(site: str, at_s: float, for_s: float) -> Fault:
    return Fault(at_s, "cut", site, for_s)


_freezes = tuple(
    Fault(at_s, "freeze", edge, 14.0)
    for at_s, edge in ((13.0, "east-edge-1"), (30.0, "west-edge-1"), (47.0, "east-edge-1"))
)
_UNNEEDED = (
    (failover_engine, "why_not_given_up", _nothing),
    (failover_engine, "why_not_switched_off", _nothing),
    (release_engine, "why_not_released", _nothing),
)
"""What a failover's steps need is looked at just before each of them: the same checks, once more."""
CATALOGUE = (
    Broken(
        "lease deadline from events",
        "a holder works on until somebody tells it that its lease is lost",
        (_cut("east", 14, 25), _cut("west", 45, 25)),
        Variant(leases=TrustsEvents),
    ),
    Broken(
        "epoch not checked in the store",
        "a singleton's transaction commits whatever epoch is in force",
        _freezes,
        Variant(store_accepts=lambda _database, _role, _epoch: True),
        shown_by=2,
    ),
    Broken(
        "epoch checked without a row lock",
        "a plain SELECT before the work: a bump commits in between",
        _freezes,
        Variant(row_lock=_no_lock),
        shown_by=2,
    ),
    Broken(
        "a warning counted as acknowledged",
        "a COMMIT whose wait for the standby was cancelled",
        (Fault(15.0, "isolate", "east", 40.0),),
        Variant(client_counts=_counts_warnings),
        shown_by=5,
    ),
    Broken(
        "leader key deleted bare",
        "without the versions of what it was decided from, and without rewriting /sync",
        (
            Fault(13.0, "part", "east", 45.0, "west"),
            Fault(13.0, "late watches", "", 50.0),
            Fault(16.0, "freeze", "east-db-1", 12.0),
            Fault(16.0, "freeze", "east-edge-1", 12.0),
        ),
        Variant(leader_key=BareKey),
        (
            (failover_engine, "observe_release", _release_whatever),
            (release_engine, "why_not_released", _nothing),
        ),
        shown_by=28,
    ),
    Broken(
        "small lag taken for a second copy",
        "a database that is SINGLE-COPY fails over to whoever is hardly behind",
        (Fault(13.0, "part", "east", 20.0, "west"), Fault(30.0, "power loss", "east", 45.0)),
        Variant(leader_key=NamesTheSurvivor),
        ((failover_engine, "decide_failover", _deaf_to("SINGLE-COPY", "may lack")), *_UNNEEDED),
    ),
    Broken(
        "evidence not asked for",
        "a site is given up whoever still sees it",
        (Fault(15.0, "command", "ann", 0.0, ["failover", "east", None]),),
        decisions=(
            (failover_engine, "decide_failover", _deaf_to("is not lost", "unknown:")),
            (failover_engine, "decide_forgotten", _nothing),
            *_UNNEEDED,
        ),
    ),
    Broken(
        "fence check removed",
        "the quorum need not have forgotten the lost primary",
        (_cut("east", 14, 50),),
        Variant(leader_key=lambda _session, _runs: None),
        (
            (failover_engine, "decide_forgotten", _nothing),
            (failover_engine, "decide_database_fenced", _nothing),
            *_UNNEEDED,
        ),
    ),
    Broken(
        "UNKNOWN power counts as off",
        "a cloud's word is taken while its task is pending and its host is lost",
        (
            Fault(14.0, "freeze", "east-db-1", 60.0),
            Fault(14.0, "freeze", "east-edge-1", 60.0),
            Fault(13.0, "cloud lies", "east", 65.0),
        ),
        decisions=((views, "decide_power_off_proven", _trusts_the_cloud),),
    ),
    Broken(
        "resume repeats without probing",
        "what was begun is done again, though the site is back by then",
        (
            _cut("east", 13, 14),
            *(Fault(12.5, "killed", who, 0.0, 6) for who in ("ann", "bob", "controller")),
            *(Fault(24.0, "freeze", who, 40.0) for who in ("ann", "bob")),
        ),
        Variant(resume=_repeats),
    ),
    Broken(
        "second run allowed by age",
        "a run that wrote nothing for a while counts as dead",
        (
            Fault(14.0, "command", "bob", 0.0, ["switchover", "west", None]),
            Fault(20.5, "freeze", "bob", 9.0),
            Fault(20.5, "command", "ann", 0.0, ["switchover", "west", None]),
        ),
        Variant(runs=lambda session, who: AllowsByAge(session, who=who)),
        shown_by=4,
    ),
    Broken(
        "switchover ends before a second copy",
        "the new primary may be the only one with what it acknowledges",
        (
            Fault(14.0, "command", "ann", 0.0, ["switchover", "west", None]),
            Fault(19.0, "freeze", "east-db-1", 45.0),
        ),
        decisions=((switchover_engine, "decide_copied", _nothing),),
    ),
    Broken(
        "drain without counting who is left",
        "the last site is taken out of rotation",
        (
            Fault(14.0, "command", "ann", 0.0, ["drain", "east", None]),
            Fault(24.0, "command", "bob", 0.0, ["drain", "west", None]),
        ),
        decisions=((traffic_engine, "decide_drain", _drains_anyway),),
    ),
    Broken(
        "admission without looking",
        "a returned site is let in as it is, not rewound",
        (
            _cut("east", 13, 60),
            *(Fault(at_s, "command", "bob", 0.0, ["admit", "east", None]) for at_s in (34.0, 42.0, 50.0)),
        ),
        decisions=(
            (admission_engine, "decide_admission", _admits_anyway),
            (admission_engine, "why_not_admitted", _nothing),
        ),
    ),
)
"""By name: ``python -m dcctl.testing.simulation --broken NAME``."""
