"""A site is lost while nobody looks: the controller gives it up, unless a person has said to wait."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from stack import Stack, joined, opened

from dcctl import wiring
from dcctl.config.load import load
from dcctl.domain.drill import WorkloadSpec
from dcctl.domain.history import check
from dcctl.lab import operator
from dcctl.lab.fault import LabFault
from dcctl.lab.process import run
from dcctl.shell import WallClock

pytestmark = pytest.mark.lab

PATIENCE_S = 240.0
"""For what takes seconds on a machine that has nothing else to do."""
DARK_FOR_S = 280.0
"""Then the site comes back by itself, whatever becomes of us."""
WITNESS = "witness-1"


@pytest.fixture(scope="module")
def stack(whole_stack: Path) -> Iterator[Stack]:
    with joined("dcctl-operator"), opened(whole_stack) as found:
        yield found


def wait_for(true: Callable[[], object]) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < ends, "it did not come about"
        time.sleep(0.5)


def asked(stack: Stack, *words: str) -> Any:
    return json.loads(stack.dcctl(*words, "-o", "json"))


def test_a_lost_site_is_given_up_by_itself_and_not_while_automation_is_paused(stack: Stack) -> None:
    wait_for(lambda: f"@{WITNESS}:" in (asked(stack, "automation", "show")["controller"] or ""))
    wait_for(lambda: whole(stack))
    lost = asked(stack, "status")["database"]["primary_place"]
    with automatic(stack, lost), writing(stack) as history:
        stack.dcctl("automation", "pause", "--reason", "a test looks on")
        with dark(lost) as since:
            wait_for(lambda: "is lost and is not given up: automation was paused" in told(since))
            assert rotation(stack)[lost] == "active", "a person's word stands above it"
            stack.dcctl("automation", "resume")
            wait_for(lambda: gave_up(stack, lost))
            assert rotation(stack)[lost] == "quarantined"
        findings = check(history())
    assert findings.final_read
    assert findings.lost == ()
    wait_for(lambda: admitted(stack, lost))
    assert set(rotation(stack).values()) == {"active"}, "only a person puts it back"
    wait_for(lambda: whole(stack))


@contextlib.contextmanager
def automatic(stack: Stack, lost: str) -> Iterator[None]:
    """In automatic mode, once it was found out that the other site carries everything."""

    def certified() -> bool:
        said = asked(stack, "automation", "mode", "automatic", "--reason", "a test")
        return bool(said["capacity"][lost]["fits"])

    try:
        wait_for(certified)
        yield
    finally:
        stack.dcctl("automation", "mode", "configured", "--reason", "the test is over")
        stack.dcctl("automation", "resume")


@contextlib.contextmanager
def writing(stack: Stack) -> Iterator[Callable[[], Any]]:
    """A client at both edges; what it was told so far, with a read of everything at the end."""
    spec = WorkloadSpec(writes_per_s=20, reads_per_s=2)
    client = wiring.workload(
        load(str(stack.folder)), spec, run="automation", keep=lambda _line: None, clock=WallClock()
    )
    client.start()
    try:
        wait_for(lambda: all(client.acknowledged_s().values()))
        yield client.stop
    finally:
        client.stop()
        client.drop()


@contextlib.contextmanager
def dark(site: str) -> Iterator[float]:
    """``site`` and everything in it, its cloud too; since when, in seconds of the epoch."""
    since = time.time()
    LabFault().cut(site, for_s=DARK_FOR_S)
    try:
        yield since
    finally:
        LabFault().heal(site)


def told(since: float) -> str:
    """What the controller said."""
    words = f"sudo journalctl -u dcctl-agent -o cat --since @{int(since)}"
    return run(operator.ssh(operator.find(WITNESS), (words,)))


def gave_up(stack: Stack, lost: str) -> bool:
    last = asked(stack, "automation", "show")["last"]
    return last is not None and (last["site"], last["done"]) == (lost, True)


def whole(stack: Stack) -> bool:
    """Two copies of the database, and every voter in the quorum."""
    seen = asked(stack, "status")
    return bool(seen["database"]["synchronous"]) and seen["quorum"] == len(seen["voters"])


def rotation(stack: Stack) -> dict[str, str]:
    return {each["name"]: each["rotation"] for each in asked(stack, "status")["sites"]}


def admitted(stack: Stack, site: str) -> bool:
    """Refused (5) until it has caught up, which a person would see in the reasons; 6: it is gone on with."""
    argv = [sys.executable, "-m", "dcctl.cli.main", "-e", str(stack.folder), "admit", site, "--yes"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode in (0, 5, 6), f"{done.stdout}{done.stderr}"
    return done.returncode == 0
