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
