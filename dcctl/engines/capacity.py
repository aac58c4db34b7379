"""Gathering the figures for ``domain.capacity``: each part is asked on its own, and silence is an answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from dcctl.domain.capacity import (
    Capacity,
    Figures,
    Group,
    Reading,
    Traffic,
    decide_capacity,
    decide_traffic,
)
from dcctl.domain.machine import Hypervisor, Server
from dcctl.engines.status import Ask
from dcctl.errors import DcctlError, Unreachable
from dcctl.ports import EdgeLoad, LoadMemory

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the figures for losing ``lost`` come from. ``edges`` are names, by site."""

    lost: str
    survivor: str
    groups: Sequence[Group]
    headroom: float
    cloud: Callable[[], tuple[tuple[Server, ...], tuple[Hypervisor, ...] | Unreachable]]
    """The survivor's servers and hypervisors; of the latter perhaps only why its cloud does not tell."""
    edges: Mapping[str, Sequence[str]]
    traffic: EdgeLoad
    memory: LoadMemory
    now: Callable[[], datetime]


def observe_capacity(sources: Sources, ask: Ask) -> Capacity:
    """Look, and decide. What an edge shows is remembered for the day when it is dark."""
    return decide_capacity(observe_figures(sources, ask))


def observe_figures(sources: Sources, ask: Ask) -> Figures:
    names = [edge for edges in sources.edges.values() for edge in edges]
    answers = ask(
        {
            "cloud": sources.cloud,
            **{f"edge {edge}": partial(sources.traffic.observe_load, edge) for edge in names},
        }
    )
    cloud, at, answer = f"{sources.survivor}'s cloud", sources.now(), answers["cloud"]
    servers, hypervisors = (answer, answer) if isinstance(answer, DcctlError) else answer
    edges = {
        site: {edge: _traffic(sources, edge, answers[f"edge {edge}"], at) for edge in own}
        for site, own in sources.edges.items()
    }
    return Figures(
        lost=sources.lost,
        survivor=sources.survivor,
        groups=sources.groups,
        servers=_reading(servers, cloud, at),
        hypervisors=_reading(hypervisors, cloud, at),
        traffic=decide_traffic(sources.groups, edges),
        headroom=sources.headroom,
    )


def _reading(answer: Any, source: str, at: datetime) -> Reading[Any]:
    match answer:
        case Unreachable():
            return Reading(None, source, reason=answer.saw or answer.sentence())
        case DcctlError():
            raise answer
        case _:
            return Reading(answer, source, at)


def _traffic(sources: Sources, edge: str, answer: Any, at: datetime) -> Reading[Mapping[str, Traffic]]:
    reading: Reading[Mapping[str, Traffic]] = _reading(answer, edge, at)
    if reading.value is not None:
        sources.memory.record(edge, reading.value, at)
        return reading
    reason = f"{edge}: {reading.reason}"
    seen = sources.memory.last_seen(edge)
    return Reading(seen[1], edge, seen[0], reason) if seen is not None else Reading(None, edge, reason=reason)
