"""The vSphere adapter's decisions and translations, without a vCenter."""

import base64
import http.client
import json
import ssl
from typing import Any

import pytest
from pyVmomi import vim, vmodl

from dcctl.adapters.vmware import specs
from dcctl.adapters.vmware.inventory import (
    Restart,
    decide_address,
    decide_automatic_restart,
    power_of,
    restart_of,
    starts_with_host,
)
from dcctl.adapters.vmware.session import as_ours
from dcctl.domain.machine import Power, ServerSpec, Size
from dcctl.errors import CredentialsRefused, DcctlError, NotFound, Rejected, TimedOut, Unreachable

GIB = 2**30
MACHINE = vim.VirtualMachine("vm-1")
OTHER = vim.VirtualMachine("vm-2")

SPEC = ServerSpec(
    name="west-db-1",
    environment="production",
    site="west",
    group="db",
    roles=("postgresql",),
    size=Size(vcpus=4, memory_bytes=8 * GIB, disk_bytes=40 * GIB),
    flavour="",
    image="debian-12",
    network="dcctl",
    address="192.0.2.20",
    authorized_keys=("ssh-ed25519 AAAA one", "ssh-ed25519 BBBB two"),
    host_key="ssh-ed25519 CCCC",
    user_data="#cloud-config\nsecret: yes\n",
)


@pytest.mark.parametrize(
    ("enabled", "default", "override", "with_host", "restarts"),
    [
        (False, "medium", None, False, False),
        (True, "medium", None, False, True),
        (True, None, None, False, True),
        (True, "disabled", None, False, False),
        (True, "medium", "disabled", False, False),
        (True, "disabled", "high", False, True),
        (True, "medium", "disabled", True, True),
        (True, "medium", "disabled", None, None),
        (False, "medium", None, True, True),
    ],
)
def test_automatic_restart(
    enabled: bool, default: str | None, override: str | None, with_host: bool | None, restarts: bool | None
) -> None:
    assert decide_automatic_restart(Restart(enabled, default, override), with_host=with_host) is restarts


@pytest.mark.parametrize(("with_host", "restarts"), [(True, True), (False, None), (None, None)])
def test_a_cluster_that_we_may_not_see_proves_nothing(with_host: bool | None, restarts: bool | None) -> None:
    assert decide_automatic_restart(None, with_host=with_host) is restarts


def cluster(enabled: bool | None, own: str | None) -> dict[str, Any]:
    settings = vim.cluster.DasVmSettings
    overrides = [vim.cluster.DasVmConfigInfo(key=MACHINE, dasSettings=settings(restartPriority=own))]
    das = vim.cluster.DasConfigInfo(enabled=enabled, defaultVmSettings=settings(restartPriority="medium"))
    configuration = vim.cluster.ConfigInfoEx(dasConfig=das, dasVmConfig=overrides if own else [])
    return {"configurationEx": configuration}


def test_high_availability_is_read_for_one_machine() -> None:
    assert restart_of(MACHINE, cluster(True, "high")) == Restart(True, "medium", "high")
    assert restart_of(OTHER, cluster(True, "high")) == Restart(True, "medium", None)
    assert restart_of(MACHINE, {}) is None


@pytest.mark.parametrize(
    ("enabled", "key", "action", "starts"),
    [
        (True, MACHINE, "powerOn", True),
        (True, MACHINE, "PowerOn", True),
        (True, MACHINE, "none", False),
        (True, OTHER, "powerOn", False),
        (False, MACHINE, "powerOn", False),
        (None, MACHINE, "powerOn", None),
    ],
)
def test_starting_with_the_host(enabled: bool | None, key: Any, action: str, starts: bool | None) -> None:
    manager = vim.host.AutoStartManager
    entry = manager.AutoPowerInfo(
        key=key, startOrder=1, startDelay=1, stopDelay=1, startAction=action, stopAction="none",
        waitForHeartbeat="no",
    )  # fmt: skip
    config = manager.Config(defaults=manager.SystemDefaults(enabled=enabled), powerInfo=[entry])
    assert starts_with_host(MACHINE, config) is starts


def test_a_host_that_does_not_say_whether_it_starts_machines() -> None:
    assert starts_with_host(MACHINE, None) is None


@pytest.mark.parametrize(
    ("given", "reported", "address"),
    [
        ("192.0.2.20", (), "192.0.2.20"),
        ("192.0.2.20", ("192.0.2.99", "192.0.2.20"), "192.0.2.20"),
        ("192.0.2.20", ("fe80::1", "192.0.2.99"), "192.0.2.99"),
        (None, ("fe80::1", "192.0.2.99"), "192.0.2.99"),
        (None, ("fe80::1",), None),
        (None, (), None),
    ],
)
def test_a_machine_s_address(given: str | None, reported: tuple[str, ...], address: str | None) -> None:
    assert decide_address(given, reported) == address


@pytest.mark.parametrize(
    ("connection", "state", "power"),
    [
        ("connected", "poweredOn", Power.ON),
        ("connected", "poweredOff", Power.OFF),
        ("connected", "suspended", Power.SUSPENDED),
        ("connected", "something new", Power.UNKNOWN),
        ("disconnected", "poweredOff", Power.UNKNOWN),
        ("inaccessible", "poweredOff", Power.UNKNOWN),
    ],
)
def test_power(connection: str, state: str, power: Power) -> None:
    assert power_of({"runtime.connectionState": connection, "runtime.powerState": state}) is power


