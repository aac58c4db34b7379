"""Taking a site out of traffic rotation, and putting it back: written, applied by every edge, and idle.

What is wanted is one compare-and-set in the ensemble. The edges' agents follow it on their own, so a run
that is broken off anywhere leaves nothing half done: beginning again finds what holds and waits for the rest.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from dcctl.domain.budget import Past
from dcctl.domain.refusal import Refusal
from dcctl.domain.rules import Override, SafetyRules, noted, why_closed
from dcctl.domain.step import Step, Wait, Work
from dcctl.domain.traffic import (
    EdgeServer,
    Rotation,
    RotationPlan,
    SiteState,
    decide_applied_at,
    decide_drain,
    decide_serving,
    decide_undrain,
    in_flight,
)
from dcctl.domain.turn import APPLIED, CHANGE_LIMIT_S, IDLE, IDLE_LIMIT_S, WRITTEN, turn_steps
from dcctl.engines.look import Looks
from dcctl.engines.status import Ask
from dcctl.errors import DcctlError, Refused, Unreachable
from dcctl.ports import EdgeTraffic, Journal, Sites, Vantages

LOOK_LIMIT_S: Final = 60
EVERY_S: Final = 0.5
FRESH_FOR: Final = timedelta(seconds=15)
"""An agent that said nothing for longer than this has not said that it applied anything."""


@dataclass(frozen=True, slots=True)
class Means:
    """What rotation is changed with. ``capacity`` gives every reason why the sites that are left cannot
    carry what a site carries; ``by`` is who changes it, ``journal`` that of the run, None while one only
    looks. ``resumed``: the run was begun before, and what had to wait for its time has had it. ``past``: what
    the last runs of the kind took."""

    sites: Sites
    vantages: Vantages
    edges: EdgeTraffic
    places: Mapping[str, str]
    capacity: Callable[[str], Sequence[str]]
    ask: Ask
    now: Callable[[], datetime]
    by: str
    journal: Journal | None = None
    rules: SafetyRules = field(default_factory=SafetyRules)
    overrides: tuple[Override, ...] = ()
    """The rules that a person overrides for this one run."""
    resumed: bool = False
    past: Past | None = None

    @property
    def run(self) -> str:
        return self.journal.run if self.journal is not None else ""


def take_out(
    site: str, means: Means, *, reason: str, idle_limit_s: float = IDLE_LIMIT_S
) -> Work[RotationPlan]:
    """Out of rotation at every edge that answers, and nothing of it in flight.

    Raises Refused with every reason before anything is changed. A site that is out already is waited for
    as well. What is still in flight after ``idle_limit_s`` is named by the TimedOut: the site stays out.
    """
    plan = yield from _changed(site, means, partial(observe_drain, site, means), reason)
    yield _idle(site, means, idle_limit_s)
    return plan


def put_back(site: str, means: Means, *, reason: str) -> Work[RotationPlan]:
    """In rotation at every edge that answers. Raises Refused before anything is changed."""
    return (yield from _changed(site, means, partial(observe_undrain, site, means), reason))


def observe_drain(site: str, means: Means) -> RotationPlan | Refusal:
    """Look, and decide whether ``site`` may be taken out. Raises Unreachable without a quorum."""
    states = means.sites.observe_sites()
    seen = observe_edges(means.edges, means.ask)
    serving = [decide_serving(each.site, seen, means.places) for each in states]
    leaves = any(each.site == site and each.state is Rotation.ACTIVE for each in states)
    return decide_drain(
        site,
        states,
        serving,
        _answers(seen),
        capacity=means.capacity(site) if leaves else (),
        closed=() if means.resumed else why_closed(means.rules.change_window, means.now()),
        overrides=means.overrides,
    )


def observe_undrain(site: str, means: Means) -> RotationPlan | Refusal:
    """Look, and decide whether ``site`` may be put back. Raises Unreachable without a quorum."""
    states = means.sites.observe_sites()
    seen = observe_edges(means.edges, means.ask)
    serving = [decide_serving(each.site, seen, means.places) for each in states]
    return decide_undrain(site, states, serving, _answers(seen), overrides=means.overrides)


def observe_edges(edges: EdgeTraffic, ask: Ask) -> dict[str, Sequence[EdgeServer] | str]:
    """The servers of each edge, or a sentence why it does not answer."""
    answers = ask({edge: partial(edges.observe_servers, edge) for edge in edges.edges})
    return {edge: _servers_or_why(answer) for edge, answer in answers.items()}


def _changed(
    site: str, means: Means, look: Callable[[], RotationPlan | Refusal], reason: str
) -> Work[RotationPlan]:
    looks = Looks(look, means.now)
    decided: RotationPlan | Refusal = yield Wait(
        "a look at the sites and the edges", site, LOOK_LIMIT_S, EVERY_S, looks.look
    )
    if isinstance(decided, Refusal):
        raise Refused(f"change the rotation of {site}", reasons=decided.reasons, next_command="dcctl status")
    if means.journal is not None:
        for told in noted(means.overrides, decided.overridden):
            means.journal.append("rule.overridden", told)
    if decided.change:
        wanted = SiteState(
            site=site, state=decided.to, reason=reason, by=means.by, at=means.now(), run=means.run
        )
        change = partial(means.sites.change_site, wanted, expected=decided.expected)
        needs = looks.needs(lambda again: again.reasons if isinstance(again, Refusal) else ())
        yield Step(f"write that it is {decided.to}", site, CHANGE_LIMIT_S, change, of=WRITTEN, needs=needs)
    yield _applied(decided, means)
    return decided


def _applied(plan: RotationPlan, means: Means) -> Wait:
    """Until each edge that answers shows it itself, and its agent says that nothing is left to be done."""
    saw = [""]

    def until() -> bool | None:
        said = {each.vantage: each for each in means.vantages.observe_vantages()}
        fresh = {name: each.edge for name, each in said.items() if abs(means.now() - each.at) <= FRESH_FOR}
        seen = observe_edges(means.edges, means.ask)
        wanting = [
            f"{edge}: {why}"
            for edge in plan.edges
            if (why := decide_applied_at(plan, seen.get(edge, "it is gone"), fresh.get(edge), means.places))
        ]
        saw[0] = "; ".join(wanting)
        return None if wanting else True

    word = "in" if plan.to is Rotation.ACTIVE else "out of"
    name = f"{' and '.join(plan.edges) or 'no edge'} to have it {word} rotation"
    limit_s = next(step.limit_s for step in turn_steps(plan, past=means.past) if step.name == APPLIED)
    return Wait(name, plan.site, limit_s, EVERY_S, _patient(until, saw), lambda: saw[0], of=APPLIED)


def _idle(site: str, means: Means, limit_s: float) -> Wait:
    saw = [""]

    def until() -> bool | None:
        busy = [
            f"{edge} has {each.in_flight} in flight at {each.backend}/{each.name}"
            for edge, servers in observe_edges(means.edges, means.ask).items()
            if not isinstance(servers, str)
            for each in in_flight(site, servers, means.places)
        ]
        saw[0] = "; ".join(busy)
        return None if busy else True

    return Wait(
        "its work in flight to end", site, limit_s, EVERY_S, _patient(until, saw), lambda: saw[0], of=IDLE
    )


def _patient(until: Callable[[], bool | None], saw: list[str]) -> Callable[[], bool | None]:
    """An ensemble or an edge that does not answer for a moment is waited for."""

    def asked() -> bool | None:
        try:
            return until()
        except Unreachable as error:
            saw[0] = error.sentence()
            return None

    return asked


def _answers(seen: Mapping[str, Sequence[EdgeServer] | str]) -> dict[str, bool]:
    return {edge: not isinstance(servers, str) for edge, servers in seen.items()}


def _servers_or_why(answer: Any) -> Sequence[EdgeServer] | str:
    match answer:
        case Unreachable():
            return answer.saw or answer.sentence()
        case DcctlError():
            raise answer
        case _:
            servers: Sequence[EdgeServer] = answer
            return servers
