"""A cloud in memory: hypervisors, servers of ours and of others, and the ways in which a cloud fails.

``FakeCloud`` is the world and what a test disturbs; ``FakeMachines`` is ``ports.Machines`` over it.
"""

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from dcctl.domain.machine import Hypervisor, Power, PowerReading, Server, ServerSpec, Size
from dcctl.errors import CredentialsRefused, DcctlError, NotFound, Refused, Rejected, Unreachable

GIB = 2**30


def _wall_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class FakeCloud:
    """One site. Its fields are the faults: set them, and calls through ``FakeMachines`` feel them.

    ``fails`` maps a server's name to the error that the next ``ensure_server`` of it raises, after it
    has left a half-made server behind. ``calls`` lists every change that was made, in order.
    """

    site: str
    hosts: tuple[str, ...] = ("host-1", "host-2", "host-3")
    now: Callable[[], datetime] = _wall_now
    dark: bool = False
    disconnected: set[str] = field(default_factory=set)
    fails: dict[str, DcctlError] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    servers: dict[str, Server] = field(default_factory=dict)
    """By id."""

    def __post_init__(self) -> None:
        self._ids = itertools.count(1)
        self.lock = threading.RLock()

    def put(
        self, spec: ServerSpec, *, owner: str | None, leftover: bool = False, power: Power = Power.ON
    ) -> Server:
        """Place a server made of ``spec``, whoever owns it, on the host that holds fewest."""
        with self.lock:
            server = Server(
                id=f"{self.site}-{next(self._ids)}",
                name=spec.name,
                site=self.site,
                owner=owner,
                power=Power.UNKNOWN if leftover else power,
                status="BUILD" if leftover else power.upper(),
                hypervisor="" if leftover else min(self._usable(), key=lambda host: len(self._on(host))),
                address=None if leftover else spec.address,
                size=spec.size,
                host_key=spec.host_key,
                leftover=leftover,
            )
            self.servers[server.id] = server
            return server

    def hypervisor(self, name: str) -> Hypervisor:
        sizes = [s.size or Size(0, 0, 0) for s in self._on(name)]
        return Hypervisor(
            name=name,
            site=self.site,
            usable=name not in self.disconnected,
            status="disconnected" if name in self.disconnected else "up",
            vcpus=16,
            vcpus_used=sum(size.vcpus for size in sizes),
            memory_bytes=64 * GIB,
            memory_used_bytes=sum(size.memory_bytes for size in sizes),
            memory_reserved_bytes=GIB // 2,
            servers=len(sizes),
        )

    def _usable(self) -> list[str]:
        return [host for host in self.hosts if host not in self.disconnected]

    def _on(self, host: str) -> list[Server]:
        return [server for server in self.servers.values() if server.hypervisor == host]


class FakeMachines:
    """``ports.Machines`` of one environment in a ``FakeCloud``."""

    def __init__(self, cloud: FakeCloud, environment: str, *, password_is_right: bool = True) -> None:
        self.site = cloud.site
        self._cloud = cloud
        self._environment = environment
        self._password_is_right = password_is_right

    def observe_servers(self) -> tuple[Server, ...]:
        self._enter("list the servers", "")
        with self._cloud.lock:
            return tuple(sorted(self._cloud.servers.values(), key=lambda server: (server.name, server.id)))

    def observe_hypervisors(self) -> tuple[Hypervisor, ...]:
        self._enter("list the hypervisors", "")
        with self._cloud.lock:
            return tuple(self._cloud.hypervisor(name) for name in sorted(self._cloud.hosts))

    def observe_power(self, name: str) -> PowerReading:
        asked_at = self._cloud.now()
        self._enter("read the power state", name)
        server = self._ours("read the power state", name)
        return PowerReading(
            server=name,
            power=server.power,
            read_at=self._cloud.now(),
            asked_at=asked_at,
            hypervisor=server.hypervisor,
            hypervisor_connected=bool(server.hypervisor)
            and server.hypervisor not in self._cloud.disconnected,
            task_pending=server.leftover,
            automatic_restart=False,
        )

    def ensure_server(self, spec: ServerSpec) -> Server:
        tried = "create the server"
        with self._cloud.lock:
            self._enter(tried, spec.name)
            for server in self._named(spec.name):
                self._refuse_foreign(tried, server)
                if server.leftover:
                    self._remove(server)
                else:
                    return self._powered(server, Power.ON)
            if (fault := self._cloud.fails.pop(spec.name, None)) is not None:
                self._cloud.put(spec, owner=self._environment, leftover=True)
                raise fault
            self._cloud.calls.append(("create", spec.name))
            return self._cloud.put(spec, owner=self._environment)

    def ensure_power(self, name: str, power: Power) -> PowerReading:
        tried = f"power {power} the server"
        with self._cloud.lock:
            self._enter(tried, name)
            server = self._ours(tried, name)
            if server.hypervisor in self._cloud.disconnected and server.power is not power:
                raise Rejected(tried, on=self._on(name), saw=f"host {server.hypervisor} is disconnected")
            self._powered(server, power)
        return self.observe_power(name)

    def move_server(self, name: str, hypervisor: str) -> Server:
        tried = f"move the server to {hypervisor}"
        with self._cloud.lock:
            self._enter(tried, name)
            server = self._ours(tried, name)
            if hypervisor not in self._cloud.hosts:
                raise NotFound(tried, on=self._on(name), saw=f"there is no host {hypervisor}")
            if hypervisor in self._cloud.disconnected:
                raise Rejected(tried, on=self._on(name), saw=f"host {hypervisor} is disconnected")
            if server.hypervisor == hypervisor:
                return server
            self._cloud.calls.append(("move", name))
            return self._keep(replace(server, hypervisor=hypervisor))

    def delete_server(self, name: str) -> None:
        tried = "delete the server"
        with self._cloud.lock:
            self._enter(tried, name)
            for server in self._named(name):
                self._refuse_foreign(tried, server)
                self._remove(server)

    def _on(self, name: str) -> str:
        return f"{self.site}: {name}" if name else self.site

    def _enter(self, tried: str, name: str) -> None:
        if self._cloud.dark:
            raise Unreachable(
                tried, on=self._on(name), saw="no answer from the cloud", next_command="dcctl status"
            )
        if not self._password_is_right:
            raise CredentialsRefused(tried, on=self._on(name), saw="the cloud refused the password")

    def _named(self, name: str) -> list[Server]:
        return [server for server in self._cloud.servers.values() if server.name == name]

    def _ours(self, tried: str, name: str) -> Server:
        servers = self._named(name)
        if not servers:
            raise NotFound(tried, on=self._on(name), saw="there is no such server")
        self._refuse_foreign(tried, servers[0])
        return servers[0]

    def _refuse_foreign(self, tried: str, server: Server) -> None:
        if server.owner != self._environment:
            whose = f"{server.owner!r}" if server.owner else "nobody that dcctl knows"
            raise Refused(tried, on=self._on(server.name), reasons=(f"the server belongs to {whose}",))

    def _powered(self, server: Server, power: Power) -> Server:
        if server.power is power:
            return server
        self._cloud.calls.append((f"power {power}", server.name))
        return self._keep(replace(server, power=power, status=power.upper()))

    def _remove(self, server: Server) -> None:
        self._cloud.calls.append(("delete", server.name))
        del self._cloud.servers[server.id]

    def _keep(self, server: Server) -> Server:
        self._cloud.servers[server.id] = server
        return server
