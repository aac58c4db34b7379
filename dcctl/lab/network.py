"""The lab's networks: one bridge per place in a backbone namespace, routing between them, and cuts.

All of it lives in network namespaces of the lab's own: no route, rule, link or sysctl of the host changes.

A cut is a set of directed pairs of bridges whose traffic the backbone drops, statelessly, so that
established connections stop too. Each element carries the kernel's own timer: a cut heals by itself even
when everything that could have healed it is dead.
"""

import ipaddress
import json
from collections.abc import Iterable
from dataclasses import dataclass

from dcctl.errors import Unreachable, UsageError
from dcctl.lab.paths import BACKBONE, NAMESPACES, PLACES, Place
from dcctl.lab.process import run

TABLE = "inet dcctl"


@dataclass(frozen=True, slots=True)
class Cut:
    """Traffic from ``source`` to ``target`` is dropped; it heals by itself in ``heals_in_s`` seconds."""

    source: str
    target: str
    heals_in_s: int


def ensure_backbone() -> None:
    """Make the backbone: bridges with the gateways' addresses, forwarding, and the set of cuts."""
    ensure_namespace(BACKBONE)
    _inside(BACKBONE, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    present = _links(BACKBONE)
    missing = [place for place in PLACES.values() if place.bridge not in present]
    _ip(BACKBONE, [command for place in missing for command in _bridge_commands(place)])
    _nft("-f", "-", stdin=_ruleset())


def _bridge_commands(place: Place) -> tuple[str, ...]:
    return (
        f"link add {place.bridge} address {hardware_address(place.gateway)} "
        "type bridge stp_state 0 forward_delay 0",
        f"address add {place.gateway}/24 dev {place.bridge}",
        f"link set {place.bridge} up",
    )


def _ruleset() -> str:
    """Whole table anew: a gateway answers only its own network, so that a cut leaves no way round."""
    own_gateway_only = "\n".join(
        f'iifname "{place.bridge}" ip daddr != {place.gateway} drop' for place in PLACES.values()
    )
    return f"""
        add table {TABLE}
        delete table {TABLE}
        table {TABLE} {{
            set cut {{ type ifname . ifname; flags timeout; }}
            chain forward {{
                type filter hook forward priority 0; policy accept;
                iifname . oifname @cut drop
            }}
            chain input {{
                type filter hook input priority 0; policy accept;
                {own_gateway_only}
            }}
        }}
    """


def ensure_namespace(name: str) -> None:
    """A network namespace with its loopback up and without IPv6."""
    if not (NAMESPACES / name).exists():
        run(["ip", "netns", "add", name])
    _inside(name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
    _ip(name, ["link set lo up"])


def remove_namespace(name: str) -> None:
    """Remove it with every link in it; absent is done."""
    if (NAMESPACES / name).exists():
        run(["ip", "netns", "delete", name])


def plug(namespace: str, place: str, *, port: str, address: str, gateway: str = "") -> None:
    """Connect ``namespace`` to a place as ``eth0``, addressed from outside as a cloud's port does.

    ``port`` names the bridge's end (at most 15 characters); ``address`` carries its prefix length.
    """
    ensure_namespace(namespace)
    unplug(port)
    bridge = PLACES[place].bridge
    _ip(
        BACKBONE,
        [
            f"link add {port} type veth peer name eth0 address {hardware_address(address)} netns {namespace}",
            f"link set {port} master {bridge} up",
        ],
    )
    _ip(
        namespace,
        [
            f"address add {address} dev eth0",
            "link set eth0 up",
            f"route add default via {gateway or PLACES[place].gateway}",
        ],
    )


def hardware_address(address: str) -> str:
    """The same for the same IPv4 address, always: no neighbour remembers a card that is gone.

    Locally administered (the second bit of the first byte), then the address's own four bytes.
    """
    return "02:00:" + ":".join(f"{byte:02x}" for byte in ipaddress.IPv4Interface(address).packed)


def unplug(port: str) -> None:
    """Pull the cable out and remove both its ends; absent is done."""
    if (NAMESPACES / BACKBONE).exists() and port in _links(BACKBONE):
        _ip(BACKBONE, [f"link delete {port}"])


def set_port(port: str, *, up: bool) -> None:
    """Carrier on or off at the bridge's end; a port that does not exist stays so."""
    if (NAMESPACES / BACKBONE).exists() and port in _links(BACKBONE):
        _ip(BACKBONE, [f"link set {port} {'up' if up else 'down'}"])


def cut(place: str, *, for_s: int, other: str | None = None, one_way: bool = False) -> None:
    """Drop all traffic between ``place`` and ``other`` (everything else, when None) for ``for_s`` seconds.

    ``one_way`` drops only what ``place`` sends. Inside a place traffic goes on. A pair that is already cut
    gets the new time. Raises UsageError for a place that does not exist or a time below one second.
    """
    if for_s < 1:
        raise UsageError(
            "cut", on=place, saw="a cut lasts at least one second", next_command="dcctl lab status"
        )
    others = [_place(other)] if other else [each for each in PLACES.values() if each.name != place]
    ours = _place(place)
    if ours in others:
        raise UsageError("cut", on=place, saw="a place is not cut from itself")
    pairs = [(ours, each) for each in others]
    if not one_way:
        pairs += [(each, ours) for each in others]
    _nft("-f", "-", stdin=_cut_commands(pairs, for_s))


def _cut_commands(pairs: Iterable[tuple[Place, Place]], for_s: int) -> str:
    """``add`` does not renew the timer of an element that exists: remove it in the same transaction."""
    lines: list[str] = []
    for source, target in pairs:
        lines += _removal(source, target)
        lines.append(f"add element {TABLE} cut {{ {_pair(source, target)} timeout {for_s}s }}")
    return "\n".join(lines)


def _removal(source: Place, target: Place) -> tuple[str, str]:
    """What is not there cannot be deleted, and it may run out as we speak: add it first."""
    pair = _pair(source, target)
    return f"add element {TABLE} cut {{ {pair} }}", f"delete element {TABLE} cut {{ {pair} }}"


def _pair(source: Place, target: Place) -> str:
    return f'"{source.bridge}" . "{target.bridge}"'


def heal(place: str | None = None) -> None:
    """End every cut that ``place`` is part of, or all of them."""
    if place is None:
        _nft("flush", "set", *TABLE.split(), "cut")
        return
    ours = _place(place)
    others = [each for each in PLACES.values() if each is not ours]
    pairs = [(ours, each) for each in others] + [(each, ours) for each in others]
    _nft("-f", "-", stdin="\n".join(line for pair in pairs for line in _removal(*pair)))


def heal_way(source: str, target: str) -> None:
    """End the cut of what ``source`` sends to ``target``; where there is none, that is done."""
    _nft("-f", "-", stdin="\n".join(_removal(_place(source), _place(target))))


def observe_cuts() -> tuple[Cut, ...]:
    """What is cut now, sorted."""
    document = json.loads(_nft("-j", "list", "set", *TABLE.split(), "cut"))
    (found,) = [item["set"] for item in document["nftables"] if "set" in item]
    return tuple(sorted(map(_as_cut, found.get("elem", [])), key=lambda each: (each.source, each.target)))


def _as_cut(item: dict[str, dict[str, object]]) -> Cut:
    element = item["elem"]
    source, target = element["val"]["concat"]  # type: ignore[index]  # nft's JSON schema (libnftables-json(5))
    return Cut(_of_bridge(source), _of_bridge(target), int(element.get("expires", 0)))  # type: ignore[call-overload]


def _of_bridge(bridge: str) -> str:
    return bridge.removeprefix("dc-")


def _place(name: str) -> Place:
    try:
        return PLACES[name]
    except KeyError:
        raise UsageError(
            "find the place", on=name, saw=f"the lab has {', '.join(PLACES)}", next_command="dcctl lab status"
        ) from None


def _nft(*arguments: str, stdin: str = "") -> str:
    """Raises Unreachable when there is no lab."""
    if not (NAMESPACES / BACKBONE).exists():
        raise Unreachable(
            "reach the lab's networks", saw="no lab runs on this host", next_command="dcctl lab up"
        )
    return _inside(BACKBONE, "nft", *arguments, stdin=stdin)


def _ip(namespace: str, commands: Iterable[str]) -> None:
    batch = "\n".join(commands)
    if batch:
        run(["ip", "-n", namespace, "-batch", "-"], stdin=batch + "\n")


def _links(namespace: str) -> set[str]:
    return {link["ifname"] for link in json.loads(run(["ip", "-n", namespace, "-json", "link", "show"]))}


def _inside(namespace: str, *argv: str, stdin: str = "") -> str:
    return run(["nsenter", f"--net={NAMESPACES / namespace}", *argv], stdin=stdin)
