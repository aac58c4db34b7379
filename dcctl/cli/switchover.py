"""``dcctl switchover plan|apply``: both sites answer; the primary and the singletons move to one of them."""

from typing import TYPE_CHECKING

import click

from dcctl.cli.session import Session, command_options

if TYPE_CHECKING:
    from dcctl.cli.move import Move

to_option = click.option("--to", required=True, metavar="SITE", help="The site that they move to.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask before changing anything.")


@click.group()
def switchover() -> None:
    """Move the primary and the singletons to the other site while both answer; nothing is lost."""


@switchover.command()
@to_option
@command_options
def plan(session: Session, *, to: str) -> None:
    """Show who is primary, how far the standby is behind, every reason against it, and the steps."""
    from dcctl.cli.move import enter, show

    with enter(session, to) as (_configuration, stage):
        show(session, stage, _move(stage.means.sites, to))


@switchover.command()
@to_option
@yes_option
@command_options
def apply(session: Session, *, to: str, yes: bool) -> None:
    """Ask Patroni to move the primary, wait for the second copy at the other site, move the singletons.

    May be repeated: what is at SITE already is left there.
    """
    from dcctl.cli.move import carry_out, enter

    with enter(session, to) as (configuration, stage):
        carry_out(session, configuration, stage, _move(stage.means.sites, to), yes=yes)


def _move(sites: tuple[str, ...], to: str) -> "Move":
    from dcctl.cli.move import Move
    from dcctl.domain.switchover import decide_switchover
    from dcctl.engines.situation import observe_situation
    from dcctl.engines.switchover import switchover as engine

    source = next(site for site in sites if site != to)
    return Move(
        what="switchover",
        words=f"switchover apply --to {to}",
        site=to,
        look=lambda means: observe_situation(means, losing=source),
        decide=lambda situation: decide_switchover(to, situation),
        work=lambda means: engine(to, means),
    )
