"""The real watchdog over real processes: nothing that a command started outlives its deadline."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcctl.adapters.guard import KILLED, WatchedCommand, boot_clock

FAR_S = 60.0

STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open(sys.argv[1], "a") as file:
    while True:
        file.write(f"{os.getpid()}\\n")
        file.flush()
        time.sleep(0.02)
"""
# A child that left its process group, its session and its parent, beside one that did not.
ESCAPES = """
import os, subprocess, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", sys.argv[2], sys.argv[1]])
    os._exit(0)
subprocess.run([sys.executable, "-c", sys.argv[2], sys.argv[1]])
"""


class Watched:
    def __init__(self, folder: Path) -> None:
        self.file = folder / "acts"
        self.file.touch()
        self._commands: list[WatchedCommand] = []

    def start(
        self, script: str, *argv: str, kill_in_s: float = FAR_S, stop_in_s: float = FAR_S
    ) -> WatchedCommand:
        command = WatchedCommand([sys.executable, "-c", textwrap.dedent(script), str(self.file), *argv])
        self._commands.append(command)
        now_s = boot_clock()
        command.start({"DCCTL_EPOCH": "7"}, stop_at_s=now_s + stop_in_s, kill_at_s=now_s + kill_in_s)
        return command

    def pids(self) -> set[int]:
        return {int(line) for line in self.file.read_text().split()}

    def acting(self, count: int = 1) -> set[int]:
        """Wait until ``count`` processes act."""
        wait_for(lambda: len(self.pids()) >= count)
        return self.pids()

    def close(self) -> None:
        for command in self._commands:
            command.close()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with contextlib.closing(Watched(tmp_path)) as watched:
        yield watched


def wait_for(true: "object", limit_s: float = 30.0) -> None:
    deadline_s = time.monotonic() + limit_s
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def ended(command: WatchedCommand, limit_s: float = 30.0) -> int:
    wait_for(lambda: command.ended() is not None, limit_s)
    code = command.ended()
    assert code is not None
    return code


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def watchdog_of(command: WatchedCommand) -> int:
    assert command._process is not None
    return command._process.pid


def test_its_exit_status_and_its_environment(watched: Watched) -> None:
    assert ended(watched.start("import os, sys; sys.exit(int(os.environ['DCCTL_EPOCH']) + 30)")) == 37
    assert ended(watched.start("import os, signal; os.kill(os.getpid(), signal.SIGINT)")) in (130, 1)
    missing = WatchedCommand(["/nowhere/at-all"])
    missing.start({}, stop_at_s=boot_clock() + FAR_S, kill_at_s=boot_clock() + FAR_S)
    with contextlib.closing(missing):
        assert ended(missing) == 127


def test_it_may_answer_sigterm(watched: Watched) -> None:
    script = """
    import signal, sys, time
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
    open(sys.argv[1], "a").write("1\\n")
    time.sleep(60)
    """
    command = watched.start(script)
    watched.acting()
    command.ask_to_end()
    assert ended(command) == 5


def test_a_deadline_that_is_not_renewed_ends_all_of_it(watched: Watched) -> None:
    command = watched.start(ESCAPES, STUBBORN, stop_in_s=3.0, kill_in_s=4.0)
    began_s = boot_clock()
    pids = watched.acting(2)
    assert ended(command) in (128 + signal.SIGTERM, KILLED)
    assert 2.0 < boot_clock() - began_s < 15
    assert not [pid for pid in pids if lives(pid)]


def test_a_deadline_that_is_renewed_is_no_deadline(watched: Watched) -> None:
    command = watched.start(STUBBORN, stop_in_s=2.0, kill_in_s=2.5)
    began_s = boot_clock()
    while boot_clock() - began_s < 5.0:
        command.feed(stop_at_s=boot_clock() + 2.0, kill_at_s=boot_clock() + 2.5)
        time.sleep(0.2)
        assert command.ended() is None


def test_past_its_deadline_nothing_is_started(watched: Watched) -> None:
    assert ended(watched.start(STUBBORN, stop_in_s=-0.1)) == KILLED
    assert watched.pids() == set()


def test_kill_ends_all_of_it_at_once(watched: Watched) -> None:
    command = watched.start(ESCAPES, STUBBORN)
    pids = watched.acting(2)
    command.kill()
    assert ended(command) == KILLED
    assert not [pid for pid in pids if lives(pid)]


def test_what_it_leaves_behind_is_ended_with_it(watched: Watched) -> None:
    script = """
    import os, sys, time
    if os.fork() == 0:
        os.setsid()
        os.execv(sys.executable, [sys.executable, "-c", sys.argv[2], sys.argv[1]])
    time.sleep(1)
    """
    command = watched.start(script, STUBBORN)
    pids = watched.acting()
    assert ended(command) == 0
    assert not [pid for pid in pids if lives(pid)]


def test_a_frozen_watchdog_is_replaced_by_the_holder(watched: Watched) -> None:
    command = watched.start(ESCAPES, STUBBORN)
    pids = watched.acting(2)
    os.kill(watchdog_of(command), signal.SIGSTOP)
    command.kill()
    wait_for(lambda: not [pid for pid in pids if lives(pid)])
    assert ended(command) == KILLED


def test_a_killed_watchdog_takes_all_of_it_along(watched: Watched) -> None:
    command = watched.start(ESCAPES, STUBBORN)
    pids = watched.acting(2)
    os.kill(watchdog_of(command), signal.SIGKILL)
    assert ended(command) == KILLED
    assert not [pid for pid in pids if lives(pid)]


def test_without_its_holder_it_is_asked_to_end_and_ended_at_the_deadline(watched: Watched) -> None:
    """The holder here is a process of its own, which is killed."""
    holder = f"""
    import sys, time
    from dcctl.adapters.guard import WatchedCommand
    from dcctl.adapters.guard import boot_clock
    command = WatchedCommand([sys.executable, "-c", {STUBBORN!r}, sys.argv[1]])
    command.start({{}}, stop_at_s=boot_clock() + 6, kill_at_s=boot_clock() + 7)
    time.sleep(60)
    """
    outer = subprocess.Popen([sys.executable, "-c", textwrap.dedent(holder), str(watched.file)])
    try:
        (pid,) = watched.acting()
        began_s = boot_clock()
        outer.kill()
        outer.wait()
        wait_for(lambda: not lives(pid))
        assert boot_clock() - began_s < 15
    finally:
        outer.kill()


def test_the_command_can_see_how_old_its_lease_is(watched: Watched) -> None:
    command = watched.start(
        """
        import os, pathlib, sys, time
        lease = pathlib.Path(os.environ["DCCTL_LEASE_FILE"])
        pathlib.Path(sys.argv[1]).write_text(str(lease))
        time.sleep(60)
        """
    )
    wait_for(lambda: watched.file.read_text() != "")
    lease = Path(watched.file.read_text())
    os.utime(lease, (0, 0))
    now_s = boot_clock()
    command.feed(stop_at_s=now_s + FAR_S, kill_at_s=now_s + FAR_S)
    assert lease.stat().st_mtime > 0
    command.kill()
    wait_for(lambda: command.ended() is not None)
    command.close()
    assert not lease.exists()
