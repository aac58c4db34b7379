"""PostgreSQL through one pool, and the only way in which a change is acknowledged.

Invariant: ``acknowledged`` returns normally only if the transaction wrote a row, its COMMIT ended without a
warning, and the session waits for the synchronous standby. A COMMIT whose wait for the standby was cancelled
answers success with a WARNING (SQLSTATE 01000), and its row may vanish with the primary; a transaction that
wrote nothing waits for nobody. Both would be acknowledgements that a failover can take back.
"""

import asyncio
import contextlib
import hashlib
import os
import socket
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from procurement.errors import StaleEpoch, Unavailable, UnknownOutcome

Connection = AsyncConnection[TupleRow]

POOL_WAIT_S = 2.0
HELD_WAIT_S = 4.0
"""For a line that is not broken and gives no answer: its edge may hold it while the primary moves."""
RECONNECT_S = 1.0
STATEMENT_LIMIT_MS = 10_000
IDLE_LIMIT_MS = 5_000
COMMIT_LIMIT_S = 10.0
STALE_EPOCH = "DC001"

# How a line is made and given up where the connection string does not say otherwise. A host that cannot be
# reached costs connect_timeout, two seconds at least, before the next one is tried. What was sent and is not
# received by the peer's kernel for tcp_user_timeout is lost; a wait for an answer has no limit here.
LINE: dict[str, str | int] = {
    "connect_timeout": 2,
    "target_session_attrs": "read-write",
    "tcp_user_timeout": 3000,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
}

# Before COMMIT all of these mean that nothing was changed: the line is down, the server is going away or is a
# standby (25006), a limit was reached (57014, 25P03), or no connection was free.
NOT_APPLIED = (psycopg.OperationalError, psycopg.InternalError, psycopg.InterfaceError, PoolTimeout)

# Either of these waits for a synchronous standby to have the transaction on its disk.
WAITING = ("on", "remote_apply")


class Database:
    """A pool of connections. Use as an asynchronous context manager.

    When the primary moves, its lines break all at once, and until there is a new one every attempt fails: a
    request gets Unavailable within ``pool_wait_s``. Attempts go on about once a second and never further
    apart, so requests succeed as soon as one host of ``conninfo`` leads to a primary.

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
        held_wait_s: float = HELD_WAIT_S,
    ) -> None:
        self._commit_limit_s = commit_limit_s
        self._held_wait_s = held_wait_s
        self._pool_wait_s = pool_wait_s
        self._pool = AsyncConnectionPool(
            conninfo,
            kwargs={
                **_line(conninfo, password),
                "application_name": "procurement",
                # Between us and the server may be a pool that gives each transaction another session.
                "prepare_threshold": None,
                "options": f"-c statement_timeout={statement_limit_ms}"
                f" -c idle_in_transaction_session_timeout={idle_limit_ms}",
            },
            min_size=1,
            max_size=connections,
            # One that hangs on a dark host must not keep the others from trying.
            num_workers=connections,
            # By default a failed attempt is repeated after 1, 2, 4, 8, ... s, for five minutes. Whatever is
            # given up here begins anew with the next request.
            reconnect_timeout=RECONNECT_S,
            open=False,
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
            async with self._usable() as connection:
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
            async with self._usable() as connection:
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

    @contextlib.asynccontextmanager
    async def _usable(self) -> AsyncIterator[Connection]:
        """A line on which the server has just answered.

        The pool's own check waits 1, 2, 4, ... s after a second line that is broken, and when the primary
        moves they all are.
        """
        clock = asyncio.get_running_loop().time
        ends = clock() + self._pool_wait_s
        while True:
            connection = await self._pool.getconn(timeout=ends - clock())
            try:
                try:
                    await _must_answer(connection, self._held_wait_s)
                except NOT_APPLIED as error:
                    await connection.close()
                    if isinstance(error, psycopg.errors.ConnectionTimeout):
                        raise
                    continue
                yield connection
                return
            finally:
                await self._pool.putconn(connection)


def _line(conninfo: str, password: str | None) -> dict[str, Any]:
    given = conninfo_to_dict(conninfo)
    return {name: value for name, value in LINE.items() if name not in given} | {"password": password}


async def migrate(conninfo: str, password: str | None = None, *, check: bool = False) -> bool:
    """Bring the schema to this version; whether anything was, or with ``check`` would be, changed.

    Repeating it takes no lock that others would feel. Raises Unavailable: nothing was changed.
    """
    text = files("procurement").joinpath("schema.sql").read_bytes()
    digest = hashlib.sha256(text).hexdigest()
    try:
        async with await AsyncConnection.connect(conninfo, **_line(conninfo, password)) as connection:
            # Two that migrate at once take turns; who waits for a table makes everybody behind it wait.
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext('procurement.migrate'))")
            await connection.execute("SET LOCAL lock_timeout = '5s'")
            if await _is_current(connection, digest):
                return False
            if not check:
                await connection.execute(text)
                await connection.execute("INSERT INTO schema_version (digest) VALUES (%s)", (digest,))
            return True
    except psycopg.OperationalError as error:
        raise Unavailable(f"the database: {_first_line(error)}") from error


async def _is_current(connection: Connection, digest: str) -> bool:
    """Whether this schema was the last to be applied, in this very cluster."""
    row = await fetch_one(connection, "SELECT to_regclass('schema_version') IS NOT NULL")
    if row is None or not row[0]:
        return False
    row = await fetch_one(
        connection,
        "SELECT (SELECT digest FROM schema_version ORDER BY number DESC LIMIT 1) = %s"
        " AND system_identifier = (SELECT system_identifier FROM pg_control_system())"
        " FROM feed_generation ORDER BY generation DESC LIMIT 1",
        digest,
    )
    return row is not None and bool(row[0])


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


async def _must_answer(connection: Connection, limit_s: float) -> None:
    """Raises one of NOT_APPLIED; ConnectionTimeout when there is no answer in time."""
    asking = asyncio.ensure_future(AsyncConnectionPool.check_connection(connection))
    try:
        ended, _ = await asyncio.wait({asking}, timeout=limit_s)
        if ended:
            await asking
            return
    except asyncio.CancelledError:
        await _give_up(connection, asking)
        raise
    await _give_up(connection, asking)
    raise psycopg.errors.ConnectionTimeout(f"no answer within {limit_s:g} s")


async def _give_up(connection: Connection, asking: "asyncio.Future[None]") -> None:
    _hang_up(connection)
    with contextlib.suppress(psycopg.Error):
        await asking


async def _abandon(connection: Connection) -> None:
    with contextlib.suppress(psycopg.Error):
        await connection.rollback()


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]
