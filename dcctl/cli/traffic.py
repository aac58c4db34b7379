"""``dcctl drain`` and ``dcctl undrain``: a site out of traffic rotation, and back."""

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import click

from dcctl.cli.output import Progress, console, emit
from dcctl.cli.provision import choose_sites, confirm
from dcctl.cli.session import Session, command_options, override_options, yes_option
from dcctl.domain.order import Order
from dcctl.domain.refusal import Refusal
from dcctl.domain.traffic import Rotation, RotationPlan
from dcctl.domain.turn import IDLE_LIMIT_S, turn_steps
from dcctl.errors import Refused
from dcctl.shell import Interruption, WallClock, at_once, perform

if TYPE_CHECKING:
    from rich.console import Console

    from dcctl.domain.budget import Past
    from dcctl.domain.step import Work
    from dcctl.engines.traffic import Means
    from dcctl.ports import Journal

LOOK_LIMIT_S = 10.0

site_argument = click.argument("site", metavar="SITE")


@dataclass(frozen=True)
class Turn:
    """One of the two commands."""

    order: Order
    decide: "Callable[[Means], RotationPlan | Refusal]"
    work: "Callable[[Means], Work[RotationPlan]]"


@click.command()
@site_argument
@override_options
@click.option(
    "--idle-limit",
    "idle_limit_s",
    type=click.FloatRange(min=0),
    default=IDLE_LIMIT_S,
    show_default=True,
    metavar="SECONDS",
    help="How long work in flight may take; what is left then is named, with code 6.",
)
@yes_option
@command_options
def drain(
    session: Session, *, site: str, rules: tuple[str, ...], reason: str, idle_limit_s: float, yes: bool
) -> None:
    """Take SITE out of traffic: no new work goes there, and what is in flight there ends.

    Refused unless another site serves, and can carry both, and in the hours of auctions. Its edge tells
    clients to leave; the database stays where it is. Done when every edge shows it. May be repeated.
    """
    turn(session, Order("drain", site, rules, reason), yes=yes, idle_limit_s=idle_limit_s)


@click.command()
@site_argument
@override_options
@yes_option
@command_options
def undrain(session: Session, *, site: str, rules: tuple[str, ...], reason: str, yes: bool) -> None:
    """Put SITE back into traffic. Refused while it is quarantined, or is not seen to serve."""
    turn(session, Order("undrain", site, rules, reason), yes=yes)


def _turn_of(order: Order, idle_limit_s: float) -> Turn:
    from dcctl.engines import traffic

    site, reason = order.site, order.reason
    if order.what == "drain":
        return Turn(
            order,
            decide=lambda means: traffic.observe_drain(site, means),
            work=lambda means: traffic.take_out(site, means, reason=reason, idle_limit_s=idle_limit_s),
        )
    return Turn(
        order,
        decide=lambda means: traffic.observe_undrain(site, means),
        work=lambda means: traffic.put_back(site, means, reason=reason),
    )


def turn(
    session: Session,
    order: Order,
    *,
    yes: bool,
    resume: str | None = None,
    idle_limit_s: float = IDLE_LIMIT_S,
) -> None:
    """Show what would change, ask, and do it: as a run of its own, or going on with the run ``resume``."""
    from dcctl.cli.move import acting, asked_of, overridden_for
    from dcctl.wiring import runs, traffic

    clock, configuration = WallClock(), session.configuration()
    choose_sites(configuration, (order.site,))
    asked, words = _turn_of(order, idle_limit_s), order.words()
    overrides = overridden_for(order.what, order.rules, order.reason, on=order.site)
    ask = partial(at_once, limit_s=LOOK_LIMIT_S)
    with traffic.stage(configuration, clock=clock, ask=ask) as stage:
        past = runs.past_of(stage.runs, order.what)

        def means(journal: "Journal | None") -> "Means":
            resumed = resume is not None
            return replace(stage.means(journal), overrides=overrides, resumed=resumed, past=past)

        decided = asked.decide(means(None))
        if isinstance(decided, Refusal):
            command = f"{session.dcctl} status"
            raise Refused(order.what, on=order.site, reasons=decided.reasons, next_command=command)
        _draw(console(sys.stderr if session.json else sys.stdout), decided, idle_limit_s, past)
        if decided.change:
            confirm(f"{order.what} {order.site}", yes=yes, command=f"{session.dcctl} {words} --yes")
        with (
            Interruption() as held,
            acting(configuration, stage, order.what, words, resume) as journal,
            Progress(order.what) as progress,
        ):
            begun = {"command": words, "environment": configuration.environment, "site": order.site}
            about = {**begun, "overrides": [asdict(each) for each in overrides]}
            done = perform(
                asked.work(means(journal)),
                clock=clock,
                journal=journal,
                seen=progress,
                about=about if resume is None else {"by": means(None).by},
                resume=f"{session.dcctl} run resume {journal.run}",
                interruption=held,
                resumed=resume is not None,
                asked=asked_of(stage.runs, journal.run),
                waits=progress.waits,
            )
            run = journal.run
    steps = [asdict(step) for step in turn_steps(done, idle_limit_s=idle_limit_s, past=past)]
    emit(session, {"run": run, **asdict(done), "steps": steps}, lambda out: _told(out, done, run))


def _draw(out: "Console", plan: RotationPlan, idle_limit_s: float, past: "Past") -> None:
    from dcctl.cli.move_view import draw_steps
    from dcctl.domain.expected import decide_expected

    left = ", ".join(plan.left) or "none"
    if plan.change:
        out.print(f"{plan.site}: {plan.before.state} -> {plan.to}; serving afterwards: {left}")
    else:
        said = f" by {plan.before.by}" if plan.before.by else ""
        why = f" ({plan.before.reason})" if plan.before.reason else ""
        out.print(f"{plan.site} is {plan.before.state} already{said}{why}; serving: {left}")
    for reason in plan.overridden:
        out.print(f"  overridden: {reason}  [{reason.rule}]")
    for edge in plan.dark:
        out.print(f"  {edge} does not answer: it follows when it is back")
    steps = turn_steps(plan, idle_limit_s=idle_limit_s, past=past)
    expected = decide_expected(steps, past)
    out.print(f"duration  {expected.sentence(sum(step.limit_s for step in steps))}")
    draw_steps(out, steps, expected)


def _told(out: "Console", plan: RotationPlan, run: str) -> None:
    edges = " and ".join(plan.edges)
    word = "in" if plan.to is Rotation.ACTIVE else "out of"
    idle = "" if plan.to is Rotation.ACTIVE else ", nothing of it is in flight"
    out.print(f"done: {plan.site} is {word} rotation at {edges}{idle} (run {run})")
