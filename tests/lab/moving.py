"""What tests that move or lose a site of the whole stack have in common."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from guests import inside
from stack import Stack

from dcctl import wiring
from dcctl.config.load import load
from dcctl.domain.drill import WorkloadSpec
from dcctl.domain.fault import Breakage, Kind
from dcctl.lab.fault import LabFault
from dcctl.lab.paths import BACKBONE, PLACES
from dcctl.shell import WallClock

PATIENCE_S = 240.0
"""For what takes seconds on a machine that has nothing else to do."""
DARK_FOR_S = 280.0
"""Then the site comes back by itself, whatever becomes of us."""


def wait_for(true: Callable[[], object], *, limit_s: float = PATIENCE_S) -> None:
    ends = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < ends, "it did not come about"
        time.sleep(0.5)


def asked(stack: Stack, *words: str) -> Any:
    return json.loads(stack.dcctl(*words, "-o", "json"))


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
def writing(stack: Stack, run: str) -> Iterator[Callable[[], Any]]:
    """A client at both edges; what it was told so far, with a read of everything at the end."""
    spec = WorkloadSpec(writes_per_s=20, reads_per_s=2)
    client = wiring.workload(
        load(str(stack.folder)), spec, run=run, keep=lambda _line: None, clock=WallClock()
    )
    client.start()
    try:
        wait_for(lambda: all(client.acknowledged_s().values()))
        yield client.stop
    finally:
        client.stop()
        client.drop()


UNREACHABLE = """
add table inet dcctl_unreachable
delete table inet dcctl_unreachable
table inet dcctl_unreachable {{
    set places {{ type ifname; flags timeout; elements = {{ "{bridge}" timeout {seconds}s }} }}
    chain forward {{
        type filter hook forward priority 1; policy accept;
        iifname @places ip saddr & 0.0.0.255 != 0.0.0.5 drop
        oifname @places ip daddr & 0.0.0.255 != 0.0.0.5 drop
    }}
}}
"""
"""All of a site but its cloud's API (``paths.API_ADDRESSES``); it ends by itself, as a cut does."""


@contextlib.contextmanager
def unreachable(site: str, *, for_s: int) -> Iterator[None]:
    """The machines of ``site`` run and hear each other, and nobody else; its cloud answers all the same."""
    _in_backbone(UNREACHABLE.format(bridge=PLACES[site].bridge, seconds=for_s))
    try:
        yield
    finally:
        _in_backbone("delete table inet dcctl_unreachable\n")


def _in_backbone(rules: str) -> None:
    argv = inside(BACKBONE, "nft", "-f", "-")
    subprocess.run(argv, input=rules, text=True, capture_output=True, timeout=30, check=True)


@contextlib.contextmanager
def dark(site: str, *, for_s: float = DARK_FOR_S) -> Iterator[float]:
    """``site`` and everything in it, its cloud too; since when, in seconds of the epoch."""
    since = time.time()
    cut = Breakage(Kind.CUT, site)
    LabFault().inflict(cut, for_s=for_s)
    try:
        yield since
    finally:
        LabFault().mend(cut)


def whole(stack: Stack) -> bool:
    """Two copies of the database, and every voter in the quorum."""
    seen = asked(stack, "status")
    return bool(seen["database"]["synchronous"]) and seen["quorum"] == len(seen["voters"])


def steady(stack: Stack) -> bool:
    """Nothing needs attention, so that a drill may begin."""
    return not asked(stack, "status")["problems"]


def rotation(stack: Stack) -> dict[str, str]:
    return {each["name"]: each["rotation"] for each in asked(stack, "status")["sites"]}


def admitted(stack: Stack, site: str) -> bool:
    """Refused (5) until it has caught up, which a person would see in the reasons; 6: it is gone on with."""
    return carried_out(stack, "admit", site) is not None


def carried_out(stack: Stack, *order: str) -> dict[str, Any] | None:
    """What the move came to; None where it was refused (5), or stopped (6) and is gone on with."""
    argv = [sys.executable, "-m", "dcctl.cli.main", "-e", str(stack.folder), *order, "--yes", "-o", "json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode in (0, 5, 6), f"{done.stdout}{done.stderr}"
    moved: dict[str, Any] | None = json.loads(done.stdout) if done.returncode == 0 else None
    return moved
