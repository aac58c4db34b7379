"""Whether one site can carry what both carry now. Pure.

The rule: for every group of machines, what both sites are asked for together is at most what the
survivor's running machines of that group carry, less the headroom that is kept free. A figure that is not
known makes the answer unknown, never yes. Machines that would have to be added first make the answer no,
whether or not the hypervisors have room for them: a failover adds no machine.

Units: rates in requests (connections, where the edge forwards TCP) per second, memory in bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from math import ceil
from typing import Generic, TypeVar

from dcctl.domain.machine import Hypervisor, Power, Server, Size

T = TypeVar("T")
MIB = 2**20


class Fit(StrEnum):
    """The answer, for one figure and for all."""

    FITS = "fits"
    SHORT = "short"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """A value with where it comes from and when it was read; None with the reason why it is not known.

    A value with a ``reason`` is the last one that was seen, and the reason is why there is no newer one.
    """

    value: T | None
    source: str
    at: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Machines that are alike, and what is declared of them.

    ``carries_per_s`` is what one of them can do, ``peak_per_s`` what each site asks of the group at its
    busiest; None and a missing site mean that nothing is declared.
    """

    name: str
    size: Size
    machines: Mapping[str, tuple[str, ...]]
    """Their names, by site."""
    carries_per_s: float | None = None
    peak_per_s: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the edges saw of one group at one site. ``peak_per_s`` is since the edges' last start.

    ``session_limit`` is how many sessions its machines are given at once; None where that is not limited.
    """

    per_s: float
    peak_per_s: float
    sessions: int
    session_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that is known for losing ``lost``. ``traffic`` is by site, then by group."""

    lost: str
    survivor: str
    groups: Sequence[Group]
    servers: Reading[tuple[Server, ...]]
    """The survivor's."""
    hypervisors: Reading[tuple[Hypervisor, ...]]
    """The survivor's."""
    traffic: Mapping[str, Reading[Mapping[str, Traffic]]]
    headroom: float
    """The part of what the survivor carries that must stay free, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Line:
    """One resource of one group: what is needed and what there is, after the headroom."""

    group: str
    resource: str
    needed: float | None
    available: float | None
    fit: Fit
    sources: tuple[Reading[float], ...]
    note: str = ""

    def sentence(self) -> str:
        """Why this does not fit, or why that is not known."""
        what = f"{self.group} {self.resource}".strip()
        if self.needed is None or self.available is None:
            return f"{what}: {self.note}" if what else self.note
        short = f"{what}: {self.needed:g} needed, {self.available:g} there"
        return f"{short}: {self.note}" if self.note else short


@dataclass(frozen=True, slots=True)
class Capacity:
    """The answer for losing ``lost``. ``add`` says how many machines of which group ``survivor`` lacks."""

    lost: str
    survivor: str
    fit: Fit
    lines: tuple[Line, ...]
    add: Mapping[str, int]
    notes: tuple[str, ...] = ()
    """What a person should know that decides nothing."""

    @property
    def fits(self) -> bool:
        return self.fit is Fit.FITS

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the answer is not yes; empty when it is."""
        wanting = [line for line in self.lines if line.fit is not Fit.FITS]
        return tuple(f"{self.survivor}: {line.sentence()}" for line in wanting)


def decide_traffic(
    groups: Sequence[Group], edges: Mapping[str, Mapping[str, Reading[Mapping[str, Traffic]]]]
) -> dict[str, Reading[Mapping[str, Traffic]]]:
    """By site and group, from what each edge shows of each machine; ``edges`` are by site, then by name.

    An edge that does not answer sends nothing now. Only where none of a site's own edges answers, what they
    showed last stands for it, with the reason why there is nothing newer.
    """
    answering = [each for own in edges.values() for each in own.values() if _is_fresh(each)]
    found: dict[str, Reading[Mapping[str, Traffic]]] = {}
    for site, own in edges.items():
        fresh = [each for each in own.values() if _is_fresh(each)]
        parts = (
            answering if fresh else [*answering, *(each for each in own.values() if each.value is not None)]
        )
        source, at = f"edges at {site}", min((each.at for each in parts if each.at is not None), default=None)
        reason = "" if fresh else "; ".join(each.reason for each in own.values()) or "the site has no edge"
        known = fresh or any(each.value is not None for each in own.values())
        sums = {group.name: _sum(parts, group.machines.get(site, ())) for group in groups} if known else None
        value = {name: traffic for name, traffic in sums.items() if traffic is not None} if sums else None
        found[site] = Reading(value, source, at, reason)
    return found


