"""The east site's OpenStack: the real services of ``lab/openstack``, started anew with each lab.

They run in an interpreter of their own, inside the site's API network namespace, and end with their
control group. They start from a baked state (``openstack_build``); passwords, keys and certificates are
this lab's own (docs/explanation/lab.md).
"""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from dcctl.errors import NotFound, Rejected, TimedOut
from dcctl.lab import cgroup, openstack_build
from dcctl.lab.certificate import AUTHORITY, issue
from dcctl.lab.openstack_build import ADDRESS, MACHINE_VARIABLE
from dcctl.lab.paths import NAMESPACES, OPERATOR, RUN, api_namespace
from dcctl.lab.process import run, tail

SITE = "east"
GROUP = "openstack"
STATE = RUN / "openstack"
LOG = STATE / "log"
CLOUDS = OPERATOR / "clouds.yaml"
POLL_S = 0.05

# Arguments: network namespace, interpreter, state, then the control groups to join.
LAUNCH = """set -e
netns=$1 python=$2 state=$3
shift 3
for group; do echo $$ > "$group"; done
exec setsid --fork nsenter --net="$netns" "$python" -m labcloud.launch "$state"
"""


def ensure_built(progress: Callable[[str], None]) -> None:
    """Install the services and bake their first state, unless the cache has both.

    Raises Rejected with the end of the build's log, TimedOut when a phase takes too long.
    """
    openstack_build.ensure_built(progress)


def start(progress: Callable[[str], None]) -> None:
    """Start the control plane in its site's network; it outlives the caller. One that runs is left alone.

    Servers, and the machines that they are, go on from where a former start of this lab left them. Raises
    NotFound when it was not built, or when there is no network to start it in.
    """
    if cgroup.members(GROUP):
        return
    netns = NAMESPACES / api_namespace(SITE)
    for needed in (netns, openstack_build.baked(), openstack_build.python()):
        if not needed.exists():
            raise NotFound("start OpenStack", on=SITE, saw=f"no {needed}", next_command="dcctl lab up")
    if not STATE.exists():
        progress(f"{SITE}: OpenStack starts from its baked state, with passwords of this lab's own")
        _unpack()
    (STATE / "ready").unlink(missing_ok=True)
    LOG.mkdir(mode=0o700, exist_ok=True)
    groups = [str(group) for group in cgroup.ensure(GROUP)]
    with (LOG / "launch.log").open("ab") as log:
        run(
            ["sh", "-c", LAUNCH, "sh", str(netns), str(openstack_build.python()), str(STATE), *groups],
            output=log,
            environment=openstack_build.environment(STATE, os.environ.get(MACHINE_VARIABLE, "")),
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


def _unpack() -> None:
    """The state is complete under its name, or not there."""
    state = STATE.with_suffix(".unfinished")
    shutil.rmtree(state, ignore_errors=True)
    certificate, key = issue(SITE, ADDRESS)
    passwords = openstack_build.unpack(state, certificate=certificate, key=key, authority=AUTHORITY)
    OPERATOR.mkdir(parents=True, exist_ok=True)
    openstack_build.write_secret(CLOUDS, clouds_yaml(passwords, AUTHORITY))
    state.rename(STATE)


def clouds_yaml(passwords: dict[str, str], authority: Path) -> str:
    """The operator's credentials, in the form that every OpenStack client reads."""
    clouds = {
        name: {
            "region_name": SITE,
            "auth_type": "v3password",  # not "password", which asks for the API's versions first
            "identity_api_version": "3",
            "cacert": str(authority),
            "auth": {
                "auth_url": f"https://{ADDRESS}:5000/v3",
                "username": user,
                "password": passwords[user],
                "project_name": user,
                "user_domain_id": "default",
                "project_domain_id": "default",
            },
        }
        for name, user in ((SITE, "dcctl"), (f"{SITE}-admin", "admin"))
    }
    return yaml.safe_dump({"clouds": clouds}, sort_keys=False)


def _last_words() -> str:
    """The end of what the launcher said, and of the last service that complained."""
    complaints = sorted(LOG.glob("*.out"), key=lambda file: file.stat().st_mtime)[-1:]
    files = [file for file in (LOG / "launch.log", *complaints) if file.exists()]
    return " | ".join(filter(None, (tail(file.read_text(errors="replace"), 2) for file in files)))
