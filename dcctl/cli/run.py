"""``dcctl run``: what was done in an environment, on whatever machine, and how to go on with what stopped."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from dcctl.cli.output import emit
from dcctl.cli.run_view import draw_list, draw_run, head, say_dark, timeline_document, watch_events
from dcctl.cli.session import Session, command_options, yes_option
from dcctl.errors import DcctlError, Refused, StepFailed, Unreachable, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from dcctl.adapters.zookeeper import ZooKeeperRuns
    from dcctl.domain.event import Event
    from dcctl.domain.refusal import Refusal
    from dcctl.domain.run import Run, Wish
    from dcctl.wiring.runs import Known

ASK_LIMIT_S = 10.0
OBEYED_LIMIT_S = 120.0
"""A step that is under way ends before anything asked is obeyed."""
LOOK_EVERY_S = 1.0

run_argument = click.argument("name", metavar="RUN", default="last")
reason_option = click.option("--reason", required=True, metavar="TEXT", help="Why; it is kept in the run.")


@click.group()
def run() -> None:
    """What was done in this environment, run by run, and how to go on with a run that stopped."""


@run.command("list")
@click.option(
    "-n", "count", type=click.IntRange(min=1), default=20, show_default=True, help="How many, newest first."
)
@command_options
def list_runs(session: Session, *, count: int) -> None:
    """List runs, newest first: those of this machine, and those that ZooKeeper keeps of any."""
    with _known(session) as known:
        found: list[Run | tuple[str, str]] = []
        for name in sorted(known.names(), reverse=True)[:count]:
            try:
                found.append(known.read(name)[0])
            except DcctlError as error:
                found.append((name, error.sentence()))
        runs = [head(one, session.dcctl) for one in found]
        document = {"runs": runs, "zookeeper": known.dark or "answers"}
    emit(session, document, lambda console: draw_list(console, found, datetime.now(UTC)))


@run.command()
@run_argument
@command_options
def show(session: Session, *, name: str) -> None:
    """Show the timeline of a run: its name, the start or end of it, or `last`."""
    with _known(session) as known:
        shown, events = known.read(known.find(name))
    emit(
        session,
        timeline_document(shown, events, session.dcctl),
        lambda console: draw_run(console, shown, datetime.now(UTC), session.dcctl),
    )


@run.command()
@run_argument
@command_options
def watch(session: Session, *, name: str) -> None:
    """Follow a run, wherever it acts, line by line until it ends."""
    with _known(session) as known:
        wanted = known.find(name)
        watched = watch_events(session, lambda: known.again().read(wanted), every_s=LOOK_EVERY_S)
    if session.json:
        emit(session, timeline_document(*watched, session.dcctl), lambda _console: None)


@run.command()
@run_argument
@yes_option
@command_options
def resume(session: Session, *, name: str, yes: bool) -> None:
    """Go on with a run that was broken off, failed, was interrupted or is paused, from any machine.

    Nothing is repeated that holds already. Refused while its process lives, and says where.
    """
    from dcctl.domain.order import read_order
    from dcctl.domain.run import Outcome, Wish, decide_resume

    with _known(session) as known:
        wanted = known.find(name)
        found, events = known.read(wanted)
        if found.outcome is Outcome.PAUSED:
            _kept(known).withdraw(wanted, Wish.PAUSE, limit_s=ASK_LIMIT_S)
            emit(session, head(found), lambda out: out.print(f"run {wanted} goes on"))
            return
        _raise_refused("resume the run", found, decide_resume(found, events))
        if found.outcome is Outcome.ACTIVE:
            active = known.active if known.active is not None and known.active.run == wanted else None
            told = active.sentence() if active is not None else f"run {wanted} acts on this machine"
            raise Refused(
                "resume the run", on=wanted, reasons=(told,), next_command=f"dcctl run watch {wanted}"
            )
        order = read_order(found.command)
        _say_waits(known, wanted)
    if order is None:
        raise Refused("resume the run", on=wanted, reasons=("it ended before it wrote what it was to do",))
    if order.what in ("drain", "undrain"):
        from dcctl.cli.traffic import turn

        turn(session, order, yes=yes, resume=wanted)
        return
    from dcctl.cli.move import carry_out

    carry_out(session, order, yes=yes, resume=wanted)


@run.command()
@run_argument
@click.option("--reason", default="", metavar="TEXT", help="Why; it is kept in the run.")
@command_options
def pause(session: Session, *, name: str, reason: str) -> None:
    """Ask a run that acts, wherever it does, to begin nothing more until it is resumed."""
    from dcctl.domain.run import Outcome, Wish

    with _known(session) as known:
        found = _active(known, name, "pause the run")
        _ask(known, found.run, Wish.PAUSE, reason)
        ended, _events = _obeyed(known, found.run, lambda now, _told: now.outcome is not Outcome.ACTIVE)
        if ended.outcome is Outcome.ACTIVE:
            raise _not_yet(ended, "pause the run")
    emit(session, head(ended, session.dcctl), lambda out: _say_paused(out, ended, session.dcctl))


@run.command()
@click.argument("step")
@reason_option
@click.option("--run", "name", default="last", metavar="RUN", help="Default: the newest.")
@command_options
def skip(session: Session, *, step: str, reason: str, name: str) -> None:
    """State that what STEP of a run's plan waits for holds, so that the run goes on without seeing it.

    Only for steps by which nothing is promoted or fenced. The rule a-person-states, the name and the reason
    are kept in the run.
    """
    from dcctl.domain.run import Wish, decide_resume, decide_skip, why_not_asked

    with _known(session) as known:
        found, events = known.read(known.find(name))
        why_not = why_not_asked(found) or decide_resume(found, events) or decide_skip(step, events)
        _raise_refused(f"skip {step!r}", found, why_not)
        _ask(known, found.run, Wish.SKIP, reason, step=step)
    emit(
        session,
        {**head(found), "skip": step, "reason": reason},
        lambda out: out.print(
            f"run {found.run}: {step!r} is stated to hold (rule a-person-states): {reason}"
        ),
    )


@run.command()
@run_argument
@reason_option
@command_options
def abort(session: Session, *, name: str, reason: str) -> None:
    """End a run before its point of no return, and free the way for others. Refused after it.

    An automatic failover is then not begun again by itself until its site was seen up again, or until
    `dcctl automation resume`.
    """
    from dcctl.domain.run import GOING_ON, Outcome, Wish, decide_abort, no_return_of

    with _known(session) as known:
        wanted = known.find(name)
        found, events = known.read(wanted)
        _raise_refused("abort the run", found, decide_abort(found, events))
        if found.outcome in GOING_ON:
            _ask(known, wanted, Wish.ABORT, reason)
            found, events = _obeyed(
                known, wanted, lambda now, told: now.outcome not in GOING_ON or no_return_of(told) is not None
            )
            if found.outcome in GOING_ON:
                _raise_refused("abort the run", found, decide_abort(found, events))
                raise _not_yet(found, "abort the run")
        else:
            _say_waits(known, wanted)
            found = _abort_broken_off(known, found, reason)
        if found.outcome is Outcome.ABORTED:
            _keep_aborted(known, found, reason)
    if found.outcome is not Outcome.ABORTED:
        told = f"the run is {found.outcome}" + (f": {found.saw}" if found.saw else "")
        raise Refused("abort the run", on=wanted, reasons=(told,), next_command=f"dcctl run show {wanted}")
    emit(session, head(found), lambda out: out.print(f"run {wanted} is aborted; nothing was moved"))


def _abort_broken_off(known: "Known", found: "Run", reason: str) -> "Run":
    """With the right to act, which no process has: what is decided then is not outrun by it."""
    from dcctl.domain.run import decide_abort, decide_run
    from dcctl.shell import WallClock
    from dcctl.wiring.runs import resumed, resuming, who

    runs, command = _kept(known), found.command or found.run
    with (
        resumed(known.configuration, found.run, clock=WallClock()) as opened,
        resuming(runs, opened, found.run, command) as journal,
    ):
        _raise_refused("abort the run", found, decide_abort(found, journal.events()))
        journal.append("run.aborted", {"saw": f"{who()}: {reason}"})
        return decide_run(found.run, journal.events(), active=False)


def _keep_aborted(known: "Known", found: "Run", reason: str) -> None:
    """For the controller, where the run was its own: whoever acts as the controller next was not there."""
    from dcctl.domain.automation import LastAction, decide_aborted
    from dcctl.wiring.automation import automations
    from dcctl.wiring.runs import who

    _found, events = known.again().read(found.run)
    about = events[0].fields if events else {}
    if about.get("by") != "automation" or found.started_at is None:
        return
    told = f"{who()}: {reason}"
    ended = LastAction(str(about.get("site", "")), found.run, found.started_at, done=False, aborted=told)
    try:
        with automations(known.configuration) as said:
            if (kept := decide_aborted(said.observe_last(), ended)) is not None:
                said.record_last(kept)
    except DcctlError as error:
        click.echo(f"not kept for the controller ({error.sentence()}): dcctl automation pause", err=True)


@contextmanager
def _known(session: Session) -> "Iterator[Known]":
    """All runs. Where the environment's network cannot be joined, those of this machine."""
    from dcctl.config.load import load
    from dcctl.wiring import runs

    try:
        configuration = session.configuration()
    except Unreachable as error:
        known = runs.Known(load(session.environment), None, error.sentence(), None, ())
        say_dark(known.dark)
        yield known
        return
    with runs.known(configuration) as known:
        if known.dark:
            say_dark(known.dark)
        yield known


