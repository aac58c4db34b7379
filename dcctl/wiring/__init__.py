"""The composition root: which adapter keeps which port, by what the configuration says."""

import os
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dcctl.config.schema import REQUIRED_SECRETS, Configuration, OpenstackSite, VmwareSite
from dcctl.errors import CredentialsRefused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from typing import Any

    from dcctl.adapters.acceptance import TestinfraAcceptance
    from dcctl.adapters.accepted import AcceptedCopies
    from dcctl.adapters.ansible import AnsiblePlaybooks
    from dcctl.adapters.file_tree import DirectoryTree
    from dcctl.adapters.guard import WatchedCommand
    from dcctl.adapters.journal import FileJournal
    from dcctl.adapters.openstack import OpenStackMachines
    from dcctl.adapters.outbox import PostgresOutbox
    from dcctl.adapters.postgres.epoch import PostgresEpochs
    from dcctl.adapters.replication_base import SqliteBase
    from dcctl.adapters.replication_metrics import ReplicationMetrics
    from dcctl.adapters.ssh import SshRemote
    from dcctl.adapters.state import KnownHostsFile, Observations
    from dcctl.adapters.swift_admin import SwiftAdministrator
    from dcctl.adapters.vmware import VMwareMachines
    from dcctl.adapters.workload import PostgresWorkload
    from dcctl.adapters.zookeeper import ZooKeeperLeases
    from dcctl.config.replication import Replication as ReplicationSettings
    from dcctl.domain.deploy import Target
    from dcctl.domain.drill import Undo, WorkloadSpec
    from dcctl.domain.history import Mark, Record
    from dcctl.domain.inventory import Login
    from dcctl.domain.known_hosts import KnownHost
    from dcctl.domain.machine import Server
    from dcctl.domain.replication import Side
    from dcctl.engines.replication_run import OpenStores
    from dcctl.engines.status import System
    from dcctl.ports import Clock, DocumentStore, Fault, Machines, Reach


def machines(
    configuration: Configuration, site: str, *, task_s: float | None = None
) -> "AbstractContextManager[Machines]":
    """The machines of ``site``. No call is made before one is asked for; leaving ends the session.

    ``task_s``: how long a task of the cloud is waited for, where that is not the adapter's own limit.
    """
    settings = configuration.sites[site]
    match settings:
        case OpenstackSite():
            return closing(_openstack(configuration.environment, site, settings, task_s))
        case VmwareSite():
            return closing(_vmware(configuration.environment, site, settings, task_s))


def _openstack(
    environment: str, site: str, settings: OpenstackSite, task_s: float | None
) -> "OpenStackMachines":
    from dcctl.adapters import openstack

    limits = openstack.Limits() if task_s is None else openstack.Limits(task_s=task_s)
    return openstack.OpenStackMachines(
        openstack.OpenStackSite(
            site=site,
            environment=environment,
            network=settings.network.name,
            cloud=settings.cloud,
            clouds_file=str(settings.clouds_file) if settings.clouds_file else None,
            limits=limits,
        )
    )


def _vmware(environment: str, site: str, settings: VmwareSite, task_s: float | None) -> "VMwareMachines":
    from dcctl.adapters import vmware
    from dcctl.config.reference import resolve

    limits = vmware.Limits() if task_s is None else vmware.Limits(task_s=task_s)
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
            limits=limits,
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


def targets(configuration: Configuration) -> "tuple[Target, ...]":
    """The machines that can be deployed."""
    from dcctl.config import expand
    from dcctl.domain.deploy import Target

    return tuple(
        Target(each.name, each.place, each.address, each.roles) for each in expand.machines(configuration)
    )


