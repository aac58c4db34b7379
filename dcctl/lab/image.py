"""The golden image: built once from the files in ``lab/image``, cached under a name that says from which.

Two layers, each an overlay's lower directory: ``base`` is a bare Debian 12 as a cloud offers it, ``stack``
adds the packages that the roles configure. A build happens beside the cache and is renamed into it, so what
the cache holds is complete.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dcctl import resources
from dcctl.errors import NotFound
from dcctl.lab.disk import CURRENT
from dcctl.lab.paths import CACHE, DEBS, IMAGES, MACHINES
from dcctl.lab.process import run, run_tied

MIRROR_VARIABLE = "DCCTL_LAB_MIRROR"
RELEASE = "bookworm"
LIMIT_S = 1200.0
TRIED = "build the lab's golden image"

BUILD_STACK = """set -e
mount -t overlay overlay -o "lowerdir=$1/base,upperdir=$1/stack,workdir=$1/work" "$1/root"
exec sh "$2" stack "$1/root" "$3" "$4"
"""


def key(sources: Path | None = None) -> str:
    """A name for everything that decides what the image holds."""
    digest = hashlib.sha256()
    for file in sorted(path for path in (sources or _sources()).iterdir() if path.is_file()):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def is_built() -> bool:
    """Whether the image that these sources describe is in the cache."""
    return (IMAGES / key()).is_dir()


def ensure_built(progress: Callable[[str], None]) -> None:
    """Build the image unless it is cached, and make it the current one; others go unless a disk needs them.

    Raises Rejected with the end of the build's log, TimedOut when a layer takes more than LIMIT_S seconds.
    """
    IMAGES.mkdir(parents=True, exist_ok=True)
    with _alone():
        built = IMAGES / key()
        if not built.is_dir():
            _build(built, progress)
        _make_current(built)
        _remove_others(built)


def hosts_mirror() -> str:
    """The Debian mirror that this host installs from. Raises NotFound when it is of another release."""
    told = "$(REPO_URI) $(CODENAME)"
    for target in run(["apt-get", "indextargets", "--format", told, "Identifier: Packages"]).splitlines():
        uri, release = target.split(" ")
        if release == RELEASE:
            return uri
    raise NotFound(
        TRIED,
        saw=f"this host's package lists know no mirror of Debian's {RELEASE}",
        next_command=f"apt-get update; or: {MIRROR_VARIABLE}=URL dcctl lab up",
    )


def _build(built: Path, progress: Callable[[str], None]) -> None:
    unfinished = IMAGES / ".unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    for layer in ("base", "stack", "work", "root"):
        (unfinished / layer).mkdir(parents=True)
    DEBS.mkdir(exist_ok=True)
    script, mirror = str(_sources() / "build-layer"), os.environ.get(MIRROR_VARIABLE) or hosts_mirror()
    log = CACHE / "image.log"
    progress("image: a bare Debian 12 with debootstrap, about a minute")
    base = ["sh", script, "base", str(unfinished / "base"), str(DEBS), mirror]
    run_tied(base, log=log, limit_s=LIMIT_S, tried=TRIED)
    progress("image: ZooKeeper, PostgreSQL, Patroni and HAProxy on top, about a minute")
    stack = ["sh", "-c", BUILD_STACK, "build-layer", str(unfinished), script, str(DEBS), mirror]
    run_tied(stack, log=log, limit_s=LIMIT_S, tried=TRIED)
    for left in ("work", "root"):
        shutil.rmtree(unfinished / left)
    unfinished.rename(built)
    progress(f"image: built as {built.name}")


def _make_current(built: Path) -> None:
    if CURRENT.resolve() != built:
        new = IMAGES / ".current"
        new.unlink(missing_ok=True)
        new.symlink_to(built.name)
        new.replace(CURRENT)


def _remove_others(built: Path) -> None:
    needed = "".join(disk.read_text() for disk in MACHINES.glob("*/layers"))
    for image in IMAGES.iterdir():
        if image.is_dir() and not image.is_symlink() and image != built and image.name not in needed:
            shutil.rmtree(image)


@contextmanager
def _alone() -> Iterator[None]:
    """One build at a time on this host."""
    with (CACHE / "image.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sources() -> Path:
    return resources.lab() / "image"
