"""``dcctl drill``: break one thing on purpose, mend it, and say what a client saw."""

import contextlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcctl.cli.drill_run import BUSINESS, HISTORY, admitted, arrange, rehearse, stage_of, write
from dcctl.cli.drill_view import (
    draw_checks,
    draw_list,
    draw_plan,
    draw_report,
    draw_story,
    plan_document,
    report_document,
)
from dcctl.cli.output import Progress, emit
from dcctl.cli.session import Session, command_options
from dcctl.errors import Deviated, NotFound, Refused

if TYPE_CHECKING:
    from dcctl.config.schema import Configuration
    from dcctl.domain.drill import Drill, DrillPlan
    from dcctl.domain.report import Report
    from dcctl.engines.status import System
    from dcctl.ports import Fault
    from dcctl.wiring.failover import Stage

PART_LIMIT_S = 1.5
LOOK_LIMIT_S = 15.0
"""A drill may take its time to see that all is well; a slow cloud is no reason to refuse it."""

site_option = click.option(
    "--site", metavar="SITE", help="Lose this site instead of the one that the drill's file names."
)


@click.group()
def drill() -> None:
    """Rehearse a failure: break it, hold it, mend it, and report what a client outside saw."""


@drill.command()
@click.argument("given", metavar="DRILL|FILE")
@site_option
@click.option("--keep", is_flag=True, help="Leave the client's table in the database.")
@command_options
def run(session: Session, *, given: str, site: str | None, keep: bool) -> None:
    """Run a drill, write its report, and end with 7 when the system did not hold a tolerance.

    Whatever it breaks is mended on every way out: Ctrl-C, an error, and by `dcctl drill restore` after a
    kill. Refused, with every reason, unless `dcctl status` is all well. A drill that wants the primary and
    the singletons at the site that it loses brings them there first, by a switchover.
    """
    configuration = session.configuration()
    asked = _load(configuration, given, site)
    fault = _fault(configuration)
    _restore(session, configuration, fault)
    with stage_of(session, configuration, asked) as stage:
        arrange(session, configuration, stage, asked)
        system, plan = _plan(configuration, asked, fault, stage)
        report, page = rehearse(session, configuration, stage, system, plan, fault=fault, keep=keep)
    emit(session, report_document(report, page), lambda console: draw_report(console, report, page))
    if report.deviations:
        raise Deviated(
            f"drill {report.drill}",
            on=report.environment,
            saw="; ".join(
                f"{each.name}: {each.measured} (wanted: {each.wanted})" for each in report.deviations
            ),
            next_command=f"{session.dcctl} drill show {report.run}",
        )


@drill.command("plan")
@click.argument("given", metavar="DRILL|FILE")
@site_option
@command_options
def show_plan(session: Session, *, given: str, site: str | None) -> None:
    """Show what a drill would break and do now, or every reason why it is refused. Changes nothing."""
    configuration = session.configuration()
    asked = _load(configuration, given, site)
    with stage_of(session, configuration, asked) as stage:
        _system, plan = _plan(configuration, asked, _fault(configuration), stage, ahead=True)
    emit(session, plan_document(plan), lambda console: draw_plan(console, plan))


@drill.command("list")
@command_options
def list_drills(session: Session) -> None:
    """List the drills there are, and the reports of those that were run, newest first."""
    from dcctl.adapters.journal import runs
    from dcctl.config.drill import known_drills, load_drill
    from dcctl.config.load import load

    state = load(session.environment).state_directory
    drills = [
        {"drill": name, "purpose": load_drill(path).purpose, "file": str(path)}
        for name, path in known_drills().items()
    ]
    reports = [_told(state, name) for name in reversed(runs(state)) if _is_drill(state, name)]
    document = {"drills": drills, "runs": reports}
    emit(session, document, lambda console: draw_list(console, drills, reports))


@drill.command()
@click.argument("name", metavar="RUN", default="last")
@command_options
def show(session: Session, *, name: str) -> None:
    """Show what a drill measured and its timeline: the run's name, the start or end of it, or `last`."""
    report, folder = _read(session, name)
    page = folder / "report.html"
    emit(session, report_document(report, page), lambda console: draw_story(console, report, page))


@drill.command("report")
@click.argument("name", metavar="RUN", default="last")
@command_options
def write_again(session: Session, *, name: str) -> None:
    """Make a drill's report again, from its journal and the client's history alone."""
    report, folder = _read(session, name)
    page = write(folder, report)
    emit(session, report_document(report, page), lambda console: draw_report(console, report, page))


@drill.command("check")
@click.argument("given", metavar="RUN|FILE", default="last")
@command_options
def check_again(session: Session, *, given: str) -> None:
    """Check what the clients of a drill noted, by it alone: its run, or a history.jsonl from anywhere.

    Ends with 7 when two sites acknowledged at once, an epoch fell, an acknowledged write was not read back,
    or what was once read vanished.
    """
    from dcctl.adapters.history import read_business, read_history
    from dcctl.domain.history_report import decide_history_checks

    path = Path(given) if Path(given).is_file() else _folder(session, given)[1] / HISTORY
    history = read_history(path)
    checks = decide_history_checks(history, read_business(path.with_name(BUSINESS)))
    document = {"run": history.run, "history": str(path), "checks": [asdict(each) for each in checks]}
    emit(session, document, lambda console: draw_checks(console, path, checks))
    if against := [f"{each.name}: {each.measured}" for each in checks if not each.held]:
        raise Deviated(
            "check the history",
            on=history.run,
            saw="; ".join(against),
            next_command=f"{session.dcctl} drill show {history.run}",
        )


