"""Durations, sizes and ranges of addresses: read strictly, and written so that they read back the same."""

from datetime import timedelta
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcctl.config.units import (
    AddressRange,
    format_duration,
    format_size,
    parse_address_range,
    parse_duration,
    parse_size,
)

milliseconds = st.integers(min_value=0, max_value=3650 * 86_400_000)
addresses = st.integers(min_value=0, max_value=2**32 - 1).map(IPv4Address)


@given(milliseconds)
def test_a_duration_reads_back_as_it_was(count: int) -> None:
    duration = timedelta(milliseconds=count)
    assert parse_duration(format_duration(duration)) == duration


@given(st.integers(min_value=1, max_value=2**40))
def test_a_size_reads_back_as_it_was(kibibytes: int) -> None:
    assert parse_size(format_size(kibibytes * 1024)) == kibibytes * 1024


@given(addresses, addresses)
def test_a_range_reads_back_as_it_was(one: IPv4Address, other: IPv4Address) -> None:
    addresses = AddressRange(min(one, other), max(one, other))
    assert parse_address_range(str(addresses)) == addresses
    assert one in addresses
    assert len(addresses) == int(addresses.last) - int(addresses.first) + 1


@given(st.text() | st.integers() | st.booleans() | st.none() | st.floats())
def test_whatever_is_written_is_read_or_refused_in_words(value: object) -> None:
    for parse in (parse_duration, parse_size, parse_address_range):
        try:
            parse(value)
        except ValueError as error:
            assert str(error)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0), ("500ms", 0.5), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("1d", 86400), ("1m500ms", 60.5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "s", "5 s", "-5s", "1.5s", "5parsecs", "30m1h", "5S", "٣s", "9" * 30 + "d", True]
)
def test_wrong_durations(text: object) -> None:
    with pytest.raises(ValueError, match=r"duration|longer than ten years"):
        parse_duration(text)


@pytest.mark.parametrize(
    "text", ["", "4GB", "4 GiB", "4gib", "0MiB", "-1GiB", "1.5GiB", "GiB", "99999999TiB"]
)
def test_wrong_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


def test_a_number_without_unit_is_told_what_to_write() -> None:
    with pytest.raises(ValueError, match="60 has no unit; write a duration"):
        parse_duration(60)
    with pytest.raises(ValueError, match="768 has no unit; write a size"):
        parse_size("768")


def test_ranges_know_when_they_meet() -> None:
    first = parse_address_range("192.0.2.1-192.0.2.9")
    assert first.overlaps(parse_address_range("192.0.2.9"))
    assert not first.overlaps(parse_address_range("192.0.2.10 - 192.0.2.20"))
    assert [str(address) for address in parse_address_range("192.0.2.1-192.0.2.2")] == [
        "192.0.2.1",
        "192.0.2.2",
    ]
