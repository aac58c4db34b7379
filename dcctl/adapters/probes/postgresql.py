"""A login and a SELECT through libpq, and which role answers."""

from collections.abc import Callable

import psycopg

from dcctl.adapters.probes.round import Outcome, Prober, said
from dcctl.domain.probe import PostgresqlCheck

ROLE = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'"


def probe_postgresql(secret: Callable[[str], str]) -> Prober:
    """``secret`` gives the value of a secret by its name; ConfigurationError when it cannot."""

    async def probe(check: PostgresqlCheck) -> Outcome:
        try:
            return await _asked(check, secret(check.secret))
        except psycopg.Error as error:
            return Outcome(ok=False, saw=said(str(error)) or type(error).__name__)

    return probe


async def _asked(check: PostgresqlCheck, password: str) -> Outcome:
    connection = await psycopg.AsyncConnection.connect(
        host=check.address,
        port=check.port,
        user=check.user,
        dbname=check.database,
        password=password,
        application_name="dcctl-probe",
        autocommit=True,
    )
    async with connection:
        row = await (await connection.execute(ROLE)).fetchone()
    if row is None:
        return Outcome(ok=False, saw="SELECT returned nothing")
    standby, read_only = row
    role = "standby" if standby else "read-only primary" if read_only else "primary"
    if check.primary is not None and check.primary != (role == "primary"):
        return Outcome(ok=False, saw=f"answers as {role}")
    return Outcome(ok=True, saw=role)
