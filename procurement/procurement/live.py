"""Watching an auction: its rounds as JSON, and over a WebSocket as they start."""

import asyncio
from dataclasses import dataclass
from typing import Any

from aiohttp import WSMsgType, web

from procurement.database import Database, fetch_all
from procurement.domain.instant import written
from procurement.errors import Unavailable, not_found
from procurement.web import json_answer

POLL_S = 0.5
STAGES = """
SELECT auction.lot_id, auction.stage, auction.due_at, auction.finished_at, began.stage, began.started_at,
       began.late_s, began.missed
FROM auction LEFT JOIN auction_stage AS began USING (tender_id, lot_id)
WHERE tender_id = %s ORDER BY auction.lot_id, began.stage
"""


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
