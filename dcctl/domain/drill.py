"""Drills: what one asks for, whether it may begin, and whether the system held (chaos engineering's words).

A drill names a steady state, breaks one thing, holds it broken until the client is served again, mends
it, waits for the steady state to return, and judges what the client saw. Units: seconds and bytes.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dcctl.domain.event import Event
from dcctl.domain.fault import Breakage, Kind, read_breakage
from dcctl.domain.observation import VoterMode
from dcctl.domain.refusal import Refusal
from dcctl.domain.status import Host, Status

PRIMARY, STANDBY = "primary", "standby"
"""Words for a fault's site or machine: where the database's primary, or its synchronous standby, is then."""
LEADER = "leader"
"""Word for the voter that leads the ensemble then."""
FAILOVER, SWITCHOVER = "failover", "switchover"
"""What dcctl does in a drill: give the site up, or switch over while the fault strikes in the middle."""
CONTROLLER = "controller"
"""The drill looks on while the controller gives the site up by itself."""
GIVING_UP = (FAILOVER, CONTROLLER)
"""In both a site is given up, and is to be admitted when it is back."""


@dataclass(frozen=True, slots=True)
class WorkloadSpec:
    """The client: arrivals on a fixed schedule, whatever the latency, alternating between the edges."""

    writes_per_s: float = 50.0
    reads_per_s: float = 5.0
    in_flight_at_most: int = 32
    """Connections in use per edge, as in a real client's pool; an arrival beyond it fails at once, unsent."""
    connect_limit_s: float = 2.0
    statement_limit_s: float = 5.0
    warm_up_s: float = 5.0
    """Writes must have been acknowledged through every edge for this long before the fault."""
    cool_down_s: float = 5.0
    """The client goes on for this long after the steady state has returned."""


@dataclass(frozen=True, slots=True)
class BusinessSpec:
    """The application's clients: journeys on schedule, whatever the latency, through the edges in turn.

    A tender or a bid is five requests, a document three.
    """

    tenders_per_s: float = 0.5
    bids_per_s: float = 0.5
    documents_per_s: float = 0.5
    reads_per_s: float = 2.0
    looks_per_s: float = 2.0
    """How often the store is asked which scheduler's epoch is in force."""
    document_bytes: int = 2048
    tendering_s: float = 10.0
    """How long a tender takes bids; its auction follows at once."""
    in_flight_at_most: int = 32
    connect_limit_s: float = 2.0
    answer_limit_s: float = 5.0
    seek_limit_s: float = 20.0
    """Within this every acknowledged document must have been asked for at a site."""


@dataclass(frozen=True, slots=True)
class Tolerances:
    """What the client may see at most. ``loss_window_s`` 0: not one acknowledged write may be lost."""

    recovery_time_s: float
    loss_window_s: float
    lateness_s: float = 0.5
    """The client's own 99th percentile; beyond it the measurement is not to be trusted."""


@dataclass(frozen=True, slots=True)
class Drill:
    """One drill, ready to run: the file's words with the environment's objectives filled in."""

    name: str
    purpose: str
    cut_site: str
    """``primary``, ``standby``, or the name of a place; empty where ``breaks`` something else."""
    cut_for_at_most_s: float
    """The fault ends by itself after this long, whatever becomes of dcctl."""
    acknowledged_for_s: float
    """Held broken until writes are acknowledged again for this long …"""
    hold_at_most_s: float
    """… or until this much time has passed."""
    settle_at_most_s: float
    """After mending, the steady state must be back within this."""
    lag_at_most_bytes: int
    workload: WorkloadSpec
    tolerances: Tolerances
    application: BusinessSpec | None = None
    """The application's clients beside the writer; None: only the writer."""
    respond: str = ""
    """``failover``: dcctl fails over and admits, as the person would who is called. ``switchover``: dcctl
    moves the primary, and the fault strikes once that cannot be taken back. ``controller``: the controller
    gives the site up by itself, and the drill admits it. Empty: Patroni alone acts."""
    holds: tuple[str, ...] = ()
    """What the site must hold when it goes dark: ``primary``, and names of roles."""
    breaks: Breakage | None = None
    """What is broken instead of a site being cut off; its names may be the words for them."""
    hold_at_least_s: float = 0.0
    """Held broken for this long even when writes are acknowledged sooner."""


