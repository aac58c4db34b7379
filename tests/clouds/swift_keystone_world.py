"""One real Swift as the role configures it with ``auth: keystone``, beside a real Keystone, in its network.

Nothing of the role's files is changed but their folders and the user; addresses and ports are its own, for
the network is nobody else's.
"""

import hashlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openstack
import yaml
from openstack_world import ControlPlane, wait_until
from procurement.settings import Settings, SwiftSettings

from dcctl import resources
from dcctl.adapters.swift_admin import SwiftAdministrator
from dcctl.cli.inventory import build
from dcctl.config.load import load_file
from dcctl.lab import openstack_build
from dcctl.shell import WallClock
from dcctl.testing.swift_pair import RINGS, SERVERS, Cluster, swift_environment
from dcctl.wiring import replication_administrator

ROOT = Path(__file__).parents[2]
LAB = ROOT / "inventories" / "lab"
ROLES = ROOT / "playbooks" / "roles"
MACHINE, ADDRESS, PROXY = "east-app-1", "198.18.1.22", "http://198.18.1.22:8090"
KEYSTONE = "https://198.18.1.5:5000"
PATIENCE_S = 60.0
LIMIT_S = 300.0

PASSWORDS = {
    "swift": '100%-of it: $wift\'s "own" #1',  # what a person may have chosen
    "app": secrets.token_urlsafe(),
    "other": secrets.token_urlsafe(),
}
SECRETS = {
    "swift_admin": PASSWORDS["swift"],
    "swift_documents": PASSWORDS["app"],
    **{
        name: secrets.token_hex()
        for name in (
            *("swift_hash", "swift_realm_key", "swift_container_key", "swift_temp_url", "postgresql_app"),
            *("procurement_brokers", "procurement_signing"),
        )
    },
}

RENDER = """
- hosts: {machine}
  connection: local
  gather_facts: false
  roles:
    - {{role: swift, when: false}}
    - {{role: procurement, when: false}}
  tasks:
    - ansible.builtin.copy:
        dest: "{out}"
        mode: "0600"
        content: "{{{{ (swift_files + procurement_files + procurement_authority_files
                       + procurement_secret_entries) | to_json }}}}"
"""
ACCOUNT = """
- hosts: {machine}
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {{name: swift, tasks_from: account}}
    - ansible.builtin.import_role: {{name: swift, tasks_from: account}}
"""


IDENTITY = """
import sys
from pathlib import Path
from labcloud import launch, services
state = Path(sys.argv.pop())
launch.prepare(state)
services.identity(state)
"""


class Keystone(ControlPlane):
    """Of the lab's OpenStack the identity service alone: the others cost a hundred times the work."""

    def start(self) -> None:
        argv = openstack_build.isolated(str(openstack_build.python()), "-c", IDENTITY, str(self.state))
        with (self.folder / "launch.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *argv],
                env=openstack_build.environment(self.state),
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: self._listens() or self.process.poll() is not None, limit_s=LIMIT_S)
        assert self.process.poll() is None, (self.folder / "launch.log").read_text()

    def _listens(self) -> bool:
        own = Path("/proc/thread-self/ns/net").readlink()
        if Path(f"/proc/{self.process.pid}/ns/net").readlink() == own:
            return False  # it has no network of its own yet
        with self.entered(), socket.socket() as one:
            return one.connect_ex(("198.18.1.5", 5000)) == 0


@dataclass
class Answer:
    """Status and body."""

    status: int
    body: bytes = b""


