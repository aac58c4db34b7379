"""A deploy from place to place, composed: how the sites stand, and what takes one out and puts it back."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dcctl.config.schema import Configuration
    from dcctl.domain.probe import ProbeResult
    from dcctl.domain.rollout import SiteNow
    from dcctl.domain.traffic import SiteState
    from dcctl.engines.status import Ask, System

PART_LIMIT_S = 2.0
SERVICE_KINDS = ("http", "tcp", "tls", "postgresql", "patroni", "zookeeper", "swift", "command")
"""Kinds of probes that a deploy can be blamed for; clocks, disks and clouds are not."""


def system(configuration: "Configuration") -> "System":
    """Voters, databases and edges; no cloud is asked."""
    from dataclasses import replace

    from dcctl import wiring

    return replace(wiring.system(configuration, limit_s=PART_LIMIT_S), clouds={})


def why_together(configuration: "Configuration") -> str:
    """Why no site can be taken out of rotation here; empty where one can."""
    from dcctl.config import expand

    edges = expand.with_role(configuration, "edge")
    bare = [edge.name for edge in edges if "agent" not in edge.roles]
    if not edges or bare:
        return f"no agent steers {', '.join(bare) or 'any edge'}"
    return ""


def sites_now(configuration: "Configuration", ask: "Ask") -> "tuple[SiteNow, ...]":
    """How each site stands. Raises Unreachable when clients are served and the ensemble lets nobody in."""
    from dcctl.domain.rollout import TAKEN_OUT, SiteNow
    from dcctl.domain.traffic import Rotation, SiteState, decide_serving
    from dcctl.engines.traffic import observe_edges
    from dcctl.wiring import ensemble, traffic

    places = ensemble.places(configuration)
    edges = observe_edges(traffic.edge_traffic(configuration, limit_s=PART_LIMIT_S), ask)
    serving = {site: decide_serving(site, edges, places) for site in configuration.sites}
    states = {site: SiteState(site) for site in configuration.sites}
    if any(each.ok for each in serving.values()):
        states = _states(configuration)
    primary = _primary(configuration, ask)
    return tuple(
        SiteNow(
            site,
            states[site].state,
            serves=serving[site].ok,
            why_not=serving[site].why_not,
            ours=states[site].state is Rotation.DRAINED and states[site].reason == TAKEN_OUT,
            primary=primary == site,
        )
        for site in configuration.sites
    )


def _states(configuration: "Configuration") -> "dict[str, SiteState]":
    from dcctl.wiring import traffic

    with traffic.sites(configuration) as port:
        return {state.site: state for state in port.observe_sites()}


def _primary(configuration: "Configuration", ask: "Ask") -> str:
    """The site of the database's primary; empty when it is not known."""
    from dcctl.wiring.ensemble import places

    database = system(configuration).database
    answers = ask({name: partial(database.observe_member, name) for name in database.members})
    at = places(configuration)
    return next((at[name] for name, each in answers.items() if getattr(each, "primary", False)), "")


def ready(configuration: "Configuration", ask: "Ask") -> "Callable[[Sequence[str]], tuple[str, ...]]":
    """Why the others cannot do without these machines."""
    from dcctl.domain.rollout import decide_ready
    from dcctl.engines.status import observe

    whole = system(configuration)
    return lambda machines: decide_ready(observe(whole, ask), machines)


def health(
    configuration: "Configuration",
) -> "Callable[[Sequence[str]], Callable[[], tuple[ProbeResult, ...]]]":
    """Looks at what some machines serve, from here, which remember the looks before."""
    from dcctl.wiring import probe

    def look(machines: Sequence[str]) -> "Callable[[], tuple[ProbeResult, ...]]":
        specs = [
            spec
            for spec in probe.probe_specs(configuration)
            if spec.target in machines and spec.kind in SERVICE_KINDS
        ]
        return probe.probe_round(configuration, specs=specs)

    return look
