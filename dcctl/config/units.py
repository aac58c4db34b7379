"""Text with a unit, read strictly and written back: durations, sizes in memory, ranges of addresses."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Address

DURATION_PATTERN = r"^(?=\d)(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?$"
SIZE_PATTERN = r"^\d+(KiB|MiB|GiB|TiB)$"

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII)
_SIZE = re.compile(r"(\d+)(KiB|MiB|GiB|TiB)", re.ASCII)
_BYTES = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_LONGEST = timedelta(days=3650)
_MILLISECOND = timedelta(milliseconds=1)


def parse_duration(value: object) -> timedelta:
    """``90s``, ``1h30m``, ``500ms``: whole numbers, largest unit first. ValueError says what to write."""
    expected = "a duration with its unit, such as 500ms, 90s, 5m or 1h30m"
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"must be {expected}")  # noqa: TRY004  # a wrong value for the person who wrote it
    text = str(value)
    if text.isascii() and text.isdigit():
        raise ValueError(f"{text} has no unit; write {expected}")
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        raise ValueError(f"{text!r} is not {expected}")
    days, hours, minutes, seconds, milliseconds = (int(part or 0) for part in match.groups())
    try:
        duration = timedelta(
            days=days, hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds
        )
    except OverflowError:
        duration = timedelta.max
    if duration > _LONGEST:
        raise ValueError(f"{text!r} is longer than ten years")
    return duration


def format_duration(duration: timedelta) -> str:
    """The shortest text that ``parse_duration`` reads back as ``duration``, to the millisecond."""
    left = duration // _MILLISECOND
    parts = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_size(value: object) -> int:
    """``768MiB``, ``4GiB``: bytes, from binary units only. ValueError says what to write."""
    expected = "a size with a binary unit, such as 768MiB or 4GiB"
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"must be {expected}")  # noqa: TRY004
    text = str(value)
    if text.isascii() and text.isdigit():
        raise ValueError(f"{text} has no unit; write {expected}")
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not {expected}")
    size = int(match[1]) * _BYTES[match[2]]
    if not 0 < size <= 1024 * _BYTES["TiB"]:
        raise ValueError(f"{text!r} is not a size between 1KiB and 1024TiB")
    return size


def format_size(size_bytes: int) -> str:
    """The shortest text that ``parse_size`` reads back as ``size_bytes``, a multiple of 1 KiB."""
    for unit, factor in reversed(_BYTES.items()):
        if size_bytes % factor == 0:
            return f"{size_bytes // factor}{unit}"
    raise ValueError(f"{size_bytes} bytes is not a multiple of 1KiB")


@dataclass(frozen=True, slots=True)
class AddressRange:
    """Addresses from ``first`` to ``last``, both included."""

    first: IPv4Address
    last: IPv4Address

    def __contains__(self, address: IPv4Address) -> bool:
        return self.first <= address <= self.last

    def __iter__(self) -> Iterator[IPv4Address]:
        return (IPv4Address(number) for number in range(int(self.first), int(self.last) + 1))

    def __len__(self) -> int:
        return int(self.last) - int(self.first) + 1

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    def overlaps(self, other: "AddressRange") -> bool:
        """Whether any address is in both."""
        return self.first <= other.last and other.first <= self.last


def parse_address_range(value: object) -> AddressRange:
    """``198.51.100.20-198.51.100.99``. ValueError says what to write."""
    expected = "a range of addresses, such as 198.51.100.20-198.51.100.99"
    if not isinstance(value, str):
        raise ValueError(f"must be {expected}")  # noqa: TRY004
    first, dash, last = (part.strip() for part in value.partition("-"))
    try:
        addresses = AddressRange(IPv4Address(first), IPv4Address(last if dash else first))
    except ValueError:
        raise ValueError(f"{value!r} is not {expected}") from None
    if addresses.last < addresses.first:
        raise ValueError(f"{value!r} ends before it begins")
    return addresses