@drill.command()
@command_options
def restore(session: Session) -> None:
    """Undo what a killed drill left: heal its site, drop its table. May be repeated at any time."""
    from dcctl.cli.fault import find_fault

    configuration = session.configuration()
    restored = _restore(session, configuration, find_fault(configuration))
    emit(
        session,
        {"restored": restored},
        lambda console: console.print(
            "\n".join(f"done: {each}" for each in restored) or "nothing to restore"
        ),
    )


def _load(configuration: "Configuration", given: str, site: str | None) -> "Drill":
    from dcctl.config.drill import find_drill, load_drill

    return load_drill(find_drill(given)).with_objectives(configuration.objectives, site=site)


def _fault(configuration: "Configuration") -> "Fault":
    from dcctl.cli.fault import find_fault

    fault = find_fault(configuration)
    if fault is None:
        reason = "dcctl.yaml names nothing that may break this environment (faults:)"
        raise Refused("run the drill", on=configuration.environment, reasons=(reason,))
    return fault


def _plan(
    configuration: "Configuration",
    asked: "Drill",
    fault: "Fault",
    stage: "Stage | None",
    *,
    ahead: bool = False,
) -> "tuple[System, DrillPlan]":
    """Look at everything and decide. Raises Refused with every reason."""
    from dcctl import wiring
    from dcctl.domain.drill import CONTROLLER, decide_drill, decide_site
    from dcctl.domain.refusal import Refusal
    from dcctl.domain.status import decide_status
    from dcctl.engines.status import observe
    from dcctl.shell import at_once
    from dcctl.wiring.drill import leaders, why_not_by_itself

    system = wiring.system(configuration, limit_s=PART_LIMIT_S, fault=fault)
    view = observe(system, lambda questions: at_once(questions, limit_s=LOOK_LIMIT_S))
    status = decide_status(configuration.environment, system.hosts, view)
    pending = [f"{undo.sentence()} (run {run})" for run, undo in wiring.pending_undos(configuration)]
    held = leaders(stage.means) if stage is not None else {}
    against: tuple[str, ...] = ()
    if stage is not None and asked.respond == CONTROLLER:
        against = why_not_by_itself(configuration, stage.means, decide_site(asked, status), held)
    plan = decide_drill(
        asked, system.hosts, status, pending=pending, leaders=held, against=against, ahead=ahead
    )
    if isinstance(plan, Refusal):
        raise Refused(
            f"run drill {asked.name}",
            on=configuration.environment,
            reasons=plan.reasons,
            next_command="dcctl status",
        )
    return system, plan


def _restore(session: Session, configuration: "Configuration", fault: "Fault | None") -> list[str]:
    """Undo what earlier runs left, as a run of its own; what was done, as sentences."""
    from dcctl import wiring
    from dcctl.engines.drill_undo import restore as engine
    from dcctl.shell import WallClock, perform

    pending = wiring.pending_undos(configuration)
    if not pending:
        return []
    clock = WallClock()
    command = f"{session.dcctl} drill restore"
    with (
        wiring.journal(configuration, what="restore", clock=clock) as journal,
        Progress("restore what an earlier drill left") as progress,
        contextlib.ExitStack() as stack,
    ):
        journals = {
            run: stack.enter_context(wiring.journal_of(configuration, run, clock=clock))
            for run in {run for run, _undo in pending}
        }
        perform(
            engine(
                [(journals[run], undo) for run, undo in pending],
                fault=fault,
                drop=lambda table: wiring.drop_table(configuration, table, clock=clock),
                admit=lambda site: admitted(session, configuration, journal, site),
            ),
            clock=clock,
            journal=journal,
            seen=progress,
            about={"command": "drill restore", "environment": configuration.environment},
            resume=command,
        )
    return [f"{undo.sentence()} (run {run})" for run, undo in pending]


def _read(session: Session, name: str) -> "tuple[Report, Path]":
    from dcctl.adapters.history import read_business, read_history
    from dcctl.adapters.journal import read_run
    from dcctl.domain.report import decide_report

    state, folder = _folder(session, name)
    history, told = read_history(folder / HISTORY), read_business(folder / BUSINESS)
    return decide_report(history, read_run(state, folder.name), told), folder


def _folder(session: Session, name: str) -> tuple[Path, Path]:
    """The state directory, and in it the folder of a drill. Raises NotFound."""
    from dcctl import wiring
    from dcctl.adapters.journal import find_run, runs
    from dcctl.config.load import load

    configuration = load(session.environment)
    state = configuration.state_directory
    drills = [run for run in runs(state) if _is_drill(state, run)]
    if name == "last" and not drills:
        raise NotFound("find the drill", on=name, saw="no drill was run", next_command="dcctl drill list")
    return state, wiring.run_folder(configuration, drills[-1] if name == "last" else find_run(state, name))


def _is_drill(state: Path, run: str) -> bool:
    return (state / "runs" / run / HISTORY).exists()


def _told(state: Path, run: str) -> dict[str, Any]:
    """A past drill in one line; its report says it, where one was written."""
    import json

    from dcctl.adapters.journal import is_active

    path = state / "runs" / run / "report.json"
    if path.exists():
        try:
            report = json.loads(path.read_text())
            told = {key: report[key] for key in ("run", "drill", "verdict", "recovery_s", "longest_outage_s")}
            found = report["findings"]
            return {**told, "lost": len(found["lost"]) if found["final_read"] else None}
        except (ValueError, KeyError, TypeError):
            return {"run": run, "verdict": "its report is not readable"}
    return {"run": run, "verdict": "active" if is_active(state, run) else "no report yet"}
