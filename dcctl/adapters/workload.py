"""``ports.Workload`` with psycopg 3: uniquely numbered rows through the edges, on a fixed schedule.

One asyncio loop in a thread of its own, behind synchronous calls. Each write is one INSERT that commits
itself, so that exactly one answer says what became of it. An operation that gets no answer in time is
unknown; it is never cancelled: cancelling a COMMIT that waits for its synchronous standby makes the row
visible without a second copy (PostgreSQL, ``syncrep.c``).
"""

import asyncio
import itertools
import os
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

import psycopg
from psycopg import sql

from dcctl.domain.drill import WorkloadSpec, payload_of, table_of
from dcctl.domain.history import Action, History, Mark, Phase, Record, Reply, decide_outcome
from dcctl.errors import DcctlError, TimedOut, Unreachable

T = TypeVar("T")

READ_WINDOW_ROWS = 250
TIMELINE_DIGITS = 8
IDLE_AT_MOST = 4
"""Connections of one edge that are kept for the next operation. A stall opens many; kept, they would hold the
server's slots, and others could not log in."""
FINAL_READ_LIMIT_S = 30.0
"""A cluster that was just healed may take as long as a failover until a primary answers."""


@dataclass(frozen=True, slots=True)
class Login:
    """How the client logs in, at every edge alike."""

    user: str
    password: str = field(repr=False)
    database: str
    port: int


@dataclass
class _Lane:
    """One edge: its idle connections, newest last, and what is under way through it.

    ``answers`` are those that the server still owes, also when their operation's time limit has passed.
    """

    edge: str
    address: str
    idle: list["_Connection"] = field(default_factory=list)
    under_way: int = 0
    answers: dict["asyncio.Task[tuple[Reply, str]]", "_Connection"] = field(default_factory=dict)
    acknowledged_s: list[float] = field(default_factory=list)


@dataclass
class _Connection:
    raw: psycopg.AsyncConnection[Any]
    warnings: list[str] = field(default_factory=list)

    def usable(self) -> bool:
        """Whether nobody has hung up on it: an idle connection has nothing to say."""
        if self.raw.closed:
            return False
        poll = select.poll()
        poll.register(self.raw.pgconn.socket, select.POLLIN)
        return not poll.poll(0)

    def hang_up(self) -> None:
        """End it at once, without a cancel request: whoever waits on it sees the end of the stream."""
        if self.raw.closed:
            return
        with socket.socket(fileno=os.dup(self.raw.pgconn.socket)) as end:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # the other side was faster


Use: TypeAlias = Callable[[_Connection], Coroutine[Any, Any, None]]


class _NoAnswer(Exception):
    """The time limit passed."""


