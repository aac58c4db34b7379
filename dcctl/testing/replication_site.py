"""A configured environment that replicates two real clusters: for tests, benchmarks and the torture."""

import itertools
import urllib.request
from pathlib import Path

import swiftclient

from dcctl.testing.swift_pair import PASSWORD, REALM, REALM_KEY, SYNC_KEY, USER, Cluster, Pair

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements/swift.txt"
LAB = ROOT / "inventories/lab/dcctl.yaml"
CONFIGURATION = """
extends: {lab}
environment: swift
network_namespace:
state_directory: .dcctl
replication:
  realm: {realm}
  realm_key: file:realm-key
  container_key: file:container-key
  containers: [{containers}]
  trash: {trash}
  conflicts: {conflicts}
  heartbeat: {heartbeat}
  settled: 1s
  outbox:
  stores:
    east:
      url: "{east}"
      plaintext: true
      administrator: {{auth_url: "{east_auth}", user: "{user}", password: file:password}}
    west:
      url: "{west}"
      plaintext: true
      administrator: {{auth_url: "{west_auth}", user: "{user}", password: file:password}}
"""
_numbers = itertools.count(1)


class Environment:
    """A configured environment; its container names are its own."""

    def __init__(self, folder: Path, pair: Pair, containers: int = 1) -> None:
        number = next(_numbers)
        self.pair = pair
        self.folder = folder
        self.containers = [f"docs{number}-{each}" for each in range(containers)]
        self.docs = self.containers[0]
        self.trash, self.conflicts, self.heartbeat = (f"{what}{number}" for what in ("trash", "kept", "beat"))
        for name, secret in (("realm-key", REALM_KEY), ("container-key", SYNC_KEY), ("password", PASSWORD)):
            (folder / name).write_text(secret)
            (folder / name).chmod(0o600)
        (folder / "dcctl.yaml").write_text(
            CONFIGURATION.format(
                lab=LAB,
                realm=REALM,
                containers=", ".join(self.containers),
                trash=self.trash,
                conflicts=self.conflicts,
                heartbeat=self.heartbeat,
                east=pair.east.url,
                west=pair.west.url,
                east_auth=pair.east.auth_url,
                west_auth=pair.west.auth_url,
                user=USER,
            )
        )

    def argv(self, *argv: str) -> list[str]:
        return ["-e", str(self.folder), "-o", "json", "replication", *argv]

    def listed(self, cluster: Cluster, container: str | None = None) -> set[str]:
        """The names that a listing shows; what to wait for while objects come and go."""
        connection = swiftclient.Connection(cluster.auth_url, USER, PASSWORD, retries=1)
        try:
            _headers, rows = connection.get_container(container or self.docs, full_listing=True)
            return {row["name"] for row in rows}
        finally:
            connection.close()

    def objects(
        self, cluster: Cluster, container: str | None = None
    ) -> dict[str, tuple[str, dict[str, str], bytes]]:
        """Everything in a container that is at rest, as python-swiftclient sees it: hash, headers, bytes."""
        connection = swiftclient.Connection(cluster.auth_url, USER, PASSWORD, retries=1)
        try:
            _headers, rows = connection.get_container(container or self.docs, full_listing=True)
            found = {}
            for row in rows:
                headers, body = connection.get_object(container or self.docs, row["name"])
                kept = {
                    key: value
                    for key, value in headers.items()
                    if key.startswith(("x-object", "content-", "x-delete", "x-timestamp", "x-static"))
                }
                found[row["name"]] = (row["hash"], kept | {"listed": row["last_modified"]}, body)
            return found
        finally:
            connection.close()

    def assert_same(self, *containers: str) -> dict[str, tuple[str, dict[str, str], bytes]]:
        for name in containers or self.containers:
            assert self.objects(self.pair.east, name) == self.objects(self.pair.west, name)
        return self.objects(self.pair.east)


def make_container(cluster: Cluster, name: str, sync_to: str = "") -> None:
    """A container that lets signed requests in; ``sync_to`` is the native container-sync's."""
    headers = {"X-Auth-Token": cluster.token(), "X-Container-Sync-Key": SYNC_KEY}
    if sync_to:
        headers["X-Container-Sync-To"] = sync_to
    request = urllib.request.Request(f"{cluster.url}/{name}", method="PUT", headers=headers)  # noqa: S310
    urllib.request.urlopen(request).close()  # noqa: S310
