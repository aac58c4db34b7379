"""``dcctl replication pause`` and ``resume``: for every replicator of the environment, or of this machine."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from dcctl.cli.output import emit
from dcctl.cli.replication_stage import Stage, enter_stage, zookeeper_option
from dcctl.cli.session import Session, command_options
from dcctl.shell import WallClock

if TYPE_CHECKING:
    from dcctl.ports import Pauses

here_option = click.option("--here", is_flag=True, help="Only the replicators of this machine.")


@click.command()
@here_option
@click.option("--reason", default="", metavar="TEXT", help="Shown by `status`.")
@zookeeper_option
@command_options
def pause(session: Session, *, here: bool, reason: str, hosts: str | None) -> None:
    """Let no replicator begin anything until `resume`; what is under way ends by itself.

    Where replicators are deployed: all of them, through ZooKeeper. `status` says when they have come to rest.
    """
    from dcctl.domain.replication_pause import Pause
    from dcctl.wiring.runs import who

    stage = enter_stage(session)
    made = Pause(who(), WallClock().now(), reason)
    with _pauses(stage, here=here, hosts=hosts) as pauses:
        pauses.change_pause(made)
        document = {"paused": True, "everywhere": not here, **made.document()}
    emit(session, document, lambda out: out.print("replication is paused (dcctl replication status)"))


@click.command()
@here_option
@zookeeper_option
@command_options
def resume(session: Session, *, here: bool, hosts: str | None) -> None:
    """Let replicators go on."""
    stage = enter_stage(session)
    with _pauses(stage, here=here, hosts=hosts) as pauses:
        pauses.change_pause(None)
    emit(session, {"paused": False, "everywhere": not here}, lambda out: out.print("replication goes on"))


@contextmanager
def _pauses(stage: Stage, *, here: bool, hosts: str | None) -> "Iterator[Pauses]":
    from dcctl.config.expand import with_role
    from dcctl.wiring.replication import pauses_everywhere, pauses_here

    if here or not (hosts or with_role(stage.configuration, "replication")):
        yield pauses_here(stage.configuration)
        return
    with pauses_everywhere(stage.configuration, hosts) as pauses:
        yield pauses


def pause_document(first: "Pauses", *others: "Pauses") -> dict[str, Any]:
    """Whether it is paused, by whom, who follows as ``first`` knows, and whether they have come to rest."""
    from dcctl.domain.replication_pause import at_rest

    followers = first.observe_followers()
    pauses = [one.observe_pause() for one in (first, *others)]
    said = next((one for one in pauses if one is not None), None)
    return {
        "paused": said is not None,
        "pause": said.document() if said is not None else None,
        "at_rest": at_rest(said, followers),
        "followers": dict(followers),
    }


def pause_line(document: Mapping[str, Any]) -> str | None:
    """What a person reads of it; None while replication goes on."""
    said = document["pause"]
    if said is None:
        return None
    working = sum(state != "idle" for state in document["followers"].values())
    rest = "nothing is under way" if document["at_rest"] else f"{working} of them still at work"
    why = f": {said['reason']}" if said["reason"] else ""
    return (
        f"replication is PAUSED since {said['at']} by {said['by']}{why};"
        f" {len(document['followers'])} replicators, {rest} (dcctl replication resume)"
    )
