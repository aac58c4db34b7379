"""``dcctl replication``: documents that are the same at both sites, kept so, proven so."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcctl.cli.output import console, emit
from dcctl.cli.replication_view import (
    draw_findings,
    draw_import,
    draw_status,
    draw_tallies,
    draw_verdicts,
    lag_line,
    tally_line,
)
from dcctl.cli.session import Session, command_options
from dcctl.errors import ConfigurationError, DriftFound, Problem, Refused, UsageError
from dcctl.shell import WallClock

if TYPE_CHECKING:
    from dcctl.adapters.replication_base import SqliteBase
    from dcctl.adapters.swift_admin import SwiftAdministrator
    from dcctl.config.replication import Replication as Settings
    from dcctl.config.schema import Configuration
    from dcctl.domain.replication_check import Finding
    from dcctl.engines.replication import Options
    from dcctl.engines.replication_run import OpenStores
    from dcctl.errors import Unreachable

container_option = click.option(
    "--container", "containers", multiple=True, metavar="NAME", help="Only this container; repeatable."
)
prefix_option = click.option(
    "--prefix", default="", metavar="TEXT", help="Only names that begin so; the base is not renewed."
)
deletes_option = click.option(
    "--max-deletes", type=click.IntRange(min=0), metavar="N", help="Carry up to N deletes in this pass."
)
empty_option = click.option(
    "--accept-empty", is_flag=True, help="Carry deletes although one side lists nothing at all."
)
level_option = click.option(
    "--level",
    type=click.Choice(["listing", "metadata", "full"]),
    default="listing",
    show_default=True,
    help="Listings; also every object's headers; also every byte.",
)


@dataclass(frozen=True)
class Stage:
    """What a command works on."""

    configuration: "Configuration"
    settings: "Settings"
    containers: tuple[str, ...]

    @property
    def paused(self) -> bool:
        return self.pause_file.exists()

    @property
    def pause_file(self) -> Path:
        return self.configuration.state_directory / "replication" / "paused"

    def stores(self) -> "OpenStores":
        from dcctl.wiring import replication_stores

        return replication_stores(self.settings)

    @contextmanager
    def base(self, *, exclusive: bool = True) -> "Iterator[SqliteBase]":
        from dcctl.wiring import replication_base

        with replication_base(self.configuration, self.settings, exclusive=exclusive) as base:
            yield base

    def options(self, **changes: Any) -> "Options":
        from dcctl.domain.replication_pass import DeleteCap
        from dcctl.engines.replication import Options
        from dcctl.engines.replication_manners import Limits
        from dcctl.engines.replication_move import Keep

        settings = self.settings
        options = Options(
            settled_s=settings.settled.total_seconds(),
            reclaim_age_s=settings.reclaim_age.total_seconds(),
            margin_s=settings.margin.total_seconds(),
            cap=DeleteCap(share=settings.max_deletes_percent / 100),
            keep=Keep(settings.trash, settings.conflicts, int(settings.trash_kept.total_seconds())),
            limits=Limits(
                lowest=min(4, settings.at_once),
                start=min(12, settings.at_once),
                highest=settings.at_once,
                requests_per_s=settings.max_requests_per_s,
                bytes_per_s=settings.max_bytes_per_s,
            ),
        )
        return replace(options, **changes)


def _stage(session: Session, containers: tuple[str, ...] = ()) -> Stage:
    configuration = session.configuration()
    settings = configuration.replication
    if settings is None:
        from dcctl.config.load import find

        path = find(session.environment)
        problem = Problem(str(path), 0, 0, "there is no section replication:")
        raise ConfigurationError((problem,), next_command=f"$EDITOR {path}")
    unknown = [name for name in containers if name not in settings.containers]
    if unknown:
        raise UsageError(
            "choose containers", on=", ".join(unknown), saw=f"configured: {', '.join(settings.containers)}"
        )
    return Stage(configuration, settings, containers or settings.containers)


@click.group()
def replication() -> None:
    """Keep the documents of two Swift clusters the same, whichever side changes them."""


@replication.command()
@container_option
@prefix_option
@deletes_option
@empty_option
@click.option(
    "--wait",
    "wait_s",
    type=click.IntRange(min=0),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="Longest wait for names whose timestamp lies in the other side's future.",
)
@command_options
def once(
    session: Session,
    *,
    containers: tuple[str, ...],
    prefix: str,
    max_deletes: int | None,
    accept_empty: bool,
    wait_s: int,
) -> None:
    """Make one pass over every container. Ends with 8 when a name is still not the same.

    Killed anywhere, it may simply be run again: it goes on from the last page that was finished.
    """
    from dcctl.engines.replication_run import replicate_once

    stage = _stage(session, containers)
    options = stage.options(prefix=prefix, accept_empty=accept_empty, progress=_progress())
    if max_deletes is not None:
        options = replace(options, cap=type(options.cap)(share=0.0, at_least=max_deletes))
    with stage.base() as base:
        tallies = replicate_once(stage.stores(), base, stage.containers, options, wait_s=wait_s)
    emit(
        session,
        {"containers": [tally.document() for tally in tallies]},
        lambda out: draw_tallies(out, tallies),
    )
    pending = sum(tally.pending for tally in tallies)
    if pending:
        raise DriftFound(
            "make both sides the same",
            saw=f"{pending} names are not yet",
            next_command="dcctl replication status",
        )


@replication.command()
@container_option
@prefix_option
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="Names to show.")
@command_options
def plan(session: Session, *, containers: tuple[str, ...], prefix: str, limit: int) -> None:
    """Show what a pass would do, name by name. Changes nothing."""
    from dcctl.engines.replication_run import replicate_once

    stage = _stage(session, containers)
    decisions: list[dict[str, Any]] = []

    def note(name: str, witness: Any, decision: Any) -> None:
        if len(decisions) < limit:
            decisions.append(_planned(stage, name, witness, decision))

    with stage.base(exclusive=False) as base:
        tallies = replicate_once(
            stage.stores(), base, stage.containers, stage.options(prefix=prefix, plan=note)
        )
    total = sum(tally.count("planned") for tally in tallies)

    def draw(out: Any) -> None:
        for one in decisions:
            out.print(f"{one['decision']:<10} {one['from']:<8} {one['name']}")
        out.print(f"{total} names would be looked at" if total else "both sides list the same")

    emit(session, {"total": total, "names": decisions}, draw)


def _planned(stage: Stage, name: str, witness: Any, decision: Any) -> dict[str, Any]:
    from dcctl.domain.replication import Side

    sites = dict(zip(Side, sorted(stage.settings.stores), strict=True))
    side = next(
        (getattr(decision, word) for word in ("source", "present", "side") if hasattr(decision, word)), None
    )
    row = witness.a or witness.b
    return {
        "name": name,
        "decision": type(decision).__name__.lower(),
        "from": sites[side] if side is not None else "",
        "bytes": row.bytes,
        "stamp": row.stamp.instant.isoformat(),
    }


@replication.command()
@container_option
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(min=0.1),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Pause between passes.",
)
@click.option(
    "--metrics-port", type=click.IntRange(1, 65535), metavar="PORT", help="Serve Prometheus metrics there."
)
@command_options
def follow(
    session: Session, *, containers: tuple[str, ...], every_s: float, metrics_port: int | None
) -> None:
    """Carry what the outbox tells at once, and make passes, until told to stop (SIGTERM, Ctrl-C).

    A cluster that is away is waited for.
    """
    from dcctl.domain.replication_feed import Lag
    from dcctl.domain.replication_pass import Tally
    from dcctl.engines.replication_follow import follow as follow_changes
    from dcctl.wiring import replication_metrics, replication_outbox

    stage = _stage(session, containers)
    err = console(sys.stderr)

    metrics = replication_metrics(metrics_port) if metrics_port else None

    def seen(result: "Tally | Unreachable | Lag") -> None:
        if metrics is not None:
            metrics.seen(result)
        match result:
            case Tally():
                if not result.quiet:
                    err.print(tally_line(result))
            case Lag():
                err.print(lag_line(result))
            case _:
                err.print(f"waiting: {result}")

    with stage.base() as base, replication_outbox(stage.settings) as feed:
        follow_changes(
            stage.stores(),
            base,
            stage.containers,
            stage.options(),
            every_s=every_s,
            feed=feed,
            seen=seen,
            paused=lambda: stage.paused,
        )


@replication.command()
@container_option
@prefix_option
@level_option
@command_options
def verify(session: Session, *, containers: tuple[str, ...], prefix: str, level: str) -> None:
    """Compare both sides and class every difference. Ends with 8 when there is one. Changes nothing."""
    from dcctl.engines.replication_run import compare

    stage = _stage(session, containers)
    verdicts = compare(stage.stores(), stage.containers, stage.options(prefix=prefix), level=level)
    emit(
        session,
        {"containers": [verdict.document(sorted(stage.settings.stores)) for verdict in verdicts]},
        lambda out: draw_verdicts(out, verdicts, sorted(stage.settings.stores)),
    )
    if not all(verdict.same for verdict in verdicts):
        raise DriftFound(
            "find both sides the same",
            saw=f"{sum(sum(one.kinds.values()) for one in verdicts)} differences",
            next_command="dcctl replication repair",
        )


@replication.command()
@container_option
@prefix_option
@level_option
@command_options
def repair(session: Session, *, containers: tuple[str, ...], prefix: str, level: str) -> None:
    """Replay what differs and nothing else, trusting no memory of earlier passes."""
    from dcctl.engines.replication_run import mend

    stage = _stage(session, containers)
    with stage.base() as base:
        tallies = mend(stage.stores(), base, stage.containers, stage.options(prefix=prefix), level=level)
    emit(
        session,
        {"containers": [tally.document() for tally in tallies]},
        lambda out: draw_tallies(out, tallies),
    )


@replication.command()
@command_options
def status(session: Session) -> None:
    """Show per container when both sides were last the same, what is pending, and what waits for a person."""
    stage = _stage(session)
    with stage.base(exclusive=False) as base:
        containers = [_status_of(base, name) for name in stage.containers]
    document = {"paused": stage.paused, "containers": containers}
    emit(session, document, lambda out: draw_status(out, document))


def _status_of(base: "SqliteBase", container: str) -> dict[str, Any]:
    complete, outcome = base.complete(container), base.outcome(container)
    held = list(base.held(container))
    return {
        "container": container,
        "rows": complete[1] if complete else None,
        "complete": complete[0].instant.isoformat() if complete else None,
        "last_pass": outcome[0].instant.isoformat() if outcome else None,
        "tally": outcome[1] if outcome else None,
        "undecided": [
            {"name": one.row.name, "side": one.side.value, "reason": one.reason} for one in held[:1000]
        ],
    }


@replication.command("import")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--container", required=True, metavar="NAME", help="The container to bring them into.")
@click.option("--prefix", default="", metavar="TEXT", help="What names begin with, before the file's path.")
@click.option("--certify", is_flag=True, help="Read every file again and compare manifests of all three.")
@command_options
def import_(session: Session, *, directory: Path, container: str, prefix: str, certify: bool) -> None:
    """Bring a directory's files into both sides. Later passes write only what changed since.

    A file is stored under its modification time. Nothing is deleted. Ends with 8 when not all is there.
    """
    from dcctl.engines.replication_run import import_tree
    from dcctl.wiring import file_tree

    stage = _stage(session, (container,))
    done, certificate = import_tree(
        stage.stores(), file_tree(directory), container, stage.options(prefix=prefix), certify=certify
    )
    emit(
        session,
        done.document() | {"certificate": certificate},
        lambda out: draw_import(out, done.document(), certificate),
    )
    if not done.complete or (certificate is not None and not certificate["same"]):
        raise DriftFound(
            "bring all files in",
            on=str(directory),
            saw="not every file is on both sides, or a side has others",
            next_command=f"dcctl replication import {directory} --container {container} --certify",
        )


@replication.command()
@command_options
def pause(session: Session) -> None:
    """Let ``follow`` make no further pass until ``resume``."""
    stage = _stage(session)
    stage.pause_file.parent.mkdir(parents=True, exist_ok=True)
    stage.pause_file.touch()
    emit(session, {"paused": True}, lambda out: out.print("replication is paused"))


@replication.command()
@command_options
def resume(session: Session) -> None:
    """Let ``follow`` go on."""
    _stage(session).pause_file.unlink(missing_ok=True)
    emit(session, {"paused": False}, lambda out: out.print("replication goes on"))


@replication.command()
@command_options
def init(session: Session) -> None:
    """Make the containers on both sides and give them the key that lets signed requests in."""
    from dcctl.config.reference import resolve

    stage = _stage(session)
    key = resolve(stage.settings.container_key)
    names = (*stage.settings.containers, stage.settings.trash, stage.settings.conflicts)
    done = []
    for administrator in _administrators(stage):
        for name in names:
            changed = administrator.ensure_container(name, key)
            done.append({"site": administrator.site, "container": name, "changed": changed})

    def draw(out: Any) -> None:
        for one in done:
            out.print(
                f"{one['site']:<8} {one['container']:<24} {'set up' if one['changed'] else 'as it was'}"
            )

    emit(session, {"containers": done}, draw)


@replication.command()
@command_options
def check(session: Session) -> None:
    """Look at everything that replication relies on. Ends with 5 when it must not run. Changes nothing."""
    from dcctl.config.reference import resolve
    from dcctl.domain.replication_check import decide_cluster, decide_container, decide_gap

    stage = _stage(session)
    key = resolve(stage.settings.container_key)
    names = (*stage.settings.containers, stage.settings.trash, stage.settings.conflicts)
    findings: list[Finding] = []
    for administrator in _administrators(stage):
        findings += decide_cluster(administrator.observe_cluster(), realm=stage.settings.realm)
        for name in names:
            facts = administrator.observe_container(name)
            findings += decide_container(facts, site=administrator.site, container=name, key=key)
    with stage.base(exclusive=False) as base:
        for name in stage.containers:
            complete = base.complete(name)
            findings += decide_gap(
                name,
                complete[0].instant if complete else None,
                now=WallClock().now(),
                trusted=stage.settings.reclaim_age - stage.settings.margin,
            )
    document = {"findings": [vars_of(one) for one in findings]}
    emit(session, document, lambda out: draw_findings(out, findings))
    refused = tuple(f"{one.where}: {one.sentence}" for one in findings if one.level == "refuse")
    if refused:
        raise Refused("replicate", reasons=refused, next_command="dcctl replication init")


def vars_of(finding: "Finding") -> dict[str, str]:
    return {"level": finding.level, "where": finding.where, "sentence": finding.sentence}


def _administrators(stage: Stage) -> "Iterator[SwiftAdministrator]":
    from contextlib import closing

    from dcctl.wiring import replication_administrator

    for site in sorted(stage.settings.stores):
        administrator = replication_administrator(stage.settings, site, WallClock())
        if administrator is None:
            raise UsageError(
                "look at containers",
                on=site,
                saw=f"replication.stores.{site}.administrator is not configured",
            )
        with closing(administrator):
            yield administrator


@replication.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--container", required=True, metavar="NAME", help="The container they are in.")
@click.option("--all", "everything", is_flag=True, help="All names that wait for a decision.")
@command_options
def keep(session: Session, *, names: tuple[str, ...], container: str, everything: bool) -> None:
    """Decide that undecided names stay: they are put back where they are missing."""
    _answer(session, names, container, everything=everything, keep=True)


@replication.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--container", required=True, metavar="NAME", help="The container they are in.")
@click.option("--all", "everything", is_flag=True, help="All names that wait for a decision.")
@command_options
def remove(session: Session, *, names: tuple[str, ...], container: str, everything: bool) -> None:
    """Decide that undecided names go: their bytes go to the trash, and a delete is laid on both sides."""
    _answer(session, names, container, everything=everything, keep=False)


def _answer(
    session: Session, names: tuple[str, ...], container: str, *, everything: bool, keep: bool
) -> None:
    from dcctl.engines.replication_run import answer

    if bool(names) == everything:
        raise UsageError("decide names", saw="name them, or say --all")
    stage = _stage(session, (container,))
    with stage.base() as base:
        unknown = set(names) - {held.row.name for held in base.held(container)}
        if unknown:
            raise UsageError(
                "decide names",
                on=container,
                saw=f"not undecided: {', '.join(sorted(unknown))}",
                next_command="dcctl replication status",
            )
        tally = answer(stage.stores(), base, container, stage.options(), names=frozenset(names), keep=keep)
    emit(session, tally.document(), lambda out: draw_tallies(out, [tally]))


def _progress() -> "Callable[[Any], None] | None":
    if not sys.stderr.isatty():
        return None
    err = console(sys.stderr)
    return lambda tally: err.print(tally_line(tally))
