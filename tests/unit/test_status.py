"""What a look at a system means: every part that is silent or wrong gets its sentence, gravest first."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from dcctl.domain.fault import Breakage, InForce, Kind
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
from dcctl.domain.run import ActiveRun
from dcctl.domain.status import Host, Status, decide_status
from dcctl.domain.traffic import Rotation, SiteState
from dcctl.domain.verdict import Vantage
from dcctl.engines.status import System, in_turn, observe
from dcctl.errors import ConfigurationError, TimedOut, Unreachable
from dcctl.shell import at_once
from dcctl.testing.clock import VirtualClock
from dcctl.testing.system import (
    FakeCoordination,
    FakeDatabase,
    FakeEdges,
    FakeFault,
    FakeReach,
    FakeSystem,
)

HOSTS = (
    Host("east-db-1", "east", "192.0.2.1", ("base", "postgresql")),
    Host("west-db-1", "west", "192.0.2.2", ("base", "postgresql")),
    Host("east-edge-1", "east", "192.0.2.3", ("base", "edge")),
    Host("west-edge-1", "west", "192.0.2.4", ("base", "edge")),
    Host("witness-1", "witness", "192.0.2.5", ("base",)),
)


def server(
    name: str, *, power: Power = Power.ON, status: str = "ACTIVE", owner: str | None = "test"
) -> Server:
    return Server(name, name, name.split("-", maxsplit=1)[0], owner, power, status, "host-1", None, None, "")


def database(name: str, *, primary: bool, **fields: Any) -> DatabaseReport:
    found = {"state": "running", "timeline": 3, "location_bytes": 1042 if primary else 1000, **fields}
    return DatabaseReport(name, primary=primary, **found)


WELL = View(
    clouds={
        "east": Seen((server("east-db-1"), server("east-edge-1"))),
        "west": Seen((server("west-db-1", status="poweredOn"), server("west-edge-1", status="poweredOn"))),
    },
    reachable={host.name: Seen(0.001) for host in HOSTS},
    voters={
        "east-db-1": Seen(VoterReport(VoterMode.FOLLOWER)),
        "west-db-1": Seen(VoterReport(VoterMode.LEADER)),
        "witness-1": Seen(VoterReport(VoterMode.FOLLOWER)),
    },
    databases={
        "east-db-1": Seen(database("east-db-1", primary=True, streaming={"west-db-1": "sync"})),
        "west-db-1": Seen(database("west-db-1", primary=False)),
    },
    cluster=Seen(ClusterReport("east-db-1", ("west-db-1",))),
    edges={
        name: Seen(EdgeReport({"east-db-1": (True, "UP"), "west-db-1": (False, "DOWN")}))
        for name in ("east-edge-1", "west-edge-1")
    },
)


def changed(**parts: dict[str, Any]) -> View:
    """``WELL`` with some answers replaced."""
    return replace(WELL, **{part: {**getattr(WELL, part), **answers} for part, answers in parts.items()})


def status_of(view: View) -> Status:
    return decide_status("test", HOSTS, view)


SILENT: Seen[Any] = Seen(None, "no answer within 1 s")


def test_a_system_that_is_well_needs_no_attention() -> None:
    status = status_of(WELL)
    assert status.problems == ()
    assert (status.quorum, status.quorum_needed) == (3, 2)
    assert (status.database.primary, status.database.primary_place) == ("east-db-1", "east")
    assert (status.database.synchronous, status.database.lag_bytes) == (("west-db-1",), 42)
    assert [member.role for member in status.database.members] == ["primary", "synchronous standby"]
    assert {edge.routes_to for edge in status.edges} == {("east-db-1",)}
    assert {machine.cloud for machine in status.machines} == {"ACTIVE", "poweredOn", "-"}


@pytest.mark.parametrize(
    ("view", "first"),
    [
        (changed(clouds={"east": SILENT}), "site east: its API does not answer: no answer within 1 s"),
        (
            changed(clouds={"east": Seen((server("east-edge-1"),))}),
            "machine east-db-1 does not exist at east",
        ),
        (
            changed(clouds={"east": Seen((server("east-db-1", owner=None), server("east-edge-1")))}),
            "machine east-db-1 does not exist at east",
        ),
        (
            changed(
                clouds={
                    "east": Seen(
                        (server("east-db-1", power=Power.OFF, status="SHUTOFF"), server("east-edge-1"))
                    )
                }
            ),
            "machine east-db-1 is off (SHUTOFF)",
        ),
        (
            changed(reachable={"witness-1": Seen(None, "Connection refused")}),
            "machine witness-1 is not reachable over SSH: Connection refused",
        ),
        (
            changed(voters={"witness-1": SILENT}),
            "ZooKeeper voter witness-1 is out (2 of 3, the quorum holds): one more loss ends the quorum:"
            " dcctl probe zookeeper",
        ),
        (
            changed(voters={"witness-1": SILENT, "west-db-1": Seen(VoterReport(VoterMode.NOT_SERVING))}),
            "ZooKeeper has no quorum (1 of 3, 2 needed): west-db-1, witness-1 out: nothing is moved or given"
            " up until it is back: dcctl probe zookeeper",
        ),
        (changed(edges={"east-edge-1": SILENT}), "edge east-edge-1 does not answer: no answer within 1 s"),
        (
            changed(edges={"east-edge-1": Seen(EdgeReport({"east-db-1": (False, "DOWN")}))}),
            "edge east-edge-1 sends writes nowhere",
        ),
        (
            changed(edges={"east-edge-1": Seen(EdgeReport({"west-db-1": (True, "UP")}))}),
            "edge east-edge-1 sends writes to west-db-1, not to east-db-1",
        ),
        (
            replace(WELL, cluster=Seen(ClusterReport("east-db-1", ()))),
            "the database is SINGLE-COPY: east-db-1 acknowledges writes that exist nowhere else",
        ),
        (
            changed(databases={"east-db-1": Seen(database("east-db-1", primary=True))}),
            "writes wait: standby west-db-1 is named synchronous and does not confirm",
        ),
        (
            replace(WELL, cluster=SILENT),
            "nobody says which standby is synchronous: ZooKeeper does not answer",
        ),
        (
            changed(databases={"east-db-1": SILENT}),
            "no database answers as primary: nothing can be written; east-db-1 still holds the leader key",
        ),
        (
            replace(
                changed(databases={"east-db-1": SILENT, "west-db-1": SILENT}),
                cluster=Seen(ClusterReport(None, ())),
            ),
            "no database answers as primary: nothing can be written",
        ),
        (
            changed(
                databases={
                    "east-db-1": Seen(
                        database("east-db-1", primary=True, streaming={"west-db-1": "sync"}, paused=True)
                    )
                }
            ),
            "Patroni is paused: the database will not fail over by itself",
        ),
        (
            replace(WELL, breakages=(InForce(Breakage(Kind.CUT, "east"), 61.7),)),
            "site east is cut off on purpose and heals by itself in 62 s",
        ),
    ],
)
def test_whatever_is_wrong_gets_its_sentence(view: View, first: str) -> None:
    assert status_of(view).problems[0] == first


def test_of_two_that_call_themselves_primary_the_newer_timeline_is_shown() -> None:
    """The other one is cut off from the quorum and has not found out yet; it cannot acknowledge."""
    newer = database("west-db-1", primary=True, timeline=4, streaming={"east-db-1": "sync"})
    view = replace(
        changed(databases={"west-db-1": Seen(newer)}),
        cluster=Seen(ClusterReport("west-db-1", ("east-db-1",))),
    )
    status = status_of(view)
    assert status.database.primary == "west-db-1"
    assert status.problems[0] == "databases east-db-1 and west-db-1 both call themselves primary"


def test_a_synchronous_standby_beside_its_primary_survives_no_loss_of_the_site() -> None:
    hosts = tuple(replace(host, place="east") if host.name == "west-db-1" else host for host in HOSTS)
    view = changed(clouds={"east": Seen((*(WELL.clouds["east"].value or ()), server("west-db-1")))})
    problems = decide_status("test", hosts, view).problems
    assert problems[0] == "the synchronous standby is at east, where the primary is"


def test_machines_of_a_dark_site_are_not_listed_one_by_one() -> None:
    view = changed(clouds={"east": SILENT}, reachable={"east-db-1": SILENT, "east-edge-1": SILENT})
    assert not [each for each in status_of(view).problems if each.startswith("machine")]


def test_a_dark_site_with_the_primary_in_it_begins_with_the_database() -> None:
    view = changed(
        clouds={"east": SILENT},
        reachable={"east-db-1": SILENT, "east-edge-1": SILENT},
        voters={"east-db-1": SILENT},
        databases={"east-db-1": SILENT},
        edges={"east-edge-1": SILENT},
    )
    problems = status_of(view).problems
    assert problems[0].startswith("no database answers as primary")
    assert len(problems) == 4


def fake_system(disturb: Callable[[FakeSystem], None]) -> System:
    system = FakeSystem(VirtualClock())
    disturb(system)
    return System(
        hosts=(),
        clouds={"east": lambda: (), "west": lambda: ()},
        reach=FakeReach(system),
        coordination=FakeCoordination(system),
        database=FakeDatabase(system),
        edges=FakeEdges(system),
        fault=FakeFault(system),
    )


def test_a_look_turns_silence_into_answers() -> None:
    cut = Breakage(Kind.CUT, "west")
    view = observe(fake_system(lambda system: system.inflict(cut, 60)), in_turn)
    assert view.voters["west-db-1"].reason == "no answer within 1 s"
    assert view.databases["east-db-1"].value is not None
    assert view.breakages == (InForce(cut, 60),)


def test_what_is_broken_on_purpose_is_said_last() -> None:
    paused = Breakage(Kind.PAUSE, "west-db-1")
    broken = observe(fake_system(lambda system: system.inflict(paused, 60)), in_turn)
    assert decide_status("test", HOSTS, broken).problems[-1] == (
        "machine west-db-1 stands still, its network card too, on purpose; it ends by itself in 60 s"
    )


def test_a_witness_that_is_cut_off_on_purpose_is_told_as_a_site_is() -> None:
    """It has no cloud, and no line of its own to be told with."""
    cut = InForce(Breakage(Kind.CUT, "witness"), 61.7)
    assert status_of(replace(WELL, breakages=(cut,))).problems == (
        "witness is cut off the network with everything in it, on purpose; it ends by itself in 62 s",
    )


AGENTS = tuple(
    replace(host, roles=("base", "agent")) if host.name.endswith(("edge-1", "witness-1")) else host
    for host in HOSTS
)
LOOK = (
    Vantage("east-edge-1", "east", 1.0, {}),
    Vantage("west-edge-1", "west", 1.0, {}),
    Vantage("witness-1", "witness", 1.0, {}),
)
WITHOUT_IT = (
    "no site is given up without its word, not by automation, nor by a person (rule no-unknown-verdict)"
)


def aged(name: str, age_s: float) -> tuple[Vantage, ...]:
    return tuple(replace(each, age_s=age_s) if each.name == name else each for each in LOOK)


def without(name: str) -> tuple[Vantage, ...]:
    return tuple(each for each in LOOK if each.name != name)


DARK_WITNESS = changed(voters={"witness-1": SILENT}, reachable={"witness-1": SILENT})


@pytest.mark.parametrize(
    ("view", "vantages", "told"),
    [
        (WELL, Seen(LOOK), ()),
        (
            WELL,
            Seen(aged("witness-1", 40.0)),
            (
                f"the witness is silent (witness-1 published last 40 s ago): {WITHOUT_IT}:"
                " dcctl deploy agent --limit witness-1",
            ),
        ),
        (
            WELL,
            Seen(aged("witness-1", -40.0)),
            (
                f"the witness is silent (witness-1 has a clock that is 40 s ahead of ours): {WITHOUT_IT}:"
                " dcctl deploy agent --limit witness-1",
            ),
        ),
        (
            DARK_WITNESS,
            Seen(without("witness-1")),
            (
                "ZooKeeper voter witness-1 is out (2 of 3, the quorum holds): one more loss ends the quorum:"
                " dcctl probe zookeeper",
                "the witness is silent (witness-1 has published nothing, and nothing of it answers here):"
                f" {WITHOUT_IT}: dcctl probe witness-1",
            ),
        ),
        (
            changed(reachable={"witness-1": SILENT}),
            Seen(LOOK),
            ("machine witness-1 is not reachable over SSH: no answer within 1 s",),
        ),
        (
            WELL,
            Seen(aged("east-edge-1", 16.0)),
            (
                "nobody looks from east (east-edge-1 published last 16 s ago): were west lost, it would not"
                " be given up by itself: dcctl deploy agent --limit east-edge-1",
            ),
        ),
        (
            changed(reachable={"east-edge-1": SILENT}, edges={"east-edge-1": SILENT}),
            Seen(without("east-edge-1")),
            (
                "edge east-edge-1 does not answer: no answer within 1 s",
                "machine east-edge-1 is not reachable over SSH: no answer within 1 s",
            ),
        ),
        (WELL, Seen(None, "no answer within 0.3 s"), ()),  # every verdict is UNKNOWN, and says why
        (
            changed(voters={"witness-1": SILENT, "west-db-1": SILENT}),
            Seen(None, "no quorum"),
            (
                "ZooKeeper has no quorum (1 of 3, 2 needed): west-db-1, witness-1 out: nothing is moved or"
                " given up until it is back: dcctl probe zookeeper",
            ),
        ),
    ],
)
def test_who_does_not_look_any_more_is_told_with_what_cannot_be_decided(
    view: View, vantages: Seen[tuple[Vantage, ...]], told: tuple[str, ...]
) -> None:
    assert decide_status("test", AGENTS, replace(view, vantages=vantages)).problems == told


def test_of_two_agents_at_a_site_one_that_is_silent_leaves_the_other_looking() -> None:
    second = Host("east-edge-2", "east", "192.0.2.6", ("base", "agent"))
    view = changed(
        reachable={"east-edge-2": Seen(0.001)},
        clouds={"east": Seen((*(WELL.clouds["east"].value or ()), server("east-edge-2")))},
    )
    assert decide_status("test", (*AGENTS, second), replace(view, vantages=Seen(LOOK))).problems == (
        "an agent at east is silent (east-edge-2 has published nothing); east-edge-1 still looks from there:"
        " dcctl deploy agent --limit east-edge-2",
    )


def test_where_nobody_was_asked_what_the_agents_see_nothing_is_said_of_them() -> None:
    assert decide_status("test", AGENTS, WELL).problems == ()


@pytest.mark.parametrize(
    ("command", "alive", "told"),
    [
        ("switchover apply --to west", True, ""),
        (
            "switchover apply --to west",
            False,
            "run r1 was broken off: switchover apply --to west, by ann@laptop; dcctl run resume r1 goes on"
            " with it, dcctl run abort r1 --reason TEXT ends it",
        ),
        ("drill run site-cut", False, ""),
    ],
)
def test_a_move_that_was_broken_off_needs_attention(command: str, alive: bool, told: str) -> None:
    active = ActiveRun("r1", 1, "ann@laptop", command, alive=alive)
    problems = status_of(replace(WELL, active_run=active)).problems
    assert problems == ((told,) if told else ())


def test_a_look_does_not_hide_a_wrong_configuration() -> None:
    def broken() -> tuple[Server, ...]:
        raise ConfigurationError(())

    system = replace(fake_system(lambda _system: None), clouds={"east": broken})
    with pytest.raises(ConfigurationError):
        observe(system, in_turn)


def test_looking_at_once_leaves_the_late_behind() -> None:
    def late() -> str:
        time.sleep(5)
        return "late"

    def silent() -> str:
        raise Unreachable("ask", saw="Connection refused")

    began = time.monotonic()
    answers = at_once({"late": late, "quick": lambda: "quick", "silent": silent}, limit_s=0.2)
    assert time.monotonic() - began < 2
    assert isinstance(answers["late"], TimedOut)
    assert isinstance(answers["silent"], Unreachable)
    assert answers["quick"] == "quick"
    assert list(answers) == ["late", "quick", "silent"]


def test_looking_at_once_hides_no_bug() -> None:
    with pytest.raises(ZeroDivisionError):
        at_once({"bug": lambda: 1 / 0})


def test_a_site_out_of_rotation_is_told_with_who_wanted_it_and_what_puts_it_back() -> None:
    states = (
        SiteState("east", Rotation.DRAINED, "a new kernel", "ann@ops"),
        SiteState("west", Rotation.QUARANTINED, by="the failover"),
    )
    decided = decide_status("test", HOSTS, replace(WELL, states=Seen(states)))
    assert [(site.name, site.rotation) for site in decided.sites] == [
        ("east", "drained"),
        ("west", "quarantined"),
    ]
    assert "site east is drained by ann@ops (a new kernel): dcctl undrain east" in decided.problems
    assert "site west is quarantined by the failover: dcctl admit west" in decided.problems
    silent = decide_status("test", HOSTS, replace(WELL, states=Seen(None, "no quorum")))
    assert {(site.rotation, site.rotation_reason) for site in silent.sites} == {("unknown", "no quorum")}


def test_documents_that_would_be_lost_with_a_site_are_named() -> None:
    told = AtRisk(12, 3.0, {"east": 12}, tuple(("east", f"documents/d{n}") for n in range(12)))
    assert told.lost_with("east").startswith("12 documents that east alone has: documents/d0, documents/d1,")
    assert told.lost_with("east").endswith("documents/d9 and 2 more")
    assert told.lost_with("west") == "none that west alone has"
    one = AtRisk(1, 3.0, {"west": 1}, (("west", "documents/d"),))
    assert one.lost_with("west") == "1 document that west alone has: documents/d"
