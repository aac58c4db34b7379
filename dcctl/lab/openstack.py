"""The east site's OpenStack: the real services of ``lab/openstack``, started anew with each lab.

They run in an interpreter of their own, inside the site's API network namespace, and end with their
control group. They start from a baked state (``openstack_build``); passwords, keys and certificates are
this lab's own (docs/explanation/lab.md).
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import yaml

from dcctl.lab import cgroup, openstack_build
from dcctl.lab.certificate import AUTHORITY, issue
from dcctl.lab.openstack_build import ADDRESS, MACHINE_VARIABLE
from dcctl.lab.paths import OPERATOR, RUN
from dcctl.lab.process import tail
from dcctl.lab.service import Service

SITE = "east"
GROUP = "openstack"
STATE = RUN / "openstack"
LOG = STATE / "log"
CLOUDS = OPERATOR / "clouds.yaml"


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
    service.require(openstack_build.baked(), openstack_build.python())
    if not STATE.exists():
        progress(f"{SITE}: OpenStack starts from its baked state, with passwords of this lab's own")
        _unpack()
    service.ready.unlink(missing_ok=True)
    LOG.mkdir(mode=0o700, exist_ok=True)
    service.launch(
        *(str(openstack_build.python()), "-m", "labcloud.launch", str(STATE)),
        log=LOG / "launch.log",
        environment=openstack_build.environment(STATE, os.environ.get(MACHINE_VARIABLE, "")),
    )


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


service = Service("OpenStack", SITE, GROUP, STATE, LOG, _last_words)
wait_ready, stop, observe = service.wait_ready, service.stop, service.observe
