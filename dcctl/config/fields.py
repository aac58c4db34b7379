"""The kinds of values that the sections of ``dcctl.yaml`` are made of: what each may say, and in which words
anything else is refused."""

import re
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated, Any, TypeAlias
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    Strict,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from dcctl.config.reference import Reference, parse_reference
from dcctl.config.units import (
    DURATION_PATTERN,
    SIZE_PATTERN,
    AddressRange,
    format_duration,
    format_size,
    parse_address_range,
    parse_duration,
    parse_size,
)

NAME_PATTERN = r"(?=.{1,30}$)[a-z][a-z0-9]*(-[a-z0-9]+)*"


def _directory(info: ValidationInfo, key: str = "directory") -> Path:
    return Path((info.context or {}).get(key) or Path.cwd())


def _path(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("must be a path")
    return _directory(info) / Path(value).expanduser()


def _state_directory(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("must be a path")
    return _directory(info, "state_base") / Path(value).expanduser()


def _secret(value: object, info: ValidationInfo) -> Reference:
    return parse_reference(value, directory=_directory(info))


def _key_file(value: object, info: ValidationInfo) -> Reference:
    return parse_reference(value, directory=_directory(info), schemes=("file",))


def _public_file(value: object, info: ValidationInfo) -> Reference:
    return parse_reference(value, directory=_directory(info), schemes=("file",), public=True)


def _address(value: object) -> object:
    """Only text: pydantic would take the number 1 for the address 0.0.0.1."""
    if not isinstance(value, str | IPv4Address):
        raise ValueError("must be an IPv4 address, such as 198.51.100.20")  # noqa: TRY004
    return value


def _network(value: object) -> object:
    if isinstance(value, IPv4Network):
        return value
    if not isinstance(value, str) or "/" not in value:
        raise ValueError("must be a network with its prefix length, such as 198.51.100.0/24")
    try:
        return IPv4Network(value)
    except ValueError as error:
        raise ValueError(f"{value!r} is not an IPv4 network: {error}") from None


def _endpoint(value: str) -> str:
    parts = urlsplit(value)
    if parts.username is not None or parts.password is not None:
        raise ValueError("must carry no user name or password; write username: and password: instead")
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError("must be an https:// address, such as https://vcenter.example.org")
    return value


def _unversioned(value: str) -> str:
    """An identity service's address without the API's version, with which operators know it as often."""
    return value.rstrip("/").removesuffix("/v3").rstrip("/")


def without_repeats(value: tuple[str, ...]) -> tuple[str, ...]:
    for item in value:
        if value.count(item) > 1:
            raise ValueError(f"names {item!r} twice")
    return value


@dataclass(frozen=True, slots=True)
class Spelled:
    """Text of a pattern; what does not fit is refused in ``words``, without being repeated."""

    pattern: str
    words: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._fits, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(schema) | {"pattern": f"^{self.pattern}$"}

    def _fits(self, value: str) -> str:
        if re.fullmatch(self.pattern, value) is None:
            raise ValueError(f"must be {self.words}")
        return value


def text_schema(pattern: str, *examples: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": list(examples)})


Text: TypeAlias = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
SiteName: TypeAlias = Annotated[
    str, Spelled(r"[a-z][a-z0-9]{0,19}", "lower-case letters and digits, beginning with a letter, at most 20")
]
Name: TypeAlias = Annotated[
    str,
    Spelled(
        NAME_PATTERN, "lower-case letters and digits, words joined by -, at most 30, beginning with a letter"
    ),
]
SecretName: TypeAlias = Annotated[str, Spelled(r"[a-z][a-z0-9_]*", "lower-case letters, digits and _")]
User: TypeAlias = Annotated[
    str,
    Spelled(r"[a-z_][a-z0-9_-]{0,31}", "the name of a Linux account: lower-case letters, digits, - and _"),
]
NamespaceName: TypeAlias = Annotated[
    str, Spelled(r"[A-Za-z0-9._-]{1,64}", "the name of a network namespace: letters, digits, dots, - and _")
]
Count: TypeAlias = Annotated[int, Strict(), Field(ge=1, le=99)]
Flag: TypeAlias = Annotated[bool, Strict()]
Duration: TypeAlias = Annotated[
    timedelta,
    PlainValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    text_schema(DURATION_PATTERN, "500ms", "60s", "1h30m"),
]
Bytes: TypeAlias = Annotated[
    int,
    PlainValidator(parse_size),
    PlainSerializer(format_size, return_type=str),
    text_schema(SIZE_PATTERN, "768MiB", "4GiB"),
]
Addresses: TypeAlias = Annotated[
    AddressRange,
    PlainValidator(parse_address_range),
    PlainSerializer(str, return_type=str),
    text_schema(r"^[0-9.]+( *- *[0-9.]+)?$", "198.51.100.20-198.51.100.99"),
]
Address: TypeAlias = Annotated[IPv4Address, BeforeValidator(_address)]
Cidr: TypeAlias = Annotated[
    IPv4Network,
    PlainValidator(_network),
    PlainSerializer(str, return_type=str),
    text_schema(r"^[0-9.]+/[0-9]+$", "198.51.100.0/24"),
]
File: TypeAlias = Annotated[
    Path, PlainValidator(_path), PlainSerializer(str, return_type=str), WithJsonSchema({"type": "string"})
]
StateDirectory: TypeAlias = Annotated[
    Path,
    PlainValidator(_state_directory),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string"}),
]
Secret: TypeAlias = Annotated[
    Reference,
    PlainValidator(_secret),
    PlainSerializer(str, return_type=str),
    text_schema(
        "^(env|file|vault):.+", "env:VCENTER_PASSWORD", "file:/etc/dcctl/vcenter", "vault:vault.yml#vcenter"
    ),
]
PrivateKeyFile: TypeAlias = Annotated[
    Reference,
    PlainValidator(_key_file),
    PlainSerializer(str, return_type=str),
    text_schema("^file:.+", "file:~/.ssh/dcctl"),
]
PublicFile: TypeAlias = Annotated[
    Reference,
    PlainValidator(_public_file),
    PlainSerializer(str, return_type=str),
    text_schema("^file:.+", "file:witness-host-key.pub"),
]
Endpoint: TypeAlias = Annotated[str, AfterValidator(_endpoint)]
IdentityEndpoint: TypeAlias = Annotated[Endpoint, AfterValidator(_unversioned)]
SiteNames: TypeAlias = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(without_repeats)]


class Section(BaseModel):
    """Strict and frozen: an unknown key is an error, a loaded configuration never changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")
