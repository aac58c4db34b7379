"""Which sites are in traffic rotation, and what that means at each edge. Pure.

Invariants, which the tests try to break:

1. No decision leaves zero active sites (DESIGN promise 6). A site that is out of rotation, or that is not
   seen to serve, is none that traffic may be left to.
2. A quarantined site enters rotation through its admission alone (promise 7).
3. An edge never takes its last site out: states that name no active site are left unapplied.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from dcctl.domain.probe import ProbeResult
from dcctl.domain.refusal import Refusal
from dcctl.domain.rules import Override, Reason, Rule, of, settle

BACKENDS = ("cdb", "documents", "auction", "swift")
"""What clients reach over HTTP through an edge (playbooks/roles/edge). Their servers are named as the
machines are. Writes to the database follow the primary, wherever it is, and no rotation."""
ROTATION = "rotation"
"""An edge's mark for its own site, whose one server is named as the site: while it is out, the edge's
``/healthz`` answers 503, so that clients, DNS and GSLB leave it."""
STEERED = (*BACKENDS, ROTATION)
"""What follows the rotation."""
WRITES = "postgresql_primary"
"""The backend through which clients reach the primary; its servers are named as the databases."""
LEASE = "lease"
"""An edge's mark for its own site, as ROTATION: while it is out, what the edge answers is marked stale."""


class Rotation(StrEnum):
    """A site's desired state. DRAINED: a person took it out. QUARANTINED: a failover did, and only its
    admission ends that."""

    ACTIVE = "active"
    DRAINED = "drained"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class SiteState:
    """What is wanted of a site, and who wanted it why, when, in which run.

    ``version`` is what a change is compared with; None where nothing was ever written: active.
    """

    site: str
    state: Rotation = Rotation.ACTIVE
    reason: str = ""
    by: str = ""
    at: datetime | None = None
    run: str = ""
    version: int | None = None


