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
    """A session that is not begun yet; this machine's own voter is asked first where it has one.

    ``DCCTL_ZOOKEEPER`` (``host:port,…``) names the ensemble, if it is not the configuration's.
    """
    from dcctl.adapters.guard import boot_clock
    from dcctl.adapters.zookeeper import PORT, ZooKeeperSession
    from dcctl.config import expand

    voters = expand.with_role(configuration, "zookeeper")
    own = places(configuration).get(socket.gethostname())
    nearest_first = sorted(voters, key=lambda voter: (voter.name != socket.gethostname(), voter.place != own))
    configured = ",".join(f"{voter.address}:{PORT}" for voter in nearest_first)
    hosts = os.environ.get("DCCTL_ZOOKEEPER") or configured
    return ZooKeeperSession(hosts, session_s=session_s, clock=boot_clock)


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
