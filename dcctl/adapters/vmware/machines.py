"""``ports.Machines`` over one vCenter."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from pyVmomi import vim

from dcctl.adapters.vmware import specs
from dcctl.adapters.vmware.inventory import Host, Inventory, Machine
from dcctl.adapters.vmware.session import Limits, Session, place
from dcctl.domain.machine import Hypervisor, Power, PowerReading, Server, ServerSpec
from dcctl.errors import DcctlError, NotFound, Refused, Rejected, TimedOut


@dataclass(frozen=True, slots=True)
class VMwareSite:
    """One site and the one environment that we act for. ``ca_file`` empty means the system's authorities."""

    site: str
    environment: str
    endpoint: str
    username: str
    password: str = field(repr=False)
    datacenter: str
    cluster: str
    folder: str
    cidr: str
    gateway: str
    ca_file: str = ""
    verify_tls: bool = True
    limits: Limits = field(default_factory=Limits)


class VMwareMachines:
    """The machines of one site on vSphere. Threads may share it; ``close`` ends its session."""

    def __init__(self, site: VMwareSite) -> None:
        self.site = site.site
        self._of = site
        self._session = Session(
            site=site.site,
            endpoint=site.endpoint,
            username=site.username,
            password=site.password,
            ca_file=site.ca_file,
            verify_tls=site.verify_tls,
            limits=site.limits,
        )
        self._inventory = Inventory(
            self._session, datacenter=site.datacenter, cluster=site.cluster, folder=site.folder
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Log out. The next call would log in again."""
        self._session.close()

    def observe_servers(self) -> tuple[Server, ...]:
        listed = self._inventory.machines("list the servers")
        return tuple(machine.server for machine in listed if not machine.template)

    def observe_hypervisors(self) -> tuple[Hypervisor, ...]:
        return tuple(host.hypervisor for host in self._inventory.hosts("list the hypervisors"))

    def observe_power(self, name: str) -> PowerReading:
        tried = "read the power state"
        return self._inventory.reading(self._the(tried, name).ref, name, tried)

    def ensure_server(self, spec: ServerSpec) -> Server:
        tried = "create the server"
        machine = self._settled(tried, spec.name)
        if machine is not None:
            self._refuse_foreign(tried, machine)
            if machine.server.leftover:
                self._destroy(machine)
                machine = None
        if machine is None:
            self._create(tried, spec)
            machine = self._the(tried, spec.name)
        self._power_on(machine)
        return self._the(tried, spec.name).server

    def ensure_power(self, name: str, power: Power) -> PowerReading:
        tried = f"set the power to {power}"
        machine = self._ours(tried, name)
        match power:
            case Power.ON:
                self._power_on(machine)
            case Power.OFF:
                self._fence(tried, machine)
            case Power.SUSPENDED:
                self._set_power(tried, machine, Power.SUSPENDED, machine.ref.SuspendVM_Task)
            case Power.UNKNOWN:
                raise Refused(tried, on=self._at(name), reasons=("no machine can be made unknown",))
        return self._inventory.reading(machine.ref, name, tried)

    def move_server(self, name: str, hypervisor: str) -> Server:
        tried = f"move the server to {hypervisor}"
        machine = self._ours(tried, name)
        target = next((h for h in self._inventory.hosts(tried, on=name) if h.name == hypervisor), None)
        if target is None:
            saw = f"no host {hypervisor} in cluster {self._of.cluster}"
            raise NotFound(tried, on=self._at(name), saw=saw)
        if machine.server.hypervisor == hypervisor:
            return machine.server
        self._relocate(tried, machine.ref, target, on=name)
        moved = self._the(tried, name).server
        if moved.hypervisor != hypervisor:
            raise Rejected(
                tried, on=self._at(name), saw=f"it is on {moved.hypervisor or 'no host'} afterwards"
            )
        return moved

    def delete_server(self, name: str) -> None:
        machine = self._settled("delete the server", name)
        if machine is not None:
            self._refuse_foreign("delete the server", machine)
            self._destroy(machine)

    # Finding

    def _at(self, name: str) -> str:
        return place(name, self.site)

    def _find(self, tried: str, name: str) -> Machine | None:
        """The machine of that name: ours, if any is, or somebody else's."""
        named = [m for m in self._inventory.machines(tried, on=name) if m.name == name]
        named.sort(key=lambda machine: machine.server.owner != self._of.environment)
        return named[0] if named else None

    def _the(self, tried: str, name: str) -> Machine:
        machine = self._find(tried, name)
        if machine is None:
            saw = f"no virtual machine of that name in datacenter {self._of.datacenter}"
            raise NotFound(tried, on=self._at(name), saw=saw, next_command="dcctl provision plan")
        return machine

    def _ours(self, tried: str, name: str) -> Machine:
        machine = self._the(tried, name)
        self._refuse_foreign(tried, machine)
        return machine

    def _refuse_foreign(self, tried: str, machine: Machine) -> None:
        owner, ours = machine.server.owner, self._of.environment
        if machine.template:
            reason = "it is a template"
        elif owner != ours:
            reason = f"it belongs to {owner}, not to {ours}" if owner else f"it bears no mark of {ours}"
        else:
            return
        raise Refused(
            tried, on=self._at(machine.name), reasons=(reason,), next_command="dcctl provision plan"
        )

    def _settled(self, tried: str, name: str) -> Machine | None:
        """The machine once nothing is under way on it: the clone of a killed run may still be going on."""
        machine = self._find(tried, name)
        if machine is None or not self._inventory.is_busy(machine.ref, tried, on=name):
            return machine
        self._session.wait(
            tried,
            lambda: self._is_busy(tried, name),
            until=lambda busy: not busy,
            on=name,
            limit_s=self._of.limits.clone_s,
        )
        return self._find(tried, name)

    def _is_busy(self, tried: str, name: str) -> bool:
        machine = self._find(tried, name)
        return machine is not None and self._inventory.is_busy(machine.ref, tried, on=name)

    # Making and unmaking

    def _create(self, tried: str, spec: ServerSpec) -> None:
        """Clone, size, place, customize; the last change takes the mark of the unfinished away."""
        places = self._inventory.places()
        template = self._template(tried, spec)
        network, backing = self._inventory.network(spec.network, tried, on=spec.name)
        host = self._roomiest(tried, spec, network, self._inventory.datastores(template, tried, on=spec.name))
        pool = places.cluster.resourcePool
        cloning = specs.clone(spec, pool=pool, host=host.ref, cidr=self._of.cidr, gateway=self._of.gateway)
        clone: vim.VirtualMachine = self._session.finish(
            tried,
            lambda: template.CloneVM_Task(folder=places.folder, name=spec.name, spec=cloning),
            on=spec.name,
            limit_s=self._of.limits.clone_s,
        )
        devices = self._inventory.devices(clone, tried, on=spec.name)
        self._configure(tried, clone, specs.configuration(spec, devices, backing), on=spec.name)
        self._relocate(tried, clone, host, on=spec.name)
        custom = specs.customization(spec, cidr=self._of.cidr, gateway=self._of.gateway)
        self._session.finish(tried, lambda: clone.CustomizeVM_Task(spec=custom), on=spec.name)
        self._set_options(tried, clone, {specs.STATE: ""}, on=spec.name)

    def _template(self, tried: str, spec: ServerSpec) -> vim.VirtualMachine:
        for machine in self._inventory.machines(tried, on=spec.name):
            if machine.template and machine.name == spec.image:
                return machine.ref
        saw = f"no template {spec.image} in datacenter {self._of.datacenter}"
        raise NotFound(tried, on=self._at(spec.name), saw=saw)

    def _roomiest(
        self, tried: str, spec: ServerSpec, network: vim.Network, datastores: frozenset[vim.Datastore]
    ) -> Host:
        """The host with most free memory of those that can run it. Named, since not every cluster has DRS."""
        reasons = []
        fit = []
        for host in self._inventory.hosts(tried, on=spec.name):
            if not host.hypervisor.usable:
                reasons.append(f"{host.name} is {host.hypervisor.status}")
            elif network not in host.networks:
                reasons.append(f"{host.name} has no network {spec.network}")
            elif not datastores & host.datastores:
                reasons.append(f"{host.name} has no datastore of template {spec.image}")
            else:
                fit.append(host)
        if not fit:
            raise Refused(
                tried, on=self._at(spec.name), reasons=tuple(reasons) or ("the cluster has no host",)
            )
        return max(fit, key=lambda host: host.hypervisor.memory_bytes - host.hypervisor.memory_used_bytes)

    def _relocate(self, tried: str, ref: vim.VirtualMachine, host: Host, *, on: str) -> None:
        """Also after a clone that named its host: not every vCenter minds it."""
        where = vim.vm.RelocateSpec(host=host.ref)
        self._session.finish(
            tried, lambda: ref.RelocateVM_Task(spec=where), on=on, limit_s=self._of.limits.clone_s
        )

    def _configure(
        self,
        tried: str,
        ref: vim.VirtualMachine,
        change: vim.vm.ConfigSpec,
        *,
        on: str,
        limit_s: float | None = None,
    ) -> None:
        self._session.finish(tried, lambda: ref.ReconfigVM_Task(spec=change), on=on, limit_s=limit_s)

    def _set_options(
        self,
        tried: str,
        ref: vim.VirtualMachine,
        values: dict[str, str],
        *,
        on: str,
        limit_s: float | None = None,
    ) -> None:
        change = vim.vm.ConfigSpec(extraConfig=specs.options(values))
        self._configure(tried, ref, change, on=on, limit_s=limit_s)

    def _destroy(self, machine: Machine) -> None:
        tried = "delete the server"
        if machine.server.power is not Power.OFF:
            self._set_power(tried, machine, Power.OFF, machine.ref.PowerOffVM_Task)
        try:
            self._session.finish(tried, machine.ref.Destroy_Task, on=machine.name)
        except NotFound:
            return  # somebody else was faster
        if any(m.ref == machine.ref for m in self._inventory.machines(tried, on=machine.name)):
            raise Rejected(tried, on=self._at(machine.name), saw="it is still there afterwards")

    # Power

    def _power_on(self, machine: Machine) -> None:
        self._set_power("start the server", machine, Power.ON, machine.ref.PowerOnVM_Task)
        self._allow_restart(machine)

    def _set_power(self, tried: str, machine: Machine, power: Power, start: Callable[[], vim.Task]) -> None:
        """A task that failed because somebody else did the same at the same time has not failed."""
        if machine.server.power is power:
            return
        try:
            self._session.finish(tried, start, on=machine.name)
        except Rejected:
            if self._inventory.reading(machine.ref, machine.name, tried).power is not power:
                raise
        now = self._inventory.reading(machine.ref, machine.name, tried).power
        if now is not power:
            raise Rejected(tried, on=self._at(machine.name), saw=f"it reads {now} after the task succeeded")

    def _fence(self, tried: str, machine: Machine) -> None:
        """Power off, and never on again by itself. One that vCenter would not put off keeps its restart."""
        self._forbid_restart(machine)
        try:
            self._set_power(tried, machine, Power.OFF, machine.ref.PowerOffVM_Task)
        except Rejected:
            with contextlib.suppress(DcctlError):  # why it is not off matters more
                self._allow_restart(self._the(tried, machine.name))
            raise

    def _forbid_restart(self, machine: Machine) -> None:
        """Take the machine out of vSphere HA, and remember what was set.

        Where we may not, or the cluster does not come to it, power goes off all the same; then the reading
        says that a restart is possible, and proves nothing.
        """
        tried = "forbid automatic restart"
        restart = self._inventory.restart(machine.ref, tried, on=machine.name)
        if restart is None or not restart.enabled or restart.priority == "disabled":
            return
        change = specs.restart_override(machine.ref, "disabled", exists=restart.override is not None)
        limit_s = self._of.limits.forbid_s
        with contextlib.suppress(Rejected, TimedOut):
            if specs.RESTART_PRIORITY not in machine.options:
                was = {specs.RESTART_PRIORITY: restart.override or "default"}
                self._set_options(tried, machine.ref, was, on=machine.name, limit_s=limit_s)
            self._configure_cluster(tried, change, on=machine.name, limit_s=limit_s)

    def _allow_restart(self, machine: Machine) -> None:
        """Give back to vSphere HA what ``_forbid_restart`` took."""
        tried = "allow automatic restart again"
        was = machine.options.get(specs.RESTART_PRIORITY)
        if not was:
            return
        restart = self._inventory.restart(machine.ref, tried, on=machine.name)
        wanted = None if was == "default" else was
        if restart is not None and restart.override != wanted:
            change = specs.restart_override(machine.ref, wanted, exists=restart.override is not None)
            self._configure_cluster(tried, change, on=machine.name)
        self._set_options(tried, machine.ref, {specs.RESTART_PRIORITY: ""}, on=machine.name)

    def _configure_cluster(
        self, tried: str, change: vim.cluster.ConfigSpecEx, *, on: str, limit_s: float | None = None
    ) -> None:
        cluster = self._inventory.places().cluster
        self._session.finish(
            tried,
            lambda: cluster.ReconfigureComputeResource_Task(spec=change, modify=True),
            on=on,
            limit_s=limit_s,
        )