def _is_fresh(reading: Reading[Mapping[str, Traffic]]) -> bool:
    return reading.value is not None and not reading.reason


def _sum(parts: Sequence[Reading[Mapping[str, Traffic]]], machines: Sequence[str]) -> Traffic | None:
    rows = [part.value[name] for part in parts if part.value for name in machines if name in part.value]
    if not rows:
        return None
    limits = [row.session_limit for row in rows if row.session_limit is not None]
    return Traffic(
        per_s=sum(row.per_s for row in rows),
        peak_per_s=sum(row.peak_per_s for row in rows),
        sessions=sum(row.sessions for row in rows),
        session_limit=sum(limits) if len(limits) == len(rows) else None,
    )


def decide_capacity(figures: Figures) -> Capacity:
    """Whether ``figures.survivor`` can carry the sum of both sites."""
    groups = [group for group in figures.groups if any(group.machines.values())]
    running = {group.name: _running(group, figures) for group in groups}
    lines = [_rate(group, running[group.name], figures) for group in groups]
    add = {
        group.name: missing
        for group, line in zip(groups, lines, strict=True)
        if (missing := _missing(group, line, figures.headroom)) > 0
    }
    lines += [line for group in groups if (line := _sessions(group, figures)) is not None]
    if add:
        lines.append(_room({group.name: group for group in groups}, add, figures.hypervisors))
    return Capacity(
        figures.lost, figures.survivor, _gravest(lines), tuple(lines), add, _beyond_declared(groups, figures)
    )


def _gravest(lines: Sequence[Line]) -> Fit:
    fits = {line.fit for line in lines}
    if Fit.SHORT in fits:
        return Fit.SHORT
    return Fit.UNKNOWN if Fit.UNKNOWN in fits or not lines else Fit.FITS


def _running(group: Group, figures: Figures) -> int | None:
    """How many of the survivor's machines of the group run, on a host that is not known to be unusable."""
    if figures.servers.value is None or figures.servers.reason:
        return None  # what was last seen proves nothing of now
    names = group.machines.get(figures.survivor, ())
    unusable = {host.name for host in figures.hypervisors.value or () if not host.usable}
    return sum(
        server.name in names and server.power is Power.ON and server.hypervisor not in unusable
        for server in figures.servers.value
    )


def _rate(group: Group, running: int | None, figures: Figures) -> Line:
    demands = _demands(group, figures)
    servers = figures.servers
    line = Line(group.name, "requests/s", None, None, Fit.UNKNOWN, demands)
    unknown = [demand.reason for demand in demands if demand.value is None]
    if group.carries_per_s is None:
        unknown.append("what one machine carries is not declared (demand: in dcctl.yaml)")
    if running is None:
        unknown.append(f"how many machines run is not known: {servers.reason}")
    if unknown or running is None or group.carries_per_s is None:
        return replace(line, note="; ".join(unknown))
    needed = sum(demand.value or 0.0 for demand in demands)
    available = running * group.carries_per_s * (1 - figures.headroom)
    carried = Reading(available, f"{running} running at {group.carries_per_s:g}/s each", servers.at)
    return replace(
        line,
        needed=round(needed, 1),
        available=round(available, 1),
        fit=Fit.FITS if needed <= available else Fit.SHORT,
        sources=(*demands, carried),
        note="" if needed <= available else f"{needed - available:.1f}/s too few",
    )


def _demands(group: Group, figures: Figures) -> tuple[Reading[float], ...]:
    """What both sites ask of the group: their declared peaks, or what is measured now if that is more.

    Sums are compared, and not site by site: what a site that is out of rotation would ask for is in what
    the other one measures already. Where nothing is declared, what was measured last takes its place.
    """
    sites = (figures.survivor, figures.lost)
    expected = tuple(_expected(group, site, figures) for site in sites)
    now = tuple(
        Reading(seen.value[group.name].per_s, seen.source, seen.at)
        for site in sites
        if (seen := figures.traffic.get(site)) is not None
        and seen.value is not None
        and not seen.reason
        and group.name in seen.value
    )
    if any(each.value is None for each in expected):
        return expected
    return max(expected, now, key=lambda each: sum(reading.value or 0.0 for reading in each))


