"""Every promise that an engine needs kept, on one page.

A port is what dcctl asks of the world; an adapter keeps it with one vendor's means, and ``dcctl.testing``
keeps it in memory. Both pass the same contract suite (``dcctl.testing.contracts``). Rules for all:

- Every call ends within its own time limit and raises ``errors.TimedOut`` when it cannot.
- Absence is ``None`` or an empty tuple where a caller would expect it, ``errors.NotFound`` where not.
- Errors are of ``dcctl.errors`` and name the site, the object and the cause; no vendor type leaves.
- ``observe_*`` only reads. ``ensure_*`` changes what differs, and may be repeated at any time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from dcctl.domain.artifact import Artifact
from dcctl.domain.automation import Automation, Certificate, LastAction
from dcctl.domain.business import BusinessHistory
from dcctl.domain.capacity import Traffic
from dcctl.domain.deploy import Applied, Change, Deployment, Doing, Failure, Finding
from dcctl.domain.document import Answer, Document, Head
from dcctl.domain.event import Event
from dcctl.domain.fault import Breakage, InForce
from dcctl.domain.history import History
from dcctl.domain.known_hosts import KnownHost
from dcctl.domain.leadership import Epoch, Renewal, RoleState, Term
from dcctl.domain.machine import Hypervisor, Power, PowerReading, Server, ServerSpec
from dcctl.domain.observation import ClusterReport, DatabaseReport, EdgeReport, VoterReport
from dcctl.domain.release import LeaderKeys
from dcctl.domain.replication import Stamp
from dcctl.domain.replication_check import ContainerFacts
from dcctl.domain.replication_feed import Told
from dcctl.domain.replication_import import SourceFile
from dcctl.domain.replication_pass import Held
from dcctl.domain.replication_pause import Pause
from dcctl.domain.replication_share import ContainerWork, Share, ShareState, Worked
from dcctl.domain.replication_token import Agreed
from dcctl.domain.rules import LastMove
from dcctl.domain.run import ActiveRun, Asked, Ordered, Wish
from dcctl.domain.traffic import EdgeServer, Observation, SiteState


class Clock(Protocol):
    """Time, owned by the shell. Engines never hold one."""

    def now(self) -> datetime:
        """The instant, aware UTC."""

    def monotonic(self) -> float:
        """Seconds that only grow; for limits and leases."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class Journal(Protocol):
    """The append-only record of one run. An event that ``append`` returned from is on disk."""

    run: str

    def append(self, type: str, fields: Mapping[str, Any]) -> Event:
        """Write one event, fsynced, and return it with its number and time."""

    def events(self) -> tuple[Event, ...]:
        """All events so far, in order; a torn last line is left out."""


class Machines(Protocol):
    """The machines of one site, on whichever cloud it is.

    ``name`` is a server's name within the environment that owns it. Nothing that is not marked as owned
    by the environment is ever changed: ``errors.Refused`` says whose it is.
    """

    site: str

    def observe_servers(self) -> tuple[Server, ...]:
        """All servers visible to us, ours and others', sorted by name."""

    def observe_hypervisors(self) -> tuple[Hypervisor, ...]:
        """All hosts with capacity and reservations, sorted by name."""

    def observe_power(self, name: str) -> PowerReading:
        """A reading asked for by this very call. ``NotFound`` when there is no such server."""

    def ensure_server(self, spec: ServerSpec) -> Server:
        """Create what is missing, power it on, and wait until the cloud calls it running.

        An existing server of ours is left as it is, except that it is powered on; what differs from the
        specification is for the plan to show, not for this call to mend. A leftover of a create that
        failed midway is removed and made anew.
        """

    def ensure_power(self, name: str, power: Power) -> PowerReading:
        """Make it ON, OFF or SUSPENDED and read back; OFF is the hard way, with automatic restart off."""

    def move_server(self, name: str, hypervisor: str) -> Server:
        """Move a server to a named host and wait until it is there; it keeps its power state."""

    def delete_server(self, name: str) -> None:
        """Delete a server of ours and wait until it is gone; absent is done."""