@contextmanager
def deployment(
    configuration: Configuration, inventory: "Mapping[str, Any]", *, folder: Path, roles: "Sequence[str]"
) -> "Iterator[tuple[AnsiblePlaybooks, TestinfraAcceptance, AcceptedCopies]]":
    """What a deploy works with; it shares one connection per machine, which leaving ends.

    ``inventory`` is the dynamic one, ``folder`` the environment's own (for ``group_vars``). Only the secrets
    of ``roles`` are read; raises ConfigurationError for one that is missing.
    """
    from dcctl import resources
    from dcctl.adapters.acceptance import TestinfraAcceptance
    from dcctl.adapters.accepted import AcceptedCopies
    from dcctl.adapters.ansible import AnsiblePlaybooks
    from dcctl.adapters.openssh import SharedConnections
    from dcctl.adapters.workspace import workspace
    from dcctl.domain.deploy import as_static_inventory

    machines = targets(configuration)
    secrets = _usable_secrets(configuration, roles)
    if (witness := witness_host(configuration)) is not None:
        known_hosts(configuration).record(witness)
    with workspace() as ours:
        addresses = {machine.name: machine.address for machine in machines}
        connections = SharedConnections(ours, addresses, login(configuration))

        def prepared(
            playbooks: Path, hosts: "Mapping[str, Any]", variables: Path, own: Path
        ) -> "tuple[AnsiblePlaybooks, TestinfraAcceptance]":
            own.mkdir(mode=0o700, exist_ok=True)
            return (
                AnsiblePlaybooks(
                    playbooks=playbooks,
                    workspace=own,
                    control_path=connections.control_path,
                    inventory=hosts,
                    secrets=secrets,
                    variables=variables,
                ),
                TestinfraAcceptance(
                    folder=playbooks / "acceptance",
                    workspace=own,
                    ssh_config=connections.config,
                    environment=configuration.environment,
                    machines=machines,
                ),
            )

        now = as_static_inventory(inventory)
        with closing(connections):
            yield (
                *prepared(resources.playbooks(), now, folder, ours),
                AcceptedCopies(
                    configuration.state_directory / "accepted",
                    machines,
                    playbooks=resources.playbooks(),
                    inventory=now,
                    variables=folder,
                    prepared=lambda copy, hosts: prepared(
                        copy / "playbooks", hosts, copy, ours / f"back-{copy.name}"
                    ),
                ),
            )


def _usable_secrets(configuration: Configuration, roles: "Sequence[str]") -> dict[str, str]:
    """The secrets of ``roles``. Raises ConfigurationError for one that is missing or cannot be used."""
    from dcctl.config.on_machines import replication_owners
    from dcctl.config.reference import resolve
    from dcctl.domain.deploy import decide_unusable
    from dcctl.errors import ConfigurationError, Problem

    names = [name for role in roles for name in REQUIRED_SECRETS.get(role, ())]
    references = {name: configuration.secret(name) for name in names}
    if "replication" in roles and configuration.replication is not None:
        references |= replication_owners(configuration.replication)
    secrets = {name: resolve(reference) for name, reference in references.items()}
    problems = [
        Problem(str(references[name]), 0, 0, why)
        for name, secret in secrets.items()
        if (why := decide_unusable(secret, name))
    ]
    if problems:
        raise ConfigurationError(tuple(problems))
    return secrets


APPLICATION = "app"
"""The database and the role in it that clients use (playbooks/roles/postgresql)."""
PATRONI_KEYS = "/dcctl/{environment}/patroni/{environment}"
"""Where Patroni keeps its keys in ZooKeeper (playbooks/roles/postgresql)."""
WRITE_PORT = 5432
"""Where an edge takes writes (playbooks/roles/edge)."""
POOL_PORT = 6432
"""The same through the edge's pool, whose clients are held while the primary moves."""


def system(configuration: Configuration, *, limit_s: float, fault: "Fault | None" = None) -> "System":
    """Everything that can be looked at; ``limit_s`` bounds each look, except at a cloud."""
    from dcctl.adapters import http
    from dcctl.adapters.haproxy import HaproxyEdges
    from dcctl.adapters.patroni import PatroniMembers
    from dcctl.adapters.reach import TcpReach
    from dcctl.adapters.zookeeper import ZooKeeperVoters, read_states
    from dcctl.config import expand
    from dcctl.domain.status import Host
    from dcctl.engines.status import System
    from dcctl.wiring.documents import documents_at_risk

    def addresses(role: str) -> dict[str, str]:
        return {machine.name: machine.address for machine in expand.with_role(configuration, role)}

    reach = TcpReach(limit_s=limit_s)
    voters = ZooKeeperVoters(addresses("zookeeper"), limit_s=limit_s)
    return System(
        hosts=tuple(
            Host(each.name, each.place, each.address, each.roles) for each in expand.machines(configuration)
        ),
        clouds={
            site: until_refused(partial(_servers, configuration, site, reach)) for site in configuration.sites
        },
        reach=reach,
        coordination=voters,
        database=PatroniMembers(
            addresses("postgresql"),
            get=http.get,
            read=voters.read,
            keys=PATRONI_KEYS.format(environment=configuration.environment),
            limit_s=limit_s,
        ),
        edges=HaproxyEdges(addresses("edge"), get=http.get, limit_s=limit_s),
        fault=fault,
        ssh_port=configuration.ssh.port,
        documents=documents_at_risk(configuration, limit_s=limit_s / 2),
        states=partial(read_states, voters.read, configuration.environment, tuple(configuration.sites)),
    )


