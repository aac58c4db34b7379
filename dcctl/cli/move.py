"""What ``failover``, ``switchover`` and ``admit`` share: look, show, ask, act as the one run, and tell."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from dcctl.cli.move_view import draw_against, draw_moved, draw_preview, moved_document, preview_document
from dcctl.cli.output import Progress, console, emit
from dcctl.cli.provision import choose_sites, confirm
from dcctl.cli.session import Session
from dcctl.domain.budget import Past
from dcctl.domain.expected import Expected, decide_expected
from dcctl.domain.order import Order
from dcctl.domain.plan import Moved, Plan
from dcctl.domain.refusal import Refusal
from dcctl.domain.rules import OVERRIDABLE, Rule, rule_of
from dcctl.errors import DcctlError, Refused, UsageError
from dcctl.shell import Interruption, WallClock, at_once, perform

if TYPE_CHECKING:
    from dcctl.config.schema import Configuration
    from dcctl.domain.rules import Override
    from dcctl.domain.run import Asked
    from dcctl.domain.situation import Situation
    from dcctl.domain.step import Work
    from dcctl.engines.situation import Means
    from dcctl.engines.status import Ask
    from dcctl.ports import Journal, Runs
    from dcctl.wiring.failover import Stage
    from dcctl.wiring.runs import Opened

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

ASKED_LIMIT_S = 1.0
ROUNDS_LIMIT_S = 3.0


@dataclass(frozen=True)
class Move:
    """One of the commands that move something. ``what`` it is called, in sentences."""

    what: str
    order: Order
    look: "Callable[[Means], Situation]"
    decide: "Callable[[Situation], Plan | Refusal]"
    work: "Callable[[Means], Work[Moved]]"

    @property
    def site(self) -> str:
        return self.order.site


def move_of(order: Order, sites: tuple[str, ...]) -> Move:
    """The move that was ordered. KeyError for one that is none of these."""
    from dcctl.domain.admission import decide_admission
    from dcctl.domain.failover import decide_failover
    from dcctl.domain.switchover import decide_failback, decide_switchover
    from dcctl.engines.admission import admit
    from dcctl.engines.failover import failover
    from dcctl.engines.situation import observe_situation
    from dcctl.engines.switchover import failback, switchover

    site = order.site
    moves: dict[str, tuple[Callable[..., Plan | Refusal], Callable[..., Work[Moved]]]] = {
        "failover": (decide_failover, failover),
        "switchover": (decide_switchover, switchover),
        "failback": (decide_failback, failback),
        "admit": (
            partial(decide_admission, rebuild=order.rebuild),
            partial(admit, rebuild=order.rebuild),
        ),
    }
    decide, work = moves[order.what]
    other = next(each for each in sites if each != site)
    look = {
        "admit": partial(observe_situation, epochs=True, compare=True),
        "failover": partial(observe_situation, losing=site),
    }.get(order.what, partial(observe_situation, losing=other, pools=True))
    return Move(kind_of(order), order, look, decide=partial(decide, site), work=partial(work, site))


def ask_within(limit_s: float) -> "Ask":
    """Asks everything at once; what did not answer within ``limit_s`` is left behind."""
    return partial(at_once, limit_s=limit_s)


@contextmanager
def enter(session: Session, order: Order) -> "Iterator[tuple[Configuration, Stage]]":
    """The environment, with the order's site known to be one of it, and the rules that it overrides.

    Raises UsageError for a rule that is none, or an override without a reason, and Refused for the override
    of a promise.
    """
    from dcctl.wiring import failover, runs

    configuration = session.configuration()
    choose_sites(configuration, (order.site,))
    overrides = overridden_for(order.what, order.rules, order.reason, on=order.site)
    with failover.stage(
        configuration, clock=WallClock(), ask_within=ask_within, dcctl=session.dcctl
    ) as stage:
        what = kind_of(order)
        past = {what: runs.past_of(stage.runs, what)}
        yield configuration, replace(stage, means=replace(stage.means, overrides=overrides, past=past))


def kind_of(order: Order) -> str:
    """What runs of ``order`` are called."""
    return "admission" if order.what == "admit" else order.what


def overridden_for(what: str, rules: Sequence[str], reason: str, *, on: str) -> "tuple[Override, ...]":
    """What a person overrides for one run. Raises UsageError for a rule that is none, or an override without
    a reason, and Refused for the override of a promise."""
    from dcctl.domain.rules import decide_overrides
    from dcctl.wiring import runs

    overrides, wrong, refused = decide_overrides(rules, reason, runs.who())
    if wrong:
        raise UsageError(f"override a rule for this {what}", saw="; ".join(wrong))
    if refused:
        raise Refused(f"override a rule for this {what}", on=on, reasons=refused)
    return overrides


def show(session: Session, order: Order) -> None:
    """Print the preview. Raises Refused with every reason, after it was printed."""
    with enter(session, order) as (configuration, stage):
        move = move_of(order, stage.means.sites)
        situation, decided = _look(stage, move)
        expected = _expected(configuration, move, situation, decided)
    document = preview_document(move.what, move.site, situation, decided, expected)
    emit(session, document, lambda out: draw_preview(out, situation, decided, expected))
    _raise_refused(session, move, decided)


def carry_out(session: Session, order: Order, *, yes: bool, resume: str | None = None) -> None:
    """Show the preview, ask, and act: as a run of its own, or going on with the run ``resume``.

    A run that is resumed is not refused by the first look: what it left half done settles.
    """
    with enter(session, order) as (configuration, stage):
        move = move_of(order, stage.means.sites)
        _carry_out(session, configuration, stage, move, yes=yes, resume=resume)


def _carry_out(
    session: Session,
    configuration: "Configuration",
    stage: "Stage",
    move: Move,
    *,
    yes: bool,
    resume: str | None,
) -> None:
    situation, decided = _look(stage, move)
    out = console(sys.stderr if session.json else sys.stdout)
    draw_preview(out, situation, decided, _expected(configuration, move, situation, decided))
    if resume is None:
        _raise_refused(session, move, decided)
    elif isinstance(decided, Refusal):
        draw_against(out, decided)
    words = move.order.words()
    again = f"{session.dcctl} {words}" if resume is None else f"{session.dcctl} run resume {resume}"
    confirm(f"carry out this {move.what}", yes=yes, command=f"{again} --yes")
    clock = WallClock()
    with (
        Interruption() as held,
        acting(configuration, stage, move.what, words, resume) as means,
        Progress(move.what) as progress,
    ):
        journal = means.journal
        assert journal is not None  # noqa: S101  # what acting gave it
        begun = {"command": words, "environment": configuration.environment, "site": move.site}
        moved = perform(
            move.work(means),
            clock=clock,
            journal=journal,
            seen=progress,
            about={**begun, "overrides": [asdict(each) for each in means.overrides]}
            if resume is None
            else {"by": means.who},
            resume=f"{session.dcctl} run resume {journal.run}",
            interruption=held,
            resumed=resume is not None,
            asked=asked_of(means.runs, journal.run),
            waits=progress.waits,
        )
        run = journal.run
    emit(session, moved_document(moved, run), lambda out: draw_moved(out, moved, run))


class Acts(Protocol[T_co]):
    """What may act as a run: a new one, or one that was begun before."""

    def acting(self, journal: "Journal", command: str, /) -> "AbstractContextManager[T_co]": ...

    def resuming(self, opened: "Opened", run: str, command: str, /) -> "AbstractContextManager[T_co]": ...


@contextmanager
def acting(
    configuration: "Configuration", stage: Acts[T], what: str, words: str, resume: str | None
) -> Iterator[T]:
    """What ``stage`` gives to a new run of ``what``, which ``words`` ordered, or to the run ``resume``."""
    from dcctl import wiring
    from dcctl.wiring import runs

    clock = WallClock()
    if resume is None:
        with (
            wiring.journal(configuration, what=what, clock=clock) as journal,
            stage.acting(journal, words) as given,
        ):
            yield given
    else:
        with (
            runs.resumed(configuration, resume, clock=clock) as opened,
            stage.resuming(opened, resume, words) as given,
        ):
            yield given


def asked_of(runs: "Runs", run: str) -> "Callable[[], Sequence[Asked]]":
    """What people ask of ``run``; what they asked last, where the ensemble does not answer."""
    last: list[Asked] = []

    def asked() -> "Sequence[Asked]":
        with suppress(DcctlError):
            last[:] = runs.observe_asked(run, limit_s=ASKED_LIMIT_S)
        return last

    return asked


def _look(stage: "Stage", move: Move) -> "tuple[Situation, Plan | Refusal]":
    from dcctl.engines.release import preview_release

    situation = move.look(stage.means)
    decided = move.decide(situation)
    if isinstance(decided, Plan):
        decided = preview_release(decided, situation, stage.means)
    return situation, decided


def _expected(
    configuration: "Configuration", move: Move, situation: "Situation", decided: Plan | Refusal
) -> Expected:
    """By the last runs of this kind, and by the rounds of auctions that are due."""
    from dcctl.wiring.auctions import rounds

    if isinstance(decided, Refusal):
        return Expected()
    lost = move.site if move.order.what == "failover" else None
    due = rounds(configuration, ask_within(ROUNDS_LIMIT_S), lost=lost)
    past = situation.past.get(move.what, Past())
    return replace(decide_expected(decided.steps, past), rounds=due)


def _raise_refused(session: Session, move: Move, decided: Plan | Refusal) -> None:
    if isinstance(decided, Refusal):
        command = f"{session.dcctl} status"
        refused = Refused(move.what, on=move.site, reasons=decided.reasons, next_command=command)
        if rules := overridable(decided) if move.order.what != "admit" else ():
            words = " ".join(f"--override {rule}" for rule in rules)
            refused.add_note(f"a person may set that aside for this one run: {words} --reason TEXT")
        raise refused


def overridable(refusal: Refusal) -> tuple[str, ...]:
    """The rules that a person may override, where nothing else stands against it; else none. That nobody at
    a lost site can act is stated by whoever has seen to it: it is offered to nobody."""
    rules = tuple(dict.fromkeys(rule_of(each) for each in refusal.reasons))
    return rules if all(rule in OVERRIDABLE and rule != Rule.FENCE for rule in rules) else ()
