"""Is everything ready for a failover right now? One line for each thing that it needs. Pure.

Invariant: silence is never readiness. What was not seen is UNKNOWN, and UNKNOWN is not ready.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from dcctl.domain.capacity import Capacity, Fit
from dcctl.domain.observation import AtRisk, ReplicationLag, Seen, VoterMode
from dcctl.domain.probe import ProbeResult
from dcctl.domain.run import ActiveRun
from dcctl.domain.status import Status
from dcctl.domain.traffic import Observation, Rotation, SiteState

WITNESS = "witness"
LAG_BYTES = 16 * 2**20
"""A standby further behind than this takes its time to become a primary that serves."""
AT_RISK_FOR = timedelta(seconds=30)
"""Documents are normally at the other site much sooner."""
STUCK_FOR = timedelta(minutes=5)
"""Documents that wait this long are not being replicated."""
SILENT_AFTER = timedelta(seconds=15)
"""An agent publishes every few seconds."""
DRILL_AGE = timedelta(days=30)
"""A plan that was not rehearsed for longer is a hope."""
CERTIFIED = ("tls",)
SERVING = ("http", "tcp", "postgresql", "patroni", "zookeeper", "swift", "command")
"""Kinds of probes that say whether a site can serve alone."""
NAMED = 4
"""How many of a kind are named on one line."""


class Readiness(StrEnum):
    """ATTENTION does not stand against a failover; the other two do, each in its way."""

    OK = "ok"
    ATTENTION = "attention"
    NOT_READY = "not ready"
    UNKNOWN = "unknown"


GRAVEST_FIRST = (Readiness.NOT_READY, Readiness.UNKNOWN, Readiness.ATTENTION, Readiness.OK)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was examined, how it is, what that is known from, and the command that mends it."""

    subject: str
    readiness: Readiness
    evidence: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings, in the order in which they were examined."""

    environment: str
    findings: tuple[Finding, ...]

    @property
    def ready(self) -> bool:
        """Whether nothing stands against a failover."""
        return all(each.readiness in (Readiness.OK, Readiness.ATTENTION) for each in self.findings)

    @property
    def gravest_first(self) -> tuple[Finding, ...]:
        return tuple(sorted(self.findings, key=lambda each: GRAVEST_FIRST.index(each.readiness)))


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The last time that a drill was run to its end."""

    run: str
    drill: str
    site: str
    began_at: datetime
    verdict: str


@dataclass(frozen=True, slots=True)
class Examined:
    """Everything that a diagnosis is made from. ``agents`` are the places of machines that have one.

    ``capacity`` is by the site that would be lost. ``documents`` is None where none are replicated.
    ``rehearsals`` are the last one of each drill and site; ``drills`` are those that there are.
    ``undos`` are sentences, each with the run that left it.
    """

    environment: str
    at: datetime
    sites: tuple[str, ...]
    status: Status
    probes: tuple[ProbeResult, ...]
    states: Seen[tuple[SiteState, ...]]
    vantages: Seen[tuple[Observation, ...]]
    agents: Mapping[str, str]
    active_run: Seen[ActiveRun]
    capacity: Mapping[str, Seen[Capacity]]
    documents: Seen[AtRisk] | None = None
    replication: Seen[ReplicationLag] | None = None
    """As ``documents``."""
    drills: tuple[str, ...] = ()
    rehearsals: tuple[Rehearsal, ...] = ()
    undos: tuple[str, ...] = ()
    unprobed: str = "not asked"
    """Why a probe that should be here is not."""
    dcctl: str = field(default="dcctl")
    """How the next command begins."""


def decide_diagnosis(seen: Examined) -> Diagnosis:
    """Examine everything that a failover needs."""
    findings = (finding for examine in EXAMINATIONS for finding in examine(seen))
    return Diagnosis(seen.environment, tuple(findings))


def _ok(subject: str, evidence: str) -> Finding:
    return Finding(subject, Readiness.OK, evidence)


def _clouds(seen: Examined) -> Iterator[Finding]:
    """Fencing a machine needs its cloud; a cloud that is dark with its site is fenced otherwise."""
    for site in seen.sites:
        subject, mend = f"credentials of {site}", f"{seen.dcctl} probe {site}/cloud"
        found = [each for each in seen.probes if each.kind == "cloud" and each.site == site]
        if not found or found[0].ok is None:
            yield Finding(subject, Readiness.UNKNOWN, found[0].saw if found else seen.unprobed, mend)
        elif found[0].ok:
            yield _ok(subject, found[0].saw)
        else:
            yield Finding(subject, Readiness.NOT_READY, found[0].saw, mend)


