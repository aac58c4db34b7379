"""``ports.WriteProof`` in PostgreSQL: one row per edge, written as the application would write.

A commit proves what a role that a member claims for itself does not: that the database takes writes, and,
with ``synchronous_commit``, that whatever standby is named has confirmed it.
"""

from collections.abc import Mapping

import psycopg

from dcctl.adapters.postgres.session import cancelled_after, first_line, to_a_primary
from dcctl.errors import TimedOut, Unreachable

TRIED = "write through the edge"


class PostgresWriteProof:
    """``edges`` by name, with the address of each. The table is ours and holds one row per edge."""

    def __init__(
        self, edges: Mapping[str, str], *, user: str, password: str, database: str, port: int
    ) -> None:
        self._edges = dict(edges)
        self._user = user
        self._password = password
        self._database = database
        self._port = port

    def write(self, edge: str, note: str, *, limit_s: float) -> str:
        warned: list[str] = []
        try:
            with self._connected(edge, limit_s) as connection, cancelled_after(limit_s, connection):
                connection.add_notice_handler(
                    lambda notice: warned.append(notice.severity_nonlocalized or "")
                )
                connection.execute("SET LOCAL synchronous_commit TO on")
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS dcctl_write_proof"
                    " (edge text PRIMARY KEY, note text NOT NULL, at timestamptz NOT NULL)"
                )
                connection.execute(
                    "INSERT INTO dcctl_write_proof VALUES (%s, %s, now())"
                    " ON CONFLICT (edge) DO UPDATE SET note = excluded.note, at = excluded.at",
                    (edge, note),
                )
                connection.commit()
                if "WARNING" in warned:
                    raise TimedOut(TRIED, on=edge, saw="COMMIT ended with a warning: it may be undone")
                read = connection.execute(
                    "SELECT note, inet_server_addr(), pg_is_in_recovery() FROM dcctl_write_proof"
                    " WHERE edge = %s",
                    (edge,),
                ).fetchone()
        except psycopg.Error as error:
            raise Unreachable(TRIED, on=edge, saw=first_line(error)) from None
        if read is None or read[0] != note or read[2]:
            raise Unreachable(TRIED, on=edge, saw="the row is not there after its COMMIT")
        return str(read[1])

    def _connected(self, edge: str, limit_s: float) -> "psycopg.Connection[tuple[str, str, bool]]":
        return psycopg.connect(
            host=self._edges[edge],
            port=self._port,
            user=self._user,
            password=self._password,
            dbname=self._database,
            **to_a_primary(limit_s, "dcctl write proof"),
        )
