"""The ssh client's configuration for programs that use it, and the connections that they share.

One authenticated connection per machine serves a whole deploy: Ansible opens it, the acceptance checks go
through it. Host keys are those known from provisioning; an unknown or a changed one is refused.
"""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from dcctl.domain.inventory import Login

CONNECT_S = 5
PERSIST_S = 15
"""How long an idle connection stays; one whose deploy was killed ends by this alone."""


class SharedConnections:
    """Configuration and control sockets under ``folder``, which is nobody else's and has a short path (a
    socket's may have 108 bytes). ``addresses`` are by machine."""

    def __init__(self, folder: Path, addresses: Mapping[str, str], login: Login) -> None:
        self.control_path = f"{folder}/%C"
        self.config = folder / "ssh_config"
        self._machines = tuple(addresses)
        self.config.write_text(render(addresses, login, self.control_path), encoding="utf-8")

    def close(self) -> None:
        """End the connections that are still open; a machine that never had one is passed over."""
        enders = [
            subprocess.Popen(
                ["ssh", "-F", str(self.config), "-O", "exit", machine],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for machine in self._machines
        ]
        for ender in enders:
            try:
                ender.wait(timeout=CONNECT_S)
            except subprocess.TimeoutExpired:
                ender.kill()
                ender.wait()


def render(addresses: Mapping[str, str], login: Login, control_path: str) -> str:
    """An ssh_config(5) in which every machine goes by its name."""
    hosts = [f"Host {machine}\n  HostName {address}\n" for machine, address in addresses.items()]
    return (
        "\n".join(hosts)
        + f"""
Host *
  User {login.user}
  Port {login.port}
  IdentityFile "{login.private_key_file}"
  IdentitiesOnly yes
  BatchMode yes
  StrictHostKeyChecking yes
  UserKnownHostsFile "{login.known_hosts_file}"
  GlobalKnownHostsFile /dev/null
  ConnectTimeout {CONNECT_S}
  ServerAliveInterval 5
  ServerAliveCountMax 3
  ControlMaster auto
  ControlPath "{control_path}"
  ControlPersist {PERSIST_S}
"""
    )