def _quorum(seen: Examined) -> Iterator[Finding]:
    """Any one place may vanish and leave a majority."""
    status, mend = seen.status, f"{seen.dcctl} deploy zookeeper"
    voting = [each for each in status.voters if each.mode in (VoterMode.LEADER, VoterMode.FOLLOWER)]
    out = [each.name for each in status.voters if each not in voting]
    told = f"{len(voting)} of {len(status.voters)} voters"
    told += f", out: {', '.join(out)}" if out else ""
    if len(voting) < status.quorum_needed:
        yield Finding("quorum", Readiness.NOT_READY, f"there is none: {told}", mend)
        return
    fatal = [
        place
        for place in dict.fromkeys(each.place for each in status.voters)
        if sum(each.place != place for each in voting) < status.quorum_needed
    ]
    if fatal:
        evidence = f"{told}; losing {' or '.join(fatal)} ends it"
        yield Finding("quorum", Readiness.NOT_READY, evidence, mend)
    elif out:
        yield Finding("quorum", Readiness.ATTENTION, f"{told}; any one place may be lost", mend)
    else:
        yield _ok("quorum", f"{told}; any one place may be lost")


def _standby(seen: Examined) -> Iterator[Finding]:
    """Every acknowledged write is at the other site too."""
    database = seen.status.database
    subject, mend = "synchronous standby", f"{seen.dcctl} probe patroni"
    places = {each.name: each.place for each in database.members}
    apart = [each for each in database.synchronous if places.get(each) != database.primary_place]
    primary = next((each.name for each in database.members if each.role == "primary"), None)
    if primary is None:
        yield Finding(subject, Readiness.NOT_READY, "no database answers as primary", mend)
    elif not database.cluster_known:
        yield Finding(subject, Readiness.UNKNOWN, "ZooKeeper does not say which it is", mend)
    elif database.single_copy:
        evidence = f"SINGLE-COPY: {primary} acknowledges writes that exist nowhere else"
        yield Finding(subject, Readiness.NOT_READY, evidence, f"{seen.dcctl} deploy postgresql")
    elif missing := [each for each in database.named if each not in database.synchronous]:
        evidence = f"{missing[0]} is named and does not confirm: writes wait"
        yield Finding(subject, Readiness.NOT_READY, evidence, mend)
    elif not apart:
        evidence = f"it is at {database.primary_place}, where the primary is"
        yield Finding(subject, Readiness.NOT_READY, evidence, mend)
    else:
        yield _ok(subject, f"{apart[0]} at {places[apart[0]]}, for {primary} at {database.primary_place}")
    if database.paused:
        mend = f"{seen.dcctl} deploy postgresql"
        yield Finding("Patroni", Readiness.NOT_READY, "it is paused: nobody is promoted", mend)


def _lag(seen: Examined) -> Iterator[Finding]:
    lag_bytes = seen.status.database.lag_bytes
    if lag_bytes is None:
        yield Finding("database lag", Readiness.UNKNOWN, "nobody tells it", f"{seen.dcctl} status")
    elif lag_bytes > LAG_BYTES:
        evidence = f"{lag_bytes / 2**20:.0f} MiB: the standby first catches up"
        yield Finding("database lag", Readiness.ATTENTION, evidence, f"{seen.dcctl} status --watch")
    else:
        yield _ok("database lag", f"{lag_bytes} bytes")


def _documents(seen: Examined) -> Iterator[Finding]:
    """Documents that were acknowledged and are at one site only are what a failover would lose."""
    if seen.documents is None:
        return
    subject, mend = "documents", f"{seen.dcctl} probe replication"
    told = seen.documents.value
    if told is None:
        yield Finding(subject, Readiness.UNKNOWN, seen.documents.reason, mend)
    elif told.count == 0:
        yield _ok(subject, "every acknowledged one is at both sites")
    else:
        evidence = f"{told.sentence()}, for {told.oldest_s:.0f} s at most"
        yield _waiting(subject, told.oldest_s, evidence, mend)


def _replication(seen: Examined) -> Iterator[Finding]:
    """The replicator's own word, which also knows what nobody was told about."""
    if seen.replication is None:
        return
    subject, mend = "document replication", f"{seen.dcctl} probe replication"
    told = seen.replication.value
    if told is None:
        yield Finding(subject, Readiness.UNKNOWN, seen.replication.reason, mend)
    else:
        evidence = f"{told.oldest_s:.0f} s behind, {told.behind} to carry"
        yield _waiting(subject, told.oldest_s, evidence, mend)


