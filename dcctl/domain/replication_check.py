"""What must be true of two clusters before their documents can be kept the same."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from dcctl.domain.replication_token import WEAKER

MAX_SKEW_S = 5.0
WARN_SKEW_S = 1.0
NEARLY = 0.95
MAYBE_SHARDED = 1_000_000
"""``shard_container_threshold``, from which on a cluster that shards by itself does (Swift's default)."""
SHARDED = (
    "a listing may lag behind for as long as a cycle of the container-sharder. Passes ask for each object"
    " that a listing lacks, so nothing is lost: make replication.settled that long, and verify anew what it"
    " finds missing"
)


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What a cluster says of itself. ``skew_s``: its clock minus ours."""

    site: str
    version: str
    capabilities: frozenset[str]
    realms: frozenset[str]
    skew_s: float
    quota_bytes: int | None = None
    used_bytes: int = 0
    policies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """How a container is set up. ``settings`` are its ACLs and metadata, ``mark`` is ours
    (``domain/replication_containers.py``)."""

    site: str
    container: str
    has_key: bool
    key: str
    sync_to: str
    versioned: bool
    sharded: bool
    policy: str
    objects: int
    quota_bytes: int | None = None
    used_bytes: int = 0
    quota_count: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ``refuse`` stops replication, ``warn`` does not."""

    level: Literal["ok", "warn", "refuse"]
    where: str
    sentence: str


def decide_cluster(facts: ClusterFacts, *, realm: str | None) -> tuple[Finding, ...]:
    """What speaks for and against a cluster.

    | seen | finding |
    |------|---------|
    | no ``container_sync`` in ``/info`` | refuse: no request would be believed its timestamp |
    | the realm is not listed | refuse |
    | no realm is configured: tokens are used | ok without ``container_sync``, warn with it |
    | clock more than 5 s off | refuse; more than 1 s: warn |
    | no ``slo`` or ``dlo`` | warn: large objects would not be readable |
    | the account's quota is nearly used | warn |
    """
    found = []

    def note(level: Literal["ok", "warn", "refuse"], sentence: str) -> None:
        found.append(Finding(level, facts.site, sentence))

    if realm is None:
        sync = "container_sync" in facts.capabilities
        better = ": signed requests would promise more than tokens do" if sync else ""
        note("warn" if sync else "ok", f"Swift {facts.version}{better}")
    elif "container_sync" not in facts.capabilities:
        note(
            "refuse", "the container_sync middleware is not in the proxies' pipeline (or replication.tokens)"
        )
    elif realm.lower() not in facts.realms:
        known = ", ".join(sorted(facts.realms)) or "none"
        note("refuse", f"realm {realm} is not in container-sync-realms.conf (there: {known})")
    else:
        note("ok", f"Swift {facts.version}, realm {realm}")
    size = abs(facts.skew_s)
    level: Literal["ok", "warn", "refuse"] = (
        "refuse" if size > MAX_SKEW_S else "warn" if size > WARN_SKEW_S else "ok"
    )
    note(level, f"clock {facts.skew_s:+.1f} s from ours")
    for name in ("slo", "dlo"):
        if name not in facts.capabilities:
            note("warn", f"no {name}: large objects of that kind could not be read there")
    if facts.quota_bytes is not None and facts.used_bytes > NEARLY * facts.quota_bytes:
        note("warn", f"{facts.used_bytes} of the account's quota of {facts.quota_bytes} bytes are used")
    return tuple(found)


def decide_container(
    facts: ContainerFacts | None, *, site: str, container: str, key: str
) -> tuple[Finding, ...]:
    """What speaks for and against a container.

    | seen | finding |
    |------|---------|
    | it is missing, or has no or another key | refuse: ``replication init`` mends it |
    | ``X-Container-Sync-To`` is set | refuse: the native container-sync would write too |
    | versioned | refuse: asking for a stamp would archive a version each time |
    | sharded (an owner is not told, a reseller's administrator is) | warn |
    | so many objects that it may be sharded | warn |
    | a quota; nearly used up | ok; warn |
    """
    where = f"{site}:{container}"
    if facts is None:
        return (Finding("refuse", where, "there is no such container (dcctl replication init)"),)
    found = []
    if facts.key != key:
        saw = "another key" if facts.has_key else "no key"
        found.append(Finding("refuse", where, f"it has {saw} for signed requests (dcctl replication init)"))
    if facts.sync_to:
        found.append(Finding("refuse", where, f"the native container-sync writes to {facts.sync_to}"))
    if facts.versioned:
        found.append(
            Finding("refuse", where, "it keeps versions: replication would archive one per question")
        )
    if facts.sharded:
        found.append(Finding("warn", where, f"it is sharded: {SHARDED}"))
    elif facts.objects >= MAYBE_SHARDED:
        found.append(Finding("warn", where, f"{facts.objects} objects, so it may be sharded: {SHARDED}"))
    for used, quota, unit in (
        (facts.used_bytes, facts.quota_bytes, "bytes"),
        (facts.objects, facts.quota_count, "objects"),
    ):
        if quota is not None and used > NEARLY * quota:
            found.append(Finding("warn", where, f"{used} of its quota of {quota} {unit} are used"))
    return tuple(found) or (Finding("ok", where, f"{facts.objects} objects, policy {facts.policy}"),)


def decide_pair(a: ContainerFacts, b: ContainerFacts) -> tuple[Finding, ...]:
    """Where both sides' containers differ in what is not replicated.

    | seen | finding |
    |------|---------|
    | other storage policies | warn: the same objects, kept differently |
    | other quotas | warn: what fits into one may not fit into the other |
    """
    found = []
    if a.policy != b.policy:
        saw = f"policy {a.policy} at {a.site} and {b.policy} at {b.site}: the same objects, kept differently"
        found.append(Finding("warn", a.container, saw))
    if (a.quota_bytes, a.quota_count) != (b.quota_bytes, b.quota_count):
        found.append(
            Finding(
                "warn", a.container, "other quotas at both sites: what fits into one may not fit the other"
            )
        )
    return tuple(found)


def decide_tokens() -> tuple[Finding, ...]:
    """What is not promised with tokens, one by one."""
    return tuple(Finding("warn", "tokens", sentence) for sentence in WEAKER)


def decide_writable(site: str, container: str, refusal: str | None) -> tuple[Finding, ...]:
    """Whether a signed write would be taken, asked by one that cannot match its ETag and changes nothing."""
    where = f"{site}:{container}"
    if refusal is None:
        return (Finding("ok", where, "takes signed writes"),)
    return (Finding("refuse", where, f"does not take signed writes: {refusal}"),)


def decide_gap(
    container: str, complete: datetime | None, *, now: datetime, trusted: timedelta
) -> tuple[Finding, ...]:
    """Whether tombstones of everything deleted since the last complete pass still exist.

    ``trusted`` is ``reclaim_age`` less its margin.
    """
    if complete is None:
        return (Finding("warn", container, "no complete pass yet: the first one carries no deletes"),)
    gap = now - complete
    if gap > trusted:
        sentence = f"the last complete pass was {gap} ago: one-sided names will wait for a person"
        return (Finding("warn", container, sentence),)
    return (Finding("ok", container, f"the last complete pass was {gap} ago"),)
