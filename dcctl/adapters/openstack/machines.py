"""``ports.Machines`` over one project of one OpenStack cloud."""

import base64
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import openstack.exceptions

from dcctl.adapters.openstack import reading
from dcctl.adapters.openstack.faults import place
from dcctl.adapters.openstack.session import MICROVERSION, Limits, Session
from dcctl.adapters.openstack.userdata import with_keys
from dcctl.domain.machine import Hypervisor, Power, PowerReading, Server, ServerSpec
from dcctl.errors import DcctlError, NotFound, Refused, Rejected

GONE = "DELETED"


@dataclass(frozen=True, slots=True)
class OpenStackSite:
    """One site and the one environment that we act for.

    ``cloud`` is a name in ``clouds.yaml``; None takes the OS_* variables. ``clouds_file`` None means the
    usual places (https://docs.openstack.org/openstacksdk/latest/user/config/configuration.html).
    """

    site: str
    environment: str
    network: str
    cloud: str | None = None
    clouds_file: str | None = None
    limits: Limits = field(default_factory=Limits)


class OpenStackMachines:
    """The machines of one site on OpenStack. Threads may share it; ``close`` hangs up."""

    def __init__(self, site: OpenStackSite) -> None:
        self.site = site.site
        self._of = site
        self._session = Session(
            site=site.site, cloud=site.cloud, clouds_file=site.clouds_file, limits=site.limits
        )

    def close(self) -> None:
        """Hang up. The next call would connect again."""
        self._session.close()

    def observe_servers(self) -> tuple[Server, ...]:
        listed = self._list("list the servers")
        return tuple(sorted(map(self._server, listed), key=lambda server: (server.name, server.id)))

    def observe_hypervisors(self) -> tuple[Hypervisor, ...]:
        def ask(cloud: Any) -> list[Hypervisor]:
            found = _json(cloud.compute.get("/os-hypervisors/detail", microversion=MICROVERSION))
            return [
                reading.hypervisor_of(each, _memory(cloud, each["id"]), site=self.site)
                for each in found["hypervisors"]
            ]

        listed = self._session.call("list the hypervisors", ask)
        return tuple(sorted(listed, key=lambda hypervisor: hypervisor.name))

    def observe_power(self, name: str) -> PowerReading:
        tried = "read the power state"
        asked_at = datetime.now(UTC)
        server = self._the(tried, name)
        connected = self._is_connected(tried, server)
        return PowerReading(
            server=name,
            power=reading.power_of(server),
            read_at=datetime.now(UTC),
            asked_at=asked_at,
            hypervisor=server.compute_host or "",
            hypervisor_connected=connected,
            task_pending=server.task_state is not None,
            automatic_restart=reading.restarts_by_itself(server),
        )

    def ensure_server(self, spec: ServerSpec) -> Server:
        tried = "create the server"
        server = self._settled(tried, spec.name)
        if server is not None:
            self._refuse_foreign(tried, server)
            if reading.is_half_made(server):
                self._delete(tried, server)
                server = None
        if server is None:
            server = self._create(tried, spec)
        self._make_power(tried, server, Power.ON)
        return self._server(self._the(tried, spec.name))

    def ensure_power(self, name: str, power: Power) -> PowerReading:
        tried = f"set the power to {power}"
        if power is Power.UNKNOWN:
            raise Refused(tried, on=self._at(name), reasons=("no machine can be made unknown",))
        self._make_power(tried, self._ours(tried, name), power)
        return self.observe_power(name)

    def move_server(self, name: str, hypervisor: str) -> Server:
        tried = f"move the server to {hypervisor}"
        server = self._idle(tried, self._ours(tried, name))
        if hypervisor not in {each.name for each in self.observe_hypervisors()}:
            raise NotFound(tried, on=self._at(name), saw=f"there is no host {hypervisor}")
        if server.status == "VERIFY_RESIZE":  # left by a move that was interrupted
            server = self._confirm(tried, server)
        if server.compute_host != hypervisor:
            if reading.power_of(server) is Power.OFF:
                server = self._migrate_cold(tried, server, hypervisor)
            else:
                server = self._migrate_live(tried, server, hypervisor)
        if server.compute_host != hypervisor:
            self._fail(tried, server, f"it is on {server.compute_host or 'no host'} afterwards")
        return self._server(server)

    def delete_server(self, name: str) -> None:
        tried = "delete the server"
        server = self._find(tried, name)
        if server is not None:
            self._refuse_foreign(tried, server)
            self._delete(tried, server)

    # Finding

    def _server(self, vendor: Any) -> Server:
        return reading.server_of(vendor, site=self.site, network=self._of.network)

    def _at(self, name: str) -> str:
        return place(name, self.site)

    def _list(self, tried: str, *, on: str = "", **wanted: str) -> list[Any]:
        """The project's servers. Nova goes on listing one for a moment that it calls deleted already."""
        listed = self._session.call(tried, lambda cloud: list(cloud.compute.servers(**wanted)), on=on)
        return [server for server in listed if server.status != GONE]

    def _find(self, tried: str, name: str) -> Any | None:
        """The server of that name: ours, if any is, or somebody else's; None when there is none."""
        named = [each for each in self._list(tried, on=name, name=f"^{name}$") if each.name == name]
        ours = [server for server in named if self._owner(server) == self._of.environment]
        if len(ours) > 1:
            ids = ", ".join(server.id for server in ours)
            raise Rejected(tried, on=self._at(name), saw=f"{len(ours)} servers bear that name: {ids}")
        return next(iter([*ours, *named]), None)

    def _the(self, tried: str, name: str) -> Any:
        server = self._find(tried, name)
        if server is None:
            saw = "there is no server of that name in the project"
            raise NotFound(tried, on=self._at(name), saw=saw, next_command="dcctl provision plan")
        return server

    def _ours(self, tried: str, name: str) -> Any:
        server = self._the(tried, name)
        self._refuse_foreign(tried, server)
        return server

    def _owner(self, server: Any) -> str | None:
        return (server.metadata or {}).get(reading.OWNER)

    def _refuse_foreign(self, tried: str, server: Any) -> None:
        owner = self._owner(server)
        if owner != self._of.environment:
            whose = f"environment {owner}" if owner else "nobody that dcctl knows"
            raise Refused(
                tried, on=self._at(server.name), reasons=(f"server {server.id} belongs to {whose}",)
            )

    def _again(self, tried: str, server: Any) -> Any | None:
        """The same server now; None when it is gone."""

        def ask(cloud: Any) -> Any | None:
            try:
                now = cloud.compute.get_server(server.id)
            except openstack.exceptions.NotFoundException:
                return None
            return None if now.status == GONE else now

        return self._session.call(tried, ask, on=server.name)

    def _idle(self, tried: str, server: Any, limit_s: float | None = None) -> Any:
        """The server once no task of its cloud is pending. Raises NotFound when it went meanwhile."""
        settled = self._session.wait(
            tried,
            lambda: self._again(tried, server),
            until=lambda now: now is None or (now.task_state is None and now.status != "BUILD"),
            on=server.name,
            limit_s=limit_s or self._of.limits.task_s,
        )
        if settled is None:
            raise NotFound(tried, on=self._at(server.name), saw=f"server {server.id} was deleted meanwhile")
        return settled

    def _settled(self, tried: str, name: str) -> Any | None:
        """The server of that name, after whatever an earlier call had started has ended."""
        server = self._find(tried, name)
        if server is None or (server.task_state is None and server.status != "BUILD"):
            return server
        try:
            return self._idle(tried, server, self._of.limits.create_s)
        except NotFound:
            return None

    def _is_connected(self, tried: str, server: Any) -> bool:
        """Whether the host that answers for the server's state is in touch with its cloud.

        A disabled host takes no new servers and is still in touch.
        """
        host = server.compute_host
        if not host:
            return False
        services = self._session.call(
            tried,
            lambda cloud: list(cloud.compute.services(binary="nova-compute", host=host)),
            on=server.name,
        )
        return any(each.state == "up" and not each.is_forced_down for each in services)

    # Changing

    def _create(self, tried: str, spec: ServerSpec) -> Any:
        def ask(cloud: Any) -> Any:
            network = cloud.network.find_network(spec.network, ignore_missing=False)
            image = cloud.image.find_image(spec.image, ignore_missing=False)
            flavour = cloud.compute.find_flavor(spec.flavour, ignore_missing=False)
            _remove_orphan_port(cloud, network, spec.address)
            return cloud.compute.create_server(
                name=spec.name,
                image_id=image.id,
                flavor_id=flavour.id,
                networks=[{"uuid": network.id, "fixed_ip": spec.address}],
                metadata={reading.OWNER: spec.environment, reading.HOST_KEY: spec.host_key},
                user_data=base64.b64encode(with_keys(spec.user_data, spec.authorized_keys).encode()).decode(),
            )

        made = self._session.call(tried, ask, on=spec.name)
        return self._without_error(tried, self._idle(tried, made, self._of.limits.create_s))

    def _make_power(self, tried: str, server: Any, power: Power) -> None:
        if server.task_state is None and _is_at(power, server):
            return
        if server.compute_host and not self._is_connected(tried, server):
            # Nova would take the request and leave it pending until the host is back.
            saw = f"its host {server.compute_host} is not in touch with the cloud"
            raise Rejected(tried, on=self._at(server.name), saw=saw, next_command="dcctl status")
        server = self._idle(tried, server)
        if _is_at(power, server):
            return
        self._session.call(tried, partial(_ask_for, power, server), on=server.name)
        now = self._idle(tried, server)
        if not _is_at(power, now):
            self._fail(tried, now, f"it is {reading.power_of(now)} ({now.status}) afterwards")

    def _migrate_live(self, tried: str, server: Any, hypervisor: str) -> Any:
        self._session.call(
            tried,
            lambda cloud: cloud.compute.live_migrate_server(server, host=hypervisor, block_migration="auto"),
            on=server.name,
        )
        return self._idle(tried, server, self._of.limits.create_s)

    def _migrate_cold(self, tried: str, server: Any, hypervisor: str) -> Any:
        self._session.call(
            tried, lambda cloud: cloud.compute.migrate_server(server, host=hypervisor), on=server.name
        )
        moved = self._idle(tried, server, self._of.limits.create_s)
        return self._confirm(tried, moved) if moved.status == "VERIFY_RESIZE" else moved

    def _confirm(self, tried: str, server: Any) -> Any:
        self._session.call(tried, lambda cloud: cloud.compute.confirm_server_resize(server), on=server.name)
        return self._session.wait(
            tried,
            lambda: self._idle(tried, server),
            until=lambda now: now.status != "VERIFY_RESIZE",
            on=server.name,
            limit_s=self._of.limits.task_s,
        )

    def _delete(self, tried: str, server: Any) -> None:
        """By force: some clouds keep what was merely deleted for a while, and its address with it."""
        self._session.call(
            tried, lambda cloud: cloud.compute.delete_server(server, force=True), on=server.name
        )
        left = self._session.wait(
            tried,
            lambda: self._again(tried, server),
            until=lambda now: now is None or now.task_state is None,
            on=server.name,
            limit_s=self._of.limits.task_s,
        )
        if left is not None:
            self._fail(tried, left, f"it is still there ({left.status})")

    # Failing

    def _without_error(self, tried: str, server: Any) -> Any:
        if server.status == "ERROR":
            self._fail(tried, server, "it is in ERROR")
        return server

    def _fail(self, tried: str, server: Any, saw: str) -> None:
        """Raise Rejected with the cloud's own reason: the server's fault, or what its last action met."""
        reason = (server.fault or {}).get("message")
        if not reason:
            with contextlib.suppress(DcctlError):  # what failed matters more than why we cannot say why
                reason = self._session.call(tried, lambda cloud: _last_complaint(cloud, server))
        raise Rejected(tried, on=self._at(server.name), saw=f"{saw}: {reason}" if reason else saw)


