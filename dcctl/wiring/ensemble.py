"""The environment's ensemble, composed: a session with it, and which machine is where."""

import os
import socket
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcctl.adapters.zookeeper import ZooKeeperSession
    from dcctl.config.schema import Configuration

SESSION_S = 10.0
CONNECT_LIMIT_S = 10.0


def new_session(configuration: "Configuration", *, session_s: float = SESSION_S) -> "ZooKeeperSession":
    """A session that is not begun yet, with the voters in the order of ``nearest_first``.

    ``DCCTL_ZOOKEEPER`` (``host:port,…``) names the ensemble, if it is not the configuration's.
    """
    from dcctl.adapters.guard import boot_clock
    from dcctl.adapters.zookeeper import ZooKeeperSession

    hosts = os.environ.get("DCCTL_ZOOKEEPER") or nearest_first(configuration, socket.gethostname())
    return ZooKeeperSession(hosts, session_s=session_s, clock=boot_clock)


def nearest_first(configuration: "Configuration", machine: str) -> str:
    """The voters as ``machine`` asks them (``host:port,…``): its own, its site's, the witness's, the others.

    A connection stays where it is while it holds. One that was made while the own site came back is at the
    witness's voter then: at the other site's it would be the last to learn that that site is lost.
    """
    from dcctl.adapters.zookeeper import PORT
    from dcctl.config import expand
    from dcctl.config.schema import WITNESS_PLACE

    own = places(configuration).get(machine)
    voters = sorted(
        expand.with_role(configuration, "zookeeper"),
        key=lambda voter: (voter.name != machine, voter.place != own, voter.place != WITNESS_PLACE),
    )
    return ",".join(f"{voter.address}:{PORT}" for voter in voters)


@contextmanager
def session(configuration: "Configuration", *, session_s: float = SESSION_S) -> "Iterator[ZooKeeperSession]":
    """A session with the environment's ensemble. Raises Unreachable when no server lets us in."""
    begun = new_session(configuration, session_s=session_s)
    with closing(begun):
        begun.connect(limit_s=CONNECT_LIMIT_S)
        yield begun


def places(configuration: "Configuration") -> dict[str, str]:
    """The site, or ``witness``, of each machine."""
    from dcctl.config import expand

    return {machine.name: machine.place for machine in expand.machines(configuration)}
