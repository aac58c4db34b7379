"""``dcctl replication status``: what is known of both sides, without asking them."""

from typing import TYPE_CHECKING, Any

import click

from dcctl.cli.output import emit
from dcctl.cli.replication_pause import pause_document
from dcctl.cli.replication_stage import Choice, Stage, choice_options, enter_stage, zookeeper_option
from dcctl.cli.replication_view import draw_shared, draw_status
from dcctl.cli.session import Session, command_options

if TYPE_CHECKING:
    from dcctl.adapters.replication_base import SqliteBase


@click.command()
@choice_options(prefix=False, container=False)
@click.option("--shared", is_flag=True, help="Show workers and their shares, from ZooKeeper.")
@zookeeper_option
@command_options
def status(session: Session, *, choice: Choice, shared: bool, hosts: str | None) -> None:
    """Show per container when both sides were last the same, what is pending, and what waits for a person."""
    from dcctl.domain.replication_token import WEAKER
    from dcctl.wiring.replication import pauses_here

    stage = enter_stage(session, choice).with_those_that_come_and_go(look=False)
    if shared:
        document = _shared(stage, hosts)
        emit(session, document, lambda out: draw_shared(out, document))
        return
    with stage.base(exclusive=False) as base:
        containers = [_status_of(base, name) for name in stage.containers]
    weaker = list(WEAKER) if stage.settings.tokens else []
    document = pause_document(pauses_here(stage.configuration)) | {
        "containers": containers,
        "not_promised": weaker,
    }
    emit(session, document, lambda out: draw_status(out, document))


def _shared(stage: Stage, hosts: str | None) -> dict[str, Any]:
    from dcctl.wiring.replication import CONNECT_LIMIT_S, pauses_everywhere, pauses_here, shared_work

    with (
        shared_work(stage.configuration, hosts, connect_s=CONNECT_LIMIT_S) as work,
        pauses_everywhere(stage.configuration, hosts) as everywhere,
    ):
        found = [work.observe_work(name) for name in stage.containers]
        paused = pause_document(everywhere, pauses_here(stage.configuration))
    containers = [
        {
            "container": one.container,
            "complete": one.complete[0].instant.isoformat() if one.complete else None,
            "rows": one.complete[1] if one.complete else None,
            "shares": [
                {
                    "after": each.share.after,
                    "upto": each.share.upto,
                    "holder": each.holder or None,
                    "began": each.worked.began.instant.isoformat() if each.worked else None,
                    "rows": each.worked.rows if each.worked else None,
                    "pending": each.worked.pending if each.worked else None,
                    "undecided": each.worked.undecided if each.worked else None,
                    "by": each.worked.by if each.worked else None,
                }
                for each in one.shares
            ],
        }
        for one in found
    ]
    return paused | {"containers": containers}


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
