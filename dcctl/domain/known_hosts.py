"""The host keys that dcctl trusts, as OpenSSH's ``known_hosts`` (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").

Every key in it came from provisioning or from the configuration, none from a first connection. The file
is dcctl's own and is rewritten whole: it holds nothing that is not told here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownHost:
    """``host_key`` is the key's type and its base64, ``ssh-ed25519 AAAA…``."""

    name: str
    address: str
    port: int
    host_key: str


def parse(text: str) -> tuple[KnownHost, ...]:
    """The hosts in ``text``; lines that dcctl did not write are passed over."""
    hosts = []
    for line in text.splitlines():
        match line.split():
            case [patterns, kind, key] if patterns.count(",") == 1 and not line.startswith(("#", "@", "|")):
                name, where = patterns.split(",")
                address, port = _unbracketed(where)
                hosts.append(KnownHost(_unbracketed(name)[0], address, port, f"{kind} {key}"))
            case _:
                pass
    return tuple(hosts)


def render(hosts: Iterable[KnownHost]) -> str:
    """The file's text, sorted by name."""
    lines = [
        f"{_bracketed(host.name, host.port)},{_bracketed(host.address, host.port)} {host.host_key}\n"
        for host in sorted(hosts, key=lambda host: host.name)
    ]
    return "".join(lines)


def recorded(hosts: Iterable[KnownHost], new: KnownHost) -> tuple[KnownHost, ...]:
    """``hosts`` with ``new``, and without whatever bore its name or stood at its address before."""
    kept = [
        host
        for host in hosts
        if host.name != new.name and (host.address, host.port) != (new.address, new.port)
    ]
    return (*kept, new)


def by_name(hosts: Iterable[KnownHost]) -> Mapping[str, KnownHost]:
    return {host.name: host for host in hosts}


def plain_host_key(text: str) -> str:
    """Type and base64 of a public key line, without its comment. ValueError when it is no such line."""
    parts = text.split()
    if len(parts) < 2 or not parts[0].startswith(("ssh-", "ecdsa-")):  # noqa: PLR2004  # type and key
        raise ValueError("is not a public key of the form 'ssh-ed25519 AAAA…'")
    return f"{parts[0]} {parts[1]}"


SSH_PORT = 22


def _bracketed(host: str, port: int) -> str:
    return host if port == SSH_PORT else f"[{host}]:{port}"


def _unbracketed(pattern: str) -> tuple[str, int]:
    if pattern.startswith("["):
        host, _colon, port = pattern[1:].partition("]:")
        return host, int(port)
    return pattern, SSH_PORT
