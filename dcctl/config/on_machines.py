"""The configuration as the machines themselves have it, in ``/etc/dcctl``. Pure.

The same environment, without what only the operator has: its key, its clouds' credentials, its network
namespace. A secret is a file there, which the role that needs it writes.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Any

from dcctl.config import expand
from dcctl.config.schema import Configuration
from dcctl.config.units import AddressRange

FOLDER = "/etc/dcctl"
STATE = "/var/lib/dcctl"

OPERATORS = ("network_namespace", "artifact_directory", "faults")
"""Keys that mean something only where the operator is."""


def secret_file(name: str) -> str:
    """Where a machine has the secret ``name``, if one of its roles needs it."""
    return f"{FOLDER}/secrets/{name}"


def machines_configuration(configuration: Configuration) -> dict[str, Any]:
    """The content of a machine's ``dcctl.yaml``: the same on every machine of the environment."""
    document = configuration.model_dump(mode="json", exclude_none=True)
    by_reference = {str(secret): name for name, secret in configuration.secrets.items()}
    for key in OPERATORS:
        document.pop(key, None)
    document["state_directory"] = STATE
    document["ssh"] = {"user": configuration.ssh.user, "private_key": f"file:{FOLDER}/no-key"}
    document["ssh"]["port"] = configuration.ssh.port
    if configuration.witness is not None:
        document["witness"]["host_key"] = f"file:{FOLDER}/no-host-key"
    for site in document["sites"].values():
        site.pop("clouds_file", None)
        site.pop("ca_file", None)
        if "password" in site:
            site["password"] = f"file:{FOLDER}/no-password"
    for name, addresses in _addresses(configuration).items():
        document["machines"][name]["addresses"] |= addresses
    document["secrets"] = {name: f"file:{secret_file(name)}" for name in configuration.secrets}
    for keystone in document["swift"]["keystone"].values():
        keystone.pop("ca_file", None)
    if configuration.replication is not None:
        document["replication"] = _replication(document["replication"], by_reference)
    return document


def _addresses(configuration: Configuration) -> dict[str, dict[str, str]]:
    """Each group's addresses by site, said outright: the order in which groups are written, from which
    they follow otherwise, does not survive every way in which a document is carried around."""
    found: dict[str, dict[str, str]] = {}
    for name, group in configuration.machines.items():
        for site in group.sites:
            own = [
                IPv4Address(each.address)
                for each in expand.machines(configuration)
                if (each.group, each.place) == (name, site)
            ]
            kept = group.addresses.get(site) or AddressRange(own[0], own[-1])
            if site in group.addresses or len(kept) == len(own):  # else others' lie between
                found.setdefault(name, {})[site] = str(kept)
    return found


def _replication(section: Mapping[str, Any], by_reference: Mapping[str, str]) -> dict[str, Any]:
    """Keys as files, the outbox through the edges. A replicator needs no administrator, unless containers
    come and go, or tokens are all there is."""

    def there(reference: str, name: str) -> str:
        return f"file:{secret_file(by_reference.get(reference, name))}"

    def store(values: Mapping[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in values.items() if key != "administrator"}
        if not section.get("containers_like") and not section.get("tokens"):
            return kept
        owner = values["administrator"]
        return kept | {"administrator": {**owner, "password": there(owner["password"], "swift_documents")}}

    return {
        **section,
        **({} if section.get("tokens") else {"outbox": f"file:{secret_file('outbox')}"}),
        **{
            key: there(section[key], f"swift_{key}")
            for key in ("realm_key", "container_key")
            if key in section
        },
        "stores": {site: store(values) for site, values in section["stores"].items()},
    }
