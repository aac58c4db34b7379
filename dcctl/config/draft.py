"""As much of a configuration as is right on its own, so that the rules between keys can judge a file that
has other errors too. What is missing or wrong is None here, and reported by the schema."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Strict, TypeAdapter, ValidationError

from dcctl.config.fields import Address, Addresses, Cidr, Count, Name, SiteNames
from dcctl.config.schema import Roles, WitnessRoles
from dcctl.config.units import AddressRange

_T = TypeVar("_T")

_ADDRESS: TypeAdapter[IPv4Address] = TypeAdapter(Address)
_ADDRESSES: TypeAdapter[AddressRange] = TypeAdapter(Addresses)
_CIDR: TypeAdapter[IPv4Network] = TypeAdapter(Cidr)
_COUNT: TypeAdapter[int] = TypeAdapter(Count)
_FLAG: TypeAdapter[bool] = TypeAdapter(Annotated[bool, Strict()])
_MODE: TypeAdapter[str] = TypeAdapter(Literal["manual", "automatic"])
_NAME: TypeAdapter[str] = TypeAdapter(Name)
_ROLES: TypeAdapter[tuple[str, ...]] = TypeAdapter(Roles)
_SWIFT_AUTH: TypeAdapter[str] = TypeAdapter(Literal["tempauth", "keystone"])
_SITES: TypeAdapter[tuple[str, ...]] = TypeAdapter(SiteNames)
_WITNESS_ROLES: TypeAdapter[tuple[str, ...]] = TypeAdapter(WitnessRoles)


@dataclass(frozen=True, slots=True)
class Site:
    """What can be read of one site; ``kind`` as it was written, ``flavours`` None where there are none."""

    name: str
    kind: object
    cidr: IPv4Network | None
    gateway: IPv4Address | None
    pool: AddressRange | None
    flavours: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Group:
    """What can be read of one group of machines."""

    name: str
    sites: tuple[str, ...] | None
    count: int | None
    size: str | None
    roles: tuple[str, ...] | None
    addresses: Mapping[str, AddressRange]

    def at(self, site: str) -> bool:
        return self.sites is not None and site in self.sites


@dataclass(frozen=True, slots=True)
class Witness:
    """What can be read of the witness."""

    name: str | None
    address: IPv4Address | None
    roles: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Draft:
    """What can be read of a configuration. ``sizes`` and ``secrets`` are names."""

    sites: tuple[Site, ...] | None
    groups: tuple[Group, ...] | None
    witness: Witness | None
    sizes: tuple[str, ...] | None
    secrets: tuple[str, ...] | None
    mode: str | None
    survives_any_place: bool | None
    replicated: bool
    """Whether there is a section ``replication``."""
    demand: Mapping[str, tuple[str, ...]]
    """By group, the sites whose peak is written."""
    swift_auth: str | None
    keystones: tuple[str, ...] | None
    """Sites."""
    probes: Mapping[str, tuple[object, object]]
    """By name, the site and the role of each of one's own probes, as they were written."""


def draft(document: object) -> Draft:
    """Read ``document``, the plain form of a YAML file, leaving out what is wrong."""
    sites, groups = _part(document, "sites"), _part(document, "machines")
    witness, demand = _part(document, "witness"), _part(document, "demand")
    own = _part(document, "probes", "own")
    return Draft(
        sites=tuple(_site(name, site) for name, site in sites.items()) if isinstance(sites, dict) else None,
        groups=tuple(_group(name, one) for name, one in groups.items()) if isinstance(groups, dict) else None,
        witness=_witness(witness) if witness is not None else None,
        sizes=_names(_part(document, "sizes")),
        secrets=_names(_part(document, "secrets", default={})),
        mode=_valid(_MODE, _part(document, "automation", "mode", default="manual")),
        survives_any_place=_valid(_FLAG, _part(document, "rules", "quorum_survives_any_place", default=True)),
        replicated=_part(document, "replication") is not None,
        demand={
            name: _names(_part(one, "peak")) or ()
            for name, one in (demand.items() if isinstance(demand, dict) else ())
        },
        swift_auth=_valid(_SWIFT_AUTH, _part(document, "swift", "auth", default="tempauth")),
        keystones=_names(_part(document, "swift", "keystone", default={})),
        probes={
            name: (_part(one, "site"), _part(one, "role"))
            for name, one in (own.items() if isinstance(own, dict) else ())
        },
    )


def _site(name: str, site: object) -> Site:
    kind = _part(site, "kind")
    return Site(
        name=name,
        kind=kind,
        cidr=_valid(_CIDR, _part(site, "network", "cidr")),
        gateway=_valid(_ADDRESS, _part(site, "network", "gateway")),
        pool=_valid(_ADDRESSES, _part(site, "network", "addresses")),
        flavours=_names(_part(site, "flavours")) if kind == "openstack" else None,
    )


def _group(name: str, group: object) -> Group:
    ranges = _part(group, "addresses", default={})
    return Group(
        name=name,
        sites=_valid(_SITES, _part(group, "sites")),
        count=_valid(_COUNT, _part(group, "count")),
        size=_valid(_NAME, _part(group, "size")),
        roles=_valid(_ROLES, _part(group, "roles")),
        addresses={
            site: found
            for site, text in (ranges.items() if isinstance(ranges, dict) else ())
            if (found := _valid(_ADDRESSES, text)) is not None
        },
    )


def _witness(witness: object) -> Witness:
    return Witness(
        name=_valid(_NAME, _part(witness, "name")),
        address=_valid(_ADDRESS, _part(witness, "address")),
        roles=_valid(_WITNESS_ROLES, _part(witness, "roles", default=["zookeeper"])),
    )


def _part(document: object, *path: str, default: Any = None) -> Any:
    for key in path:
        if not isinstance(document, dict) or key not in document:
            return default
        document = document[key]
    return document


def _names(mapping: object) -> tuple[str, ...] | None:
    return tuple(mapping) if isinstance(mapping, dict) else None


def _valid(adapter: TypeAdapter[_T], value: object) -> _T | None:
    try:
        return adapter.validate_python(value)
    except ValidationError:
        return None
