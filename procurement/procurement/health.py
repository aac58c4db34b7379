"""Three questions: does the process live, may it get requests, and is everything behind it well.

``/livez`` asks nobody. ``/readyz`` asks for what a request needs. ``/healthz/deep`` tries everything and
measures; it is for people and probes, not for load balancers.
"""

import hashlib
import io
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiohttp import web

from procurement.database import Database, fetch_one
from procurement.errors import ProcurementError
from procurement.storage.port import Storage
from procurement.web import json_answer

# The feed's watermark: how old the oldest change is that is committed and not shown yet. Replication as far
# as this role may see it; the standbys' names need the right to read pg_stat_replication (pg_monitor).
DATABASE = """
SELECT pg_is_in_recovery(), current_setting('synchronous_commit'),
       current_setting('synchronous_standby_names'),
       (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')),
       (SELECT extract(epoch FROM max(replay_lag)) FROM pg_stat_replication),
       extract(epoch FROM now() - pg_last_xact_replay_timestamp()),
       pg_has_role('pg_read_all_stats', 'USAGE')
"""
FEED = """
SELECT pg_snapshot_xmin(pg_current_snapshot())::text, count(*),
       coalesce(extract(epoch FROM now() - min(acknowledged_at)), 0)
FROM tender
WHERE public AND feed_generation = (SELECT max(generation) FROM feed_generation)
  AND feed_transaction >= pg_snapshot_xmin(pg_current_snapshot())
"""

Check = Callable[[], Awaitable[dict[str, Any]]]


@dataclass(frozen=True)
class Health:
    """The answers of one process. ``storage`` only where documents are served, ``lease_file`` only where a
    lease is held: its age is that of the file's last renewal."""

    service: str
    site: str
    database: Database
    storage: Storage | None = None
    lease_file: Path | None = None

    def routes(self) -> list[web.RouteDef]:
        """All that this part answers to."""
        return [
            web.get("/livez", self.livez),
            web.get("/readyz", self.readyz),
            web.get("/healthz/deep", self.deep),
        ]

    async def livez(self, _: web.Request) -> web.Response:
        """The event loop turns."""
        return json_answer({"service": self.service, "site": self.site, "ok": True})

    async def readyz(self, _: web.Request) -> web.Response:
        """Requests can be served: the writable database answers, and so does this site's storage."""
        checks: dict[str, Check] = {"database": self._writable}
        if self.storage is not None:
            checks["storage"] = self._answers
        return await self._answer(checks)

    async def deep(self, _: web.Request) -> web.Response:
        """Everything, tried and measured."""
        checks: dict[str, Check] = {"database": self._database, "feed": self._feed}
        if self.storage is not None:
            checks["storage"] = self._put_get_hash
        if self.lease_file is not None:
            checks["lease"] = self._lease
        return await self._answer(checks)

    async def _answer(self, checks: dict[str, Check]) -> web.Response:
        results: dict[str, Any] = {}
        for name, check in checks.items():
            began = time.monotonic()
            try:
                results[name] = {"ok": True, **await check()}
            except (ProcurementError, OSError) as error:
                results[name] = {"ok": False, "saw": str(error)}
            results[name]["seconds"] = round(time.monotonic() - began, 4)
        ok = all(result["ok"] for result in results.values())
        body = {"service": self.service, "site": self.site, "ok": ok, "checks": results}
        return json_answer(body, status=200 if ok else 503)

    async def _writable(self) -> dict[str, Any]:
        async with self.database.reading() as connection:
            row = await fetch_one(connection, "SELECT pg_is_in_recovery()")
        in_recovery = row is None or bool(row[0])
        return {"ok": not in_recovery, "role": "standby" if in_recovery else "primary"}

    async def _database(self) -> dict[str, Any]:
        async with self.database.reading() as connection:
            row = await fetch_one(connection, DATABASE)
        assert row is not None  # noqa: S101
        in_recovery, commit, names, synchronous, replay_lag, behind, may_see = row
        return {
            "ok": not in_recovery,
            "role": "standby" if in_recovery else "primary",
            "synchronous_commit": commit,
            # A primary with nobody to wait for acknowledges alone. None: we may not see who is there.
            "single_copy": False
            if in_recovery
            else True
            if not names
            else not synchronous
            if may_see
            else None,
            "replay_lag_s": _seconds(behind if in_recovery else replay_lag),
        }

    async def _feed(self) -> dict[str, Any]:
        async with self.database.reading() as connection:
            row = await fetch_one(connection, FEED)
        assert row is not None  # noqa: S101
        watermark, held_back, oldest_s = row
        return {"watermark": watermark, "held_back": held_back, "held_back_s": _seconds(oldest_s)}

    async def _answers(self) -> dict[str, Any]:
        assert self.storage is not None  # noqa: S101
        await self.storage.head("readiness")
        return {}

    async def _put_get_hash(self) -> dict[str, Any]:
        """Write something new, read it back, compare, remove it."""
        assert self.storage is not None  # noqa: S101
        content, name = os.urandom(64), f"probe-{uuid4().hex}"
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        await self.storage.put(
            name, io.BytesIO(content), size_bytes=len(content), md5=md5, format="application/octet-stream"
        )
        try:
            async with self.storage.get(name) as chunks:
                read = b"".join([chunk async for chunk in chunks]) if chunks is not None else None
        finally:
            await self.storage.delete(name)
        return {"ok": read == content}

    async def _lease(self) -> dict[str, Any]:
        assert self.lease_file is not None  # noqa: S101
        return {"age_s": round(time.time() - self.lease_file.stat().st_mtime, 3)}


def _alone(names: str, synchronous: int, *, may_see: bool) -> bool | None:
    """Whether a primary acknowledges with nobody to wait for; None: we may not see who is there."""
    if not names:
        return True
    return synchronous == 0 if may_see else None


def _seconds(value: Any) -> float | None:
    return None if value is None else round(float(value), 4)
