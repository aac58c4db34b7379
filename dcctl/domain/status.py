"""One look at a system, judged: what each part is, and what needs attention, gravest first.

Pure: ``decide_status`` makes a document out of a ``View``; the command line draws it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from dcctl.domain.fault import Kind
from dcctl.domain.lookout import Lookout, decide_lookout
from dcctl.domain.machine import Power, Server
from dcctl.domain.observation import (
    AtRisk,
    ClusterReport,
    DatabaseReport,
    EdgeReport,
    Seen,
    View,
    VoterMode,
    VoterReport,
)
from dcctl.domain.traffic import Rotation, SiteState

UNREACHABLE = "unreachable"
MENDS = {str(Rotation.DRAINED): "undrain", str(Rotation.QUARANTINED): "admit"}
"""What puts a site back that is out of rotation."""


@dataclass(frozen=True, slots=True)
class Host:
    """A configured machine, as far as a status needs it. ``place`` is its site, or ``witness``."""

    name: str
    place: str
    address: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """A site that is cut off on purpose; it heals by itself ``heals_in_s`` seconds after it was seen."""

    site: str
    heals_in_s: float


@dataclass(frozen=True, slots=True)
class SiteStatus:
    """``answers``: whether its cloud's API does; ``reason`` why not. ``cut`` while a drill holds it dark.

    ``rotation`` is ``active``, ``drained``, ``quarantined``, or ``unknown`` where the ensemble does not say;
    ``rotation_reason`` is who made it so and why, or why nobody says.
    """

    name: str
    answers: bool
    reason: str
    servers: int
    cut: Cut | None
    rotation: str
    rotation_reason: str


@dataclass(frozen=True, slots=True)
class MachineStatus:
    """``cloud`` is the cloud's own word, ``unknown`` where its API is silent, ``-`` where it has none.

    ``power`` is ``unknown`` unless the cloud says. ``reachable`` is whether its SSH port answers.
    """

    name: str
    place: str
    address: str
    cloud: str
    power: Power
    reachable: bool
    reason: str


@dataclass(frozen=True, slots=True)
class VoterStatus:
    """``mode`` is ``leader``, ``follower``, ``standalone``, ``not serving`` or ``unreachable``."""

    name: str
    place: str
    mode: str
    reason: str


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """One database: ``role`` is ``primary``, ``synchronous standby``, ``standby`` or ``unknown``."""

    name: str
    place: str
    role: str
    state: str
    timeline: int | None
    lag_bytes: int | None
    reason: str
    replayed_at: datetime | None = None
    """When the last transaction that it replayed was committed; of no meaning where nothing is lacking."""


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """``synchronous`` are standbys that are both named in ZooKeeper and confirmed by the primary itself.

    ``named`` are those that ZooKeeper names, where ``cluster_known``: while one is named and does not
    confirm, commits wait.
    ``single_copy``: a primary is there and no synchronous standby is named (DESIGN promise 4).
    """

    primary: str | None
    primary_place: str | None
    timeline: int | None
    named: tuple[str, ...]
    synchronous: tuple[str, ...]
    cluster_known: bool
    single_copy: bool
    lag_bytes: int | None
    paused: bool
    members: tuple[MemberStatus, ...]

    @property
    def primaries(self) -> tuple[str, ...]:
        """All that call themselves primary; the key of at most one of them is alive."""
        return tuple(each.name for each in self.members if each.role in ("primary", "former primary"))


@dataclass(frozen=True, slots=True)
class EdgeStatus:
    """``routes_to`` are the databases it sends writes to: exactly one, or none while nobody may write."""

    name: str
    place: str
    up: bool
    routes_to: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Status:
    """Everything on the one screen. ``problems`` are sentences, gravest first; empty is well."""

    environment: str
    sites: tuple[SiteStatus, ...]
    machines: tuple[MachineStatus, ...]
    voters: tuple[VoterStatus, ...]
    quorum: int
    """Voters that are part of a quorum now."""
    quorum_needed: int
    database: DatabaseStatus
    edges: tuple[EdgeStatus, ...]
    problems: tuple[str, ...]
    documents: Seen[AtRisk] | None = None
    """Acknowledged and at one site only; None where no documents are replicated."""


def decide_status(environment: str, machines: Sequence[Host], view: View) -> Status:
    """Judge ``view`` against the configured ``machines``."""
    places = {machine.name: machine.place for machine in machines}
    sites = _sites(view)
    hosts = tuple(_machine(machine, view) for machine in machines)
    voters = tuple(_voter(name, places, answer) for name, answer in view.voters.items())
    quorum = sum(voter.mode in (VoterMode.LEADER, VoterMode.FOLLOWER) for voter in voters)
    quorum_needed = len(voters) // 2 + 1
    database = decide_database(view.databases, view.cluster, places)
    edges = tuple(_edge(name, places, answer) for name, answer in view.edges.items())
    lookout = _lookout(machines, hosts, view) if quorum >= quorum_needed else Lookout()
    return Status(
        environment=environment,
        sites=sites,
        machines=hosts,
        voters=voters,
        quorum=quorum,
        quorum_needed=quorum_needed,
        database=database,
        edges=edges,
        problems=(
            *_database_problems(database),
            *_quorum_problems(voters, quorum, quorum_needed),
            *lookout.problems,
            *_run_problems(view),
            *_edge_problems(edges, database),
            *_site_problems(sites),
            *_machine_problems(hosts, sites, told=lookout.dark),
            *(
                f"{each.breakage.sentence()}, on purpose; it ends by itself in {each.ends_in_s:.0f} s"
                for each in view.breakages
                # a site's cut is told with the site; the witness has no cloud, and no line of its own
                if each.breakage.kind is not Kind.CUT or each.breakage.target not in view.clouds
            ),
        ),
        documents=view.documents,
    )


def decide_database(
    answers: Mapping[str, Seen[DatabaseReport]], cluster: Seen[ClusterReport], places: Mapping[str, str]
) -> DatabaseStatus:
    """Who may write, and who holds a second copy of every acknowledged write.

    The primary is the database that says so itself, on the newest timeline when two do (one of them is
    cut off and will find out). When none does, the holder of the leader key is shown by name.
    """
    primaries = [answer.value for answer in answers.values() if answer.value and answer.value.primary]
    primary = max(primaries, key=lambda report: report.timeline or 0, default=None)
    name = primary.name if primary else cluster.value.leader if cluster.value else None
    named = cluster.value.synchronous if cluster.value else ()
    streaming = primary.streaming if primary else {}
    synchronous = tuple(each for each in named if streaming.get(each) in ("sync", "quorum"))
    lags = {each: _lag_bytes(answers[each].value, primary) for each in answers}
    return DatabaseStatus(
        primary=name,
        primary_place=places.get(name) if name else None,
        timeline=primary.timeline if primary else None,
        named=named,
        synchronous=synchronous,
        cluster_known=cluster.value is not None,
        single_copy=primary is not None and cluster.value is not None and not named,
        lag_bytes=max((lag for each in synchronous if (lag := lags.get(each)) is not None), default=None),
        paused=any(answer.value.paused for answer in answers.values() if answer.value),
        members=tuple(
            _member(each, places, answer, lags[each], primary=each == name, synchronous=synchronous)
            for each, answer in answers.items()
        ),
    )


def _lag_bytes(standby: DatabaseReport | None, primary: DatabaseReport | None) -> int | None:
    """How far behind, by two answers of about the same moment; never below 0."""
    if standby is None or primary is None or standby.primary:
        return None
    if standby.location_bytes is None or primary.location_bytes is None:
        return None
    return max(0, primary.location_bytes - standby.location_bytes)


def _member(
    name: str,
    places: Mapping[str, str],
    answer: Seen[DatabaseReport],
    lag_bytes: int | None,
    *,
    primary: bool,
    synchronous: tuple[str, ...],
) -> MemberStatus:
    report = answer.value
    if report is None:
        role, state = "unknown", UNREACHABLE
    elif report.primary:
        role, state = "primary" if primary else "former primary", report.state
    else:
        role, state = "synchronous standby" if name in synchronous else "standby", report.state
    return MemberStatus(
        name=name,
        place=places.get(name, ""),
        role=role,
        state=state,
        timeline=report.timeline if report else None,
        lag_bytes=lag_bytes,
        reason=answer.reason,
        replayed_at=report.replayed_at if report else None,
    )


def _sites(view: View) -> tuple[SiteStatus, ...]:
    cuts = {
        each.breakage.target: Cut(each.breakage.target, each.ends_in_s)
        for each in view.breakages
        if each.breakage.kind is Kind.CUT
    }
    states = {state.site: state for state in view.states.value or ()}
    return tuple(
        SiteStatus(
            name=name,
            answers=answer.value is not None,
            reason=answer.reason,
            servers=len(answer.value or ()),
            cut=cuts.get(name),
            rotation=str(states[name].state) if name in states else "unknown",
            rotation_reason=_wanted_by(states[name]) if name in states else view.states.reason,
        )
        for name, answer in view.clouds.items()
    )


def _wanted_by(state: SiteState) -> str:
    by = f"by {state.by}" if state.by else ""
    return f"{by} ({state.reason})" if by and state.reason else by


def _machine(host: Host, view: View) -> MachineStatus:
    cloud, power = _in_cloud(host, view.clouds)
    reach = view.reachable.get(host.name, Seen(None, "not asked"))
    return MachineStatus(
        name=host.name,
        place=host.place,
        address=host.address,
        cloud=cloud,
        power=power,
        reachable=reach.value is not None,
        reason=reach.reason,
    )


def _in_cloud(host: Host, clouds: Mapping[str, Seen[tuple[Server, ...]]]) -> tuple[str, Power]:
    if host.place not in clouds:
        return "-", Power.UNKNOWN
    servers = clouds[host.place].value
    if servers is None:
        return "unknown", Power.UNKNOWN
    server = next((each for each in servers if each.name == host.name and each.owner), None)
    return (server.status, server.power) if server else ("missing", Power.OFF)


def _voter(name: str, places: Mapping[str, str], answer: Seen[VoterReport]) -> VoterStatus:
    mode = answer.value.mode if answer.value else UNREACHABLE
    return VoterStatus(name, places.get(name, ""), str(mode), answer.reason)


def _edge(name: str, places: Mapping[str, str], answer: Seen[EdgeReport]) -> EdgeStatus:
    routes_to = answer.value.routes_to if answer.value else ()
    return EdgeStatus(name, places.get(name, ""), answer.value is not None, routes_to, answer.reason)


def _database_problems(database: DatabaseStatus) -> list[str]:
    if not database.members:
        return []
    problems = []
    if len(database.primaries) > 1:
        problems.append(f"databases {' and '.join(database.primaries)} both call themselves primary")
    if not any(member.role == "primary" for member in database.members):
        believed = f"; {database.primary} still holds the leader key" if database.primary else ""
        problems.append(f"no database answers as primary: nothing can be written{believed}")
    elif database.single_copy:
        problems.append(
            f"the database is SINGLE-COPY: {database.primary} acknowledges writes that exist nowhere else"
        )
    elif not database.cluster_known:
        problems.append("nobody says which standby is synchronous: ZooKeeper does not answer")
    elif missing := [name for name in database.named if name not in database.synchronous]:
        problems.append(f"writes wait: standby {missing[0]} is named synchronous and does not confirm")
    elif all(
        member.place == database.primary_place
        for member in database.members
        if member.name in database.synchronous
    ):
        problems.append(f"the synchronous standby is at {database.primary_place}, where the primary is")
    if database.paused:
        problems.append("Patroni is paused: the database will not fail over by itself")
    return problems


def _quorum_problems(voters: Sequence[VoterStatus], quorum: int, needed: int) -> list[str]:
    out = [voter.name for voter in voters if voter.mode not in (VoterMode.LEADER, VoterMode.FOLLOWER)]
    if not out:
        return []
    names = ", ".join(out)
    if quorum < needed:
        told = f"ZooKeeper has no quorum ({quorum} of {len(voters)}, {needed} needed): {names} out"
        return [f"{told}: nothing is moved or given up until it is back: dcctl probe zookeeper"]
    spare = quorum - needed
    left = "one more loss ends the quorum" if spare == 0 else f"{spare} more may be lost"
    what = "voter" if len(out) == 1 else "voters"
    verb = "is" if len(out) == 1 else "are"
    holds = f"{quorum} of {len(voters)}, the quorum holds"
    return [f"ZooKeeper {what} {names} {verb} out ({holds}): {left}: dcctl probe zookeeper"]


def _lookout(machines: Sequence[Host], hosts: Sequence[MachineStatus], view: View) -> Lookout:
    """How the agents look, where somebody asked. Without a quorum nobody is heard, and that is told."""
    if view.vantages is None:
        return Lookout()
    agents = {each.name: each.place for each in machines if "agent" in each.roles}
    return decide_lookout(agents, view.vantages, frozenset(each.name for each in hosts if each.reachable))


def _run_problems(view: View) -> list[str]:
    """A move that was broken off: it may be half done, and another is not begun before it is over."""
    active = view.active_run
    return [active.sentence()] if active is not None and not active.alive and active.is_move else []


def _edge_problems(edges: Sequence[EdgeStatus], database: DatabaseStatus) -> list[str]:
    problems = []
    for edge in edges:
        if not edge.up:
            problems.append(f"edge {edge.name} does not answer: {edge.reason}")
        elif not edge.routes_to:
            problems.append(f"edge {edge.name} sends writes nowhere")
        elif edge.routes_to != (database.primary,):
            problems.append(
                f"edge {edge.name} sends writes to {', '.join(edge.routes_to)}, not to {database.primary}"
            )
    return problems


def _site_problems(sites: Sequence[SiteStatus]) -> list[str]:
    problems = [
        f"site {site.name}: its API does not answer: {site.reason}" for site in sites if not site.answers
    ]
    problems += [
        f"site {site.name} is cut off on purpose and heals by itself in {site.cut.heals_in_s:.0f} s"
        for site in sites
        if site.cut
    ]
    problems += [
        f"site {site.name} is {site.rotation} {site.rotation_reason}".rstrip()
        + f": dcctl {mends} {site.name}"
        for site in sites
        if (mends := MENDS.get(site.rotation))
    ]
    return problems


def _machine_problems(
    machines: Sequence[MachineStatus], sites: Sequence[SiteStatus], *, told: frozenset[str]
) -> list[str]:
    """Machines that a silent API does not explain already, and that were not ``told`` of."""
    dark = {site.name for site in sites if not site.answers}
    problems = []
    for machine in machines:
        if machine.cloud == "missing":
            problems.append(f"machine {machine.name} does not exist at {machine.place}")
        elif machine.power in (Power.OFF, Power.SUSPENDED):
            problems.append(f"machine {machine.name} is {machine.power} ({machine.cloud})")
        elif not machine.reachable and machine.place not in dark and machine.name not in told:
            problems.append(f"machine {machine.name} is not reachable over SSH: {machine.reason}")
    return problems
