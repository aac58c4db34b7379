"""Which voter a machine asks first: one that is not lost with the other site."""

from pathlib import Path

import pytest

from dcctl.config.load import load_file
from dcctl.wiring.ensemble import nearest_first

LAB = Path(__file__).parents[2] / "inventories" / "lab" / "dcctl.yaml"
EAST, WEST, WITNESS = "198.18.1.20:2181", "198.18.2.20:2181", "198.18.3.10:2181"


@pytest.mark.parametrize(
    ("machine", "order"),
    [
        ("east-db-1", (EAST, WITNESS, WEST)),
        ("east-edge-1", (EAST, WITNESS, WEST)),
        ("west-edge-1", (WEST, WITNESS, EAST)),
        ("witness-1", (WITNESS, EAST, WEST)),
        ("somebody's own", (WITNESS, EAST, WEST)),
    ],
)
def test_the_other_sites_voter_comes_last(machine: str, order: tuple[str, ...]) -> None:
    assert nearest_first(load_file(LAB), machine) == ",".join(order)
