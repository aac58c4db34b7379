"""``dcctl deploy``: every change of a machine's configuration."""

import shlex
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcctl.cli.output import Progress, emit
from dcctl.cli.session import Session, command_options, override_options
from dcctl.domain.deploy import Change, Deployment, Doing, Failure, Finding, decide_deployment
from dcctl.domain.event import Event
from dcctl.domain.refusal import Refusal
from dcctl.domain.rules import Rule, noted, without
from dcctl.errors import DriftFound, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from dcctl.config.schema import Configuration
    from dcctl.domain.deploy import Applied
    from dcctl.domain.rules import Override
    from dcctl.engines.deploy import Deployed, Means
    from dcctl.ports import Accepted, Journal


@click.command()
@click.argument("roles", nargs=-1, metavar="[ROLE]...")
@click.option(
    "--check", is_flag=True, help="Change nothing; say what would change. Code 8 if anything would."
)
@click.option(
    "--limit",
    "limit",
    multiple=True,
    metavar="NAME",
    help="Only this machine, or all of this site; may be repeated.",
)
@click.option(
    "--together",
    is_flag=True,
    help="Configure all places at once, and take none out of traffic: clients may notice.",
)
@override_options
@command_options
def deploy(
    session: Session,
    *,
    roles: tuple[str, ...],
    check: bool,
    limit: tuple[str, ...],
    together: bool,
    rules: tuple[str, ...],
    reason: str,
) -> None:
    """Configure the machines, and examine them afterwards.

    Without a ROLE: all roles, on every machine that carries them. While clients are served, one site at a
    time is taken out of traffic, configured, proven healthy and put back; one that does not come well is
    brought back to what was accepted there before. Refused in the hours of auctions (change-window). May be
    repeated at any time: what is as configured is left alone, and a deploy that failed goes on by deploying
    again.
    """
    stage = prepare(session, roles=roles, limit=limit, rules=rules, reason=reason)
    if check:
        applied = do_compare(stage)
        emit(session, document(stage, applied), lambda console: draw(console, stage, applied, ()))
        if applied.changes:
            machines = sorted({change.machine for change in applied.changes})
            raise DriftFound(
                "compare the machines with the playbooks",
                on=", ".join(machines),
                saw=f"{len(applied.changes)} tasks would change something",
                next_command=stage.command,
            )
        return
    deployed = do_deploy(stage, together="asked for with --together" if together else "")
    applied, findings = deployed.applied, deployed.findings
    emit(session, document(stage, applied, findings), lambda console: draw(console, stage, applied, findings))


@dataclass(frozen=True)
class Stage:
    """An environment, ready to be deployed. ``command`` deploys the same again."""

    configuration: "Configuration"
    folder: Path
    """The environment's own, where its ``dcctl.yaml`` is."""
    deployment: Deployment
    command: str
    overrides: "tuple[Override, ...]" = ()
    """The rules that a person overrides for this one run."""


def prepare(
    session: Session,
    *,
    roles: tuple[str, ...] = (),
    limit: tuple[str, ...] = (),
    rules: tuple[str, ...] = (),
    reason: str = "",
) -> Stage:
    """Decide what is deployed. UsageError for an unknown role, machine, site or rule; Refused for the
    override of a promise."""
    from dcctl import wiring
    from dcctl.cli.move import overridden_for
    from dcctl.config.load import find

    configuration = session.configuration()
    overrides = overridden_for("deploy", rules, reason, on=configuration.environment)
    decided = decide_deployment(wiring.targets(configuration), roles=roles, limit=limit)
    if isinstance(decided, Refusal):
        raise UsageError("choose what to deploy", saw="; ".join(decided.reasons))
    environment = f" -e {session.environment}" if session.environment else ""
    overridden = [
        *(f"--override {rule}" for rule in rules),
        *(["--reason", shlex.quote(reason)] if reason else []),
    ]
    command = " ".join(
        ["dcctl" + environment, "deploy", *roles, *(f"--limit {name}" for name in limit), *overridden]
    )
    return Stage(configuration, find(session.environment).resolve().parent, decided, command, overrides)


def do_deploy(stage: Stage, progress: Progress | None = None, *, together: str = "") -> "Deployed":
    """Deploy as a run of its own, with progress on standard error. ``together``: why all places at once.

    Raises StepFailed, UndoIncomplete, Interrupted; Refused when a site cannot be taken out of traffic.
    """
    from dcctl import wiring
    from dcctl.cli.rollout import prepared
    from dcctl.shell import Interruption, WallClock, perform

    clock = WallClock()
    with (
        _shown(progress) as shown,
        Interruption() as interruption,
        _means(stage, watch := Watch(shown), interruption) as (means, accepted),
        prepared(stage, means, accepted, together, clock) as ready,
        wiring.journal(stage.configuration, what="deploy", clock=clock) as journal,
        ready.acting(journal),
    ):
        watch.journal = journal
        shown.say(ready.says)
        for told in noted(without(Rule.SURVIVOR_HAS_HEADROOM, stage.overrides), ready.overridden):
            journal.append("rule.overridden", told)
        return perform(
            ready.work(journal),
            clock=clock,
            journal=journal,
            seen=shown,
            about={"command": stage.command, "machines": list(stage.deployment.machines)},
            resume=stage.command,
            interruption=interruption,
        )


