"""``ports.ChangeFeed`` over a table in the application's PostgreSQL: the transactional outbox.

The application inserts a row and commits before it writes to Swift (intent), and sets ``done`` after
(docs/reference/replication.md has the table). psycopg; one connection, made anew when it is lost.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg

from dcctl.domain.replication_feed import Told
from dcctl.errors import Unreachable

TABLE = """
create table if not exists document_outbox (
    number    bigint generated always as identity primary key,
    site      text not null,
    container text not null,
    name      text not null,
    begun     timestamptz not null default clock_timestamp(),
    done      timestamptz,
    carried   timestamptz
);
create index if not exists document_outbox_pending on document_outbox (number) where carried is null;
"""
CONNECT_LIMIT_S = 5


class PostgresOutbox:
    """The outbox at ``conninfo`` (a libpq connection string; several hosts may be named)."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._connection: psycopg.Connection | None = None

    def ensure_table(self) -> None:
        """Make the table; may be repeated."""
        with self._cursor() as cursor:
            cursor.execute(TABLE)

    def begin(self, site: str, container: str, name: str) -> int:
        """What the application does first: the intent, committed. Its number."""
        with self._cursor() as cursor:
            cursor.execute(
                "insert into document_outbox (site, container, name) values (%s, %s, %s) returning number",
                (site, container, name),
            )
            row = cursor.fetchone()
            assert row is not None  # noqa: S101  # insert returning gives one
            return int(row[0])

    def done(self, number: int) -> None:
        """What the application does last: its write was acknowledged."""
        with self._cursor() as cursor:
            cursor.execute("update document_outbox set done = clock_timestamp() where number = %s", (number,))

    def pending(self, limit: int) -> tuple[Told, ...]:
        with self._cursor() as cursor:
            cursor.execute(
                "select number, site, container, name, begun, done from document_outbox"
                " where carried is null order by number limit %s",
                (limit,),
            )
            return tuple(Told(*row) for row in cursor.fetchall())

    def settle(self, numbers: Sequence[int]) -> None:
        with self._cursor() as cursor:
            cursor.execute(
                "update document_outbox set carried = clock_timestamp() where number = any(%s)",
                (list(numbers),),
            )

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _cursor(self) -> Iterator[psycopg.Cursor]:
        try:
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(
                    self._conninfo, autocommit=True, connect_timeout=CONNECT_LIMIT_S
                )
            with self._connection.cursor() as cursor:
                yield cursor
        except psycopg.Error as error:
            self.close()
            raise Unreachable("use the outbox", saw=str(error).strip().splitlines()[0]) from error
