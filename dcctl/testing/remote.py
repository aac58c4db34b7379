"""Machines in memory that answer over SSH: those of a ``FakeCloud`` that are on."""

import threading
from collections.abc import Sequence

from dcctl.domain.known_hosts import KnownHost, recorded
from dcctl.domain.machine import Power
from dcctl.errors import CredentialsRefused, Unreachable
from dcctl.ports import KnownHosts
from dcctl.testing.machines import FakeCloud


class MemoryKnownHosts:
    """``ports.KnownHosts`` without a disk."""

    def __init__(self) -> None:
        self._hosts: tuple[KnownHost, ...] = ()
        self._lock = threading.Lock()

    def observe(self) -> tuple[KnownHost, ...]:
        return self._hosts

    def record(self, host: KnownHost) -> None:
        with self._lock:
            self._hosts = recorded(self._hosts, host)

    def forget(self, name: str) -> None:
        with self._lock:
            self._hosts = tuple(host for host in self._hosts if host.name != name)


class FakeRemote:
    """``ports.Remote`` to one machine: every command succeeds and says nothing.

    ``silent`` names the machines on which no sshd ever answers.
    """

    def __init__(
        self,
        name: str,
        clouds: Sequence[FakeCloud],
        hosts: KnownHosts,
        silent: frozenset[str] = frozenset(),
    ) -> None:
        self._name = name
        self._clouds = clouds
        self._hosts = hosts
        self._silent = silent

    def run(self, argv: Sequence[str], *, limit_s: float, stdin: str = "") -> tuple[int, str, str]:  # noqa: ARG002
        tried = f"run {argv[0]}"
        trusted = {host.name: host.host_key for host in self._hosts.observe()}.get(self._name)
        servers = [s for cloud in self._clouds if not cloud.dark for s in tuple(cloud.servers.values())]
        for server in servers:
            if server.name == self._name and server.power is Power.ON and self._name not in self._silent:
                if server.host_key != trusted:
                    raise CredentialsRefused(tried, on=self._name, saw="its host key is not the recorded one")
                return 0, "", ""
        raise Unreachable(tried, on=self._name, saw="no answer on port 22")
