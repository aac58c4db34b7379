"""The changes feed of the API: every tender at its latest change, a page at a time, forwards or backwards."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from procurement import tenders
from procurement.database import Database
from procurement.domain.feed import DEFAULT_LIMIT, MAX_LIMIT, Position, parse_offset
from procurement.errors import ApiError
from procurement.web import ROOT, json_answer

# What the feed shows of a tender when asked by opt_fields; the rest is read tender by tender.
FEED_FIELDS = frozenset(
    {
        "status",
        "tenderID",
        "title",
        "value",
        "procuringEntity",
        "procurementMethodType",
        "dateCreated",
        "auctionPeriod",
        "tenderPeriod",
        "enquiryPeriod",
        "lots",
    }
)


@dataclass(frozen=True)
class Changes:
    """The feed over one database. ``public_url`` is what clients call us."""

    database: Database
    public_url: str

    def routes(self) -> list[web.RouteDef]:
        """All that this part answers to."""
        return [web.get(f"{ROOT}/tenders", self.feed)]

    async def feed(self, request: web.Request) -> web.Response:
        """The tenders in the order of their last change, a page at a time."""
        query = request.query
        limit, after = _limit(query.get("limit", "")), _offset(query.get("offset", ""))
        descending = bool(query.get("descending"))
        async with self.database.reading() as connection:
            if after is not None and await tenders.ahead_of_database(connection, after):
                raise _bad_offset(str(after))
            page = await tenders.read_feed(connection, after, limit=limit, descending=descending)
        asked = set(query.get("opt_fields", "").split(",")) & FEED_FIELDS
        shown = asked | {"id", "dateModified"}
        answer: dict[str, Any] = {
            "data": [{name: body[name] for name in shown if name in body} for _, body in page],
            "next_page": self._page(request, page[-1][0] if page else after, descending=descending),
        }
        if after is not None or descending:
            first = page[0][0] if page else after
            answer["prev_page"] = self._page(request, first, descending=not descending)
        return json_answer(answer)

    def _page(self, request: web.Request, position: Position | None, *, descending: bool) -> dict[str, Any]:
        kept = {name: request.query[name] for name in ("opt_fields", "limit") if name in request.query}
        if descending:
            kept["descending"] = "1"
        offset = str(position) if position else ""
        if offset:
            kept["offset"] = offset
        path = f"{ROOT}/tenders" + (f"?{urlencode(kept)}" if kept else "")
        return {"offset": offset, "path": path, "uri": self.public_url + path}


def _limit(text: str) -> int:
    if not text:
        return DEFAULT_LIMIT
    if not text.isdecimal() or int(text) == 0:
        raise ApiError(400, "querystring", "limit", f"Invalid limit provided: {text}")
    return min(int(text), MAX_LIMIT)


def _offset(text: str) -> Position | None:
    if not text:
        return None
    position = parse_offset(text)
    if position is None:
        raise _bad_offset(text)
    return position


def _bad_offset(text: str) -> ApiError:
    return ApiError(404, "querystring", "offset", f"Invalid offset provided: {text}")
