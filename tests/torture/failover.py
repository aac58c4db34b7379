"""A site is left, lost, taken over and admitted, while a client writes and an operator is killed.

``python tests/torture/failover.py [FOLDER]`` against the lab that is up and deployed; FOLDER is that of its
``dcctl.yaml`` (default: inventories/lab). It cuts a site off for minutes.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / each) for each in ("lab", "procurement", "contract", "../procurement")]

from guests import dcctl  # noqa: E402
from stack import Stack, joined, opened  # noqa: E402

from dcctl import wiring  # noqa: E402
from dcctl.config.load import load  # noqa: E402
from dcctl.domain.drill import WorkloadSpec  # noqa: E402
from dcctl.domain.history import check  # noqa: E402
from dcctl.lab import network  # noqa: E402
from dcctl.shell import WallClock  # noqa: E402

PATIENCE_S = 240.0
"""For what takes half a minute on a machine that has nothing else to do."""
REFUSED = 5


def refuses_what_is_not_lost(stack: Stack) -> None:
    assert eventually(lambda: plan(stack, "switchover", "--to", other(primary_site(stack))) is not None)
    _document, error = preview(stack, "failover", "--lost", "east")
    assert error["exit_code"] == REFUSED
    assert any(each.startswith("east is not lost: ") for each in error["reasons"])
    stack.dcctl("failover", "plan", "--lost", "eest", expect=2)
    stack.dcctl("admit", "north", expect=2)


def loses_no_acknowledged_write(stack: Stack) -> None:
    """There and back, then lost with an operator who dies in the middle, then admitted."""
    with writing(stack) as stop:
        first = primary_site(stack)
        for to in (other(first), first):
            assert eventually(lambda to=to: plan(stack, "switchover", "--to", to) is not None)
            stack.dcctl("switchover", "apply", "--to", to, "--yes", limit_s=400)
            assert primary_site(stack) == to
        lost = first
        network.cut(lost, for_s=550)
        try:
            assert eventually(lambda: plan(stack, "failover", "--lost", lost) is not None)
            kill_after_quarantine(stack, lost)
            assert eventually(lambda: failover(stack, lost) == 0), "the next operator ends it"
            assert primary_site(stack) == other(lost)
            assert failover(stack, lost) == 0, "once more changes nothing"
        finally:
            network.heal(lost)
        stack.dcctl("admit", lost, "--yes", expect=REFUSED)
        assert eventually(lambda: admit(stack, lost) == 0)
        findings = check(stop())
    assert findings.final_read
    assert findings.lost == ()
    assert findings.vanished == ()
    assert findings.phantom == ()


def other(site: str) -> str:
    return "west" if site == "east" else "east"


def primary_site(stack: Stack) -> str:
    status = json.loads(stack.dcctl("status", "-o", "json"))
    return str(status["database"]["primary_place"])


def run(stack: Stack, *arguments: str, limit_s: float = 400) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(stack, *arguments), capture_output=True, text=True, timeout=limit_s, check=False
    )


def command(stack: Stack, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "dcctl.cli.main", "-e", str(stack.folder), *arguments]


def preview(stack: Stack, *arguments: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The document of a plan, and the error where it is refused."""
    what, *more = arguments
    done = run(stack, what, "plan", *more, "-o", "json")
    return json.loads(done.stdout or "{}"), json.loads(done.stderr or "{}")


def plan(stack: Stack, *arguments: str) -> dict[str, Any] | None:
    document, _error = preview(stack, *arguments)
    found: dict[str, Any] | None = document.get("plan")
    return found


def failover(stack: Stack, lost: str) -> int:
    return run(stack, "failover", "apply", "--lost", lost, "--yes").returncode


def admit(stack: Stack, site: str) -> int:
    return run(stack, "admit", site, "--yes").returncode


def kill_after_quarantine(stack: Stack, lost: str) -> None:
    """SIGKILL of the operator once the site is quarantined, whatever it does then."""
    runs = Path(load(str(stack.folder)).state_directory) / "runs"
    before = set(runs.glob("*-failover-*"))
    process = subprocess.Popen(
        command(stack, "failover", "apply", "--lost", lost, "--yes"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def quarantined() -> bool:
        journals = [each / "journal.jsonl" for each in set(runs.glob("*-failover-*")) - before]
        return process.poll() is not None or any(
            "quarantine" in line and "step.done" in line
            for each in journals
            for line in each.read_text().splitlines()
        )

    assert eventually(quarantined, every_s=0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was over before it could be killed"


def eventually(holds: Callable[[], bool], *, every_s: float = 2.0) -> bool:
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(every_s)
    return True


@contextlib.contextmanager
def writing(stack: Stack) -> Iterator[Callable[[], Any]]:
    """A client that writes through both edges all along; called, it stops and reads everything back."""
    with joined("dcctl-operator"):
        configuration = load(str(stack.folder))
        client = wiring.workload(
            configuration,
            WorkloadSpec(writes_per_s=10.0, reads_per_s=1.0),
            run=f"20260102-000000-test-{time.monotonic_ns() % 10**6:06d}",
            keep=lambda _line: None,
            clock=WallClock(),
        )
        client.start()
        try:
            yield client.stop
        finally:
            client.stop()
            with contextlib.suppress(Exception):
                client.drop()
            dcctl("lab", "heal", check=True)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else TESTS.parent / "inventories" / "lab"
    with joined("dcctl-operator"), opened(folder.resolve()) as stack:
        for each in (refuses_what_is_not_lost, loses_no_acknowledged_write):
            began_s = time.monotonic()
            each(stack)
            print(f"{each.__name__}: held, {time.monotonic() - began_s:.0f} s", flush=True)


if __name__ == "__main__":
    main()
