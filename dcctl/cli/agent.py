"""``dcctl agent``: watch every site from here, and keep the edge on this machine to what is wanted."""

import getpass
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dcctl.cli.session import Session, command_options
from dcctl.errors import Unreachable, UsageError

if TYPE_CHECKING:
    from dcctl.config.schema import Configuration
    from dcctl.engines.agent import Agent

PORT = 8405
EVERYWHERE = "0.0.0.0"  # noqa: S104  # the edges and Prometheus ask from their own machines
RUNTIME_SOCKET = Path("/run/haproxy/agent.sock")


@click.command()
@click.option("--name", metavar="MACHINE", help="The machine that this is; by default its host name.")
@click.option("--listen", default=EVERYWHERE, show_default=True, metavar="ADDRESS", help="For HTTP.")
@click.option("--port", type=click.IntRange(1, 65535), default=PORT, show_default=True)
@click.option(
    "--runtime-socket",
    type=click.Path(path_type=Path),
    default=RUNTIME_SOCKET,
    show_default=True,
    metavar="PATH",
    help="HAProxy's runtime API; used where the machine carries an edge.",
)
@click.option("--compete", is_flag=True, help="Compete for the role controller, and run it while leading.")
@command_options
def agent(
    session: Session, *, name: str | None, listen: str, port: int, runtime_socket: Path, compete: bool
) -> None:
    """Watch and steer until asked to end; a service on edges and on the witness.

    Publishes what its probes see into ZooKeeper, keeps the edge beside it to the sites that are wanted in
    rotation, and serves /healthz and /metrics. Cut off from ZooKeeper it keeps the last weights.
    """
    from dcctl.adapters.agent_page import AgentPage
    from dcctl.adapters.supervisor import ALIVE, READY, notify
    from dcctl.agent.daemon import Daemon
    from dcctl.shell import Interruption
    from dcctl.wiring import traffic
    from dcctl.wiring.ensemble import new_session

    configuration = session.configuration()
    vantage = name or socket.gethostname()
    _known(configuration, vantage)
    with Interruption() as interruption, closing(new_session(configuration)) as ensemble:
        made = traffic.agent(configuration, ensemble, vantage, runtime_socket=runtime_socket)
        daemon = Daemon(
            made,
            clock=ensemble.clock,
            acknowledged_s=lambda: ensemble.acknowledged_s,
            session_s=lambda: ensemble.granted_s,
        )
        with (
            closing(AgentPage(daemon.report, address=listen, port=port)),
            _candidacy(session, configuration, made) if compete else nullcontext(),
        ):
            ensemble.begin()
            notify(READY)
            try:
                daemon.run(asked=interruption.asked, alive=lambda: notify(ALIVE))
            finally:
                try:
                    made.leave()
                except Unreachable as error:
                    click.echo(f"the observation ends with its session: {error}", err=True)


@contextmanager
def _candidacy(session: Session, configuration: "Configuration", made: "Agent") -> "Iterator[None]":
    """The controller runs here while this agent leads its role."""
    from dcctl import wiring
    from dcctl.adapters.guard import boot_clock
    from dcctl.agent.candidate import Candidate
    from dcctl.domain.automation import CONTROLLER
    from dcctl.domain.leadership import Term
    from dcctl.wiring.ensemble import SESSION_S

    environment = ("-e", session.environment) if session.environment else ()
    argv = [sys.executable, "-P", "-m", "dcctl.cli.main", *environment, "controller", "--name", made.vantage]
    with closing(wiring.leases(configuration, session_s=SESSION_S)) as leases:
        leases.begin()
        candidate = Candidate(
            leases,
            argv,
            new_term=lambda epoch: Term(
                CONTROLLER, epoch, getpass.getuser(), made.vantage, os.getpid(), datetime.now(UTC)
            ),
            eligible=made.is_eligible,
            superseded=made.is_superseded,
            clock=boot_clock,
            tell=lambda sentence: click.echo(f"controller: {sentence}", err=True),
        )
        candidate.start()
        with closing(candidate):
            yield


def _known(configuration: "Configuration", vantage: str) -> None:
    from dcctl.wiring.ensemble import places

    if vantage not in places(configuration):
        raise UsageError(
            "find this machine in dcctl.yaml", on=vantage, saw="it is none of the environment: give --name"
        )