@dataclass(frozen=True, slots=True)
class BlastRadius:
    """What goes dark together, and what remains. ``site`` is the place where it does."""

    site: str
    machines: tuple[str, ...]
    voters_left: int
    voters: int
    edges: tuple[str, ...]
    edges_left: tuple[str, ...]
    primary: str | None
    """The primary, when it is in there."""
    standby: str | None
    """The synchronous standby, when it is in there."""


@dataclass(frozen=True, slots=True)
class DrillPlan:
    """A drill that may begin: its target is known, and the system is steady."""

    drill: Drill
    breakage: Breakage
    radius: BlastRadius
    primary: str
    standby: str
    sites: tuple[str, ...] = ()
    steps: tuple[str, ...] = field(default=())


def decide_drill(
    drill: Drill,
    hosts: Sequence[Host],
    status: Status,
    *,
    pending: Sequence[str] = (),
    leaders: Mapping[str, str] | None = None,
    against: Sequence[str] = (),
    ahead: bool = False,
) -> DrillPlan | Refusal:
    """Whether ``drill`` may begin now, and what it would do.

    It may when nothing needs attention (``status.problems``), no earlier undo is ``pending``, the standby
    is close behind, its target exists and holds what it must, and what remains still holds a quorum and an
    edge. ``leaders`` are the sites at which roles are held, ``against`` whatever else stands against it.
    ``ahead``: what the target must hold may still be elsewhere, and the plan begins with bringing it there.
    """
    database = status.database
    reasons = [*(f"an earlier undo is pending: {each}" for each in pending), *status.problems, *against]
    if database.lag_bytes is not None and database.lag_bytes > drill.lag_at_most_bytes:
        reasons.append(
            f"the synchronous standby is {database.lag_bytes} bytes behind, "
            f"more than the {drill.lag_at_most_bytes} of the steady state"
        )
    breakage = decide_breakage(drill, status)
    unknown = _why_unknown(drill, breakage, hosts, status)
    if unknown:
        return Refusal((*reasons, *unknown))
    misplaced = decide_misplaced(drill, status, leaders or {})
    reasons += [] if ahead else misplaced
    radius = decide_blast_radius(breakage, hosts, status)
    if radius.voters_left < status.quorum_needed:
        reasons.append(
            f"without {breakage.target} only {radius.voters_left} of {radius.voters} voters remain: no quorum"
        )
    if not radius.edges_left:
        reasons.append(f"without {breakage.target} no edge remains")
    if reasons or database.primary is None or not database.synchronous:
        return Refusal(tuple(reasons) or ("the database has no primary with a synchronous standby",))
    to = _place(database.synchronous[0], status)
    return DrillPlan(
        drill=drill,
        breakage=breakage,
        radius=radius,
        primary=database.primary,
        standby=database.synchronous[0],
        sites=tuple(each.name for each in status.sites),
        steps=(
            *(f"switchover to {radius.site} first, as a run of its own: {each}" for each in misplaced[:1]),
            *_steps(drill, breakage, to),
        ),
    )


def decide_breakage(drill: Drill, status: Status) -> Breakage:
    """What the drill breaks, with the names that its words mean now; words that mean nothing now stay."""
    asked = drill.breaks or Breakage(Kind.CUT, drill.cut_site)
    match asked.kind:
        case Kind.PAUSE:
            return replace(asked, target=_member(asked.target, status))
        case Kind.KILL:
            return replace(asked, target=_voter(asked.target, status))
        case _:
            toward = _place(_member(asked.toward, status), status)
            return replace(asked, target=_place(_member(asked.target, status), status), toward=toward)