def until_refused(look: "Callable[[], tuple[Server, ...]]") -> "Callable[[], tuple[Server, ...]]":
    """``look``, which asks no cloud again that has refused us once: they lock accounts that insist."""
    refused: list[CredentialsRefused] = []

    def asked() -> "tuple[Server, ...]":
        if refused:
            raise refused[0]
        try:
            return look()
        except CredentialsRefused as error:
            refused.append(error)
            raise

    return asked


def _servers(configuration: Configuration, site: str, reach: "Reach") -> "tuple[Server, ...]":
    """One look at a cloud, in the thread that asks: its library is loaded there, and its session ended.

    A cloud that nobody can connect to is told from a slow one first, and without its library.
    """
    if (api := _api(configuration.sites[site])) is not None:
        reach.observe_port(*api)
    with machines(configuration, site) as cloud:
        return cloud.observe_servers()


def _api(settings: OpenstackSite | VmwareSite) -> tuple[str, int] | None:
    """Where a cloud's API listens; None where only its own library can tell."""
    match settings:
        case VmwareSite():
            url = urlsplit(settings.endpoint)
        case OpenstackSite():
            url = urlsplit(_auth_url(settings))
    if not url.hostname:
        return None
    return url.hostname, url.port or (443 if url.scheme == "https" else 80)


def _auth_url(settings: OpenstackSite) -> str:
    """Keystone's address where it is written plainly: in the given ``clouds.yaml`` or in ``OS_AUTH_URL``."""
    import yaml

    if settings.cloud is None:
        return os.environ.get("OS_AUTH_URL", "")
    try:
        clouds = yaml.safe_load(settings.clouds_file.read_text()) if settings.clouds_file else {}
        return str(clouds["clouds"][settings.cloud]["auth"]["auth_url"])
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return ""  # the library says what is wrong with it, in its own words


def workload(
    configuration: Configuration,
    spec: "WorkloadSpec",
    *,
    run: str,
    keep: "Callable[[Record | Mark], None]",
    clock: "Clock",
) -> "PostgresWorkload":
    """The client of a drill; ``keep`` gets every line of its history."""
    from dcctl.adapters.workload import Login, PostgresWorkload
    from dcctl.config import expand
    from dcctl.config.reference import resolve

    return PostgresWorkload(
        spec,
        run=run,
        edges={each.name: each.address for each in expand.with_role(configuration, "edge")},
        servers={each.address: each.place for each in expand.with_role(configuration, "postgresql")},
        login=Login(
            user=APPLICATION,
            password=resolve(configuration.secret("postgresql_app")),
            database=APPLICATION,
            port=WRITE_PORT,
        ),
        keep=keep,
        now=clock.now,
    )


def drop_table(configuration: Configuration, table: str, *, clock: "Clock") -> None:
    """Drop the table that a drill's client left. Raises Unreachable when no edge lets us."""
    from dcctl.domain.drill import WorkloadSpec

    client = workload(configuration, WorkloadSpec(), run="", keep=lambda _line: None, clock=clock)
    client.table = table
    client.drop()


def run_folder(configuration: Configuration, run: str) -> Path:
    """Where a run keeps its journal and whatever else it writes."""
    return configuration.state_directory / "runs" / run


def journal_of(configuration: Configuration, run: str, *, clock: "Clock") -> "FileJournal":
    """The journal of an earlier run, to go on in."""
    from dcctl.adapters.journal import FileJournal

    return FileJournal(run_folder(configuration, run) / "journal.jsonl", run, now=clock.now)


def pending_undos(configuration: Configuration) -> "list[tuple[str, Undo]]":
    """What runs that ended left to be undone, the newest run first."""
    from dcctl.adapters.journal import is_active, read_run, runs
    from dcctl.domain import drill

    state = configuration.state_directory
    return [
        (run, undo)
        for run in reversed(runs(state))
        if not is_active(state, run)
        for undo in drill.pending_undos(read_run(state, run))
    ]


