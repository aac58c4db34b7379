"""Nova's words, as it answers them at microversion 2.87, and what they mean here."""

from types import SimpleNamespace
from typing import Any

import pytest

from dcctl.adapters.openstack import reading
from dcctl.domain.machine import Power, Size

MIB = 2**20


def server(**changes: Any) -> SimpleNamespace:
    """As openstacksdk shows one that runs."""
    values: dict[str, Any] = {
        "id": "0b9c3d0e",
        "name": "east-db-1",
        "metadata": {"dcctl_environment": "lab", "dcctl_host_key": "ssh-ed25519 AAAA"},
        "status": "ACTIVE",
        "vm_state": "active",
        "power_state": 1,
        "task_state": None,
        "launched_at": "2026-11-21T19:00:00.000000",
        "compute_host": "east-hv-1",
        "addresses": {"dcctl": [{"addr": "198.18.1.20", "version": 4, "OS-EXT-IPS:type": "fixed"}]},
        "flavor": SimpleNamespace(vcpus=1, ram=768, disk=4),
    }
    return SimpleNamespace(**values | changes)


def seen(**changes: Any) -> Any:
    return reading.server_of(server(**changes), site="east", network="dcctl")


def test_a_server_that_runs() -> None:
    found = seen()
    assert (found.name, found.site, found.owner, found.host_key) == (
        "east-db-1",
        "east",
        "lab",
        "ssh-ed25519 AAAA",
    )
    assert found.size == Size(1, 768 * MIB, 4 * 1024 * MIB)
    assert (found.address, found.hypervisor, found.leftover) == ("198.18.1.20", "east-hv-1", False)


@pytest.mark.parametrize(
    ("vm_state", "power_state", "power"),
    [
        ("active", 1, Power.ON),
        ("stopped", 4, Power.OFF),
        ("active", 4, Power.OFF),  # it died; Nova has not noticed that it should call it stopped
        ("suspended", 4, Power.SUSPENDED),  # libvirt: on disk, and it comes back as it was
        ("suspended", 3, Power.SUSPENDED),
        ("paused", 3, Power.SUSPENDED),
        ("active", 3, Power.SUSPENDED),  # frozen behind Nova's back
        ("active", 7, Power.SUSPENDED),
        ("active", 0, Power.UNKNOWN),
        ("active", 6, Power.UNKNOWN),  # crashed: what is left of it may still hold a disk
        ("building", None, Power.UNKNOWN),
    ],
)
def test_power(vm_state: str, power_state: int | None, power: Power) -> None:
    assert seen(vm_state=vm_state, power_state=power_state).power is power


@pytest.mark.parametrize(
    ("status", "launched_at", "leftover"),
    [
        ("BUILD", None, True),
        ("ERROR", None, True),
        ("ERROR", "2026-11-21T19:00:00.000000", False),  # it ran, and holds data
        ("ACTIVE", "2026-11-21T19:00:00.000000", False),
        ("SHUTOFF", "2026-11-21T19:00:00.000000", False),
    ],
)
def test_only_what_never_ran_is_a_leftover(status: str, launched_at: str | None, leftover: bool) -> None:
    assert seen(status=status, launched_at=launched_at).leftover is leftover


@pytest.mark.parametrize(
    ("vm_state", "restarts"), [("stopped", False), ("active", None), ("suspended", None), ("error", None)]
)
def test_nova_starts_no_stopped_server_and_says_nothing_of_others(
    vm_state: str, restarts: bool | None
) -> None:
    assert reading.restarts_by_itself(server(vm_state=vm_state)) is restarts


@pytest.mark.parametrize(
    ("addresses", "address"),
    [
        ({}, None),
        ({"dcctl": [{"addr": "2001:db8::1", "version": 6, "OS-EXT-IPS:type": "fixed"}]}, None),
        (
            {
                "other": [{"addr": "192.0.2.1", "version": 4, "OS-EXT-IPS:type": "fixed"}],
                "dcctl": [
                    {"addr": "203.0.113.1", "version": 4, "OS-EXT-IPS:type": "floating"},
                    {"addr": "198.18.1.20", "version": 4, "OS-EXT-IPS:type": "fixed"},
                ],
            },
            "198.18.1.20",
        ),
        ({"other": [{"addr": "192.0.2.1", "version": 4}]}, "192.0.2.1"),
    ],
)
def test_the_fixed_address_on_our_network_counts(addresses: dict[str, Any], address: str | None) -> None:
    assert seen(addresses=addresses).address == address


def test_what_an_ordinary_user_is_not_shown_is_empty() -> None:
    found = seen(compute_host=None, metadata=None, flavor=SimpleNamespace(vcpus=None, ram=None, disk=None))
    assert (found.hypervisor, found.owner, found.host_key, found.size) == ("", None, "", None)


def hypervisor(**changes: Any) -> Any:
    vendor = {
        "service": {"host": "east-hv-1"},
        "state": "up",
        "status": "enabled",
        "vcpus": 16,
        "vcpus_used": 3,
        "memory_mb": 16384,
        "memory_mb_used": 512 + 2 * 768,
        "running_vms": 2,
        **changes,
    }
    return reading.hypervisor_of(vendor, {"total": 16384, "reserved": 512}, site="east")


def test_a_hypervisors_memory_used_is_what_its_machines_were_given() -> None:
    found = hypervisor()
    assert found.memory_bytes == 16384 * MIB
    assert found.memory_used_bytes == 2 * 768 * MIB
    assert found.memory_reserved_bytes == 512 * MIB
    assert (found.servers, found.vcpus, found.vcpus_used) == (2, 16, 3)


@pytest.mark.parametrize(
    ("state", "status", "usable"),
    [("up", "enabled", True), ("down", "enabled", False), ("up", "disabled", False)],
)
def test_usable_is_up_and_enabled(state: str, status: str, usable: bool) -> None:
    found = hypervisor(state=state, status=status)
    assert found.usable is usable
    assert found.status == f"{state}, {status}"
