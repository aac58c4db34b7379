"""What stands against a failover: for each thing that it needs, every way in which it can be missing.

Silence is never readiness, and each line that is not ok names a command that there is.
"""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pytest

from dcctl.cli.main import dcctl
from dcctl.domain.capacity import Capacity, Fit, Line
from dcctl.domain.diagnosis import (
    Examined,
    Finding,
    Readiness,
    Rehearsal,
    decide_diagnosis,
)
from dcctl.domain.observation import AtRisk, ReplicationLag, Seen
from dcctl.domain.probe import ProbeResult
from dcctl.domain.run import ActiveRun
from dcctl.domain.status import DatabaseStatus, MemberStatus, Status, VoterStatus
from dcctl.domain.traffic import Observation, Rotation, SiteState

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
OK, ATTENTION, NOT_READY, UNKNOWN = Readiness
SITES = ("east", "west")


def probe(name: str, kind: str, ok: bool | None = True, saw: str = "", **more: Any) -> ProbeResult:
    target = name.partition("/")[0]
    site = target.partition("-")[0]
    fields = {"answered": ok is True, "figure": None, **more}
    return ProbeResult(name, target, kind, site, ok, saw, 0.01, NOW, **fields)


PROBES = {
    each.name: each
    for site in SITES
    for each in (
        probe(f"{site}/cloud", "cloud", saw="lists 3 servers"),
        probe(f"{site}/certificate", "tls", figure=30.0),
        probe(f"{site}-db-1/clock", "clock"),
        probe(f"{site}-db-1/disk", "disk"),
        probe(f"{site}-db-1/patroni", "patroni"),
        probe(f"{site}-app-1/swift", "swift"),
    )
}


def member(name: str, role: str) -> MemberStatus:
    return MemberStatus(name, name.partition("-")[0], role, "running", 1, 0, "")


DATABASE = DatabaseStatus(
    primary="east-db-1",
    primary_place="east",
    timeline=1,
    named=("west-db-1",),
    synchronous=("west-db-1",),
    cluster_known=True,
    single_copy=False,
    lag_bytes=0,
    paused=False,
    members=(member("east-db-1", "primary"), member("west-db-1", "synchronous standby")),
)


def voters(**modes: str) -> tuple[VoterStatus, ...]:
    return tuple(VoterStatus(f"{place}-db-1", place, mode, "") for place, mode in modes.items())


