"""What vCenter is told when a machine is made: pure values, no call."""

import base64
import json
from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Any, TypeAlias

from pyVmomi import vim

from dcctl.domain.machine import ServerSpec

OWNER = "guestinfo.dcctl.environment"
HOST_KEY = "guestinfo.dcctl.host_key"
ADDRESS = "guestinfo.dcctl.address"
STATE = "guestinfo.dcctl.state"
RESTART_PRIORITY = "guestinfo.dcctl.restart_priority"
"""The keys that we keep on a virtual machine (its ``extraConfig``)."""

MAKING = "making"
"""The state of a clone until it is complete: what still says so is a leftover."""

Device: TypeAlias = vim.vm.device.VirtualDevice
Change: TypeAlias = vim.vm.device.VirtualDeviceSpec


def options(values: Mapping[str, str]) -> list[vim.option.OptionValue]:
    """Keys to set; an empty value removes one."""
    return [vim.option.OptionValue(key=key, value=value) for key, value in values.items()]


def clone(
    spec: ServerSpec, *, pool: vim.ResourcePool, host: vim.HostSystem, cidr: str, gateway: str
) -> vim.vm.CloneSpec:
    """The clone bears our mark, and that it is unfinished, from its first moment on.

    The guest finds its cloud-init data where cloud-init's VMware data source looks (docs.cloud-init.io,
    data sources, VMware). The metadata repeats what the customization sets, so that it does not matter
    which of the two the template's guest obeys; ``cleanup-guestinfo`` has the guest wipe the user-data,
    which carries a private key, once it has read it.
    """
    marks = {
        OWNER: spec.environment,
        HOST_KEY: spec.host_key,
        ADDRESS: spec.address,
        STATE: MAKING,
        "guestinfo.metadata": _base64(json.dumps(_metadata(spec, cidr, gateway))),
        "guestinfo.metadata.encoding": "base64",
    }
    if spec.user_data:
        marks |= {"guestinfo.userdata": _base64(spec.user_data), "guestinfo.userdata.encoding": "base64"}
    return vim.vm.CloneSpec(
        location=vim.vm.RelocateSpec(pool=pool, host=host),
        config=vim.vm.ConfigSpec(extraConfig=options(marks)),
        powerOn=False,
        template=False,
    )


def _metadata(spec: ServerSpec, cidr: str, gateway: str) -> dict[str, Any]:
    network = IPv4Network(cidr)
    card = {
        "match": {"name": "e*"},
        "dhcp4": False,
        "addresses": [f"{spec.address}/{network.prefixlen}"],
        "routes": [{"to": "0.0.0.0/0", "via": gateway}],
    }
    return {
        "instance-id": f"{spec.environment}-{spec.name}",
        "local-hostname": spec.name,
        "public-keys-data": "\n".join(spec.authorized_keys),
        "network": {"version": 2, "ethernets": {"primary": card}},
        "cleanup-guestinfo": ["userdata"],
    }


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def customization(spec: ServerSpec, *, cidr: str, gateway: str) -> vim.vm.customization.Specification:
    """Host name, fixed address and gateway, set by the guest's tools at the first boot."""
    kind = vim.vm.customization
    adapter = kind.IPSettings(
        ip=kind.FixedIp(ipAddress=spec.address),
        subnetMask=str(IPv4Network(cidr).netmask),
        gateway=[gateway],
    )
    return kind.Specification(
        identity=kind.LinuxPrep(hostName=kind.FixedName(name=spec.name), domain="internal"),
        globalIPSettings=kind.GlobalIPSettings(),
        nicSettingMap=[kind.AdapterMapping(adapter=adapter)],
    )


def configuration(
    spec: ServerSpec, devices: list[Device], backing: vim.vm.device.VirtualDevice.BackingInfo
) -> vim.vm.ConfigSpec:
    """Size, network and a note for people. The first disk grows to the size asked for; none ever shrinks."""
    cards = [device for device in devices if isinstance(device, vim.vm.device.VirtualEthernetCard)]
    disks = [device for device in devices if isinstance(device, vim.vm.device.VirtualDisk)]
    changes = [_connect(card, backing) for card in cards[:1]]
    changes += [
        _grow(disk, spec.size.disk_bytes) for disk in disks[:1] if bytes_of(disk) < spec.size.disk_bytes
    ]
    return vim.vm.ConfigSpec(
        numCPUs=spec.size.vcpus,
        memoryMB=spec.size.memory_bytes // 2**20,
        annotation=f"dcctl: {spec.group} of environment {spec.environment}. Change it there, not here.",
        deviceChange=changes,
    )


def _connect(card: Device, backing: vim.vm.device.VirtualDevice.BackingInfo) -> Change:
    card.backing = backing
    card.connectable = vim.vm.device.VirtualDevice.ConnectInfo(
        startConnected=True, connected=False, allowGuestControl=True
    )
    return Change(operation=Change.Operation.edit, device=card)


def _grow(disk: Device, wanted_bytes: int) -> Change:
    disk.capacityInBytes = wanted_bytes
    disk.capacityInKB = wanted_bytes // 1024
    return Change(operation=Change.Operation.edit, device=disk)


def bytes_of(disk: Device) -> int:
    """A disk's capacity. (``capacityInBytes`` is newer and not always set.)"""
    return int(disk.capacityInKB) * 1024


def disk_bytes(devices: list[Device]) -> int:
    """The capacity of the first disk, or 0: the others are not ours to speak of."""
    disks = [device for device in devices if isinstance(device, vim.vm.device.VirtualDisk)]
    return bytes_of(disks[0]) if disks else 0


def restart_override(
    vm: vim.VirtualMachine, priority: str | None, *, exists: bool
) -> vim.cluster.ConfigSpecEx:
    """The cluster's exception for one machine: its restart ``priority``, or None for no exception."""
    operation = vim.option.ArrayUpdateSpec.Operation
    if priority is None:
        change = vim.cluster.DasVmConfigSpec(operation=operation.remove, removeKey=vm)
    else:
        info = vim.cluster.DasVmConfigInfo(
            key=vm, dasSettings=vim.cluster.DasVmSettings(restartPriority=priority)
        )
        change = vim.cluster.DasVmConfigSpec(operation=operation.edit if exists else operation.add, info=info)
    return vim.cluster.ConfigSpecEx(dasVmConfigSpec=[change])