class Runs(Protocol):
    """The right to act in an environment, of one run at a time, through one session with the ensemble.

    Whoever begins, notes an intent or ends does so against what it wrote last: of two, one succeeds. Age
    alone gives nobody this right. A call lasts at most ``limit_s`` seconds.
    """

    def observe_active(self, *, limit_s: float) -> ActiveRun | None:
        """The run that has the right, alive or broken off; None when no run has."""

    def observe_last_move(self, *, limit_s: float) -> LastMove | None:
        """The last move that ended well (the event ``move.ended``), of whatever run."""

    def begin(self, run: str, command: str, *, limit_s: float) -> None:
        """Take the right for ``run``, a new one or one that ended or was broken off. ``Refused`` names the
        run that is active, that is to be resumed or aborted first (``domain.run.decide_begin``), or that was
        broken off in the middle of something that may still go on after ``limit_s``."""

    def append(self, event: Event, *, limit_s: float) -> None:
        """Keep an event of our run, for every machine to read. ``LeadershipLost`` when another began."""

    def end(self, *, limit_s: float) -> None:
        """Give the right back; where we do not have it any more, that is done."""

    def events(self, run: str, *, limit_s: float) -> tuple[Event, ...]:
        """What is kept of a run, in order; empty where nothing is."""

    def observe_ordered(self, run: str, *, limit_s: float) -> Ordered | None:
        """Who took the right for a run, and for which command; None where nothing is kept of it."""

    def observe_runs(self, *, limit_s: float) -> tuple[str, ...]:
        """The names of the runs that are kept, sorted."""

    def forget(self, run: str, *, limit_s: float) -> bool:
        """Remove what is kept of another run, while ours has the right to act (else ``LeadershipLost``). None
        of it, and False, where something of that changed meanwhile."""

    def observe_asked(self, run: str, *, limit_s: float) -> tuple[Asked, ...]:
        """What people ask of a run now."""

    def ask(self, run: str, asked: Asked, *, limit_s: float) -> None:
        """Ask; the same wish for the same step is replaced. ``NotFound`` where nothing is kept of the run."""

    def withdraw(self, run: str, wish: Wish, *, limit_s: float) -> None:
        """Ask this no more; where nobody asks, that is done."""


class KnownHosts(Protocol):
    """The host keys that dcctl trusts: known from provisioning, never from a first connection."""

    def observe(self) -> tuple[KnownHost, ...]:
        """All of them."""

    def record(self, host: KnownHost) -> None:
        """Trust this key; whatever bore its name or stood at its address before is forgotten."""

    def forget(self, name: str) -> None:
        """Trust it no longer; absent is done."""


class Remote(Protocol):
    """Commands on one machine, over a channel whose other end is proven to be that machine."""

    def run(self, argv: Sequence[str], *, limit_s: float, stdin: str = "") -> tuple[int, str, str]:
        """Exit status, standard output, standard error. ``Unreachable`` when there is no channel."""


class Artifacts(Protocol):
    """The applications as they are sent to machines."""

    def describe(self) -> Mapping[str, Artifact]:
        """All of them by name, whether made already or not."""

    def ensure(
        self,
        names: Sequence[str],
        *,
        limit_s: float,
        seen: Callable[[str, str], None],
        asked_to_end: Callable[[], bool],
    ) -> tuple[Artifact, ...]:
        """Make those that are missing; ``seen`` is told name and progress. ``Interrupted`` soon after
        ``asked_to_end``."""


class Playbooks(Protocol):
    """Every change of a machine's configuration."""

    def apply(
        self,
        deployment: Deployment,
        *,
        check: bool,
        limit_s: float,
        seen: Callable[[Doing | Change | Failure], None],
        asked_to_end: Callable[[], bool],
    ) -> Applied:
        """Configure; with ``check`` only say what would change. A machine that fails is in the outcome.

        ``seen`` is told what happens as it happens. ``Interrupted`` soon after ``asked_to_end`` says so.
        """


class Acceptance(Protocol):
    """Looking at machines from outside, to say whether they are what was deployed. Changes nothing."""

    def examine(
        self,
        names: Sequence[str],
        roles: Sequence[str],
        *,
        limit_s: float,
        seen: Callable[[Finding], None],
        asked_to_end: Callable[[], bool],
    ) -> tuple[Finding, ...]:
        """Every check of ``roles`` on those of the machines ``names`` that carry them.

        A machine that does not answer fails its checks. ``Interrupted`` soon after ``asked_to_end``.
        """


