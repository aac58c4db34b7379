"""Nova's hypervisor driver over the lab's machine runtime.

Three simulated hypervisors share one runtime and all disks, as hosts on shared storage do. Which of them
a machine is on is recorded in one file per machine: moving a machine rewrites the file, and a hypervisor
knows only the machines whose file names it. So a machine goes on running while it moves, and outlives the
control plane.
"""

import base64
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import nova.conf
import os_resource_classes as orc
from nova import exception
from nova.compute import power_state
from nova.objects import fields
from nova.objects.migrate_data import LibvirtLiveMigrateData
from nova.virt import driver, hardware

from labcloud import names
from labcloud.machine import Runtime, RuntimeFailed

CONF = nova.conf.CONF

POWER = {"running": power_state.RUNNING, "suspended": power_state.PAUSED}
"""Frozen is what Nova calls paused: its own word for suspended makes it stop the machine."""


class Placements:
    """Which hypervisor each machine is on."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(exist_ok=True)

    def of(self, machine: str) -> str:
        """The hypervisor's name; empty when the machine is on none."""
        try:
            return (self._directory / machine).read_text()
        except FileNotFoundError:
            return ""

    def on(self, hypervisor: str) -> list[str]:
        return [file.name for file in self._directory.iterdir() if self.of(file.name) == hypervisor]

    def put(self, machine: str, hypervisor: str) -> None:
        new = self._directory / f"{machine}.new"
        new.write_text(hypervisor)
        new.replace(self._directory / machine)

    def remove(self, machine: str) -> None:
        (self._directory / machine).unlink(missing_ok=True)


