"""``dcctl init``, ``dcctl schema`` and ``dcctl config check|show``: writing and reading dcctl.yaml."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcctl.cli.output import emit
from dcctl.cli.session import Session, command_options
from dcctl.errors import ConfigurationError, Problem, Refused, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from dcctl.config.expand import Machine
    from dcctl.config.schema import Configuration


@click.group()
def config() -> None:
    """Check an environment's configuration, or show it expanded."""


@config.command()
@click.option("--secrets", is_flag=True, help="Also read every secret that is referred to; none is printed.")
@command_options
def check(session: Session, *, secrets: bool) -> None:
    """Read the configuration and report every problem at once, with file, line and column."""
    from dcctl.config.document import shown
    from dcctl.config.expand import machines
    from dcctl.config.load import find, load_file

    path = find(session.environment)
    configuration = load_file(path)
    resolved = _resolve_all(configuration) if secrets else None
    count = len(machines(configuration))
    document = {
        "file": shown(path),
        "environment": configuration.environment,
        "valid": True,
        "machines": count,
        "secrets_read": resolved,
    }

    def text(console: "Console") -> None:
        sites = " and ".join(f"{name} ({site.kind})" for name, site in configuration.sites.items())
        console.print(
            f"{shown(path)} is valid: environment {configuration.environment}, {sites}, {count} machines"
        )
        if resolved is not None:
            console.print(f"all {resolved} secrets can be read")

    emit(session, document, text)


@config.command()
@command_options
def show(session: Session) -> None:
    """Print the configuration with everything inherited and implied in it; secrets stay references."""
    from dcctl.config.expand import machines
    from dcctl.config.load import load

    configuration = load(session.environment)
    settings = configuration.model_dump(mode="json", exclude_none=True)
    found = machines(configuration)
    document = {"configuration": settings, "machines": [_machine(machine) for machine in found]}
    emit(session, document, lambda console: _show(console, settings, found))


@click.command()
@click.pass_obj
def schema(session: Session) -> None:
    """Print the JSON Schema of dcctl.yaml, for an editor or another tool."""
    from dcctl.config.schema import json_schema

    document = json_schema()
    emit(session, document, lambda console: console.print(json.dumps(document, indent=2), soft_wrap=True))


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), default=Path())
@click.option("--name", help="The environment's name; by default the folder's.")
@click.pass_obj
def init(session: Session, directory: Path, name: str | None) -> None:
    """Write a commented dcctl.yaml into DIRECTORY (here by default), valid as it is written.

    An existing dcctl.yaml is never overwritten.
    """
    from dcctl.config.load import FILE, load_file

    path = directory / FILE
    text = _start(_environment_name(directory, name))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise Refused(
            "write a new configuration",
            on=str(path),
            reasons=("there is one already",),
            next_command=f"dcctl -e {path} config check",
        ) from error
    except OSError as error:
        raise UsageError(
            "write a new configuration", on=str(path), saw=error.strerror or str(error)
        ) from error
    load_file(path)
    next_command = f"$EDITOR {path} && dcctl -e {path} config check"
    emit(
        session,
        {"file": str(path), "next": next_command},
        lambda console: console.print(f"wrote {path}\nnext: {next_command}"),
    )


def _start(name: str) -> str:
    """The example's definition as an environment of its own."""
    from dcctl import resources

    base = (resources.inventories() / "example" / "base.yaml").read_text(encoding="utf-8")
    _about_extending, _blank, definition = base.partition("\n\n")
    return (
        "# An environment of dcctl: two sites, a witness, the machines, and what is promised.\n"
        "# Every value below is an example; `dcctl config check` reports all that is wrong at once, and\n"
        "# `dcctl schema` prints the JSON Schema for your editor.\n\n"
        f"environment: {name}\n\n{definition}"
    )


def _environment_name(directory: Path, name: str | None) -> str:
    from dcctl.config.fields import NAME_PATTERN

    if name is None:
        found = directory.resolve().name.lower()
        return found if re.fullmatch(NAME_PATTERN, found) else "production"
    if not re.fullmatch(NAME_PATTERN, name):
        raise UsageError(
            "name the environment",
            on=name,
            saw="a name is lower-case letters and digits, words joined by -, at most 30 in all",
            next_command="dcctl init --help",
        )
    return name


def _resolve_all(configuration: "Configuration") -> int:
    """Read every secret; ConfigurationError with all that cannot be."""
    from dcctl.config.expand import references
    from dcctl.config.reference import resolve

    problems: list[Problem] = []
    found = references(configuration)
    for where, reference in found.items():
        try:
            resolve(reference)
        except ConfigurationError as error:
            hint = f" (next: {error.next_command})" if error.next_command else ""
            problems += [Problem(where, 0, 0, f"{problem}{hint}") for problem in error.problems]
    if problems:
        raise ConfigurationError(tuple(problems))
    return len(found)


def _machine(machine: "Machine") -> Mapping[str, Any]:
    return {
        "name": machine.name,
        "place": machine.place,
        "address": machine.address,
        "roles": list(machine.roles),
    }


def _show(console: "Console", settings: Mapping[str, Any], found: "tuple[Machine, ...]") -> None:
    import yaml
    from rich.table import Table

    console.print(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
    table = Table("machine", "place", "address", "roles", box=None, pad_edge=False)
    for machine in found:
        table.add_row(machine.name, machine.place, machine.address, " ".join(machine.roles))
    console.print(table)