@dataclass(frozen=True, slots=True)
class Earlier:
    """What some machines' roles were last accepted with, ready to be applied and examined again."""

    deployment: Deployment
    playbooks: Playbooks
    acceptance: Acceptance


class Accepted(Protocol):
    """What every role on every machine was configured with when it last passed its checks."""

    def keep(self, deployment: Deployment) -> None:
        """These roles on these machines have passed with what is configured now."""

    def earlier(self, deployment: Deployment) -> tuple[Earlier, ...]:
        """The way back for all of ``deployment``, in parts; empty when some of it never passed."""


class DocumentStore(Protocol):
    """The objects of one cluster, addressed with requests that bring their own timestamps.

    The only asynchronous port: the replicator keeps hundreds of requests under way. Beside the usual
    errors every call may raise ``errors.Busy``. Nothing here retries.
    """

    site: str

    def now(self) -> Stamp:
        """A lower bound of the cluster's clock, from the ``Date`` of its answers."""

    def silent_s(self) -> float:
        """Seconds since its last answer. For so long its clock may have been set back unseen."""

    async def list_page(
        self,
        container: str,
        *,
        marker: str = "",
        upto: str | None = None,
        prefix: str = "",
        limit: int = 10_000,
    ) -> bytes:
        """The JSON text of the next rows after ``marker`` and not after ``upto``.

        A container that is missing is ``NotFound`` or ``CredentialsRefused``: Swift keeps the key that
        would verify our signature on the container.
        """

    def fetch(self, container: str, name: str) -> AbstractAsyncContextManager[Document | None]:
        """The object, a manifest as it is stored; None when there is none or it has expired."""

    async def head(self, container: str, name: str) -> Head | None:
        """The object without its bytes; None when there is none or it has expired."""

    async def put(self, container: str, name: str, stamp: Stamp, document: Document) -> Answer:
        """Write it under ``stamp``; the bytes are checked against ``document.head.hash`` on arrival."""

    async def post(self, container: str, name: str, stamp: Stamp, headers: Mapping[str, str]) -> Answer:
        """Replace the metadata under ``stamp``."""

    async def delete(self, container: str, name: str, stamp: Stamp) -> Answer:
        """Delete what is older than ``stamp``; its tombstone is laid also where there is nothing."""

    async def holds(self, container: str, name: str, stamp: Stamp) -> bool:
        """Whether a body or a tombstone as new as ``stamp`` or newer is there. Changes nothing.

        It is a PUT whose ETag cannot match: Swift judges the stamp first (202) and the bytes after (422).
        """


class Account(Protocol):
    """One cluster's account with its owner's rights: containers, not their objects."""

    site: str

    def containers(self, prefix: str = "") -> tuple[str, ...]:
        """The names of all containers that begin with ``prefix``."""

    def observe_container(self, container: str) -> ContainerFacts | None:
        """How a container is set up; None when there is none."""

    def ensure_container(self, container: str, key: str, *, mark: str | None = None) -> bool:
        """Make it, or give it our key and ``mark``; whether anything had to be changed."""

    def ensure_settings(self, container: str, settings: Mapping[str, str]) -> bool:
        """Make its access lists and metadata what ``settings`` says; whether anything had to be changed."""

    def remove_container(self, container: str) -> bool:
        """Remove it if it is empty, which the cluster judges; absent is done. False: it has objects."""


class Reach(Protocol):
    """Whether something listens, as seen from where dcctl runs."""

    def observe_port(self, address: str, port: int) -> float:
        """Connect, hang up, and say how many seconds connecting took. ``Unreachable`` says why not."""


class Coordination(Protocol):
    """The ZooKeeper ensemble, server by server: each may answer while another does not."""

    voters: tuple[str, ...]

    def observe_voter(self, name: str) -> VoterReport:
        """What this server says of itself. ``Unreachable`` when it says nothing."""


