"""The ``probes:`` section of ``dcctl.yaml``: other limits for the probes that follow from the roles, and
probes of one's own."""

import re
from datetime import timedelta
from typing import Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    Strict,
    StringConstraints,
    WithJsonSchema,
)

from dcctl.config.fields import File, Section, Text
from dcctl.config.units import DURATION_PATTERN, format_duration, parse_duration
from dcctl.domain.probe import DISK_USED_PERCENT, TLS_DAYS

SHORTEST, LONGEST = timedelta(milliseconds=100), timedelta(minutes=1)


def _limit(value: object) -> timedelta:
    duration = parse_duration(value)
    if not SHORTEST <= duration <= LONGEST:
        raise ValueError(f"must be from {format_duration(SHORTEST)} to {format_duration(LONGEST)}")
    return duration


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.username is not None or parts.password is not None:
        raise ValueError("must carry no user name or password")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an address such as https://portal.example.org/health")
    return value


def _expression(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    return value


_Limit: TypeAlias = Annotated[
    timedelta,
    PlainValidator(_limit),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["500ms", "5s"]}),
]
_InARow: TypeAlias = Annotated[int, Strict(), Field(ge=1, le=20)]
_Expression: TypeAlias = Annotated[Text, AfterValidator(_expression)]
_Port: TypeAlias = Annotated[int, Strict(), Field(ge=1, le=65535)]
_Status: TypeAlias = Annotated[int, Strict(), Field(ge=100, le=599)]
_Percent: TypeAlias = Annotated[int, Strict(), Field(ge=1, le=100)]
_Name: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=30)]
Kind: TypeAlias = Literal[
    "http",
    "tcp",
    "tls",
    "postgresql",
    "patroni",
    "zookeeper",
    "swift",
    "cloud",
    "clock",
    "disk",
    "command",
]


class Timing(Section):
    """How patient a probe is; what is not said stays as it is."""

    timeout: _Limit | None = None
    """How long it may take, whatever hangs."""
    rise: _InARow | None = None
    """Right results in a row that make a target up."""
    fall: _InARow | None = None
    """Wrong results in a row that make a target down."""


class HttpProbe(Timing):
    """GET an address."""

    kind: Literal["http"]
    site: Text
    url: Annotated[Text, AfterValidator(_url)]
    status: tuple[_Status, ...] = (200,)
    body: _Expression | None = None
    """A regular expression that is found in the body."""
    ca_file: File | None = None


class TcpProbe(Timing):
    """A port accepts connections."""

    kind: Literal["tcp"]
    site: Text
    address: Text
    port: _Port


class TlsProbe(Timing):
    """A certificate is right, and for how long yet."""

    kind: Literal["tls"]
    site: Text
    address: Text
    port: _Port = 443
    ca_file: File | None = None
    days: _Percent = int(TLS_DAYS)
    """How many days must be left."""


class DiskProbe(Timing):
    """How full a file system is, on every machine with a role."""

    kind: Literal["disk"]
    role: Text
    path: Text
    used_percent: _Percent = int(DISK_USED_PERCENT)


class CommandProbe(Timing):
    """A command over SSH, on every machine with a role. It must change nothing."""

    kind: Literal["command"]
    role: Text
    run: Annotated[tuple[Text, ...], Field(min_length=1)]
    status: Annotated[int, Strict(), Field(ge=0, le=255)] = 0
    output: _Expression | None = None
    """A regular expression that is found in what it says."""


OwnProbe: TypeAlias = Annotated[
    HttpProbe | TcpProbe | TlsProbe | DiskProbe | CommandProbe, Field(discriminator="kind")
]


class Probes(Section):
    """What is probed besides what follows from the roles, and how patiently."""

    timing: dict[Kind, Timing] = Field(default={})
    """By kind of probe."""
    own: dict[_Name, OwnProbe] = Field(default={})
    """Probes of one's own, by a name for each."""
