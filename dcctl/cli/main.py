"""The entry point: a table of commands that are imported only when they are used.

The prompt answers fast because this module imports neither a vendor nor an engine; a command's own
module is loaded when the command runs or shows its help.
"""

import importlib
import os
import select
import signal
import sys
from collections.abc import Callable
from typing import Any

import click

from dcctl import __version__
from dcctl.cli.session import Session, environment_option, output_option
from dcctl.errors import DcctlError, Interrupted, UsageError

COMMANDS: dict[str, tuple[str, str]] = {
    # name: (module:attribute, the one line that `dcctl --help` shows)
    "demo": ("dcctl.cli.demo:demo", "Build the lab and lose a site while a client writes; about 4 minutes."),
    "lab": ("dcctl.cli.lab:lab", "Two clouds and a witness on this host: up, down, status, ssh, cut, heal."),
    "status": ("dcctl.cli.status:status", "Everything on one screen, gravest first."),
    "probe": ("dcctl.cli.probe:probe", "Ask everything at once, from here, or as an agent saw it last."),
    "doctor": ("dcctl.cli.doctor:doctor", "Is everything ready for a failover right now, and what mends it."),
    "provision": ("dcctl.cli.provision:provision", "Machines on both clouds: plan, apply, destroy."),
    "capacity": ("dcctl.cli.capacity:capacity", "Whether one site can carry what both carry now."),
    "deploy": ("dcctl.cli.deploy:deploy", "Configure the machines by role, and examine them."),
    "drill": (
        "dcctl.cli.drill:drill",
        "Rehearse a failure and report what a client saw: run, plan, show, restore.",
    ),
    "drain": ("dcctl.cli.traffic:drain", "Take a site out of traffic; its work in flight ends."),
    "undrain": ("dcctl.cli.traffic:undrain", "Put a drained site back into traffic."),
    "failover": ("dcctl.cli.failover:failover", "Give up a lost site and go on at the other: plan, apply."),
    "switchover": (
        "dcctl.cli.switchover:switchover",
        "Move the primary and the singletons to the other site: plan, apply.",
    ),
    "admit": ("dcctl.cli.admit:admit", "Put a site that came back into rotation, once it has caught up."),
    "agent": ("dcctl.cli.agent:agent", "Watch every site from here and steer this edge; a service."),
    "automation": (
        "dcctl.cli.automation:automation",
        "Whether a failover may start without a person: show, pause, resume, mode.",
    ),
    "controller": ("dcctl.cli.controller:controller", "What gives up a lost site by itself; agents run it."),
    "leader": ("dcctl.cli.leader:leader", "Who leads a role, and running a command only while leading."),
    "inventory": ("dcctl.cli.inventory:inventory", "Print Ansible's dynamic inventory."),
    "failback": ("dcctl.cli.failback:failback", "Move home what a failover took away."),
    "run": ("dcctl.cli.run:run", "What was done, as timelines; resume, pause, abort a run."),
    "replication": (
        "dcctl.cli.replication:replication",
        "Keep the documents of both sites the same: plan, once, follow, verify, repair.",
    ),
    "init": ("dcctl.cli.config:init", "Write a commented dcctl.yaml to start from."),
    "config": ("dcctl.cli.config:config", "Check an environment's configuration, or show it expanded."),
    "schema": ("dcctl.cli.config:schema", "Print the JSON Schema of dcctl.yaml."),
}


ENVIRONMENT_VARIABLE = "DCCTL_ENVIRONMENT"
DEBUG_VARIABLE = "DCCTL_DEBUG"


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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            # click suggests from the commands it was given; ours are in the table.
            raise click.exceptions.NoSuchCommand(args[0], possibilities=COMMANDS, ctx=ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_where, line) in COMMANDS.items()])


@click.group(cls=Table, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dcctl")
@environment_option(envvar=ENVIRONMENT_VARIABLE)
@output_option
@click.pass_obj
def dcctl(session: Session, environment: str | None, output: str | None) -> None:
    """Keep a system alive in two datacenters at once."""
    session.environment = environment
    session.output = output or "text"


def main(argv: list[str] | None = None) -> None:
    """Run one command and exit with its code; errors become sentences on standard error."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # As Ctrl-C: whoever began something undoes it. Python raises KeyboardInterrupt for Ctrl-C itself.
        signal.signal(number, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A name from a cloud that the terminal's encoding lacks is no reason to stop.
            stream.reconfigure(errors="replace")
    sys.exit(run(argv))


def run(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    session = Session(environment=None, output="text")
    try:
        return _ended(
            lambda: dcctl.main(args=argv, prog_name="dcctl", standalone_mode=False, obj=session), session
        )
    except BrokenPipeError:
        # Whoever read our output has seen enough (`dcctl … | head`); nothing more can be said to them.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _ended(command: Callable[[], Any], session: Session) -> int:
    """Run ``command`` and return the exit code of the way it ended."""
    try:
        result = command()
        sys.stdout.flush()
    except (click.exceptions.Exit, click.exceptions.NoArgsIsHelpError) as stop:
        if isinstance(stop, click.ClickException):
            stop.show()
        return stop.exit_code
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, BrokenPipeError) and _reader_left():
            raise
        return _say(_as_ours(error), session)
    return result if isinstance(result, int) else 0


def _reader_left() -> bool:
    """Whether standard output leads nowhere any more; a broken pipe may have been another one."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(flags & select.POLLERR for _descriptor, flags in poll.poll(0))


def _as_ours(error: BaseException) -> DcctlError:
    """The error of our tree that ``error`` means to the person who typed the command."""
    from dcctl.cli.errors import bug

    match error:
        case DcctlError():
            return error
        case click.Abort() | KeyboardInterrupt():
            # click makes an Abort of a KeyboardInterrupt, which may say what became of what was running.
            return _with_notes(Interrupted("interrupted"), error.__cause__ or error)
        case click.ClickException():
            return _usage(error)
        case _:
            return bug(error, show=bool(os.environ.get(DEBUG_VARIABLE)))


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _usage(error: click.ClickException) -> UsageError:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "dcctl"
    return UsageError(error.format_message(), next_command=f"{command} --help")


def _with_notes(error: DcctlError, cause: BaseException) -> DcctlError:
    for note in getattr(cause, "__notes__", ()):
        error.add_note(note)
    return error


def _say(error: DcctlError, session: Session) -> int:
    from dcctl.cli.errors import say

    return say(error, as_json=session.json, dcctl=session.dcctl)


if __name__ == "__main__":
    main()