class Database(Protocol):
    """The replicated database, member by member."""

    members: tuple[str, ...]

    def observe_member(self, name: str) -> DatabaseReport:
        """What this member says of itself. ``Unreachable`` when it says nothing."""

    def observe_cluster(self) -> ClusterReport:
        """What the quorum knows of all members. ``Unreachable`` when no quorum answers.

        Asks the quorum itself, never a member: a member that is made to ask often does not notice that
        its own way to the quorum is gone (docs/explanation/limits.md).
        """


class Switch(Protocol):
    """What Patroni is asked to do; a promotion is never forced (``POST /failover`` is not used)."""

    def make_ready(self, member: str, *, limit_s: float) -> str:
        """Have ``member`` write to disk what it would write while it stops, or takes over; why it has not
        (empty: it has)."""

    def switch_over(self, leader: str, candidate: str, *, limit_s: float) -> str:
        """Move the primary while both answer; what was answered. ``Rejected`` where ``leader`` is not the
        primary any more, or ``candidate`` does not have every acknowledged write. ``TimedOut``: it may
        happen yet."""

    def start_anew(self, member: str, *, limit_s: float) -> str:
        """Stop and start a standby, whereupon Patroni looks whether it must be rewound, and rewinds it; what
        was answered. ``TimedOut``: it may happen yet."""

    def rebuild(self, member: str, *, limit_s: float) -> str:
        """Begin to remove what a standby has and to copy the primary anew; what was answered. ``Rejected``
        where it is the primary."""


class Pools(Protocol):
    """The pools through which clients of the edges reach the database: between two transactions all of them
    can be held. All say by edge why it was not done, or cannot be; empty is done."""

    def observe(self, *, limit_s: float) -> Mapping[str, str]:
        """Whether each could be held now."""

    def hold(self, old: str, new: str, *, for_s: float, limit_s: float) -> Mapping[str, str]:
        """Let what is under way end, within about a second, and hold everybody until ``new`` is primary, or
        for ``for_s``: the edge lets go by itself, whatever becomes of us. A hold replaces the one before."""

    def let_go(self, *, limit_s: float) -> Mapping[str, str]:
        """Hold nobody; may be repeated."""


class LeaderKey(Protocol):
    """Patroni's leader key, given back to the quorum before the session of a lost primary ends."""

    def observe_keys(self, *, limit_s: float) -> LeaderKeys:
        """Patroni's keys as the quorum has them, with their versions."""

    def release(self, keys: LeaderKeys, *, term: Term | None, limit_s: float) -> None:
        """Delete the very leader key of ``keys`` and rewrite ``/sync``, in one transaction, if our run still
        has the right to act (``LeadershipLost``), under ``term`` where one is given, and if nothing of
        ``keys`` has changed (``Refused``). ``TimedOut``: it may happen yet, or have happened."""


class WriteProof(Protocol):
    """A write of our own, as a client would make it."""

    def write(self, edge: str, note: str, *, limit_s: float) -> str:
        """Commit one row through ``edge`` and read it back; who took it. ``Unreachable`` says why it is not
        acknowledged: a COMMIT that ended with a warning is not."""


class Edges(Protocol):
    """The edges through which clients come in."""

    edges: tuple[str, ...]

    def observe_edge(self, name: str) -> EdgeReport:
        """Where this edge sends writes. ``Unreachable`` when it says nothing."""


class EdgeLoad(Protocol):
    """How much each edge sends where, now."""

    def observe_load(self, edge: str) -> Mapping[str, Traffic]:
        """By machine, the edge itself included. ``Unreachable`` when it says nothing."""


class LoadMemory(Protocol):
    """What each edge last showed, for when it is dark."""

    def record(self, edge: str, traffic: Mapping[str, Traffic], at: datetime) -> None:
        """Remember; the last one is replaced."""

    def last_seen(self, edge: str) -> tuple[datetime, Mapping[str, Traffic]] | None:
        """None when it was never seen from here."""


class Fault(Protocol):
    """Breaking on purpose. Every break carries its own end, which needs nobody alive to come."""

    def observe_breakages(self) -> tuple[InForce, ...]:
        """What is broken on purpose now."""

    def inflict(self, breakage: Breakage, *, for_s: float) -> None:
        """Break it for ``for_s`` seconds; what is broken so already gets the new time."""

    def mend(self, breakage: Breakage) -> None:
        """End it; where it is not in force, that is done."""


