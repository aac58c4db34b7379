"""What a machine is told at its first boot, as a cloud-init document.

It carries the machine's private host key, so it is a secret: it goes to the cloud with the request that
creates the server and is never printed, journalled or kept. Keys used here are of cloud-init's modules
"Set Hostname", "SSH" and "Users and Groups" (docs.cloud-init.io, module reference).
"""

from dataclasses import dataclass, field

import yaml


@dataclass(frozen=True, slots=True)
class HostKeyPair:
    """An SSH host key: ``public`` as "ssh-ed25519 AAAA…", ``private`` as an OpenSSH PEM text."""

    public: str
    private: str = field(repr=False)


def render_user_data(
    *, hostname: str, user: str, authorized_keys: tuple[str, ...], host_key: HostKeyPair
) -> str:
    """A ``#cloud-config``: the host's name and key, and ``user`` who may log in with a key and use sudo."""
    document = {
        "hostname": hostname,
        "ssh_pwauth": False,
        "disable_root": True,
        # The one host key that is known in advance, and no others made beside it.
        "ssh_deletekeys": True,
        "ssh_genkeytypes": [],
        "ssh_keys": {"ed25519_private": host_key.private, "ed25519_public": f"{host_key.public} {hostname}"},
        "users": [
            {
                "name": user,
                "gecos": "dcctl",
                "shell": "/bin/bash",
                "lock_passwd": True,
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "ssh_authorized_keys": list(authorized_keys),
            }
        ],
    }
    return "#cloud-config\n" + yaml.safe_dump(document, sort_keys=False)
