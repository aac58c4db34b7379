"""systemd-run and systemctl for a machine without systemd: as much of both as the pool's program asks for.

Called under either name. In ``$STAND_IN`` each unit that runs is a file with the number of its process.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(os.environ["STAND_IN"])
PATIENCE_S = 60.0
NOT_ACTIVE = 3


def run(argv: list[str]) -> int:
    """Start the unit; returns once its process has said that it is ready, or has ended."""
    options = [each for each in argv if each.startswith("--")]
    command = argv[len(options) :]
    given = dict(each.removeprefix("--property=").removeprefix("--").partition("=")[::2] for each in options)
    notify = FOLDER / f"notify-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as said:
        said.bind(str(notify))
        notify.chmod(0o777)
        said.settimeout(0.05)
        argv = [sys.executable, __file__, "supervise", given["unit"], given["ExecStopPost"], *command]
        unit = subprocess.Popen(
            argv,
            env={**os.environ, "NOTIFY_SOCKET": str(notify)},
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(FOLDER / "log").open("a"),
        )
        ends = time.monotonic() + PATIENCE_S
        try:
            while time.monotonic() < ends:
                try:
                    return 0 if said.recv(4096) == b"READY=1" else 1
                except TimeoutError:
                    if unit.poll() is not None:
                        print(f"Job for {given['unit']} failed.", file=sys.stderr)
                        return 1
            return 1
        finally:
            notify.unlink()


def supervise(unit: str, afterwards: str, command: list[str]) -> int:
    """The unit: its process, and what is run however that ends."""
    process = subprocess.Popen(command)
    # SIGTERM is for the process alone: what comes after it must be done.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (FOLDER / unit).write_text(str(process.pid))
    status = process.wait()
    subprocess.run(afterwards.split(), check=False)
    (FOLDER / unit).unlink()
    return status


def control(argv: list[str]) -> int:
    """``stop UNIT``, ``--quiet is-active UNIT``, ``kill --signal=NAME UNIT``."""
    words = [each for each in argv if not each.startswith("--")]
    sent = next((each.removeprefix("--signal=") for each in argv if each.startswith("--signal=")), "SIGTERM")
    verb, unit = words
    pid = pid_of(unit)
    if verb == "is-active":
        return 0 if pid else NOT_ACTIVE
    if not pid:
        return 0 if verb == "stop" else 1
    os.kill(pid, getattr(signal, sent))
    ends = time.monotonic() + PATIENCE_S
    while verb == "stop" and (FOLDER / unit).exists() and time.monotonic() < ends:
        time.sleep(0.01)
    return 0


def pid_of(unit: str) -> int:
    try:
        pid = int((FOLDER / unit).read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return 0
    return pid


if __name__ == "__main__":
    if sys.argv[1] == "supervise":
        sys.exit(supervise(sys.argv[2], sys.argv[3], sys.argv[4:]))
    sys.exit({"run": run, "control": control}[sys.argv[1]](sys.argv[2:]))
