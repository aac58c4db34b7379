"""What every command shares: which environment, which output, and the options that say so."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from dcctl.config.schema import Configuration

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Session:
    """One invocation. ``output`` is ``text`` or ``json``."""

    environment: str | None
    output: str

    @property
    def json(self) -> bool:
        return self.output == "json"

    @property
    def dcctl(self) -> str:
        """How the next command begins."""
        return f"dcctl -e {self.environment}" if self.environment else "dcctl"

    def configuration(self) -> "Configuration":
        """The environment's configuration, and this process placed in its network.

        Raises ConfigurationError, UsageError, or Unreachable when that network cannot be joined.
        """
        from dcctl.config.load import load
        from dcctl.network_namespace import enter

        configuration = load(self.environment)
        if configuration.network_namespace:
            enter(configuration.network_namespace)
        return configuration


def _complete_environment(_context: click.Context, _option: click.Parameter, begun: str) -> list[str]:
    from dcctl.config.load import environments

    return [name for name in environments() if name.startswith(begun)]


def environment_option(*, envvar: str | None = None) -> Callable[[F], F]:
    """``-e``. The variable is read before the command's name only: were the command's own option to
    read it too, ``dcctl -e lab status`` would act on what the variable says."""
    return click.option(
        "-e",
        "--environment",
        envvar=envvar,
        show_envvar=envvar is not None,
        metavar="NAME|PATH",
        shell_complete=_complete_environment,
        help="Environment: a name under ./inventories, or a path to dcctl.yaml or its folder.",
    )


output_option = click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default=None, help="How to print the result."
)


yes_option = click.option("--yes", is_flag=True, help="Do not ask before changing anything.")


def _only_one(_context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> str:
    """click would take the last of two sites, without a word."""
    if len(given) > 1:
        told = f"{option.opts[0]} was given {len(given)} times ({', '.join(given)}): it names one site"
        raise click.UsageError(told)
    return given[0]


def one_site_option(name: str, help: str) -> Callable[[F], F]:
    """The site that a move is about: required, and given once."""
    return click.option(name, required=True, multiple=True, metavar="SITE", callback=_only_one, help=help)


def override_options(function: F) -> F:
    """``--override`` and ``--reason``: which rules do not stand against this one run, and why."""
    named = click.option(
        "--override",
        "rules",
        multiple=True,
        metavar="RULE",
        help="A rule that does not stand against this one run; needs --reason. May be given again.",
    )
    why = click.option("--reason", default="", metavar="TEXT", help="Why; it is kept in the run.")
    return named(why(function))


def command_options(function: F) -> F:
    """Give a command ``-e`` and ``-o`` of its own, overriding those before it, and pass the session."""

    @environment_option()
    @output_option
    @click.pass_obj
    @functools.wraps(function)
    def with_session(
        session: Session, /, *args: Any, environment: str | None, output: str | None, **kwargs: Any
    ) -> Any:
        session.environment = environment or session.environment
        session.output = output or session.output
        return function(session, *args, **kwargs)

    return with_session  # type: ignore[return-value]  # click's decorators lose the signature
