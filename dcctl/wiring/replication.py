"""Workers of a replication, composed."""

import os
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from typing import TYPE_CHECKING

from dcctl.errors import Refused

if TYPE_CHECKING:
    from dcctl.adapters.replication_base import SqliteBase
    from dcctl.adapters.replication_pause import FilePauses
    from dcctl.adapters.zookeeper import ZooKeeperPauses, ZooKeeperSession, ZooKeeperWork
    from dcctl.config.replication import Replication
    from dcctl.config.schema import Configuration
    from dcctl.domain.replication import Side
    from dcctl.engines.replication_token import OpenTokenStores
    from dcctl.ports import ChangeFeed, Clock, TokenStore

SESSION_S = 10.0
REQUEST_LIMIT_S = 3.0
CONNECT_LIMIT_S = 10.0
MOST_WORKERS = 64
"""On one machine."""


def pair_of(settings: "Replication") -> str:
    """Which two accounts a base is of."""
    return " and ".join(f"{site} {store.url}" for site, store in sorted(settings.stores.items()))


def pairs_of(settings: "Replication") -> dict[str, str]:
    """The same of each further account, by name."""
    return {
        name: " and ".join(f"{site} {store.url}" for site, store in sorted(account.stores.items()))
        for name, account in settings.accounts.items()
    }


def whole_pair_of(settings: "Replication") -> str:
    """All of it in one sentence: what a plan is of."""
    further = [f"account {name} {pair}" for name, pair in sorted(pairs_of(settings).items())]
    return "; ".join([pair_of(settings), *further])


def accounts_at(settings: "Replication", site: str) -> dict[str, str]:
    """The storage URLs of further accounts at ``site``, by name."""
    return {name: account.stores[site].url for name, account in settings.accounts.items()}


def base(
    configuration: "Configuration",
    settings: "Replication",
    name: str = "base.sqlite",
    *,
    exclusive: bool = True,
) -> "SqliteBase":
    """What both clusters last agreed on, in the environment's state directory."""
    from dcctl.adapters.replication_base import SqliteBase

    path = configuration.state_directory / "replication" / name
    return SqliteBase(path, pair_of(settings), accounts=pairs_of(settings), exclusive=exclusive)


def pauses_here(configuration: "Configuration") -> "FilePauses":
    """Whether the replicators of this machine are paused."""
    from dcctl.adapters.replication_pause import FilePauses

    return FilePauses(configuration.state_directory / "replication")


@contextmanager
def pauses_everywhere(
    configuration: "Configuration", hosts: str | None = None, *, wait: bool = True
) -> "Iterator[ZooKeeperPauses]":
    """Whether all replicators of the environment are, by the ensemble. Raises Unreachable.

    Without ``wait`` an ensemble that does not answer soon is no error here, but to each question.
    """
    from dcctl.adapters.zookeeper import ZooKeeperPauses

    session = _session(configuration, hosts)
    with closing(session):
        if wait:
            session.connect(limit_s=CONNECT_LIMIT_S)
        else:
            session.begin(limit_s=REQUEST_LIMIT_S)
        yield ZooKeeperPauses(session, configuration.environment, who=_who(), limit_s=REQUEST_LIMIT_S)


def _who() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}"


@contextmanager
def shared_work(
    configuration: "Configuration", hosts: str | None = None, *, connect_s: float = 0.0
) -> "Iterator[ZooKeeperWork]":
    """This process as one worker of several. ``hosts`` (``host:port,…``) instead of the configured voters.

    Returns at once, whether the ensemble answers or not; with ``connect_s`` it is waited for, and
    Unreachable raised.
    """
    from dcctl.adapters.zookeeper import ZooKeeperWork

    session = _session(configuration, hosts)
    with closing(session):
        if connect_s:
            session.connect(limit_s=connect_s)
        else:
            session.begin()
        yield ZooKeeperWork(session, configuration.environment, who=_who(), limit_s=REQUEST_LIMIT_S)


def _session(configuration: "Configuration", hosts: str | None) -> "ZooKeeperSession":
    from dcctl.adapters.guard import boot_clock
    from dcctl.adapters.zookeeper import ZooKeeperSession
    from dcctl.wiring.ensemble import new_session

    if hosts is None:
        return new_session(configuration, session_s=SESSION_S)
    return ZooKeeperSession(hosts, session_s=SESSION_S, clock=boot_clock)


@contextmanager
def worker_base(configuration: "Configuration", settings: "Replication") -> "Iterator[SqliteBase]":
    """A cache of this worker's own: the first that no other worker of this machine has open."""
    for number in range(1, MOST_WORKERS + 1):
        try:
            own = base(configuration, settings, "base.sqlite" if number == 1 else f"base-{number}.sqlite")
        except Refused as error:
            if number == MOST_WORKERS or "another replicator" not in str(error):
                raise
            continue
        with closing(own):
            yield own
        return


def token_stores(settings: "Replication", clock: "Clock") -> "OpenTokenStores":
    """Opens both clusters with their owners' tokens: A, then B, in the order of their sites' names."""
    from contextlib import AsyncExitStack, asynccontextmanager

    from dcctl import wiring
    from dcctl.adapters.swift import Token, Tokens
    from dcctl.adapters.swift import TokenStore as SwiftTokenStore
    from dcctl.domain.replication import Side
    from dcctl.domain.replication_account import DEFAULT

    @asynccontextmanager
    async def opened() -> "AsyncIterator[Mapping[Side, TokenStore]]":
        async with AsyncExitStack() as stack:
            stores: dict[Side, TokenStore] = {}
            for side, (site, store) in zip(Side, sorted(settings.stores.items()), strict=True):
                further = accounts_at(settings, site)
                tokens = {}
                for account, url in {DEFAULT: store.url, **further}.items():
                    owner = wiring.replication_administrator(settings, site, clock, account=account)
                    assert owner is not None  # noqa: S101  # by its configuration
                    stack.callback(owner.close)
                    tokens[url] = Token(owner.token)
                ca_file = str(store.ca_file) if store.ca_file else None
                made = SwiftTokenStore(site, store.url, Tokens(tokens), ca_file=ca_file, accounts=further)
                stores[side] = await stack.enter_async_context(made)
            yield stores

    return opened


def change_feed(settings: "Replication") -> "AbstractContextManager[ChangeFeed | None]":
    """Who tells of writes: the application's outbox, or else the proxies; None where nobody does."""
    from dcctl.wiring import replication_outbox

    if not settings.proxy_feed:
        return replication_outbox(settings)
    from dcctl.adapters.swift import Keys
    from dcctl.adapters.swift_feed import ProxyFeed, Source
    from dcctl.config.reference import resolve

    realm, realm_key, container_key = settings.signed
    keys = Keys(realm, resolve(realm_key), resolve(container_key))
    sources = [
        Source(site, store.url, str(store.ca_file) if store.ca_file else None, accounts_at(settings, site))
        for site, store in sorted(settings.stores.items())
    ]
    return closing(ProxyFeed(sources, settings.replicated(), keys.sign))
