"""``dcctl replication``: documents that are the same at both sites, kept so, proven so."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from dcctl.cli.output import console, emit
from dcctl.cli.replication_containers import containers as containers_command
from dcctl.cli.replication_pause import pause, resume
from dcctl.cli.replication_plan import apply, plan
from dcctl.cli.replication_setup import check, import_, init, keep, remove, report, settings
from dcctl.cli.replication_stage import Choice, Stage, choice_options, enter_stage, zookeeper_option
from dcctl.cli.replication_status import status
from dcctl.cli.replication_token import follow_with_tokens, verify_with_tokens
from dcctl.cli.replication_view import (
    draw_tallies,
    draw_verdicts,
    lag_line,
    progress_line,
    tally_line,
)
from dcctl.cli.session import Session, command_options
from dcctl.errors import DriftFound, UsageError
from dcctl.shell import WallClock

if TYPE_CHECKING:
    from rich.console import Console

    from dcctl.domain.replication_pass import Tally
    from dcctl.engines.replication_containers import Carried
    from dcctl.errors import Unreachable
    from dcctl.ports import Pauses

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


@click.group()
def replication() -> None:
    """Keep the documents of two Swift clusters the same, whichever side changes them."""


for _command in (
    plan,
    apply,
    init,
    check,
    settings,
    containers_command,
    keep,
    remove,
    import_,
    report,
    pause,
    resume,
    status,
):
    replication.add_command(_command)


@replication.command()
@choice_options()
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
    choice: Choice,
    max_deletes: int | None,
    accept_empty: bool,
    wait_s: int,
) -> None:
    """Make one pass over every container. Ends with 8 when a name is still not the same.

    Killed anywhere, it may simply be run again: it goes on from the last page that was finished.
    """
    from dcctl.engines.replication_run import midway, replicate_once
    from dcctl.engines.replication_token import replicate_with_tokens
    from dcctl.wiring.replication import token_stores

    stage, begun = enter_stage(session, choice), list[str]()
    emptied: frozenset[str] = frozenset()
    with stage.base() as base, midway(lambda: bool(begun)):
        if stage.settings.come_and_go and not stage.chosen:
            carried = stage.carried(begun=begun)
            emptied = carried.going
            stage = replace(stage, containers=tuple(dict.fromkeys((*stage.containers, *carried.names))))
            for reason in carried.held:
                console(sys.stderr).print(f"{reason} (dcctl replication containers)")
        options = stage.options(
            prefix=choice.prefix, accept_empty=accept_empty, emptied=emptied, progress=_progress()
        )
        if max_deletes is not None:
            options = replace(options, cap=type(options.cap)(share=0.0, at_least=max_deletes))
        if stage.settings.tokens:
            stores = token_stores(stage.settings, WallClock())
            tallies = replicate_with_tokens(stores, base, stage.containers, options, wait_s=wait_s)
        else:
            tallies = replicate_once(stage.stores(), base, stage.containers, options, wait_s=wait_s)
    _emit_passes(session, tallies)


@replication.command()
@choice_options(prefix=False)
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
@click.option(
    "--hot",
    multiple=True,
    metavar="PREFIX",
    help="Look at names that begin so every second; %Y %m %d %H are today's (UTC). Repeatable.",
)
@click.option(
    "--sample",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    metavar="N",
    help="Read and hash N objects at both sides in each pass, others every time.",
)
@click.option(
    "--shared",
    is_flag=True,
    help="Share the work, through ZooKeeper, with every other --shared of this environment.",
)
@zookeeper_option
@command_options
def follow(
    session: Session,
    *,
    choice: Choice,
    every_s: float,
    metrics_port: int | None,
    hot: tuple[str, ...],
    sample: int,
    shared: bool,
    hosts: str | None,
) -> None:
    """Carry what the outbox tells at once, and make passes, until told to stop (SIGTERM, Ctrl-C).

    A cluster that is away is waited for. With --shared any number of them may run, anywhere, and may come
    and go; one that does not reach ZooKeeper goes on alone.
    """
    from contextlib import nullcontext

    from dcctl.domain.replication_lag import Lag
    from dcctl.domain.replication_pass import Tally
    from dcctl.engines.replication_follow import follow as follow_changes
    from dcctl.wiring import replication_metrics
    from dcctl.wiring.replication import (
        change_feed,
        pauses_everywhere,
        pauses_here,
        shared_work,
        worker_base,
    )

    stage = enter_stage(session, choice)
    # Where work or leadership is shared there is an ensemble, in which a person may have paused it.
    joined = shared or hosts is not None or "DCCTL_EPOCH" in os.environ
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
                if result.pending or result.p50_s is not None:
                    err.print(lag_line(result))
            case _:
                err.print(f"waiting: {result}")

    if stage.settings.tokens:
        if shared or hot:
            raise UsageError(
                "follow with tokens", saw="--shared and --hot need the container_sync middleware"
            )
        with (
            pauses_everywhere(stage.configuration, hosts, wait=False)
            if joined
            else nullcontext() as everywhere
        ):
            pauses: list[Pauses] = [
                pauses_here(stage.configuration),
                *([everywhere] if everywhere is not None else []),
            ]
            follow_with_tokens(stage, every_s=every_s, seen=seen, pauses=pauses)
        return
    with (
        worker_base(stage.configuration, stage.settings) if shared else stage.base() as base,
        change_feed(stage.settings) as feed,
        shared_work(stage.configuration, hosts) if shared else nullcontext() as work,
        pauses_everywhere(stage.configuration, hosts, wait=False) if joined else nullcontext() as everywhere,
    ):
        follow_changes(
            stage.stores(),
            base,
            stage.containers,
            stage.options(sample=sample),
            every_s=every_s,
            feed=feed,
            work=work,
            heartbeat=stage.settings.heartbeat if stage.whole else None,  # it speaks of everything
            come_and_go=_come_and_go(stage, err),
            hot=lambda: [WallClock().now().strftime(prefix) for prefix in hot],
            seen=seen,
            pauses=[pauses_here(stage.configuration), *([everywhere] if everywhere is not None else [])],
        )


@replication.command()
@choice_options()
@level_option
@command_options
def verify(session: Session, *, choice: Choice, level: str) -> None:
    """Compare both sides and class every difference. Ends with 8 when there is one. Changes nothing."""
    from dcctl.engines.replication_run import compare

    stage = enter_stage(session, choice).with_those_that_come_and_go(look=True)
    if stage.settings.tokens:
        verify_with_tokens(session, stage, choice.prefix, level)
        return
    verdicts = compare(stage.stores(), stage.containers, stage.options(prefix=choice.prefix), level=level)
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
@choice_options()
@level_option
@command_options
def repair(session: Session, *, choice: Choice, level: str) -> None:
    """Replay what differs and nothing else, trusting no memory of earlier passes.

    Ends with 8 when a name is still not the same.
    """
    from dcctl.engines.replication_run import mend

    stage = enter_stage(session, choice).with_those_that_come_and_go(look=True)
    with stage.base() as base:
        tallies = mend(
            stage.stores(), base, stage.containers, stage.options(prefix=choice.prefix), level=level
        )
    _emit_passes(session, tallies)


def _emit_passes(session: Session, tallies: "Sequence[Tally]") -> None:
    """What became of names. Raises DriftFound when some are not the same yet."""
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


def _come_and_go(stage: Stage, err: "Console") -> "Callable[[], Carried] | None":
    """What looks at containers that come and go and says which there are; None where there are none such."""
    if not stage.settings.come_and_go or stage.chosen:
        return None

    def look() -> "Carried":
        carried = stage.carried()
        for one in carried.done:
            err.print(f"{one.name}: the container is {one.need.value}")
        for reason in carried.held:
            err.print(f"{reason} (dcctl replication containers)")
        return carried

    return look


def _progress() -> "Callable[[Any], None] | None":
    if not sys.stderr.isatty():
        return None
    err = console(sys.stderr)
    return lambda tally: err.print(progress_line(tally))
