"""The east site's OpenStack: the real services of ``lab/openstack``, built once, started with each lab.

They run in an interpreter of their own, inside the site's API network namespace, and end with their
control group. What took long to make is cached: their Python packages, and the state that they start from
(schemas, catalogue, registered hypervisors), each under a name that says what it was made of. Passwords,
keys and certificates are made anew with each lab (docs/explanation/lab.md).
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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from dcctl import resources
from dcctl.errors import NotFound, Rejected, TimedOut
from dcctl.lab import cgroup
from dcctl.lab.certificate import AUTHORITY, issue
from dcctl.lab.paths import API_ADDRESSES, CACHE, NAMESPACES, OPERATOR, RUN, api_namespace
from dcctl.lab.process import run, run_tied, tail

SITE = "east"
GROUP = "openstack"
STATE = RUN / "openstack"
LOG = STATE / "log"
CLOUDS = OPERATOR / "clouds.yaml"
MACHINE_VARIABLE = "DCCTL_LAB_MACHINE"
USERS = ("admin", "service", "dcctl")

INSTALL_LIMIT_S = 900.0
BAKE_LIMIT_S = 300.0
POLL_S = 0.05

# The state is baked behind an address that looks like the site's, with a certificate that lives as long.
BAKE = """set -e
ip link set lo up
ip address add $1/32 dev lo
openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=bake -addext "subjectAltName=IP:$1" \
    -keyout "$2/key.pem" -out "$2/certificate.pem"
exec "$3" -m labcloud.bake "$2" "$4"
"""

# Arguments: network namespace, interpreter, state, then the control groups to join.
LAUNCH = """set -e
netns=$1 python=$2 state=$3
shift 3
for group; do echo $$ > "$group"; done
exec setsid --fork nsenter --net="$netns" "$python" -m labcloud.launch "$state"
"""


def is_built() -> bool:
    """Whether the packages and the state that the present sources describe are in the cache."""
    return (_packages() / "complete").exists() and _baked().exists()


def ensure_built(progress: Callable[[str], None]) -> None:
    """Install the services and bake their first state, unless the cache has both.

    Raises Rejected with the end of the build's log, TimedOut when a phase takes too long.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    with _alone():
        if not (_packages() / "complete").exists():
            progress("OpenStack: installing Keystone, Placement, Glance, Neutron and Nova, two minutes")
            _install()
        if not _baked().exists():
            progress("OpenStack: preparing its databases and first start, half a minute")
            _bake()


def start(progress: Callable[[str], None]) -> None:
    """Start the control plane in its site's network; it outlives the caller. One that runs is left alone.

    Servers, and the machines that they are, go on from where a former start of this lab left them. Raises
    NotFound when it was not built, or when there is no network to start it in.
    """
    if cgroup.members(GROUP):
        return
    netns = NAMESPACES / api_namespace(SITE)
    for needed in (netns, _baked(), _packages() / "complete"):
        if not needed.exists():
            raise NotFound("start OpenStack", on=SITE, saw=f"no {needed}", next_command="dcctl lab up")
    progress("OpenStack: starting")
    if not STATE.exists():
        _unpack()
    (STATE / "ready").unlink(missing_ok=True)
    LOG.mkdir(mode=0o700, exist_ok=True)
    groups = [str(group) for group in cgroup.ensure(GROUP)]
    with (LOG / "launch.log").open("ab") as log:
        run(
            ["sh", "-c", LAUNCH, "sh", str(netns), str(_python()), str(STATE), *groups],
            output=log,
            environment=_environment(STATE),
        )


def wait_ready(limit_s: float) -> None:
    """Return once all five APIs listen and every hypervisor reports.

    Raises Rejected with the end of the log when it ended instead, TimedOut after ``limit_s`` seconds.
    """
    until = time.monotonic() + limit_s
    while (now := observe()) != "up":
        if now == "off":
            raise Rejected("start OpenStack", on=SITE, saw=f"it ended: {_last_words()} (logs: {LOG})")
        if time.monotonic() > until:
            raise TimedOut("start OpenStack", on=SITE, saw=f"{_last_words()} (logs: {LOG})")
        time.sleep(POLL_S)


def stop() -> None:
    """End it, as a power cut does; servers stay, and so do the machines. Not running is done."""
    cgroup.kill(GROUP)
    cgroup.remove(GROUP)
    (STATE / "ready").unlink(missing_ok=True)


def observe() -> str:
    """``off``, ``starting`` or ``up``."""
    if not cgroup.members(GROUP):
        return "off"
    return "up" if (STATE / "ready").exists() else "starting"


