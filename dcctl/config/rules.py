"""What must hold between the keys of a configuration, not within one.

Every rule reads the draft and yields where and what. A rule whose input is itself wrong says nothing:
that error is reported already, and this one may go away with it.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations

from dcctl.config.document import Location, Node, locate
from dcctl.config.draft import Draft, Group, Site, draft
from dcctl.config.schema import (
    KNOWN_ROLES,
    NEEDED_ROLES,
    REQUIRED_SECRETS,
    SITE_KINDS,
    WITNESS_PLACE,
    Configuration,
)
from dcctl.config.units import AddressRange
from dcctl.config.wording import did_you_mean, written
from dcctl.errors import Problem

Finding = tuple[Location, str]
AT_BOTH_SITES = ("postgresql", "edge", "swift", "procurement", "replication")
VOTERS = (3, 5)


def problems(root: Node) -> Iterator[Problem]:
    """Every rule that ``root`` breaks, with the place where it is broken."""
    read = draft(root.plain())
    for rule in RULES:
        for location, message in rule(read):
            yield locate(root, location).problem(f"{written(location, root)}: {message}")


def _two_sites(read: Draft) -> Iterator[Finding]:
    if read.sites is None:
        return
    if len(read.sites) != 2:  # noqa: PLR2004  # two datacenters is what dcctl is about
        yield ("sites",), f"exactly two sites are needed, here are {len(read.sites)}"
    for site in read.sites:
        if site.name == WITNESS_PLACE:
            yield ("sites", site.name), "this name is kept for the witness's place"


def _kinds(read: Draft) -> Iterator[Finding]:
    for site in read.sites or ():
        if site.kind not in tuple(SITE_KINDS):
            hint = did_you_mean(str(site.kind), tuple(SITE_KINDS), few=0) if site.kind is not None else ""
            yield ("sites", site.name, "kind"), f"must be {' or '.join(SITE_KINDS)}{hint}"


def _networks(read: Draft) -> Iterator[Finding]:
    for site in read.sites or ():
        yield from _network(site)
    for one, other in combinations(read.sites or (), 2):
        if one.cidr is not None and other.cidr is not None and one.cidr.overlaps(other.cidr):
            where = ("sites", other.name, "network", "cidr")
            yield where, f"{other.cidr} overlaps {one.cidr} of site {one.name}"


def _network(site: Site) -> Iterator[Finding]:
    where = ("sites", site.name, "network")
    cidr, pool = site.cidr, site.pool
    if cidr is None:
        return
    ends = (cidr.network_address, cidr.broadcast_address)
    if site.gateway is not None and (site.gateway not in cidr or site.gateway in ends):
        yield (*where, "gateway"), f"{site.gateway} is not a host's address in {cidr}"
    if pool is None:
        return
    if pool.first not in cidr or pool.last not in cidr:
        yield (*where, "addresses"), f"{pool} lies outside {cidr}"
    elif any(end in pool for end in ends):
        yield (*where, "addresses"), f"{pool} holds the network's own or its broadcast address"
    if site.gateway is not None and site.gateway in pool:
        yield (*where, "addresses"), f"{pool} holds the gateway {site.gateway}"


def _witness_apart(read: Draft) -> Iterator[Finding]:
    if read.witness is None:
        return
    for site in read.sites or ():
        address = read.witness.address
        if address is not None and site.cidr is not None and address in site.cidr:
            yield (
                ("witness", "address"),
                f"{address} lies in the network of site {site.name}, not at a third place",
            )
    if read.witness.name in _server_names(read):
        yield ("witness", "name"), f"{read.witness.name} is the name of a machine of a site too"


def _server_names(read: Draft) -> set[str]:
    return {
        f"{site}-{group.name}-{number}"
        for group in read.groups or ()
        for site in group.sites or ()
        for number in range(1, (group.count or 0) + 1)
    }


def _groups(read: Draft) -> Iterator[Finding]:
    if read.groups is not None and not read.groups:
        yield ("machines",), "no machine is asked for"
    for group in read.groups or ():
        where = ("machines", group.name)
        known = _site_names(read)
        for position, name in enumerate(group.sites or ()):
            if read.sites is not None and name not in known:
                yield (*where, "sites", position), f"there is no site {name!r}{did_you_mean(name, known)}"
        if group.size is not None and read.sizes is not None and group.size not in read.sizes:
            size, hint = group.size, did_you_mean(group.size, read.sizes)
            yield (*where, "size"), f"there is no size {size!r}{hint}"


def _site_names(read: Draft) -> tuple[str, ...]:
    return tuple(site.name for site in read.sites or ())


def _demand(read: Draft) -> Iterator[Finding]:
    groups = {group.name: group for group in read.groups or ()}
    for name, sites in read.demand.items():
        if read.groups is not None and name not in groups:
            yield ("demand", name), f"there is no group {name!r}{did_you_mean(name, tuple(groups))}"
            continue
        for site in sites:
            if name in groups and groups[name].sites is not None and not groups[name].at(site):
                known = _site_names(read)
                hint = "" if site in known else did_you_mean(site, known)
                yield ("demand", name, "peak", site), f"the group has no machine at {site!r}{hint}"


def _flavours(read: Draft) -> Iterator[Finding]:
    for site in read.sites or ():
        if site.flavours is None or read.sizes is None:
            continue
        where = ("sites", site.name, "flavours")
        for name in site.flavours:
            if name not in read.sizes:
                yield (*where, name), f"there is no size {name!r}{did_you_mean(name, read.sizes)}"
        wanted = {group.size for group in read.groups or () if group.at(site.name)}
        for name in read.sizes:
            if name in wanted and name not in site.flavours:
                yield where, f"size {name!r} is used at this site and has no flavour"


def _own_addresses(read: Draft) -> Iterator[Finding]:
    pools = {site.name: site.pool for site in read.sites or ()}
    taken: list[tuple[str, str, AddressRange]] = []
    for group in read.groups or ():
        for site, own in group.addresses.items():
            where = ("machines", group.name, "addresses", site)
            if group.sites is not None and site not in group.sites:
                yield where, f"the group has no machine at {site!r}{did_you_mean(site, _site_names(read))}"
                continue
            pool = pools.get(site)
            if pool is not None and not (own.first in pool and own.last in pool):
                yield where, f"{own} lies outside the site's addresses {pool}"
            if group.count is not None and len(own) < group.count:
                yield where, f"{own} is {len(own)} for a count of {group.count}"
            for other, other_site, theirs in taken:
                if site == other_site and own.overlaps(theirs):
                    yield where, f"{own} overlaps {theirs} of group {other}"
            taken.append((group.name, site, own))


def _room(read: Draft) -> Iterator[Finding]:
    for site in read.sites or ():
        groups = [group for group in read.groups or () if group.at(site.name)]
        if site.pool is None or any(group.count is None for group in groups):
            continue
        kept = sum(len(group.addresses[site.name]) for group in groups if site.name in group.addresses)
        room = len(site.pool) - kept
        wanted = sum(group.count or 0 for group in groups if site.name not in group.addresses)
        if wanted > room:
            where = ("sites", site.name, "network", "addresses")
            yield where, f"{site.pool} has room for {max(room, 0)} machines, {wanted} are asked for"


def _carried(read: Draft) -> Iterator[Finding]:
    known = _site_names(read)
    if not read.groups or any(group.roles is None or group.sites is None for group in read.groups):
        return
    if any(site not in known for group in read.groups for site in group.sites or ()):
        return
    for role in KNOWN_ROLES:
        groups = _carrying(read, role)
        sites = {site for group in groups for site in group.sites or ()}
        on_witness = read.witness is not None and role in (read.witness.roles or ())
        if not groups and not on_witness:
            if role in NEEDED_ROLES:
                yield ("machines",), f"no machine carries the role {role}"
        elif role in AT_BOTH_SITES:
            for site in known:
                if site not in sites:
                    where = ("machines", groups[0].name, "sites")
                    yield where, f"the role {role} is needed at both sites; {site} has none"


def _carrying(read: Draft, role: str) -> list[Group]:
    return [group for group in read.groups or () if role in (group.roles or ())]


def _voters(read: Draft) -> Iterator[Finding]:
    groups = _carrying(read, "zookeeper")
    unsure = any(
        group.roles is None or group.sites is None or group.count is None for group in read.groups or ()
    )
    if not groups or unsure or (read.witness is not None and read.witness.roles is None):
        return
    votes = Counter({site: 0 for group in groups for site in group.sites or ()})
    for group in groups:
        votes.update(dict.fromkeys(group.sites or (), group.count or 0))
    if read.witness is not None and "zookeeper" in (read.witness.roles or ()):
        votes[WITNESS_PLACE] += 1
    total = votes.total()
    where = ("machines", groups[0].name, "roles")
    spread = ", ".join(f"{place} {count}" for place, count in votes.items())
    if total not in VOTERS:
        spread += "" if read.witness else ", no witness"
        yield where, f"zookeeper has {total} voters ({spread}); 3 or 5 are needed, over all three places"
    elif read.survives_any_place:
        for place, count in votes.items():
            if 2 * (total - count) <= total:
                left = total - count
                yield (
                    where,
                    f"losing {place} leaves {left} of {total} zookeeper voters, no majority ({spread})",
                )


def _automatic(read: Draft) -> Iterator[Finding]:
    if read.mode != "automatic":
        return
    if read.witness is None:
        yield ("automation", "mode"), "automatic needs a witness: two sites alone cannot tell who is cut off"
    elif read.witness.roles is not None and "agent" not in read.witness.roles:
        told = "automatic needs an agent at the witness: it is the vantage that decides"
        yield ("witness", "roles"), told
    if read.survives_any_place is False:
        yield ("rules", "quorum_survives_any_place"), "automatic needs a quorum that survives any place"


def why_not_automatic(configuration: Configuration) -> tuple[str, ...]:
    """Why ``automation.mode: automatic`` would be wrong in this environment, whatever it says now."""
    read = draft(configuration.model_dump(mode="json", exclude_none=True))
    return tuple(message for _location, message in _automatic(replace(read, mode="automatic")))


NEEDS = {"procurement": "swift", "replication": "swift"}
"""The roles that are of no use without another."""


def _documents(read: Draft) -> Iterator[Finding]:
    if not read.groups or any(group.roles is None for group in read.groups):
        return
    for role, other in NEEDS.items():
        if (carrying := _carrying(read, role)) and not _carrying(read, other):
            where = ("machines", carrying[0].name, "roles")
            yield where, f"the role {role} needs the role {other}; no machine carries it"
    if (carrying := _carrying(read, "replication")) and not read.replicated:
        where = ("machines", carrying[0].name, "roles")
        yield where, "the role replication needs the section replication:, which is missing"


def _keystone(read: Draft) -> Iterator[Finding]:
    if read.swift_auth == "keystone" and read.keystones is not None:
        for site in _site_names(read):
            if site not in read.keystones:
                yield ("swift", "keystone"), f"auth: keystone needs the Keystone of site {site}"
    for site in read.keystones or ():
        if read.swift_auth == "tempauth":
            yield ("swift", "keystone", site), "is not used with auth: tempauth"
        elif read.sites is not None and site not in _site_names(read):
            hint = did_you_mean(site, _site_names(read))
            yield ("swift", "keystone", site), f"there is no site {site!r}{hint}"


def _secrets(read: Draft) -> Iterator[Finding]:
    if read.secrets is None:
        return
    known = tuple(dict.fromkeys(name for names in REQUIRED_SECRETS.values() for name in names))
    for name in read.secrets:
        if name not in known:
            yield ("secrets", name), f"no role uses a secret of this name{did_you_mean(name, known)}"
    for role, names in REQUIRED_SECRETS.items():
        if _carrying(read, role):
            for name in names:
                if name not in read.secrets:
                    yield ("secrets",), f"{name} is missing; the role {role} needs it"


def _own_probes(read: Draft) -> Iterator[Finding]:
    places = (*_site_names(read), *((WITNESS_PLACE,) if read.witness else ()))
    for name, (site, role) in read.probes.items():
        where = ("probes", "own", name)
        if isinstance(site, str) and read.sites is not None and site not in places:
            yield (*where, "site"), f"there is no site {site!r}{did_you_mean(site, places)}"
        if isinstance(role, str) and role not in ("base", *KNOWN_ROLES):
            hint = did_you_mean(role, ("base", *KNOWN_ROLES))
            yield (*where, "role"), f"there is no role {role!r}{hint}"


RULES: tuple[Callable[[Draft], Iterator[Finding]], ...] = (
    _two_sites,
    _kinds,
    _networks,
    _witness_apart,
    _groups,
    _demand,
    _flavours,
    _own_addresses,
    _room,
    _carried,
    _voters,
    _automatic,
    _documents,
    _keystone,
    _secrets,
    _own_probes,
)
