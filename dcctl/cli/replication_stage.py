"""What the commands of ``dcctl replication`` work on."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dcctl.cli.session import Session
from dcctl.errors import ConfigurationError, Problem, UsageError
from dcctl.shell import WallClock

if TYPE_CHECKING:
    from dcctl.adapters.replication_base import SqliteBase
    from dcctl.adapters.swift_admin import SwiftAdministrator
    from dcctl.config.replication import Replication as Settings
    from dcctl.config.schema import Configuration
    from dcctl.domain.replication import Side
    from dcctl.domain.replication_containers import RemovalCap
    from dcctl.engines.replication_containers import Carried
    from dcctl.engines.replication_options import Options
    from dcctl.engines.replication_run import OpenStores

zookeeper_option = click.option(
    "--zookeeper",
    "hosts",
    metavar="HOST:PORT,…",
    envvar="DCCTL_ZOOKEEPER",
    show_envvar=True,
    help="The ensemble, if it is not the configuration's.",
)
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Choice:
    """What a person chose to look at; nothing is everything."""

    accounts: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()
    prefix: str = ""


def choice_options(*, prefix: bool = True, container: bool = True) -> Callable[[F], F]:
    """Give a command ``--account``, ``--container`` and ``--prefix``, and pass them as ``choice``."""
    options = [
        click.option(
            "--account",
            "accounts",
            multiple=True,
            metavar="NAME",
            help="Only this one of replication.accounts, or `default`; repeatable.",
        )
    ]
    if container:
        options.append(
            click.option(
                "--container",
                "containers",
                multiple=True,
                metavar="NAME",
                help="Only this container; repeatable.",
            )
        )
    if prefix:
        options.append(
            click.option(
                "--prefix",
                default="",
                metavar="TEXT",
                help="Only names that begin so; the base is not renewed.",
            )
        )

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def chosen(
            *args: Any,
            accounts: tuple[str, ...],
            containers: tuple[str, ...] = (),
            prefix: str = "",
            **rest: Any,
        ) -> Any:
            return command(*args, choice=Choice(accounts, containers, prefix), **rest)

        for option in reversed(options):
            chosen = option(chosen)
        return chosen  # type: ignore[return-value]  # click's decorators lose the signature

    return decorate


@dataclass(frozen=True)
class Stage:
    """What a command works on. ``containers`` by their qualified names; ``accounts`` are those to look at,
    ``chosen`` tells that a person named containers."""

    configuration: "Configuration"
    settings: "Settings"
    containers: tuple[str, ...]
    accounts: tuple[str, ...]
    chosen: bool = False

    @property
    def whole(self) -> bool:
        """Whether these are all that is replicated."""
        return not self.chosen and set(self.accounts) == set(self.settings.account_names)

    @property
    def sites(self) -> "dict[Side, str]":
        from dcctl.domain.replication import Side

        return dict(zip(Side, sorted(self.settings.stores), strict=True))

    def owners(self, account: str) -> "Mapping[Side, SwiftAdministrator]":
        """An account at A and B, with its owners' rights. Raises UsageError."""
        from dcctl.domain.replication_account import DEFAULT
        from dcctl.wiring import replication_administrator

        found = {}
        for side, site in self.sites.items():
            owner = replication_administrator(self.settings, site, WallClock(), account=account)
            if owner is None:
                where = "" if account == DEFAULT else f"accounts.{account}."
                saw = f"replication.{where}stores.{site}.administrator is not configured"
                raise UsageError("look at containers", on=site, saw=saw)
            found[side] = owner
        return found

    def carried(
        self, *, cap: "RemovalCap | None" = None, begun: list[str] | None = None, **how: bool
    ) -> "Carried":
        """Containers that come and go, made the same on both sides now; ``begun``: those of which something
        was changed."""
        from dcctl.config.reference import resolve
        from dcctl.domain.replication_containers import RemovalCap
        from dcctl.engines.replication_containers import Carried, carry_containers

        settings = self.settings
        done = Carried()
        for account in self.accounts:
            if not settings.like(account):
                continue
            owners = self.owners(account)
            try:
                carried = carry_containers(
                    owners,
                    settings.like(account),
                    resolve(settings.signed.container_key),
                    cap=cap or RemovalCap(share=settings.max_deletes_percent / 100),
                    apart=(*settings.fixed(account), settings.trash, settings.conflicts, settings.heartbeat),
                    begun=begun,
                    **how,
                )
            finally:
                for owner in owners.values():
                    owner.close()
            done = done.and_also(carried.of(account))
        return done

    def with_those_that_come_and_go(self, *, look: bool) -> "Stage":
        """Also the containers that begin as ``containers_like`` says: on both sides now, or (``look`` is
        False) as the base remembers them."""
        from dcctl.domain.replication_account import account_of

        if not self.settings.come_and_go or self.chosen:
            return self
        if look:
            names: Iterable[str] = self.carried(dry_run=True).names
        else:
            with self.base(exclusive=False) as base:
                names = [
                    name
                    for name in base.containers()
                    if self.settings.covers(name) and account_of(name) in self.accounts
                ]
        return replace(self, containers=tuple(dict.fromkeys((*self.containers, *names))))

    def stores(self) -> "OpenStores":
        from dcctl.wiring import replication_stores

        return replication_stores(self.settings)

    @contextmanager
    def base(self, *, exclusive: bool = True) -> "Iterator[SqliteBase]":
        from dcctl.wiring import replication_base

        with replication_base(self.configuration, self.settings, exclusive=exclusive) as base:
            yield base

    def options(self, **changes: Any) -> "Options":
        from dcctl.domain.replication_pass import DeleteCap
        from dcctl.engines.replication_manners import Limits
        from dcctl.engines.replication_move import Keep
        from dcctl.engines.replication_options import Options

        settings = self.settings
        options = Options(
            settled_s=settings.settled.total_seconds(),
            reclaim_age_s=settings.reclaim_age.total_seconds(),
            margin_s=settings.margin.total_seconds(),
            cap=DeleteCap(share=settings.max_deletes_percent / 100),
            keep=Keep(settings.trash, settings.conflicts, int(settings.trash_kept.total_seconds())),
            limits=Limits(
                lowest=min(Limits.lowest, settings.at_once),
                start=min(Limits.start, settings.at_once),
                highest=settings.at_once,
                requests_per_s=settings.max_requests_per_s,
                bytes_per_s=settings.max_bytes_per_s,
            ),
        )
        return replace(options, **changes)


def enter_stage(session: Session, choice: Choice = Choice()) -> Stage:
    """Raises UsageError where something is chosen that is not configured.

    Beside an account a container is called as it is within it.
    """
    from dcctl.domain.replication_account import qualified

    configuration = session.configuration()
    settings = configuration.replication
    if settings is None:
        from dcctl.config.load import find

        path = find(session.environment)
        problem = Problem(str(path), 0, 0, "there is no section replication:")
        raise ConfigurationError((problem,), next_command=f"$EDITOR {path}")
    accounts, containers = choice.accounts, choice.containers
    strange = [name for name in accounts if name not in settings.account_names]
    if strange:
        saw = f"configured: {', '.join(settings.account_names)}"
        raise UsageError("choose accounts", on=", ".join(strange), saw=saw)
    if accounts and containers:
        containers = tuple(qualified(account, name) for account in accounts for name in containers)
    unknown = [name for name in containers if not settings.covers(name)]
    if unknown:
        saw = f"configured: {', '.join(settings.replicated(accounts))}"
        raise UsageError("choose containers", on=", ".join(unknown), saw=saw)
    return Stage(
        configuration,
        settings,
        containers or settings.replicated(accounts),
        accounts or settings.account_names,
        chosen=bool(containers),
    )
