"""What machines are told of their environment is the environment, however the document is carried there."""

from pathlib import Path

import pytest
import yaml

from dcctl.config import expand
from dcctl.config.load import load_file
from dcctl.config.on_machines import machines_configuration

LAB = Path(__file__).parents[2] / "inventories" / "lab" / "dcctl.yaml"


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
