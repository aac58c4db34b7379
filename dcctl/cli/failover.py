"""``dcctl failover plan|apply``: a site is lost; the other one carries everything."""

import click

from dcctl.cli.session import Session, command_options, one_site_option, override_options, yes_option

lost_option = one_site_option("--lost", "The site that is lost.")


@click.group()
def failover() -> None:
    """Give up a site that is lost, and go on at the other: refused unless it is proven lost."""


@failover.command()
@lost_option
@override_options
@command_options
def plan(session: Session, *, lost: str, rules: tuple[str, ...], reason: str) -> None:
    """Show who sees what, what would be lost, every reason against it, and the steps. Changes nothing."""
    from dcctl.cli.move import show
    from dcctl.domain.order import Order

    show(session, Order("failover", lost, rules, reason))


@failover.command()
@lost_option
@override_options
@yes_option
@command_options
def apply(session: Session, *, lost: str, rules: tuple[str, ...], reason: str, yes: bool) -> None:
    """Quarantine and fence SITE, wait until the database is promoted at the other one, and prove that it
    carries everything. May be repeated after it failed or was killed: it goes on where that ended."""
    from dcctl.cli.move import carry_out
    from dcctl.domain.order import Order

    carry_out(session, Order("failover", lost, rules, reason), yes=yes)
