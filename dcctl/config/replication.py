"""The ``replication:`` section of ``dcctl.yaml``: two Swift clusters whose documents are kept the same."""

from collections.abc import Sequence
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
from dcctl.domain.replication_account import DEFAULT, account_of, own_name, qualified
from dcctl.errors import UsageError

_Container: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern="^[^/]+$")]
_Account: TypeAlias = Annotated[
    str, StringConstraints(min_length=1, max_length=256, pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$")
]


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
        if not _is_storage_url(self.url):
            raise ValueError("url must be a storage URL, such as https://swift.example.org/v1/AUTH_documents")
        if urlsplit(self.url).scheme == "http" and not self.plaintext:
            raise ValueError("url is not https; plaintext: true is the opt-out by name")
        return self


def _is_storage_url(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and len(parts.path.split("/")) >= 3  # noqa: PLR2004


class AccountStore(Section):
    """Another account of a site's cluster, by its storage URL."""

    url: Text
    administrator: Administrator | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not _is_storage_url(self.url):
            raise ValueError("url must be a storage URL, such as https://swift.example.org/v1/AUTH_archive")
        return self


class Account(Section):
    """Containers of another account, replicated like those of the stores' own."""

    stores: dict[str, AccountStore]
    """By site."""
    containers: tuple[_Container, ...] = ()
    containers_like: tuple[_Container, ...] = ()

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.containers and not self.containers_like:
            raise ValueError("containers or containers_like is needed")
        if self.containers_like and not all(store.administrator for store in self.stores.values()):
            raise ValueError("containers_like needs stores.NAME.administrator: only a token lists an account")
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
    accounts: dict[_Account, Account] = Field(default_factory=dict)
    """More accounts of the same two clusters. Their containers are called ``ACCOUNT/CONTAINER``."""
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

    @property
    def account_names(self) -> tuple[str, ...]:
        """All accounts, the stores' own first."""
        return (DEFAULT, *self.accounts)

    def fixed(self, account: str) -> tuple[str, ...]:
        """The containers of an account that are there always, by the names they have in it."""
        return self.containers if account == DEFAULT else self.accounts[account].containers

    def like(self, account: str) -> tuple[str, ...]:
        """What those that come and go begin with."""
        return self.containers_like if account == DEFAULT else self.accounts[account].containers_like

    def own(self, account: str) -> tuple[str, ...]:
        """The containers of an account that are ours: each has its own trash, so that nothing leaves it."""
        kept = (self.trash, self.conflicts)
        return (*kept, self.heartbeat) if account == DEFAULT else kept

    @property
    def come_and_go(self) -> bool:
        """Whether there are containers that come and go, in any account."""
        return any(self.like(account) for account in self.account_names)

    def covers(self, container: str) -> bool:
        """Whether this container, by its qualified name, is to be replicated."""
        account, name = account_of(container), own_name(container)
        if account not in self.account_names or container != qualified(account, name):
            return False
        return name in self.fixed(account) or (
            name not in (self.trash, self.conflicts, self.heartbeat) and name.startswith(self.like(account))
        )

    def replicated(self, accounts: Sequence[str] = ()) -> tuple[str, ...]:
        """Those to replicate that are there always, of these accounts or of all, by qualified names."""
        return tuple(
            qualified(account, name)
            for account in accounts or self.account_names
            for name in self.fixed(account)
        )

    @property
    def all_containers(self) -> tuple[str, ...]:
        """Those to replicate and our own, by qualified names."""
        return tuple(
            qualified(account, name)
            for account in self.account_names
            for name in (*self.fixed(account), *self.own(account))
        )

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

    @model_validator(mode="after")
    def _accounts_of_the_same_clusters(self) -> Self:
        """Another account shares its site's connections, clock, keys and limits."""
        urls = {(site, urlsplit(store.url).path.rstrip("/")) for site, store in self.stores.items()}
        for name, account in self.accounts.items():
            if name == DEFAULT:
                raise ValueError(f"accounts: {DEFAULT} is the stores' own account")
            if set(account.stores) != set(self.stores):
                raise ValueError(f"accounts.{name}.stores must be at {', '.join(sorted(self.stores))}")
            for site, store in account.stores.items():
                ours, theirs = urlsplit(self.stores[site].url), urlsplit(store.url)
                if (ours.scheme, ours.netloc) != (theirs.scheme, theirs.netloc):
                    raise ValueError(
                        f"accounts.{name}.stores.{site}.url must be at {ours.scheme}://{ours.netloc}"
                    )
                at = (site, theirs.path.rstrip("/"))
                if at in urls:
                    raise ValueError(f"accounts.{name}.stores.{site}.url is another account's already")
                urls.add(at)
            if {self.trash, self.conflicts} & set(account.containers):
                raise ValueError(f"accounts.{name}.containers must not name trash or conflicts")
            if self.tokens and not all(store.administrator for store in account.stores.values()):
                raise ValueError(f"tokens needs accounts.{name}.stores.SITE.administrator")
            if self.tokens and account.containers_like:
                raise ValueError("tokens excludes containers_like")
        return self
