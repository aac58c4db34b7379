"""PostgreSQL through one pool, and the only way in which a change is acknowledged.

Invariant: ``acknowledged`` returns normally only if the transaction wrote a row, its COMMIT ended without a
warning, and the session waits for the synchronous standby. A COMMIT whose wait for the standby was cancelled
answers success with a WARNING (SQLSTATE 01000), and its row may vanish with the primary; a transaction that
wrote nothing waits for nobody. Both would be acknowledgements that a failover can take back.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from procurement.errors import StaleEpoch, Unavailable, UnknownOutcome

Connection = AsyncConnection[TupleRow]

POOL_WAIT_S = 5.0
STATEMENT_LIMIT_MS = 10_000
IDLE_LIMIT_MS = 5_000
COMMIT_LIMIT_S = 10.0
STALE_EPOCH = "DC001"

# Before COMMIT all of these mean that nothing was changed: the line is down, the server is going away or is a
# standby (25006), a limit was reached (57014, 25P03), or no connection was free.
NOT_APPLIED = (psycopg.OperationalError, psycopg.InternalError, psycopg.InterfaceError, PoolTimeout)

# Either of these waits for a synchronous standby to have the transaction on its disk.
WAITING = ("on", "remote_apply")


class Database:
    """A pool of connections. Use as an asynchronous context manager.

    ``idle_limit_ms`` ends a transaction of ours on the server when we stop speaking in the middle of it:
    a frozen process must not hold a lock that its successor needs.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        password: str | None = None,
        connections: int = 10,
        statement_limit_ms: int = STATEMENT_LIMIT_MS,
        idle_limit_ms: int = IDLE_LIMIT_MS,
        commit_limit_s: float = COMMIT_LIMIT_S,
        pool_wait_s: float = POOL_WAIT_S,
    ) -> None:
        self._commit_limit_s = commit_limit_s
        self._pool = AsyncConnectionPool(
            conninfo,
            kwargs={
                "password": password,
                "connect_timeout": 3,
                "application_name": "procurement",
                "options": f"-c statement_timeout={statement_limit_ms}"
                f" -c idle_in_transaction_session_timeout={idle_limit_ms}",
            },
            min_size=1,
            max_size=connections,
            timeout=pool_wait_s,
            open=False,
            check=AsyncConnectionPool.check_connection,
        )

    async def __aenter__(self) -> "Database":
        await self._pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """A transaction that only looks. Raises Unavailable."""
        try:
            async with self._pool.connection() as connection:
                await connection.set_read_only(True)
                try:
                    yield connection
                finally:
                    if not connection.closed:
                        await connection.rollback()
                        await connection.set_read_only(False)
        except NOT_APPLIED as error:
            raise Unavailable(f"the database: {_first_line(error)}") from error

    @contextlib.asynccontextmanager
    async def acknowledged(self) -> AsyncIterator[Connection]:
        """A transaction whose normal end is an acknowledgement.

        Raises Unavailable when nothing was changed, UnknownOutcome when that cannot be said, StaleEpoch when
        the transaction checked an epoch that is over; what the body raises comes through, rolled back.
        """
        try:
            async with self._pool.connection() as connection:
                try:
                    yield connection
                    await _require_promise(connection)
                except BaseException:
                    await _abandon(connection)
                    raise
                await _commit(connection, self._commit_limit_s)
        except NOT_APPLIED as error:
            raise Unavailable(f"the database: {_first_line(error)}") from error
        except psycopg.Error as error:
            if error.sqlstate == STALE_EPOCH:
                raise StaleEpoch(_first_line(error)) from error
            raise


async def migrate(conninfo: str, password: str | None = None) -> None:
    """Bring the schema to this version; may be repeated. Raises Unavailable."""
    text = files("procurement").joinpath("schema.sql").read_bytes()
    try:
        async with await AsyncConnection.connect(
            conninfo, password=password, connect_timeout=10
        ) as connection:
            # Two that migrate at once take turns.
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext('procurement.migrate'))")
            await connection.execute(text)
    except psycopg.OperationalError as error:
        raise Unavailable(f"the database: {_first_line(error)}") from error


async def fetch_one(connection: Connection, query: str, *values: Any) -> TupleRow | None:
    """The first row, or None. ``query`` is always text of ours."""
    return await (await connection.execute(query.encode(), values)).fetchone()


async def fetch_all(connection: Connection, query: str, *values: Any) -> list[TupleRow]:
    """All rows. ``query`` is always text of ours."""
    return await (await connection.execute(query.encode(), values)).fetchall()


async def _require_promise(connection: Connection) -> None:
    row = await fetch_one(
        connection,
        "SELECT pg_current_xact_id_if_assigned() IS NOT NULL, current_setting('synchronous_commit')",
    )
    assert row is not None  # noqa: S101
    wrote, mode = row
    if not wrote:
        raise AssertionError("a transaction that wrote nothing must not be acknowledged")
    if mode not in WAITING:
        raise Unavailable(
            f"the database: synchronous_commit is {mode}, so an acknowledgement would be worth little"
        )


async def _commit(connection: Connection, limit_s: float) -> None:
    warnings: list[str] = []

    def hear(diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING":
            warnings.append(f"{diagnostic.sqlstate} {diagnostic.message_primary}")

    connection.add_notice_handler(hear)
    committing = asyncio.ensure_future(connection.commit())
    try:
        ended, _ = await asyncio.wait({committing}, timeout=limit_s)
        if not ended:
            _hang_up(connection)
        await committing
    except psycopg.Error as error:
        saw = _first_line(error) if ended else f"no answer within {limit_s:g} s"
        raise UnknownOutcome(f"COMMIT: {saw}") from error
    except asyncio.CancelledError:
        _hang_up(connection)
        with contextlib.suppress(psycopg.Error):
            await committing
        raise
    finally:
        connection.remove_notice_handler(hear)
    if warnings:
        raise UnknownOutcome(f"COMMIT ended with a warning: {'; '.join(warnings)}")


def _hang_up(connection: Connection) -> None:
    """Close the line without a request to cancel, as a cable that is pulled would.

    PostgreSQL does not apply statement_timeout to the wait for a standby, so the limit has to be ours; but a
    cancelled wait would show everybody a row that only the primary has. A backend that just waits on shows
    it to nobody until the standby has it.
    """
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


async def _abandon(connection: Connection) -> None:
    with contextlib.suppress(psycopg.Error):
        await connection.rollback()


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]
