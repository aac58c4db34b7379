"""How long a plan will take, by what its steps took in past runs of the same kind. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from dcctl.domain.event import Event
from dcctl.domain.plan import Plan

MISSED_AFTER_S = 120.0
"""A stage that starts later than this is a missed one (procurement/procurement/domain/auction.py)."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Medians in seconds, of ``runs`` past runs that ended well; ``total_s`` is None where there is none.

    ``steps`` by name, of those that were ever carried out.
    """

    runs: int = 0
    total_s: float | None = None
    steps: Mapping[str, float] = field(default_factory=dict)

    def sentence(self, plan: Plan) -> str:
        """For people."""
        at_most = f"at most {plan.limit_s:.0f} s"
        if self.total_s is None:
            return f"{at_most}; none has been carried out here yet"
        told = "1 run that was" if self.runs == 1 else f"{self.runs} runs that were"
        return f"{self.total_s:.0f} s, the median of {told} carried out here; {at_most}"

    def late_rounds(self, plan: Plan) -> str:
        """What this means for auctions: those whose round falls due while nothing is written."""
        lasts_s = self.total_s if self.total_s is not None else plan.limit_s
        if lasts_s <= MISSED_AFTER_S:
            return f"none: a round may start {MISSED_AFTER_S:.0f} s late, and this takes {lasts_s:.0f} s"
        late_s = lasts_s - MISSED_AFTER_S
        return f"those with a round due in the next {late_s:.0f} s: which, no edge tells"


def decide_expected(plan: Plan, histories: Sequence[Sequence[Event]]) -> Expected:
    """Judge by ``histories``, the journals of past runs; those that did not end well, or were gone on with,
    say nothing of how long it takes."""
    wanted = {step.name for step in plan.steps}
    totals: list[float] = []
    took: dict[str, list[float]] = {}
    for events in histories:
        types = [event.type for event in events]
        if "run.done" not in types or "run.resumed" in types or "run.paused" in types:
            continue
        began = next((event for event in events if event.type.endswith(".decided")), events[0])
        totals.append((events[-1].at - began.at).total_seconds())
        steps: dict[str, float] = {}
        for event in events:
            of = str(event.fields.get("of", ""))
            if of in wanted and event.type in ("step.done", "wait.done"):
                steps[of] = steps.get(of, 0.0) + float(event.fields.get("took_s", 0.0))
        for name, seconds in steps.items():
            took.setdefault(name, []).append(seconds)
    if not totals:
        return Expected()
    return Expected(
        len(totals),
        round(median(totals), 1),
        {name: round(median(seconds), 1) for name, seconds in took.items()},
    )
