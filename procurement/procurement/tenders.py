"""Tenders and bids in PostgreSQL. Whoever changes a tender or one of its bids holds the tender's row lock."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from psycopg.types.json import Jsonb

from procurement.database import Connection, fetch_all, fetch_one
from procurement.domain.feed import Position
from procurement.domain.models import Config
from procurement.domain.tender import advance, auctions, decide_check, is_public, timetable
from procurement.domain.token import token_hash, token_matches
from procurement.errors import not_found

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stored:
    """A tender or a bid with the hash of the token that may change it."""

    body: Body
    token: bytes
    config: Config = Config()  # noqa: RUF009  # frozen

    def owned_by(self, token: str | None) -> bool:
        """Whether the bearer of ``token`` may change it."""
        return token is not None and token_matches(token, self.token)


def fresh_ids() -> Iterator[str]:
    """Identifiers, without end."""
    while True:
        yield uuid4().hex


async def next_number(connection: Connection, now: datetime) -> str:
    """A tender's number for people. Numbers may have gaps."""
    row = await fetch_one(connection, "SELECT nextval('tender_number')")
    assert row is not None  # noqa: S101
    return f"UA-{now:%Y-%m-%d}-{row[0]:06d}-a"


async def read_tender(connection: Connection, id: str, *, lock: bool = False) -> Stored:
    """A tender; ``lock`` keeps its row until the transaction ends. Raises ApiError 404."""
    query = "SELECT body, token_hash, config FROM tender WHERE id = %s"
    row = await fetch_one(connection, query + (" FOR UPDATE" if lock else ""), id)
    if row is None:
        raise not_found("tender_id")
    return Stored(row[0], bytes(row[1]), Config.model_validate(row[2]))


async def read_current(connection: Connection, id: str, now: datetime, auction_url: str) -> Stored:
    """A tender, locked and advanced to ``now``: what the clock would have done by now is done."""
    stored = await read_tender(connection, id, lock=True)
    bids = tuple(bid.body for bid in await read_bids(connection, id) if bid.body["status"] != "draft")
    body = advance(stored.body, stored.config, bids, now=now, auction_url=auction_url, ids=fresh_ids())
    if body is not stored.body:
        await write_tender(connection, body, stored.config)
        if body["status"] == "active.auction":
            await _plan_auctions(connection, body)
    return Stored(body, stored.token, stored.config)


async def add_tender(connection: Connection, body: Body, config: Config, token: str, transfer: str) -> None:
    """Write a new tender."""
    await connection.execute(
        "INSERT INTO tender (id, body, config, token_hash, transfer_hash, public, check_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)",
        (
            body["id"],
            Jsonb(body),
            Jsonb(config.model_dump()),
            token_hash(token),
            token_hash(transfer),
            is_public(body),
            decide_check(timetable(body, config, 0)),
        ),
    )


async def write_tender(connection: Connection, body: Body, config: Config) -> None:
    """Write a tender, changed or not: an acknowledgement of what was read needs a row as well."""
    await connection.execute(
        "UPDATE tender SET body = %s, public = %s, check_at = %s, acknowledged_at = now() WHERE id = %s",
        (Jsonb(body), is_public(body), decide_check(timetable(body, config, 0)), body["id"]),
    )


async def read_bids(connection: Connection, tender_id: str) -> list[Stored]:
    """All bids of a tender, in the order in which they came."""
    rows = await fetch_all(
        connection,
        "SELECT body, token_hash FROM bid WHERE tender_id = %s ORDER BY acknowledged_at, id",
        tender_id,
    )
    return [Stored(body, bytes(token)) for body, token in rows]


async def read_bid(connection: Connection, tender_id: str, id: str) -> Stored:
    """One bid. Raises ApiError 404."""
    row = await fetch_one(
        connection, "SELECT body, token_hash FROM bid WHERE tender_id = %s AND id = %s", tender_id, id
    )
    if row is None:
        raise not_found("bid_id")
    return Stored(row[0], bytes(row[1]))


async def add_bid(connection: Connection, tender_id: str, body: Body, token: str, transfer: str) -> None:
    """Write a new bid."""
    await connection.execute(
        "INSERT INTO bid (id, tender_id, body, token_hash, transfer_hash) VALUES (%s, %s, %s, %s, %s)",
        (body["id"], tender_id, Jsonb(body), token_hash(token), token_hash(transfer)),
    )


async def write_bid(connection: Connection, body: Body) -> None:
    """Write a bid, changed or not."""
    await connection.execute("UPDATE bid SET body = %s WHERE id = %s", (Jsonb(body), body["id"]))


async def due_tenders(connection: Connection, now: datetime, at_most: int) -> list[str]:
    """Tenders that the clock changes by ``now``, the longest overdue first."""
    rows = await fetch_all(
        connection, "SELECT id FROM tender WHERE check_at <= %s ORDER BY check_at LIMIT %s", now, at_most
    )
    return [id for (id,) in rows]


FEED = """
SELECT body, feed_generation, feed_transaction::text, feed_number FROM tender
WHERE public AND {below}
  AND (%(generation)s::int IS NULL OR (feed_generation, feed_transaction, feed_number)
       {compare} (%(generation)s, %(transaction)s::xid8, %(sequence)s))
ORDER BY feed_generation {order}, feed_transaction {order}, feed_number {order}
LIMIT %(limit)s
"""

# What is not older than every running transaction is held back: see domain/feed.py.
SETTLED = """(feed_generation < (SELECT max(generation) FROM feed_generation)
    OR feed_transaction < pg_snapshot_xmin(pg_current_snapshot()))"""


async def read_feed(
    connection: Connection,
    after: Position | None,
    *,
    limit: int,
    descending: bool = False,
    below: str = SETTLED,
) -> list[tuple[Position, Body]]:
    """The next changes after a position, each tender at its latest change. ``below`` is for tests."""
    query = FEED.format(
        below=below, compare="<" if descending else ">", order="DESC" if descending else "ASC"
    )
    cursor = await connection.execute(
        query.encode(),
        {
            "generation": after.generation if after else None,
            "transaction": str(after.transaction) if after else None,
            "sequence": after.sequence if after else None,
            "limit": limit,
        },
    )
    return [
        (Position(generation, int(transaction), number), body)
        for body, generation, transaction, number in await cursor.fetchall()
    ]


async def ahead_of_database(connection: Connection, position: Position) -> bool:
    """Whether this database cannot have shown ``position``: it has lost what the client already saw.

    A standby may simply not have come that far.
    """
    row = await fetch_one(
        connection,
        "SELECT NOT pg_is_in_recovery() AND (%s > max(generation)"
        " OR (%s = max(generation) AND %s::xid8 >= pg_snapshot_xmin(pg_current_snapshot())))"
        " FROM feed_generation",
        position.generation,
        position.generation,
        str(position.transaction),
    )
    return row is not None and bool(row[0])


async def _plan_auctions(connection: Connection, body: Body) -> None:
    for lot, due_at in auctions(body):
        await connection.execute(
            "INSERT INTO auction (tender_id, lot_id, due_at) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            (body["id"], lot or "", due_at),
        )
