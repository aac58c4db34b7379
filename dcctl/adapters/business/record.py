"""What the application's database says of itself: the scheduler's epochs and rounds, a drill's records."""

import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import TupleRow

from dcctl.domain.business import Fact, bid_facts, tender_facts
from dcctl.errors import Unreachable

ROLE = "auction"
LOOK = "SELECT epoch, holder, extract(epoch FROM since)::float8 FROM role_epoch WHERE role = %s"
ACTS = """
SELECT tender_id || CASE WHEN lot_id = '' THEN '' ELSE '_' || lot_id END, stage, epoch,
       extract(epoch FROM started_at)::float8, late_s, missed
FROM auction_stage WHERE started_at >= %s ORDER BY started_at
"""
TENDERS = "SELECT body FROM tender WHERE starts_with(body ->> 'title', %s)"
BIDS = "SELECT tender_id, body FROM bid WHERE starts_with(body #>> '{tenderers,0,name}', %s)"
DOCUMENTS = "SELECT id, md5, uploaded_at IS NOT NULL FROM document WHERE id = ANY(%s)"


class PostgresRecord:
    """One connection to the primary, made again when it was lost."""

    def __init__(self, conninfo: str, *, password: str, connect_limit_s: float = 2.0) -> None:
        self._conninfo = psycopg.conninfo.make_conninfo(
            conninfo,
            target_session_attrs="read-write",
            connect_timeout=max(2, round(connect_limit_s)),
            application_name="dcctl-drill",
            tcp_user_timeout=3000,
            keepalives_idle=2,
            keepalives_interval=1,
            keepalives_count=3,
        )
        self._password = password
        self._connection: psycopg.AsyncConnection[TupleRow] | None = None

    async def look(self) -> tuple[int, str, float] | None:
        rows = await self._ask(LOOK, ROLE)
        return (int(rows[0][0]), str(rows[0][1]), float(rows[0][2])) if rows else None

    async def acts(self, since: datetime) -> Sequence[tuple[str, int, int, float, float, bool]]:
        return [tuple(row) for row in await self._ask(ACTS, since)]

    async def facts(self, prefix: str, documents: Sequence[str]) -> Sequence[Fact]:
        found: list[Fact] = []
        for (body,) in await self._ask(TENDERS, prefix):
            found += tender_facts(body)
        for tender, body in await self._ask(BIDS, prefix):
            found += bid_facts(tender, body)
        for id, md5, uploaded in await self._ask(DOCUMENTS, list(documents)):
            found.append(Fact(f"registered/{id}", md5))
            if uploaded:
                found.append(Fact(f"bytes/{id}", md5))
        return found

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _ask(self, query: str, *values: Any) -> list[TupleRow]:
        async with self._connected() as connection:
            return await (await connection.execute(query.encode(), values)).fetchall()

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[psycopg.AsyncConnection[TupleRow]]:
        """The connection; whatever goes wrong on it, a limit included, ends it."""
        try:
            if self._connection is None:
                self._connection = await psycopg.AsyncConnection.connect(
                    self._conninfo, password=self._password, autocommit=True
                )
            yield self._connection
        except (psycopg.Error, OSError) as error:
            await self.close()
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            saw = re.sub(r'^connection (to server at "[^"]*", port \d+ )?failed: ', "", first)
            raise Unreachable("ask the application's database", on="every edge", saw=saw) from error
        except BaseException:
            await self.close()
            raise
