"""What ``dcctl.yaml`` may say, as frozen values (docs/reference/configuration.md).

One key at a time is judged here; what must hold between keys is in ``rules``. Paths and references are
absolute after validation: the validation context carries ``directory``, the folder of the environment's
``dcctl.yaml``, and ``state_base``, the folder under which a relative ``state_directory`` lies.
"""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field, Strict

from dcctl.config.demand import Demand
from dcctl.config.fields import (
    Address,
    Addresses,
    Bytes,
    Cidr,
    Count,
    Duration,
    Endpoint,
    File,
    Flag,
    IdentityEndpoint,
    Name,
    NamespaceName,
    PrivateKeyFile,
    PublicFile,
    Secret,
    SecretName,
    Section,
    SiteName,
    SiteNames,
    StateDirectory,
    Text,
    User,
    without_repeats,
)
from dcctl.config.probe import Probes
from dcctl.config.reference import Reference
from dcctl.config.replication import Replication
from dcctl.config.safety import Rules

KNOWN_ROLES = (
    "zookeeper",
    "postgresql",
    "edge",
    "swift",
    "procurement",
    "replication",
    "agent",
    "prometheus",
)
"""The roles that a group of machines may carry, in the order they are deployed; ``base`` is on every
machine without being written."""

NEEDED_ROLES = ("zookeeper", "postgresql", "edge")
"""The roles without which there is nothing to fail over."""

REQUIRED_SECRETS: Mapping[str, tuple[str, ...]] = {
    "postgresql": ("postgresql_superuser", "postgresql_replication", "postgresql_app", "patroni_api"),
    "swift": (
        "swift_hash",
        "swift_admin",
        "swift_documents",
        "swift_realm_key",
        "swift_container_key",
        "swift_temp_url",
    ),
    "procurement": (
        "postgresql_app",
        "procurement_brokers",
        "procurement_signing",
        "swift_documents",
        "swift_temp_url",
    ),
    "replication": ("postgresql_app", "swift_realm_key", "swift_container_key"),
    "edge": ("postgresql_app",),
    "agent": ("postgresql_app", "patroni_api"),
}
"""The secrets that each role uses, by their names under ``secrets``."""

WITNESS_PLACE = "witness"
"""The name of the place where the witness stands, beside the sites' own names."""


Role: TypeAlias = Literal[
    "zookeeper", "postgresql", "edge", "swift", "procurement", "replication", "agent", "prometheus"
]
Roles: TypeAlias = Annotated[tuple[Role, ...], AfterValidator(without_repeats)]
WitnessRole: TypeAlias = Literal["zookeeper", "agent"]
WitnessRoles: TypeAlias = Annotated[tuple[WitnessRole, ...], AfterValidator(without_repeats)]


class Ssh(Section):
    """How dcctl logs in to machines."""

    user: User = "dcctl"
    """The account that provisioning creates and that may use sudo."""
    private_key: PrivateKeyFile
    """Its key; ssh and Ansible read the file themselves."""
    public_key: PublicFile | None = None
    """The public half that is given to new machines; the default is ``private_key`` with ``.pub``."""
    port: Annotated[int, Strict(), Field(ge=1, le=65535)] = 22

    @property
    def public_key_path(self) -> Path:
        if self.public_key is not None:
            return self.public_key.path
        return Path(f"{self.private_key.path}.pub")


class Network(Section):
    """The network of a site on which the machines stand."""

    name: Text
    """Its name in the cloud."""
    cidr: Cidr
    gateway: Address
    addresses: Addresses
    """The addresses that dcctl may give to machines."""


class OpenstackSite(Section):
    """A site on OpenStack."""

    kind: Literal["openstack"]
    cloud: Text | None = None
    """Its entry in ``clouds.yaml``; without one the ``OS_*`` variables are used."""
    clouds_file: File | None = None
    """Where ``clouds.yaml`` is, when not in the usual places."""
    network: Network
    image: Text
    flavours: dict[Name, Text]
    """The cloud's flavour for each of our sizes."""


class VmwareSite(Section):
    """A site on VMware vSphere."""

    kind: Literal["vmware"]
    endpoint: Endpoint
    username: Text
    password: Secret
    ca_file: File | None = None
    """The authority that signed the vCenter's certificate, when it is not one the system trusts."""
    verify_tls: Flag = True
    datacenter: Text
    cluster: Text
    folder: Text
    """The folder of virtual machines; dcctl touches nothing outside it."""
    network: Network
    template: Text


SITE_KINDS: Mapping[str, type[OpenstackSite | VmwareSite]] = {
    "openstack": OpenstackSite,
    "vmware": VmwareSite,
}
Site: TypeAlias = Annotated[OpenstackSite | VmwareSite, Field(discriminator="kind")]


