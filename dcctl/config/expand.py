"""From a configuration to the machines it asks for: names, places, addresses. Pure.

Addresses are given out from a site's pool in the order in which the groups are written, so a group that
is added at the end, or one with ``addresses`` of its own, moves no machine that stands already. Raising
the count of a group that takes from the pool moves those written after it: give such groups
``addresses``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from dcctl.config.reference import Reference
from dcctl.config.schema import (
    WITNESS_PLACE,
    Configuration,
    MachineGroup,
    OpenstackSite,
    Site,
    SizeSpec,
    VmwareSite,
)
from dcctl.domain.machine import ServerSpec, Size


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine of the environment, the witness included; ``place`` is a site's name or ``witness``.

    ``roles`` begin with ``base``. ``group`` is empty for the witness, which dcctl does not create.
    """

    name: str
    place: str
    group: str
    address: str
    roles: tuple[str, ...]


def places(configuration: Configuration) -> tuple[str, ...]:
    """The sites in the order written, then the witness's place where there is a witness."""
    return (*configuration.sites, *((WITNESS_PLACE,) if configuration.witness else ()))


def machines(configuration: Configuration) -> tuple[Machine, ...]:
    """Every machine, site by site, then the witness."""
    found = [
        Machine(name, site, group, str(address), _roles(configuration.machines[group].roles))
        for site in configuration.sites
        for name, group, address in _at(configuration, site)
    ]
    if (witness := configuration.witness) is not None:
        found.append(Machine(witness.name, WITNESS_PLACE, "", str(witness.address), _roles(witness.roles)))
    return tuple(found)


def with_role(configuration: Configuration, role: str) -> tuple[Machine, ...]:
    """The machines that carry ``role``, in the order of ``machines``."""
    return tuple(machine for machine in machines(configuration) if role in machine.roles)


def server_specs(
    configuration: Configuration, *, authorized_keys: tuple[str, ...] = ()
) -> tuple[ServerSpec, ...]:
    """What the two clouds should run, site by site; without host keys and user-data.

    ServerSpec.address carries no prefix length.
    """
    specs = []
    for name, site in configuration.sites.items():
        for server, group_name, address in _at(configuration, name):
            group = configuration.machines[group_name]
            specs.append(
                ServerSpec(
                    name=server,
                    environment=configuration.environment,
                    site=name,
                    group=group_name,
                    roles=_roles(group.roles),
                    size=size(configuration.sizes[group.size]),
                    flavour=site.flavours[group.size] if isinstance(site, OpenstackSite) else "",
                    image=site.image if isinstance(site, OpenstackSite) else site.template,
                    network=site.network.name,
                    address=str(address),
                    authorized_keys=authorized_keys,
                )
            )
    return tuple(specs)


def references(configuration: Configuration) -> dict[str, Reference]:
    """Every reference of the configuration, by where it stands (``sites.west.password``)."""
    found = {"ssh.private_key": configuration.ssh.private_key}
    for name, site in configuration.sites.items():
        if isinstance(site, VmwareSite):
            found[f"sites.{name}.password"] = site.password
    if configuration.witness is not None:
        found["witness.host_key"] = configuration.witness.host_key
    return found | {f"secrets.{name}": secret for name, secret in configuration.secrets.items()}


def size(spec: SizeSpec) -> Size:
    """The domain's value of a configured size."""
    return Size(spec.vcpus, spec.memory, spec.disk)


def server_name(site: str, group: str, number: int) -> str:
    """``<site>-<group>-<number>``, counted from 1."""
    return f"{site}-{group}-{number}"


def _roles(roles: tuple[str, ...]) -> tuple[str, ...]:
    return ("base", *roles)


def _at(configuration: Configuration, site: str) -> Iterator[tuple[str, str, IPv4Address]]:
    """Server name, group and address of every machine at ``site``."""
    groups = {name: group for name, group in configuration.machines.items() if site in group.sites}
    pool = _pool(configuration.sites[site], site, groups)
    for name, group in groups.items():
        own = iter(group.addresses[site]) if site in group.addresses else pool
        for number in range(1, group.count + 1):
            yield server_name(site, name, number), name, next(own)


def _pool(site: Site, name: str, groups: dict[str, MachineGroup]) -> Iterator[IPv4Address]:
    """The site's addresses that no group keeps for itself, lowest first."""
    kept = [group.addresses[name] for group in groups.values() if name in group.addresses]
    return (
        address
        for address in site.network.addresses
        if address != site.network.gateway and not any(address in own for own in kept)
    )
