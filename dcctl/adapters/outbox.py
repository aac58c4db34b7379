"""``ports.ChangeFeed`` over a table in the application's PostgreSQL: the transactional outbox.

The application inserts a row and commits before it writes to Swift (intent), and sets ``done`` after
(docs/reference/replication.md has the table). psycopg; one connection, made anew when it is lost.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import conninfo_to_dict

from dcctl.domain.observation import AtRisk
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
NAMES = 20
"""How many of what is at risk are named; all of them are by ``dcctl replication report``."""


class PostgresOutbox:
    """The outbox at ``conninfo`` (a libpq connection string; several hosts may be named)."""

    def __init__(self, conninfo: str, *, password: str | None = None) -> None:
        self._conninfo = conninfo
        self._password = password
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

    def watch(self, containers: Sequence[str]) -> None:
        """Each row says which container it is of."""

    def pending(self, limit: int) -> tuple[Told, ...]:
        with self._cursor() as cursor:
            cursor.execute(
                "select number, site, container, name, begun, done from document_outbox"
                " where carried is null order by number limit %s",
                (limit,),
            )
            return tuple(Told(*row) for row in cursor.fetchall())

    def at_risk(self) -> AtRisk:
        """What was acknowledged and is not known to be at the other site."""
        with self._cursor() as cursor:
            cursor.execute(
                "select site, count(*), coalesce(extract(epoch from clock_timestamp() - min(done)), 0)"
                " from document_outbox where carried is null and done is not null group by site"
            )
            sites = cursor.fetchall()
            if not sites:
                return AtRisk(0)
            cursor.execute(
                "select site, container || '/' || name from document_outbox"
                " where carried is null and done is not null order by number limit %s",
                (NAMES,),
            )
            names = tuple((str(site), str(name)) for site, name in cursor.fetchall())
        by_site = {str(site): int(count) for site, count, _age in sites}
        oldest_s = max(0.0, *(float(age) for _site, _count, age in sites))
        return AtRisk(sum(by_site.values()), oldest_s, by_site, names)

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
                limit_s = conninfo_to_dict(self._conninfo).get("connect_timeout") or CONNECT_LIMIT_S
                self._connection = psycopg.connect(
                    self._conninfo, autocommit=True, connect_timeout=limit_s, password=self._password
                )
            with self._connection.cursor() as cursor:
                yield cursor
        except psycopg.Error as error:
            self.close()
            raise Unreachable("use the outbox", saw=str(error).strip().splitlines()[0]) from error
