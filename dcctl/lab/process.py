"""Running other programs, and finding what runs inside the lab."""

import contextlib
import os
import signal
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
    """Whether a process has ended, reaped or not."""
    fields = _stat(pid)
    return not fields or fields[0] in ("Z", "X")


def run_tied(argv: Sequence[str], *, log: Path, limit_s: float, tried: str = "") -> None:
    """Run a long builder that ends, with everything it started, when we do, however we end.

    It gets a process namespace and a private mount namespace of its own: nothing that it starts or mounts
    outlives it (unshare(1) --kill-child, setpriv(1) --pdeathsig). Both its outputs go to ``log``; an
    error carries the end of it, and says what was ``tried``.
    """
    tied = ["setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child"]
    apart = ["--mount", "--propagation", "private"]
    with log.open("wb") as output:
        try:
            run([*tied, *apart, *argv], limit_s=limit_s, output=output)
        except (Rejected, TimedOut) as error:
            words = tail(log.read_text(errors="replace"))
            late = [error.saw] if isinstance(error, TimedOut) else []
            saw = "; ".join(filter(None, [*late, words or "no output"]))
            raise type(error)(tried or f"run {Path(argv[0]).name}", saw=f"{saw} (all of it: {log})") from None


def end_children() -> None:
    """End every process that descends from this one: what an interrupted build was waiting for."""
    for pid in descendants(os.getpid()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def descendants(ancestor: int) -> list[int]:
    """All living processes below ``ancestor``, nearest first."""
    children: dict[int, list[int]] = {}
    for pid in running():
        children.setdefault(parent_of(pid), []).append(pid)
    found = list(children.get(ancestor, ()))
    for pid in found:  # grows while we walk it
        found += children.get(pid, ())
    return found


def ancestors(pid: int) -> list[int]:
    """``pid`` and everything above it."""
    found = []
    while pid > 0:
        found.append(pid)
        pid = parent_of(pid)
    return found


def parent_of(pid: int) -> int:
    """Its parent's id; 0 when it has none or is gone (proc_pid_stat(5), field 4)."""
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def _stat(pid: int | str) -> list[str]:
    """The fields after the command's name, which may itself hold spaces and brackets."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