class Workload(Protocol):
    """One client outside all sites, writing through the edges and remembering what it was told.

    Its arrivals are on schedule whatever the system does. It runs from ``start`` to ``stop``; everything
    it notes is kept on disk as it happens.
    """

    table: str

    def start(self) -> None:
        """Create the table and begin. ``Unreachable`` when no edge lets us."""

    def acknowledged_s(self) -> Mapping[str, Sequence[float]]:
        """Per edge, when its writes were acknowledged, in seconds since the history began; in order."""

    def mark(self, name: str, target: str) -> float:
        """Note that something happened, and return when."""

    def stop(self) -> History:
        """End the arrivals, let what is under way end, read every row back from the primary, and return
        everything. A final read that did not succeed is in the history as such. May be repeated."""

    def drop(self) -> None:
        """Drop the table; absent is done. ``Unreachable`` when no edge lets us."""


class Business(Protocol):
    """The application's clients outside all sites: tenders, bids and documents through the edges.

    Journeys begin on schedule whatever the system does, from ``start`` to ``stop``; everything noted is kept
    on disk as it happens. What they made stays in the application, under titles that name the run.
    """

    def start(self) -> None:
        """Begin."""

    def acknowledged_s(self) -> Mapping[str, Sequence[float]]:
        """Per edge, when its changes were acknowledged, in seconds since the history began; in order."""

    def mark(self, name: str, target: str) -> float:
        """Note that something happened, and return when."""

    def seek(self, site: str) -> tuple[str, ...]:
        """Fetch the acknowledged documents not yet found at ``site``; the names of those still missing."""

    def stop(self) -> BusinessHistory:
        """End the arrivals, let what is under way end, read the whole record from the primary, and return
        everything. A record that could not be read is in the history as such. May be repeated."""


class ChangeFeed(Protocol):
    """Writes that the application told about, until they are settled."""

    def watch(self, containers: Sequence[str]) -> None:
        """These are the containers that are replicated now; for who asks about each."""

    def pending(self, limit: int) -> tuple[Told, ...]:
        """The oldest that are not settled, by number."""

    def settle(self, numbers: Sequence[int]) -> None:
        """They have arrived at the other side."""


class FileTree(Protocol):
    """Files to bring into a container."""

    def files(self) -> Iterator[SourceFile]:
        """Every file, in the byte order of their paths."""

    def read(self, file: SourceFile) -> Document:
        """Its bytes with their hash. ``Unreachable`` when it cannot be read or changes meanwhile."""


class ReplicationBase(Protocol):
    """What both clusters last agreed on, in ranges of names (``after`` < name <= ``upto``; None: the end).

    A cache: an empty one is right too, and costs requests. Rows are texts as the listing gave them.
    """

    def forgot(self, container: str) -> bool:
        """Whether it was damaged, and no pass over the container is complete since."""

    def digest(self, container: str, after: str, upto: str | None) -> bytes | None:
        """The digest kept for exactly this range."""

    def rows(self, container: str, after: str, upto: str | None) -> list[bytes]:
        """All rows of the range, and perhaps more around it."""

    def bounds(self, container: str, rows: int) -> list[str]:
        """Where ranges end that hold about ``rows`` rows each, in order; the last range has no end."""

    def agree(
        self,
        container: str,
        after: str,
        upto: str | None,
        rows: Sequence[bytes],
        *,
        digest: bytes | None = None,
        beyond: Sequence[bytes] = (),
    ) -> None:
        """Replace the range, keep ``beyond`` after it, and remember that the pass came this far."""

    def progressed(self, container: str, marker: str) -> None:
        """Remember that the pass came this far and changed nothing on the way."""

    def begin(self, container: str, now: Stamp) -> tuple[str, Stamp]:
        """The marker to go on from, and when this pass began."""

    def finish(self, container: str, began: Stamp, rows: int) -> None:
        """The pass is complete."""

    def complete(self, container: str) -> tuple[Stamp, int] | None:
        """When the last complete pass began, and how many rows it agreed on."""

    def ended(self, container: str, at: Stamp, tally: dict[str, Any]) -> None:
        """Remember how the last pass ended."""

    def hold(self, container: str, held: Sequence[Held]) -> None:
        """Remember names for a person to decide."""

    def decided(self, container: str, name: str) -> None:
        """A person has decided this name."""

    def held(self, container: str) -> Iterator[Held]:
        """Names for a person to decide."""


