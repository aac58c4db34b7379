"""Auctions: rounds on a clock. Invariant: a stage starts once, in order, and how late it was is recorded.

A stage that starts more than MISSED_AFTER after its time is a missed one. Every stage lasts its full length
from when it really started: bidders do not pay for our lateness.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

MISSED_AFTER = timedelta(seconds=120)
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Auction:
    """One auction as it is stored. ``stage`` 0: not begun; 1 to ROUNDS: that round runs."""

    stage: int
    due_at: datetime


@dataclass(frozen=True, slots=True)
class StartRound:
    """Begin round ``number`` now; it should have begun ``late`` ago."""

    number: int
    late: timedelta
    missed: bool
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Finish:
    """All rounds are over."""


def decide_auction(auction: Auction, now: datetime, round_length: timedelta) -> StartRound | Finish | None:
    """What is due; None when nothing is."""
    if now < auction.due_at:
        return None
    if auction.stage >= ROUNDS:
        return Finish()
    late = now - auction.due_at
    return StartRound(auction.stage + 1, late, late > MISSED_AFTER, now + round_length)


def decide_winner(bids: tuple[dict[str, Any], ...], lot: str | None) -> dict[str, Any] | None:
    """The cheapest pending bid on the lot; of equal ones the earliest."""
    offers = [
        (amount, bid.get("submissionDate", ""), bid["id"], bid)
        for bid in bids
        if (amount := amount_of(bid, lot)) is not None and bid["status"] in ("pending", "active")
    ]
    return min(offers, key=lambda offer: offer[:3])[3] if offers else None


def amount_of(bid: dict[str, Any], lot: str | None) -> float | None:
    """What a bid asks for the lot, or for the whole tender when it has no lots; None: it does not bid."""
    if lot is None:
        return float(bid["value"]["amount"]) if "value" in bid else None
    for offer in bid.get("lotValues", ()):
        if offer["relatedLot"] == lot:
            return float(offer["value"]["amount"])
    return None