@dataclass(frozen=True, slots=True)
class EdgeServer:
    """A server as an edge has it. ``in_rotation``: new work may go to it once it is up. ``status`` is
    HAProxy's word; ``in_flight`` counts sessions that it works on now."""

    backend: str
    name: str
    in_rotation: bool
    up: bool
    status: str
    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class Steer:
    """Put ``backend/server`` in rotation or take it out; ``at_once`` ends what it works on, too."""

    backend: str
    server: str
    in_rotation: bool
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class EdgeApplied:
    """What an edge's agent applied last: for each site whether it is in rotation there; None while the
    edge's servers disagree with each other or could not be read. ``problem`` says why it is not what is
    wanted; empty is well."""

    rotation: Mapping[str, bool | None]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one vantage saw in one round of its probes. ``edge`` where it stands beside one.

    ``vantage`` is the machine's name, ``place`` its site or ``witness``. ``at`` by its own clock.
    """

    vantage: str
    place: str
    at: datetime
    round: int
    results: tuple[ProbeResult, ...] = ()
    edge: EdgeApplied | None = None
    pulse: tuple[ProbeResult, ...] = ()
    """The quick probes among them, every second: what a verdict rests on."""


def why_barred(site: str, states: Sequence["SiteState"]) -> str:
    """Why no singleton begins at ``site`` (promise 7); empty where it may. Epochs keep it safe anyway."""
    state = next((each for each in states if each.site == site), None)
    if state is None or state.state is not Rotation.QUARANTINED:
        return ""
    return f"{site} is quarantined{f' ({state.reason})' if state.reason else ''}: dcctl admit {site}"


def site_of(server: str, places: Mapping[str, str]) -> str | None:
    """The site that a server of an edge belongs to; ``places`` by machine name. None: not ours."""
    if (site := places.get(server)) is not None:
        return site
    return server if server in places.values() else None


def decide_weights(
    states: Sequence[SiteState], servers: Sequence[EdgeServer], places: Mapping[str, str]
) -> tuple[Steer, ...] | Refusal:
    """What must change at an edge that has ``servers``, so that only active sites get new work.

    Which site is preferred where is the edge's own configuration: the other's servers are its fall-over.
    """
    active = {state.site for state in states if state.state is Rotation.ACTIVE}
    if not active:
        told = ", ".join(f"{state.site} is {state.state}" for state in states) or "no site is known"
        return Refusal((f"no site would be in rotation ({told}): the last weights are kept",))
    known = {state.site for state in states}
    return tuple(
        Steer(server.backend, server.name, site in active)
        for server in servers
        if server.backend in STEERED
        and (site := site_of(server.name, places)) in known
        and server.in_rotation != (site in active)
    )


def decide_fence(servers: Sequence[EdgeServer], *, fenced: bool) -> tuple[Steer, ...]:
    """What must change at an edge whose site's lease has run out (``fenced``), or is held again.

    Writes are shut and their sessions ended; clients are told to leave; what is still read here is marked
    stale. The servers that clients read from stay as they are.
    """
    found = [
        Steer(server.backend, server.name, not fenced, at_once=True)
        for server in servers
        if server.backend in (WRITES, LEASE) and server.in_rotation is fenced
    ]
    if fenced:
        found += [
            Steer(server.backend, server.name, in_rotation=False)
            for server in servers
            if server.backend == ROTATION and server.in_rotation
        ]
    return tuple(found)


def decide_applied(
    states: Sequence[SiteState], servers: Sequence[EdgeServer], places: Mapping[str, str]
) -> dict[str, bool | None]:
    """For each site, whether an edge has it in rotation; None where its servers disagree or are none."""
    found: dict[str, bool | None] = {}
    for state in states:
        said = {
            server.in_rotation
            for server in servers
            if server.backend in STEERED and site_of(server.name, places) == state.site
        }
        found[state.site] = said.pop() if len(said) == 1 else None
    return found


def decide_applied_at(
    plan: "RotationPlan",
    seen: Sequence[EdgeServer] | str,
    said: EdgeApplied | None,
    places: Mapping[str, str],
) -> str:
    """Why an edge does not have the plan's site as it is wanted; empty when it has.

    Both must show it: the edge by what it ``seen`` does with the site's servers, and the agent beside it by
    what it ``said`` it read back, because a server that is down hides on the edge's page that it drains.
    """
    wanted = plan.to is Rotation.ACTIVE
    if isinstance(seen, str):
        return f"it does not answer: {seen}"
    if said is None:
        return "no agent beside it says what it applied"
    if said.rotation.get(plan.site) is not wanted:
        return said.problem or "its agent has not applied it yet"
    wrong = [
        f"{each.backend}/{each.name}"
        for each in seen
        if each.backend in BACKENDS
        and site_of(each.name, places) == plan.site
        and each.in_rotation is not wanted
        and each.up
    ]
    return f"{', '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} not as its agent says" if wrong else ""


def in_flight(site: str, servers: Sequence[EdgeServer], places: Mapping[str, str]) -> tuple[EdgeServer, ...]:
    """The servers of ``site`` that work on something for clients."""
    return tuple(
        server
        for server in servers
        if server.backend in BACKENDS and server.in_flight and site_of(server.name, places) == site
    )


@dataclass(frozen=True, slots=True)
class Serving:
    """Whether a site is seen to serve clients now; ``why_not`` is a sentence."""

    site: str
    ok: bool
    why_not: str = ""


def decide_serving(
    site: str,
    edges: Mapping[str, Sequence[EdgeServer] | str],
    places: Mapping[str, str],
) -> Serving:
    """Judge by the edges: an own one answers, and each of its backends has a server of the site that is up.

    ``edges`` by name: the servers of each, or a sentence why it does not answer.
    """
    own = {name: seen for name, seen in edges.items() if places.get(name) == site}
    if not own:
        return Serving(site, ok=False, why_not=f"{site} has no edge")
    why = []
    for name, seen in own.items():
        if isinstance(seen, str):
            why.append(f"{name} does not answer: {seen}")
            continue
        down = [
            backend
            for backend in BACKENDS
            if (servers := _of(site, backend, seen, places))
            and not any(each.up or _seen_up(each, edges) for each in servers)
        ]
        if not down:
            return Serving(site, ok=True)
        why.append(f"{name} finds no server of {site} up for {', '.join(down)}")
    return Serving(site, ok=False, why_not="; ".join(why))


def _seen_up(server: EdgeServer, edges: Mapping[str, Sequence[EdgeServer] | str]) -> bool:
    """For one in maintenance, which the edge does not check: whether another edge finds it up."""
    return server.status.startswith("MAINT") and any(
        (each.backend, each.name, each.up) == (server.backend, server.name, True)
        for seen in edges.values()
        if not isinstance(seen, str)
        for each in seen
    )


def _of(
    site: str, backend: str, servers: Sequence[EdgeServer], places: Mapping[str, str]
) -> list[EdgeServer]:
    return [
        server for server in servers if server.backend == backend and site_of(server.name, places) == site
    ]


@dataclass(frozen=True, slots=True)
class RotationPlan:
    """Take ``site`` out of rotation, or put it in. ``change``: what is wanted is not written yet.

    ``expected`` is the version that the change is made against. ``edges`` must show it before it is done;
    ``dark`` do not answer and will do so when they are back.
    """

    site: str
    to: Rotation
    before: SiteState
    change: bool
    edges: tuple[str, ...]
    dark: tuple[str, ...]
    left: tuple[str, ...]
    """The sites that are in rotation and serve afterwards."""
    overridden: tuple[Reason, ...] = ()
    """What would stand against it, were its rule not overridden for this run."""

    @property
    def expected(self) -> int | None:
        return self.before.version


def decide_drain(
    site: str,
    states: Sequence[SiteState],
    serving: Sequence[Serving],
    edges: Mapping[str, bool],
    *,
    capacity: Sequence[str] = (),
    closed: Sequence[Reason] = (),
    overrides: Sequence[Override] = (),
) -> RotationPlan | Refusal:
    """Take ``site`` out so that its work in flight finishes; refused with every reason.

    ``serving`` judges all sites, ``edges`` says which answer, ``capacity`` are reasons why the sites that
    are left cannot carry the load, ``closed`` why nothing planned begins now. A site that is out already is
    a plan without a change.
    """
    before = _state_of(site, states)
    if before is None:
        return _unknown(site, states)
    able = {each.site: each for each in serving}
    left = [
        each.site
        for each in states
        if each.site != site and each.state is Rotation.ACTIVE and each.site in able and able[each.site].ok
    ]
    reasons: list[Reason] = []
    if before.state is Rotation.ACTIVE:
        if not left:
            told = f"no site would be left to serve: {_why_none(site, states, able)}"
            reasons.append(Reason(Rule.NEVER_ZERO_ACTIVE, told))
        reasons += of(Rule.SURVIVOR_HAS_HEADROOM, capacity)
        if not any(edges.values()):
            reasons.append(Reason(Rule.ONE_SITE_AT_A_TIME, "no edge answers: nobody could apply it"))
        reasons += closed
    standing, overridden = settle(reasons, overrides)
    if standing:
        return Refusal(standing)
    to = Rotation.DRAINED if before.state is Rotation.ACTIVE else before.state
    return replace(_plan(before, to, edges, tuple(left)), overridden=overridden)


def decide_undrain(
    site: str,
    states: Sequence[SiteState],
    serving: Sequence[Serving],
    edges: Mapping[str, bool],
    *,
    overrides: Sequence[Override] = (),
) -> RotationPlan | Refusal:
    """Put ``site`` back; refused while it is quarantined, or not seen to serve. It is the way back to two
    sites: it keeps no hours."""
    before = _state_of(site, states)
    if before is None:
        return _unknown(site, states)
    reasons: list[Reason] = []
    if before.state is Rotation.QUARANTINED:
        why = f" ({before.reason})" if before.reason else ""
        told = f"{site} is quarantined{why}: only its admission puts it back"
        reasons.append(Reason(Rule.CAUGHT_UP, told))
    elif before.state is Rotation.DRAINED:
        unseen = (each.why_not for each in serving if each.site == site and not each.ok)
        reasons += of(Rule.NO_UNKNOWN_VERDICT, unseen)
    standing, overridden = settle(reasons, overrides)
    if standing:
        return Refusal(standing)
    able = {each.site for each in serving if each.ok}
    left = tuple(
        each.site
        for each in states
        if (each.site == site or each.state is Rotation.ACTIVE) and each.site in able
    )
    return replace(_plan(before, Rotation.ACTIVE, edges, left), overridden=overridden)


def _state_of(site: str, states: Sequence[SiteState]) -> SiteState | None:
    return next((each for each in states if each.site == site), None)


def _unknown(site: str, states: Sequence[SiteState]) -> Refusal:
    return Refusal((f"{site} is no site of this environment: {', '.join(each.site for each in states)} are",))


def _why_none(site: str, states: Sequence[SiteState], able: Mapping[str, Serving]) -> str:
    said = []
    for each in states:
        if each.site == site:
            continue
        if each.state is not Rotation.ACTIVE:
            by = f" by {each.by}" if each.by else ""
            said.append(f"{each.site} is {each.state}{by}{f' ({each.reason})' if each.reason else ''}")
        elif each.site not in able:
            said.append(f"nobody looked at {each.site}")
        else:
            said.append(able[each.site].why_not)
    return "; ".join(said) or "there is no other"


def _plan(before: SiteState, to: Rotation, edges: Mapping[str, bool], left: tuple[str, ...]) -> RotationPlan:
    return RotationPlan(
        site=before.site,
        to=to,
        before=before,
        change=before.state is not to,
        edges=tuple(name for name, answers in edges.items() if answers),
        dark=tuple(name for name, answers in edges.items() if not answers),
        left=left,
    )
