"""What Nova's and Placement's words mean in ``dcctl.domain.machine``; nothing here asks them anything."""

from collections.abc import Mapping
from typing import Any

from dcctl.domain.machine import Hypervisor, Power, Server, Size

OWNER = "dcctl_environment"
HOST_KEY = "dcctl_host_key"

MIB = 2**20
GIB = 2**30

POWERS = {1: Power.ON, 3: Power.SUSPENDED, 4: Power.OFF, 7: Power.SUSPENDED}
"""nova/compute/power_state.py; what it calls "no state" and "crashed" proves nothing, so it is unknown."""

ASLEEP = ("suspended", "paused")


def server_of(vendor: Any, *, site: str, network: str) -> Server:
    """A server as Nova shows it from microversion 2.47 on. ``network`` is whose address counts."""
    metadata = vendor.metadata or {}
    return Server(
        id=vendor.id,
        name=vendor.name,
        site=site,
        owner=metadata.get(OWNER),
        power=power_of(vendor),
        status=vendor.status,
        hypervisor=vendor.compute_host or "",
        address=_address(vendor.addresses or {}, network),
        size=_size(vendor.flavor),
        host_key=metadata.get(HOST_KEY, ""),
        leftover=is_half_made(vendor),
    )


def power_of(vendor: Any) -> Power:
    """libvirt writes a suspended machine to disk and reports it off; Nova's own state knows better."""
    if vendor.vm_state in ASLEEP:
        return Power.SUSPENDED
    return POWERS.get(vendor.power_state, Power.UNKNOWN)


def is_half_made(vendor: Any) -> bool:
    """Whether it never ran: a machine that ran once and is in ERROR since holds data, and is not that."""
    return vendor.launched_at is None and vendor.status in ("BUILD", "ERROR")


def restarts_by_itself(vendor: Any) -> bool | None:
    """Nova starts no stopped server; ``resume_guests_state_on_host_boot`` resumes only what should run.

    (nova/compute/manager.py, ``_init_instance``.) In any other state it does not say.
    """
    return False if vendor.vm_state == "stopped" else None


def hypervisor_of(vendor: Mapping[str, Any], inventory: Mapping[str, Any], *, site: str) -> Hypervisor:
    """A hypervisor as Nova shows it at microversion 2.53 to 2.87, with Placement's inventory of its memory.

    Named as its compute service is: that is what a server says it is on, and what a migration takes.
    """
    reserved_mib = inventory["reserved"]
    return Hypervisor(
        name=vendor["service"]["host"],
        site=site,
        usable=vendor["state"] == "up" and vendor["status"] == "enabled",
        status=f"{vendor['state']}, {vendor['status']}",
        vcpus=vendor["vcpus"],
        vcpus_used=vendor["vcpus_used"],
        memory_bytes=vendor["memory_mb"] * MIB,
        memory_used_bytes=max(0, vendor["memory_mb_used"] - reserved_mib) * MIB,  # it counts what is reserved
        memory_reserved_bytes=reserved_mib * MIB,
        servers=vendor["running_vms"],
    )


def _address(addresses: Mapping[str, Any], network: str) -> str | None:
    """The fixed IPv4 address on our network, or on whichever there is."""
    ports = [*addresses.get(network, ()), *(port for each in addresses.values() for port in each)]
    fixed = (p["addr"] for p in ports if p["version"] == 4 and p.get("OS-EXT-IPS:type", "fixed") == "fixed")  # noqa: PLR2004
    return next(fixed, None)


def _size(flavour: Any) -> Size | None:
    if flavour is None or flavour.vcpus is None:
        return None
    return Size(flavour.vcpus, flavour.ram * MIB, flavour.disk * GIB)
