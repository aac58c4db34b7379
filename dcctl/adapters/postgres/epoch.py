"""``ports.EpochMirror`` in PostgreSQL: the row of ``role_epoch``, through the functions that belong to it.

``role_epoch_bump`` takes the row ``FOR UPDATE`` and so waits for every transaction that has it
``FOR SHARE``: what a singleton does under its epoch (``role_epoch_check``). When the bump has committed,
nothing under an earlier epoch is under way and nothing will be accepted. Table and functions come with
the schema of the application (procurement/procurement/schema.sql).
"""

from collections.abc import Mapping

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from dcctl.adapters.postgres.session import cancelled_after, first_line, to_a_primary
from dcctl.domain.leadership import Epoch, Term
from dcctl.errors import NotFound, Refused, TimedOut, Unreachable, UsageError

NOT_NEWER = "DC002"
NO_FUNCTION = ("42883", "42P01")
TRIED_AGAIN = ("55P03", "57014")
"""Lock and statement time-outs."""


class PostgresEpochs:
    """The epochs in the database of ``conninfo``; each call has its own connection, to a primary only.

    ``password`` is kept apart so that no message can carry it; one in ``conninfo`` is a UsageError,
    because what is on a command line can be read by everybody on the machine.
    """

    def __init__(self, conninfo: str, *, password: str | None = None) -> None:
        try:
            given = conninfo_to_dict(conninfo)
        except psycopg.ProgrammingError as error:
            raise UsageError("read the connection string of the database", saw=first_line(error)) from None
        if "password" in given:
            raise UsageError("connect to the database", saw="give its password in PGPASSWORD or PGPASSFILE")
        self._conninfo = conninfo
        self._password = password

    def observe(self, *, limit_s: float) -> Mapping[str, Epoch]:
        with self._connected("read the epochs", "all roles", limit_s) as connection:
            rows = connection.execute("SELECT role, epoch FROM role_epoch").fetchall()
        return {str(role): Epoch.of(int(number)) for role, number in rows}

    def bump(self, term: Term, *, limit_s: float) -> None:
        notices: list[str] = []
        with (
            self._connected("put the epoch in force", term.role, limit_s) as connection,
            cancelled_after(limit_s, connection),
        ):
            # The COMMIT must wait for the synchronous standby, whatever this role's default is. One that
            # stopped waiting ends with a warning: it may be undone by a failover, so it is tried again.
            connection.add_notice_handler(lambda notice: notices.append(f"{notice.severity_nonlocalized}"))
            connection.execute("SET LOCAL synchronous_commit TO on")
            connection.execute(
                "SELECT role_epoch_bump(%s, %s, %s)", (term.role, term.epoch.number, term.holder)
            )
            connection.commit()
        if "WARNING" in notices:
            raise TimedOut("put the epoch in force", on=term.role, saw="COMMIT ended with a warning")

    def _connected(self, tried: str, role: str, limit_s: float) -> "_Transaction":
        conninfo = make_conninfo(self._conninfo, **to_a_primary(limit_s, "dcctl leader"))
        return _Transaction(conninfo, self._password, tried, role)


class _Transaction:
    """A connection and one transaction on it; what goes wrong is said in our words."""

    def __init__(self, conninfo: str, password: str | None, tried: str, role: str) -> None:
        self._conninfo = conninfo
        self._password = password
        self._tried = tried
        self._role = role
        self._connection: psycopg.Connection | None = None

    def __enter__(self) -> psycopg.Connection:
        try:
            self._connection = psycopg.connect(self._conninfo, password=self._password)
        except psycopg.Error as error:
            raise Unreachable(self._tried, on="the database", saw=first_line(error)) from None
        return self._connection

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        assert self._connection is not None  # noqa: S101
        with self._connection:
            try:
                if error is None:
                    self._connection.commit()
                else:
                    self._connection.rollback()
            except psycopg.Error as second:
                error = error or second
        if isinstance(error, psycopg.Error):
            raise self._in_our_words(error) from None

    def _in_our_words(self, error: psycopg.Error) -> Exception:
        saw = first_line(error)
        if error.sqlstate == NOT_NEWER:
            return Refused(f"{self._tried} of {self._role}", reasons=(saw,), next_command="dcctl leader show")
        if error.sqlstate in NO_FUNCTION:
            return NotFound(self._tried, on="the database", saw=f"{saw}; its schema has no role_epoch")
        if error.sqlstate in TRIED_AGAIN:
            return TimedOut(
                self._tried, on=self._role, saw="a transaction under the last epoch is still under way"
            )
        return Unreachable(self._tried, on="the database", saw=saw)
