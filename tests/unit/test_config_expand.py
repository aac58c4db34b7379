"""From a configuration to its machines: names, roles, and addresses that stay."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from dcctl.config.expand import machines, places, references, server_specs, with_role
from dcctl.config.schema import Configuration
from dcctl.domain.machine import Size

GOOD = Path(__file__).parent / "cases" / "config" / "good.yaml"


@pytest.fixture
def document() -> Any:
    return yaml.safe_load(GOOD.read_text())


def addresses(document: Any) -> dict[str, str]:
    return {machine.name: machine.address for machine in machines(Configuration.model_validate(document))}


def test_machines_and_places(document: Any) -> None:
    configuration = Configuration.model_validate(document)
    assert places(configuration) == ("east", "west", "witness")
    assert [
        (machine.name, machine.place, machine.address, machine.roles) for machine in machines(configuration)
    ] == [
        ("east-db-1", "east", "198.51.100.20", ("base", "zookeeper", "postgresql")),
        ("east-edge-1", "east", "198.51.100.21", ("base", "edge")),
        ("west-db-1", "west", "203.0.113.20", ("base", "zookeeper", "postgresql")),
        ("west-edge-1", "west", "203.0.113.21", ("base", "edge")),
        ("witness-1", "witness", "192.0.2.10", ("base", "zookeeper")),
    ]
    voters = [machine.name for machine in with_role(configuration, "zookeeper")]
    assert voters == ["east-db-1", "west-db-1", "witness-1"]


def test_what_each_cloud_is_asked_for(document: Any) -> None:
    east, _edge, west, _other = server_specs(
        Configuration.model_validate(document), authorized_keys=("ssh-ed25519 AAAA",)
    )
    size = Size(vcpus=1, memory_bytes=768 * 2**20, disk_bytes=4 * 2**30)
    assert (east.environment, east.site, east.group) == ("good", "east", "db")
    assert (east.size, east.flavour, east.image, east.network) == (size, "dcctl.small", "debian-12", "dcctl")
    assert (west.size, west.flavour, west.image, west.network) == (size, "", "debian-12", "dcctl")
    assert east.authorized_keys == ("ssh-ed25519 AAAA",)
    assert east.host_key == east.user_data == ""


def test_a_group_added_at_the_end_moves_nobody(document: Any) -> None:
    before = addresses(document)
    document["machines"]["cache"] = {"sites": ["west", "east"], "count": 3, "size": "small", "roles": []}
    after = addresses(document)
    assert before.items() <= after.items()
    assert after["east-cache-3"] == "198.51.100.24"


def test_a_group_with_addresses_of_its_own_grows_without_moving_anybody(document: Any) -> None:
    document["machines"]["db"]["addresses"] = {
        "east": "198.51.100.20-198.51.100.29",
        "west": "203.0.113.30-203.0.113.39",
    }
    before = addresses(document)
    assert before["east-edge-1"] == "198.51.100.30"
    assert before["west-edge-1"] == "203.0.113.20"
    document["machines"]["db"]["count"] = 3
    after = addresses(document)
    assert before.items() <= after.items()
    assert after["west-db-3"] == "203.0.113.32"


def test_nobody_shares_an_address(document: Any) -> None:
    document["machines"]["edge"] |= {"count": 40, "addresses": {"east": "198.51.100.40-198.51.100.99"}}
    document["machines"]["db"]["count"] = 20
    found = addresses(document)
    assert len(set(found.values())) == len(found) == 121


def test_references_by_where_they_stand(document: Any) -> None:
    found = references(Configuration.model_validate(document))
    assert set(found) == {
        "ssh.private_key",
        "sites.west.password",
        "witness.host_key",
        "secrets.postgresql_superuser",
        "secrets.postgresql_replication",
        "secrets.postgresql_app",
        "secrets.patroni_api",
    }
    assert found["witness.host_key"].public


def test_without_a_witness_there_are_two_places(document: Any) -> None:
    del document["witness"]
    configuration = Configuration.model_validate(document)
    assert places(configuration) == ("east", "west")
    assert len(machines(configuration)) == 4
    assert "witness.host_key" not in references(configuration)
