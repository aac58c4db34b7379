"""The configuration as the machines themselves have it, in ``/etc/dcctl``. Pure.

The same environment, without what only the operator has: its key, its clouds' credentials, its network
namespace. A secret is a file there, which the role that needs it writes.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Any

from dcctl.config import expand
from dcctl.config.reference import Reference
from dcctl.config.replication import Replication
from dcctl.config.schema import Configuration
from dcctl.config.units import AddressRange

FOLDER = "/etc/dcctl"
STATE = "/var/lib/dcctl"

OPERATORS = ("network_namespace", "artifact_directory", "faults")
"""Keys that mean something only where the operator is."""


def secret_file(name: str) -> str:
    """Where a machine has the secret ``name``, if one of its roles needs it."""
    return f"{FOLDER}/secrets/{name}"


def authority_file(site: str) -> str:
    """Where a replicator has the authority that signed the certificate of the cluster at ``site``."""
    return f"{FOLDER}/replication-{site}.pem"


def replication_owners(settings: Replication) -> dict[str, Reference]:
    """The secrets, by name, of the owners of further accounts, where a replicator needs them: it logs in
    where containers come and go, or tokens are all there is."""
    return {
        _owner_secret(name, site): store.administrator.password
        for name, account in settings.accounts.items()
        if settings.tokens or account.containers_like
        for site, store in account.stores.items()
        if store.administrator is not None
    }


def _owner_secret(account: str, site: str) -> str:
    return f"owner_{account}_{site}"


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

    def store(site: str, values: Mapping[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in values.items() if key != "administrator"}
        if "ca_file" in kept:
            kept["ca_file"] = authority_file(site)
        if not section.get("containers_like") and not section.get("tokens"):
            return kept
        owner = values["administrator"]
        return kept | {"administrator": {**owner, "password": there(owner["password"], "swift_documents")}}

    def account(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
        stores = {site: dict(each) for site, each in values["stores"].items()}
        for site, each in stores.items():
            owner = each.pop("administrator", None)
            if owner is not None and (values.get("containers_like") or section.get("tokens")):
                secret = f"file:{secret_file(_owner_secret(name, site))}"
                each["administrator"] = {**owner, "password": secret}
        return {**values, "stores": stores}

    accounts = {name: account(name, each) for name, each in section.get("accounts", {}).items()}
    return {
        **{key: value for key, value in section.items() if key != "accounts"},
        **({"accounts": accounts} if accounts else {}),
        **({} if section.get("tokens") else {"outbox": f"file:{secret_file('outbox')}"}),
        **{
            key: there(section[key], f"swift_{key}")
            for key in ("realm_key", "container_key")
            if key in section
        },
        "stores": {site: store(site, values) for site, values in section["stores"].items()},
    }
