"""The composition root: which adapter keeps which port, by what the configuration says."""

from contextlib import AbstractContextManager, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dcctl.config.schema import Configuration, OpenstackSite, VmwareSite

if TYPE_CHECKING:
    from dcctl.adapters.history import HistoryFile
    from dcctl.adapters.journal import FileJournal
    from dcctl.adapters.openstack import OpenStackMachines
    from dcctl.adapters.ssh import SshRemote
    from dcctl.adapters.state import KnownHostsFile, Observations
    from dcctl.adapters.vmware import VMwareMachines
    from dcctl.adapters.workload import PostgresWorkload
    from dcctl.domain.drill import WorkloadSpec
    from dcctl.domain.inventory import Login
    from dcctl.domain.known_hosts import KnownHost
    from dcctl.domain.machine import Server
    from dcctl.engines.status import System
    from dcctl.ports import Clock, Fault, Machines


def machines(configuration: Configuration, site: str) -> "AbstractContextManager[Machines]":
    """The machines of ``site``. No call is made before one is asked for; leaving ends the session."""
    settings = configuration.sites[site]
    match settings:
        case OpenstackSite():
            return closing(_openstack(configuration.environment, site, settings))
        case VmwareSite():
            return closing(_vmware(configuration.environment, site, settings))


def _openstack(environment: str, site: str, settings: OpenstackSite) -> "OpenStackMachines":
    from dcctl.adapters import openstack

    return openstack.OpenStackMachines(
        openstack.OpenStackSite(
            site=site,
            environment=environment,
            network=settings.network.name,
            cloud=settings.cloud,
            clouds_file=str(settings.clouds_file) if settings.clouds_file else None,
        )
    )


def _vmware(environment: str, site: str, settings: VmwareSite) -> "VMwareMachines":
    from dcctl.adapters import vmware
    from dcctl.config.reference import resolve

    return vmware.VMwareMachines(
        vmware.VMwareSite(
            site=site,
            environment=environment,
            endpoint=settings.endpoint,
            username=settings.username,
            password=resolve(settings.password),
            datacenter=settings.datacenter,
            cluster=settings.cluster,
            folder=settings.folder,
            cidr=str(settings.network.cidr),
            gateway=str(settings.network.gateway),
            ca_file=str(settings.ca_file or ""),
            verify_tls=settings.verify_tls,
        )
    )


def journal(
    configuration: Configuration, *, what: str, clock: "Clock"
) -> "AbstractContextManager[FileJournal]":
    """A new run's journal; while entered, no other run of this environment is active on this machine.

    ``what`` is one word for the run's name. Raises Refused, which names the run that is active.
    """
    from dcctl.adapters.journal import start_run

    return start_run(
        configuration.state_directory, environment=configuration.environment, what=what, now=clock.now
    )


def known_hosts_path(configuration: Configuration) -> Path:
    """The file of trusted host keys, for programs that read it themselves (ssh, Ansible)."""
    return configuration.state_directory / "known_hosts"


def known_hosts(configuration: Configuration) -> "KnownHostsFile":
    from dcctl.adapters.state import KnownHostsFile

    return KnownHostsFile(known_hosts_path(configuration))


def observations(configuration: Configuration) -> "Observations":
    """What each site last showed."""
    from dcctl.adapters.state import Observations

    return Observations(configuration.state_directory / "observations")


def witness_host(configuration: Configuration) -> "KnownHost | None":
    """The witness and its host key, which the configuration gives. ConfigurationError when it cannot."""
    from dcctl.config.reference import resolve
    from dcctl.domain.known_hosts import KnownHost, plain_host_key
    from dcctl.errors import ConfigurationError, Problem

    witness = configuration.witness
    if witness is None:
        return None
    try:
        host_key = plain_host_key(resolve(witness.host_key))
    except ValueError as error:
        raise ConfigurationError((Problem(str(witness.host_key), 0, 0, str(error)),)) from error
    return KnownHost(witness.name, str(witness.address), configuration.ssh.port, host_key)


def login(configuration: Configuration) -> "Login":
    """How every machine is logged in to."""
    from dcctl.domain.inventory import Login

    return Login(
        user=configuration.ssh.user,
        port=configuration.ssh.port,
        private_key_file=str(configuration.ssh.private_key.path),
        known_hosts_file=str(known_hosts_path(configuration)),
    )


def remote(configuration: Configuration, name: str) -> "SshRemote":
    """Commands on machine ``name``, at its recorded host key. KeyError for a name that is not configured."""
    from dcctl.adapters.ssh import SshRemote
    from dcctl.config import expand

    addresses = {machine.name: machine.address for machine in expand.machines(configuration)}
    return SshRemote(name, addresses[name], login(configuration))


APPLICATION = "app"
"""The database and the role in it that clients use (playbooks/roles/postgresql)."""
WRITE_PORT = 5432
"""Where an edge takes writes (playbooks/roles/edge)."""


def system(configuration: Configuration, *, limit_s: float, fault: "Fault | None" = None) -> "System":
    """Everything that can be looked at; ``limit_s`` bounds each look, except at a cloud."""
    from dcctl.adapters import http
    from dcctl.adapters.haproxy import HaproxyEdges
    from dcctl.adapters.patroni import PatroniMembers
    from dcctl.adapters.reach import TcpReach
    from dcctl.adapters.zookeeper import ZooKeeperVoters
    from dcctl.config import expand
    from dcctl.domain.status import Host
    from dcctl.engines.status import System

    def addresses(role: str) -> dict[str, str]:
        return {machine.name: machine.address for machine in expand.with_role(configuration, role)}

    return System(
        hosts=tuple(
            Host(each.name, each.place, each.address, each.roles) for each in expand.machines(configuration)
        ),
        clouds={site: partial(_servers, configuration, site) for site in configuration.sites},
        reach=TcpReach(limit_s=limit_s),
        coordination=ZooKeeperVoters(addresses("zookeeper"), limit_s=limit_s),
        database=PatroniMembers(addresses("postgresql"), get=http.get, limit_s=limit_s),
        edges=HaproxyEdges(addresses("edge"), get=http.get, limit_s=limit_s),
        fault=fault,
        ssh_port=configuration.ssh.port,
    )


def _servers(configuration: Configuration, site: str) -> "tuple[Server, ...]":
    """One look at a cloud, in the thread that asks: its library is loaded there, and its session ended."""
    with machines(configuration, site) as cloud:
        return cloud.observe_servers()


def workload(
    configuration: Configuration, spec: "WorkloadSpec", *, run: str, history: "HistoryFile", clock: "Clock"
) -> "PostgresWorkload":
    """The client of a drill; everything it notes goes to ``history``."""
    from dcctl.adapters.workload import Login, PostgresWorkload
    from dcctl.config import expand
    from dcctl.config.reference import resolve

    client = PostgresWorkload(
        spec,
        run=run,
        edges={each.name: each.address for each in expand.with_role(configuration, "edge")},
        login=Login(
            user=APPLICATION,
            password=resolve(configuration.secret("postgresql_app")),
            database=APPLICATION,
            port=WRITE_PORT,
        ),
        keep=history.keep,
        now=clock.now,
    )
    history.begin(client.history())
    return client