def ask(method: str, url: str, data: bytes | None = None, **headers: str) -> Answer:
    """One request, whatever is answered."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data=data, method=method, headers=given)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:  # noqa: S310
            return Answer(answer.status, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.read())


class SwiftWithKeystone:
    """The cluster, its users, and what dcctl and the document service are told of it."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self.folder = folder
        self.ca = plane.clouds.parent / "certificate.pem"
        config = openstack.config.OpenStackConfig(config_files=[str(plane.clouds)], load_envvars=False)
        self._admin = openstack.connection.Connection(config=config.get_one("east-admin"))
        self.project = self.make_users()
        self.account = f"AUTH_{self.project}"
        self.configuration = load_file(self._definition())
        subprocess.run(["ip", "address", "add", f"{ADDRESS}/32", "dev", "lo"], check=True)
        self.cluster = Cluster(
            name="east",
            folder=folder,
            bin=swift_environment(ROOT / "requirements" / "swift.txt"),
            ports={"memcached": 11211},
        )

    def make_users(self) -> str:
        """What docs/how-to/keystone.md tells the operator to make; the id of the documents' project."""
        made = {}
        for project, user, role in (
            ("service", "swift", "service"),
            ("documents", "app", "member"),
            ("others", "other", "member"),
        ):
            identity = self._admin.identity
            made[project] = identity.find_project(project) or identity.create_project(
                name=project, domain_id="default"
            )
            person = identity.create_user(name=user, password=PASSWORDS[user], domain_id="default")
            identity.assign_project_role_to_user(made[project], person, identity.find_role(role))
        return str(made["documents"].id)

    def start(self) -> None:
        """Configure it as the role does, start it, and let the role make the documents' account."""
        self._install(self._rendered())
        rings = [
            (str(self.folder / f"etc/swift/{name}.ring.gz"), port)
            for name, port in (("account", 6202), ("container", 6201), ("object", 6200))
        ]
        program = RINGS.replace("127.0.0.1", ADDRESS)
        subprocess.run(
            [str(self.cluster.bin / "python"), "-W", "ignore", "-c", program],
            input=json.dumps(rings).encode(),
            check=True,
            capture_output=True,
        )
        self.cluster.start()
        token = self.token("app", "documents")
        wait_until(lambda: self._answers(token), limit_s=LIMIT_S)
        said = self._play(ACCOUNT.format(machine=MACHINE), swift_keystone_ca=str(self.ca))
        assert "changed=1 " in said, f"made once and then found: {said}"

    def _answers(self, token: str) -> bool:
        try:
            return ask("HEAD", f"{PROXY}/v1/{self.account}", X_Auth_Token=token).status // 100 == 2
        except OSError:
            return False

    def stop(self) -> None:
        self.cluster.kill()
        self._admin.close()

    def token(self, user: str, project: str) -> str:
        """A fresh one."""
        domain = {"name": "Default"}
        who = {"user": {"name": user, "domain": domain, "password": PASSWORDS[user]}}
        answer = self._admin.session.post(
            f"{KEYSTONE}/v3/auth/tokens",
            authenticated=False,
            json={
                "auth": {
                    "identity": {"methods": ["password"], "password": who},
                    "scope": {"project": {"name": project, "domain": domain}},
                }
            },
        )
        return str(answer.headers["X-Subject-Token"])

    def revoke(self, token: str) -> None:
        self._admin.identity.delete("/auth/tokens", headers={"X-Subject-Token": token})

    def administrator(self, **changes: Any) -> SwiftAdministrator:
        """The owner of east's account as the configuration names him, or one that differs."""
        settings = self.configuration.replication
        assert settings is not None
        east = settings.stores["east"]
        assert east.administrator is not None
        owner = east.administrator.model_copy(update=changes)
        store = east.model_copy(update={"administrator": owner})
        found = replication_administrator(
            settings.model_copy(update={"stores": settings.stores | {"east": store}}), "east", WallClock()
        )
        assert found is not None
        return found

    def documents(self) -> SwiftSettings:
        """What the document service is told, by the role's own file."""
        lines = (self.folder / "etc/procurement/environment").read_text().splitlines()
        variables = dict(line.partition("=")[::2] for line in lines if not line.startswith("#"))
        found = Settings({name: value.strip("'") for name, value in variables.items()}).swift()
        assert found is not None
        return found

    def _definition(self) -> Path:
        """The lab's environment, but with a Keystone."""
        password = self.folder / "password"
        password.touch(mode=0o600)
        password.write_text(PASSWORDS["app"])
        keystone = {"auth_url": f"{KEYSTONE}/v3/", "ca_file": str(self.ca)}
        owner = {"auth_url": f"{KEYSTONE}/v3", "user": "app", "project": "documents"}
        stores = {
            site: {
                "url": f"http://{address}:8090/v1/{self.account}",
                "plaintext": True,
                "ca_file": str(self.ca),
                "administrator": {**owner, "password": f"file:{password}"},
            }
            for site, address in (("east", ADDRESS), ("west", "198.18.2.22"))
        }
        document = yaml.safe_load((LAB / "dcctl.yaml").read_text())
        document["state_directory"] = str(self.folder / "state")
        document["swift"] |= {"auth": "keystone", "keystone": {"east": keystone, "west": keystone}}
        document["replication"]["stores"] = stores
        path = self.folder / "dcctl.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return path

    def _rendered(self) -> list[dict[str, Any]]:
        """The files that the roles write on a machine."""
        (self.folder / "templates").mkdir()
        for role in ("swift", "procurement"):
            for template in (ROLES / role / "templates").iterdir():
                (self.folder / "templates" / template.name).symlink_to(template)
        out = self.folder / "rendered.json"
        self._play(RENDER.format(machine=MACHINE, out=out), swift_keystone_answers_s=30)
        return list(json.loads(out.read_text()))

    def _install(self, entries: list[dict[str, Any]]) -> None:
        for folder in ("etc/swift", "etc/procurement", "srv/node/d1", "var/cache/swift"):
            (self.folder / folder).mkdir(parents=True)
        (self.folder / "conf").symlink_to("etc/swift")  # where the cluster looks
        for entry in entries:
            path = self.folder / entry["path"].lstrip("/")
            if "content" not in entry or not path.parent.is_dir():
                continue
            text = entry["content"].replace("user = swift\n", "user = root\n")
            for folder in ("/etc/swift", "/etc/procurement", "/srv/node", "/var/cache/swift"):
                text = text.replace(folder, f"{self.folder}{folder}")
            path.touch(mode=0o600)
            path.write_text(text)
        for server in SERVERS:
            (self.folder / f"conf/{server}.conf").symlink_to(f"{server}-server.conf")
        for module in (resources.templates() / "swift").glob("*.py"):
            shutil.copy(module, self.folder / "conf")

    def _play(self, playbook: str, **variables: object) -> str:
        """What Ansible says when it has run this on the machine that we are."""
        name = hashlib.sha256(playbook.encode()).hexdigest()[:8]
        file = self.folder / f"{name}.yml"
        file.write_text(playbook)
        inventory = self.folder / "inventory"
        inventory.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(build(self.configuration))}\nEND\n")
        inventory.chmod(0o700)
        group_vars = self.folder / "group_vars"
        if not group_vars.exists():
            group_vars.symlink_to(LAB / "group_vars")
        given = self.folder / "secrets.yml"
        given.touch(mode=0o600)
        literal = "".join(f"  {name}: !unsafe {json.dumps(value)}\n" for name, value in SECRETS.items())
        given.write_text(f"dcctl_secrets:\n{literal}")
        done = subprocess.run(
            [
                str(Path(sys.executable).with_name("ansible-playbook")),
                *("-i", str(inventory), "--extra-vars", f"@{given}", "--extra-vars", json.dumps(variables)),
                str(file),
            ],
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "HOME": str(self.folder),
                "LC_ALL": "C.UTF-8",
                "ANSIBLE_CONFIG": str(ROOT / "playbooks" / "ansible.cfg"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
