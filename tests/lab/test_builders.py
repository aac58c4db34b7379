"""Builders end with whoever started them, and everything they started and mounted with them."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from guests import eventually

from dcctl.errors import Rejected, TimedOut
from dcctl.lab.process import run_tied, running

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("capable_host")]

CALLER = """
import sys
from pathlib import Path
from dcctl.lab.process import run_tied
run_tied(["sh", "-c", sys.argv[1]], log=Path(sys.argv[2]), limit_s=60)
"""


def commands() -> list[str]:
    found = []
    for pid in running():
        try:
            found.append(Path("/proc", str(pid), "cmdline").read_text().replace("\0", " ").strip())
        except OSError:
            continue
    return found


def test_a_builder_whose_caller_is_killed_ends_with_its_children(tmp_path: Path) -> None:
    marker = f"sleep 1{time.monotonic_ns() % 10**8}"
    script = f"mount -t tmpfs tmpfs {tmp_path} && setsid --fork {marker} && {marker}9"
    argv = [sys.executable, "-c", CALLER, script, str(tmp_path / "log")]
    with subprocess.Popen(argv) as caller:
        assert eventually(lambda: {marker, f"{marker}9"} <= set(commands()), limit_s=10)
        caller.send_signal(signal.SIGKILL)
    assert eventually(lambda: not any(marker in command for command in commands()), limit_s=10)
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def test_a_builder_that_fails_is_quoted_and_its_log_named(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(Rejected) as failed:
        run_tied(["sh", "-c", "echo one; echo No space left on device >&2; exit 1"], log=log, limit_s=10)
    assert failed.value.sentence() == f"run sh: one | No space left on device (all of it: {log})"


def test_a_builder_that_takes_too_long_says_so(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(TimedOut) as late:
        run_tied(["sh", "-c", "echo one; sleep 60"], log=log, limit_s=0.5, tried="build it")
    assert late.value.sentence() == f"build it: no end within 0.5 s; one (all of it: {log})"
    assert eventually(lambda: "sleep 60" not in commands(), limit_s=5)