def status(database: DatabaseStatus = DATABASE, votes: tuple[VoterStatus, ...] | None = None) -> Status:
    votes = votes or voters(east="follower", west="leader", witness="follower")
    return Status("test", (), (), votes, 0, len(votes) // 2 + 1, database, (), ())


def capacity(lost: str, fit: Fit = Fit.FITS) -> Seen[Capacity]:
    line = Line("app", "requests", 20, 10, fit, ())
    return Seen(Capacity(lost, "west" if lost == "east" else "east", fit, (line,), {}))


def seen_by(*names: str, age_s: float = 1) -> Seen[tuple[Observation, ...]]:
    at = NOW - timedelta(seconds=age_s)
    return Seen(tuple(Observation(name, name.partition("-")[0], at, 7) for name in names))


AGENTS = {"east-edge-1": "east", "west-edge-1": "west", "witness-1": "witness"}
READY = Examined(
    environment="test",
    at=NOW,
    sites=SITES,
    status=status(),
    probes=tuple(PROBES.values()),
    states=Seen((SiteState("east"), SiteState("west"))),
    vantages=seen_by(*AGENTS),
    agents=AGENTS,
    active_run=Seen(None),
    capacity={site: capacity(site) for site in SITES},
    documents=Seen(AtRisk(0)),
    replication=Seen(ReplicationLag(0, 0)),
    drills=("site-power-loss",),
    rehearsals=(Rehearsal("20260228-x", "site-power-loss", "east", NOW - timedelta(days=1), "held"),),
)


def without_ok(seen: Examined) -> list[Finding]:
    return [each for each in decide_diagnosis(seen).findings if each.readiness is not OK]


def probing(**changed: Mapping[str, Any]) -> Examined:
    """READY, with the named probes changed; ``_`` in a name stands for ``-``, ``__`` for ``/``."""
    probes = dict(PROBES)
    for key, fields in changed.items():
        name = key.replace("__", "/").replace("_", "-")
        probes[name] = replace(probes[name], **fields)
    return replace(READY, probes=tuple(probes.values()))


def databased(**fields: Any) -> Examined:
    return replace(READY, status=status(replace(DATABASE, **fields)))


def but(**fields: Any) -> Examined:
    """READY, but for this."""
    return replace(READY, **fields)


WRONG = {"ok": False, "saw": "broken", "answered": True}
SILENT = {"ok": False, "saw": "no answer within 2 s", "answered": False}
DIED = {"ok": None, "saw": "the probe died", "answered": False}
RUN = ActiveRun("20260301-x-failover-1", 3, "me@here", "failover apply", alive=True)
ROWS: list[tuple[str, Examined, str, Readiness, str]] = [
    # what, the world, the subject of the one line that is not ok, how it is, what it says
    (
        "a voter is out",
        but(status=status(votes=voters(a="leader", b="follower", c="x", d="follower", e="follower"))),
        "quorum",
        ATTENTION,
        "4 of 5 voters, out: c-db-1; any one place may be lost",
    ),
    (
        "one of three voters is out",
        but(status=status(votes=voters(east="x", west="leader", witness="follower"))),
        "quorum",
        NOT_READY,
        "2 of 3 voters, out: east-db-1; losing west or witness ends it",
    ),
    (
        "no quorum",
        but(status=status(votes=voters(east="x", west="not serving", witness="follower"))),
        "quorum",
        NOT_READY,
        "there is none: 1 of 3 voters",
    ),
    (
        "no primary",
        databased(members=(member("west-db-1", "standby"),)),
        "synchronous standby",
        NOT_READY,
        "no database answers as primary",
    ),
    (
        "nobody says which standby",
        databased(cluster_known=False),
        "synchronous standby",
        UNKNOWN,
        "ZooKeeper does not say",
    ),
    (
        "single copy",
        databased(single_copy=True, named=(), synchronous=()),
        "synchronous standby",
        NOT_READY,
        "SINGLE-COPY: east-db-1",
    ),
    (
        "a standby that does not confirm",
        databased(synchronous=()),
        "synchronous standby",
        NOT_READY,
        "west-db-1 is named and does not confirm",
    ),
    (
        "a standby beside the primary",
        databased(primary_place="west"),
        "synchronous standby",
        NOT_READY,
        "it is at west, where the primary is",
    ),
    ("Patroni is paused", databased(paused=True), "Patroni", NOT_READY, "it is paused"),
    ("a lag", databased(lag_bytes=17 * 2**20), "database lag", ATTENTION, "17 MiB"),
    ("a lag that nobody tells", databased(lag_bytes=None), "database lag", UNKNOWN, "nobody tells it"),
    (
        "documents wait",
        but(documents=Seen(AtRisk(3, 31))),
        "documents",
        ATTENTION,
        "3 documents are acknowledged and not yet at the other site, for 31 s",
    ),
    ("documents are stuck", but(documents=Seen(AtRisk(1, 301))), "documents", NOT_READY, "1 document is"),
    ("documents that nobody counts", but(documents=Seen(None, "dark")), "documents", UNKNOWN, "dark"),
    (
        "documents are carried slowly",
        but(replication=Seen(ReplicationLag(45, 12))),
        "document replication",
        ATTENTION,
        "45 s behind, 12 to carry",
    ),
    (
        "no document is carried",
        but(replication=Seen(ReplicationLag(301, 12))),
        "document replication",
        NOT_READY,
        "301 s behind",
    ),
    (
        "no replicator tells",
        but(replication=Seen(None, "east-app-1: Connection refused")),
        "document replication",
        UNKNOWN,
        "east-app-1: Connection refused",
    ),
    (
        "a survivor without headroom",
        but(capacity={**READY.capacity, "east": capacity("east", Fit.SHORT)}),
        "capacity without east",
        NOT_READY,
        "app requests: 20 needed, 10 there",
    ),
    (
        "a survivor that nobody knows",
        but(capacity={**READY.capacity, "west": capacity("west", Fit.UNKNOWN)}),
        "capacity without west",
        UNKNOWN,
        "app requests",
    ),
    (
        "a capacity that was not looked at",
        but(capacity={**READY.capacity, "west": Seen(None, "slow")}),
        "capacity without west",
        UNKNOWN,
        "slow",
    ),
    ("a cloud that refuses us", probing(east__cloud=WRONG), "credentials of east", NOT_READY, "broken"),
    ("a cloud that hangs", probing(east__cloud=SILENT), "credentials of east", NOT_READY, "no answer within"),
    ("a cloud's library dies", probing(east__cloud=DIED), "credentials of east", UNKNOWN, "the probe died"),
    (
        "Swift refuses the key",
        probing(west_app_1__swift=WRONG),
        "services at west",
        NOT_READY,
        "west-app-1/swift: broken",
    ),
    (
        "Swift's probe died",
        probing(west_app_1__swift=DIED),
        "services at west",
        UNKNOWN,
        "west-app-1/swift: the probe died",
    ),
    (
        "a site of which little was heard",
        probing(west_app_1__swift=DIED, west_db_1__patroni=SILENT),
        "services at west",
        NOT_READY,
        "west-db-1/patroni: no answer",
    ),
    (
        "every probe of a site died",
        probing(west_app_1__swift=DIED, west_db_1__patroni=DIED),
        "services at west",
        UNKNOWN,
        "the probe died",
    ),
    (
        "a site is silent",
        probing(west_app_1__swift=SILENT, west_db_1__patroni=SILENT),
        "services at west",
        NOT_READY,
        "nothing answers from west",
    ),
    ("a clock is wrong", probing(west_db_1__clock=WRONG), "clocks", NOT_READY, "west-db-1: broken"),
    ("a clock is silent", probing(west_db_1__clock=SILENT), "clocks", UNKNOWN, "west-db-1: no answer"),
    (
        "a clock that nobody can tell",
        probing(west_db_1__clock={**DIED, "answered": True}),
        "clocks",
        UNKNOWN,
        "the probe died",
    ),
    ("a certificate ends", probing(west__certificate=WRONG), "certificates", NOT_READY, "west: broken"),
    ("a disk is full", probing(east_db_1__disk=WRONG), "disks", NOT_READY, "east-db-1: broken"),
    (
        "a site is drained",
        but(states=Seen((SiteState("east"), SiteState("west", Rotation.DRAINED, "patching", "me")))),
        "rotation",
        ATTENTION,
        "west is drained by me: patching",
    ),
    (
        "a site is quarantined",
        but(states=Seen((SiteState("east", Rotation.QUARANTINED), SiteState("west")))),
        "rotation",
        NOT_READY,
        "east is quarantined",
    ),
    ("states that cannot be read", but(states=Seen(None, "no quorum")), "rotation", UNKNOWN, "no quorum"),
    (
        "an edge's agent is silent",
        but(vantages=seen_by("east-edge-1", "witness-1")),
        "agents",
        ATTENTION,
        "silent: west-edge-1",
    ),
    (
        "the witness's agent is silent",
        but(vantages=seen_by("east-edge-1", "west-edge-1")),
        "agents",
        NOT_READY,
        "silent: witness-1 (has published nothing); without the witness's word no site is given up",
    ),
    (
        "old observations",
        but(vantages=seen_by(*AGENTS, age_s=16)),
        "agents",
        NOT_READY,
        "silent: east-edge-1 (published last 16 s ago)",
    ),
    (
        "observations from the future",
        but(vantages=seen_by(*AGENTS, age_s=-16)),
        "agents",
        NOT_READY,
        "silent: east-edge-1 (its clock is 16 s ahead)",
    ),
    ("vantages that cannot be read", but(vantages=Seen(None, "no quorum")), "agents", UNKNOWN, "no quorum"),
    (
        "a run is active",
        but(active_run=Seen(RUN)),
        "active run",
        ATTENTION,
        "is active: failover apply, by me@here",
    ),
    (
        "a run was broken off",
        but(active_run=Seen(replace(RUN, alive=False, doing=("fence",), free_in_s=9))),
        "active run",
        NOT_READY,
        "was broken off while it did: fence",
    ),
    (
        "a move was broken off",
        but(active_run=Seen(replace(RUN, alive=False, command="switchover apply --to west"))),
        "active run",
        NOT_READY,
        "was broken off: switchover apply --to west",
    ),
    (
        "a drill was broken off",
        but(active_run=Seen(replace(RUN, alive=False, command="drill run site-cut"))),
        "active run",
        ATTENTION,
        "it blocks nobody",
    ),
    ("runs that cannot be read", but(active_run=Seen(None, "no quorum")), "active run", UNKNOWN, "no quorum"),
    ("an undo was left", but(undos=("x: heal east",)), "undo", NOT_READY, "x: heal east"),
    ("a drill was never run", but(rehearsals=()), "drill site-power-loss", ATTENTION, "it was never run"),
    (
        "a drill is old",
        but(
            at=NOW + timedelta(days=40),
            vantages=Seen(
                tuple(replace(each, at=NOW + timedelta(days=40)) for each in READY.vantages.value or ())
            ),
        ),
        "drill site-power-loss",
        ATTENTION,
        "held 41 days ago, east lost",
    ),
    (
        "a drill deviated",
        but(rehearsals=(replace(READY.rehearsals[0], verdict="deviated"),)),
        "drill site-power-loss",
        NOT_READY,
        "deviated 24 hours ago, east lost",
    ),
]


def test_a_system_that_is_ready() -> None:
    diagnosis = decide_diagnosis(READY)
    assert diagnosis.ready
    assert without_ok(READY) == []
    assert len(diagnosis.findings) == 19


@pytest.mark.parametrize(
    ("seen", "subject", "readiness", "evidence"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_what_stands_against_a_failover(
    seen: Examined, subject: str, readiness: Readiness, evidence: str
) -> None:
    (finding,) = without_ok(seen)
    assert (finding.subject, finding.readiness) == (subject, readiness)
    assert finding.evidence.startswith(evidence) or evidence in finding.evidence
    assert decide_diagnosis(seen).ready is (readiness is ATTENTION)


def test_nothing_seen_is_nothing_ready() -> None:
    nothing: Seen[Any] = Seen(None, "silent")
    blind = but(
        status=status(
            replace(DATABASE, members=(), lag_bytes=None, primary=None),
            voters(east="unreachable", west="unreachable", witness="unreachable"),
        ),
        probes=(),
        states=nothing,
        vantages=nothing,
        active_run=nothing,
        capacity=dict.fromkeys(SITES, nothing),
        documents=nothing,
        replication=nothing,
        rehearsals=(),
    )
    diagnosis = decide_diagnosis(blind)
    assert not diagnosis.ready
    assert [each.subject for each in diagnosis.findings if each.readiness is OK] == ["undo"]


def test_gravest_first() -> None:
    worse = replace(databased(lag_bytes=None), undos=("x",), rehearsals=())
    order = [each.readiness for each in decide_diagnosis(worse).gravest_first]
    assert order[:4] == [NOT_READY, UNKNOWN, ATTENTION, OK]


@pytest.mark.parametrize("seen", [row[1] for row in ROWS], ids=[row[0] for row in ROWS])
def test_what_mends_it_is_a_command_that_there_is(seen: Examined) -> None:
    for finding in without_ok(seen):
        words = shlex.split(finding.mend)
        assert words[0] == "dcctl"
        command: click.Command = dcctl
        context = click.Context(dcctl, info_name="dcctl", **dcctl.context_settings)
        rest = words[1:]
        while isinstance(command, click.Group):
            found = command.get_command(context, rest.pop(0))
            assert found is not None, finding.mend
            command = found
        command.make_context("x", rest, parent=context, resilient_parsing=False)
