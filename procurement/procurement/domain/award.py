"""Awards and contracts: what follows when the offers are open. One pending award per lot at a time."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from procurement.domain.auction import decide_winner
from procurement.domain.instant import written
from procurement.domain.models import AwardPatch, patch_of, patched
from procurement.errors import not_found, not_now, unprocessable

Body = dict[str, Any]


def begin_qualification(tender: Body, bids: tuple[Body, ...], now: datetime, ids: Iterator[str]) -> Body:
    """A tender in qualification, with a pending award for the cheapest bid of each lot."""
    changed = {**tender, "status": "active.qualification", "date": written(now), "dateModified": written(now)}
    changed.pop("next_check", None)
    return _next_awards(changed, bids, now, ids)


def patch_award(
    tender: Body,
    award_id: str,
    patch: AwardPatch,
    bids: tuple[Body, ...],
    *,
    now: datetime,
    ids: Iterator[str],
) -> Body:
    """The tender after a buyer's decision on an award. Raises ApiError 403, 404 or 422."""
    award = next((each for each in tender.get("awards", ()) if each["id"] == award_id), None)
    if award is None:
        raise not_found("award_id")
    if tender["status"] != "active.qualification":
        raise not_now(f"Can't update award in current ({tender['status']}) tender status")
    if award["status"] != "pending":
        raise not_now(f"Can't update award in current ({award['status']}) status")
    changed = patched(award, patch_of(patch))
    if changed["status"] == "active" and changed.get("qualified") is not True:
        raise unprocessable("qualified", ["Can't update award to active status with not qualified"])
    if changed["status"] == "unsuccessful" and changed.get("qualified") is not False:
        raise unprocessable(
            "qualified",
            ["Can't update award to unsuccessful status when qualified/eligible isn't set to False"],
        )
    if changed["status"] != "pending":
        changed["date"] = written(now)
    awards = [changed if each["id"] == award_id else each for each in tender["awards"]]
    return _next_awards({**tender, "awards": awards, "dateModified": written(now)}, bids, now, ids)


def _next_awards(tender: Body, bids: tuple[Body, ...], now: datetime, ids: Iterator[str]) -> Body:
    """Award what is open, contract what is won, and close the tender when nothing is left to decide."""
    awards, contracts = list(tender.get("awards", ())), list(tender.get("contracts", ()))
    results = []
    for lot in [lot["id"] for lot in tender.get("lots", ())] or [None]:
        on_lot = [award for award in awards if award.get("lotID") == lot]
        won = next((award for award in on_lot if award["status"] == "active"), None)
        if won is None and not any(award["status"] == "pending" for award in on_lot):
            refused = {award["bid_id"] for award in on_lot}
            winner = decide_winner(tuple(bid for bid in bids if bid["id"] not in refused), lot)
            if winner is not None:
                awards.append(_award(winner, lot, next(ids), now))
                results.append("pending")
                continue
        if won is not None and won["id"] not in {contract["awardID"] for contract in contracts}:
            contracts.append(_contract(won, next(ids), now))
        results.append("active" if won else "unsuccessful" if not _pending(on_lot) else "pending")
    changed = patched(tender, {"awards": awards or None, "contracts": contracts or None})
    if "pending" not in results:
        changed["status"] = "active.awarded" if "active" in results else "unsuccessful"
    return changed


def _pending(awards: list[Body]) -> bool:
    return any(award["status"] == "pending" for award in awards)


def _award(bid: Body, lot: str | None, id: str, now: datetime) -> Body:
    offers = {offer["relatedLot"]: offer["value"] for offer in bid.get("lotValues", ())}
    award = {
        "id": id,
        "bid_id": bid["id"],
        "status": "pending",
        "date": written(now),
        "suppliers": bid["tenderers"],
        "value": offers[lot] if lot else bid["value"],
    }
    return award | {"lotID": lot} if lot else award


def _contract(award: Body, id: str, now: datetime) -> Body:
    return {
        "id": id,
        "awardID": award["id"],
        "status": "pending",
        "date": written(now),
        "suppliers": award["suppliers"],
        "value": award["value"],
    }
