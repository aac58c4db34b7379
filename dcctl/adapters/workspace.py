"""A folder of our own, in memory, for what programs that we start must have in files."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108  # mode 0700 and a random name below
PREFIX = "dcctl-"


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """The folder, mode 0700; gone afterwards. What a killed process left is removed first."""
    _remove_left()
    folder = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=MEMORY if MEMORY.is_dir() else None)
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_left() -> None:
    for folder in MEMORY.glob(f"{PREFIX}*-*"):
        owner = folder.name.split("-")[1]
        ours = folder.stat(follow_symlinks=False).st_uid == os.getuid()
        if ours and owner.isdigit() and not Path("/proc", owner).exists():
            shutil.rmtree(folder, ignore_errors=True)
