"""The auction scheduler: the one process that starts rounds and moves tenders by the clock.

It acts only under an epoch that it was given. Every transaction of it takes the role's epoch row FOR SHARE,
so that a successor, whose bump takes it FOR UPDATE, begins only after our last transaction has ended, and
whatever we try afterwards is refused by the database.
"""

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from procurement import tenders
from procurement.database import Connection, Database, fetch_all, fetch_one
from procurement.domain.auction import Auction, Finish, StartRound, decide_auction
from procurement.domain.award import begin_qualification
from procurement.domain.instant import written
from procurement.errors import StaleEpoch, Unavailable, UnknownOutcome
from procurement.tenders import Body, fresh_ids
from procurement.web import Clock, utc_now

log = logging.getLogger(__name__)

ROLE = "auction"
AT_MOST = 100


@dataclass(frozen=True)
class Scheduler:
    """The scheduler under one epoch. ``tick`` may be called at any time, by any number of processes: only
    the one whose epoch is in force changes anything."""

    database: Database
    epoch: int
    auction_url: str
    round_length: timedelta = timedelta(minutes=2)
    tick_s: float = 1.0
    clock: Clock = utc_now

    async def run(self, stop: asyncio.Event) -> None:
        """Tick until ``stop`` is set. Raises StaleEpoch: then nothing may be done any more."""
        while not stop.is_set():
            try:
                await self.tick()
            except (Unavailable, UnknownOutcome) as error:
                # What is due stays due: the next tick reads it again.
                log.warning("tick: %s", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self.tick_s)

    async def tick(self) -> int:
        """Do what is due now; how many tenders and auctions changed. Raises StaleEpoch."""
        now = self.clock()
        async with self.database.reading() as connection:
            await self._still_leading(connection)
            due = await tenders.due_tenders(connection, now, AT_MOST)
            rounds = await fetch_all(
                connection,
                "SELECT tender_id, lot_id FROM auction WHERE finished_at IS NULL AND due_at <= %s"
                " ORDER BY due_at LIMIT %s",
                now,
                AT_MOST,
            )
        for tender_id in due:
            async with self.database.acknowledged() as connection:
                await check_epoch(connection, self.epoch)
                stored = await tenders.read_current(connection, tender_id, self.clock(), self.auction_url)
                await tenders.write_tender(connection, stored.body, stored.config)
        for tender_id, lot_id in rounds:
            async with self.database.acknowledged() as connection:
                await check_epoch(connection, self.epoch)
                await self._advance_auction(connection, tender_id, lot_id)
        return len(due) + len(rounds)

    async def _still_leading(self, connection: Connection) -> None:
        """Raises StaleEpoch. Only to end an idle process soon: what protects is ``check_epoch``."""
        row = await fetch_one(connection, "SELECT epoch FROM role_epoch WHERE role = %s", ROLE)
        in_force = row[0] if row else None
        if in_force != self.epoch:
            raise StaleEpoch(f"epoch {self.epoch} of {ROLE} is not in force: {in_force or 'none'}")

    async def _advance_auction(self, connection: Connection, tender_id: str, lot_id: str) -> None:
        """One step of one auction. Its tender's lock is taken first, as everybody does."""
        stored = await tenders.read_tender(connection, tender_id, lock=True)
        await tenders.write_tender(connection, stored.body, stored.config)
        row = await fetch_one(
            connection,
            "SELECT stage, due_at FROM auction WHERE tender_id = %s AND lot_id = %s AND finished_at IS NULL"
            " FOR UPDATE",
            tender_id,
            lot_id,
        )
        if row is None:
            return
        auction, now = Auction(*row), self.clock()
        match decide_auction(auction, now, self.round_length):
            case StartRound() as start:
                await self._start_round(connection, (tender_id, lot_id), auction, start, now)
            case Finish():
                await self._finish(connection, stored, lot_id, now)

    async def _start_round(
        self,
        connection: Connection,
        key: tuple[str, str],
        auction: Auction,
        start: StartRound,
        now: datetime,
    ) -> None:
        if start.missed:
            log.warning("auction %s %s: round %d is %s late: missed", *key, start.number, start.late)
        late_s = start.late.total_seconds()
        await connection.execute(
            "INSERT INTO auction_stage (tender_id, lot_id, stage, due_at, started_at, late_s, missed, epoch)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            (*key, start.number, auction.due_at, now, late_s, start.missed, self.epoch),
        )
        await connection.execute(
            "UPDATE auction SET stage = %s, due_at = %s WHERE tender_id = %s AND lot_id = %s",
            (start.number, start.ends_at, *key),
        )

    async def _finish(
        self, connection: Connection, stored: tenders.Stored, lot_id: str, now: datetime
    ) -> None:
        """End an auction; with the last one of its tender, open the bids and award the cheapest."""
        tender_id = stored.body["id"]
        await connection.execute(
            "UPDATE auction SET finished_at = %s WHERE tender_id = %s AND lot_id = %s",
            (now, tender_id, lot_id),
        )
        body = _ended(stored.body, lot_id, now)
        row = await fetch_one(
            connection, "SELECT count(*) FROM auction WHERE tender_id = %s AND finished_at IS NULL", tender_id
        )
        if row is not None and row[0] == 0:
            bids = await tenders.read_bids(connection, tender_id)
            counted = tuple(bid.body for bid in bids if bid.body["status"] != "draft")
            body = begin_qualification(body, counted, now, fresh_ids())
        await tenders.write_tender(connection, body, stored.config)


async def check_epoch(connection: Connection, epoch: int) -> None:
    """Hold the role's epoch row until the transaction ends. Raises StaleEpoch (through the transaction)."""
    await connection.execute("SELECT role_epoch_check(%s, %s)", (ROLE, epoch))


def _ended(body: Body, lot_id: str, now: datetime) -> Body:
    """The tender with the end of one auction written down."""
    if lot_id:
        lots = [
            {**lot, "auctionPeriod": {**lot["auctionPeriod"], "endDate": written(now)}}
            if lot["id"] == lot_id
            else lot
            for lot in body["lots"]
        ]
        return {**body, "lots": lots, "dateModified": written(now)}
    period = {**body["auctionPeriod"], "endDate": written(now)}
    return {**body, "auctionPeriod": period, "dateModified": written(now)}