def _kept(known: "Known") -> "ZooKeeperRuns":
    if known.kept is None:
        raise Unreachable("ask ZooKeeper of the run", saw=known.dark, next_command="dcctl status")
    return known.kept


def _say_waits(known: "Known", run: str) -> None:
    """What a run that was broken off had begun may go on for a while, and is waited for in silence."""
    active = known.active
    if active is not None and active.run == run and not active.alive and active.free_in_s > 0:
        click.echo(f"{active.sentence()}: that is waited for", err=True)


def _say_paused(out: "Console", found: "Run", dcctl: str) -> None:
    from dcctl.domain.run import Outcome

    out.print(f"run {found.run} is {found.outcome}")
    if found.outcome is Outcome.PAUSED:
        out.print(f"next: {dcctl} run resume {found.run}")


def _not_yet(found: "Run", tried: str) -> StepFailed:
    """It was asked, stays asked, and what is under way has not ended."""
    doing = "; ".join(f"{each.name} on {each.target}" for each in found.doing) or "what is under way"
    return StepFailed(
        tried,
        run=found.run,
        step=doing,
        on=found.run,
        saw="it was asked, and obeys once what is under way has ended",
        next_command=f"dcctl run watch {found.run}",
    )


def _active(known: "Known", name: str, tried: str) -> "Run":
    from dcctl.domain.refusal import Refusal
    from dcctl.domain.run import Outcome, why_not_asked

    _kept(known)
    found, _events = known.read(known.find(name))
    _raise_refused(tried, found, why_not_asked(found))
    if found.outcome is not Outcome.ACTIVE:
        _raise_refused(tried, found, Refusal((f"run {found.run} is {found.outcome}",)))
    return found


def _ask(known: "Known", run: str, wish: "Wish", reason: str, *, step: str = "") -> None:
    from dcctl.domain.run import Asked
    from dcctl.wiring.runs import who

    if wish.value == "skip" and not reason.strip():
        raise UsageError(f"skip {step!r}", saw="--reason says nothing")
    asked = Asked(wish, who(), datetime.now(UTC), reason, step)
    _kept(known).ask(run, asked, limit_s=ASK_LIMIT_S)


def _obeyed(
    known: "Known", run: str, is_so: "Callable[[Run, Sequence[Event]], bool]"
) -> "tuple[Run, tuple[Event, ...]]":
    """The run once it has obeyed, or as it is after the limit: what it does then is its own."""
    deadline_s = time.monotonic() + OBEYED_LIMIT_S
    while True:
        found, events = known.again().read(run)
        if is_so(found, events) or time.monotonic() > deadline_s:
            return found, events
        time.sleep(LOOK_EVERY_S)


def _raise_refused(tried: str, found: "Run", decided: "Refusal | None") -> None:
    from dcctl.domain.run import next_command

    if decided is not None:
        command = next_command(found) or f"dcctl run show {found.run}"
        raise Refused(tried, on=found.run, reasons=decided.reasons, next_command=command)