# Errors


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (vim.fault.InvalidLogin(msg="Cannot complete login."), CredentialsRefused, "Cannot complete login"),
        (vim.fault.NotAuthenticated(msg="The session is gone."), CredentialsRefused, "The session is gone"),
        (vmodl.fault.ManagedObjectNotFound(msg="Deleted."), NotFound, "Deleted (ManagedObjectNotFound)"),
        (vim.fault.NoPermission(msg="Permission denied."), Rejected, "Permission denied (NoPermission)"),
        (vim.fault.InvalidPowerState(), Rejected, "InvalidPowerState"),
        (vmodl.RuntimeFault(msg="A bug in vCenter."), Rejected, "A bug in vCenter"),
        (TimeoutError("timed out"), TimedOut, "no answer in time"),
        (ConnectionRefusedError(111, "Connection refused"), Unreachable, "Connection refused"),
        (OSError(113, "No route to host"), Unreachable, "No route to host"),
        (ssl.SSLError(1, "wrong version number"), Unreachable, "no trusted TLS connection"),
        (http.client.RemoteDisconnected("hung up"), Unreachable, "hung up"),
        (http.client.BadStatusLine("SSH-2.0"), Unreachable, "no vCenter: SSH-2.0"),
    ],
)
def test_every_error_is_one_of_ours(error: Exception, kind: type[DcctlError], said: str) -> None:
    ours = as_ours(error, site="west", tried="move the server", on="west-db-1")
    assert type(ours) is kind
    assert str(ours).startswith("move the server on west-db-1 at west: ")
    assert said in str(ours)


def test_ours_and_bugs_stay_what_they_are() -> None:
    for error in (NotFound("x"), KeyError("bug")):
        assert as_ours(error, site="west", tried="x", on="") is error


def test_details_of_a_fault_are_told() -> None:
    detail = vmodl.LocalizableMessage(key="k", message="The host has no more memory.")
    fault = vim.fault.InsufficientMemoryResourcesFault(msg="Insufficient resources.", faultMessage=[detail])
    ours = as_ours(fault, site="west", tried="start the server", on="one")
    assert "Insufficient resources. The host has no more memory (InsufficientMemoryResourcesFault" in str(
        ours
    )


# What a machine is made of


def options(clone: vim.vm.CloneSpec) -> dict[str, str]:
    return {each.key: each.value for each in clone.config.extraConfig}


def cloning(spec: ServerSpec = SPEC) -> vim.vm.CloneSpec:
    pool, host = vim.ResourcePool("pool"), vim.HostSystem("host")
    return specs.clone(spec, pool=pool, host=host, cidr="192.0.2.0/25", gateway="192.0.2.1")


def test_a_clone_is_marked_from_its_first_moment() -> None:
    marks = options(cloning())
    assert marks["guestinfo.dcctl.environment"] == "production"
    assert marks["guestinfo.dcctl.host_key"] == "ssh-ed25519 CCCC"
    assert marks["guestinfo.dcctl.state"] == "making"


def test_cloud_init_finds_its_data_and_wipes_what_is_secret() -> None:
    marks = options(cloning())
    metadata = json.loads(base64.b64decode(marks["guestinfo.metadata"]))
    assert base64.b64decode(marks["guestinfo.userdata"]).decode() == SPEC.user_data
    assert metadata["local-hostname"] == "west-db-1"
    assert metadata["public-keys-data"] == "ssh-ed25519 AAAA one\nssh-ed25519 BBBB two"
    assert metadata["cleanup-guestinfo"] == ["userdata"]
    (card,) = metadata["network"]["ethernets"].values()
    assert card["addresses"] == ["192.0.2.20/25"]
    assert card["routes"] == [{"to": "0.0.0.0/0", "via": "192.0.2.1"}]


def test_the_customization_agrees_with_the_metadata() -> None:
    custom = specs.customization(SPEC, cidr="192.0.2.0/25", gateway="192.0.2.1")
    (card,) = custom.nicSettingMap
    assert custom.identity.hostName.name == "west-db-1"
    assert card.adapter.ip.ipAddress == "192.0.2.20"
    assert card.adapter.subnetMask == "255.255.255.128"
    assert card.adapter.gateway == ["192.0.2.1"]


def hardware(disk_bytes: int) -> list[Any]:
    kinds = vim.vm.device
    return [
        kinds.VirtualIDEController(key=200, busNumber=0),
        kinds.VirtualDisk(key=2000, capacityInKB=disk_bytes // 1024),
        kinds.VirtualDisk(key=2001, capacityInKB=1024),
        kinds.VirtualVmxnet3(key=4000),
        kinds.VirtualVmxnet3(key=4001),
    ]


def test_size_and_network_are_set_on_the_first_disk_and_card() -> None:
    backing = vim.vm.device.VirtualEthernetCard.NetworkBackingInfo(deviceName="dcctl")
    change = specs.configuration(SPEC, hardware(10 * GIB), backing)
    assert (change.numCPUs, change.memoryMB) == (4, 8192)
    card, disk = (each.device for each in change.deviceChange)
    assert (card.key, card.backing) == (4000, backing)
    assert (disk.key, disk.capacityInBytes) == (2000, 40 * GIB)


def test_a_disk_never_shrinks() -> None:
    backing = vim.vm.device.VirtualEthernetCard.NetworkBackingInfo(deviceName="dcctl")
    change = specs.configuration(SPEC, hardware(80 * GIB), backing)
    assert [each.device.key for each in change.deviceChange] == [4000]


def test_the_note_says_where_to_change_things_and_holds_no_secret() -> None:
    backing = vim.vm.device.VirtualEthernetCard.NetworkBackingInfo(deviceName="dcctl")
    note = specs.configuration(SPEC, hardware(GIB), backing).annotation
    assert "production" in note
    assert "secret" not in note