def _member(word: str, status: Status) -> str:
    """The database's machine that ``word`` means, if it is one of those words."""
    database = status.database
    if word == PRIMARY and database.primary:
        return database.primary
    return database.synchronous[0] if word == STANDBY and database.synchronous else word


def _place(name: str, status: Status) -> str:
    """Where the database's member of that name is; a name that is none stays."""
    places = {member.name: member.place for member in status.database.members}
    return places.get(name, name)


def _voter(word: str, status: Status) -> str:
    leading = [voter.name for voter in status.voters if voter.mode == VoterMode.LEADER]
    return leading[0] if word == LEADER and leading else word


def _why_unknown(drill: Drill, breakage: Breakage, hosts: Sequence[Host], status: Status) -> tuple[str, ...]:
    """Why there is no such thing to break."""
    sites = [each.name for each in status.sites]
    places = [*sites, *sorted({host.place for host in hosts} - set(sites))]
    match breakage.kind:
        case Kind.CUT if breakage.target not in places:
            return (f"the site to cut, {drill.cut_site}, is none of {', '.join(places)}",)
        case Kind.ONE_WAY if {breakage.target, breakage.toward} - set(places) or (
            breakage.target == breakage.toward
        ):
            known = ", ".join(places)
            return (f"{breakage.target} and {breakage.toward} are not two places of {known}",)
        case Kind.PAUSE if breakage.target not in [host.name for host in hosts]:
            return (f"the machine to pause, {breakage.target}, is none of this environment's",)
        case Kind.KILL if breakage.target not in [voter.name for voter in status.voters]:
            known = ", ".join(voter.name for voter in status.voters)
            return (f"the voter to kill, {breakage.target}, is none of {known}",)
    if drill.respond in GIVING_UP and breakage.target not in sites:
        return (f"{breakage.target} is no site that could be given up",)
    return ()


def decide_site(drill: Drill, status: Status) -> str:
    """The site that the drill cuts; the drill's own word when that is no word for a site now."""
    return decide_breakage(drill, status).target


def decide_misplaced(drill: Drill, status: Status, leaders: Mapping[str, str]) -> list[str]:
    """What the site does not hold although it must, each with where it is. A switchover brings it there."""
    site = decide_site(drill, status)
    places = {**leaders, PRIMARY: status.database.primary_place}
    return [
        f"{site} does not hold {'the primary' if what == PRIMARY else f'the role {what}'}: "
        f"{place if (place := places.get(what)) else 'nobody'} does"
        for what in drill.holds
        if places.get(what) != site
    ]


def decide_blast_radius(breakage: Breakage, hosts: Sequence[Host], status: Status) -> BlastRadius:
    """What is lost while ``breakage`` is in force, by what runs there now."""
    target, database = breakage.target, status.database
    match breakage.kind:
        case Kind.CUT:
            inside = {host.name for host in hosts if host.place == target}
        case Kind.PAUSE:
            inside = {target}
        case _:
            inside = set()
    out = inside | {target} if breakage.kind is Kind.KILL else inside
    return BlastRadius(
        site=next((host.place for host in hosts if host.name == target), target),
        machines=tuple(host.name for host in hosts if host.name in inside),
        voters_left=sum(voter.name not in out for voter in status.voters),
        voters=len(status.voters),
        edges=tuple(edge.name for edge in status.edges if edge.name in inside),
        edges_left=tuple(edge.name for edge in status.edges if edge.name not in inside),
        primary=database.primary if database.primary in inside else None,
        standby=next((name for name in database.synchronous if name in inside), None),
    )


