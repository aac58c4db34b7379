"""From a configuration to the probes it asks for: what every role serves is probed. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from dcctl.config import expand
from dcctl.config.expand import Machine
from dcctl.config.probe import CommandProbe, DiskProbe, HttpProbe, OwnProbe, TcpProbe, Timing, TlsProbe
from dcctl.config.schema import Configuration
from dcctl.domain.probe import (
    Check,
    ClockCheck,
    CloudCheck,
    CommandCheck,
    DiskCheck,
    HttpCheck,
    PatroniCheck,
    PostgresqlCheck,
    ProbeSpec,
    SwiftCheck,
    TcpCheck,
    TlsCheck,
    ZookeeperCheck,
)

TIMEOUTS_S: Mapping[type[Check], float] = {
    TlsCheck: 3.0,
    PostgresqlCheck: 3.0,
    SwiftCheck: 5.0,
    CloudCheck: 8.0,
    ClockCheck: 5.0,
    DiskCheck: 5.0,
    CommandCheck: 5.0,
}
"""Limits of what takes longer than a question and an answer: logins, and a library that must be loaded."""
VENDORS = (CloudCheck, DiskCheck, CommandCheck)
"""What needs a vendor's library or SSH, which an agent has not."""
SECRETS = (PostgresqlCheck, SwiftCheck)
"""What needs a secret, which no agent's probe uses."""

SERVED: Mapping[str, Mapping[str, str]] = {
    # role: {what: url}
    "edge": {"edge": "http://{address}:8404/"},
    "agent": {"agent": "http://{address}:8405/healthz"},
    "procurement": {
        "cdb": "http://{address}:8080/readyz",
        "documents": "http://{address}:8081/readyz",
        "auction": "http://{address}:8082/readyz",
    },
    "swift": {"proxy": "http://{address}:8090/healthcheck"},
    "prometheus": {"prometheus": "http://{address}:9090/-/ready"},
}
"""What the roles of our playbooks serve over HTTP, on every machine that carries them."""
UNITS: Mapping[str, str] = {"replication": "dcctl-replication"}
"""What runs on every machine with a role, and serves where it leads only."""
DATED = {"swift": "http://{address}:8090/healthcheck", "postgresql": "http://{address}:8008/patroni"}
"""Where an answer carries a date, by role."""
CLIENTS = "http://{address}:8000/api/2.5/tenders?limit=1"
"""What a client asks an edge for, all the way to the database."""
DOCUMENTS_USER = "documents:app"
"""The application's account, with ``swift.auth: tempauth`` (playbooks/roles/swift)."""
DATABASE = "app"
"""The database and the role in it that clients use (playbooks/roles/postgresql)."""


@dataclass(frozen=True, slots=True)
class Api:
    """Where a site's cloud answers, and the authority of its certificate (empty: one the system knows)."""

    url: str
    ca_file: str = ""
    verified: bool = True


def probes(configuration: Configuration, *, apis: Mapping[str, Api], operator: bool) -> tuple[ProbeSpec, ...]:
    """Every probe that can be made, as the operator or as an agent, which has neither a secret nor a vendor's
    library: it asks a cloud's API what versions it speaks, and reads clocks off HTTP answers.

    ``apis``: by site, its cloud's API, where it is known.
    """
    found = [
        *(spec for machine in expand.machines(configuration) for spec in _machine(configuration, machine)),
        *(spec for site in configuration.sites for spec in _cloud(configuration, site, apis.get(site))),
        *(spec for name, own in configuration.probes.own.items() for spec in _own(configuration, name, own)),
    ]
    return tuple(spec for spec in found if _may(spec.check, operator=operator))


def _may(check: Check, *, operator: bool) -> bool:
    if isinstance(check, ClockCheck):
        return operator == (not check.url)
    return operator or not isinstance(check, (*VENDORS, *SECRETS))


