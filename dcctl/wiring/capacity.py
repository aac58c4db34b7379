"""Where the figures of ``dcctl capacity`` come from."""

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from dcctl.config.schema import Configuration
from dcctl.engines.capacity import Sources, observe_capacity
from dcctl.engines.status import Ask, in_turn
from dcctl.errors import Unreachable

if TYPE_CHECKING:
    from dcctl.domain.capacity import Capacity, Group
    from dcctl.domain.machine import Hypervisor, Server
    from dcctl.ports import Reach

LIMIT_S = 1.5
"""One edge's time to answer, and a cloud's to let us connect."""


def capacity(configuration: Configuration, lose: str, *, ask: Ask = in_turn) -> "Capacity":
    """Whether the other site can carry both. ``ask`` bounds the time: ``shell.at_once`` with a limit.

    KeyError for a site that is not configured.
    """
    return observe_capacity(sources(configuration, lose), ask)


def sources(configuration: Configuration, lose: str) -> Sources:
    from dcctl.adapters import http
    from dcctl.adapters.haproxy_load import HaproxyLoad
    from dcctl.adapters.reach import TcpReach
    from dcctl.adapters.state import LoadFiles
    from dcctl.config import expand

    _known = configuration.sites[lose]
    survivor = next(site for site in configuration.sites if site != lose)
    edges = expand.with_role(configuration, "edge")
    reach = TcpReach(limit_s=LIMIT_S)
    return Sources(
        lost=lose,
        survivor=survivor,
        groups=_groups(configuration),
        headroom=configuration.rules.survivor_has_headroom,
        cloud=partial(_cloud, configuration, survivor, reach),
        edges={site: [each.name for each in edges if each.place == site] for site in configuration.sites},
        traffic=HaproxyLoad({each.name: each.address for each in edges}, get=http.get, limit_s=LIMIT_S),
        memory=LoadFiles(configuration.state_directory / "observations"),
        now=lambda: datetime.now(UTC),
    )


def _groups(configuration: Configuration) -> "tuple[Group, ...]":
    from dcctl.config import expand
    from dcctl.domain.capacity import Group

    machines = expand.machines(configuration)
    return tuple(
        Group(
            name=name,
            size=expand.size(configuration.sizes[group.size]),
            machines={
                site: tuple(each.name for each in machines if (each.group, each.place) == (name, site))
                for site in group.sites
            },
            carries_per_s=demand.machine_carries if demand is not None else None,
            peak_per_s=demand.peak if demand is not None else None,
        )
        for name, group in configuration.machines.items()
        for demand in (configuration.demand.get(name),)
    )


def _cloud(
    configuration: Configuration, site: str, reach: "Reach"
) -> "tuple[tuple[Server, ...], tuple[Hypervisor, ...] | Unreachable]":
    """Both in one session. Who may not see the hypervisors sees the servers all the same."""
    from dcctl import wiring

    if (api := wiring._api(configuration.sites[site])) is not None:
        reach.observe_port(*api)
    with wiring.machines(configuration, site) as cloud:
        servers = cloud.observe_servers()
        try:
            return servers, cloud.observe_hypervisors()
        except Unreachable as error:
            return servers, error
