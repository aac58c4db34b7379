"""In which order a deploy goes through the places, and what is taken out of traffic for it. Pure.

Invariants, which the tests try to break:

1. A site that serves clients is configured only while it is out of rotation, and another one serves.
2. Nothing is taken out for a deploy that would change nothing there.
3. Only what the deploy took out is put back: neither a person's drain nor a quarantine is ended by it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from dcctl.domain.deploy import Deployment, Target
from dcctl.domain.observation import DatabaseReport, Seen, View, VoterMode
from dcctl.domain.refusal import Refusal
from dcctl.domain.rules import Override, Reason, Rule, settle
from dcctl.domain.traffic import Rotation

TAKEN_OUT: Final = "a deploy configures it"
"""The reason that a site's state gives while a deploy has taken it out; the next deploy may put it back."""


@dataclass(frozen=True, slots=True)
class SiteNow:
    """A site before a deploy. ``ours``: an earlier deploy took it out and did not put it back."""

    name: str
    rotation: Rotation
    serves: bool
    why_not: str = ""
    ours: bool = False
    primary: bool = False
    """It holds the database's primary."""


@dataclass(frozen=True, slots=True)
class Wave:
    """What is configured together. ``site`` is empty for what is in nobody's rotation."""

    place: str
    deployment: Deployment
    site: str = ""
    drain: bool = False
    undrain: bool = False
    everything: Deployment | None = None
    """All of the place, where an earlier deploy left it half done: the gate then looks at everything."""

    @property
    def gate(self) -> Deployment:
        """What must be well before the place serves again."""
        return self.everything or self.deployment


@dataclass(frozen=True, slots=True)
class Rollout:
    """Waves in order; ``together`` says why all places are in one, and is empty where each has its own."""

    waves: tuple[Wave, ...]
    together: str = ""
    overridden: tuple[Reason, ...] = ()
    """What would stand against it, were its rule not overridden for this run."""

    def sentence(self) -> str:
        """What will happen, for people."""
        if self.together:
            return f"all places at once: {self.together}"
        told = [
            f"{wave.place} (out of traffic meanwhile)" if wave.undrain else wave.place for wave in self.waves
        ]
        return (
            f"one place at a time: {', '.join(told)}"
            if told
            else "nothing would change: only checks are made"
        )


def decide_rollout(
    deployment: Deployment,
    targets: Sequence[Target],
    changed: Sequence[str],
    sites: Sequence[SiteNow],
    *,
    together: str = "",
    closed: Sequence[Reason] = (),
    overrides: Sequence[Override] = (),
) -> Rollout | Refusal:
    """The waves that bring ``changed`` machines of ``deployment`` to what is configured.

    ``changed`` are those that would change, or could not be compared. ``together`` is a reason to do all
    at once (a person's wish, or edges that nobody could steer); a system that serves nobody is another.
    ``closed`` are reasons why nothing planned begins now: nobody is spared by it where nobody is served.
    """
    if not changed and not any(site.ours for site in sites):
        return Rollout(())
    if not together and not any(site.serves for site in sites):
        told = "; ".join(site.why_not for site in sites if site.why_not)
        nobody = f"no site serves clients{f' ({told})' if told else ''}"
        return Rollout((Wave("", deployment),) if changed else (), nobody)
    waves, reasons = ([Wave("", deployment)] if changed else [], list[Reason]())
    if not together:
        waves, reasons = _one_by_one(deployment, targets, changed, sites)
    standing, overridden = settle([*reasons, *closed], overrides)
    return Refusal(standing) if standing else Rollout(tuple(waves), together, overridden)


def _one_by_one(
    deployment: Deployment, targets: Sequence[Target], changed: Sequence[str], sites: Sequence[SiteNow]
) -> tuple[list[Wave], list[Reason]]:
    known = {site.name for site in sites}
    place_of = {target.name: target.place for target in targets}
    elsewhere = dict.fromkeys(place_of[name] for name in changed if place_of[name] not in known)
    waves = [Wave(place, at_place(deployment, targets, place)) for place in elsewhere]
    serving = {site.name for site in sites if site.serves and site.rotation is Rotation.ACTIVE}
    reasons: list[Reason] = []
    for site in sorted(sites, key=_turn):
        own = at_place(deployment, targets, site.name)
        back = site.ours and bool(own.machines)
        if not back and not any(place_of[name] == site.name for name in changed):
            continue
        drain = site.rotation is Rotation.ACTIVE
        if drain and not serving - {site.name}:
            reasons.append(Reason(Rule.NEVER_ZERO_ACTIVE, _none_left(site, sites)))
        undrain = drain or back
        everything = _everything(targets, site.name) if back else None
        waves.append(Wave(site.name, own, site.name, drain, undrain, everything))
        if undrain:
            serving.add(site.name)
    return waves, reasons


def _turn(site: SiteNow) -> tuple[bool, bool]:
    """What serves nobody comes first, the primary's site last: the other one is well again by then."""
    return site.serves and site.rotation is Rotation.ACTIVE, site.primary


def _none_left(site: SiteNow, sites: Sequence[SiteNow]) -> str:
    others = [
        f"{other.name} is {other.rotation}" if other.rotation is not Rotation.ACTIVE else other.why_not
        for other in sites
        if other.name != site.name
    ]
    return f"taking {site.name} out would leave no site to serve: {'; '.join(others)}"


def at_place(deployment: Deployment, targets: Sequence[Target], place: str) -> Deployment:
    """The part of ``deployment`` that is at ``place``; no machines where none is."""
    there = [target for target in targets if target.place == place and target.name in deployment.machines]
    carried = {role for target in there for role in target.roles}
    return Deployment(
        roles=tuple(role for role in deployment.roles if role in carried),
        machines=tuple(target.name for target in there),
        whole=False,
    )


def _everything(targets: Sequence[Target], place: str) -> Deployment:
    roles = tuple(dict.fromkeys(role for target in targets for role in target.roles))
    return at_place(Deployment(roles, tuple(target.name for target in targets), whole=True), targets, place)


def decide_ready(view: View, machines: Collection[str]) -> tuple[str, ...]:
    """Why the others cannot do without ``machines`` for a while; empty when they can.

    Every other voter serves, and another database is the primary or a synchronous standby that confirms
    writes. What is wrong at ``machines`` themselves is no reason: configuring them may mend it.
    """
    reasons = [
        f"voter {name} does not serve: {seen.reason if seen.value is None else seen.value.mode}"
        for name, seen in view.voters.items()
        if name not in machines
        and (seen.value is None or seen.value.mode not in (VoterMode.LEADER, VoterMode.FOLLOWER))
    ]
    others = [name for name in view.databases if name not in machines]
    if others and not any(_can_lead(name, view) for name in others):
        seen = "; ".join(f"{name}: {_shown(view.databases[name])}" for name in others)
        reasons.append(f"no other database is the primary or its synchronous standby ({seen})")
    return tuple(reasons)


def _can_lead(name: str, view: View) -> bool:
    """It is the primary, or a standby without which the primary acknowledges nothing."""
    own = view.databases[name].value
    if own is not None and own.primary:
        return True
    named = view.cluster.value.synchronous if view.cluster.value is not None else ()
    primaries = [seen.value for seen in view.databases.values() if seen.value and seen.value.primary]
    confirms = any(each.streaming.get(name) in ("sync", "quorum") for each in primaries)
    return own is not None and name in named and confirms


def _shown(seen: Seen[DatabaseReport]) -> str:
    return seen.reason if seen.value is None else seen.value.state
