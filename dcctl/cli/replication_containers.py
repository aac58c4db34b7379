"""``dcctl replication containers``: containers that come and go with the application's work."""

from typing import Any

import click

from dcctl.cli.output import emit
from dcctl.cli.replication_stage import Stage, enter_stage
from dcctl.cli.session import Session, command_options
from dcctl.errors import DriftFound, UsageError


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be made and removed.")
@click.option(
    "--max-removals", type=click.IntRange(min=0), metavar="N", help="Remove up to N containers this time."
)
@click.option("--accept-empty", is_flag=True, help="Remove although one side has none of them at all.")
@click.option(
    "--keep", "kept", metavar="NAME", help="Keep a container that one side removed, and this alone."
)
@command_options
def containers(
    session: Session, *, dry_run: bool, max_removals: int | None, accept_empty: bool, kept: str | None
) -> None:
    """Make containers on the side that lacks them, and remove those that a side has removed.

    Those that begin as `replication.containers_like` says. One that has objects is never removed: first
    their deletes are proven and carried. `once` and `follow` do this too. Ends with 8 when something is held.
    """
    from dcctl.domain.replication_containers import RemovalCap
    from dcctl.engines.replication_run import midway

    stage = enter_stage(session)
    if not stage.settings.come_and_go:
        raise UsageError("look at containers", saw="replication.containers_like is not configured")
    cap = RemovalCap(share=0.0, at_least=max_removals) if max_removals is not None else None
    begun: list[str] = []
    with midway(lambda: bool(begun)):
        if kept is not None:
            _keep(stage, kept, begun, dry_run=dry_run)
        done = stage.carried(cap=cap, accept_empty=accept_empty, dry_run=dry_run, begun=begun)
    document = done.document(stage.sites) | {"dry_run": dry_run}

    def draw(out: Any) -> None:
        for one in document["changes"]:
            out.print(f"{one['container']:<32} {one['site'] or 'both sides':<12} {one['outcome']}")
        for reason in document["held"]:
            out.print(reason)
        out.print(f"{len(document['containers'])} containers are on both sides")

    emit(session, document, draw)
    if done.held:
        raise DriftFound(
            "make the containers the same",
            saw="; ".join(done.held),
            next_command="dcctl replication containers --dry-run",
        )


def _keep(stage: Stage, name: str, begun: list[str], *, dry_run: bool) -> None:
    from dcctl.config.reference import resolve
    from dcctl.domain.replication_account import account_of, own_name
    from dcctl.domain.replication_containers import BOTH

    if not stage.settings.covers(name) or name in stage.settings.replicated():
        raise UsageError("keep a container", on=name, saw="it does not begin as containers_like says")
    key = resolve(stage.settings.signed.container_key)
    for owner in stage.owners(account_of(name)).values():
        if not dry_run and owner.ensure_container(own_name(name), key, mark=BOTH):
            begun.append(name)