def _steps(drill: Drill, breakage: Breakage, to: str) -> tuple[str, ...]:
    load, whole = drill.workload, drill.application is not None
    site, gives_up, moves = breakage.target, drill.respond in GIVING_UP, drill.respond == SWITCHOVER
    looks_on = drill.respond == CONTROLLER
    at_least = f"at least {drill.hold_at_least_s:g} s and " if drill.hold_at_least_s else ""
    steps = [
        f"write {load.writes_per_s:g} rows a second through every edge in turn, and read them back",
        "make tenders, bids and documents, and read them back through the other edge" if whole else "",
        f"wait until they are acknowledged for {load.warm_up_s:g} s",
        "write the undo to disk",
        f"switch over to {to}; as soon as that cannot be taken back, the fault:" if moves else "",
        f"{breakage.order()}, for {drill.cut_for_at_most_s:g} s at most",
        f"look on while the controller gives {site} up by itself" if looks_on else "",
        f"fail over: give {site} up as soon as the evidence allows it" if gives_up and not looks_on else "",
        "go on with the switchover to its end" if moves else "",
        f"hold {at_least}until writes are acknowledged again for {drill.acknowledged_for_s:g} s, "
        f"{drill.hold_at_most_s:g} s at most",
        "ask the survivor for every acknowledged document" if whole else "",
        breakage.way_back(),
        f"admit {site} when it has caught up" if gives_up else "",
        f"wait for the steady state, {drill.settle_at_most_s:g} s at most",
        "wait until every acknowledged document is at both sites" if whole else "",
        "stop writing, read every row back, drop the table",
        "read every tender, bid and document back" if whole else "",
        "judge what the client saw",
    ]
    return tuple(step for step in steps if step)


def table_of(run: str) -> str:
    """The name of a run's table: an SQL identifier, so that anyone can type it."""
    return f"dcctl_drill_{run.replace('-', '_')}"


def titles_of(run: str) -> str:
    """How the title of everything begins that a run makes in the application."""
    return f"drill {run} "


def title_of(run: str, what: str, number: int) -> str:
    """The title of one such thing: no two of a run are alike."""
    return f"{titles_of(run)}{what} {number}"


def payload_of(run: str, row: int) -> str:
    """What a row holds: derived from its number, so that every later reader can check it."""
    return hashlib.sha256(f"{run}/{row}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Undo:
    """Something a run must leave undone: ``what`` is ``admit`` (a site), ``drop`` (a table), or ``mend`` (a
    breakage, by its word)."""

    what: str
    target: str

    @classmethod
    def of(cls, breakage: Breakage) -> "Undo":
        """The end of ``breakage``."""
        return cls("mend", breakage.word())

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> "Undo":
        """What ``fields`` wrote; older journals have ``heal`` and a site for the end of a cut."""
        what, target = fields["undo"], fields["target"]
        return cls.of(Breakage(Kind.CUT, target)) if what == "heal" else cls(what, target)

    @property
    def breakage(self) -> Breakage:
        """What a ``mend`` ends."""
        return read_breakage(self.target)

    def sentence(self) -> str:
        """For people."""
        match self.what:
            case "drop":
                return f"drop table {self.target}"
            case "mend" if self.breakage.kind is Kind.CUT:
                return f"heal site {self.breakage.target}"
            case "mend":
                return self.breakage.way_back()
            case _:
                return f"{self.what} site {self.target}"

    @property
    def place(self) -> str:
        """Where that is, for people."""
        match self.what:
            case "drop":
                return "database"
            case "mend":
                return self.breakage.target
            case _:
                return self.target

    def fields(self) -> Mapping[str, Any]:
        """As it stands in the journal."""
        return {"undo": self.what, "target": self.target}


def pending_undos(events: Sequence[Event]) -> tuple[Undo, ...]:
    """What a run wrote down to be undone and never recorded as done, the newest first."""
    pending: list[Undo] = []
    for event in events:
        if event.type not in ("undo.written", "undo.done"):
            continue
        undo = Undo.read(event.fields)
        if event.type == "undo.written" and undo not in pending:
            pending.append(undo)
        elif event.type == "undo.done" and undo in pending:
            pending.remove(undo)
    return tuple(reversed(pending))
