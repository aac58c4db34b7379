"""What has to be done so that the clouds run what is configured. Pure.

Nothing that is not ours is ever part of a plan, and nothing that differs is replaced: a difference is
shown, and it is a person who decides whether a machine with data on it is made anew.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from dcctl.domain.machine import Power, Server, ServerSpec
from dcctl.domain.refusal import Refusal

MIB = 2**20


class Do(StrEnum):
    """What a plan does about one server."""

    CREATE = "create"
    MEND = "make anew"
    """What an earlier create left unfinished."""
    POWER_ON = "power on"
    DELETE = "delete"
    KEEP = "keep"
    DIFFERS = "differs"
    """Kept as it is, though it is not what is configured."""
    ORPHAN = "orphan"
    """Ours, and not configured any more: kept unless the plan is to prune."""


CHANGES = frozenset({Do.CREATE, Do.MEND, Do.POWER_ON, Do.DELETE})
DRIFT = frozenset({Do.DIFFERS, Do.ORPHAN})


@dataclass(frozen=True, slots=True)
class Action:
    """One server's line of a plan. ``spec`` is None for what is not configured, ``server`` for what does
    not exist. ``differences`` are phrases such as "2 vCPUs, configured 4"."""

    do: Do
    site: str
    name: str
    spec: ServerSpec | None
    server: Server | None
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """All servers of ours, sites and names in order."""

    actions: tuple[Action, ...]

    @property
    def changes(self) -> tuple[Action, ...]:
        return tuple(action for action in self.actions if action.do in CHANGES)

    @property
    def drift(self) -> tuple[Action, ...]:
        return tuple(action for action in self.actions if action.do in DRIFT)

    def at(self, site: str) -> tuple[Action, ...]:
        return tuple(action for action in self.actions if action.site == site)


def decide_provision(
    environment: str,
    wanted: Sequence[ServerSpec],
    observed: Mapping[str, Sequence[Server]],
    *,
    prune: bool = False,
) -> Plan | Refusal:
    """What to do at the sites in ``observed`` so that they run what ``wanted`` says of them.

    Refused when a name or an address that we need is taken by a server that is not ours, by an orphan
    that is not pruned, or by two servers of ours.
    """
    reasons: list[str] = []
    actions: list[Action] = []
    for site, servers in observed.items():
        ours = [server for server in servers if server.owner == environment]
        specs = [spec for spec in wanted if spec.site == site]
        orphans = _orphans(specs, ours)
        standing = [server for server in servers if not (prune and server in orphans)]
        for spec in specs:
            reasons += _conflicts(spec, standing, environment)
            actions.append(_action(spec, ours))
        do = Do.DELETE if prune else Do.ORPHAN
        actions += [Action(do, site, server.name, None, server) for server in orphans]
    return Refusal(tuple(reasons)) if reasons else Plan(_in_order(actions))


def decide_destroy(
    environment: str, observed: Mapping[str, Sequence[Server]], *, names: Iterable[str] = ()
) -> Plan | Refusal:
    """Delete every server of ours at the sites in ``observed``, or those of ``names``.

    Refused when a name is that of no server of ours.
    """
    ours = [server for servers in observed.values() for server in servers if server.owner == environment]
    chosen = set(names)
    foreign = {server.name: server for servers in observed.values() for server in servers}
    missing = sorted(chosen - {server.name for server in ours})
    if missing:
        return Refusal(tuple(_not_ours(name, foreign.get(name)) for name in missing))
    return Plan(
        _in_order(
            Action(Do.DELETE, server.site, server.name, None, server)
            for server in ours
            if not chosen or server.name in chosen
        )
    )


def _in_order(actions: Iterable[Action]) -> tuple[Action, ...]:
    return tuple(sorted(actions, key=lambda action: (action.site, action.name)))


def _orphans(specs: Sequence[ServerSpec], ours: Sequence[Server]) -> list[Server]:
    names = {spec.name for spec in specs}
    return [server for server in ours if server.name not in names]


def _action(spec: ServerSpec, ours: Sequence[Server]) -> Action:
    named = [server for server in ours if server.name == spec.name]
    whole = [server for server in named if not server.leftover]
    if not named:
        return Action(Do.CREATE, spec.site, spec.name, spec, None)
    if not whole:
        return Action(Do.MEND, spec.site, spec.name, spec, named[0])
    server = whole[0]
    differences = _differences(spec, server)
    if server.power in (Power.OFF, Power.SUSPENDED):
        return Action(Do.POWER_ON, spec.site, spec.name, spec, server, differences)
    return Action(Do.DIFFERS if differences else Do.KEEP, spec.site, spec.name, spec, server, differences)


def _differences(spec: ServerSpec, server: Server) -> tuple[str, ...]:
    found = []
    if server.address != spec.address:
        found.append(f"address {server.address or 'unknown'}, configured {spec.address}")
    if (size := server.size) is not None:
        if size.vcpus != spec.size.vcpus:
            found.append(f"{size.vcpus} vCPUs, configured {spec.size.vcpus}")
        if size.memory_bytes != spec.size.memory_bytes:
            found.append(
                f"memory {size.memory_bytes // MIB} MiB, configured {spec.size.memory_bytes // MIB} MiB"
            )
        if 0 < size.disk_bytes < spec.size.disk_bytes:  # 0: not told; an image may need more than configured
            found.append(f"disk {size.disk_bytes // MIB} MiB, configured {spec.size.disk_bytes // MIB} MiB")
    if server.power is Power.UNKNOWN:
        found.append(f"power unknown ({server.status})")
    if not server.host_key:
        found.append("no host key on the server: who answers there cannot be proven")
    return tuple(found)


def _conflicts(spec: ServerSpec, standing: Sequence[Server], environment: str) -> list[str]:
    """Why ``spec`` cannot be had beside what is ``standing`` at its site."""
    reasons = []
    by_name: dict[str, list[Server]] = defaultdict(list)
    for server in standing:
        by_name[server.name].append(server)
        if server.address == spec.address and server.name != spec.name:
            reasons.append(_address_taken(spec, server, environment))
    for server in by_name[spec.name]:
        if server.owner != environment:
            reasons.append(
                f"{spec.site}: the name {spec.name} is taken by server {server.id}, which belongs to "
                f"{_owner(server)}"
            )
    twins = [server for server in by_name[spec.name] if server.owner == environment and not server.leftover]
    if len(twins) > 1:
        ids = ", ".join(server.id for server in twins)
        reasons.append(f"{spec.site}: {len(twins)} servers of ours are named {spec.name} ({ids}); delete one")
    return reasons


def _address_taken(spec: ServerSpec, server: Server, environment: str) -> str:
    taken = f"{spec.site}: the address {spec.address} of {spec.name} is taken by {server.name}"
    if server.owner == environment:
        return f"{taken}, which is ours and not configured so any more; --prune removes orphans"
    return f"{taken} ({server.id}), which belongs to {_owner(server)}"


def _owner(server: Server) -> str:
    return f"environment {server.owner!r}" if server.owner else "nobody that dcctl knows"


def _not_ours(name: str, server: Server | None) -> str:
    if server is None:
        return f"there is no server {name}"
    return f"{server.site}: server {name} belongs to {_owner(server)}"