class PostgresWorkload:
    """See ``ports.Workload``. ``keep`` is called with every line of the history, in any thread.

    ``servers`` are the addresses of the database's members, each with its site: every acknowledgement says
    which of them gave it.
    """

    def __init__(
        self,
        spec: WorkloadSpec,
        *,
        run: str,
        edges: Mapping[str, str],
        servers: Mapping[str, str],
        login: Login,
        keep: Callable[[Record | Mark], None],
        now: Callable[[], datetime],
    ) -> None:
        self.table = table_of(run)
        self._spec = spec
        self._run = run
        self._servers = servers
        self._login = login
        self._keep = keep
        self._lanes = [_Lane(edge, address) for edge, address in edges.items()]
        self._began_at = now()
        self._began_s = time.monotonic()
        self._lines: list[Record | Mark] = []
        self._lock = threading.Lock()
        self._ops = itertools.count()
        self._last_row = -1
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._arrivals: list[asyncio.Task[None]] = []
        self._under_way: set[asyncio.Task[None]] = set()

    # The synchronous door.

    def start(self) -> None:
        try:
            self._call(self._anywhere(self._create), limit_s=self._door_limit_s)
            self._call(self._begin(), limit_s=self._door_limit_s)
        except BaseException:
            self._close()
            raise

    def acknowledged_s(self) -> Mapping[str, Sequence[float]]:
        with self._lock:
            return {lane.edge: tuple(lane.acknowledged_s) for lane in self._lanes}

    def mark(self, name: str, target: str) -> float:
        at_s = self._now_s()
        self._write_down(Mark(at_s, name, target))
        return at_s

    def stop(self) -> History:
        if self._arrivals:
            self._call(self._end(), limit_s=self._door_limit_s + FINAL_READ_LIMIT_S)
        self._close()
        return self.history()

    def drop(self) -> None:
        try:
            self._call(self._anywhere(self._drop), limit_s=self._door_limit_s)
        finally:
            self._close()

    def history(self) -> History:
        """Everything noted so far."""
        with self._lock:
            lines = tuple(self._lines)
        return History(
            run=self._run,
            began_at=self._began_at,
            writes_per_s=self._spec.writes_per_s,
            edges=tuple(lane.edge for lane in self._lanes),
            records=tuple(line for line in lines if isinstance(line, Record)),
            marks=tuple(line for line in lines if isinstance(line, Mark)),
            servers=self._servers,
        )

    @property
    def _door_limit_s(self) -> float:
        return 5.0 + len(self._lanes) * (self._spec.connect_limit_s + self._spec.statement_limit_s)

    def _call(self, work: Coroutine[Any, Any, T], *, limit_s: float) -> T:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="workload", daemon=True)
            self._thread.start()
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(limit_s)
        except TimeoutError as error:
            future.cancel()
            raise TimedOut("drive the workload", on=self.table, saw=f"no end after {limit_s:g} s") from error

    def _close(self) -> None:
        if self._loop is None or self._thread is None:
            return
        self._call(self._hang_up_all(), limit_s=self._door_limit_s)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None

    # Inside the loop.

    async def _begin(self) -> None:
        self._arrivals = [
            asyncio.create_task(self._arrive(self._spec.writes_per_s, self._write)),
            asyncio.create_task(self._arrive(self._spec.reads_per_s, self._read)),
        ]

    async def _arrive(
        self, per_s: float, operation: Callable[[_Lane, float], Coroutine[Any, Any, None]]
    ) -> None:
        """Begin an operation at every due time, through the edges in turn; when late, catch up at once."""
        begin_s = self._now_s()
        for number in itertools.count():
            due_s = begin_s + number / per_s
            await asyncio.sleep(max(0.0, due_s - self._now_s()))
            task = asyncio.create_task(operation(self._lanes[number % len(self._lanes)], due_s))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _write(self, lane: _Lane, due_s: float) -> None:
        self._last_row += 1
        op, row = next(self._ops), self._last_row
        at_s = self._now_s()
        self._write_down(
            Record(
                at_s,
                op,
                Action.WRITE,
                Phase.INVOKE,
                lane.edge,
                row=row,
                late_s=round(max(0.0, at_s - due_s), 6),
            )
        )
        told: list[tuple[str, int]] = []

        async def insert(connection: _Connection) -> None:
            told.append(await self._insert(connection, lane.edge, row))

        reply, saw = await self._through(lane, insert)
        outcome = decide_outcome(reply)
        by, epoch = told[0] if outcome is Phase.OK else ("", None)
        self._write_down(
            Record(self._now_s(), op, Action.WRITE, outcome, lane.edge, row=row, saw=saw, by=by, epoch=epoch)
        )

    async def _read(self, lane: _Lane, due_s: float) -> None:
        if self._last_row < 0:
            return
        op, at_s = next(self._ops), self._now_s()
        window = (max(0, self._last_row - READ_WINDOW_ROWS + 1), self._last_row)
        late_s = round(max(0.0, at_s - due_s), 6)
        self._write_down(Record(at_s, op, Action.READ, Phase.INVOKE, lane.edge, window=window, late_s=late_s))
        found: list[tuple[int, str]] = []
        query = sql.SQL("SELECT id, payload FROM {} WHERE id BETWEEN %s AND %s").format(
            sql.Identifier(self.table)
        )

        async def select(connection: _Connection) -> None:
            found.extend(await (await connection.raw.execute(query, window)).fetchall())

        reply, saw = await self._through(lane, select)
        self._write_down(self._read_end(op, Action.READ, lane.edge, found=found, reply=reply, saw=saw))

    def _read_end(
        self, op: int, action: Action, edge: str, *, found: Sequence[tuple[int, str]], reply: Reply, saw: str
    ) -> Record:
        """A read changes nothing: whatever is not a whole answer is a plain failure."""
        if not reply.succeeded:
            return Record(self._now_s(), op, action, Phase.FAIL, edge, saw=saw)
        rows = frozenset(row for row, _payload in found)
        altered = frozenset(row for row, payload in found if payload != payload_of(self._run, row))
        return Record(self._now_s(), op, action, Phase.OK, edge, rows=rows, altered=altered)

    async def _through(self, lane: _Lane, use: Use) -> tuple[Reply, str]:
        """``use`` a connection of ``lane`` and say what PostgreSQL replied; never raises."""
        if lane.under_way >= self._spec.in_flight_at_most:
            return Reply(sent=False), f"not sent: {lane.under_way} operations were under way"
        lane.under_way += 1
        try:
            connection = await self._connection(lane)
        except (psycopg.Error, OSError, _NoAnswer) as error:
            lane.under_way -= 1
            return Reply(sent=False), f"not connected: {_words(error)}"
        task = asyncio.ensure_future(_used(connection, use))
        # Until the server has answered, or the network has given up, the connection is in use: a client
        # that opened another one each time would exhaust the server just when it stalls.
        lane.answers[task] = connection
        task.add_done_callback(lambda done: self._answered(lane, done))
        done, _ = await asyncio.wait({task}, timeout=self._spec.statement_limit_s)
        if not done:
            return Reply(sent=True), f"no answer within {self._spec.statement_limit_s:g} s"
        return task.result()

    def _answered(self, lane: _Lane, task: asyncio.Task[tuple[Reply, str]]) -> None:
        connection = lane.answers.pop(task)
        lane.under_way -= 1
        if connection.raw.closed:
            return
        if len(lane.idle) < IDLE_AT_MOST:
            lane.idle.append(connection)
        else:
            connection.raw.pgconn.finish()

    async def _connection(self, lane: _Lane) -> _Connection:
        while lane.idle:
            connection = lane.idle.pop()
            if connection.usable():
                return connection
            await connection.raw.close()
        return await self._connect(lane)

    async def _connect(self, lane: _Lane) -> _Connection:
        login = self._login
        try:
            async with asyncio.timeout(self._spec.connect_limit_s):
                raw = await psycopg.AsyncConnection.connect(
                    host=lane.address,
                    port=login.port,
                    user=login.user,
                    password=login.password,
                    dbname=login.database,
                    application_name="dcctl-drill",
                    autocommit=True,
                    prepare_threshold=None,
                    # A path that went dark frees its connection soon (libpq, "tcp_user_timeout").
                    keepalives_idle=2,
                    keepalives_interval=1,
                    keepalives_count=3,
                    tcp_user_timeout=int(self._spec.statement_limit_s * 1000),
                )
        except TimeoutError:
            raise _NoAnswer(f"no answer within {self._spec.connect_limit_s:g} s") from None
        connection = _Connection(raw)
        raw.add_notice_handler(lambda notice: _note_warning(notice, connection.warnings))
        return connection

    async def _insert(self, connection: _Connection, edge: str, row: int) -> tuple[str, int]:
        """Write it; the address of the server that took it, and the server's timeline: what a WAL file's
        name begins with (PostgreSQL, "WAL Internals"). The control file may say an older one for a while."""
        cursor = await connection.raw.execute(
            sql.SQL(
                "INSERT INTO {} (id, payload, edge) VALUES (%s, %s, %s) RETURNING"
                " coalesce(host(inet_server_addr()), ''), pg_walfile_name(pg_current_wal_insert_lsn())"
            ).format(sql.Identifier(self.table)),
            (row, payload_of(self._run, row), edge),
        )
        ((address, file),) = await cursor.fetchall()
        return address, int(file[:TIMELINE_DIGITS], 16)

    async def _create(self, connection: _Connection) -> None:
        await connection.raw.execute(
            sql.SQL(
                "CREATE TABLE {} (id bigint PRIMARY KEY, payload text NOT NULL, edge text NOT NULL,"
                " at timestamptz NOT NULL DEFAULT clock_timestamp())"
            ).format(sql.Identifier(self.table))
        )

    async def _drop(self, connection: _Connection) -> None:
        await connection.raw.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(self.table)))

    async def _anywhere(self, use: Use) -> None:
        """``use`` a connection through the first edge that lets us."""
        seen = []
        for lane in self._lanes:
            reply, saw = await self._through(lane, use)
            if reply.succeeded:
                return
            seen.append(f"{lane.edge}: {saw}")
        raise Unreachable(
            f"use table {self.table}", on="every edge", saw="; ".join(seen), next_command="dcctl status"
        )

    async def _end(self) -> None:
        for task in self._arrivals:
            task.cancel()
        await asyncio.gather(*self._arrivals, return_exceptions=True)
        self._arrivals = []
        await asyncio.gather(*self._under_way)
        deadline_s = self._now_s() + FINAL_READ_LIMIT_S
        while not await self._final_read() and self._now_s() < deadline_s:
            await asyncio.sleep(1.0)

    async def _final_read(self) -> bool:
        """Read every row from the primary, through the first edge that leads there."""
        for lane in self._lanes:
            op = next(self._ops)
            self._write_down(Record(self._now_s(), op, Action.FINAL, Phase.INVOKE, lane.edge))
            found: list[tuple[int, str]] = []
            query = sql.SQL("SELECT id, payload FROM {}").format(sql.Identifier(self.table))

            async def select(connection: _Connection) -> None:
                await connection.raw.execute("SELECT pg_catalog.pg_current_wal_lsn()")  # no standby has one
                found.extend(await (await connection.raw.execute(query)).fetchall())  # noqa: B023

            reply, saw = await self._through(lane, select)
            self._write_down(self._read_end(op, Action.FINAL, lane.edge, found=found, reply=reply, saw=saw))
            if reply.succeeded:
                return True
        return False

    async def _hang_up_all(self) -> None:
        for lane in self._lanes:
            for connection in lane.answers.values():
                connection.hang_up()
            await asyncio.gather(*lane.answers)
            while lane.idle:
                await lane.idle.pop().raw.close()

    # Notes.

    def _now_s(self) -> float:
        """To the microsecond, as it is kept on disk: a report made again says the same."""
        return round(time.monotonic() - self._began_s, 6)

    def _write_down(self, line: Record | Mark) -> None:
        with self._lock:
            self._lines.append(line)
            if isinstance(line, Record) and line.action is Action.WRITE and line.phase is Phase.OK:
                lane = next(lane for lane in self._lanes if lane.edge == line.edge)
                lane.acknowledged_s.append(line.at_s)
            self._keep(line)


