"""Traffic, composed: what the ensemble says of sites and vantages, and the edges that follow it."""

import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dcctl.errors import DcctlError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dcctl.adapters.haproxy import HaproxyEdges
    from dcctl.adapters.zookeeper import (
        ZooKeeperRuns,
        ZooKeeperSession,
        ZooKeeperSites,
        ZooKeeperVantages,
    )
    from dcctl.config.schema import Configuration
    from dcctl.engines.agent import Agent
    from dcctl.engines.status import Ask
    from dcctl.engines.traffic import Means
    from dcctl.ports import Clock, Journal
    from dcctl.wiring.runs import Opened

SESSION_S = 10.0
CONNECT_LIMIT_S = 10.0
REQUEST_LIMIT_S = 3.0
EDGE_LIMIT_S = 2.0
BEGIN_LIMIT_S = 30.0
APPEND_LIMIT_S = 20.0
"""An ensemble that elects another leader is waited for."""


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


def sites_of(configuration: "Configuration", session: "ZooKeeperSession") -> "ZooKeeperSites":
    """``ports.Sites`` through ``session``."""
    from dcctl.adapters.zookeeper import ZooKeeperSites

    return ZooKeeperSites(
        session, configuration.environment, tuple(configuration.sites), limit_s=REQUEST_LIMIT_S
    )


def vantages_of(configuration: "Configuration", session: "ZooKeeperSession") -> "ZooKeeperVantages":
    """``ports.Vantages`` through ``session``."""
    from dcctl.adapters.zookeeper import ZooKeeperVantages

    return ZooKeeperVantages(session, configuration.environment, limit_s=REQUEST_LIMIT_S)


@contextmanager
def sites(configuration: "Configuration") -> "Iterator[ZooKeeperSites]":
    """``ports.Sites`` with a session of its own. Raises Unreachable when no server lets us in."""
    with session(configuration) as begun:
        yield sites_of(configuration, begun)


@contextmanager
def vantages(configuration: "Configuration") -> "Iterator[ZooKeeperVantages]":
    """``ports.Vantages`` with a session of its own. Raises Unreachable when no server lets us in."""
    with session(configuration) as begun:
        yield vantages_of(configuration, begun)


def edge_traffic(configuration: "Configuration", *, limit_s: float = EDGE_LIMIT_S) -> "HaproxyEdges":
    """``ports.EdgeTraffic``: what each edge has of its servers, from its statistics page."""
    from dcctl.adapters import http
    from dcctl.adapters.haproxy import HaproxyEdges
    from dcctl.config import expand

    addresses = {machine.name: machine.address for machine in expand.with_role(configuration, "edge")}
    return HaproxyEdges(addresses, get=http.get, limit_s=limit_s)


@dataclass(frozen=True)
class Stage:
    """Ready to look, and to act: ``means`` is what a run, by its name, changes the sites' rotation with."""

    means: "Callable[[str], Means]"
    runs: "ZooKeeperRuns"

    @contextmanager
    def acting(self, journal: "Journal", command: str) -> "Iterator[Journal]":
        """The journal of the one run that may act in the environment, kept in ZooKeeper as well.

        Raises Refused, which names the run that is active.
        """
        from dcctl.adapters.zookeeper import SharedJournal

        self.runs.begin(journal.run, command, limit_s=BEGIN_LIMIT_S)
        try:
            yield SharedJournal(journal, self.runs, limit_s=APPEND_LIMIT_S)
        finally:
            with suppress(DcctlError):  # the end of our session ends it too
                self.runs.end(limit_s=REQUEST_LIMIT_S)

    def resuming(self, opened: "Opened", run: str, command: str) -> "AbstractContextManager[Journal]":
        """The same for a run that ended or was broken off, with its journal so far."""
        from dcctl.wiring.failover import resuming

        return resuming(self.runs, opened, run, command)


@contextmanager
def stage(configuration: "Configuration", *, clock: "Clock", ask: "Ask") -> "Iterator[Stage]":
    """Raises Unreachable without a quorum.

    ``ask`` bounds a look at all edges, and at what capacity is judged by (``shell.at_once`` with a limit).
    """
    from dcctl.adapters.zookeeper import ZooKeeperRuns
    from dcctl.engines.traffic import Means
    from dcctl.wiring.capacity import capacity
    from dcctl.wiring.runs import who

    with session(configuration) as begun:

        def means(run: str) -> Means:
            return Means(
                sites=sites_of(configuration, begun),
                vantages=vantages_of(configuration, begun),
                edges=edge_traffic(configuration),
                places=places(configuration),
                capacity=lambda site: capacity(configuration, site, ask=ask).reasons,
                ask=ask,
                now=clock.now,
                by=who(),
                run=run,
            )

        yield Stage(means, ZooKeeperRuns(begun, configuration.environment, who=who()))


def agent(
    configuration: "Configuration", session: "ZooKeeperSession", vantage: str, *, runtime_socket: "Path"
) -> "Agent":
    """The agent of machine ``vantage``. KeyError for a name that is not configured."""
    from dcctl.adapters.haproxy import HaproxyRuntime
    from dcctl.config import expand
    from dcctl.engines.agent import Agent
    from dcctl.engines.controller import OwnClock
    from dcctl.wiring.probe import probe_round, quick_specs

    place = places(configuration)[vantage]
    has_edge = vantage in {machine.name for machine in expand.with_role(configuration, "edge")}
    return Agent(
        vantage=vantage,
        place=place,
        places=places(configuration),
        sites=sites_of(configuration, session),
        vantages=OwnClock(vantages_of(configuration, session), lambda: datetime.now(UTC)),
        edge=HaproxyRuntime(runtime_socket, limit_s=EDGE_LIMIT_S) if has_edge else None,
        probe=probe_round(configuration, place),
        feel=probe_round(configuration, place, specs=quick_specs(configuration, place)),
        lease_left_s=_lease_of(session),
    )


def _lease_of(session: "ZooKeeperSession") -> "Callable[[], float]":
    """A site's lease is the session of its agent."""
    from dcctl.domain.agent import lease_left_s

    began_s = session.clock()

    def left_s() -> float:
        return lease_left_s(session.clock(), session.acknowledged_s, began_s, session.granted_s or SESSION_S)

    return left_s


def places(configuration: "Configuration") -> dict[str, str]:
    """The site, or ``witness``, of each machine."""
    from dcctl.config import expand

    return {machine.name: machine.place for machine in expand.machines(configuration)}