class TokenStore(DocumentStore, Protocol):
    """A cluster that believes nobody's timestamp: a write gets its own, whatever stamp is given."""

    def renew(self) -> None:
        """Log in again where the token is not young. May take seconds."""

    async def shown(self, container: str, name: str) -> Head | None:
        """As clients see it: a static large object with its own ETag, length and content type."""

    async def put_manifest(
        self, container: str, name: str, parts: bytes, headers: Mapping[str, str]
    ) -> Answer:
        """Make a static large object of segments that are there; ``Rejected`` where one is not as told."""


class TokenBase(Protocol):
    """What two such clusters last agreed on, name by name."""

    def forgot(self, container: str) -> bool:
        """Whether it was damaged, and no pass over the container is complete since."""

    def agreed_tokens(self, container: str, after: str, upto: str | None) -> Mapping[str, Agreed]:
        """By name, in ``after`` < name <= ``upto`` (None: the end)."""

    def agree_tokens(self, container: str, agreed: Mapping[str, Agreed | None]) -> None:
        """Remember these; None: forget the name."""

    def finish(self, container: str, began: Stamp, rows: int) -> None:
        """The pass is complete."""

    def complete(self, container: str) -> tuple[Stamp, int] | None:
        """When the last complete pass began, and how many rows it agreed on."""

    def ended(self, container: str, at: Stamp, tally: dict[str, Any]) -> None:
        """Remember how the last pass ended."""


class SharedWork(Protocol):
    """How workers share what is to be replicated, each through its own session with the ensemble.

    It spares requests and guards nothing: what two do at once comes out as if one had done it. A call that
    the ensemble does not answer is ``Unreachable``.
    """

    who: str

    def observe_workers(self) -> tuple[str, ...]:
        """Everybody who works now, sorted, ourselves included: asking makes us known."""

    def observe_work(self, container: str) -> ContainerWork:
        """How a container is divided, and what is known of each share."""

    def take(self, share: Share) -> ShareState | None:
        """Take a share until we give it back or our session ends; None when another has it."""

    def give_back(self, state: ShareState, worked: Worked | None) -> None:
        """Give a share back, with what became of it (None: it was not walked to its end).

        Where another has walked it since, that one's word stays.
        """

    def divide(self, work: ContainerWork, bound: str) -> bool:
        """Cut a container at ``bound`` too. False when it was divided otherwise since ``work`` was seen."""


class Pauses(Protocol):
    """Whether replication is paused, and who follows. ``Unreachable`` where that cannot be said now."""

    def observe_pause(self) -> Pause | None:
        """Who paused it; None while it goes on."""

    def change_pause(self, pause: Pause | None) -> None:
        """Pause, or (None) resume; either may be repeated."""

    def observe_followers(self) -> Mapping[str, str]:
        """By name, what each that follows is: working or idle."""

    def report(self, state: str | None) -> None:
        """What we are, as a follower; None: none any more. It ends with our process."""


class Leases(Protocol):
    """The roles in the ensemble, through one session of it. Nothing here waits, retries or listens.

    A call that did not reach the ensemble, or whose answer did not come back, is ``Unreachable`` or
    ``TimedOut``; its effect, if any, may come later.
    """

    @property
    def session_s(self) -> float:
        """How long a lease lasts: the session that the ensemble granted, in seconds."""

    def observe_roles(self, *, limit_s: float) -> tuple[RoleState, ...]:
        """All roles that ever had a leader, sorted by name."""

    def observe_role(self, role: str, *, limit_s: float) -> RoleState:
        """One role; a role that never had a leader has neither epoch nor lease."""

    def claim(self, state: RoleState, term: Term, *, limit_s: float) -> Renewal | None:
        """Begin ``term`` if nothing was written since ``state`` was seen; None when something was.

        A holder whose lease has run out, but whose session lives, is put out.
        """

    def renew(self, term: Term, version: int, *, limit_s: float) -> Renewal:
        """Renew against the last version written. ``LeadershipLost`` when the term is over."""

    def release(self, term: Term, *, limit_s: float) -> bool:
        """Write that the work of ``term`` is over and leave; False when the term was over before."""

    def ask_to_resign(self, role: str, epoch: Epoch, who: str, *, limit_s: float) -> None:
        """Ask the holder of ``epoch`` to hand over; it looks with every renewal."""

    def withdraw(self, role: str, epoch: Epoch, *, limit_s: float) -> None:
        """Ask no more; where nobody asks, that is done."""