def _expected(group: Group, site: str, figures: Figures) -> Reading[float]:
    if not group.machines.get(site):
        return Reading(0.0, f"{site} has no machine of it")
    if (declared := (group.peak_per_s or {}).get(site)) is not None:
        return Reading(declared, f"declared for {site}")
    seen = figures.traffic.get(site, Reading(None, f"edges at {site}", reason="not asked"))
    if (measured := (seen.value or {}).get(group.name)) is not None:
        return Reading(measured.per_s, seen.source, seen.at, seen.reason)
    why = seen.reason or "no edge sends anything to it"
    return Reading(None, seen.source, reason=f"{site} declares no demand, and it is not measured: {why}")


def _missing(group: Group, line: Line, headroom: float) -> int:
    if line.fit is not Fit.SHORT or line.needed is None or line.available is None:
        return 0
    each = (group.carries_per_s or 0.0) * (1 - headroom)
    return ceil((line.needed - line.available) / each) if each > 0 else 1


def _sessions(group: Group, figures: Figures) -> Line | None:
    """Sessions at once against what the survivor's machines are given; None where that is not limited."""
    here, there = (figures.traffic.get(site) for site in (figures.survivor, figures.lost))
    own = (here.value or {}).get(group.name) if here is not None else None
    if here is None or there is None or own is None or own.session_limit is None:
        return None
    other = (there.value or {}).get(group.name)
    needed = own.sessions + (other.sessions if other is not None else 0)
    available = int(own.session_limit * (1 - figures.headroom))
    sources = [Reading(float(own.sessions), here.source, here.at, here.reason)]
    if other is not None:
        sources.append(Reading(float(other.sessions), there.source, there.at, there.reason))
    fit = Fit.FITS if needed <= available else Fit.SHORT
    return Line(group.name, "sessions", needed, available, fit, tuple(sources))


def _room(groups: Mapping[str, Group], add: Mapping[str, int], read: Reading[tuple[Hypervisor, ...]]) -> Line:
    """Whether the machines to be added find a place, each on one host."""
    wanted = [groups[name].size for name, number in add.items() for _each in range(number)]
    line = Line("", "machines to add", len(wanted), None, Fit.UNKNOWN, ())
    if read.value is None:
        return replace(line, note=f"what the hypervisors have free is not known: {read.reason}")
    placed = decide_placed(wanted, read.value)
    source = Reading(float(placed), f"{read.source}: {_largest(read.value)}", read.at, read.reason)
    fit = Fit.FITS if placed >= len(wanted) else Fit.SHORT
    return replace(line, available=placed, fit=fit, sources=(source,))


def decide_placed(wanted: Sequence[Size], hypervisors: Sequence[Hypervisor]) -> int:
    """How many of ``wanted``, largest first, find a host of their own choice: never more than really fit.

    The sum of what is free is no answer: a machine stands on one host.
    """
    free = [[host.vcpus - host.vcpus_used, _free_bytes(host)] for host in hypervisors if host.usable]
    placed = 0
    for size in sorted(wanted, key=lambda size: (size.memory_bytes, size.vcpus), reverse=True):
        fitting = [slot for slot in free if slot[0] >= size.vcpus and slot[1] >= size.memory_bytes]
        if fitting:
            tightest = min(fitting, key=lambda slot: slot[1])
            tightest[0] -= size.vcpus
            tightest[1] -= size.memory_bytes
            placed += 1
    return placed


def _free_bytes(host: Hypervisor) -> int:
    return host.memory_bytes - host.memory_reserved_bytes - host.memory_used_bytes


def _largest(hypervisors: Sequence[Hypervisor]) -> str:
    usable = [host for host in hypervisors if host.usable]
    if not usable:
        return "no usable host"
    host = max(usable, key=_free_bytes)
    free = f"{host.vcpus - host.vcpus_used} vCPUs and {_free_bytes(host) // MIB} MiB"
    return f"the largest free slot is {free} on {host.name}"


def _beyond_declared(groups: Sequence[Group], figures: Figures) -> tuple[str, ...]:
    """Peaks that were measured above what is declared: the declaration is not true any more."""
    notes = []
    for group in groups:
        for site, seen in figures.traffic.items():
            measured, declared = (seen.value or {}).get(group.name), (group.peak_per_s or {}).get(site)
            if measured is not None and declared is not None and measured.peak_per_s > declared:
                peak = f"{measured.peak_per_s:g}/s at its busiest since its edges started"
                notes.append(f"{group.name} at {site} was asked {peak}; {declared:g}/s are declared")
    return tuple(notes)