def _machine(configuration: Configuration, machine: Machine) -> Iterator[ProbeSpec]:
    def spec(what: str, check: Check) -> ProbeSpec:
        return _timed(configuration, ProbeSpec(f"{machine.name}/{what}", machine.name, machine.place, check))

    address, roles = machine.address, machine.roles
    yield spec("ssh", TcpCheck(address, configuration.ssh.port))
    yield spec("clock", ClockCheck(machine.name))
    yield spec("disk", DiskCheck(machine.name))
    for role, url in DATED.items():
        if role in roles:
            yield spec("date", ClockCheck(machine.name, url.format(address=address)))
    if "zookeeper" in roles:
        yield spec("zookeeper", ZookeeperCheck(address, 2181))
    if "postgresql" in roles:
        yield spec("patroni", PatroniCheck(f"http://{address}:8008"))
    for role, served in SERVED.items():
        if role in roles:
            for what, url in served.items():
                yield spec(what, HttpCheck(url.format(address=address)))
    if "edge" in roles:
        yield spec(
            "writes", PostgresqlCheck(address, 5432, DATABASE, DATABASE, "postgresql_app", primary=True)
        )
        if expand.with_role(configuration, "procurement"):
            yield spec("clients", HttpCheck(CLIENTS.format(address=address)))
    if "swift" in roles and configuration.swift.auth == "tempauth":
        auth = f"http://{address}:8090/auth/v1.0"
        yield spec("swift", SwiftCheck(auth, DOCUMENTS_USER, "swift_documents"))


def _cloud(configuration: Configuration, site: str, api: Api | None) -> Iterator[ProbeSpec]:
    def spec(what: str, check: Check) -> ProbeSpec:
        return _timed(configuration, ProbeSpec(f"{site}/{what}", site, site, check))

    yield spec("cloud", CloudCheck(site))
    url = urlsplit(api.url if api else "")
    if api is None or not url.hostname:
        return
    port = url.port or (443 if url.scheme == "https" else 80)
    yield spec("api", TcpCheck(url.hostname, port))
    if api.verified:
        yield spec("versions", HttpCheck(api.url, status=(), ca_file=api.ca_file))
        if url.scheme == "https":
            yield spec("certificate", TlsCheck(url.hostname, port, api.ca_file))


def _own(configuration: Configuration, name: str, own: OwnProbe) -> Iterator[ProbeSpec]:
    match own:
        case HttpProbe():
            check: Check = HttpCheck(own.url, own.status, own.body or "", str(own.ca_file or ""))
            targets = [(own.site, own.site, check)]
        case TcpProbe():
            targets = [(own.site, own.site, TcpCheck(own.address, own.port))]
        case TlsProbe():
            check = TlsCheck(own.address, own.port, str(own.ca_file or ""), own.days)
            targets = [(own.site, own.site, check)]
        case DiskProbe():
            targets = [
                (each.name, each.place, DiskCheck(each.name, own.path, own.used_percent))
                for each in expand.with_role(configuration, own.role)
            ]
        case CommandProbe():
            targets = [
                (each.name, each.place, CommandCheck(each.name, own.run, own.status, own.output or ""))
                for each in expand.with_role(configuration, own.role)
            ]
    for target, place, each in targets:
        yield _patient(_timed(configuration, ProbeSpec(f"{target}/{name}", target, place, each)), own)


def _timed(configuration: Configuration, spec: ProbeSpec) -> ProbeSpec:
    spec = replace(spec, timeout_s=TIMEOUTS_S.get(type(spec.check), spec.timeout_s))
    timing = {str(kind): each for kind, each in configuration.probes.timing.items()}.get(spec.kind)
    return _patient(spec, timing) if timing is not None else spec


def _patient(spec: ProbeSpec, timing: Timing) -> ProbeSpec:
    return replace(
        spec,
        timeout_s=timing.timeout.total_seconds() if timing.timeout is not None else spec.timeout_s,
        rise=timing.rise or spec.rise,
        fall=timing.fall or spec.fall,
    )
