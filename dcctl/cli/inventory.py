"""``dcctl inventory``: the environment for Ansible, from the configuration and what was seen last."""

import json
from typing import TYPE_CHECKING, Any

import click

from dcctl.cli.output import emit
from dcctl.cli.session import Session, command_options
from dcctl.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from dcctl.config.schema import Configuration


@click.command()
@click.option("--list", "whole", is_flag=True, help="The whole inventory, as Ansible asks for it.")
@click.option("--host", metavar="NAME", help="The variables of one machine, as Ansible asks for them.")
@command_options
def inventory(session: Session, *, whole: bool, host: str | None) -> None:
    """Print Ansible's dynamic inventory. Asks no cloud, so a dark site changes nothing.

    Without an option: a table of the machines. Ansible wants a program as its inventory; two lines of
    shell are one: `#!/bin/sh` and `exec dcctl -e NAME inventory "$@"`.
    """
    from dcctl.config.load import load

    if whole and host is not None:
        raise UsageError("print the inventory", saw="--list and --host exclude each other")
    document = build(load(session.environment))
    hostvars = document["_meta"]["hostvars"]
    if host is not None:
        if host not in hostvars:
            raise UsageError("print a machine", on=host, saw=f"the machines are {', '.join(hostvars)}")
        _print(hostvars[host])
    elif whole:
        _print(document)
    else:
        emit(session, document, lambda console: _draw(console, hostvars))


def build(configuration: "Configuration") -> dict[str, Any]:
    """The inventory of ``configuration``."""
    from dcctl import wiring
    from dcctl.config.expand import machines
    from dcctl.domain.inventory import Member, decide_inventory
    from dcctl.wiring.artifact import variables

    observations = wiring.observations(configuration)
    seen = {site: seen for site in configuration.sites if (seen := observations.last_seen(site)) is not None}
    document = decide_inventory(
        configuration.environment,
        [Member(m.name, m.place, m.group, m.address, m.roles) for m in machines(configuration)],
        wiring.login(configuration),
        seen,
    )
    document["all"]["vars"] |= variables(configuration)
    return document


def _print(document: Any) -> None:
    click.echo(json.dumps(document, indent=2))


def _draw(console: "Console", hostvars: dict[str, dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table("machine", "place", "address", "roles", "last seen", box=None, pad_edge=False)
    for name, variables in hostvars.items():
        seen = variables.get("dcctl_last_seen")
        table.add_row(
            name,
            variables["dcctl_place"],
            variables["ansible_host"],
            " ".join(variables["dcctl_roles"]),
            f"{seen['power']} at {seen['at'][:19]}" if seen else "-",
        )
    console.print(table)
