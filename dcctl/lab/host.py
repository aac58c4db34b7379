"""Whether this host can hold the lab, said before anything is touched."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from dcctl.errors import DcctlError, Unreachable
from dcctl.lab import cgroup, image
from dcctl.lab.paths import LAB
from dcctl.lab.process import run

GOVMOMI = Path("/usr/share/gocode/src/github.com/vmware/govmomi")

PROGRAMS = {
    "debootstrap": "debootstrap",
    "go": "golang-go",
    "ip": "iproute2",
    "nft": "nftables",
    "openssl": "openssl",
    "setpriv": "util-linux",
    "ssh": "openssh-client",
    "sysctl": "procps",
    "systemd-nspawn": "systemd-container",
}
"""Program -> the Debian package that brings it."""

PROBES = (
    (("unshare", "--mount", "--net", "--pid", "--fork", "true"), "it may not make namespaces"),
    (("unshare", "--net", "nft", "add", "table", "inet", "dcctl"), "its kernel has no nftables"),
)

COLD_BYTES = 6 * 1024**3
"""Image 1.3 GB, packages 0.2, OpenStack's environment 0.8, a build beside each, and room for the machines."""
WARM_BYTES = 2 * 1024**3


def require() -> None:
    """Raises Unreachable with one sentence that holds every reason why the lab cannot run here."""
    if reasons := obstacles():
        raise Unreachable("run the lab", on="this host", saw="; ".join(reasons), next_command=_remedy())


def require_root() -> None:
    """Raises Unreachable when we are not root."""
    if os.geteuid() != 0:
        raise Unreachable(
            "reach the lab", on="this host", saw="it needs root", next_command="sudo dcctl lab status"
        )


def obstacles() -> tuple[str, ...]:
    """Every reason why the lab cannot run here; empty when it can."""
    if os.geteuid() != 0:
        return ("it needs root",)
    reasons = []
    if missing := missing_packages():
        reasons.append(f"Debian packages are missing: {', '.join(missing)}")
    else:
        reasons += [sentence for probe, sentence in PROBES if not _works(probe)]
    if "overlay" not in Path("/proc/filesystems").read_text() and not _works(("modprobe", "overlay")):
        reasons.append("its kernel has no overlayfs")
    if not cgroup.usable():
        reasons.append("it has no control groups that can be written to and frozen")
    if (short := _missing_bytes()) > 0:
        reasons.append(f"{_disk()} lacks {short / 1024**3:.1f} GiB of free space")
    return tuple(reasons)


def missing_packages(which: Callable[[str], str | None] = shutil.which) -> tuple[str, ...]:
    """The Debian packages that the lab needs and that are not installed."""
    missing = {package for program, package in PROGRAMS.items() if which(program) is None}
    if not GOVMOMI.is_dir():
        missing.add("golang-github-vmware-govmomi-dev")
    return tuple(sorted(missing))


def _remedy() -> str:
    if os.geteuid() != 0:
        return "sudo dcctl lab up"
    missing = missing_packages()
    return f"apt-get install {' '.join(missing)}" if missing else ""


def _missing_bytes() -> int:
    """How much room is missing; the cache that exists already need not fit again."""
    needed = WARM_BYTES if image.is_built() else COLD_BYTES
    return needed - shutil.disk_usage(_disk()).free


def _disk() -> Path:
    return LAB if LAB.is_dir() else LAB.parent


def _works(argv: tuple[str, ...]) -> bool:
    try:
        run(argv)
    except DcctlError:
        return False
    return True
