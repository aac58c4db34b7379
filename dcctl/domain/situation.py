"""Everything that a failover, a switchover or an admission is decided from, and what may be concluded.

Invariant: silence is UNKNOWN. What a site is, is decided in ``domain.verdict`` alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dcctl.domain.automation import CONTROLLER
from dcctl.domain.budget import Past
from dcctl.domain.capacity import Capacity
from dcctl.domain.evidence import answers_of, decide_site_verdict, own_sight
from dcctl.domain.leadership import Epoch, RoleState
from dcctl.domain.observation import ClusterReport, Seen
from dcctl.domain.rules import LastMove, Override, Reason, Rule, SafetyRules, of
from dcctl.domain.run import ActiveRun, decide_begin
from dcctl.domain.status import Status
from dcctl.domain.traffic import Rotation, SiteState
from dcctl.domain.verdict import OPERATOR, Sight, SiteVerdict, Vantage


@dataclass(frozen=True, slots=True)
class Documents:
    """How far the replication of documents is: names that are not the same at both sites yet."""

    pending: int
    held: int = 0
    """Names that a person must decide."""
    oldest_s: float | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """One look at an environment. ``places`` by machine. None in ``documents``: nothing is replicated.

    ``witness``: whether a witness is configured. ``capacity`` says whether one site carries everything.
    """

    environment: str
    at: datetime
    sites: tuple[str, ...]
    places: Mapping[str, str]
    witness: bool
    status: Status
    cluster: Seen[ClusterReport]
    states: Seen[tuple[SiteState, ...]]
    vantages: Seen[tuple[Vantage, ...]]
    """Those that were published; our own look is in ``status``."""
    roles: Seen[tuple[RoleState, ...]]
    epochs: Seen[Mapping[str, Epoch]]
    """Those in force in the database, of the roles that are checked there."""
    active_run: Seen[ActiveRun]
    """A value of None without a reason: no run is active."""
    capacity: Seen[Capacity]
    documents: Seen[Documents] | None = None
    place: str = OPERATOR
    """From where this look was taken: the operator's, or an agent's place."""
    rules: SafetyRules = field(default_factory=SafetyRules)
    overrides: tuple[Override, ...] = ()
    """The rules that do not stand against this one run."""
    last_move: Seen[LastMove] = field(default_factory=lambda: Seen(None))
    resumed: bool = False
    """Our run was begun before: what has to wait for its time has had it."""
    pools: Seen[Mapping[str, str]] | None = None
    """By edge, why the clients of its pool cannot be held (empty: they can); None: it was not asked."""
    past: Mapping[str, Past] = field(default_factory=dict)
    """By kind of run, what the last ones took; a kind that is not there was not asked for."""
    releases: bool = False
    """Whether a lost primary's leader key may be released early (``domain.release``)."""

    def other(self, site: str) -> str:
        """The site that is left without ``site``."""
        return next(each for each in self.sites if each != site)

    def at_place(self, names: Sequence[str], place: str) -> tuple[str, ...]:
        return tuple(name for name in names if self.places.get(name) == place)

    def state_of(self, site: str) -> SiteState:
        return next((each for each in self.states.value or () if each.site == site), SiteState(site))

    def answers_of(self, site: str) -> tuple[str, ...]:
        """What answers from ``site`` to whoever looked: machines over SSH, databases, voters, edges."""
        return answers_of(site, self.status)

    def sights_of(self, site: str) -> tuple[tuple[str, str, Sight], ...]:
        """Vantage, place and sight of everyone who is not at ``site`` itself; our own look first."""
        return (
            (self.place, self.place, self.own_sight(site)),
            *(
                (each.name, each.place, each.sees(site))
                for each in self.vantages.value or ()
                if each.place != site
            ),
        )

    def own_sight(self, site: str) -> Sight:
        """What is seen of ``site`` from where this look was taken."""
        return own_sight(site, self.status)

    def verdict_of(self, site: str) -> SiteVerdict:
        """What ``site`` is (``domain.verdict``)."""
        return decide_site_verdict(site, self.status, self.vantages, witness=self.witness, place=self.place)


# Reasons that more than one decision has. Each is a sentence.