def replication_stores(settings: "ReplicationSettings") -> "OpenStores":
    """Opens both clusters for signed requests, in the order of their sites' names: A, then B."""
    from contextlib import AsyncExitStack, asynccontextmanager

    from dcctl.adapters.swift import Keys, SwiftStore
    from dcctl.config.reference import resolve
    from dcctl.domain.replication import Side
    from dcctl.wiring.replication import accounts_at

    realm, realm_key, container_key = settings.signed
    keys = Keys(realm, resolve(realm_key), resolve(container_key))

    @asynccontextmanager
    async def opened() -> "AsyncIterator[Mapping[Side, DocumentStore]]":
        async with AsyncExitStack() as stack:
            yield {
                side: await stack.enter_async_context(
                    SwiftStore(
                        site,
                        store.url,
                        keys,
                        ca_file=str(store.ca_file) if store.ca_file else None,
                        accounts=accounts_at(settings, site),
                    )
                )
                for side, (site, store) in zip(Side, sorted(settings.stores.items()), strict=True)
            }

    return opened


def replication_base(
    configuration: Configuration, settings: "ReplicationSettings", *, exclusive: bool = True
) -> "AbstractContextManager[SqliteBase]":
    """What both clusters last agreed on, in the environment's state directory."""
    from dcctl.wiring.replication import base

    return closing(base(configuration, settings, exclusive=exclusive))


def replication_administrator(
    settings: "ReplicationSettings", site: str, clock: "Clock", *, account: str = "default"
) -> "SwiftAdministrator | None":
    """The account's owner at ``site``; None where the configuration names nobody."""
    from dcctl.adapters.swift_admin import Keystone, SwiftAdministrator
    from dcctl.config.reference import resolve
    from dcctl.domain.replication_account import DEFAULT

    store = settings.stores[site] if account == DEFAULT else settings.accounts[account].stores[site]
    owner, ca_file = store.administrator, settings.stores[site].ca_file
    if owner is None:
        return None
    return SwiftAdministrator(
        site,
        owner.auth_url,
        owner.user,
        resolve(owner.password),
        clock,
        ca_file=str(ca_file) if ca_file else None,
        storage_url=store.url.rstrip("/"),
        keystone=Keystone(owner.project, owner.user_domain, owner.project_domain, owner.region)
        if owner.project
        else None,
    )


def replication_outbox(settings: "ReplicationSettings") -> "AbstractContextManager[PostgresOutbox | None]":
    """What the application tells of its writes; None where no outbox is configured."""
    from contextlib import nullcontext

    from dcctl.adapters.outbox import PostgresOutbox
    from dcctl.config.reference import resolve

    return closing(PostgresOutbox(resolve(settings.outbox))) if settings.outbox else nullcontext()


def replication_metrics(port: int) -> "ReplicationMetrics":
    """Prometheus metrics of the replicator, served on ``port``."""
    from dcctl.adapters.replication_metrics import ReplicationMetrics

    return ReplicationMetrics(port)


def file_tree(directory: Path) -> "DirectoryTree":
    """The files under ``directory``. Raises NotFound when there is none."""
    from dcctl.adapters.file_tree import DirectoryTree

    return DirectoryTree(directory)


def leases(configuration: Configuration, *, session_s: float) -> "ZooKeeperLeases":
    """The environment's roles; the nearest voter is asked first."""
    import socket

    from dcctl.wiring.ensemble import nearest_first

    hosts = nearest_first(configuration, socket.gethostname())
    return leases_at(hosts, configuration.environment, session_s=session_s)


def leases_at(hosts: str, environment: str, *, session_s: float) -> "ZooKeeperLeases":
    """The roles of ``environment`` on these servers (``host:port,…``)."""
    from dcctl.adapters.guard import boot_clock
    from dcctl.adapters.zookeeper import ZooKeeperLeases

    return ZooKeeperLeases(hosts, environment=environment, session_s=session_s, clock=boot_clock)


def epochs(configuration: Configuration) -> "PostgresEpochs":
    """The roles' epochs in the environment's database, through whichever edge leads to it."""
    from dcctl.config import expand
    from dcctl.config.reference import resolve

    edges = expand.with_role(configuration, "edge")
    return epochs_at(
        f"host={','.join(edge.address for edge in edges)} port={WRITE_PORT}"
        f" user={APPLICATION} dbname={APPLICATION}",
        password=resolve(configuration.secret("postgresql_app")),
    )


def epochs_at(conninfo: str, *, password: str | None = None) -> "PostgresEpochs":
    from dcctl.adapters.postgres.epoch import PostgresEpochs

    return PostgresEpochs(conninfo, password=password)


def watched_command(argv: "Sequence[str]") -> "WatchedCommand":
    from dcctl.adapters.guard import WatchedCommand

    return WatchedCommand(argv)