class LabDriver(driver.ComputeDriver):
    """One simulated hypervisor. The signatures are Nova's (nova/virt/driver.py)."""

    capabilities = {  # noqa: RUF012  # as in the base class
        **driver.ComputeDriver.capabilities,
        "supports_evacuate": True,
        "supports_image_type_raw": True,
    }

    def __init__(self, virtapi: Any) -> None:
        super().__init__(virtapi)
        self._host = ""
        self._runtime = Runtime(os.environ["DCCTL_LAB_MACHINE"])
        self._placements = Placements(Path(CONF.state_path) / "guests")

    def init_host(self, host: str) -> None:
        self._host = host

    # What runs here

    def list_instance_uuids(self) -> list[str]:
        return self._placements.on(self._host)

    def list_instances(self) -> list[str]:
        return self.list_instance_uuids()

    def instance_on_disk(self, instance: Any) -> bool:
        return instance.uuid in self._runtime.states()

    def get_info(self, instance: Any, use_cache: bool = True) -> Any:
        states = self._runtime.states()
        if self._placements.of(instance.uuid) != self._host or instance.uuid not in states:
            raise exception.InstanceNotFound(instance_id=instance.uuid)
        return hardware.InstanceInfo(state=POWER.get(states[instance.uuid], power_state.SHUTDOWN))

    # Making and removing

    def spawn(
        self,
        context: Any,
        instance: Any,
        image_meta: Any,
        injected_files: Any,
        admin_password: Any,
        allocations: Any,
        network_info: Any = None,
        block_device_info: Any = None,
        power_on: bool = True,
        accel_info: Any = None,
    ) -> None:
        """Also how an evacuated machine begins again, from the disk that it has."""
        try:
            self._runtime.define(specification(instance, image_meta, network_info))
            self._placements.put(instance.uuid, self._host)
            if power_on:
                self._runtime.boot(instance.uuid)
        except RuntimeFailed as error:
            self._runtime.delete(instance.uuid)
            self._placements.remove(instance.uuid)
            # Not worth a try on another hypervisor: all of them share this runtime.
            raise exception.BuildAbortException(instance_uuid=instance.uuid, reason=str(error)) from error

    def destroy(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        block_device_info: Any = None,
        destroy_disks: bool = True,
        destroy_secrets: bool = True,
    ) -> None:
        if self._placements.of(instance.uuid) not in (self._host, ""):
            return  # it has moved away
        if destroy_disks:
            self._runtime.delete(instance.uuid)
        else:
            self._runtime.halt(instance.uuid)
        self._placements.remove(instance.uuid)

    def cleanup(self, context: Any, instance: Any, network_info: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing is left to clean."""

    # Power

    def power_on(self, context: Any, instance: Any, network_info: Any, *args: Any, **kwargs: Any) -> None:
        self._runtime.boot(instance.uuid)

    def power_off(self, instance: Any, timeout: float = 0, retry_interval: float = 0) -> None:
        """A clean end where Nova grants time for one (the image may say it does not), else a power cut."""
        if timeout:
            self._runtime.shutdown(instance.uuid)
        else:
            self._runtime.halt(instance.uuid)

    def reboot(
        self, context: Any, instance: Any, network_info: Any, reboot_type: str, *args: Any, **kwargs: Any
    ) -> None:
        self.power_off(instance, CONF.shutdown_timeout if reboot_type == "SOFT" else 0)
        self._runtime.boot(instance.uuid)

    def pause(self, instance: Any) -> None:
        self._runtime.suspend(instance.uuid)

    def unpause(self, instance: Any) -> None:
        self._runtime.resume(instance.uuid)

    def suspend(self, context: Any, instance: Any) -> None:
        self._runtime.suspend(instance.uuid)

    def resume(self, context: Any, instance: Any, network_info: Any, *args: Any, **kwargs: Any) -> None:
        self._runtime.resume(instance.uuid)

    def resume_state_on_host_boot(self, context: Any, instance: Any, *args: Any, **kwargs: Any) -> None:
        self._runtime.boot(instance.uuid)

    # Live migration

    def check_can_live_migrate_destination(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> Any:
        return LibvirtLiveMigrateData(is_shared_block_storage=True, is_shared_instance_path=True)

    def check_can_live_migrate_source(
        self, context: Any, instance: Any, dest_check_data: Any, block_device_info: Any = None
    ) -> Any:
        return dest_check_data

    def cleanup_live_migration_destination_check(self, context: Any, dest_check_data: Any) -> None:
        """Nothing was prepared."""

    def pre_live_migration(
        self,
        context: Any,
        instance: Any,
        block_device_info: Any,
        network_info: Any,
        disk_info: Any,
        migrate_data: Any,
    ) -> Any:
        return migrate_data

    def live_migration(
        self,
        context: Any,
        instance: Any,
        dest: str,
        post_method: Any,
        recover_method: Any,
        block_migration: bool = False,
        migrate_data: Any = None,
    ) -> None:
        self._placements.put(instance.uuid, dest)
        post_method(context, instance, dest, block_migration, migrate_data)

    def post_live_migration(self, *args: Any, **kwargs: Any) -> None:
        """The machine is the destination's already."""

    def post_live_migration_at_source(self, *args: Any, **kwargs: Any) -> None:
        """The machine is the destination's already."""

    def post_live_migration_at_destination(self, *args: Any, **kwargs: Any) -> None:
        """The machine runs here already."""

    def rollback_live_migration_at_destination(self, *args: Any, **kwargs: Any) -> None:
        """Nothing was prepared."""

    # Cold migration and resize

    def migrate_disk_and_power_off(
        self,
        context: Any,
        instance: Any,
        dest: str,
        flavor: Any,
        network_info: Any,
        block_device_info: Any = None,
        timeout: float = 0,
        retry_interval: float = 0,
    ) -> str:
        self.power_off(instance, timeout)
        return ""

    def finish_migration(
        self,
        context: Any,
        migration: Any,
        instance: Any,
        disk_info: Any,
        network_info: Any,
        image_meta: Any,
        resize_instance: bool,
        allocations: Any,
        block_device_info: Any = None,
        power_on: bool = True,
        share_info: Any = None,
    ) -> None:
        self._arrive(instance, image_meta, network_info, power_on=power_on)

    def confirm_migration(self, context: Any, migration: Any, instance: Any, network_info: Any) -> None:
        """The machine is the destination's already."""

    def finish_revert_migration(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        migration: Any,
        block_device_info: Any = None,
        power_on: bool = True,
        share_info: Any = None,
    ) -> None:
        self._arrive(instance, instance.image_meta, network_info, power_on=power_on)

    def _arrive(self, instance: Any, image_meta: Any, network_info: Any, *, power_on: bool) -> None:
        """Take over a machine that is off, with the size that it has from now on."""
        self._runtime.define(specification(instance, image_meta, network_info))
        self._placements.put(instance.uuid, self._host)
        if power_on:
            self._runtime.boot(instance.uuid)

    def check_instance_shared_storage_local(self, context: Any, instance: Any) -> dict[str, str]:
        return {"machine": instance.uuid}

    def check_instance_shared_storage_remote(self, context: Any, data: Any) -> bool:
        return True

    # The network is laid by the runtime

    def plug_vifs(self, instance: Any, network_info: Any) -> None:
        """Plugged when the machine boots."""

    def unplug_vifs(self, instance: Any, network_info: Any) -> None:
        """Pulled when the machine is deleted."""

    # The hypervisor itself

    def get_available_nodes(self, refresh: bool = False) -> list[str]:
        return [self._host]

    def get_nodenames_by_uuid(self, refresh: bool = False) -> dict[str, str]:
        return {names.node_id(self._host): self._host}

    def get_available_resource(self, nodename: str) -> dict[str, Any]:
        return {
            "uuid": names.node_id(nodename),
            "hypervisor_hostname": nodename,
            "hypervisor_type": "dcctl-lab",
            "hypervisor_version": 1000000,
            "vcpus": names.VCPUS,
            "memory_mb": names.MEMORY_MB,
            "local_gb": names.DISK_GB,
            "vcpus_used": 0,
            "memory_mb_used": 0,
            "local_gb_used": 0,
            "disk_available_least": names.DISK_GB,
            "cpu_info": json.dumps({"arch": platform.machine()}),
            "supported_instances": [
                (fields.Architecture.from_host(), fields.HVType.LXC, fields.VMMode.EXE),
            ],
            "numa_topology": None,
        }

    def update_provider_tree(self, provider_tree: Any, nodename: str, allocations: Any = None) -> None:
        ratios = self._get_allocation_ratios(provider_tree.data(nodename).inventory)
        totals = {
            orc.VCPU: (names.VCPUS, 0),
            orc.MEMORY_MB: (names.MEMORY_MB, names.RESERVED_MEMORY_MB),
            orc.DISK_GB: (names.DISK_GB, 0),
        }
        inventory = {
            kind: {
                "total": total,
                "reserved": reserved,
                "min_unit": 1,
                "max_unit": total,
                "step_size": 1,
                "allocation_ratio": ratios[kind],
            }
            for kind, (total, reserved) in totals.items()
        }
        provider_tree.update_inventory(nodename, inventory)

    def get_host_ip_addr(self) -> str:
        """Nova tells source and destination of a migration apart by this."""
        return self._host

    def get_host_uptime(self) -> str:
        return subprocess.run(["uptime"], capture_output=True, text=True, check=True).stdout


def specification(instance: Any, image_meta: Any, network_info: Any) -> dict[str, object]:
    """What the machine runtime is told of an instance."""
    (vif, *_others) = network_info or instance.get_network_info()
    (subnet, *_others) = vif["network"]["subnets"]
    (address, *_others) = subnet["ips"]
    prefix = subnet["cidr"].rpartition("/")[2]
    user_data = base64.b64decode(instance.user_data).decode() if instance.user_data else ""
    return {
        "id": instance.uuid,
        "name": instance.display_name,
        "hostname": instance.hostname,
        "place": names.REGION,
        "address": f"{address['address']}/{prefix}",
        "gateway": subnet["gateway"]["address"],
        "vcpus": instance.flavor.vcpus,
        "memory_mb": instance.flavor.memory_mb,
        "authorized_keys": [instance.key_data] if instance.key_data else [],
        "user_data": user_data,
        "image": image_meta.name if image_meta and "name" in image_meta else names.IMAGE,
    }
