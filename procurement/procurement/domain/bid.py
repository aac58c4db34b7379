"""Bids: a supplier's sealed offers. A draft counts for nothing; ``pending`` needs a signed proposal."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from procurement.domain.document import is_signature, latest
from procurement.domain.instant import written
from procurement.domain.models import BidPatch, NewBid, patch_of, patched, plain
from procurement.errors import not_now, unprocessable

Body = dict[str, Any]


def new_bid(fields: NewBid, tender: Body, *, id: str, now: datetime, ids: Iterator[str]) -> Body:
    """The body of a draft bid. Raises ApiError 403 or 422."""
    if tender["status"] != "active.tendering":
        raise not_now(f"Can't add bid in current ({tender['status']}) tender status")
    return _completed(plain(fields) | {"id": id, "date": written(now)}, tender, now, ids)


def patch_bid(body: Body, tender: Body, patch: BidPatch, *, now: datetime, ids: Iterator[str]) -> Body:
    """The body after its owner's change. Raises ApiError 403 or 422."""
    if tender["status"] != "active.tendering":
        raise not_now(f"Can't update bid in current ({tender['status']}) tender status")
    changed = patched(body, patch_of(patch))
    if body["status"] == "pending" and changed["status"] == "draft":
        raise not_now("Can't update bid to (draft) status")
    changed = _completed(changed, tender, now, ids)
    if changed["status"] == "pending" and body["status"] == "draft":
        _require_proposal(changed)
        changed["submissionDate"] = written(now)
    if changed != body:
        changed["date"] = written(now)
    return changed


def visible(tender: Body) -> bool:
    """Whether the bids of a tender are unsealed."""
    return tender["status"] not in ("draft", "active.enquiries", "active.tendering", "active.auction")


def with_participation(bid: Body, tender: Body) -> Body:
    """A bid with the addresses of the auctions that it takes part in, as its owner sees them."""
    if "lots" not in tender:
        address = tender.get("auctionUrl")
        return {**bid, "participationUrl": f"{address}?key_for_bid={bid['id']}"} if address else bid
    addresses = {lot["id"]: lot["auctionUrl"] for lot in tender["lots"] if "auctionUrl" in lot}
    offers = [
        {**offer, "participationUrl": f"{addresses[offer['relatedLot']]}?key_for_bid={bid['id']}"}
        if offer["relatedLot"] in addresses
        else offer
        for offer in bid.get("lotValues", ())
    ]
    return {**bid, "lotValues": offers}


def _completed(body: Body, tender: Body, now: datetime, ids: Iterator[str]) -> Body:
    for item in body.get("items", ()):
        if "id" not in item:
            item["id"] = next(ids)
    lots = {lot["id"]: lot for lot in tender.get("lots", ())}
    if lots:
        if "value" in body:
            raise unprocessable("value", ["value should be posted for each lot of bid"])
        if not body.get("lotValues"):
            raise unprocessable("lotValues", ["This field is required."])
    elif "value" not in body:
        raise unprocessable("value", ["This field is required."])
    for offer in body.get("lotValues", ()):
        lot = lots.get(offer["relatedLot"])
        if lot is None:
            raise unprocessable("lotValues", ["relatedLot should be one of lots"])
        _check_amount(offer["value"], lot["value"], "lotValues")
        offer.setdefault("status", "pending")
        offer.setdefault("date", written(now))
    if not lots:
        _check_amount(body["value"], tender["value"], "value")
    return body


def _check_amount(offered: Body, limit: Body, name: str) -> None:
    of = "lot" if name == "lotValues" else "tender"
    if offered["currency"] != limit["currency"]:
        raise unprocessable(name, [f"currency of bid should be identical to currency of value of {of}"])
    if offered["amount"] > limit["amount"]:
        raise unprocessable(name, [f"value of bid should be less than value of {of}"])


def _require_proposal(body: Body) -> None:
    if not any(
        document.get("documentType") == "proposal" and is_signature(document)
        for document in latest(body.get("documents", ()))
    ):
        raise unprocessable(
            "documents", "Document with type 'proposal' and format pkcs7-signature is required"
        )
