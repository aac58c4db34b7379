"""Environments made of machines under test, and deploys of them as an operator types them."""

import json
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guests import Guest

from dcctl.domain.known_hosts import KnownHost, render
from dcctl.lab.operator import HOST_KEY, PRIVATE_KEY

Define = Callable[..., Guest]
SECRETS = ("postgresql_superuser", "postgresql_replication", "postgresql_app", "patroni_api")
DEFINITION = """
environment: {environment}
network_namespace: dcctl-operator
ssh: {{user: dcctl, private_key: "file:{private_key}"}}
sites:
  east:
    kind: openstack
    cloud: east
    network:
      {{name: dcctl, cidr: 198.18.1.0/24, gateway: 198.18.1.1, addresses: 198.18.1.{first}-198.18.1.250}}
    image: debian-12
    flavours: {{small: small}}
  west:
    kind: vmware
    endpoint: https://198.18.2.5:443
    username: nobody
    password: file:secrets/patroni_api
    datacenter: west
    cluster: compute
    folder: dcctl
    network:
      {{name: dcctl, cidr: 198.18.2.0/24, gateway: 198.18.2.1, addresses: 198.18.2.{first}-198.18.2.250}}
    template: debian-12
sizes: {{small: {{vcpus: 1, memory: 768MiB, disk: 4GiB}}}}
objectives: {{recovery_time: 60s, loss_window: 0s}}
secrets:
  postgresql_superuser: file:secrets/postgresql_superuser
  postgresql_replication: file:secrets/postgresql_replication
  postgresql_app: file:secrets/postgresql_app
  patroni_api: file:secrets/patroni_api
machines:
  db: {{sites: [east, west], count: 1, size: small, roles: [zookeeper, postgresql]}}
  edge: {{sites: [east, west], count: 1, size: small, roles: [edge]}}
witness: {{name: {witness}, address: 198.18.3.{first}, host_key: "file:witness.pub", roles: [zookeeper]}}
"""


@dataclass(frozen=True)
class Environment:
    """A folder with a ``dcctl.yaml``, and the machines that it speaks of, which are booted."""

    folder: Path
    guests: Mapping[str, Guest]
    secrets: Mapping[str, str]

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "dcctl.cli.main", "-e", str(self.folder), *arguments]

    def dcctl(self, *arguments: str, limit_s: float = 300) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*arguments), capture_output=True, text=True, timeout=limit_s, check=False
        )

    def deploy(self, *arguments: str, limit_s: float = 300) -> dict[str, Any]:
        """A deploy that succeeds, and its result."""
        done = self.dcctl("deploy", *arguments, "-o", "json", limit_s=limit_s)
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result


def environment(
    folder: Path, define: Define, *, name: str, first: int, bare: Sequence[str] = ()
) -> Environment:
    """A database and an edge at both sites, and a voter of its own at the witness's place.

    ``first`` is the last octet of the first address at each place; ``bare`` names machines that have none
    of the packages.
    """
    names = {
        "east-db-1": ("east", first),
        "east-edge-1": ("east", first + 1),
        "west-db-1": ("west", first),
        "west-edge-1": ("west", first + 1),
        f"{name}-witness": ("witness", first),
    }
    guests = {
        each: define(each, place, octet, image="debian-12-bare" if each in bare else "debian-12")
        for each, (place, octet) in names.items()
    }
    for guest in guests.values():
        guest.boot()
    hosts = [KnownHost(each, guest.address, 22, host_key(guest)) for each, guest in guests.items()]
    (folder / ".dcctl").mkdir(parents=True)
    (folder / ".dcctl" / "known_hosts").write_text(render(hosts))
    (folder / "witness.pub").write_text(host_key(guests[f"{name}-witness"]))
    (folder / "dcctl.yaml").write_text(
        DEFINITION.format(environment=name, private_key=PRIVATE_KEY, first=first, witness=f"{name}-witness")
    )
    return Environment(folder, guests, dict(_secrets(folder / "secrets")))


def _secrets(folder: Path) -> Iterator[tuple[str, str]]:
    """What a careless writer of templates, shells or SQL would stumble over."""
    folder.mkdir()
    for name in SECRETS:
        password = f"{secrets.token_hex(8)} '\"\\ {{{{ x }}}} %s #: $x`y`"
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(password + "\n")
        yield name, password


def host_key(guest: Guest) -> str:
    """Read off the machine's own disk, as its hypervisor can."""
    return " ".join((guest.spec.folder / "upper" / HOST_KEY).read_text().split()[:2])
