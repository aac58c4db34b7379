"""Traffic, composed: what the ensemble says of sites and vantages, and the edges that follow it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from dcctl.wiring.ensemble import SESSION_S, places, session
from dcctl.wiring.runs import Opened, acting, resuming, who

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
    from dcctl.domain.verdict import Vantage
    from dcctl.engines.agent import Agent
    from dcctl.engines.status import Ask
    from dcctl.engines.traffic import Means
    from dcctl.ports import Clock, Journal

REQUEST_LIMIT_S = 3.0
EDGE_LIMIT_S = 2.0
BEGIN_LIMIT_S = 30.0


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


def why_not_here(
    configuration: "Configuration", session: "ZooKeeperSession", machine: str
) -> "Callable[[], str]":
    """What says, whenever it is asked, why no singleton may begin on ``machine``: its site is quarantined.

    It raises Unreachable.
    """
    from dcctl.domain.traffic import why_barred

    place = places(configuration).get(machine, "")
    if place not in configuration.sites:
        return lambda: ""
    kept = sites_of(configuration, session)
    return lambda: why_barred(place, kept.observe_sites())


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


def vantages_seen(configuration: "Configuration", *, limit_s: float) -> "tuple[Vantage, ...]":
    """What the agents published last and what that is worth now, without a session. Raises Unreachable when
    no quorum answers."""
    from dcctl.adapters.zookeeper import ZooKeeperVoters, read_vantages
    from dcctl.config import expand
    from dcctl.domain.verdict import decide_vantage

    voters = {each.name: each.address for each in expand.with_role(configuration, "zookeeper")}
    agents = [each.name for each in expand.with_role(configuration, "agent")]
    read = ZooKeeperVoters(voters, limit_s=limit_s).read
    published = read_vantages(read, configuration.environment, agents)
    now = datetime.now(UTC)
    return tuple(decide_vantage(each, tuple(configuration.sites), now) for each in published)


def edge_traffic(configuration: "Configuration", *, limit_s: float = EDGE_LIMIT_S) -> "HaproxyEdges":
    """``ports.EdgeTraffic``: what each edge has of its servers, from its statistics page."""
    from dcctl.adapters import http
    from dcctl.adapters.haproxy import HaproxyEdges
    from dcctl.config import expand

    addresses = {machine.name: machine.address for machine in expand.with_role(configuration, "edge")}
    return HaproxyEdges(addresses, get=http.get, limit_s=limit_s)


@dataclass(frozen=True)
class Stage:
    """Ready to look, and to act: ``means`` is what a run, by its journal, changes the rotation with."""

    means: "Callable[[Journal | None], Means]"
    runs: "ZooKeeperRuns"
    keep: int

    def acting(self, journal: "Journal", command: str) -> "AbstractContextManager[Journal]":
        """The journal of the one run that may act in the environment, kept in ZooKeeper as well.

        Raises Refused, which names the run that is active.
        """
        return acting(self.runs, journal, command, limit_s=BEGIN_LIMIT_S, keep=self.keep)

    def resuming(self, opened: Opened, run: str, command: str) -> "AbstractContextManager[Journal]":
        """The same for a run that ended or was broken off, with its journal so far."""
        return resuming(self.runs, opened, run, command)


@contextmanager
def stage(configuration: "Configuration", *, clock: "Clock", ask: "Ask") -> "Iterator[Stage]":
    """Raises Unreachable without a quorum.

    ``ask`` bounds a look at all edges, and at what capacity is judged by (``shell.at_once`` with a limit).
    """
    from dcctl.adapters.zookeeper import ZooKeeperRuns
    from dcctl.engines.traffic import Means
    from dcctl.wiring.capacity import capacity

    with session(configuration) as begun:

        def means(journal: "Journal | None") -> Means:
            return Means(
                sites=sites_of(configuration, begun),
                vantages=vantages_of(configuration, begun),
                edges=edge_traffic(configuration),
                places=places(configuration),
                capacity=lambda site: capacity(configuration, site, ask=ask).reasons,
                ask=ask,
                now=clock.now,
                by=who(),
                journal=journal,
                rules=configuration.rules.as_rules(),
            )

        runs = ZooKeeperRuns(begun, configuration.environment, who=who())
        yield Stage(means, runs, configuration.runs.keep)


def agent(
    configuration: "Configuration", session: "ZooKeeperSession", vantage: str, *, runtime_socket: "Path"
) -> "Agent":
    """The agent of machine ``vantage``. KeyError for a name that is not configured."""
    from dcctl.adapters.haproxy import HaproxyRuntime
    from dcctl.adapters.zookeeper import read_epochs
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
        ask_epochs=partial(read_epochs, session, configuration.environment, limit_s=REQUEST_LIMIT_S),
    )


def _lease_of(session: "ZooKeeperSession") -> "Callable[[], float]":
    """A site's lease is the session of its agent."""
    from dcctl.domain.agent import lease_left_s

    began_s = session.clock()

    def left_s() -> float:
        return lease_left_s(session.clock(), session.acknowledged_s, began_s, session.granted_s or SESSION_S)

    return left_s
