"""Removing the lab, from whatever state it is in, and proving that nothing is left."""

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from dcctl.errors import UndoIncomplete
from dcctl.lab import cgroup, clouds, network
from dcctl.lab.paths import CACHE, LAB, NAMESPACES, PLACES, RUN
from dcctl.lab.process import ancestors, run, running

LIMIT_S = 10.0
PASSES = 3


def remove(progress: Callable[[str], None], *, purge: bool = False) -> None:
    """Stop and remove everything of the lab but its cache, which ``purge`` removes too.

    Works after SIGKILL of anything, and when there is nothing. Raises UndoIncomplete naming what is left.
    """
    troubles = [trouble for trouble in (_attempt(stop) for stop in clouds.stops()) if trouble]
    for _ in range(PASSES):
        _sweep()
        left = leftovers()
        if not left:
            break
    if purge:
        shutil.rmtree(CACHE, ignore_errors=True)
    if left:
        for trouble in troubles:
            progress(trouble)
        raise UndoIncomplete("remove the lab", left=left, next_command="dcctl lab down")


def _sweep() -> None:
    """One pass over everything; what was just being started while we looked is for the next."""
    for name in cgroup.names():
        _attempt(lambda name=name: cgroup.kill(name))  # type: ignore[misc]  # mypy#15459
    _end_processes()
    for name in namespaces():
        _attempt(lambda name=name: network.remove_namespace(name))  # type: ignore[misc]
    for mount in mounts():
        _attempt(lambda mount=mount: _unmount(mount))  # type: ignore[misc]
    _attempt(cgroup.remove_root)
    shutil.rmtree(RUN, ignore_errors=True)


def leftovers() -> tuple[str, ...]:
    """Everything of the lab that exists on this host outside its cache; empty when there is no lab."""
    left = [f"process {pid} ({_name_of(pid)})" for pid in processes()]
    left += [f"network namespace {name}" for name in namespaces()]
    left += [f"mount {path}" for path in mounts()]
    left += [f"network link {link}" for link in _host_links()]
    left += [f"control group {root}" for root in cgroup.roots() if root.exists()]
    left += [f"folder {RUN}"] if RUN.exists() else []
    return tuple(left)


def namespaces() -> tuple[str, ...]:
    """The names of the lab's network namespaces that exist."""
    if not NAMESPACES.is_dir():
        return ()
    return tuple(sorted(path.name for path in NAMESPACES.iterdir() if path.name.startswith("dcctl-")))


def mounts() -> tuple[str, ...]:
    """What our mount namespace has under the lab's folder, deepest first (proc_pid_mountinfo(5))."""
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return tuple(sorted((point for point in points if point.startswith(f"{LAB}/")), reverse=True))


def processes() -> tuple[int, ...]:
    """Every process that is in a control group or a network of the lab.

    Not we ourselves, nor those that called us: they may have joined the operator's network to work in it.
    """
    ours = {(status.st_dev, status.st_ino) for status in map(_status, _paths_of_namespaces()) if status}
    inside = {pid for name in cgroup.names() for pid in cgroup.members(name)}
    spared = set(ancestors(os.getpid()))
    return tuple(
        pid for pid in running() if pid not in spared and (pid in inside or _network_of(pid) in ours)
    )


def _end_processes() -> None:
    """SIGKILL until there is none, since what we kill may have been starting another."""
    until = time.monotonic() + LIMIT_S
    while (pids := processes()) and time.monotonic() < until:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _attempt(action: Callable[[], None]) -> str:
    """What went wrong, or nothing: each part of a removal is tried, and what is left is looked for after."""
    try:
        action()
    except Exception as error:  # a removal goes on, whatever one part of it met
        return f"{type(error).__name__}: {error}"
    return ""


def _unmount(path: str) -> None:
    run(["umount", "--lazy", path])


def _paths_of_namespaces() -> list[Path]:
    return [NAMESPACES / name for name in namespaces()]


def _network_of(pid: int) -> tuple[int, int] | None:
    status = _status(Path("/proc", str(pid), "ns/net"))
    return (status.st_dev, status.st_ino) if status else None


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _name_of(pid: int) -> str:
    try:
        return Path("/proc", str(pid), "comm").read_text().strip()
    except OSError:
        return "ended"


def _host_links() -> list[str]:
    """Bridges of the lab in our own network namespace: there never should be one."""
    return sorted(place.bridge for place in PLACES.values() if Path("/sys/class/net", place.bridge).exists())
