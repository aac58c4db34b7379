"""What the commands of ``dcctl replication`` work on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from dcctl.cli.session import Session
from dcctl.errors import ConfigurationError, Problem, UsageError

if TYPE_CHECKING:
    from dcctl.adapters.replication_base import SqliteBase
    from dcctl.config.replication import Replication as Settings
    from dcctl.config.schema import Configuration
    from dcctl.engines.replication import Options
    from dcctl.engines.replication_run import OpenStores

container_option = click.option(
    "--container", "containers", multiple=True, metavar="NAME", help="Only this container; repeatable."
)
zookeeper_option = click.option(
    "--zookeeper",
    "hosts",
    metavar="HOST:PORT,…",
    envvar="DCCTL_ZOOKEEPER",
    show_envvar=True,
    help="The ensemble, if it is not the configuration's.",
)
prefix_option = click.option(
    "--prefix", default="", metavar="TEXT", help="Only names that begin so; the base is not renewed."
)


@dataclass(frozen=True)
class Stage:
    """What a command works on."""

    configuration: "Configuration"
    settings: "Settings"
    containers: tuple[str, ...]

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
        from dcctl.engines.replication import Options
        from dcctl.engines.replication_manners import Limits
        from dcctl.engines.replication_move import Keep

        settings = self.settings
        options = Options(
            settled_s=settings.settled.total_seconds(),
            reclaim_age_s=settings.reclaim_age.total_seconds(),
            margin_s=settings.margin.total_seconds(),
            cap=DeleteCap(share=settings.max_deletes_percent / 100),
            keep=Keep(settings.trash, settings.conflicts, int(settings.trash_kept.total_seconds())),
            limits=Limits(
                lowest=min(4, settings.at_once),
                start=min(12, settings.at_once),
                highest=settings.at_once,
                requests_per_s=settings.max_requests_per_s,
                bytes_per_s=settings.max_bytes_per_s,
            ),
        )
        return replace(options, **changes)


def enter_stage(session: Session, containers: tuple[str, ...] = ()) -> Stage:
    configuration = session.configuration()
    settings = configuration.replication
    if settings is None:
        from dcctl.config.load import find

        path = find(session.environment)
        problem = Problem(str(path), 0, 0, "there is no section replication:")
        raise ConfigurationError((problem,), next_command=f"$EDITOR {path}")
    unknown = [name for name in containers if name not in settings.containers]
    if unknown:
        raise UsageError(
            "choose containers", on=", ".join(unknown), saw=f"configured: {', '.join(settings.containers)}"
        )
    return Stage(configuration, settings, containers or settings.containers)
