"""How long a step may take, by how long it took in past runs of the same kind. Pure.

Only a step that waits for a proof is given less than its default. How long an effect may take is bounded by
its own means, and whoever takes over a run that was broken off in one counts on that bound.

| past runs that ended well | the step's slowest | its limit |
|---|---|---|
| fewer than ``ENOUGH_RUNS`` had the step | whatever | the default |
| enough | ``TIMES`` that is more than the default | the default |
| enough | ``TIMES`` that is less than the floor | the floor: half of the default, ``LEAST_S`` at least |
| enough | in between | ``TIMES`` the slowest |
| one of the runs, however it ended, has a wait of the step that was in vain | whatever | the default |

It can only become shorter, and never short: a limit that is too long has somebody wait for what does not
come any more; one that is too short ends a failover at night that would have ended well. A night is slower
than a drill (a long replay, a cold cache, a third of the machines gone), which is what ``TIMES`` and the
floor are for. Runs that ended well tell nothing of those that were slower than a limit let them be: so
one wait in vain, which stays among the last runs for a while, brings the default back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from dcctl.domain.event import Event
from dcctl.domain.plan import Planned

ENOUGH_RUNS = 5
TIMES = 10.0
LEAST_S = 60.0
"""A person at a prompt waits that long; a survivor that has just taken everything may need it."""


@dataclass(frozen=True, slots=True)
class Past:
    """What the last runs of one kind took, in seconds.

    ``totals``: each run that ended well, from its decision to its end. ``steps``: each step of those, by
    name.
    ``in_vain``: steps that were once waited for in vain.
    """

    totals: tuple[float, ...] = ()
    steps: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    in_vain: frozenset[str] = frozenset()


def decide_past(histories: Sequence[Sequence[Event]]) -> Past:
    """Judge by the journals of past runs; those that did not end well, or were gone on with, say nothing of
    how long it takes."""
    totals: list[float] = []
    took: dict[str, list[float]] = {}
    in_vain = set()
    for events in histories:
        of_each = [(event, str(event.fields.get("of", ""))) for event in events]
        in_vain |= {of for event, of in of_each if of and event.type == "wait.failed"}
        types = [event.type for event in events]
        if "run.done" not in types or "run.resumed" in types or "run.paused" in types:
            continue
        began = next((event for event in events if event.type.endswith(".decided")), events[0])
        totals.append((events[-1].at - began.at).total_seconds())
        steps: dict[str, float] = {}
        for event, of in of_each:
            if of and event.type in ("step.done", "wait.done"):
                steps[of] = steps.get(of, 0.0) + float(event.fields.get("took_s", 0.0))
        for name, seconds in steps.items():
            took.setdefault(name, []).append(seconds)
    return Past(tuple(totals), {name: tuple(each) for name, each in took.items()}, frozenset(in_vain))


def decide_limits(steps: Sequence[Planned], past: Past | None) -> tuple[Planned, ...]:
    """``steps`` with the limits that the table says; ``past`` None: nothing is known."""
    return tuple(each if past is None else _limited(each, past) for each in steps)


def _limited(step: Planned, past: Past) -> Planned:
    took = past.steps.get(step.name, ())
    if step.effect or step.name in past.in_vain or len(took) < ENOUGH_RUNS:
        return step
    floor_s = max(LEAST_S, step.limit_s / 2)
    limit_s = float(round(max(floor_s, TIMES * max(took))))
    return step if limit_s >= step.limit_s else replace(step, limit_s=limit_s, limit_runs=len(took))
