"""What may break, broken on machines while clients write: no acknowledged write is lost, and one leads.

By the drills that travel with dcctl, by operators who are killed after every step of what they do, and by
sites whose machines only their cloud reaches. All of it takes 40 minutes, for which `make test` has no room:
`make test-faults`.
"""

import contextlib
import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from moving import (
    admitted,
    asked,
    automatic,
    carried_out,
    dark,
    rotation,
    steady,
    unreachable,
    wait_for,
    whole,
    writing,
)
from operators import REFUSED, Operators
from stack import Stack, joined, opened
from test_drill import OF_TIME, LabWorld

from dcctl import wiring
from dcctl.adapters.journal import read_run
from dcctl.config import expand
from dcctl.config.load import load
from dcctl.domain.history import History, check
from dcctl.domain.history_primary import check_primary
from dcctl.domain.machine import decide_power_off_proven
from dcctl.lab import machine, network, operator, vcenter
from dcctl.lab.fault import LabFault
from dcctl.lab.paths import LOCKS
from dcctl.testing.contracts.fault import FaultContract

pytestmark = [pytest.mark.lab, pytest.mark.timeout(2400)]

DARK_FOR_S = 1800.0
RETURN_LIMIT_S = 900.0
"""Until a site whose machines were all off is admitted: they boot side by side, and catch up."""


@pytest.fixture(scope="module")
def stack(whole_stack: Path) -> Iterator[Stack]:
    with joined("dcctl-operator"), opened(whole_stack) as found:
        yield found


@pytest.fixture(autouse=True)
def whole_before_and_after(stack: Stack) -> Iterator[None]:
    wait_for(lambda: steady(stack))
    yield
    network.heal()
    for each in LabFault().observe_breakages():
        LabFault().mend(each.breakage)


@pytest.fixture
def operators(stack: Stack, tmp_path: Path) -> Operators:
    return Operators.of(stack, tmp_path)


def drilled(stack: Stack, name: str) -> dict[str, Any]:
    """The report of a drill that ended by itself, whether it held or deviated. Refused (5) while a cloud is
    slow on a busy host, which broke nothing: begun again."""
    argv = [
        sys.executable,
        "-m",
        "dcctl.cli.main",
        "-e",
        str(stack.folder),
        "drill",
        "run",
        name,
        "-o",
        "json",
    ]
    ended: list[subprocess.CompletedProcess[str]] = []

    def begun() -> bool:
        ended[:] = [subprocess.run(argv, capture_output=True, text=True, timeout=900, check=False)]
        return ended[0].returncode != REFUSED

    wait_for(begun)
    assert ended[0].returncode in (0, 7), ended[0].stderr
    report: dict[str, Any] = json.loads(ended[0].stdout)
    return report


def check_report(report: dict[str, Any]) -> None:
    """Whatever took its time: a test on a busy host is no judge of that."""
    assert [each for each in report["checks"] if not each["held"] and each["name"] not in OF_TIME] == []
    assert report["findings"]["final_read"]
    assert report["findings"]["lost"] == []
    assert report["primary"]["told"]


def check_history(history: History) -> None:
    findings, primary = check(history), check_primary(history)
    assert findings.final_read
    assert (findings.lost, findings.vanished, findings.phantom) == ((), (), ())
    assert primary.told
    assert (primary.overlapped, primary.fell) == ((), ()), primary.terms


def place_of(stack: Stack, role: str) -> str:
    members = asked(stack, "status")["database"]["members"]
    return str(next(each["place"] for each in members if each["role"] == role))


@pytest.mark.faults
def test_a_primary_that_stands_still_acknowledges_nothing_when_it_goes_on(stack: Stack) -> None:
    """For longer than its key lives; the controller, which may act, has no site to give up."""
    primary = asked(stack, "status")["database"]["primary"]
    with automatic(stack, place_of(stack, "primary")):
        before = asked(stack, "automation", "show")["last"]
        report = drilled(stack, "machine-paused")
        assert asked(stack, "automation", "show")["last"] == before
    check_report(report)
    assert report["primary_before"] == primary
    assert report["primary_after"] != primary
    assert set(rotation(stack).values()) == {"active"}