class EpochMirror(Protocol):
    """The epochs where they are checked: in the store that a leader's work changes."""

    def observe(self, *, limit_s: float) -> Mapping[str, Epoch]:
        """The epoch in force of each role; a role that never had one is not in it."""

    def bump(self, term: Term, *, limit_s: float) -> None:
        """Put the term's epoch in force once all work under earlier ones has ended; may be repeated.

        ``Refused`` when a later one is in force; ``TimedOut`` while work under an earlier one goes on.
        """


class GuardedCommand(Protocol):
    """A command and everything that it starts, which do not outlive a deadline, whoever else dies.

    Instants are readings of the clock that the leases are judged by.
    """

    def start(self, environment: Mapping[str, str], *, stop_at_s: float, kill_at_s: float) -> None:
        """Start it, unless ``stop_at_s`` has passed."""

    def feed(self, *, stop_at_s: float, kill_at_s: float) -> None:
        """The new deadlines: at the first it is asked to end, at the second it is ended."""

    def ask_to_end(self) -> None:
        """SIGTERM, now."""

    def kill(self) -> None:
        """SIGKILL, now, to all of it."""

    def ended(self) -> int | None:
        """Its exit status (128 and the signal's number for a signal) once nothing of it lives."""


class Sites(Protocol):
    """Which sites are wanted in traffic rotation, as the ensemble has it."""

    def observe_sites(self) -> tuple[SiteState, ...]:
        """Every site of the environment, in its order; one that was never changed is active."""

    def change_site(self, state: SiteState, *, expected: int | None) -> SiteState:
        """Write ``state`` if the site is still at version ``expected``; what was written, with its version.

        ``Refused`` when something was written since. Our own write whose answer was lost is no conflict.
        """


class Vantages(Protocol):
    """What each vantage saw last. A vantage that is gone, or cut off for a session, has no observation."""

    def publish(self, observation: Observation) -> None:
        """Replace what this vantage published before."""

    def withdraw(self) -> None:
        """Leave nothing behind; may be repeated."""

    def observe_vantages(self) -> tuple[Observation, ...]:
        """The observation of each vantage, sorted by name. Its age is for the reader to judge."""


class Automations(Protocol):
    """What people said of automatic action, and what it rests on, as the ensemble has it."""

    def observe(self) -> Automation:
        """What was said last; where nobody ever said anything, the configuration decides."""

    def change(self, wanted: Automation, *, expected: int | None) -> Automation:
        """Write it if it is still at version ``expected``; ``Refused`` when somebody wrote since."""

    def observe_last(self) -> LastAction | None:
        """The last automatic failover."""

    def record_last(self, last: LastAction | None) -> None:
        """Replace it; None: there was none."""

    def observe_certificate(self, lost: str) -> Certificate | None:
        """Whether the other site carries everything without ``lost``, as was last found out."""

    def record_certificate(self, certificate: Certificate) -> None:
        """Replace it."""


class EdgeRuntime(Protocol):
    """One edge's traffic, steered from beside it without a reload."""

    def observe_servers(self) -> tuple[EdgeServer, ...]:
        """Every server of every backend, as the edge has it now."""

    def steer(self, backend: str, server: str, *, in_rotation: bool, at_once: bool = False) -> None:
        """Give it new work, or let what it works on finish and give it none; ``at_once`` ends that work too.
        ``Rejected`` says why not."""


class EdgeTraffic(Protocol):
    """What each edge does with its servers, as seen from where dcctl runs."""

    edges: tuple[str, ...]

    def observe_servers(self, edge: str) -> tuple[EdgeServer, ...]:
        """Every server of every backend, as this edge has it now."""