class Witness(Section):
    """The third place: a machine that votes and serves nothing. It exists before dcctl."""

    name: Name
    address: Address
    host_key: PublicFile
    """Its SSH host key, as one line of ``ssh-keyscan`` without the host: ``ssh-ed25519 AAAA…``."""
    roles: WitnessRoles = ("zookeeper",)


class SizeSpec(Section):
    """What a machine of this size is given."""

    vcpus: Annotated[int, Strict(), Field(ge=1, le=512)]
    memory: Bytes
    disk: Bytes


class MachineGroup(Section):
    """Machines that are alike: ``count`` of them at each of ``sites``."""

    sites: SiteNames
    count: Count
    """How many at each site."""
    size: Name
    roles: Roles
    addresses: dict[str, Addresses] = Field(default={})
    """By site: addresses kept for this group, with room to grow; otherwise the site's pool is used."""


class Objectives(Section):
    """What is promised to the business. What was measured is called recovery time and loss window too,
    and compared with these."""

    recovery_time: Duration
    loss_window: Duration


class Keystone(Section):
    """The identity service that Swift asks about tokens; its service password is ``swift_admin``."""

    auth_url: IdentityEndpoint
    """As its clients call it, such as https://keystone.example.org:5000, with or without /v3."""
    ca_file: File | None = None
    user: Text = "swift"
    """Swift's own account there, in the service project; it may validate tokens."""
    project: Text = "service"
    domain: Text = "Default"
    """Of that user and project, and of the documents'."""
    operator_roles: tuple[Text, ...] = ("admin", "member")
    """Who holds one of these in a project owns the project's account."""


class Swift(Section):
    """The documents' clusters, one at each site."""

    auth: Literal["tempauth", "keystone"] = "tempauth"
    """Who knows the users: the proxies themselves, or a Keystone."""
    keystone: dict[str, Keystone] = Field(default={})
    """By site, with ``auth: keystone``."""
    replicas: Annotated[int, Strict(), Field(ge=1, le=9)] = 3
    """Copies of everything within a site; no more than the site has machines are made."""
    part_power: Annotated[int, Strict(), Field(ge=4, le=24)] = 10
    """The rings have 2 ** part_power partitions; a cluster keeps its number for life."""
    reclaim_age: Duration = timedelta(days=7)
    """How long a deleted object's tombstone is kept."""


class Automation(Section):
    """Who starts a failover."""

    mode: Literal["manual", "automatic"] = "manual"


class Runs(Section):
    """What the ensemble keeps of runs, for every machine to read."""

    keep: Annotated[int, Strict(), Field(ge=10, le=1000)] = 50
    """The last so many; older ones that can be gone on with are kept as well."""


class Configuration(Section):
    """One environment: two sites, a witness, the machines, and what is promised."""

    environment: Name
    network_namespace: NamespaceName | None = None
    """A network namespace of this host that dcctl joins first."""
    state_directory: StateDirectory = Field(default=Path(".dcctl"), validate_default=True)
    """Runs, known hosts, observations. Relative to the environment's ``dcctl.yaml``."""
    artifact_directory: StateDirectory | None = None
    """Where what is sent to machines is kept once it was built; ``artifacts`` in the state directory."""
    ssh: Ssh
    sites: dict[SiteName, Site]
    witness: Witness | None = None
    sizes: dict[Name, SizeSpec]
    machines: dict[Name, MachineGroup]
    demand: dict[Name, Demand] = Field(default={})
    """By group of machines."""
    objectives: Objectives
    rules: Rules = Rules()
    automation: Automation = Automation()
    runs: Runs = Runs()
    swift: Swift = Swift()
    probes: Probes = Probes()
    faults: Literal["lab"] | None = None
    """What breaks this environment on purpose, for drills; without it a drill that breaks is refused."""
    secrets: dict[SecretName, Secret] = Field(default={})
    replication: Replication | None = None

    @property
    def artifacts(self) -> Path:
        """The folder of built artifacts."""
        return self.artifact_directory or self.state_directory / "artifacts"

    def secret(self, name: str) -> Reference:
        """The reference of secret ``name``, which the rules made sure of. KeyError for an unknown one."""
        return self.secrets[name]


def json_schema() -> dict[str, Any]:
    """The JSON Schema of ``dcctl.yaml``, for editors and other tools (``dcctl schema``)."""
    schema = Configuration.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "dcctl.yaml"
    schema["properties"]["extends"] = {
        "type": "string",
        "description": "A definition that this file changes; every key it says wins over the inherited one.",
    }
    return schema