@pytest.mark.faults
def test_one_way_of_the_link_between_the_sites_is_lost(stack: Stack) -> None:
    check_report(drilled(stack, "one-way-partition"))


@pytest.mark.faults
@pytest.mark.parametrize("drill", ["witness-lost", "zookeeper-leader-lost"])
def test_a_switchover_goes_on_without(stack: Stack, drill: str) -> None:
    primary = asked(stack, "status")["database"]["primary"]
    report = drilled(stack, drill)
    check_report(report)
    assert report["primary_before"] == primary
    assert report["primary_after"] != primary


@pytest.mark.faults
def test_a_switchover_whose_operators_are_killed_after_every_step(stack: Stack, operators: Operators) -> None:
    to = place_of(stack, "synchronous standby")
    with writing(stack, "killed_switchover") as history:
        run = operators.carry_out("switchover", "apply", "--to", to)
        check_history(history())
    print(f"run {run.run}: killed after {operators.died_after}")
    assert len(operators.died_after) >= 5
    assert place_of(stack, "primary") == to
    assert [
        each for each in run.timeline if each.name.startswith("move the primary") and each.state == "done"
    ]


@pytest.mark.faults
def test_a_failover_and_the_way_home_whose_operators_are_killed_after_every_step(
    stack: Stack, operators: Operators
) -> None:
    home = place_of(stack, "primary")
    with writing(stack, "killed_failover") as history:
        with dark(home, for_s=DARK_FOR_S):
            run = operators.carry_out("failover", "apply", "--lost", home)
            print(f"run {run.run}: killed after {operators.died_after}")
            assert len(operators.died_after) >= 5
            assert rotation(stack)[home] == "quarantined"
        wait_for(lambda: admitted(stack, home))
        wait_for(lambda: whole(stack))
        run = operators.carry_out("failback", "apply", "--to", home)
        check_history(history())
    print(f"run {run.run}: killed after {operators.died_after}")
    assert len(operators.died_after) >= 5
    assert place_of(stack, "primary") == home
    assert set(rotation(stack).values()) == {"active"}


@pytest.mark.faults
@pytest.mark.parametrize("site", ["east", "west"])
def test_power_off_by_a_cloud_that_answers_is_the_fence_of_a_site_that_nobody_reaches(
    stack: Stack, site: str
) -> None:
    names = machines_at(stack, site)
    bring_home(stack, site)
    with writing(stack, f"power_off_{site}") as history:
        with unreachable(site, for_s=int(DARK_FOR_S)):
            asked_at = datetime.now(UTC)
            moved = given_up(stack, site)
            assert moved["fences"][0] == f"powered off and read back: {', '.join(names)}"
            assert noted(stack, moved["run"], "failover.power") == [moved["fences"][0]]
            check_off_by_its_cloud(stack, site, since=asked_at)
            assert [each for each in names if is_running(each)] == []
            check_given_up(stack, site)
        powered_on_and_home(stack, site, moved)
        assert [each for each in names if not is_running(each)] == []
        check_history(history())


@pytest.mark.faults
@pytest.mark.parametrize("site", ["east", "west"])
def test_power_off_that_is_not_proven_is_told_and_is_no_fence(stack: Stack, site: str) -> None:
    """The machine with the primary runs on, cut off: in the east its hypervisor does not do what Nova asks of
    it, in the west vCenter hears nothing of the host that it is on."""
    names = machines_at(stack, site)
    bring_home(stack, site)
    with writing(stack, f"power_on_{site}") as history:
        with unreachable(site, for_s=int(DARK_FOR_S)):
            with {"east": stuck, "west": unheard}[site](stack, f"{site}-db-1") as run_on:
                moved = given_up(stack, site)
            off, unproven = moved["fences"][0].split("; not proven: ")
            others = [each for each in names if each not in run_on]
            assert off == f"powered off and read back: {', '.join(others) or 'none'}"
            assert [each for each in names if f"{each} (" in unproven] == run_on
            assert [each for each in names if is_running(each)] == run_on
            assert noted(stack, moved["run"], "failover.fenced") == [moved["fences"][1]]
            check_given_up(stack, site)
        powered_on_and_home(stack, site, moved)
        check_history(history())


