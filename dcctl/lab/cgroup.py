"""What runs in a machine is what its control group holds, so no process id is ever stored or reused.

Works with the unified hierarchy (v2) and with the old ones (v1), where freezing has a hierarchy of its own
and systemd inside a machine wants one more. See cgroups(7) and the kernel's cgroup-v1/freezer-subsystem.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from dcctl.errors import TimedOut
from dcctl.lab.process import is_zombie

ROOT = Path("/sys/fs/cgroup")
OURS = "dcctl-lab"
LIMIT_S = 10.0
POLL_S = 0.01


def unified() -> bool:
    """Whether the host has the unified hierarchy only."""
    return (ROOT / "cgroup.controllers").exists()


def usable() -> bool:
    """Whether there is a hierarchy that freezes and that we may write to."""
    return os.access(ROOT if unified() else ROOT / "freezer", os.W_OK)


def roots() -> tuple[Path, ...]:
    """The lab's own group in every hierarchy that it uses; the first is the one that freezes."""
    if unified():
        return (ROOT / OURS,)
    hierarchies = (ROOT / name for name in ("freezer", "systemd", "unified"))
    return tuple(hierarchy / OURS for hierarchy in hierarchies if hierarchy.is_dir())


def ensure(name: str) -> tuple[Path, ...]:
    """Make the group; return the files that a process writes its own id to in order to join it."""
    groups = [root / name for root in roots()]
    for group in groups:
        group.mkdir(parents=True, exist_ok=True)
    return tuple(group / "cgroup.procs" for group in groups)


def names() -> tuple[str, ...]:
    """All groups of the lab that exist in any hierarchy."""
    found = {group.name for root in roots() if root.is_dir() for group in root.iterdir() if group.is_dir()}
    return tuple(sorted(found))


def members(name: str) -> list[int]:
    """The living processes in the group and below it."""
    group = roots()[0] / name
    pids = [pid for file in group.rglob("cgroup.procs") for pid in _read(file).split()]
    return [int(pid) for pid in pids if not is_zombie(pid)]


def is_frozen(name: str) -> bool:
    """Whether everything in the group stands still."""
    group = roots()[0] / name
    if unified():
        return "frozen 1" in _read(group / "cgroup.events")
    return _read(group / "freezer.state").strip() == "FROZEN"


def freeze(name: str) -> None:
    """Stop everything in the group between two instructions. Raises TimedOut."""
    _switch(name, frozen=True)
    _await(lambda: is_frozen(name), f"freeze {name}")


def thaw(name: str) -> None:
    """Let it go on."""
    _switch(name, frozen=False)


def kill(name: str) -> None:
    """End everything in the group at once, as a power cut does: nothing in it runs another instruction.

    Raises TimedOut when a process does not end (one that waits for a disk, say).
    """
    if not members(name):
        return
    _switch(name, frozen=True)
    for pid in members(name):
        _kill(pid)
    _switch(name, frozen=False)

    def gone() -> bool:
        left = members(name)
        for pid in left:
            _kill(pid)
        return not left

    _await(gone, f"end the processes of {name}")


def remove(name: str) -> None:
    """Remove the group, which must be empty, in every hierarchy; absent is done."""
    for root in roots():
        _remove_tree(root / name)


def remove_root() -> None:
    """Remove the lab's own groups and all below them."""
    for root in roots():
        _remove_tree(root)


def _remove_tree(group: Path) -> None:
    """Children first. The kernel may need a moment after the last process has ended."""
    below = sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True)
    for directory in [*below, group]:
        _await(lambda directory=directory: _rmdir(directory), f"remove {directory}")  # type: ignore[misc]


def _rmdir(directory: Path) -> bool:
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _switch(name: str, *, frozen: bool) -> None:
    group = roots()[0] / name
    if unified():
        (group / "cgroup.freeze").write_text("1" if frozen else "0")
    else:
        (group / "freezer.state").write_text("FROZEN" if frozen else "THAWED")


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # it went while we looked
        return ""


def _await(done: Callable[[], bool], tried: str) -> None:
    until = time.monotonic() + LIMIT_S
    while not done():
        if time.monotonic() > until:
            raise TimedOut(tried, saw=f"not within {LIMIT_S:g} s")
        time.sleep(POLL_S)
