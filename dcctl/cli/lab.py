"""``dcctl lab``: two clouds and a witness on this host, with real parts."""

import os
from typing import TYPE_CHECKING, Any

import click

from dcctl.cli.session import Session, command_options

if TYPE_CHECKING:
    from rich.console import Console

PLACES = click.Choice(["east", "west", "witness", "outside"])
DEAD_MAN_S = 600


@click.group()
def lab() -> None:
    """The whole system on one Linux host: two clouds, a witness, and the networks between them."""


@lab.command()
@click.option("--no-clouds", is_flag=True, help="Networks, image and witness only.")
@command_options
def up(session: Session, *, no_clouds: bool) -> None:
    """Build what is not cached and start everything; first removes what a killed lab left.

    The first time takes minutes and about 6 GB under /var/lib/dcctl-lab, later ones seconds. Needs root.
    """
    from dcctl.cli.output import Progress, emit
    from dcctl.lab import status as lab_status
    from dcctl.lab.up import bring_up

    with Progress() as progress:
        bring_up(progress, with_clouds=not no_clouds)
    document = lab_status.observe()
    emit(session, document, lambda console: _draw(console, document))


@lab.command()
@click.option("--purge", is_flag=True, help="Remove the cache too: the next `lab up` builds anew.")
@command_options
def down(session: Session, *, purge: bool) -> None:
    """Remove the lab and prove that nothing is left but its cache."""
    from dcctl.cli.output import Progress, emit
    from dcctl.lab.up import take_down

    with Progress() as progress:
        take_down(progress, purge=purge)
    emit(session, {"state": "absent"}, lambda console: console.print("the lab is gone"))


@lab.command()
@command_options
def status(session: Session) -> None:
    """Show networks, cloud APIs, machines and cuts."""
    from dcctl.cli.output import emit
    from dcctl.lab import host
    from dcctl.lab import status as lab_status

    host.require_root()
    document = lab_status.observe()
    emit(session, document, lambda console: _draw(console, document))


@lab.command(context_settings={"ignore_unknown_options": True})
@click.argument("machine")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@command_options
def ssh(session: Session, *, machine: str, command: tuple[str, ...]) -> None:  # noqa: ARG001
    """A shell, or one COMMAND after `--`, on MACHINE (name, address or id), as user dcctl.

    Its host key is read off its disk and checked.
    """
    from dcctl.lab import host, operator

    host.require_root()
    argv = operator.ssh(operator.find(machine), command)
    os.execvp(argv[0], argv)  # noqa: S606  # the shell takes our place, terminal and exit code


@lab.command()
@click.argument("place", type=PLACES, metavar="PLACE")
@click.option("--from", "other", type=PLACES, help="Only between PLACE and this one; else from everything.")
@click.option("--one-way", is_flag=True, help="Drop only what PLACE sends.")
@click.option(
    "--for",
    "for_s",
    type=click.IntRange(1, 86400),
    default=DEAD_MAN_S,
    show_default=True,
    metavar="SECONDS",
    help="It heals by itself after this, whatever becomes of us.",
)
@command_options
def cut(session: Session, *, place: str, other: str | None, one_way: bool, for_s: int) -> None:
    """Cut PLACE off the network, its cloud API included; inside it traffic goes on."""
    from dcctl.lab import host, network

    host.require_root()
    network.cut(place, other=other, one_way=one_way, for_s=for_s)
    _emit_cuts(session)


@lab.command()
@click.argument("place", type=PLACES, required=False, metavar="[PLACE]")
@command_options
def heal(session: Session, *, place: str | None) -> None:
    """End the cuts that PLACE is part of, or all."""
    from dcctl.lab import host, network

    host.require_root()
    network.heal(place)
    _emit_cuts(session)


def _emit_cuts(session: Session) -> None:
    from dataclasses import asdict

    from dcctl.cli.output import emit
    from dcctl.lab import network

    document = {"cuts": [asdict(cut) for cut in network.observe_cuts()]}
    emit(session, document, lambda console: _draw_cuts(console, document["cuts"]))


def _draw(console: "Console", document: dict[str, Any]) -> None:
    if document["state"] == "absent":
        console.print("no lab on this host")
        console.print("next: dcctl lab up")
        return
    if document["state"] == "partial":
        console.print("a lab that is not whole: coming up now, or killed; `dcctl lab up` cleans up first")
    else:
        console.print(f"lab up since {document['since']}, image {document['image']}")
    for site, api in document["apis"].items():
        console.print(f"{site:<8} API  {api['observed']}")
    _draw_machines(console, document["machines"])
    _draw_cuts(console, document["cuts"])


def _draw_machines(console: "Console", machines: list[dict[str, Any]]) -> None:
    from rich.table import Table

    if not machines:
        console.print("no machines")
        return
    table = Table("machine", "place", "address", "state", "id", box=None, pad_edge=False)
    for machine in sorted(machines, key=lambda each: (each["place"], each["name"])):
        table.add_row(
            machine["name"],
            machine["place"],
            machine["address"].split("/")[0],
            machine["state"],
            machine["id"],
        )
    console.print(table)


def _draw_cuts(console: "Console", cuts: list[dict[str, Any]]) -> None:
    if not cuts:
        console.print("no cuts")
    for cut in cuts:
        console.print(f"cut: {cut['source']} -> {cut['target']}, heals by itself in {cut['heals_in_s']} s")
