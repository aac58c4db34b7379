"""The entry point: a table of commands that are imported only when they are used.

The prompt answers fast because this module imports neither a vendor nor an engine; a command's own
module is loaded when the command runs or shows its help.
"""

import importlib
import os
import sys
from typing import Any

import click

from dcctl import __version__
from dcctl.cli.session import Session, environment_option, output_option
from dcctl.errors import DcctlError, Interrupted

COMMANDS: dict[str, tuple[str, str]] = {
    # name: (module:attribute, the one line that `dcctl --help` shows)
}


class Table(click.Group):
    """A click group over ``COMMANDS``."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_where, line) in COMMANDS.items()])


@click.group(cls=Table, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dcctl")
@environment_option
@output_option
@click.pass_obj
def dcctl(session: Session, environment: str | None, output: str | None) -> None:
    """Keep a system alive in two datacenters at once."""
    session.environment = environment
    session.output = output or "text"


def main(argv: list[str] | None = None) -> None:
    """Run one command and exit with its code; errors become sentences on standard error."""
    sys.exit(run(argv))


def run(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    session = Session(environment=None, output="text")
    try:
        result: Any = dcctl.main(args=argv, prog_name="dcctl", standalone_mode=False, obj=session)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        return _say(Interrupted("interrupted"), session)
    except DcctlError as error:
        return _say(error, session)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return result if isinstance(result, int) else 0


def _say(error: DcctlError, session: Session) -> int:
    from dcctl.cli.errors import say

    return say(error, as_json=session.json)


if __name__ == "__main__":
    main()
