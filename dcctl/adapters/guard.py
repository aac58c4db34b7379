"""``ports.GuardedCommand``: a command under a watchdog that is a process of its own.

The watchdog starts the command and reads deadlines from its holder: readings of CLOCK_BOOTTIME at which
the command is asked to end and at which everything that it started is ended. It needs nothing else to act:
a holder that is frozen, killed or cut off feeds it no later deadline. The holder follows the same
deadlines, for when it is the watchdog that is frozen.

The watchdog is the subreaper of all that it starts (PR_SET_CHILD_SUBREAPER, prctl(2)): a process that
leaves its process group, its session or its parent stays a descendant of the watchdog and is found. The
command itself dies with the watchdog (PR_SET_PDEATHSIG); what else it started then belongs to the holder,
which finds it by a mark in its environment.
"""

import contextlib
import ctypes
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from dcctl.domain.leadership import LEASE_VARIABLE
from dcctl.errors import Unreachable

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
MARK = "DCCTL_GUARD"
NOT_FOR_COMMANDS = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")
"""What systemd gave to the holder: a command must not speak in its name (sd_notify(3))."""
LOOK_AGAIN_S = 0.5
"""A machine that was suspended wakes up past its deadlines: a wait does not count that time."""
SWEEP_PAUSE_S = 0.02
FROZEN_AFTER_S = 1.0
"""A watchdog whose command is dead reports at once, unless it is frozen."""
KILLED = 128 + signal.SIGKILL


class WatchedCommand:
    """``argv`` with this process's standard streams and ``environment`` added to its own.

    It finds in DCCTL_LEASE_FILE a file whose last change is when deadlines were last moved: its health can
    say how old the lease is.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = list(argv)
        self._mark = secrets.token_hex(8)
        self._process: subprocess.Popen[bytes] | None = None
        self._control = -1
        self._report = -1
        self._lease: Path | None = None
        self._code: int | None = None
        self._killed_at_s: float | None = None

    def start(self, environment: Mapping[str, str], *, stop_at_s: float, kill_at_s: float) -> None:
        """Raises Unreachable when the watchdog cannot be started; the command's own failure is its code."""
        control, self._control = os.pipe()
        self._report, report = os.pipe()
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
        inherited = {name: value for name, value in os.environ.items() if name not in NOT_FOR_COMMANDS}
        argv = [sys.executable, "-P", "-m", __name__, str(control), str(report), *self._argv]
        try:
            descriptor, lease = tempfile.mkstemp(prefix="dcctl-lease-")
            os.close(descriptor)
            self._lease = Path(lease)
            self._process = subprocess.Popen(
                argv,
                pass_fds=(control, report),
                start_new_session=True,
                env={**inherited, **environment, LEASE_VARIABLE: lease, MARK: self._mark},
            )
        except OSError as error:
            raise Unreachable("start the watchdog", on=argv[0], saw=str(error)) from error
        finally:
            os.close(control)
            os.close(report)
        self.feed(stop_at_s=stop_at_s, kill_at_s=kill_at_s)

    def feed(self, *, stop_at_s: float, kill_at_s: float) -> None:
        if self._lease is not None:
            with contextlib.suppress(OSError):
                self._lease.touch()
        self._tell(f"until {stop_at_s!r} {kill_at_s!r}")

    def ask_to_end(self) -> None:
        self._tell("end")

    def kill(self) -> None:
        self._tell("kill")
        if self._process is not None and self._process.poll() is None:
            # Not left to the watchdog, which may be frozen. It reports what it finds ended.
            _kill(descendants(self._process.pid))
            self._killed_at_s = self._killed_at_s or boot_clock()

    def ended(self) -> int | None:
        if self._code is not None or self._process is None:
            return self._code
        if select.select([self._report], [], [], 0)[0]:
            word = os.read(self._report, 64).decode().strip()
            if word:
                self._code = int(word)
            else:
                # The watchdog died without a word.
                self._process.wait()
                self._sweep()
                self._code = KILLED
        elif (
            self._killed_at_s is not None
            and boot_clock() > self._killed_at_s + FROZEN_AFTER_S
            and not descendants(self._process.pid)
        ):
            self._process.kill()
        return self._code

    def wait(self, seconds: float) -> None:
        """Wait, at most until the command has ended."""
        if self._process is None or self._code is not None:
            time.sleep(seconds)
        else:
            select.select([self._report], [], [], max(0.0, seconds))

    def close(self) -> None:
        """End whatever still lives, the watchdog too."""
        if self._lease is not None:
            self._lease.unlink(missing_ok=True)
            self._lease = None
        if self._process is None:
            return
        if self._code is None:
            _until_gone(lambda: descendants(self._process.pid if self._process else 0))
            self._process.kill()
        self._process.wait()
        self._sweep()
        for descriptor in (self._control, self._report):
            os.close(descriptor)
        self._process = None
        _prctl(PR_SET_CHILD_SUBREAPER, 0)

    def _tell(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError, BlockingIOError):
            os.set_blocking(self._control, False)
            os.write(self._control, f"{line}\n".encode())

    def _sweep(self) -> None:
        """End what the command left to us when its watchdog died."""
        _until_gone(lambda: [pid for pid in descendants(os.getpid()) if _carries(pid, self._mark)])


