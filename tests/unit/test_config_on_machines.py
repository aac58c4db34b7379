"""What machines are told of their environment is the environment, however the document is carried there."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from dcctl.config import expand
from dcctl.config.load import load_file
from dcctl.config.on_machines import machines_configuration, replication_owners
from dcctl.config.schema import REQUIRED_SECRETS, Configuration
from dcctl.errors import ConfigurationError
from dcctl.wiring import artifact

ROOT = Path(__file__).parents[2]
LAB = ROOT / "inventories" / "lab" / "dcctl.yaml"
ROLES = ROOT / "playbooks/roles"
OWNERS = ("owner_archive_east", "owner_archive_west")


@pytest.mark.parametrize("sort_keys", [False, True])
def test_a_machine_has_the_same_address_there_as_here(tmp_path: Path, sort_keys: bool) -> None:
    configuration = load_file(LAB)
    path = tmp_path / "dcctl.yaml"
    path.write_text(yaml.safe_dump(machines_configuration(configuration), sort_keys=sort_keys))
    there = load_file(path)
    assert set(expand.machines(there)) == set(expand.machines(configuration))


@pytest.mark.parametrize("how", [{"containers_like": ["tenders-"]}, {"tokens": True}])
def test_a_replicator_has_the_accounts_owners_where_it_needs_them(
    tmp_path: Path, how: dict[str, object]
) -> None:
    keyless: dict[str, object] = {"realm": None, "realm_key": None, "container_key": None, "outbox": None}
    path = tmp_path / "dcctl.yaml"
    changed = how | (keyless if "tokens" in how else {})
    path.write_text(yaml.safe_dump({"extends": str(LAB), "replication": changed}))
    document = machines_configuration(load_file(path))
    for store in document["replication"]["stores"].values():
        assert store["administrator"]["password"] == "file:/etc/dcctl/secrets/swift_documents"
    path.write_text(yaml.safe_dump(document))
    there = load_file(path).replication
    assert there is not None
    assert there.tokens == how.get("tokens", False)


def archive(**more: object) -> dict[str, object]:
    """Another account, whose owners the operator knows by references of its own."""
    owner = {"auth_url": "http://198.18.1.22:8090/auth", "user": "archive:app", "password": "env:ARCHIVE"}
    urls = {
        "east": "http://198.18.1.22:8090/v1/AUTH_archive",
        "west": "http://198.18.2.22:8090/v1/AUTH_archive",
    }
    stores = {site: {"url": url, "administrator": owner} for site, url in urls.items()}
    return {"stores": stores, "containers": ["letters"], **more}


def written(path: Path, **replication: object) -> Path:
    path.write_text(yaml.safe_dump({"extends": str(LAB), "replication": replication}))
    return path


@pytest.mark.parametrize("like", [[], ["t-"]])
def test_owners_of_further_accounts_come_along_where_containers_come_and_go(
    tmp_path: Path, like: list[str]
) -> None:
    path = written(tmp_path / "dcctl.yaml", accounts={"archive": archive(containers_like=like)})
    configuration = load_file(path)
    assert configuration.replication is not None
    owners = {f"owner_archive_{site}": "env:ARCHIVE" for site in ("east", "west")} if like else {}
    found = {name: str(each) for name, each in replication_owners(configuration.replication).items()}
    assert found == owners
    path.write_text(yaml.safe_dump(machines_configuration(configuration)))
    there = load_file(path).replication
    assert there is not None
    for site, store in there.accounts["archive"].stores.items():
        if not like:
            assert store.administrator is None
            continue
        assert store.administrator is not None
        assert str(store.administrator.password) == f"file:/etc/dcctl/secrets/owner_archive_{site}"
    assert there.replicated() == ("documents", "archive/letters")


def test_what_signed_a_clusters_certificate_is_on_the_machines_and_named_there(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("east's authority\n")
    store = {"url": "https://198.18.1.22/v1/AUTH_documents", "ca_file": str(tmp_path / "ca.pem")}
    configuration = load_file(written(tmp_path / "dcctl.yaml", stores={"east": store}))
    there = machines_configuration(configuration)["replication"]["stores"]
    assert there["east"]["ca_file"] == "/etc/dcctl/replication-east.pem"
    assert "ca_file" not in there["west"]
    carried = artifact.replication_variables(configuration)
    assert carried["authorities"] == [
        {"path": "/etc/dcctl/replication-east.pem", "content": "east's authority\n"}
    ]
    (tmp_path / "ca.pem").unlink()
    with pytest.raises(ConfigurationError, match=r"ca\.pem"):
        artifact.replication_variables(configuration)


def test_the_replicators_role_writes_authorities_and_secrets_of_owners(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("an authority\n")
    account = archive(containers_like=["t-"])
    path = written(tmp_path / "dcctl.yaml", accounts={"archive": account})
    configuration = load_file(path)
    assert configuration.replication is not None
    store = configuration.replication.stores["west"].model_copy(update={"ca_file": tmp_path / "ca.pem"})
    settings = configuration.replication.model_copy(
        update={"stores": configuration.replication.stores | {"west": store}}
    )
    configuration = configuration.model_copy(update={"replication": settings})
    files = rendered(configuration, "{{ replication_read }}")
    content = {each["path"]: each.get("content") for each in files}
    assert content["/etc/dcctl/replication-west.pem"] == "an authority\n"
    assert content["/etc/dcctl/secrets/owner_archive_east"] == "the value of owner_archive_east\n"
    secret = next(each for each in files if each["path"].endswith("owner_archive_west"))
    assert (secret["owner"], secret["mode"]) == ("dcctl-run", "0400")
    assert "/etc/dcctl/secrets/swift_documents" not in content
    assert "replication-west.pem" in content["/etc/dcctl/dcctl.yaml"]


@pytest.mark.parametrize("encrypted", [True, False])
def test_signed_writes_to_the_other_site_go_where_replication_goes_if_that_is_encrypted(
    tmp_path: Path, encrypted: bool
) -> None:
    (tmp_path / "ca.pem").write_text("west's authority\n")
    https = {"url": "https://swift.west/v1/AUTH_documents", "ca_file": str(tmp_path / "ca.pem")}
    path = written(tmp_path / "dcctl.yaml", sync=True, stores={"west": https} if encrypted else {})
    configuration = load_file(path)
    environment = (ROLES / "procurement/templates/environment.j2").read_text()
    lines = str(rendered(configuration, environment, role="procurement")).splitlines()
    files = rendered(configuration, "{{ procurement_authority_files }}", role="procurement")
    assert "PROCUREMENT_SYNC_REALM='dcctl'" in lines
    url = "PROCUREMENT_PEER_SWIFT_URL='https://swift.west/v1/AUTH_documents'"
    trusted = "PROCUREMENT_PEER_SWIFT_CA_FILE='/etc/procurement/peer-keystone.pem'"
    assert (url in lines, trusted in lines) == (encrypted, encrypted)
    found = {each["path"]: each["content"] for each in files}
    assert found == ({"/etc/procurement/peer-keystone.pem": "west's authority\n"} if encrypted else {})
    assert not any(line.startswith("PROCUREMENT_SWIFT_CA_FILE") for line in lines)


@pytest.mark.parametrize(("mode", "opened"), [("", True), ("required", True), ("off", False)])
def test_patroni_may_open_the_kernels_watchdog_where_a_machine_has_one(
    tmp_path: Path, mode: str, opened: bool
) -> None:
    """Without that it would go on without (automatic, the default), or lead nowhere (required)."""
    configuration = load_file(written(tmp_path / "dcctl.yaml"))
    chosen = f"{{% set postgresql_watchdog = '{mode}' %}}" if mode else ""
    unit = (ROLES / "postgresql/templates/patroni.service.j2").read_text()
    lines = rendered(configuration, chosen + unit, role="postgresql").splitlines()
    assert ("ExecStartPre=-+/bin/chown postgres /dev/watchdog" in lines) is opened
    patroni = (ROLES / "postgresql/templates/patroni.yml.j2").read_text().partition("\nwatchdog:")[2]
    told = rendered(configuration, chosen + patroni, role="postgresql")
    assert f'mode: "{mode or "automatic"}"' in told


def rendered(configuration: Configuration, expression: str, *, role: str = "replication") -> Any:
    """As Ansible renders it with the variables of ``role``, on a machine at east."""
    loader = DataLoader()
    secrets = (*(name for names in REQUIRED_SECRETS.values() for name in names), *OWNERS)
    variables: dict[str, Any] = {"runtime_secrets": trust_as_template("{{ replication_secrets }}")}
    for file in ("runtime/defaults", "runtime/vars", f"{role}/defaults", f"{role}/vars"):
        path = ROLES / file / "main.yml"
        variables = loader.load_from_file(str(path), trusted_as_template=True) | variables
    machines = {each.name: each for each in expand.machines(configuration)}
    variables |= {
        "dcctl_on_machines": machines_configuration(configuration),
        "dcctl_replication": artifact.replication_variables(configuration),
        "dcctl_swift": {"keystone": {}},
        "dcctl_artifacts": {name: {"digest": "digest"} for name in ("dcctl", "procurement")},
        "dcctl_secrets": {name: f"the value of {name}" for name in secrets},
        "dcctl_site": "east",
        "ansible_host": next(each.address for each in machines.values() if each.name == "east-app-1"),
        "groups": {
            group: sorted(each.name for each in machines.values() if group in each.roles)
            for group in ("edge", "swift", "zookeeper", "postgresql")
        },
        "hostvars": {
            name: {"dcctl_site": each.place, "ansible_host": each.address, "inventory_hostname": name}
            for name, each in machines.items()
        },
    }
    return Templar(loader=loader, variables=variables).template(trust_as_template(expression))
