"""Runs as every machine sees them: their journals here and in the ensemble, and what is asked of them."""

import getpass
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dcctl.domain.budget import Past, decide_past
from dcctl.domain.event import Event
from dcctl.domain.run import ActiveRun, Ordered, Run, decide_run, is_over, merge_events
from dcctl.errors import DcctlError
from dcctl.ports import Clock, Journal, Runs
from dcctl.wiring.ensemble import new_session

if TYPE_CHECKING:
    from dcctl.adapters.zookeeper import ZooKeeperRuns
    from dcctl.config.schema import Configuration

LOOK_LIMIT_S = 5.0
BEGIN_LIMIT_S = 150.0
"""A run that was broken off may be in the middle of its longest step."""
APPEND_LIMIT_S = 20.0
"""An ensemble that elects another leader is waited for."""
END_LIMIT_S = 2.0
TELL_LIMIT_S = 2.0
FORGET_LIMIT_S = 2.0
PAST_LIMIT_S = 2.0
PAST_RUNS = 10
"""So many of the last runs of a kind tell how long it takes."""
FORGET_AT_MOST = 5
"""At the end of one run, which must not take long: there are never more than a few."""

Opened = Callable[[Sequence[Event]], tuple[Journal, tuple[Event, ...]]]
"""Opens the journal of a run that is resumed, given what is kept of it for every machine."""


@dataclass(frozen=True)
class Known:
    """What this machine and the ensemble know of runs. ``kept`` is None, and ``dark`` says why, where the
    ensemble does not answer: then only what was run here is known."""

    configuration: "Configuration"
    kept: "ZooKeeperRuns | None"
    dark: str
    active: ActiveRun | None
    elsewhere: tuple[str, ...]
    """The names of the runs that the ensemble keeps."""

    def again(self) -> "Known":
        """The same, looked at anew; what does not answer now stays as it was."""
        if self.kept is None:
            return self
        try:
            active = self.kept.observe_active(limit_s=LOOK_LIMIT_S)
            return replace(self, active=active, elsewhere=self.kept.observe_runs(limit_s=LOOK_LIMIT_S))
        except DcctlError:
            return self

    def names(self) -> tuple[str, ...]:
        """All of them, oldest first."""
        from dcctl.adapters.journal import runs

        return tuple(sorted({*runs(self.configuration.state_directory), *self.elsewhere}))

    def find(self, given: str) -> str:
        """The one run that is meant. Raises NotFound."""
        from dcctl.adapters.journal import find_run

        return find_run(self.configuration.state_directory, given, self.elsewhere)

    def read(self, run: str) -> tuple[Run, tuple[Event, ...]]:
        """A run and its events, from wherever they go furthest. Raises Unreachable for a journal that is
        broken here and kept nowhere else."""
        from dcctl.adapters.journal import is_active, read_run, runs

        state = self.configuration.state_directory
        # In this order: a run that ends in between is then read with its end.
        active = is_active(state, run) or (
            self.active is not None and self.active.run == run and self.active.alive
        )
        broken: DcctlError | None = None
        try:
            here = read_run(state, run) if run in runs(state) else ()
        except DcctlError as error:
            here, broken = (), error
        kept: tuple[Event, ...] = ()
        ordered: Ordered | None = None
        if self.kept is not None and run in self.elsewhere:
            kept = self.kept.events(run, limit_s=LOOK_LIMIT_S)
            ordered = self.kept.observe_ordered(run, limit_s=LOOK_LIMIT_S)
        if broken is not None and not kept:
            raise broken
        events = merge_events(here, kept)
        return decide_run(run, events, active=active, ordered=ordered), events


@contextmanager
def known(configuration: "Configuration", *, limit_s: float = LOOK_LIMIT_S) -> Iterator[Known]:
    """A look at all runs. An ensemble that does not answer within ``limit_s`` is a finding."""
    from dcctl.adapters.zookeeper import ZooKeeperRuns

    session = new_session(configuration)
    try:
        try:
            session.connect(limit_s=limit_s)
            runs = ZooKeeperRuns(session, configuration.environment, who=who())
            active = runs.observe_active(limit_s=limit_s)
            found = Known(configuration, runs, "", active, runs.observe_runs(limit_s=limit_s))
        except DcctlError as error:
            found = Known(configuration, None, error.sentence(), None, ())
        yield found
    finally:
        session.close()