async def _used(connection: _Connection, use: Use) -> tuple[Reply, str]:
    connection.warnings.clear()
    try:
        await use(connection)
    except (psycopg.Error, OSError) as error:
        reply = _reply(error)
        if reply.severity != "ERROR":
            await connection.raw.close()
        return reply, _words(error)
    warnings = tuple(connection.warnings)
    return Reply(sent=True, succeeded=True, warnings=warnings), "; ".join(warnings)


def _note_warning(notice: psycopg.errors.Diagnostic, warnings: list[str]) -> None:
    if notice.severity_nonlocalized == "WARNING":
        warnings.append(f"{notice.sqlstate} {notice.message_primary}")


def _reply(error: BaseException) -> Reply:
    """The one place where psycopg's errors become ours."""
    if not isinstance(error, psycopg.Error) or error.sqlstate is None:
        return Reply(sent=True)
    return Reply(sent=True, severity=error.diag.severity_nonlocalized or "", sqlstate=error.sqlstate)


def _words(error: BaseException) -> str:
    """An error's first line, so that the same cause reads the same each time."""
    if isinstance(error, DcctlError):
        return error.sentence()
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    first = first.removeprefix("connection failed: ").removeprefix("consuming input failed: ")
    first = re.sub(r'^connection to server at "[^"]*", port \d+ failed: ', "", first)
    sqlstate = getattr(error, "sqlstate", None)
    return f"{sqlstate} {first}" if sqlstate else first
