"""``dcctl failover plan|apply``: a site is lost; the other one carries everything."""

from typing import TYPE_CHECKING

import click

from dcctl.cli.session import Session, command_options

if TYPE_CHECKING:
    from dcctl.cli.move import Move

lost_option = click.option("--lost", required=True, metavar="SITE", help="The site that is lost.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask before changing anything.")


@click.group()
def failover() -> None:
    """Give up a site that is lost, and go on at the other: refused unless it is proven lost."""


@failover.command()
@lost_option
@command_options
def plan(session: Session, *, lost: str) -> None:
    """Show who sees what, what would be lost, every reason against it, and the steps. Changes nothing."""
    from dcctl.cli.move import enter, show

    with enter(session, lost) as (_configuration, stage):
        show(session, stage, _move(lost))


@failover.command()
@lost_option
@yes_option
@command_options
def apply(session: Session, *, lost: str, yes: bool) -> None:
    """Quarantine and fence SITE, wait until the database is promoted at the other one, and prove that it
    carries everything. May be repeated after it failed or was killed: it goes on where that ended."""
    from dcctl.cli.move import carry_out, enter

    with enter(session, lost) as (configuration, stage):
        carry_out(session, configuration, stage, _move(lost), yes=yes)


def _move(lost: str) -> "Move":
    from dcctl.cli.move import Move
    from dcctl.domain.failover import decide_failover
    from dcctl.engines.failover import failover as engine
    from dcctl.engines.situation import observe_situation

    return Move(
        what="failover",
        words=f"failover apply --lost {lost}",
        site=lost,
        look=lambda means: observe_situation(means, losing=lost),
        decide=lambda situation: decide_failover(lost, situation),
        work=lambda means: engine(lost, means),
    )