def _waiting(subject: str, for_s: float, evidence: str, mend: str) -> Finding:
    waiting = timedelta(seconds=for_s)
    if waiting <= AT_RISK_FOR:
        return _ok(subject, evidence)
    readiness = Readiness.NOT_READY if waiting > STUCK_FOR else Readiness.ATTENTION
    return Finding(subject, readiness, evidence, mend)


def _capacity(seen: Examined) -> Iterator[Finding]:
    """The survivor carries both."""
    for lost, found in seen.capacity.items():
        subject, mend = f"capacity without {lost}", f"{seen.dcctl} capacity --lose {lost}"
        answer = found.value
        if answer is None:
            yield Finding(subject, Readiness.UNKNOWN, found.reason, mend)
        elif answer.fit is Fit.FITS:
            yield _ok(subject, f"{answer.survivor} carries the sum")
        else:
            readiness = Readiness.NOT_READY if answer.fit is Fit.SHORT else Readiness.UNKNOWN
            yield Finding(subject, readiness, _some(answer.reasons), mend)


def _clocks(seen: Examined) -> Iterator[Finding]:
    """Documents are ordered by the clusters' clocks; leases are not, and observations are judged by age."""
    yield from _by_kind(seen, "clocks", ("clock",), "clock", lambda found: f"{len(found)} agree with ours")


def _certificates(seen: Examined) -> Iterator[Finding]:
    def told(found: Sequence[ProbeResult]) -> str:
        days = min((each.figure for each in found if each.figure is not None), default=0.0)
        return f"{len(found)} are right, the first ends in {days:.0f} days"

    if any(each.kind in CERTIFIED for each in seen.probes):
        yield from _by_kind(seen, "certificates", CERTIFIED, "tls", told)


def _disks(seen: Examined) -> Iterator[Finding]:
    yield from _by_kind(seen, "disks", ("disk",), "disk", lambda found: f"{len(found)} have room")


def _by_kind(
    seen: Examined,
    subject: str,
    kinds: Sequence[str],
    word: str,
    told: Callable[[Sequence[ProbeResult]], str],
) -> Iterator[Finding]:
    """All probes of one kind on one line: wrong is not ready, nothing learned or no answer is unknown."""
    found = [each for each in seen.probes if each.kind in kinds]
    wrong = [f"{each.target}: {each.saw}" for each in found if each.ok is False and each.answered]
    blind = [f"{each.target}: {each.saw}" for each in found if not each.ok and not each.answered]
    blind += [f"{each.target}: {each.saw}" for each in found if each.ok is None and each.answered]
    mend = f"{seen.dcctl} probe {word}"
    if wrong:
        yield Finding(subject, Readiness.NOT_READY, _some(wrong), mend)
    elif blind or not found:
        yield Finding(subject, Readiness.UNKNOWN, _some(blind) if blind else seen.unprobed, mend)
    else:
        yield _ok(subject, told(found))


def _services(seen: Examined) -> Iterator[Finding]:
    """Each site serves by itself: whichever is left must."""
    for site in seen.sites:
        found = [
            each for each in seen.probes if each.site == site and each.kind in SERVING and each.target != site
        ]
        subject, mend = f"services at {site}", f"{seen.dcctl} probe {site}"
        if found and all(each.ok is False and not each.answered for each in found):
            yield Finding(subject, Readiness.NOT_READY, f"nothing answers from {site}", mend)
            continue
        wrong = [f"{each.name}: {each.saw}" for each in found if each.ok is False]
        blind = [f"{each.name}: {each.saw}" for each in found if each.ok is None]
        if wrong:
            yield Finding(subject, Readiness.NOT_READY, _some(wrong), f"{seen.dcctl} deploy --limit {site}")
        elif blind or not found:
            yield Finding(subject, Readiness.UNKNOWN, _some(blind) if blind else seen.unprobed, mend)
        else:
            yield _ok(subject, f"{len(found)} probes are right")


