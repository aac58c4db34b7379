"""``dcctl agent``: watch every site from here, and keep the edge on this machine to what is wanted."""

import socket
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dcctl.cli.session import Session, command_options
from dcctl.errors import Unreachable, UsageError

if TYPE_CHECKING:
    from dcctl.adapters.zookeeper import ZooKeeperSession
    from dcctl.config.schema import Configuration

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
@command_options
def agent(session: Session, *, name: str | None, listen: str, port: int, runtime_socket: Path) -> None:
    """Watch and steer until asked to end; a service on edges and on the witness.

    Publishes what its probes see into ZooKeeper, keeps the edge beside it to the sites that are wanted in
    rotation, and serves /healthz and /metrics. Cut off from ZooKeeper it keeps the last weights.
    """
    from dcctl.adapters.agent_page import AgentPage
    from dcctl.adapters.supervisor import ALIVE, READY, notify
    from dcctl.agent.daemon import Daemon
    from dcctl.shell import Interruption
    from dcctl.wiring import traffic

    configuration = session.configuration()
    vantage = name or socket.gethostname()
    _known(configuration, vantage)
    with Interruption() as interruption, closing(traffic.new_session(configuration)) as ensemble:
        made = traffic.agent(configuration, ensemble, vantage, runtime_socket=runtime_socket)
        daemon = Daemon(
            made,
            clock=ensemble.clock,
            acknowledged_s=lambda: ensemble.acknowledged_s,
            session_s=lambda: _granted_s(ensemble),
        )
        with closing(AgentPage(daemon.report, address=listen, port=port)):
            ensemble.begin()
            notify(READY)
            try:
                daemon.run(asked=interruption.asked, alive=lambda: notify(ALIVE))
            finally:
                try:
                    made.leave()
                except Unreachable as error:
                    click.echo(f"the observation ends with its session: {error}", err=True)


def _known(configuration: "Configuration", vantage: str) -> None:
    from dcctl.wiring import traffic

    if vantage not in traffic.places(configuration):
        raise UsageError(
            "find this machine in dcctl.yaml", on=vantage, saw="it is none of the environment: give --name"
        )


def _granted_s(ensemble: "ZooKeeperSession") -> float | None:
    try:
        return ensemble.session_s
    except Unreachable:
        return None
