"""Joining a named network namespace: for an environment that is reached from one (a VRF, the lab)."""

import ctypes
import os
from pathlib import Path

from dcctl.errors import Unreachable

CLONE_NEWNET = 0x40000000
NAMESPACES = Path("/run/netns")
_left: list[int] = []
"""The namespace that this process came from, once it has joined another."""


def enter(name: str) -> None:
    """Move this process into network namespace ``name``; threads and children made later follow.

    Call it before any thread is started. Raises Unreachable when there is no such namespace or no right
    to join it. (setns(2); Python 3.11 has no wrapper of its own.)
    """
    try:
        descriptor = os.open(NAMESPACES / name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Unreachable(
            "join the environment's network namespace",
            on=name,
            saw=error.strerror or str(error),
            next_command="dcctl lab up" if isinstance(error, FileNotFoundError) else "",
        ) from error
    came_from = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, CLONE_NEWNET) != 0:
            raise Unreachable(
                "join the environment's network namespace", on=name, saw=os.strerror(ctypes.get_errno())
            )
        _left.append(came_from)
    finally:
        os.close(descriptor)


def outside() -> tuple[tuple[str, ...], tuple[int, ...]]:
    """What to put before a command that shall run where this process came from, and the descriptors that it
    must inherit: the way to a package index does not lead through an environment's namespace."""
    if not _left:
        return (), ()
    return ("nsenter", f"--net=/proc/self/fd/{_left[0]}", "--"), (_left[0],)
