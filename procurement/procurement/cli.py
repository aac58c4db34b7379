"""``procurement serve cdb|documents|live|auction`` and ``procurement migrate``.

Exit codes: 0 done, 2 usage, 3 settings are wrong, 4 something needed could not be reached, 5 refused because
another leader's epoch is in force.
"""

import asyncio
import logging
import sys
from typing import Any

import click

from procurement.errors import SettingsError, StaleEpoch, Unavailable
from procurement.settings import from_environment

SETTINGS, UNREACHABLE, STALE = 3, 4, 5


@click.group()
def main() -> None:
    """A small public procurement service. Its settings are PROCUREMENT_… environment variables."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")


@main.command()
@click.option("--check", is_flag=True, help="Only say whether there is something to do.")
def migrate(check: bool) -> None:  # noqa: FBT001
    """Bring the database's schema to this version; may be repeated. Prints `current`, `migrated` or `due`."""
    from procurement.database import migrate as apply  # noqa: PLC0415

    async def work() -> None:
        settings = from_environment()
        changed = await apply(
            settings.text("DATABASE"), settings.optional_secret("DATABASE_PASSWORD"), check=check
        )
        click.echo(("due" if check else "migrated") if changed else "current")

    _end(work)


@main.command()
@click.argument("part", type=click.Choice(["cdb", "documents", "live", "auction"]))
def serve(part: str) -> None:
    """Run one part until SIGTERM; requests under way are finished first."""
    from procurement import service  # noqa: PLC0415

    parts = {
        "cdb": service.serve_cdb,
        "documents": service.serve_documents,
        "live": service.serve_live,
        "auction": service.serve_auction,
    }
    _end(lambda: parts[part](from_environment()))


def _end(work: Any) -> None:
    """Run it and turn what it raises into a sentence and an exit code."""
    codes = {SettingsError: SETTINGS, Unavailable: UNREACHABLE, StaleEpoch: STALE}
    try:
        asyncio.run(work())
    except tuple(codes) as error:
        click.echo(f"procurement: {error}", err=True)
        sys.exit(codes[type(error)])
    except OSError as error:  # the port is taken, the address is not ours
        click.echo(f"procurement: {error}", err=True)
        sys.exit(SETTINGS)
