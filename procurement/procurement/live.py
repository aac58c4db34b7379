"""Watching auctions: the rounds that are due soon, one auction as JSON, and over a WebSocket as it goes."""

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from aiohttp import WSMsgType, web

from procurement.database import Database, fetch_all
from procurement.domain.auction import ROUNDS
from procurement.domain.instant import written
from procurement.errors import Unavailable, not_found
from procurement.web import Clock, json_answer, utc_now

log = logging.getLogger(__name__)

POLL_S = 0.5
READ_EVERY_S = 5.0
AHEAD = timedelta(hours=1)
AT_MOST = 1000
DUE = """
SELECT tender_id, lot_id, stage, due_at FROM auction
WHERE finished_at IS NULL AND stage < %s AND due_at <= %s ORDER BY due_at, tender_id, lot_id LIMIT %s
"""
STAGES = """
SELECT auction.lot_id, auction.stage, auction.due_at, auction.finished_at, began.stage, began.started_at,
       began.late_s, began.missed
FROM auction LEFT JOIN auction_stage AS began USING (tender_id, lot_id)
WHERE tender_id = %s ORDER BY auction.lot_id, began.stage
"""


@dataclass
class Due:
    """The rounds that are due soon. What was read last is told also while there is no primary to be asked:
    that is when somebody wants to know which rounds a failover will be too late for."""

    database: Database
    read_every_s: float = READ_EVERY_S
    clock: Clock = utc_now
    told: dict[str, Any] | None = None
    """The answer, with the instant at which it was read; None before the first."""

    def routes(self) -> list[web.RouteDef]:
        """All that this part answers to."""
        return [web.get("/auctions", self.show)]

    async def show(self, _: web.Request) -> web.Response:
        """All rounds that were due until an hour after ``at``, the first ones first."""
        if self.told is None:
            raise Unavailable("the rounds that are due were not read yet")
        return json_answer(self.told)

    async def run(self, stop: asyncio.Event) -> None:
        """Read again and again until ``stop`` is set."""
        while not stop.is_set():
            try:
                await self.read()
            except Unavailable as error:
                log.warning("rounds that are due: %s", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self.read_every_s)

    async def read(self) -> None:
        """Read once. Raises Unavailable."""
        at = self.clock()
        async with self.database.reading() as connection:
            rows = await fetch_all(connection, DUE, ROUNDS, at + AHEAD, AT_MOST)
        until = rows[-1][3] if len(rows) == AT_MOST else at + AHEAD
        self.told = {
            "at": written(at),
            "until": written(until),
            "data": [
                {"tenderID": tender, "round": stage + 1, "due": written(due_at)}
                | ({"lotID": lot} if lot else {})
                for tender, lot, stage, due_at in rows
            ],
        }


@dataclass(frozen=True)
class Live:
    """The public view of auctions. Reads only, so every site may serve it."""

    database: Database
    poll_s: float = POLL_S

    def routes(self) -> list[web.RouteDef]:
        """All that this part answers to."""
        return [
            web.get("/auctions/{tender_id}", self.show),
            web.get("/auctions/{tender_id}/live", self.follow),
        ]

    async def show(self, request: web.Request) -> web.Response:
        """All auctions of a tender with their rounds."""
        return json_answer({"data": await self._state(request.match_info["tender_id"])})

    async def follow(self, request: web.Request) -> web.StreamResponse:
        """The same as messages: one now, and one at every change."""
        tender_id = request.match_info["tender_id"]
        sent = await self._state(tender_id)
        socket = web.WebSocketResponse(heartbeat=20)
        await socket.prepare(request)
        await socket.send_json({"data": sent})
        while not socket.closed:
            try:
                message = await socket.receive(timeout=self.poll_s)
                if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                    break
            except TimeoutError:
                pass
            try:
                state = await self._state(tender_id)
            except Unavailable:
                continue  # the database moves to another site: whoever watches just sees nothing new
            if state != sent:
                sent = state
                await socket.send_json({"data": sent})
            await asyncio.sleep(0)
        return socket

    async def _state(self, tender_id: str) -> list[dict[str, Any]]:
        async with self.database.reading() as connection:
            rows = await fetch_all(connection, STAGES, tender_id)
        if not rows:
            raise not_found("tender_id")
        auctions: dict[str, dict[str, Any]] = {}
        for lot, stage, due_at, finished_at, began, started_at, late_s, missed in rows:
            auction = auctions.setdefault(
                lot,
                {"stage": stage, "due": written(due_at), "finished": finished_at is not None, "rounds": []},
            )
            if lot:
                auction["lotID"] = lot
            if began is not None:
                auction["rounds"].append(
                    {"round": began, "started": written(started_at), "late_s": late_s, "missed": missed}
                )
        return list(auctions.values())
