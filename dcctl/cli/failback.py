"""``dcctl failback plan|apply``: home again, to a site that was given up and is admitted."""

import click

from dcctl.cli.session import Session, command_options, one_site_option, override_options, yes_option

to_option = one_site_option("--to", "The site that was given up.")


@click.group()
def failback() -> None:
    """Move home what a failover took away: a switchover to a site that is admitted again."""


@failback.command()
@to_option
@override_options
@command_options
def plan(session: Session, *, to: str, rules: tuple[str, ...], reason: str) -> None:
    """Show who is primary, how far the standby is behind, every reason against it, and the steps."""
    from dcctl.cli.move import show
    from dcctl.domain.order import Order

    show(session, Order("failback", to, rules, reason))


@failback.command()
@to_option
@override_options
@yes_option
@command_options
def apply(session: Session, *, to: str, rules: tuple[str, ...], reason: str, yes: bool) -> None:
    """Ask Patroni to move the primary, wait for the second copy at the other site, move the singletons.

    May be repeated: what is at SITE already is left there.
    """
    from dcctl.cli.move import carry_out
    from dcctl.domain.order import Order

    carry_out(session, Order("failback", to, rules, reason), yes=yes)
