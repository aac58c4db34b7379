"""Drills: what one asks for, whether it may begin, and whether the system held (chaos engineering's words).

A drill names a steady state, breaks one thing, holds it broken until the client is served again, mends
it, waits for the steady state to return, and judges what the client saw. Units: seconds and bytes.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dcctl.domain.event import Event
from dcctl.domain.observation import Cut
from dcctl.domain.refusal import Refusal
from dcctl.domain.status import Host, Status

PRIMARY, STANDBY = "primary", "standby"
"""Words for a fault's site: where the database's primary, or its synchronous standby, is at that moment."""


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
    """``primary``, ``standby`` or a site's name."""
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
    respond: bool = False
    """Whether dcctl fails over and admits, as the person would who is called; else Patroni alone acts."""
    holds: tuple[str, ...] = ()
    """What the site must hold when it goes dark: ``primary``, and names of roles."""


@dataclass(frozen=True, slots=True)
class BlastRadius:
    """What goes dark together, and what remains."""

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
    ahead: bool = False,
) -> DrillPlan | Refusal:
    """Whether ``drill`` may begin now, and what it would do.

    It may when nothing needs attention (``status.problems``), no earlier undo is ``pending``, the standby
    is close behind, its target exists and holds what it must, and what remains still holds a quorum and an
    edge. ``leaders`` are the sites at which roles are held. ``ahead``: what the target must hold may still
    be elsewhere, and the plan begins with bringing it there.
    """
    database = status.database
    reasons = [*(f"an earlier undo is pending: {each}" for each in pending), *status.problems]
    if database.lag_bytes is not None and database.lag_bytes > drill.lag_at_most_bytes:
        reasons.append(
            f"the synchronous standby is {database.lag_bytes} bytes behind, "
            f"more than the {drill.lag_at_most_bytes} of the steady state"
        )
    site = decide_site(drill, status)
    if site not in {each.name for each in status.sites}:
        known = ", ".join(each.name for each in status.sites)
        reasons.append(f"the site to cut, {drill.cut_site}, is none of {known}")
        return Refusal(tuple(reasons))
    misplaced = decide_misplaced(drill, status, leaders or {})
    reasons += [] if ahead else misplaced
    radius = decide_blast_radius(site, hosts, status)
    if radius.voters_left < status.quorum_needed:
        reasons.append(
            f"without {site} only {radius.voters_left} of {radius.voters} voters remain: no quorum"
        )
    if not radius.edges_left:
        reasons.append(f"without {site} no edge remains")
    if reasons or database.primary is None or not database.synchronous:
        return Refusal(tuple(reasons) or ("the database has no primary with a synchronous standby",))
    return DrillPlan(
        drill=drill,
        radius=radius,
        primary=database.primary,
        standby=database.synchronous[0],
        sites=tuple(each.name for each in status.sites),
        steps=(
            *(f"switchover to {site} first, as a run of its own: {reason}" for reason in misplaced[:1]),
            *_steps(drill, site),
        ),
    )


def decide_site(drill: Drill, status: Status) -> str:
    """The site that the drill cuts; the drill's own word when that is no word for a site now."""
    database = status.database
    places = {member.name: member.place for member in database.members}
    if drill.cut_site == PRIMARY and database.primary_place:
        return database.primary_place
    if drill.cut_site == STANDBY and database.synchronous:
        return places[database.synchronous[0]]
    return drill.cut_site


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


def decide_blast_radius(site: str, hosts: Sequence[Host], status: Status) -> BlastRadius:
    """What is lost with ``site``, by what runs there now."""
    inside = {host.name for host in hosts if host.place == site}
    database = status.database
    return BlastRadius(
        site=site,
        machines=tuple(host.name for host in hosts if host.name in inside),
        voters_left=sum(voter.place != site for voter in status.voters),
        voters=len(status.voters),
        edges=tuple(edge.name for edge in status.edges if edge.place == site),
        edges_left=tuple(edge.name for edge in status.edges if edge.place != site),
        primary=database.primary if database.primary in inside else None,
        standby=next((name for name in database.synchronous if name in inside), None),
    )


def _steps(drill: Drill, site: str) -> tuple[str, ...]:
    load, whole = drill.workload, drill.application is not None
    steps = [
        f"write {load.writes_per_s:g} rows a second through every edge in turn, and read them back",
        "make tenders, bids and documents, and read them back through the other edge" if whole else "",
        f"wait until they are acknowledged for {load.warm_up_s:g} s",
        "write the undo to disk",
        f"cut {site} off the network, its cloud API included, for {drill.cut_for_at_most_s:g} s at most",
        f"fail over: give {site} up as soon as the evidence allows it" if drill.respond else "",
        f"hold until writes are acknowledged again for {drill.acknowledged_for_s:g} s, "
        f"{drill.hold_at_most_s:g} s at most",
        "ask the survivor for every acknowledged document" if whole else "",
        f"heal {site}",
        f"admit {site} when it has caught up" if drill.respond else "",
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
    """Something a run must leave undone: ``what`` is ``heal`` or ``admit`` (a site) or ``drop`` (a table)."""

    what: str
    target: str

    def sentence(self) -> str:
        """For people."""
        return f"drop table {self.target}" if self.what == "drop" else f"{self.what} site {self.target}"

    @property
    def place(self) -> str:
        """Where that is, for people."""
        return "database" if self.what == "drop" else self.target

    def fields(self) -> Mapping[str, Any]:
        """As it stands in the journal."""
        return {"undo": self.what, "target": self.target}


def pending_undos(events: Sequence[Event]) -> tuple[Undo, ...]:
    """What a run wrote down to be undone and never recorded as done, the newest first."""
    pending: list[Undo] = []
    for event in events:
        if event.type not in ("undo.written", "undo.done"):
            continue
        undo = Undo(event.fields["undo"], event.fields["target"])
        if event.type == "undo.written" and undo not in pending:
            pending.append(undo)
        elif event.type == "undo.done" and undo in pending:
            pending.remove(undo)
    return tuple(reversed(pending))


def still_cut(site: str, cuts: Sequence[Cut]) -> Cut | None:
    """The cut of ``site`` that is in force, if any."""
    return next((cut for cut in cuts if cut.site == site), None)
