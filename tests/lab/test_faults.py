"""What may break, broken on machines while clients write: no acknowledged write is lost, and one leads.

By the drills that travel with dcctl, and by operators who are killed after every step of what they do. All of
it takes half an hour, and `make test` has no room for that: `make test-faults`.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moving import admitted, asked, automatic, dark, rotation, steady, wait_for, whole, writing
from operators import REFUSED, Operators
from stack import Stack, joined, opened
from test_drill import OF_TIME, LabWorld

from dcctl.config.load import load
from dcctl.domain.history import History, check
from dcctl.domain.history_primary import check_primary
from dcctl.lab import network
from dcctl.lab.fault import LabFault
from dcctl.testing.contracts.fault import FaultContract

pytestmark = [pytest.mark.lab, pytest.mark.timeout(2400)]

DARK_FOR_S = 1800.0


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
class TestLabFault(FaultContract):
    @pytest.fixture
    def world(self, stack: Stack) -> LabWorld:
        return LabWorld(load(str(stack.folder)))
