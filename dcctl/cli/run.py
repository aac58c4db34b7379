"""``dcctl run``: what was done in an environment, on whatever machine, and how to go on with what stopped."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from dcctl.cli.output import emit
from dcctl.cli.run_view import draw_list, draw_run, head, say_dark, timeline_document, watch_events
from dcctl.cli.session import Session, command_options, yes_option
from dcctl.errors import DcctlError, Refused, Unreachable, UsageError

if TYPE_CHECKING:
    from dcctl.adapters.zookeeper import ZooKeeperRuns
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
@click.option("-n", "count", default=20, show_default=True, help="How many, newest first.")
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
        document = {"runs": [head(one) for one in found], "zookeeper": known.dark or "answers"}
    emit(session, document, lambda console: draw_list(console, found))


@run.command()
@run_argument
@command_options
def show(session: Session, *, name: str) -> None:
    """Show the timeline of a run: its name, the start or end of it, or `last`."""
    with _known(session) as known:
        shown, events = known.read(known.find(name))
    emit(session, timeline_document(shown, events), lambda console: draw_run(console, shown))


@run.command()
@run_argument
@command_options
def watch(session: Session, *, name: str) -> None:
    """Follow a run, wherever it acts, line by line until it ends."""
    with _known(session) as known:
        wanted = known.find(name)
        watched = watch_events(session, lambda: known.again().read(wanted), every_s=LOOK_EVERY_S)
    if session.json:
        emit(session, timeline_document(*watched), lambda _console: None)


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
        _raise_refused("resume the run", wanted, decide_resume(found, events))
        if found.outcome is Outcome.ACTIVE:
            told = (
                known.active.sentence() if known.active is not None else f"run {wanted} acts on this machine"
            )
            raise Refused(
                "resume the run", on=wanted, reasons=(told,), next_command=f"dcctl run watch {wanted}"
            )
        order = read_order(found.command)
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
        ended = _obeyed(known, found.run, lambda now: now.outcome is not Outcome.ACTIVE)
    emit(session, head(ended), lambda out: out.print(f"run {ended.run} is {ended.outcome}"))


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
    from dcctl.domain.run import Wish, decide_skip

    with _known(session) as known:
        found, events = known.read(known.find(name))
        _raise_refused(f"skip {step!r}", found.run, decide_skip(step, events))
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
    from dcctl.domain.run import Outcome, Wish, decide_abort

    with _known(session) as known:
        wanted = known.find(name)
        found, events = known.read(wanted)
        _raise_refused("abort the run", wanted, decide_abort(found, events))
        if found.outcome in (Outcome.ACTIVE, Outcome.PAUSED):
            _ask(known, wanted, Wish.ABORT, reason)
            found = _obeyed(known, wanted, lambda now: now.outcome not in (Outcome.ACTIVE, Outcome.PAUSED))
        else:
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
        _raise_refused("abort the run", found.run, decide_abort(found, journal.events()))
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


def _active(known: "Known", name: str, tried: str) -> "Run":
    from dcctl.domain.run import Outcome

    _kept(known)
    found, _events = known.read(known.find(name))
    if found.outcome is not Outcome.ACTIVE:
        reason = f"run {found.run} is {found.outcome}"
        raise Refused(tried, on=found.run, reasons=(reason,), next_command=f"dcctl run show {found.run}")
    return found


def _ask(known: "Known", run: str, wish: "Wish", reason: str, *, step: str = "") -> None:
    from dcctl.domain.run import Asked
    from dcctl.wiring.runs import who

    if wish.value == "skip" and not reason.strip():
        raise UsageError(f"skip {step!r}", saw="--reason says nothing")
    asked = Asked(wish, who(), datetime.now(UTC), reason, step)
    _kept(known).ask(run, asked, limit_s=ASK_LIMIT_S)


def _obeyed(known: "Known", run: str, is_so: "Callable[[Run], bool]") -> "Run":
    """The run once it has obeyed, or as it is after the limit: what it does then is its own."""
    deadline_s = time.monotonic() + OBEYED_LIMIT_S
    while True:
        found, _events = known.again().read(run)
        if is_so(found) or time.monotonic() > deadline_s:
            return found
        time.sleep(LOOK_EVERY_S)


def _raise_refused(tried: str, run: str, decided: "Refusal | None") -> None:
    if decided is not None:
        raise Refused(tried, on=run, reasons=decided.reasons, next_command=f"dcctl run show {run}")