def resumed(configuration: "Configuration", run: str, *, clock: Clock) -> AbstractContextManager[Opened]:
    """The right of ``run`` to act on this machine, and what opens its journal."""
    from dcctl.adapters.journal import resume_run

    return resume_run(
        configuration.state_directory, run, environment=configuration.environment, now=clock.now
    )


@contextmanager
def acting(
    runs: "ZooKeeperRuns",
    journal: Journal,
    command: str,
    *,
    limit_s: float | None = None,
    keep: int | None = None,
) -> Iterator[Journal]:
    """The journal of the one run that may act in the environment, kept in the ensemble as well.

    A run that was broken off is waited for, ``limit_s`` at most. Raises Refused, which names the run that
    is active. At its end the ensemble forgets what is over, but for the last ``keep`` runs.
    """
    from dcctl.adapters.zookeeper import SharedJournal

    with _right_to_act(runs, journal.run, command, BEGIN_LIMIT_S if limit_s is None else limit_s):
        shared = SharedJournal(journal, runs, limit_s=APPEND_LIMIT_S)
        try:
            yield shared
        finally:
            with suppress(DcctlError):  # then others know of it what acted, and on whose machine the rest is
                shared.tell(limit_s=TELL_LIMIT_S)
        if keep is not None:
            with suppress(DcctlError):  # the next one does it
                forget(runs, keep)


def forget(runs: Runs, keep: int) -> tuple[str, ...]:
    """Forget the runs that are over, but for the last ``keep`` of all; their names. A run that can be gone on
    with is never forgotten. Needs the right to act. Raises Unreachable and LeadershipLost."""
    forgotten: list[str] = []
    for run in runs.observe_runs(limit_s=FORGET_LIMIT_S)[:-keep]:
        if len(forgotten) == FORGET_AT_MOST:
            break
        events = runs.events(run, limit_s=FORGET_LIMIT_S)
        over = is_over(decide_run(run, events, active=False), events)
        if over and runs.forget(run, limit_s=FORGET_LIMIT_S):
            forgotten.append(run)
    return tuple(forgotten)


@contextmanager
def resuming(runs: "ZooKeeperRuns", opened: Opened, run: str, command: str) -> Iterator[Journal]:
    """The journal of ``run`` with the right to act: on our disk and in the ensemble, both whole."""
    from dcctl.adapters.zookeeper import SharedJournal

    with _right_to_act(runs, run, command, BEGIN_LIMIT_S):
        local, beyond = opened(runs.events(run, limit_s=APPEND_LIMIT_S))
        for event in beyond:
            runs.append(event, limit_s=APPEND_LIMIT_S)
        yield SharedJournal(local, runs, limit_s=APPEND_LIMIT_S)


@contextmanager
def _right_to_act(runs: "ZooKeeperRuns", run: str, command: str, limit_s: float) -> Iterator[None]:
    runs.begin(run, command, limit_s=limit_s)
    try:
        yield
    finally:
        with suppress(DcctlError):  # the end of our session ends it too
            runs.end(limit_s=END_LIMIT_S)


def past_of(runs: Runs, what: str) -> Past:
    """What the last runs of the kind ``what`` took, whichever machine they were of, as far as the ensemble
    tells."""
    histories = []
    with suppress(DcctlError):
        kept = runs.observe_runs(limit_s=PAST_LIMIT_S)
        for run in [name for name in kept if f"-{what}-" in name][-PAST_RUNS:]:
            histories.append(runs.events(run, limit_s=PAST_LIMIT_S))
    return decide_past(histories)


def who() -> str:
    """This person at this machine, for others."""
    return f"{getpass.getuser()}@{socket.gethostname()}"