def _is_at(power: Power, server: Any) -> bool:
    """OFF is only what Nova, too, holds for stopped: it starts such a server only when asked to."""
    if power is Power.OFF and server.vm_state != "stopped":
        return False
    return reading.power_of(server) is power


def _ask_for(power: Power, server: Any, cloud: Any) -> None:
    match power:
        case Power.ON:
            _wake(cloud.compute, server)
        case Power.OFF:
            _stop(cloud.compute, server)
        case _:
            cloud.compute.suspend_server(server)


def _wake(compute: Any, server: Any) -> None:
    match server.vm_state:
        case "suspended":
            compute.resume_server(server)
        case "paused":
            compute.unpause_server(server)
        case "stopped":
            compute.start_server(server)
        case _:  # it runs no more, and Nova did not stop it
            compute.reboot_server(server, "HARD")


def _stop(compute: Any, server: Any) -> None:
    """Nova stops only what it holds for active. Waking it first would let a fenced machine act again."""
    if server.vm_state in reading.ASLEEP:
        compute.reset_server_state(server, "active")
    compute.stop_server(server)


def _remove_orphan_port(cloud: Any, network: Any, address: str) -> None:
    """A port that Nova made for a server that is no more would hold the address for ever."""
    for port in cloud.network.ports(network_id=network.id, fixed_ips=[f"ip_address={address}"]):
        if not (port.device_owner or "").startswith("compute:") or not port.device_id:
            continue
        try:
            cloud.compute.get_server(port.device_id)
        except openstack.exceptions.NotFoundException:
            cloud.network.delete_port(port.id)


def _memory(cloud: Any, provider: str) -> Mapping[str, Any]:
    """Placement's inventory of a hypervisor's memory, in MiB; a provider has its hypervisor's id."""
    inventory: Mapping[str, Any] = _json(
        cloud.placement.get(f"/resource_providers/{provider}/inventories/MEMORY_MB")
    )
    return inventory


def _last_complaint(cloud: Any, server: Any) -> str:
    """What went wrong in the server's latest action, if Nova tells us."""
    for action in cloud.compute.server_actions(server):
        events = cloud.compute.get_server_action(action.request_id, server).events or []
        return next((e["details"] for e in events if e.get("result") == "Error" and e.get("details")), "")
    return ""


def _json(response: Any) -> Any:
    openstack.exceptions.raise_from_response(response)
    return response.json()