def boot_clock() -> float:
    """Seconds since the machine booted, the time it slept included (clock_gettime(2)): a machine that was
    suspended must not believe that its lease stood still meanwhile."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def descendants(root: int) -> list[int]:
    """The processes below ``root`` that live, nearest first."""
    children: dict[int, list[int]] = {}
    for pid, parent in _living():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    below = children.get(root, [])
    while below:
        found += below
        below = [child for pid in below for child in children.get(pid, [])]
    return found


def _living() -> Iterator[tuple[int, int]]:
    """Each process and its parent, without those that have ended and wait to be collected."""
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            # proc(5): "pid (comm) state ppid …"; the name may hold any character.
            state, parent = Path(entry.path, "stat").read_text().rpartition(")")[2].split()[:2]
            if state not in "ZX":
                yield int(entry.name), int(parent)


def _carries(pid: int, mark: str) -> bool:
    try:
        return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _kill(pids: Sequence[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _until_gone(find: Callable[[], Sequence[int]]) -> None:
    """Kill what ``find`` finds until it finds nothing: a process may start others meanwhile."""
    while pids := find():
        _kill(pids)
        time.sleep(SWEEP_PAUSE_S)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


# The watchdog.


class _Watchdog:
    def __init__(self, control: int, argv: Sequence[str]) -> None:
        self._control = control
        self._argv = argv
        self._unread = b""
        self._stop_at_s = float("-inf")
        self._kill_at_s = float("-inf")
        self._fed = False
        self._asked = False
        self._ending = False
        self._killing = False

    def run(self) -> int:
        while not self._fed:
            if not self._read():
                return KILLED
        if boot_clock() >= self._stop_at_s:
            return KILLED
        guard = os.getpid()

        def bind() -> None:
            """In the command, before it is the command."""
            _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != guard:
                os._exit(KILLED)

        try:
            child = subprocess.Popen(self._argv, start_new_session=True, preexec_fn=bind)  # noqa: PLW1509
        except (OSError, subprocess.SubprocessError) as error:
            print(f"error: start {self._argv[0]}: {error}", file=sys.stderr)
            return 127 if isinstance(error, FileNotFoundError) else 126
        return self._watch(child)

    def _watch(self, child: subprocess.Popen[bytes]) -> int:
        # The first thing after a start that may have come late.
        self._follow(child)
        ended = os.pidfd_open(child.pid)
        listening = [ended, self._control]
        while ended not in select.select(listening, [], [], self._next_s())[0]:
            if self._control in listening and self._readable() and not self._read():
                # Nobody will feed us again. The deadlines stand; there is no reason to wait for them.
                listening.remove(self._control)
                self._ask_to_end(child)
            self._follow(child)
        code = child.wait()
        _until_gone(lambda: descendants(os.getpid()))
        return code if code >= 0 else 128 - code

    def _follow(self, child: subprocess.Popen[bytes]) -> None:
        now_s = boot_clock()
        if self._ending or now_s >= self._stop_at_s:
            self._ask_to_end(child)
        if self._killing or now_s >= self._kill_at_s:
            _kill(descendants(os.getpid()))
        _collect(child.pid)

    def _next_s(self) -> float:
        now_s = boot_clock()
        if self._killing or now_s >= self._kill_at_s:
            return SWEEP_PAUSE_S
        due_s = self._kill_at_s if self._asked else self._stop_at_s
        return min(LOOK_AGAIN_S, max(0.0, due_s - now_s))

    def _ask_to_end(self, child: subprocess.Popen[bytes]) -> None:
        if not self._asked:
            self._asked = True
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGTERM)

    def _readable(self) -> bool:
        return bool(select.select([self._control], [], [], 0)[0])

    def _read(self) -> bool:
        """Take in what the holder says; False when it will say nothing more."""
        piece = os.read(self._control, 4096)
        *lines, self._unread = (self._unread + piece).split(b"\n")
        for line in lines:
            match line.split():
                case [b"until", stop_at_s, kill_at_s]:
                    self._stop_at_s, self._kill_at_s = float(stop_at_s), float(kill_at_s)
                    self._fed = True
                case [b"end"]:
                    self._ending = True
                case [b"kill"]:
                    self._killing = True
        return bool(piece)


def _collect(but: int) -> None:
    """Let go of what has ended and whose parent has too; ``but`` is waited for by name."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if ended.si_pid == but:
                return
            os.waitpid(ended.si_pid, 0)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """A signal meant for all of a terminal or a unit is the holder's to answer."""


def main(argv: Sequence[str]) -> None:
    """The watchdog's process: ``CONTROL REPORT COMMAND…``, the first two being its pipes."""
    control, report = int(argv[0]), int(argv[1])
    for descriptor in (control, report):
        os.set_inheritable(descriptor, False)  # noqa: FBT003  # positional only
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A handler, not SIG_IGN, which the command would inherit.
        signal.signal(number, _ignore)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    code = _Watchdog(control, argv[2:]).run()
    with contextlib.suppress(BrokenPipeError):
        os.write(report, f"{code}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1:])
