"""How long a plan will take, by what its steps took in past runs of the same kind, and which auctions that
is too late for. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from statistics import median

from dcctl.domain.budget import Past
from dcctl.domain.observation import Seen
from dcctl.domain.plan import Plan, Planned
from dcctl.errors import DcctlError

MISSED_AFTER_S = 120.0
"""A stage that starts later than this is a missed one (procurement/procurement/domain/auction.py)."""


NAMED_AT_MOST = 5


@dataclass(frozen=True, slots=True)
class DueRound:
    """A round that has not begun: number ``round`` of ``auction`` (a tender, and its lot), due then."""

    auction: str
    round: int
    due: datetime

    def sentence(self) -> str:
        return f"{self.auction} round {self.round} (due {self.due.astimezone(UTC):%H:%M:%S} UTC)"


@dataclass(frozen=True, slots=True)
class Rounds:
    """The rounds that were due before ``until``, as an application had read them ``at`` an instant."""

    at: datetime
    until: datetime
    due: tuple[DueRound, ...]


def decide_rounds(answers: Mapping[str, Rounds | DcctlError]) -> Seen[Rounds]:
    """What was read last, of all that applications answered, or why none did."""
    told = [each for each in answers.values() if isinstance(each, Rounds)]
    if told:
        return Seen(max(told, key=lambda each: each.at))
    failed = ((name, each) for name, each in answers.items() if isinstance(each, DcctlError))
    return Seen(None, "; ".join(f"{name}: {each.saw or each.sentence()}" for name, each in failed))


@dataclass(frozen=True, slots=True)
class Expected:
    """Medians in seconds, of ``runs`` past runs that ended well; ``total_s`` is None where there is none.

    ``steps`` by name, of those that were ever carried out. ``rounds`` are those that are due; None where no
    auctions are held.
    """

    runs: int = 0
    total_s: float | None = None
    steps: Mapping[str, float] = field(default_factory=dict)
    rounds: Seen[Rounds] | None = None

    def sentence(self, limit_s: float) -> str:
        """For people; all steps together may take ``limit_s`` seconds."""
        at_most = f"at most {limit_s:.0f} s"
        if self.total_s is None:
            return f"{at_most}; none has been carried out here yet"
        told = "1 run that was" if self.runs == 1 else f"{self.runs} runs that were"
        return f"{self.total_s:.0f} s, the median of {told} carried out here; {at_most}"

    def lasts_s(self, plan: Plan) -> float:
        """How long nothing may be written, were it begun now."""
        return self.total_s if self.total_s is not None else plan.limit_s

    def missed(self, plan: Plan, now: datetime) -> tuple[DueRound, ...]:
        """The rounds that would begin more than MISSED_AFTER_S late, were nothing written from ``now`` until
        the plan has ended. Where a site is lost already, those that have waited long are among them."""
        if self.rounds is None or self.rounds.value is None:
            return ()
        in_time = now + timedelta(seconds=self.lasts_s(plan) - MISSED_AFTER_S)
        return tuple(each for each in self.rounds.value.due if each.due < in_time)

    def late_rounds(self, plan: Plan, now: datetime) -> str:
        """What this means for auctions."""
        takes = "may take" if self.total_s is None else "takes"
        lasts = f"a round may start {MISSED_AFTER_S:.0f} s late, and this {takes} {self.lasts_s(plan):.0f} s"
        if self.rounds is None:
            return "none, as none are held here"
        known = self.rounds.value
        if known is None:
            in_s = self.lasts_s(plan) - MISSED_AFTER_S
            due = "that have waited already" if in_s <= 0 else f"with a round due in the next {in_s:.0f} s"
            return f"those {due} ({lasts}): which, is not known ({self.rounds.reason})"
        as_of = f"as of {known.at.astimezone(UTC):%H:%M:%S} UTC"
        missed = self.missed(plan, now)
        if not missed:
            return f"none of {len(known.due)} rounds due within the hour: {lasts} ({as_of})"
        named = ", ".join(each.sentence() for each in missed[:NAMED_AT_MOST])
        more = f" and {len(missed) - NAMED_AT_MOST} more" if len(missed) > NAMED_AT_MOST else ""
        return f"{len(missed)} would miss their {MISSED_AFTER_S:.0f} s: {named}{more}; {lasts} ({as_of})"


def decide_expected(steps: Sequence[Planned], past: Past) -> Expected:
    """What ``steps`` usually take, by the last runs of the same kind."""
    if not past.totals:
        return Expected()
    wanted = {step.name for step in steps}
    usual = {name: round(median(took), 1) for name, took in past.steps.items() if name in wanted}
    return Expected(len(past.totals), round(median(past.totals), 1), usual)
