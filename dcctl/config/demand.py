"""The ``demand:`` section of ``dcctl.yaml``: what machines carry, and what is asked of them."""

import re
from typing import Annotated, TypeAlias

from pydantic import Field, PlainSerializer, PlainValidator

from dcctl.config.fields import Section, text_schema

RATE_PATTERN = r"^\d+(\.\d+)?/s$"
PERCENT_PATTERN = r"^\d{1,2}%$"


def parse_rate(value: object) -> float:
    """``400/s``, ``2.5/s``: requests per second. ValueError says what to write."""
    if not isinstance(value, str) or re.fullmatch(RATE_PATTERN, value, re.ASCII) is None:
        raise ValueError("must be a rate per second, such as 400/s or 2.5/s")
    return float(value.removesuffix("/s"))


def parse_capability(value: object) -> float:
    """A rate above zero."""
    rate = parse_rate(value)
    if rate <= 0:
        raise ValueError("must be more than 0/s")
    return rate


def format_rate(rate: float) -> str:
    """The text that ``parse_rate`` reads back."""
    return f"{rate:f}".rstrip("0").rstrip(".") + "/s"


def parse_percent(value: object) -> float:
    """``20%`` as 0.2; less than all. ValueError says what to write."""
    if not isinstance(value, str) or re.fullmatch(PERCENT_PATTERN, value, re.ASCII) is None:
        raise ValueError("must be a percentage from 0% to 99%, such as 20%")
    return int(value.removesuffix("%")) / 100


def format_percent(part: float) -> str:
    """The text that ``parse_percent`` reads back."""
    return f"{part * 100:.0f}%"


Rate: TypeAlias = Annotated[
    float,
    PlainValidator(parse_rate),
    PlainSerializer(format_rate, return_type=str),
    text_schema(RATE_PATTERN, "400/s"),
]
Capability: TypeAlias = Annotated[
    float,
    PlainValidator(parse_capability),
    PlainSerializer(format_rate, return_type=str),
    text_schema(RATE_PATTERN, "400/s"),
]
Percent: TypeAlias = Annotated[
    float,
    PlainValidator(parse_percent),
    PlainSerializer(format_percent, return_type=str),
    text_schema(PERCENT_PATTERN, "20%"),
]


class Demand(Section):
    """One group of machines: requests per second (connections, where the edge forwards TCP)."""

    machine_carries: Capability
    """What one machine of the group can do, as a load test has shown."""
    peak: dict[str, Rate] = Field(default={})
    """What each site asks of the group at its busiest; where nothing is said, what the edges measure."""
