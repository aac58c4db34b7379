"""``dcctl admit SITE``: a site that came back is looked at, and put into rotation."""

import click

from dcctl.cli.session import Session, command_options


@click.command()
@click.argument("site")
@click.option("--plan", "only_plan", is_flag=True, help="Show what was found, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before changing anything.")
@command_options
def admit(session: Session, *, site: str, only_plan: bool, yes: bool) -> None:
    """Compare the quarantined SITE with the one that went on, and put it back into rotation.

    Refused, with every reason, until its machines, voter, database, documents, epochs and agents are as
    they should be. May be repeated.
    """
    from dcctl.cli.move import Move, carry_out, enter, show
    from dcctl.domain.admission import decide_admission
    from dcctl.engines.admission import admit as engine
    from dcctl.engines.situation import observe_situation

    move = Move(
        what="admission",
        words=f"admit {site}",
        site=site,
        look=lambda means: observe_situation(means, epochs=True, compare=True),
        decide=lambda situation: decide_admission(site, situation),
        work=lambda means: engine(site, means),
    )
    with enter(session, site) as (configuration, stage):
        if only_plan:
            show(session, stage, move)
        else:
            carry_out(session, configuration, stage, move, yes=yes)
