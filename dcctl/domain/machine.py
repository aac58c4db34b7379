"""Machines: what should exist, what does exist, and what counts as proof that one is off.

Units: memory and disk in bytes, instants in aware UTC.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Power(StrEnum):
    """A machine's power as its hypervisor reports it."""

    ON = "on"
    OFF = "off"
    SUSPENDED = "suspended"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Size:
    """What a machine is given."""

    vcpus: int
    memory_bytes: int
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """One machine as the configuration wants it.

    ``name`` is ``<place>-<group>-<number>`` and unique in an environment. ``environment`` is written
    on the server as the ownership mark. ``flavour`` is the cloud's own name for the size where it has
    one (OpenStack), else empty. ``user_data`` is a cloud-init document and is secret: it carries the
    machine's private host key. ``host_key`` is the public half, as in ``known_hosts`` ("ssh-ed25519 AAAA…").
    """

    name: str
    environment: str
    site: str
    group: str
    roles: tuple[str, ...]
    size: Size
    flavour: str
    image: str
    network: str
    address: str
    authorized_keys: tuple[str, ...] = ()
    host_key: str = ""
    user_data: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Server:
    """One machine as its cloud shows it. ``owner`` is the environment that marked it, or None.

    ``size`` and ``address`` are None where the cloud does not say; ``hypervisor`` is empty where the
    machine is placed nowhere. ``status`` is the cloud's own word, for people. ``leftover`` says that this
    is what a create that failed midway left, which ``ensure_server`` would remove and make anew.
    """

    id: str
    name: str
    site: str
    owner: str | None
    power: Power
    status: str
    hypervisor: str
    address: str | None
    size: Size | None
    host_key: str
    leftover: bool = False


@dataclass(frozen=True, slots=True)
class LastSeen:
    """What a site showed when it last answered; ``at`` by our clock."""

    site: str
    at: datetime
    servers: tuple[Server, ...]


@dataclass(frozen=True, slots=True)
class Hypervisor:
    """Capacity of one host: what it has, what is reserved for itself, what its machines were given."""

    name: str
    site: str
    usable: bool
    """Up, connected, enabled and not in maintenance."""
    status: str
    vcpus: int
    vcpus_used: int
    memory_bytes: int
    memory_used_bytes: int
    memory_reserved_bytes: int
    servers: int


@dataclass(frozen=True, slots=True)
class PowerReading:
    """A power state with everything that decides whether it proves anything (DESIGN promise 3)."""

    server: str
    power: Power
    read_at: datetime
    """When the answer arrived, by our clock."""
    asked_at: datetime
    """When the request that produced this reading was sent, by our clock."""
    hypervisor: str
    hypervisor_connected: bool
    task_pending: bool
    automatic_restart: bool | None
    """Whether the cloud would start it again by itself; None when it does not say."""


def decide_power_off_proven(reading: PowerReading, *, requested_at: datetime) -> tuple[str, ...]:
    """Why ``reading`` does not prove that the machine is off; empty when it does.

    The rule is DESIGN promise 3: the state reads "off", the host that says so is itself connected, no
    task is pending, the reading was asked for after our own request, and automatic restart is off.
    """
    reasons = []
    if reading.power is not Power.OFF:
        reasons.append(f"{reading.server} reads {reading.power}, not off")
    if not reading.hypervisor_connected:
        reasons.append(f"hypervisor {reading.hypervisor or 'unknown'} is not connected to its cloud")
    if reading.task_pending:
        reasons.append(f"{reading.server} has a task pending")
    if reading.asked_at <= requested_at:
        reasons.append("the reading is not newer than the power-off request")
    if reading.automatic_restart is not False:
        reasons.append("automatic restart is not known to be off")
    return tuple(reasons)