def _install() -> None:
    """A virtual environment cannot be moved, so it is built in its place, and the last file says so."""
    root = _packages()
    shutil.rmtree(root.parent, ignore_errors=True)
    root.parent.mkdir(parents=True)
    log = CACHE / "openstack.log"
    run_tied([sys.executable, "-m", "venv", str(root)], log=log, limit_s=INSTALL_LIMIT_S)
    pip = [
        str(root / "bin" / "pip"),
        "--disable-pip-version-check",
        "install",
        "--no-deps",
        "--require-hashes",
    ]
    run_tied([*pip, "-r", str(_sources() / "requirements.txt")], log=log, limit_s=INSTALL_LIMIT_S)
    (root / "complete").touch()


def _bake() -> None:
    baked = _baked()
    shutil.rmtree(baked.parent, ignore_errors=True)
    state = baked.parent / "unfinished"
    state.mkdir(parents=True, mode=0o700)
    certificate, key = state / "certificate.pem", state / "key.pem"
    _write_settings(state, _new_passwords(), certificate=certificate, key=key, authority=certificate)
    new = baked.with_suffix(".new")
    run_tied(
        [
            *("env", *(f"{name}={value}" for name, value in _environment(state).items())),
            *("unshare", "--net", "sh", "-c", BAKE, "sh", API_ADDRESSES[SITE], str(state)),
            *(str(_python()), str(new)),
        ],
        log=CACHE / "openstack.log",
        limit_s=BAKE_LIMIT_S,
    )
    new.replace(baked)
    shutil.rmtree(state)


def _unpack() -> None:
    """What was baked, with what only this lab may know; complete under its name, or not there."""
    state = STATE.with_suffix(".unfinished")
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True, mode=0o700)
    with tarfile.open(_baked()) as archive:
        archive.extractall(state, filter="data")
    certificate, key = issue(SITE, API_ADDRESSES[SITE])
    passwords = _new_passwords()
    _write_settings(state, passwords, certificate=certificate, key=key, authority=AUTHORITY)
    _write_clouds(passwords)
    state.rename(STATE)


def _write_settings(
    state: Path, passwords: dict[str, str], *, certificate: Path, key: Path, authority: Path
) -> None:
    """What ``labcloud.settings`` reads."""
    document = {
        "passwords": passwords,
        "certificate": str(certificate),
        "key": str(key),
        "ca": str(authority),
    }
    _write_secret(state / "settings.json", json.dumps(document, indent=2))


def _write_clouds(passwords: dict[str, str]) -> None:
    """The operator's credentials, in the form that every OpenStack client reads."""
    clouds = {
        name: {
            "region_name": SITE,
            "auth_type": "v3password",
            "identity_api_version": "3",
            "cacert": str(AUTHORITY),
            "auth": {
                "auth_url": f"https://{API_ADDRESSES[SITE]}:5000/v3",
                "username": user,
                "password": passwords[user],
                "project_name": user,
                "user_domain_id": "default",
                "project_domain_id": "default",
            },
        }
        for name, user in ((SITE, "dcctl"), (f"{SITE}-admin", "admin"))
    }
    OPERATOR.mkdir(parents=True, exist_ok=True)
    _write_secret(CLOUDS, yaml.safe_dump({"clouds": clouds}, sort_keys=False))


def _write_secret(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text)


def _new_passwords() -> dict[str, str]:
    return {user: secrets.token_urlsafe(24) for user in USERS}


def _environment(state: Path) -> dict[str, str]:
    """Nothing of the caller's but where programs are; what the services write for themselves stays in."""
    machine = os.environ.get(MACHINE_VARIABLE) or shlex.join([sys.executable, "-m", "dcctl.lab.machine"])
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "HOME": str(state),
        "PYTHONPATH": str(_sources()),
        "PYTHONWARNINGS": "ignore",  # upstream's deprecations are not ours to read
        MACHINE_VARIABLE: machine,
    }


def _last_words() -> str:
    """The end of what the launcher said, and of the last service that complained."""
    logs = [LOG / "launch.log", *sorted(LOG.glob("*.out"), key=lambda file: file.stat().st_mtime)[-1:]]
    return " | ".join(
        filter(None, (tail(file.read_text(errors="replace"), 2) for file in logs if file.exists()))
    )


def _packages() -> Path:
    """The services' virtual environment, named after what is installed in it and by which Python."""
    return CACHE / "openstack-venv" / _digest([_sources() / "requirements.txt"])


def _python() -> Path:
    return _packages() / "bin" / "python"


def _baked() -> Path:
    return CACHE / "openstack-state" / f"{_digest(_ours())}.tar"


def _ours() -> list[Path]:
    return [_sources() / "requirements.txt", *sorted((_sources() / "labcloud").glob("*.py")), Path(__file__)]


def _digest(files: Iterable[Path]) -> str:
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