def why_no_quorum(situation: Situation) -> list[Reason]:
    status = situation.status
    if status.quorum < status.quorum_needed:
        told = f"ZooKeeper has no quorum: {status.quorum} of {len(status.voters)} voters serve"
        return [Reason(Rule.QUORUM, told)]
    unread: dict[str, Seen[Any]] = {
        "the sites' states": situation.states,
        "the vantages": situation.vantages,
        "the roles": situation.roles,
        "the active run": situation.active_run,
        "Patroni's keys": situation.cluster if status.database.members else Seen(None),
    }
    return of(
        Rule.QUORUM,
        (f"{what} cannot be read: {seen.reason}" for what, seen in unread.items() if seen.reason),
    )


def why_busy(situation: Situation, command: str) -> list[Reason]:
    """Why ``command`` may not begin beside the run that acts, or that was broken off."""
    active = situation.active_run.value
    if active is None or (not active.alive and active.free_in_s > 0):
        return []  # what was broken off a moment ago is waited for by whoever begins
    why_not = decide_begin(active, "", command)
    return [Reason(Rule.ONE_RUN, why_not)] if why_not else []


def why_short(situation: Situation, survivor: str) -> list[Reason]:
    """Why ``survivor`` is not known to carry the load of both sites."""
    capacity = situation.capacity.value
    if capacity is None:
        told = f"whether {survivor} can carry everything is not known: {situation.capacity.reason}"
        return [Reason(Rule.SURVIVOR_HAS_HEADROOM, told)]
    return [] if capacity.fits else of(Rule.SURVIVOR_HAS_HEADROOM, capacity.reasons)


def why_not_in_rotation(situation: Situation, site: str) -> list[Reason]:
    state = situation.state_of(site)
    if state.state is Rotation.ACTIVE:
        return []
    why = f" ({state.reason})" if state.reason else ""
    return [Reason(Rule.NEVER_ZERO_ACTIVE, f"{site} is {state.state}{why}: no site would be active")]


def why_paused(situation: Situation) -> list[Reason]:
    if situation.status.database.paused:
        return [Reason(Rule.PATRONI_ACTS, "Patroni is paused: it promotes nobody")]
    return []


def why_two_primaries(situation: Situation) -> list[Reason]:
    """Why nothing planned is moved: more than one database says that it is the primary.

    One of them has lost the key and has not found out yet; Patroni demotes it within a round, or has to be
    looked at by a person.
    """
    primaries = situation.status.database.primaries
    if len(primaries) <= 1:
        return []
    told = f"{' and '.join(primaries)} both call themselves primary: Patroni has to demote one first"
    return [Reason(Rule.PATRONI_ACTS, told)]


def sessions_of(situation: Situation, site: str) -> tuple[str, ...]:
    """Databases of ``site`` of which the quorum has heard within their session."""
    cluster = situation.cluster.value
    if cluster is None:
        return ()
    alive = {*cluster.members, *((cluster.leader,) if cluster.leader else ())}
    return situation.at_place(tuple(sorted(alive)), site)


def roles_of(situation: Situation, site: str) -> tuple[str, ...]:
    """Roles that are held at ``site``, or whose holder vanished before it wrote that its work is over.

    Not the controller's: agents decide where it is led (at the witness, else at a site); no move asks for it.
    """
    return tuple(
        each.role
        for each in situation.roles.value or ()
        if each.role != CONTROLLER
        and (
            (each.term is not None and situation.places.get(each.term.host) == site)
            or (each.term is None and each.lease is not None and not each.lease.released)
        )
    )


def why_not_held(
    role: RoleState,
    places: Mapping[str, str],
    epochs: Mapping[str, Epoch],
    *,
    at: str | None = None,
    not_at: str | None = None,
) -> str:
    """Why ``role`` is not in force where it should be: ``at`` a site, or anywhere but ``not_at``.

    Empty when it is, under an epoch that its store knows.
    """
    if role.term is None:
        return f"nobody leads {role.role}"
    place = places.get(role.term.host, "a place that is not configured")
    if (at is not None and place != at) or place == not_at:
        return f"{role.role} is led by {role.term.host} at {place}"
    inforce = epochs.get(role.role)
    if inforce is not None and inforce != role.term.epoch:
        epoch = role.term.epoch.number
        return f"the database has epoch {inforce.number} of {role.role} in force, not {epoch} yet"
    return ""
