"""One drill from the command line: what it stands on, the way there, and its report in any case."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dcctl.cli.output import Progress
from dcctl.cli.session import Session
from dcctl.errors import DcctlError, Interrupted

if TYPE_CHECKING:
    from dcctl.adapters.business import HttpBusiness
    from dcctl.adapters.history import LinesFile
    from dcctl.adapters.journal import FileJournal
    from dcctl.adapters.workload import PostgresWorkload
    from dcctl.config.schema import Configuration
    from dcctl.domain.drill import Drill, DrillPlan
    from dcctl.domain.event import Event
    from dcctl.domain.report import Report
    from dcctl.domain.step import Work
    from dcctl.engines.drill import Responder
    from dcctl.engines.status import System
    from dcctl.ports import Fault
    from dcctl.wiring.failover import Stage

HISTORY, BUSINESS = "history.jsonl", "business.jsonl"


@contextlib.contextmanager
def stage_of(session: Session, configuration: "Configuration", asked: "Drill") -> "Iterator[Stage | None]":
    """What a drill fails over with; None for one in which dcctl does nothing."""
    if not (asked.respond or asked.holds):
        yield None
        return
    with any_stage(session, configuration) as stage:
        yield stage


@contextlib.contextmanager
def any_stage(session: Session, configuration: "Configuration") -> "Iterator[Stage]":
    from dcctl.cli.move import ask_within
    from dcctl.shell import WallClock
    from dcctl.wiring import failover

    with failover.stage(
        configuration, clock=WallClock(), ask_within=ask_within, dcctl=session.dcctl
    ) as stage:
        yield stage


def admitted(
    session: Session, configuration: "Configuration", journal: "FileJournal", site: str
) -> "Work[None]":
    """Put back a site that a killed drill gave up, once that drill's session has ended. Healing needs none
    of this: it comes first, and asks nobody."""
    from dcctl.engines.operator import Operator, right_to_act

    with any_stage(session, configuration) as stage, contextlib.ExitStack() as stack:
        means = yield from right_to_act(
            lambda: stack.enter_context(stage.acting(journal, "drill restore")), site
        )
        yield from Operator(means).admit(site)


def arrange(session: Session, configuration: "Configuration", stage: "Stage | None", asked: "Drill") -> None:
    """Bring what the drill wants there to the site that it loses: a switchover, as a run of its own."""
    if stage is None or not asked.holds:
        return
    from dcctl import wiring
    from dcctl.domain.drill import decide_misplaced, decide_site
    from dcctl.engines.situation import observe_situation
    from dcctl.engines.switchover import switchover
    from dcctl.shell import Interruption, WallClock, perform
    from dcctl.wiring.drill import leaders

    status = observe_situation(stage.means).status
    site = decide_site(asked, status)
    misplaced = decide_misplaced(asked, status, leaders(stage.means))
    if not misplaced or site not in configuration.sites:
        return
    clock, words = WallClock(), f"switchover apply --to {site}"
    with (
        Interruption() as held,
        wiring.journal(configuration, what="switchover", clock=clock) as journal,
        stage.acting(journal, f"before a drill: {words}") as means,
        Progress(f"before the drill: {words} ({'; '.join(misplaced)})") as progress,
    ):
        assert means.journal is not None  # noqa: S101  # what acting gave it
        about = {"command": words, "environment": configuration.environment, "site": site}
        perform(
            switchover(site, means),
            clock=clock,
            journal=means.journal,
            seen=progress,
            about=about,
            resume=f"{session.dcctl} {words}",
            interruption=held,
        )


def rehearse(
    session: Session,
    configuration: "Configuration",
    stage: "Stage | None",
    system: "System",
    plan: "DrillPlan",
    *,
    fault: "Fault",
    keep: bool,
) -> "tuple[Report, Path]":
    """Run the drill as a run of its own; its report is written whatever becomes of it."""
    from dcctl import wiring
    from dcctl.engines.drill import Rehearsal
    from dcctl.shell import Interruption, WallClock, perform

    clock, command = WallClock(), f"drill run {plan.drill.name}"
    with (
        Interruption() as held,
        wiring.journal(configuration, what="drill", clock=clock) as journal,
        Progress(f"drill {plan.drill.name}") as progress,
        contextlib.ExitStack() as stack,
    ):
        clients = stack.enter_context(_clients(configuration, plan.drill, journal.run))
        rehearsal = Rehearsal(
            environment=configuration.environment,
            plan=plan,
            system=system,
            fault=fault,
            workload=clients.writer,
            journal=journal,
            keep=keep,
            business=clients.business,
            responder=stack.enter_context(_responder(configuration, stage, plan.drill, journal, command)),
        )
        about = {"command": command, "environment": configuration.environment}
        with _reported(session, journal, clients):
            perform(
                rehearsal.run(),
                clock=clock,
                journal=journal,
                seen=progress,
                about=about,
                interruption=held,
            )
        for failure in clients.failures():
            progress.say(f"the clients' history is not whole on disk: {failure}")
        report = clients.report(journal.events())
        return report, write(clients.folder, report)


@contextlib.contextmanager
def _responder(
    configuration: "Configuration",
    stage: "Stage | None",
    asked: "Drill",
    journal: "FileJournal",
    command: str,
) -> "Iterator[Responder | None]":
    """Who answers. The drill is the one run that may act, but where the controller is to do so by itself."""
    from dcctl.domain.drill import CONTROLLER
    from dcctl.engines.operator import Onlooker, Operator
    from dcctl.wiring.automation import automations

    if stage is None:
        yield None
        return
    with contextlib.ExitStack() as stack:
        if asked.respond == CONTROLLER:
            said = stack.enter_context(automations(configuration))
            given = stage
            yield Onlooker(
                said, said.observe_last(), lambda: stack.enter_context(given.acting(journal, command))
            )
            return
        means = stack.enter_context(stage.acting(journal, command))
        yield Operator(means) if asked.respond else None


@dataclass(frozen=True)
class _Clients:
    """The clients of one drill and their histories on disk."""

    folder: Path
    writer: "PostgresWorkload"
    business: "HttpBusiness | None"
    files: "tuple[LinesFile, ...]"

    def failures(self) -> list[str]:
        return [each.failure for each in self.files if each.failure]

    def report(self, events: "Sequence[Event]") -> "Report":
        from dcctl.domain.report import decide_report

        told = self.business.history() if self.business is not None else None
        return decide_report(self.writer.history(), events, told)


@contextlib.contextmanager
def _clients(configuration: "Configuration", asked: "Drill", run: str) -> "Iterator[_Clients]":
    from dcctl import wiring
    from dcctl.adapters.history import BusinessFile, HistoryFile, LinesFile
    from dcctl.shell import WallClock
    from dcctl.wiring import drill as wiring_drill

    clock, folder = WallClock(), wiring.run_folder(configuration, run)
    with contextlib.ExitStack() as stack:
        written = stack.enter_context(HistoryFile(folder / HISTORY))
        writer = wiring.workload(configuration, asked.workload, run=run, keep=written.keep, clock=clock)
        written.begin(writer.history())
        files: tuple[LinesFile, ...] = (written,)
        business = None
        if asked.application is not None:
            told = stack.enter_context(BusinessFile(folder / BUSINESS))
            business = wiring_drill.business(
                configuration, asked.application, run=run, keep=told.keep, clock=clock
            )
            told.begin(business.history())
            files = (written, told)
        yield _Clients(folder, writer, business, files)


@contextlib.contextmanager
def _reported(session: Session, journal: "FileJournal", clients: _Clients) -> Iterator[None]:
    """Write what there is when the drill does not end well, and point to it."""
    try:
        yield
    except DcctlError as error:
        try:
            page = write(clients.folder, clients.report(journal.events()))
        except DcctlError as unwritten:
            error.add_note(f"and no report: {unwritten}")
        else:
            error.add_note(f"report: {page}")
            if isinstance(error, Interrupted) and not error.next_command:
                error.next_command = f"{session.dcctl} drill show {journal.run}"
        raise


def write(folder: Path, report: "Report") -> Path:
    from dcctl import __version__, resources
    from dcctl.adapters.report import write_report

    return write_report(folder, report, templates=resources.templates(), version=__version__)
