"""``dcctl admit SITE``: a site that came back is looked at, and put into rotation."""

import click

from dcctl.cli.session import Session, command_options, yes_option


@click.command()
@click.argument("site")
@click.option(
    "--rebuild",
    is_flag=True,
    help="Have databases of SITE that do not follow removed, and the primary copied anew.",
)
@click.option("--plan", "only_plan", is_flag=True, help="Show what was found, and change nothing.")
@yes_option
@command_options
def admit(session: Session, *, site: str, rebuild: bool, only_plan: bool, yes: bool) -> None:
    """Compare the quarantined SITE with the one that went on, and put it back into rotation.

    Refused, with every reason, until its machines, voter, documents, epochs and agents are as they should
    be. A database that went on, on a timeline that has ended, is rewound first. May be repeated.
    """
    from dcctl.cli.move import carry_out, show
    from dcctl.domain.order import Order

    order = Order("admit", site, rebuild=rebuild)
    if only_plan:
        show(session, order)
    else:
        carry_out(session, order, yes=yes)
