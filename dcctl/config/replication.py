"""The ``replication:`` section of ``dcctl.yaml``: two Swift clusters whose documents are kept the same."""

from datetime import timedelta
from typing import Annotated, NamedTuple, Self, TypeAlias
from urllib.parse import urlsplit

from pydantic import (
    Field,
    Strict,
    StringConstraints,
    model_validator,
)

from dcctl.config.fields import Duration, File, Flag, Secret, Section, Text
from dcctl.errors import UsageError

_Container: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern="^[^/]+$")]


class Administrator(Section):
    """Who may make containers and set their keys; needed by ``replication init`` and ``check`` only.

    With ``project``: a user of Keystone, and ``auth_url`` is Keystone's.
    """

    auth_url: Text
    user: Text
    password: Secret
    project: Text | None = None
    user_domain: Text = "Default"
    project_domain: Text = "Default"
    region: Text | None = None


class Store(Section):
    """One cluster's account, by its storage URL."""

    url: Text
    ca_file: File | None = None
    plaintext: Flag = False
    """The opt-out from TLS by name: a signature covers neither headers nor body."""
    administrator: Administrator | None = None

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or len(parts.path.split("/")) < 3:  # noqa: PLR2004
            raise ValueError("url must be a storage URL, such as https://swift.example.org/v1/AUTH_documents")
        if parts.scheme == "http" and not self.plaintext:
            raise ValueError("url is not https; plaintext: true is the opt-out by name")
        return self


class Signed(NamedTuple):
    """What signs requests: the realm, and references to its key and the containers'."""

    realm: str
    realm_key: Secret
    container_key: Secret


class Replication(Section):
    """Documents that are the same at two sites."""

    realm: Text | None = None
    realm_key: Secret | None = None
    container_key: Secret | None = None
    tokens: Flag = False
    """For clusters without ``container_sync``: ordinary tokens, and weaker guarantees."""
    stores: Annotated[dict[str, Store], Field(min_length=2, max_length=2)]
    """By site."""
    containers: Annotated[tuple[_Container, ...], Field(min_length=1)]
    containers_like: tuple[_Container, ...] = ()
    """What the names of containers begin with that come and go with the application's work."""
    outbox: Secret | None = None
    """A libpq connection string: the database in which the application tells of its writes."""
    proxy_feed: Flag = False
    """Whether the proxies tell of writes (templates/swift/dcctl_feed.py); for where there is no outbox."""
    sync: Flag = False
    """Whether the document service writes to both sites before it answers."""
    trash: _Container = "dcctl-trash"
    conflicts: _Container = "dcctl-conflicts"
    heartbeat: _Container = "dcctl-heartbeat"
    """Where each side is told until when it has what was made at the other."""
    trash_kept: Duration = timedelta(days=30)
    reclaim_age: Duration = timedelta(days=7)
    """The clusters' own, which they do not tell: ``reclaim_age`` of the object servers."""
    margin: Duration = timedelta(days=1)
    settled: Duration = timedelta(seconds=10)
    max_deletes_percent: Annotated[int, Strict(), Field(ge=0, le=100)] = 5
    max_requests_per_s: Annotated[int, Strict(), Field(ge=1)] | None = None
    max_bytes_per_s: Annotated[int, Strict(), Field(ge=1)] | None = None
    at_once: Annotated[int, Strict(), Field(ge=1, le=512)] = 32
    """Objects in flight at most; how many are is adapted to what is fastest."""

    @property
    def signed(self) -> Signed:
        """What signs requests. Raises UsageError where there are only tokens."""
        if self.realm is None or self.realm_key is None or self.container_key is None:
            raise UsageError(
                "replicate so",
                saw="replication.tokens is on: this needs the clusters' container_sync middleware",
                next_command="dcctl replication check",
            )
        return Signed(self.realm, self.realm_key, self.container_key)

    def covers(self, container: str) -> bool:
        """Whether this container is to be replicated."""
        own = (self.trash, self.conflicts, self.heartbeat)
        return container in self.containers or (
            container not in own and container.startswith(self.containers_like)
        )

    @property
    def all_containers(self) -> tuple[str, ...]:
        """Those to replicate and our own."""
        return (*self.containers, self.trash, self.conflicts, self.heartbeat)

    @model_validator(mode="after")
    def _apart(self) -> Self:
        own = {self.trash, self.conflicts, self.heartbeat}
        if len(own) < 3 or own & set(self.containers):  # noqa: PLR2004
            raise ValueError("trash, conflicts, heartbeat and containers must not name the same container")
        keys = (self.realm, self.realm_key, self.container_key)
        if self.tokens and (any(keys) or self.outbox or self.proxy_feed or self.sync or self.containers_like):
            raise ValueError(
                "tokens excludes realm, realm_key, container_key, outbox, proxy_feed, sync, containers_like"
            )
        if self.tokens and not all(store.administrator for store in self.stores.values()):
            raise ValueError("tokens needs stores.NAME.administrator")
        if not self.tokens and not all(keys):
            raise ValueError("realm, realm_key and container_key are needed, unless tokens: true")
        if self.containers_like and not all(store.administrator for store in self.stores.values()):
            raise ValueError("containers_like needs stores.NAME.administrator: only a token lists an account")
        if self.proxy_feed and self.outbox is not None:
            raise ValueError("outbox and proxy_feed exclude each other: the outbox forgets nothing")
        if self.margin >= self.reclaim_age:
            raise ValueError("margin must be shorter than reclaim_age")
        return self
