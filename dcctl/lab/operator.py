"""What the lab's operator holds: an SSH key, the secrets of the stack, and a shell on any machine."""

import json
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dcctl.errors import NotFound, Refused, Unreachable
from dcctl.lab import machine
from dcctl.lab.paths import NAMESPACES, OPERATOR, OPERATOR_NAMESPACE


def _token() -> str:
    return secrets.token_urlsafe(24)


def _seed() -> str:
    """An Ed25519 private key, as the procurement services read it."""
    return secrets.token_hex(32)


def _brokers() -> str:
    """Who may call the procurement services: a JSON object of names and tokens."""
    return json.dumps({"broker": _token(), "drill": _token()})


SECRETS: Mapping[str, Callable[[], str]] = {
    "postgresql_superuser": _token,
    "postgresql_replication": _token,
    "postgresql_app": _token,
    "patroni_api": _token,
    "swift_hash": _token,
    "swift_admin": _token,
    "swift_documents": _token,
    "swift_realm_key": _token,
    "swift_container_key": _token,
    "swift_temp_url": _token,
    "procurement_signing": _seed,
    "procurement_brokers": _brokers,
}
"""What the configured roles need, and how each is made."""

OUTBOX = "host=198.18.1.21,198.18.2.21 port=5432 user=app dbname=app connect_timeout=3 password={}"
"""How the operator reads what the application tells of documents, through either edge of inventories/lab."""
USER = "dcctl"
PRIVATE_KEY = OPERATOR / "id_ed25519"
PUBLIC_KEY = OPERATOR / "id_ed25519.pub"
HOST_KEY = Path("etc/ssh/ssh_host_ed25519_key.pub")


def ensure_operator() -> None:
    """The operator's folder: key pair and secrets, each made once, readable by root only."""
    OPERATOR.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not PUBLIC_KEY.exists():
        private, public = new_key("operator")
        _write_secret(PRIVATE_KEY, private)
        PUBLIC_KEY.write_text(public + "\n")
    for name, make in SECRETS.items():
        path = OPERATOR / "secrets" / name
        if not path.exists():
            _write_secret(path, make())
    outbox = OPERATOR / "secrets" / "outbox"
    if not outbox.exists():
        _write_secret(outbox, OUTBOX.format((OPERATOR / "secrets" / "postgresql_app").read_text().strip()))


def new_key(comment: str) -> tuple[str, str]:
    """A fresh Ed25519 key pair in OpenSSH's formats: private, then public on one line."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return private.decode(), f"{public.decode()} {comment}"


def find(name: str) -> machine.Spec:
    """The machine of that name, host name, address or id. Raises NotFound, Refused when it is ambiguous."""
    specs = [machine.read(id) for id in machine.ids()]
    found = [
        spec for spec in specs if name in (spec.name, spec.hostname, spec.id, spec.address.split("/")[0])
    ]
    if not found:
        names = ", ".join(sorted(spec.name for spec in specs)) or "none"
        raise NotFound(
            "find the machine", on=name, saw=f"the lab has {names}", next_command="dcctl lab status"
        )
    if len(found) > 1:
        ids = ", ".join(spec.id for spec in found)
        raise Refused("find the machine", on=name, reasons=(f"several machines have that name: {ids}",))
    return found[0]


def ssh(spec: machine.Spec, command: tuple[str, ...] = ()) -> list[str]:
    """The command line of a shell, or of one command, on a machine, from inside the operator's network.

    The host key is read off the machine's own disk, as only its hypervisor can: nothing is taken on trust.
    Raises Unreachable while there is none.
    """
    address = spec.address.split("/")[0]
    try:
        host_key = (spec.folder / "upper" / HOST_KEY).read_text()
    except FileNotFoundError:
        raise Unreachable(
            "reach the machine",
            on=spec.name,
            saw=f"it has no host key yet and is {machine.state(spec.id)}",
            next_command=f"dcctl lab ssh {spec.name}",
        ) from None
    known_hosts = spec.folder / "known_hosts"
    known_hosts.write_text(f"{address} {host_key}")
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": "5",
        "GlobalKnownHostsFile": "/dev/null",
        "IdentitiesOnly": "yes",
        "LogLevel": "ERROR",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(known_hosts),
    }
    return [
        *("nsenter", f"--net={NAMESPACES / OPERATOR_NAMESPACE}", "ssh", "-F", "/dev/null"),
        *("-i", str(PRIVATE_KEY), "-l", USER),
        *(part for name, value in options.items() for part in ("-o", f"{name}={value}")),
        *(address, "--", *command),
    ]


def _write_secret(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    path.write_text(text)
