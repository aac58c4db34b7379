"""The way back of a drill: mend, drop, admit; recorded in the journal of the run that left it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from dcctl.domain.drill import Undo
from dcctl.domain.fault import Breakage, InForce
from dcctl.domain.step import Step, Wait, Work
from dcctl.errors import DcctlError, Interrupted, UndoIncomplete, Unreachable
from dcctl.ports import Fault, Journal

UNDO_LIMIT_S = 60.0


def observe_in_force(fault: Fault, breakage: Breakage) -> InForce | None:
    """Whether it is in force, and for how long yet."""
    return next((each for each in fault.observe_breakages() if each.breakage == breakage), None)


def mend(fault: Fault, breakage: Breakage) -> None:
    """End it and read back that it is over. Raises UndoIncomplete when it is not."""
    fault.mend(breakage)
    if (left := observe_in_force(fault, breakage)) is not None:
        raise UndoIncomplete(
            breakage.way_back(),
            left=(f"{breakage.sentence()}; it heals by itself in {left.ends_in_s:.0f} s",),
            next_command="dcctl drill restore",
        )


def undo(pending: Undo, effect: Callable[[], None], journal: Journal, left: list[str]) -> Work[None]:
    """Undo one thing and record that it is done, or add it to what is ``left``; never raises."""

    def done() -> None:
        effect()
        journal.append("undo.done", pending.fields())

    try:
        yield Step(pending.sentence(), pending.place, UNDO_LIMIT_S, done, undo=True)
    except DcctlError as error:
        left.append(f"{pending.sentence()}: {error.saw or error.sentence()}")


def undo_by(pending: Undo, begin: Callable[[], Work[Any]], journal: Journal, left: list[str]) -> Work[None]:
    """As ``undo``, by an engine that ``begin`` begins; once more when an interruption came in between."""
    try:
        try:
            yield from begin()
        except Interrupted:
            yield from begin()
            raise
    except Interrupted:
        yield _done(pending, journal)
        raise
    except DcctlError as error:
        left.append(f"{pending.sentence()}: {error.saw or error.sentence()}")
    else:
        yield _done(pending, journal)


def _done(pending: Undo, journal: Journal) -> Step:
    return Step(
        f"note that it is done: {pending.sentence()}",
        pending.place,
        UNDO_LIMIT_S,
        partial(journal.append, "undo.done", pending.fields()),
        undo=True,
    )


def _undo_when_it_can(
    pending: Undo, effect: Callable[[], None], journal: Journal, left: list[str]
) -> Work[None]:
    """As ``undo``, but again and again: after a site was healed a database may take a while to answer."""
    seen: list[str] = []

    def until() -> bool | None:
        try:
            effect()
        except Unreachable as error:
            seen[:] = [error.saw or error.sentence()]
            return None
        journal.append("undo.done", pending.fields())
        return True

    try:
        yield Wait(
            pending.sentence(), pending.place, UNDO_LIMIT_S, 2.0, until, lambda: "".join(seen), undo=True
        )
    except DcctlError as error:
        left.append(f"{pending.sentence()}: {error.saw or error.sentence()}")


def raise_if_left(left: Sequence[str]) -> None:
    """Raise UndoIncomplete when something is."""
    if left:
        raise UndoIncomplete("undo what the drill did", left=tuple(left), next_command="dcctl drill restore")


def restore(
    pending: Sequence[tuple[Journal, Undo]],
    *,
    fault: Fault | None,
    drop: Callable[[str], None],
    admit: Callable[[str], Work[Any]] | None = None,
) -> Work[None]:
    """Undo what earlier runs left, each recorded in the journal of the run that left it.

    Everything is tried. Raises UndoIncomplete with what remains.
    """
    left: list[str] = []
    by_word: Mapping[str, Callable[[Journal, Undo], Work[None]] | None] = {
        "drop": lambda journal, each: _undo_when_it_can(each, partial(drop, each.target), journal, left),
        "mend": None
        if fault is None
        else lambda journal, each: undo(each, partial(mend, fault, each.breakage), journal, left),
        "admit": None
        if admit is None
        else lambda journal, each: undo_by(each, partial(admit, each.target), journal, left),
    }
    for journal, each in pending:
        if (way := by_word[each.what]) is None:
            left.append(f"{each.sentence()}: this environment has no means to")
        else:
            yield from way(journal, each)
    raise_if_left(left)
