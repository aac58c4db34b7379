"""The reference of the command line, from the commands themselves (docs/reference/cli.md).

``python -m dcctl.cli.reference docs/reference/cli.md`` rewrites what stands below the marker there.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from dcctl.cli.main import dcctl

MARKER = "<!-- Below: written by `python -m dcctl.cli.reference docs/reference/cli.md`. -->\n"
WIDTH: dict[str, Any] = {"terminal_width": 100, "max_content_width": 100}


def generated() -> str:
    """One section for each command, in the order of ``dcctl --help``."""
    return "".join(
        _sections(dcctl, click.Context(dcctl, info_name="dcctl", **WIDTH, **dcctl.context_settings))
    )


def page(path: Path) -> str:
    """The page at ``path`` with its generated part renewed."""
    above, marker, _below = path.read_text(encoding="utf-8").partition(MARKER)
    return f"{above}{marker}\n{generated()}"


def _sections(command: click.Command, context: click.Context) -> Iterator[str]:
    yield f"## {context.command_path}\n\n```text\n{context.get_help()}\n```\n\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from _sections(below, click.Context(below, info_name=name, parent=context, **WIDTH))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(page(target), encoding="utf-8")
