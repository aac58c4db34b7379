"""What a vCenter shows, read in as few round trips as it takes, and as ``dcctl.domain.machine`` values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pyVmomi import vim

from dcctl.adapters.vmware.session import PENDING, Session, again, along, select
from dcctl.adapters.vmware.specs import ADDRESS, HOST_KEY, OWNER, STATE, disk_bytes
from dcctl.domain.machine import Hypervisor, Power, PowerReading, Server, Size
from dcctl.errors import NotFound

MIB = 2**20

# Of every virtual machine in the datacenter; of those in our folder also what only the owner needs. The
# latter can be large, for it holds whatever anyone stored there.
SUMMARY = [
    "name", "config.template", "config.instanceUuid", "guest.net", "runtime.connectionState",
    "runtime.host", "runtime.powerState",
]  # fmt: skip
DETAILS = ["config.extraConfig", "config.hardware"]

POWERS = {"poweredOn": Power.ON, "poweredOff": Power.OFF, "suspended": Power.SUSPENDED}


@dataclass(frozen=True, slots=True)
class Machine:
    """A virtual machine with the handle to change it by. ``options`` is what is stored on it."""

    ref: vim.VirtualMachine
    server: Server
    template: bool
    options: Mapping[str, str] = field(repr=False)

    @property
    def name(self) -> str:
        return self.server.name


@dataclass(frozen=True, slots=True)
class Host:
    """A hypervisor with the handle to it, and what it can reach."""

    ref: vim.HostSystem
    hypervisor: Hypervisor
    networks: frozenset[vim.Network]
    datastores: frozenset[vim.Datastore]

    @property
    def name(self) -> str:
        return self.hypervisor.name


@dataclass(frozen=True, slots=True)
class Places:
    """Where in the inventory we work; looked up once."""

    datacenter: vim.Datacenter
    folder: vim.Folder
    cluster: vim.ClusterComputeResource


@dataclass(frozen=True, slots=True)
class Restart:
    """vSphere HA for one machine: whether it is on, the cluster's priority, and the machine's own, if any."""

    enabled: bool
    default: str | None
    override: str | None

    @property
    def priority(self) -> str | None:
        return self.override or self.default


class Inventory:
    """One datacenter, cluster and folder of a vCenter, by their names."""

    def __init__(self, session: Session, *, datacenter: str, cluster: str, folder: str) -> None:
        self._session = session
        self._paths = {
            "datacenter": datacenter,
            "folder": f"{datacenter}/vm/{folder}",
            "cluster": f"{datacenter}/host/{cluster}",
        }
        self._known: Places | None = None

    def places(self) -> Places:
        """Raises NotFound for a datacenter, folder or cluster that the vCenter does not show us."""
        if self._known is None:
            self._known = Places(**{what: self._find(what, path) for what, path in self._paths.items()})
        return self._known

    def _find(self, what: str, path: str) -> Any:
        tried = f"find the {what} {path}"
        found = self._session.call(tried, lambda content: content.searchIndex.FindByInventoryPath(path))
        if found is None:
            raise NotFound(tried, on=self._session.site, saw="not there, or not ours to see")
        return found

    def machines(self, tried: str, *, on: str = "") -> list[Machine]:
        """Every virtual machine of the datacenter, templates too, sorted by name."""
        places = self.places()
        tree = along(
            vim.Folder, "childEntity", again("tree"),
            along(vim.VirtualApp, "vm"), along(vim.VirtualMachine, "runtime.host"), name="tree",
        )  # fmt: skip
        found = self._session.read(
            tried,
            select(
                [places.datacenter],
                {vim.VirtualMachine: SUMMARY, vim.HostSystem: ["name"]},
                along(vim.Datacenter, "vmFolder", tree),
            ),
            select([places.folder], {vim.VirtualMachine: DETAILS}, tree),
            on=on,
        )
        hosts = {ref: seen["name"] for ref, seen in found.items() if isinstance(ref, vim.HostSystem)}
        listed = [
            self._machine(ref, seen, hosts)
            for ref, seen in found.items()
            if isinstance(ref, vim.VirtualMachine) and "name" in seen
        ]
        return sorted(listed, key=lambda machine: (machine.name, machine.server.id))

    def _machine(
        self, ref: vim.VirtualMachine, seen: Mapping[str, Any], hosts: Mapping[vim.HostSystem, str]
    ) -> Machine:
        options = {each.key: str(each.value) for each in seen.get("config.extraConfig", ())}
        hardware = seen.get("config.hardware")
        connection = seen.get("runtime.connectionState", "unknown")
        state = seen.get("runtime.powerState", "unknown")
        server = Server(
            id=seen.get("config.instanceUuid") or ref._moId,
            name=seen["name"],
            site=self._session.site,
            owner=options.get(OWNER) or None,
            power=power_of(seen),
            status=state if connection == "connected" else f"{state}, {connection}",
            hypervisor=hosts.get(seen.get("runtime.host"), ""),
            address=decide_address(options.get(ADDRESS), addresses(seen.get("guest.net", ()))),
            size=hardware and Size(hardware.numCPU, hardware.memoryMB * MIB, disk_bytes(hardware.device)),
            host_key=options.get(HOST_KEY, ""),
            leftover=STATE in options,
        )
        return Machine(ref, server, bool(seen.get("config.template")), options)

    def is_busy(self, machine: vim.VirtualMachine, tried: str, *, on: str) -> bool:
        """Whether a task on it is queued or running, or it is still being cloned."""
        asked = select(
            [machine], {vim.VirtualMachine: ["config.template"], vim.Task: ["info.state"]},
            along(vim.VirtualMachine, "recentTask"),
        )  # fmt: skip
        found = self._session.read(tried, asked, on=on)
        return "config.template" not in found[machine] or pending(found)

    def devices(self, machine: vim.VirtualMachine, tried: str, *, on: str) -> list[Any]:
        """Its virtual hardware."""
        asked = select([machine], {vim.VirtualMachine: ["config.hardware.device"]})
        return list(self._session.read(tried, asked, on=on)[machine]["config.hardware.device"])

    def hosts(self, tried: str, *, on: str = "") -> list[Host]:
        """The cluster's hosts, sorted by name, with everything that is placed on each."""
        asked = select(
            [self.places().cluster],
            {
                vim.HostSystem: [
                    "name", "network", "datastore", "runtime.connectionState", "runtime.inMaintenanceMode",
                    "summary.hardware.memorySize", "summary.hardware.numCpuCores", "systemResources.config",
                ],
                vim.VirtualMachine: [
                    "config.hardware.memoryMB", "config.hardware.numCPU", "config.template", "runtime.host",
                ],
            },
            along(vim.ComputeResource, "host", along(vim.HostSystem, "vm")),
        )  # fmt: skip
        found = self._session.read(tried, asked, on=on)
        guests = [
            seen
            for ref, seen in found.items()
            if isinstance(ref, vim.VirtualMachine) and not seen.get("config.template", True)
        ]
        hosts = [
            self._host(ref, seen, [guest for guest in guests if guest.get("runtime.host") == ref])
            for ref, seen in found.items()
            if isinstance(ref, vim.HostSystem)
        ]
        return sorted(hosts, key=lambda host: host.name)

    def _host(self, ref: vim.HostSystem, seen: Mapping[str, Any], guests: list[Mapping[str, Any]]) -> Host:
        connection = seen.get("runtime.connectionState", "unknown")
        maintenance = bool(seen.get("runtime.inMaintenanceMode"))
        own = seen.get("systemResources.config")
        hypervisor = Hypervisor(
            name=seen["name"],
            site=self._session.site,
            usable=connection == "connected" and not maintenance,
            status="maintenance" if connection == "connected" and maintenance else connection,
            vcpus=seen.get("summary.hardware.numCpuCores", 0),
            vcpus_used=sum(guest["config.hardware.numCPU"] for guest in guests),
            memory_bytes=seen.get("summary.hardware.memorySize", 0),
            memory_used_bytes=sum(guest["config.hardware.memoryMB"] for guest in guests) * MIB,
            memory_reserved_bytes=(own.memoryAllocation.reservation or 0) * MIB if own else 0,
            servers=len(guests),
        )
        return Host(ref, hypervisor, frozenset(seen.get("network", ())), frozenset(seen.get("datastore", ())))

    def network(self, name: str, tried: str, *, on: str) -> tuple[vim.Network, Any]:
        """A network or distributed port group, and what a network card says to be on it."""
        group = vim.dvs.DistributedVirtualPortgroup
        asked = select(
            [self.places().datacenter],
            {
                vim.Network: ["name"],
                group: ["key", "config.distributedVirtualSwitch"],
                vim.DistributedVirtualSwitch: ["uuid"],
            },
            along(vim.Datacenter, "network", along(group, "config.distributedVirtualSwitch")),
        )
        found = self._session.read(tried, asked, on=on)
        card = vim.vm.device.VirtualEthernetCard
        for ref, seen in found.items():
            if seen.get("name") != name or not isinstance(ref, vim.Network):
                continue
            if not isinstance(ref, group):
                return ref, card.NetworkBackingInfo(deviceName=name)
            switch = found[seen["config.distributedVirtualSwitch"]]
            port = vim.dvs.PortConnection(switchUuid=switch["uuid"], portgroupKey=seen["key"])
            return ref, card.DistributedVirtualPortBackingInfo(port=port)
        raise NotFound(
            f"find the network {name}", on=self._session.site, saw="no such network in the datacenter"
        )

    def datastores(self, machine: vim.VirtualMachine, tried: str, *, on: str) -> frozenset[vim.Datastore]:
        """Where its files are."""
        asked = select([machine], {vim.VirtualMachine: ["datastore"]})
        return frozenset(self._session.read(tried, asked, on=on)[machine].get("datastore", ()))

    def restart(self, machine: vim.VirtualMachine, tried: str, *, on: str) -> Restart | None:
        """What vSphere HA would do with the machine; None when we may not see it."""
        cluster = self.places().cluster
        asked = select([cluster], {vim.ClusterComputeResource: ["configurationEx"]})
        return restart_of(machine, self._session.read(tried, asked, on=on)[cluster])

    def reading(self, machine: vim.VirtualMachine, name: str, tried: str) -> PowerReading:
        """Power, host, tasks and automatic restart, in one answer to one question."""
        cluster = self.places().cluster
        asked_at = datetime.now(UTC)
        found = self._session.read(
            tried,
            select(
                [machine],
                {
                    vim.VirtualMachine: ["runtime.connectionState", "runtime.host", "runtime.powerState"],
                    vim.HostSystem: ["name", "parent", "runtime.connectionState", "config.autoStart"],
                    vim.Task: ["info.state"],
                },
                along(vim.VirtualMachine, "runtime.host"),
                along(vim.VirtualMachine, "recentTask"),
            ),
            select([cluster], {vim.ClusterComputeResource: ["configurationEx"]}),
            on=name,
        )
        read_at = datetime.now(UTC)
        seen = found[machine]
        host = found.get(seen.get("runtime.host"), {})
        restart = restart_of(machine, found[cluster]) if host.get("parent") == cluster else None
        return PowerReading(
            server=name,
            power=power_of(seen),
            read_at=read_at,
            asked_at=asked_at,
            hypervisor=host.get("name", ""),
            hypervisor_connected=host.get("runtime.connectionState") == "connected",
            task_pending=pending(found),
            automatic_restart=decide_automatic_restart(
                restart, with_host=starts_with_host(machine, host.get("config.autoStart"))
            ),
        )