def do_compare(stage: Stage) -> "Applied":
    """Compare only; that is no run, because nothing changes."""
    from dcctl.engines.deploy import compare
    from dcctl.shell import Interruption

    with (
        _shown(None, "compare") as shown,
        Interruption() as interruption,
        _means(stage, Watch(shown), interruption) as (means, _accepted),
    ):
        return compare(stage.deployment, means)


@contextmanager
def _means(stage: Stage, watch: "Watch", interruption: Any) -> Iterator["tuple[Means, Accepted]"]:
    from dcctl import wiring
    from dcctl.cli.inventory import build
    from dcctl.engines.deploy import Means
    from dcctl.wiring.artifact import artifacts

    inventory = build(stage.configuration)
    with wiring.deployment(
        stage.configuration, inventory, folder=stage.folder, roles=stage.deployment.roles
    ) as (playbooks, acceptance, accepted):
        made = artifacts(stage.configuration)
        try:
            yield Means(made, playbooks, acceptance, watch, interruption.asked), accepted
        finally:
            watch.rest()


@contextmanager
def _shown(progress: Progress | None, title: str = "deploy") -> Iterator[Progress]:
    if progress is not None:
        yield progress
        return
    with Progress(title) as own:
        yield own


class Watch:
    """What a deploy does, as it happens: a row per machine on a terminal, a line per change anywhere.

    Changes and failures are journalled too. Safe to call from several threads.
    """

    def __init__(self, progress: Progress) -> None:
        self.journal: Journal | None = None
        self._progress = progress
        self._began = time.monotonic()
        self._rows: dict[str, str] = {}
        self._roles: set[str] = set()
        self._guard = threading.Lock()

    def __call__(self, what: Doing | Change | Failure | Finding) -> None:
        with self._guard:
            match what:
                case Doing():
                    self._row(what.machine, f"{what.role}: {what.task}" if what.role else what.task)
                    if what.role and what.role not in self._roles:
                        self._roles.add(what.role)
                        self._line("role", "", what.role)
                case Change():
                    self._line("change", what.machine, what.sentence())
                    self._note("deploy.changed", what.machine, what.sentence())
                case Failure():
                    self._line("failed", what.machine, what.sentence())
                    self._note("deploy.failed", what.machine, what.sentence())
                case Finding(passed=True):
                    self._row(what.machine, f"{what.role}: {what.check}")
                case Finding():
                    self._line("failed", what.machine, what.sentence())
                    self._note("deploy.failed", what.machine, what.sentence())

    def rest(self) -> None:
        """Nothing runs any more."""
        with self._guard:
            for machine in list(self._rows):
                self._row(machine, "")

    def _row(self, machine: str, text: str) -> None:
        if previous := self._rows.pop(machine, ""):
            self._progress(_row_event("step.passed", machine, previous))
        if text:
            self._rows[machine] = text
            self._progress(_row_event("step.started", machine, text))

    def _line(self, word: str, machine: str, text: str) -> None:
        took_s = time.monotonic() - self._began
        self._progress.say(f"{took_s:7.1f} s  {word:<6}  {machine:<14}  {text}")

    def _note(self, type: str, machine: str, text: str) -> None:
        if self.journal is not None:
            self.journal.append(type, {"target": machine, "saw": text})


def _row_event(type: str, machine: str, text: str) -> Event:
    """For the picture alone; it is not journalled. An end that is neither done nor failed draws no line."""
    return Event(datetime.now(UTC), "", 0, type, {"step": text, "target": machine})


def document(stage: Stage, applied: "Applied", findings: "tuple[Finding, ...]" = ()) -> dict[str, Any]:
    """The result as JSON values."""
    return {
        "environment": stage.configuration.environment,
        "roles": stage.deployment.roles,
        "changed": applied.changed,
        "took_s": applied.took_s,
        "machines": [asdict(recap) for recap in applied.recaps],
        "changes": [asdict(change) for change in applied.changes],
        "findings": [asdict(finding) for finding in findings],
    }


def draw(console: "Console", stage: Stage, applied: "Applied", findings: "tuple[Finding, ...]") -> None:
    """The result as text: a line per machine, then the sums."""
    from rich.table import Table

    table = Table("machine", "ok", "changed", "skipped", "checks passed", box=None, pad_edge=False)
    for recap in applied.recaps:
        passed = sum(finding.machine == recap.machine for finding in findings)
        cells = (recap.ok, recap.changed, recap.skipped, passed if findings else "-")
        table.add_row(recap.machine, *map(str, cells))
    console.print(table)
    checks = f", {len(findings)} checks passed" if findings else ""
    console.print(
        f"{', '.join(stage.deployment.roles)}: changed={applied.changed} in {applied.took_s:.1f} s{checks}"
    )
