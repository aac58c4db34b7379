"""What ``failover``, ``switchover`` and ``admit`` share: look, show, ask, act as the one run, and tell."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from dcctl.cli.move_view import draw_moved, draw_preview, moved_document, preview_document
from dcctl.cli.output import Progress, console, emit
from dcctl.cli.provision import choose_sites, confirm
from dcctl.cli.session import Session
from dcctl.domain.plan import Moved, Plan
from dcctl.domain.refusal import Refusal
from dcctl.errors import Refused
from dcctl.shell import Interruption, WallClock, at_once, perform

if TYPE_CHECKING:
    from dcctl.config.schema import Configuration
    from dcctl.domain.situation import Situation
    from dcctl.domain.step import Work
    from dcctl.engines.situation import Means
    from dcctl.engines.status import Ask
    from dcctl.wiring.failover import Stage


@dataclass(frozen=True)
class Move:
    """One of the three commands. ``words`` is how it was called, for the journal and for going on."""

    what: str
    words: str
    site: str
    look: "Callable[[Means], Situation]"
    decide: "Callable[[Situation], Plan | Refusal]"
    work: "Callable[[Means], Work[Moved]]"


def ask_within(limit_s: float) -> "Ask":
    """Asks everything at once; what did not answer within ``limit_s`` is left behind."""
    return partial(at_once, limit_s=limit_s)


@contextmanager
def enter(session: Session, site: str) -> "Iterator[tuple[Configuration, Stage]]":
    """The environment, with ``site`` known to be one of it."""
    from dcctl.wiring import failover

    configuration = session.configuration()
    choose_sites(configuration, (site,))
    with failover.stage(
        configuration, clock=WallClock(), ask_within=ask_within, dcctl=_dcctl(session)
    ) as stage:
        yield configuration, stage


def show(session: Session, stage: "Stage", move: Move) -> None:
    """Print the preview. Raises Refused with every reason, after it was printed."""
    situation, decided = _look(stage, move)
    document = preview_document(move.what, move.site, situation, decided)
    emit(session, document, lambda out: draw_preview(out, situation, decided))
    _raise_refused(session, move, decided)


def carry_out(
    session: Session, configuration: "Configuration", stage: "Stage", move: Move, *, yes: bool
) -> None:
    """Show the preview, ask, and act as a run of its own."""
    from dcctl import wiring

    situation, decided = _look(stage, move)
    out = console(sys.stderr if session.json else sys.stdout)
    draw_preview(out, situation, decided)
    _raise_refused(session, move, decided)
    again = f"{_dcctl(session)} {move.words}"
    confirm(f"carry out this {move.what}", yes=yes, command=f"{again} --yes")
    clock = WallClock()
    with (
        Interruption() as held,
        wiring.journal(configuration, what=move.what, clock=clock) as journal,
        stage.acting(journal, move.words) as means,
        Progress(move.what) as progress,
    ):
        assert means.journal is not None  # noqa: S101  # what acting gave it
        about = {"command": move.words, "environment": configuration.environment, "site": move.site}
        moved = perform(
            move.work(means),
            clock=clock,
            journal=means.journal,
            seen=progress,
            about=about,
            resume=again,
            interruption=held,
        )
        run = journal.run
    emit(session, moved_document(moved, run), lambda out: draw_moved(out, moved, run))


def _look(stage: "Stage", move: Move) -> "tuple[Situation, Plan | Refusal]":
    situation = move.look(stage.means)
    return situation, move.decide(situation)


def _raise_refused(session: Session, move: Move, decided: Plan | Refusal) -> None:
    if isinstance(decided, Refusal):
        command = f"{_dcctl(session)} status"
        raise Refused(move.what, on=move.site, reasons=decided.reasons, next_command=command)


def _dcctl(session: Session) -> str:
    return f"dcctl -e {session.environment}" if session.environment else "dcctl"
