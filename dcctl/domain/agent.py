"""Whether an agent does its work, from what it last did. Pure.

An agent that is frozen answers nobody; one that is cut off from the ensemble answers, and says so: its
lease is as old as its last acknowledged request.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dcctl.domain.leadership import Epoch
from dcctl.domain.probe import ProbeResult
from dcctl.domain.traffic import EdgeApplied, SiteState
from dcctl.domain.verdict import SiteVerdict

STEER_LIMIT_S = 10.0
"""A round of steering that began longer ago has not ended: something holds it."""
WATCH_LIMIT_S = 30.0
"""The same for a round of probes, each of which has a time limit of its own."""
GUARD_LIMIT_S = 5.0
"""The same for a look at the lease."""
PULSE_LIMIT_S = 10.0
"""The same for a round of the quick ones."""


MARGIN = 0.15
"""The part of a session by which a site's lease ends earlier: for the difference in the speed of clocks, and
for the time that fencing takes (as for roles, ``domain.leadership``)."""


def lease_left_s(now_s: float, acknowledged_s: float | None, began_s: float, session_s: float) -> float:
    """Seconds until a site's agent must have fenced it; below 0 the lease is over.

    Counted from when the last request that the ensemble acknowledged was *sent*, by our own clock, never
    from an event: a client that is cut off hears of no event. An agent that was acknowledged nothing has
    had its lease since it ``began_s``.
    """
    since_s = began_s if acknowledged_s is None else acknowledged_s
    return since_s + session_s * (1 - MARGIN) - now_s


@dataclass(frozen=True, slots=True)
class AgentView:
    """An agent at one moment; ages in seconds.

    ``lease_age_s`` is the time since the last request that the ensemble acknowledged was sent, None where
    none ever was; ``session_s`` the session that the ensemble granted, None before it did. ``problem`` is
    why its edge is not as wanted; empty is well, and where there is no edge.
    """

    lease_age_s: float | None
    session_s: float | None
    steered_age_s: float
    watched_age_s: float
    problem: str = ""
    pulsed_age_s: float = 0.0
    guarded_age_s: float = 0.0
    fenced: str = ""
    """Why and how this site is fenced; empty is not."""


@dataclass(frozen=True, slots=True)
class LoopView:
    """A loop's rounds so far, and how late the last one began, in seconds."""

    rounds: int
    late_s: float


@dataclass(frozen=True, slots=True)
class AgentReport:
    """What an agent shows of itself, for its health page and its metrics."""

    vantage: str
    place: str
    view: AgentView
    loops: Mapping[str, LoopView] = field(default_factory=dict)
    states: tuple[SiteState, ...] = ()
    applied: EdgeApplied | None = None
    results: tuple[ProbeResult, ...] = ()
    verdicts: tuple[SiteVerdict, ...] = ()
    """What each site is, as seen from here."""
    epochs: Mapping[str, Epoch] = field(default_factory=dict)
    """The epoch of each role, as this place heard of it last."""

    @property
    def reasons(self) -> tuple[str, ...]:
        return decide_agent_health(self.view)


def turning(view: AgentView) -> bool:
    """Whether all its loops turn; a supervisor ends an agent whose loops do not."""
    return (
        view.steered_age_s < STEER_LIMIT_S
        and view.watched_age_s < WATCH_LIMIT_S
        and view.pulsed_age_s < PULSE_LIMIT_S
        and view.guarded_age_s < GUARD_LIMIT_S
    )


def decide_agent_health(view: AgentView) -> tuple[str, ...]:
    """Every reason why this agent is not to be relied on; empty is well."""
    reasons = []
    if view.lease_age_s is None or view.session_s is None:
        reasons.append("ZooKeeper has not answered yet")
    elif view.lease_age_s > view.session_s:
        reasons.append(
            f"ZooKeeper last answered {view.lease_age_s:.1f} s ago, and a session lasts {view.session_s:g} s:"
            " the last weights are kept"
        )
    if view.fenced:
        reasons.append(view.fenced)
    if view.steered_age_s > STEER_LIMIT_S:
        reasons.append(f"the edge was last steered {view.steered_age_s:.1f} s ago")
    if view.watched_age_s > WATCH_LIMIT_S:
        reasons.append(f"the last round of probes ended {view.watched_age_s:.1f} s ago")
    if view.guarded_age_s > GUARD_LIMIT_S:
        reasons.append(f"the lease was last looked at {view.guarded_age_s:.1f} s ago")
    if view.pulsed_age_s > PULSE_LIMIT_S:
        reasons.append(f"the sites' pulses were last felt {view.pulsed_age_s:.1f} s ago")
    if view.problem:
        reasons.append(view.problem)
    return tuple(reasons)
