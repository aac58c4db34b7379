"""What OpenStack starts from, made once and cached under names that say what it was made of.

Its Python packages are a virtual environment of their own; its first state (schemas, catalogue, registered
hypervisors, the project's network, image and flavours) is an archive with no secret in it.
"""

import fcntl
import hashlib
import json
import os
import secrets
import shlex
import shutil
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dcctl import resources
from dcctl.errors import Rejected, TimedOut
from dcctl.lab.paths import API_ADDRESSES, CACHE
from dcctl.lab.process import run, run_tied

MACHINE_VARIABLE = "DCCTL_LAB_MACHINE"
ADDRESS = API_ADDRESSES["east"]
USERS = ("admin", "service", "dcctl")
BAKED_FROM = ("bake", "configuration", "identity", "names", "neutron_tables")
"""The modules of ours that decide what the first state holds."""
INSTALL_LIMIT_S = 900.0
BAKE_LIMIT_S = 600.0
UNUSED_S = 14 * 24 * 3600.0

ISOLATED = """set -e
ip link set lo up
ip address add "$1/32" dev lo
shift
exec "$@"
"""


def is_built() -> bool:
    """Whether the packages and the state that the present sources describe are in the cache."""
    return _is_installed() and baked().exists()


def ensure_built(progress: Callable[[str], None]) -> None:
    """Install the services and bake their first state, unless the cache has both.

    Raises Rejected with the end of the build's log, TimedOut when a phase takes too long.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    with _alone():
        if not _is_installed():
            progress("OpenStack: installing Keystone, Placement, Glance, Neutron and Nova, about two minutes")
            _install()
        _keep(_packages())
        if not baked().exists():
            progress("OpenStack: its databases and first start, half a minute")
            _bake()
        _keep(baked())


def python() -> Path:
    """The interpreter that has the services."""
    return _packages() / "bin" / "python"


def baked() -> Path:
    """The archive of the first state, whether it exists or not."""
    ours = [_sources() / "labcloud" / f"{module}.py" for module in BAKED_FROM]
    return CACHE / "openstack-state" / f"{_digest([_sources() / 'requirements.txt', *ours])}.tar"


def unpack(state: Path, *, certificate: Path, key: Path, authority: Path) -> dict[str, str]:
    """A new state directory with new passwords, which are returned by user."""
    state.mkdir(parents=True, mode=0o700)
    with tarfile.open(baked()) as archive:
        archive.extractall(state, filter="data")
    return _write_settings(state, certificate=certificate, key=key, authority=authority)


def environment(state: Path, machine: str = "") -> dict[str, str]:
    """What the services see: nothing of the caller's but where programs are; what they write stays in.

    ``machine`` is the command line of the machine runtime, the lab's own unless another is given.
    """
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "HOME": str(state),
        "PYTHONPATH": str(_sources()),
        "PYTHONWARNINGS": "ignore",  # upstream's deprecations are not ours to read
        MACHINE_VARIABLE: machine or shlex.join([sys.executable, "-m", "dcctl.lab.machine"]),
    }


def isolated(*argv: str) -> list[str]:
    """A command line that runs in a network of its own, which has the site's API address and nobody else."""
    return ["unshare", "--net", "sh", "-c", ISOLATED, "sh", ADDRESS, *argv]


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for the site's API address that vouches for itself for a day, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=lab"),
            *("-addext", f"subjectAltName=IP:{ADDRESS}", "-keyout", str(key), "-out", str(certificate)),
        ]
    )
    return certificate, key


def write_secret(file: Path, text: str) -> None:
    """Readable by its owner only, from the first byte on."""
    file.touch(mode=0o600)
    file.write_text(text)


def _install() -> None:
    """A virtual environment cannot be moved, so it is built in its place, and its last file says so."""
    root = _packages()
    shutil.rmtree(root, ignore_errors=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    _tied("install OpenStack", [sys.executable, "-m", "venv", str(root)], INSTALL_LIMIT_S)
    pip = [str(root / "bin" / "pip"), "--disable-pip-version-check", "--no-cache-dir", "install"]
    wanted = ["--no-deps", "--require-hashes", "-r", str(_sources() / "requirements.txt")]
    _tied("install OpenStack", [*pip, *wanted], INSTALL_LIMIT_S)
    (root / "complete").touch()


def _is_installed() -> bool:
    return (_packages() / "complete").exists()


def _bake() -> None:
    archive = baked()
    state = archive.parent / "unfinished"
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True, mode=0o700)
    certificate, key = self_signed(state)
    _write_settings(state, certificate=certificate, key=key, authority=certificate)
    new = archive.with_suffix(".new")
    variables = (f"{name}={value}" for name, value in environment(state).items())
    bake = isolated(str(python()), "-m", "labcloud.bake", str(state), str(new))
    _tied("bake OpenStack's first state", ["env", *variables, *bake], BAKE_LIMIT_S)
    new.replace(archive)
    shutil.rmtree(state)


def _tied(tried: str, argv: list[str], limit_s: float) -> None:
    try:
        run_tied(argv, log=CACHE / "openstack.log", limit_s=limit_s)
    except (Rejected, TimedOut) as error:
        raise type(error)(tried, on="east", saw=error.saw, next_command="dcctl lab up") from error


def _keep(built: Path) -> None:
    """Mark it as used, and remove what other sources had made and nobody used for long.

    Two checkouts may share the cache, and a control plane may be running from what is not ours.
    """
    os.utime(built)
    for other in built.parent.iterdir():
        if time.time() - other.stat().st_mtime < UNUSED_S:
            continue
        if other.is_dir():
            shutil.rmtree(other, ignore_errors=True)
        else:
            other.unlink(missing_ok=True)


def _write_settings(state: Path, *, certificate: Path, key: Path, authority: Path) -> dict[str, str]:
    """What ``labcloud.settings`` reads, with new passwords."""
    passwords = {user: secrets.token_urlsafe(24) for user in USERS}
    files = {"certificate": str(certificate), "key": str(key), "ca": str(authority)}
    write_secret(state / "settings.json", json.dumps({"passwords": passwords, **files}, indent=2))
    return passwords


def _packages() -> Path:
    """The services' virtual environment, named after what is installed in it and by which Python."""
    return CACHE / "openstack-venv" / _digest([_sources() / "requirements.txt"])


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _sources() -> Path:
    return resources.lab() / "openstack"


@contextmanager
def _alone() -> Iterator[None]:
    """One build at a time on this host."""
    with (CACHE / "openstack.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