def bring_home(stack: Stack, site: str) -> None:
    if place_of(stack, "primary") != site:
        wait_for(lambda: carried_out(stack, "switchover", "apply", "--to", site))
        wait_for(lambda: steady(stack))


def machines_at(stack: Stack, site: str) -> list[str]:
    return [each.name for each in expand.machines(load(str(stack.folder))) if each.place == site]


def is_running(name: str) -> bool:
    """By the processes of the hypervisor's own."""
    return machine.init_of(operator.find(name).id) is not None


def given_up(stack: Stack, site: str) -> dict[str, Any]:
    """What the failover came to: refused until those who look have missed the site often enough."""
    assert {each for each in machines_at(stack, site) if not is_running(each)} == set()
    moved: list[dict[str, Any]] = []

    def begun() -> bool:
        moved.extend(filter(None, [carried_out(stack, "failover", "apply", "--lost", site)]))
        return bool(moved)

    wait_for(begun)
    return moved[0]


def check_off_by_its_cloud(stack: Stack, site: str, *, since: datetime) -> None:
    """As the cloud shows it to anybody who asks, once more."""
    with wiring.machines(load(str(stack.folder)), site) as cloud:
        for name in machines_at(stack, site):
            assert decide_power_off_proven(cloud.observe_power(name), requested_at=since) == ()


def check_given_up(stack: Stack, site: str) -> None:
    assert place_of(stack, "primary") != site
    assert rotation(stack)[site] == "quarantined"


def noted(stack: Stack, run: str, type: str) -> list[str]:
    events = read_run(load(str(stack.folder)).state_directory, run)
    return [str(each.fields["saw"]) for each in events if each.type == type]


@contextlib.contextmanager
def stuck(_stack: Stack, name: str) -> Iterator[list[str]]:
    """Whatever is asked of the machine's power waits, and in the end is not done."""
    with (LOCKS / operator.find(name).id).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield [name]


@contextlib.contextmanager
def unheard(stack: Stack, name: str) -> Iterator[list[str]]:
    """vCenter has lost the host that the machine is on, with all that is on it, which runs on."""
    with wiring.machines(load(str(stack.folder)), "west") as cloud:
        hosts = {each.name: each.hypervisor for each in cloud.observe_servers()}
        file = vcenter.STATE / "lost" / hosts[name]
        file.parent.mkdir(exist_ok=True)
        file.touch()
        try:
            wait_for(lambda: not cloud.observe_power(name).hypervisor_connected)
            yield [each for each in machines_at(stack, "west") if hosts[each] == hosts[name]]
        finally:
            file.unlink()
            wait_for(lambda: cloud.observe_power(name).hypervisor_connected)


def powered_on_and_home(stack: Stack, site: str, moved: dict[str, Any]) -> None:
    """By the way back that the plan names, and then as after any failover."""
    (way_back,) = [each["way_back"] for each in moved["plan"]["steps"] if each["name"] == "fence"]
    assert way_back == "dcctl provision apply"
    stack.dcctl(*way_back.split()[1:], "--yes")
    wait_for(lambda: admitted(stack, site), limit_s=RETURN_LIMIT_S)
    wait_for(lambda: whole(stack))
    wait_for(lambda: carried_out(stack, "failback", "apply", "--to", site))
    assert place_of(stack, "primary") == site
    assert set(rotation(stack).values()) == {"active"}


@pytest.mark.faults
class TestLabFault(FaultContract):
    @pytest.fixture
    def world(self, stack: Stack) -> LabWorld:
        return LabWorld(load(str(stack.folder)))
