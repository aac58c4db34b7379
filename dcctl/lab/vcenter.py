"""The west site's vCenter: ``lab/vcenter`` over govmomi's simulator, built once, started with each lab.

It runs inside the site's API network namespace and ends with its control group. It is built without any
network, from Debian's packages, under a name that says from which sources. Its inventory lives in its
memory: a vCenter that is stopped forgets its virtual machines. Password and certificate are made anew with
each lab (docs/explanation/lab.md).
"""

import fcntl
import hashlib
import os
import secrets
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dcctl import resources
from dcctl.lab import cgroup
from dcctl.lab.certificate import issue
from dcctl.lab.paths import API_ADDRESSES, CACHE, OPERATOR, RUN
from dcctl.lab.process import run, run_tied, tail
from dcctl.lab.service import Service

SITE = "west"
GROUP = "vcenter"
STATE = RUN / "vcenter"
LOG = STATE / "log"
PASSWORD = OPERATOR / "vcenter-password"
USERNAME = "dcctl@lab.local"
MACHINE_VARIABLE = "DCCTL_LAB_MACHINE"
PACKAGES = ("golang-go", "golang-github-vmware-govmomi-dev")
GOPATH = "/usr/share/gocode"

BUILD_LIMIT_S = 900.0


def ensure_built(progress: Callable[[str], None]) -> None:
    """Build the program unless the cache has what the present sources and packages give.

    Raises Rejected with the end of the build's log, TimedOut after BUILD_LIMIT_S seconds.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    with _alone():
        built = program()
        if not built.exists():
            progress("vCenter: compiling it, a quarter of a minute")
            _build(built)


def start(progress: Callable[[str], None]) -> None:
    """Start it in its site's network; it outlives the caller. One that runs is left alone.

    Raises NotFound when it was not built, or when there is no network to start it in.
    """
    if cgroup.members(GROUP):
        return
    service.require(program())
    progress("vCenter: starting")
    shutil.rmtree(STATE, ignore_errors=True)
    STATE.mkdir(parents=True, mode=0o700)
    _write_password()
    certificate, key = issue(SITE, API_ADDRESSES[SITE])
    command = [
        *(str(program()), "-listen", f"{API_ADDRESSES[SITE]}:443", "-place", SITE),
        *("-certificate", str(certificate), "-key", str(key), "-state", str(STATE)),
        *("-user", USERNAME, "-password-file", str(PASSWORD)),
    ]
    service.launch(*command, log=LOG, environment=_environment())


def program() -> Path:
    """The program, named after its sources and the packages that it is built with."""
    digest = hashlib.sha256(run(["dpkg-query", "--show", *PACKAGES]).encode())
    for file in _sources():
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return CACHE / "vcenter" / digest.hexdigest()[:12]


def _build(built: Path) -> None:
    """Beside the cache, and renamed into it when complete; the compiler's own cache goes again."""
    unfinished = CACHE / "vcenter.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    settings = {
        "GO111MODULE": "off",
        "GOCACHE": str(unfinished / "cache"),
        "GOENV": "off",
        "GOFLAGS": "",
        "GOPATH": GOPATH,
        "GOPROXY": "off",
    }
    run_tied(
        [
            *("env", *(f"{name}={value}" for name, value in settings.items())),
            *("go", "build", "-o", str(unfinished / "vcenter"), *map(str, _sources())),
        ],
        log=CACHE / "vcenter.log",
        limit_s=BUILD_LIMIT_S,
    )
    shutil.rmtree(built.parent, ignore_errors=True)
    built.parent.mkdir()
    (unfinished / "vcenter").rename(built)
    shutil.rmtree(unfinished)


def _write_password() -> None:
    OPERATOR.mkdir(parents=True, exist_ok=True, mode=0o700)
    PASSWORD.touch(mode=0o600)
    PASSWORD.write_text(secrets.token_urlsafe(24))


def _environment() -> dict[str, str]:
    """Nothing of the caller's but where programs are."""
    machine = os.environ.get(MACHINE_VARIABLE) or shlex.join([sys.executable, "-m", "dcctl.lab.machine"])
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "HOME": str(STATE),
        MACHINE_VARIABLE: machine,
    }


def _last_words() -> str:
    return tail(LOG.read_text(errors="replace"), 2) if LOG.exists() else ""


def _sources() -> list[Path]:
    return sorted((resources.lab() / "vcenter").glob("*.go"))


@contextmanager
def _alone() -> Iterator[None]:
    """One build at a time on this host."""
    with (CACHE / "vcenter.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


service = Service("vCenter", SITE, GROUP, STATE, LOG, _last_words)
wait_ready, stop, observe = service.wait_ready, service.stop, service.observe
