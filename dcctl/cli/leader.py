"""``dcctl leader show|hold|resign``: who may do what, and running a command only while leading."""

import getpass
import os
import re
import shlex
import shutil
import socket
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dcctl.cli.output import emit
from dcctl.cli.session import Session, command_options
from dcctl.domain.leadership import NAME_PATTERN
from dcctl.errors import Interrupted, LeadershipLost, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from dcctl.adapters.postgres.epoch import PostgresEpochs
    from dcctl.adapters.zookeeper import ZooKeeperLeases
    from dcctl.config.schema import Configuration
    from dcctl.domain.leadership import Epoch, RoleState, Term
    from dcctl.engines.leadership import Ending

T = TypeVar("T")

SESSION_S = 10.0
GRACE_S = 2.0
CONNECT_LIMIT_S = 10.0
LOOK_LIMIT_S = 5.0


class RoleName(click.ParamType[str]):
    """A role's name, as names in dcctl.yaml are."""

    name = "role"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if re.fullmatch(NAME_PATTERN, str(value)) is None:
            self.fail(
                f"{value!r} is no role's name: lower-case letters, digits and -, at most 30", param, ctx
            )
        return str(value)


role_argument = click.argument("role", type=RoleName(), metavar="ROLE")
zookeeper_option = click.option(
    "--zookeeper",
    envvar="DCCTL_ZOOKEEPER",
    show_envvar=True,
    metavar="HOST:PORT,...",
    help="Ask these servers, without reading dcctl.yaml; -e then gives the environment's name alone.",
)


@click.group()
def leader() -> None:
    """Roles that one process at a time may have, by a lease in ZooKeeper."""


@leader.command()
@click.argument("role", type=RoleName(), required=False, metavar="[ROLE]")
@zookeeper_option
@command_options
def show(session: Session, *, role: str | None, zookeeper: str | None) -> None:
    """Show each role: who leads it, under which epoch, and how old the lease is."""
    with _leases(session, _configuration(session, zookeeper), zookeeper, SESSION_S) as leases:
        if role is None:
            states = leases.observe_roles(limit_s=LOOK_LIMIT_S)
        else:
            states = (leases.observe_role(role, limit_s=LOOK_LIMIT_S),)
    lines = [_line(state) for state in states]
    emit(session, {"roles": lines}, lambda console: _draw(console, lines))


@leader.command()
@role_argument
@click.argument("command", nargs=-1, required=True, metavar="-- COMMAND...")
@click.option("--no-wait", is_flag=True, help="Refuse (5) where somebody else leads, instead of waiting.")
@click.option(
    "--session",
    "session_s",
    type=click.FloatRange(min=2.0),
    default=SESSION_S,
    show_default=True,
    metavar="SECONDS",
    help="The ZooKeeper session to ask for: a successor waits as long for a holder that went silent.",
)
@click.option(
    "--grace",
    "grace_s",
    type=click.FloatRange(min=0.1),
    default=GRACE_S,
    show_default=True,
    metavar="SECONDS",
    help="From SIGTERM to SIGKILL for the command; at most half a session.",
)
@click.option(
    "--database",
    is_flag=True,
    help="Put the epoch in force in the environment's database, before COMMAND starts.",
)
@click.option(
    "--conninfo",
    envvar="DCCTL_DATABASE",
    show_envvar=True,
    metavar="CONNINFO",
    help="As --database, in this database; its password comes from PGPASSWORD or PGPASSFILE.",
)
@zookeeper_option
@command_options
def hold(
    session: Session,
    *,
    role: str,
    command: tuple[str, ...],
    no_wait: bool,
    session_s: float,
    grace_s: float,
    database: bool,
    conninfo: str | None,
    zookeeper: str | None,
) -> int:
    """Wait until this process leads ROLE, run COMMAND, and end it before the lease is over.

    COMMAND finds the epoch in DCCTL_EPOCH and the role in DCCTL_ROLE. The exit code is the command's own;
    0 when it was asked to resign, 6 when the lease was lost, 130 when dcctl itself was asked to end.
    """
    from dcctl import wiring
    from dcctl.adapters.supervisor import ALIVE, READY, notify
    from dcctl.domain.leadership import Term, Times
    from dcctl.engines.leadership import Holder

    if problems := Times(session_s, grace_s).problems():
        raise UsageError("lead", on=role, saw="; ".join(problems))
    if shutil.which(command[0]) is None:
        raise UsageError("find the command", on=command[0], saw="there is no such program")

    def new_term(epoch: "Epoch") -> "Term":
        return Term(role, epoch, getpass.getuser(), socket.gethostname(), os.getpid(), datetime.now(UTC))

    configuration = _configuration(session, zookeeper)
    mirror = _mirror(configuration, conninfo, database=database)
    with (
        _noted_interruption() as asked,
        _leases(session, configuration, zookeeper, session_s) as leases,
        closing(wiring.watched_command(command)) as watched,
    ):
        holder = Holder(
            role=role,
            leases=leases,
            command=watched,
            mirror=mirror,
            new_term=new_term,
            asked=asked,
            grace_s=grace_s,
            wait=not no_wait,
            tell=_tell,
            why_not_here=_why_not_here(configuration, leases),
        )
        notify(READY)
        ending = _drive(holder.hold(), watched.wait, alive=lambda: notify(ALIVE))
    return _exit_code(ending, role, command)


