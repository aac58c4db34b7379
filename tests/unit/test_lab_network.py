"""What is refused before a cut is tried, and the cards' addresses."""

import pytest

from dcctl.errors import UsageError
from dcctl.lab import network
from dcctl.lab.paths import PLACES


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"place": "mars", "for_s": 10}, "find the place on mars: the lab has east, west, witness, outside"),
        ({"place": "east", "other": "mars", "for_s": 10}, "find the place on mars"),
        ({"place": "east", "other": "east", "for_s": 10}, "cut on east: a place is not cut from itself"),
        ({"place": "east", "for_s": 0}, "cut on east: a cut lasts at least one second"),
    ],
)
def test_a_cut_that_makes_no_sense_is_refused(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        network.cut(**arguments)  # type: ignore[arg-type]
    assert refused.value.sentence().startswith(sentence)


def test_a_card_has_the_same_hardware_address_for_the_same_address() -> None:
    assert network.hardware_address("198.18.1.20/24") == "02:00:c6:12:01:14"
    assert network.hardware_address("198.18.1.20") == network.hardware_address("198.18.1.20/24")


def test_names_fit_into_an_interface_name() -> None:
    assert all(len(place.bridge) <= 15 for place in PLACES.values())