def _rotation(seen: Examined) -> Iterator[Finding]:
    """Both sites serve always."""
    if seen.states.value is None:
        yield Finding("rotation", Readiness.UNKNOWN, seen.states.reason, f"{seen.dcctl} probe zookeeper")
        return
    out = [each for each in seen.states.value if each.state is not Rotation.ACTIVE]
    for each in out:
        why = f" by {each.by}: {each.reason}" if each.by or each.reason else ""
        if each.state is Rotation.QUARANTINED:
            mend = f"{seen.dcctl} admit {each.site}"
            yield Finding("rotation", Readiness.NOT_READY, f"{each.site} is quarantined{why}", mend)
        else:
            mend = f"{seen.dcctl} undrain {each.site}"
            yield Finding("rotation", Readiness.ATTENTION, f"{each.site} is drained{why}", mend)
    if not out:
        yield _ok("rotation", f"{' and '.join(seen.sites)} are active")


def _agents(seen: Examined) -> Iterator[Finding]:
    """Who would say that a site is lost; without the witness's there is nobody to believe."""
    mend = f"{seen.dcctl} deploy agent"
    if not seen.agents:
        return
    if seen.vantages.value is None:
        yield Finding("agents", Readiness.UNKNOWN, seen.vantages.reason, f"{seen.dcctl} probe zookeeper")
        return
    last = {each.vantage: each.at for each in seen.vantages.value}
    silent = [n for n in seen.agents if n not in last or abs(seen.at - last[n]) > SILENT_AFTER]
    if not silent:
        yield _ok("agents", f"{len(seen.agents)} published what they see just now")
        return
    told = ", ".join(f"{name} ({_last_word(last.get(name), seen.at)})" for name in silent)
    if any(seen.agents[name] == WITNESS for name in silent):
        evidence = f"silent: {told}; without the witness's word no site is given up"
        yield Finding("agents", Readiness.NOT_READY, evidence, mend)
    else:
        yield Finding("agents", Readiness.ATTENTION, f"silent: {told}", mend)


def _last_word(at: datetime | None, now: datetime) -> str:
    if at is None:
        return "has published nothing"
    ahead_s = (at - now).total_seconds()
    return f"its clock is {ahead_s:.0f} s ahead" if ahead_s > 0 else f"published last {-ahead_s:.0f} s ago"


def _runs(seen: Examined) -> Iterator[Finding]:
    """Nothing else is under way, and nothing was left behind."""
    run = seen.active_run.value
    if seen.active_run.reason:
        mend = f"{seen.dcctl} probe zookeeper"
        yield Finding("active run", Readiness.UNKNOWN, seen.active_run.reason, mend)
    elif run is None:
        yield _ok("active run", "none")
    else:
        blocks = not run.alive and (run.free_in_s > 0 or run.is_move)
        readiness = Readiness.NOT_READY if blocks else Readiness.ATTENTION
        yield Finding("active run", readiness, run.sentence(), f"{seen.dcctl} run show {run.run}")
    if seen.undos:
        yield Finding("undo", Readiness.NOT_READY, _some(seen.undos), f"{seen.dcctl} drill restore")
    else:
        yield _ok("undo", "nothing is left to be undone")


def _drills(seen: Examined) -> Iterator[Finding]:
    """A plan that was never rehearsed is a hope."""
    for drill in seen.drills:
        subject, mend = f"drill {drill}", f"{seen.dcctl} drill run {drill}"
        done = sorted((each for each in seen.rehearsals if each.drill == drill), key=lambda one: one.began_at)
        if not done:
            yield Finding(subject, Readiness.ATTENTION, "it was never run from this state directory", mend)
            continue
        last = done[-1]
        age = seen.at - last.began_at
        told = f"{last.verdict} {_ago(age)}, {last.site} lost"
        if last.verdict != "held":
            yield Finding(subject, Readiness.NOT_READY, told, f"{seen.dcctl} drill show {last.run}")
        elif age > DRILL_AGE:
            yield Finding(subject, Readiness.ATTENTION, told, mend)
        else:
            yield _ok(subject, told)


def _ago(age: timedelta) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if age.total_seconds() >= 2 * size:
            return f"{age.total_seconds() / size:.0f} {unit} ago"
    return "just now"


def _some(told: Sequence[str]) -> str:
    more = f"; and {len(told) - NAMED} more" if len(told) > NAMED else ""
    return "; ".join(told[:NAMED]) + more


EXAMINATIONS: tuple[Callable[[Examined], Iterator[Finding]], ...] = (
    _quorum,
    _standby,
    _lag,
    _documents,
    _replication,
    _capacity,
    _clouds,
    _services,
    _rotation,
    _agents,
    _runs,
    _clocks,
    _certificates,
    _disks,
    _drills,
)