def power_of(seen: Mapping[str, Any]) -> Power:
    """UNKNOWN where vCenter has lost the machine: then the state it still shows is a memory."""
    if seen.get("runtime.connectionState") != "connected":
        return Power.UNKNOWN
    return POWERS.get(seen.get("runtime.powerState", ""), Power.UNKNOWN)


def pending(found: Mapping[Any, Mapping[str, Any]]) -> bool:
    """Whether any task among ``found`` has not ended.

    "Clients … should typically track the RecentTask data object in addition to the powerState object"
    (vSphere Web Services API, VirtualMachinePowerState).
    """
    return any(seen.get("info.state") in PENDING for ref, seen in found.items() if isinstance(ref, vim.Task))


def addresses(cards: list[vim.vm.GuestInfo.NicInfo]) -> tuple[str, ...]:
    """What the guest's tools report, in their order."""
    return tuple(address for card in cards for address in card.ipAddress or ())


def decide_address(given: str | None, reported: tuple[str, ...]) -> str | None:
    """The address we gave, unless the guest reports others only: a guest may bear more than one."""
    if given and (given in reported or not reported):
        return given
    return next((address for address in reported if ":" not in address), None)


def restart_of(machine: vim.VirtualMachine, cluster: Mapping[str, Any]) -> Restart | None:
    """vSphere HA's part of a cluster's configuration, for one machine."""
    configuration = cluster.get("configurationEx")
    if configuration is None or configuration.dasConfig is None:
        return None
    default = configuration.dasConfig.defaultVmSettings
    own = next((each.dasSettings for each in configuration.dasVmConfig or () if each.key == machine), None)
    return Restart(
        enabled=bool(configuration.dasConfig.enabled),
        default=default.restartPriority if default else None,
        override=own.restartPriority if own else None,
    )


def starts_with_host(
    machine: vim.VirtualMachine, config: vim.host.AutoStartManager.Config | None
) -> bool | None:
    """Whether the host powers the machine on when it starts; None when it does not say."""
    if config is None or config.defaults is None or config.defaults.enabled is None:
        return None
    actions = [each.startAction for each in config.powerInfo or () if each.key == machine]
    return bool(config.defaults.enabled) and any(action.lower() == "poweron" for action in actions)


def decide_automatic_restart(restart: Restart | None, *, with_host: bool | None) -> bool | None:
    """Whether vSphere would start a machine by itself: after a failure (HA), or with its host (autostart).

    HA restarts nothing whose priority is "disabled" (vSphere Web Services API, ClusterDasVmSettings).
    What is not known counts as None, unless the other half is already a yes.
    """
    after_failure = None if restart is None else restart.enabled and restart.priority != "disabled"
    if after_failure or with_host:
        return True
    return None if after_failure is None or with_host is None else False