@leader.command()
@role_argument
@click.option(
    "--limit",
    "limit_s",
    type=click.FloatRange(min=1.0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the holder may take; afterwards it is asked no more.",
)
@zookeeper_option
@command_options
def resign(session: Session, *, role: str, limit_s: float, zookeeper: str | None) -> None:
    """Ask the holder of ROLE to hand over, and wait until it did."""
    from dcctl.engines.leadership import hand_over
    from dcctl.wiring.runs import who

    with _leases(session, _configuration(session, zookeeper), zookeeper, SESSION_S) as leases:
        work = hand_over(leases, role, who(), limit_s=limit_s)
        with closing(work):
            state = _drive(work, time.sleep)
    line = _line(state)
    emit(session, line, lambda console: _draw(console, [line]))


def _configuration(session: Session, zookeeper: str | None) -> "Configuration | None":
    """The environment's; None where servers were given instead."""
    if zookeeper is None:
        return session.configuration()
    if session.environment is None:
        raise UsageError("find the roles", saw="--zookeeper needs -e with the environment's name")
    return None


@contextmanager
def _leases(
    session: Session, configuration: "Configuration | None", zookeeper: str | None, session_s: float
) -> "Iterator[ZooKeeperLeases]":
    """A session with the environment's ensemble, or with the servers that were given."""
    from dcctl import wiring

    if configuration is not None:
        leases = wiring.leases(configuration, session_s=session_s)
    else:
        leases = wiring.leases_at(zookeeper or "", session.environment or "", session_s=session_s)
    with closing(leases):
        leases.connect(limit_s=CONNECT_LIMIT_S)
        yield leases


def _why_not_here(configuration: "Configuration | None", leases: "ZooKeeperLeases") -> "Callable[[], str]":
    """Asked before each claim; where servers were given instead of a file, nothing is known of sites."""
    from dcctl.wiring import traffic

    if configuration is None:
        return lambda: ""
    return traffic.why_not_here(configuration, leases.session, socket.gethostname())


def _mirror(
    configuration: "Configuration | None", conninfo: str | None, *, database: bool
) -> "PostgresEpochs | None":
    from dcctl import wiring

    if conninfo is not None:
        return wiring.epochs_at(conninfo)
    if not database:
        return None
    if configuration is None:
        raise UsageError("find the database", saw="--zookeeper reads no dcctl.yaml: give --conninfo")
    return wiring.epochs(configuration)


def _drive(
    work: Generator[float, float, T],
    wait: Callable[[float], None],
    alive: Callable[[], None] = lambda: None,
) -> T:
    """Give an engine its time: the clock that leases are judged by. ``alive`` is called all along."""
    from dcctl.adapters.guard import boot_clock

    try:
        pause_s = next(work)
        while True:
            alive()
            if pause_s > 0:
                wait(pause_s)
            pause_s = work.send(boot_clock())
    except StopIteration as end:
        result: T = end.value
        return result


@contextmanager
def _noted_interruption() -> Iterator[Callable[[], bool]]:
    """Signals that ask this process to end are noted: the command is ended first, then the role released."""
    from dcctl.shell import Interruption

    with Interruption() as interruption:
        yield interruption.asked


def _exit_code(ending: "Ending", role: str, command: Sequence[str]) -> int:
    from dcctl.engines.leadership import End

    match ending.end:
        case End.LOST:
            raise LeadershipLost(
                f"lead {role} under epoch {ending.epoch.number}",
                saw=f"{ending.saw or 'this process was stopped for too long'}; the command was ended",
                next_command=f"dcctl leader hold {role} -- {shlex.join(command)}",
            )
        case End.ASKED:
            raise Interrupted(f"lead {role} under epoch {ending.epoch.number}", saw="released")
        case End.RESIGNED:
            _tell(f"resigned {role}, epoch {ending.epoch.number}")
            return 0
    return ending.code


def _tell(sentence: str) -> None:
    from dcctl.adapters.supervisor import notify, status

    click.echo(f"leader: {sentence}", err=True)
    notify(status(sentence))


def _line(state: "RoleState") -> dict[str, Any]:
    lease, term = state.lease, state.term
    age_s = (datetime.now(UTC) - lease.renewed_at).total_seconds() if lease else None
    return {
        "role": state.role,
        "epoch": state.epoch.number if state.epoch else None,
        "generation": state.epoch.generation if state.epoch else None,
        "counter": state.epoch.counter if state.epoch else None,
        "holder": term.holder if term else None,
        "host": term.host if term else None,
        "since": term.since if term else None,
        "lease_age_s": round(max(0.0, age_s), 1) if age_s is not None else None,
        "session_s": lease.session_s if lease else None,
        "released": lease.released if lease else None,
        "asked_to_resign": state.resign is not None and state.resign == state.epoch,
    }


def _draw(console: "Console", lines: Sequence[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    if not lines:
        console.print("no role has ever had a leader")
        return
    table = Table("role", "leader", "epoch", "since", "lease", box=None, pad_edge=False)
    for line in lines:
        since = f"{line['since']:%Y-%m-%d %H:%M:%S} UTC" if line["since"] else ""
        table.add_row(
            line["role"],
            Text(line["holder"] or "nobody", style="green" if line["holder"] else "yellow"),
            str(line["epoch"] or ""),
            since,
            _lease_words(line),
        )
    console.print(table)


def _lease_words(line: dict[str, Any]) -> str:
    if line["released"] is None:
        return "never held"
    if line["released"]:
        return f"released {line['lease_age_s']:.0f} s ago"
    words = f"renewed {line['lease_age_s']:.1f} s ago, of {line['session_s']:g} s"
    return f"{words}, asked to resign" if line["asked_to_resign"] else words
