"""The safety rules by name: every reason against a move is of one; some a person may override for one run.

A rule that keeps a promise (docs/explanation/limits.md) is overridden by nobody. The figures of the others
are the environment's (``rules:`` in ``dcctl.yaml``).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from enum import StrEnum


class Rule(StrEnum):
    """Why something is refused."""

    QUORUM = "quorum"
    ONE_RUN = "one-run"
    ONLY_A_LOST_SITE = "only-a-lost-site"
    NO_WRITE_LOST = "no-acknowledged-write-lost"
    NEVER_ZERO_ACTIVE = "never-zero-active"
    CAUGHT_UP = "caught-up"
    PATRONI_ACTS = "patroni-acts"
    WITNESS_REQUIRED = "witness-required"
    NO_UNKNOWN_VERDICT = "no-unknown-verdict"
    SURVIVOR_HAS_HEADROOM = "survivor-has-headroom"
    MAX_LOSS_WINDOW = "max-loss-window"
    ONE_SITE_AT_A_TIME = "one-site-at-a-time"
    CHANGE_WINDOW = "change-window"
    HOLD_OFF = "hold-off"
    FENCE = "fence"

    @property
    def overridable(self) -> bool:
        """Whether a person may override it for one run, with a reason."""
        return self in OVERRIDABLE

    @property
    def about_evidence(self) -> bool:
        """Whether whoever overrides it puts their word in the place of what was seen of the lost site."""
        return self in ABOUT_EVIDENCE

    @property
    def weighs(self) -> bool:
        """Whether it weighs what a move costs, or when it may begin."""
        return self.overridable and not self.about_evidence


OVERRIDABLE = (
    Rule.WITNESS_REQUIRED,
    Rule.NO_UNKNOWN_VERDICT,
    Rule.SURVIVOR_HAS_HEADROOM,
    Rule.MAX_LOSS_WINDOW,
    Rule.CHANGE_WINDOW,
    Rule.HOLD_OFF,
    Rule.FENCE,
)
"""FENCE: a person states that nobody at the lost site can act any more. What the store rejects by itself is
required all the same."""

ABOUT_EVIDENCE = (Rule.WITNESS_REQUIRED, Rule.NO_UNKNOWN_VERDICT, Rule.FENCE)
"""The others weigh what a move costs, or when it may begin."""


class Reason(str):
    """A sentence against something, and the rule that it is of."""

    __slots__ = ("rule",)

    rule: Rule

    def __new__(cls, rule: Rule, sentence: str) -> "Reason":
        """``sentence`` of ``rule``."""
        made = super().__new__(cls, sentence)
        made.rule = rule
        return made

    def __reduce__(self) -> "tuple[type[Reason], tuple[Rule, str]]":
        return Reason, (self.rule, str(self))


def of(rule: Rule, sentences: Iterable[str]) -> list[Reason]:
    """Each of ``sentences`` as a reason of ``rule``."""
    return [Reason(rule, each) for each in sentences]


def rule_of(reason: str) -> str:
    """The name of the rule that ``reason`` is of; empty where it says none."""
    return str(reason.rule) if isinstance(reason, Reason) else ""


@dataclass(frozen=True, slots=True)
class Override:
    """``rule`` does not stand against one run, because ``by`` says so, for ``reason``."""

    rule: Rule
    reason: str
    by: str

    def sentence(self) -> str:
        """For people."""
        return f"{self.rule} is overridden by {self.by}: {self.reason}"


@dataclass(frozen=True, slots=True)
class ChangeWindow:
    """When planned moves must not begin: ``since`` to ``until`` in ``zone``, on ``weekdays`` (Monday is 0)
    that are no ``holidays``, and on ``extra_days``."""

    zone: tzinfo
    since: time = time(11)
    until: time = time(16)
    weekdays: tuple[int, ...] = (0, 1, 2, 3, 4)
    holidays: tuple[date, ...] = ()
    extra_days: tuple[date, ...] = ()

    def is_closed(self, at: datetime) -> bool:
        """Whether a planned move must not begin ``at`` this instant."""
        there = at.astimezone(self.zone)
        day = there.date()
        works = day in self.extra_days or (day.weekday() in self.weekdays and day not in self.holidays)
        return works and self.since <= there.time() < self.until


@dataclass(frozen=True, slots=True)
class LastMove:
    """The last move between the sites that ended well."""

    what: str
    site: str
    run: str
    at: datetime


@dataclass(frozen=True, slots=True)
class SafetyRules:
    """What the environment chose. None: the rule is not set."""

    witness_required: bool = True
    one_site_at_a_time: bool = True
    max_loss_window: timedelta | None = None
    hold_off: timedelta | None = None
    change_window: ChangeWindow | None = None


def decide_overrides(
    rules: Sequence[str], reason: str, by: str
) -> tuple[tuple[Override, ...], tuple[str, ...], tuple[Reason, ...]]:
    """The overrides that were asked for, what is wrong with the command, and what is refused."""
    known = {str(rule) for rule in Rule}
    wrong = [
        f"there is no rule {each!r}: {', '.join(map(str, OVERRIDABLE))}"
        for each in rules
        if each not in known
    ]
    if rules and not reason.strip():
        wrong.append("--override needs --reason, which is kept in the run")
    if wrong:
        return (), tuple(wrong), ()
    named = [Rule(each) for each in dict.fromkeys(rules)]
    refused = [
        Reason(each, f"{each} keeps a promise: nobody overrides it") for each in named if not each.overridable
    ]
    return tuple(Override(each, reason, by) for each in named), (), tuple(refused)


def settle(
    reasons: Sequence[Reason], overrides: Sequence[Override]
) -> tuple[tuple[Reason, ...], tuple[Reason, ...]]:
    """The reasons that stand, and those that were overridden."""
    waived = {each.rule for each in overrides if each.rule.overridable}
    return (
        tuple(each for each in reasons if each.rule not in waived),
        tuple(each for each in reasons if each.rule in waived),
    )


def without(rule: Rule, overrides: Sequence[Override]) -> tuple[Override, ...]:
    """``overrides`` but for those of ``rule``."""
    return tuple(each for each in overrides if each.rule is not rule)


def noted(overrides: Sequence[Override], overridden: Sequence[Reason]) -> list[dict[str, str]]:
    """What a run's journal keeps of each override: by whose word, and what the rule would have said."""
    told = []
    for each in overrides:
        waived = "; ".join(reason for reason in overridden if reason.rule is each.rule)
        of_it = f" ({waived})" if waived else ""
        told.append({"rule": str(each.rule), "by": each.by, "reason": each.reason, "waived": of_it})
    return told


def why_closed(window: ChangeWindow | None, at: datetime) -> list[Reason]:
    """Why no planned move begins now."""
    if window is None or not window.is_closed(at):
        return []
    there = at.astimezone(window.zone)
    told = f"it is {there:%H:%M} in {window.zone}: auctions are held until {window.until:%H:%M}"
    return [Reason(Rule.CHANGE_WINDOW, told)]


def why_held_off(hold_off: timedelta | None, last: LastMove | None, at: datetime) -> list[Reason]:
    """Why the last move is too recent for another. A run that is resumed is not another."""
    if hold_off is None or last is None:
        return []
    left_s = (last.at + hold_off - at).total_seconds()
    if left_s <= 0:
        return []
    told = f"{last.what} of {last.site} (run {last.run}) ended {(at - last.at).total_seconds():.0f} s ago"
    return [Reason(Rule.HOLD_OFF, f"{told}; {left_s:.0f} s are left")]
