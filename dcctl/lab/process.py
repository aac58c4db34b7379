"""Running other programs, and finding what runs inside the lab."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from dcctl.errors import Rejected, TimedOut, Unreachable


def run(
    argv: Sequence[str],
    *,
    stdin: str = "",
    limit_s: float = 30,
    environment: Mapping[str, str] | None = None,
    output: IO[bytes] | None = None,
) -> str:
    """Run a program to its end and return its standard output, or send both its outputs to ``output``.

    Raises Rejected with the end of its standard error, TimedOut after ``limit_s`` seconds, Unreachable
    when there is no such program.
    """
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            stdout=output or subprocess.PIPE,
            stderr=output or subprocess.PIPE,
            text=True,
            timeout=limit_s,
            check=False,
            env=environment,
        )
    except FileNotFoundError as error:
        raise Unreachable(f"run {argv[0]}", saw="it is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise TimedOut(f"run {' '.join(argv)}", saw=f"no end within {limit_s:g} s") from error
    if done.returncode != 0:
        raise Rejected(
            f"run {' '.join(argv)}", saw=tail(done.stderr or done.stdout or "") or f"exit {done.returncode}"
        )
    return done.stdout or ""


def tail(text: str, lines: int = 5) -> str:
    """The last lines of ``text``, on one line."""
    return " | ".join(line.strip() for line in text.strip().splitlines()[-lines:])


def running() -> list[int]:
    """The ids of all processes that are not zombies."""
    pids = (entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [int(pid) for pid in pids if not is_zombie(pid)]


def is_zombie(pid: str) -> bool:
    """Whether a process has ended, reaped or not (proc_pid_stat(5))."""
    try:
        stat = Path("/proc", pid, "stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] in ("Z", "X")
