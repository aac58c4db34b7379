"""Tenders: created as a draft, activated, then driven by the clock.

    draft -> active.enquiries -> active.tendering -> active.auction -> active.qualification -> active.awarded
                                        |                                     |
                                        +-> active.qualification (one bid)    +-> unsuccessful
                                        +-> unsuccessful (too few bids)

Invariant: the status is a function of the record and the instant, so any process may advance a tender, at
any time, any number of times. A body is the JSON that the API shows; it holds no secret.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from procurement.domain.award import begin_qualification
from procurement.domain.document import is_signature, latest
from procurement.domain.instant import read, written
from procurement.domain.models import Config, NewTender, TenderPatch, patch_of, patched, plain
from procurement.errors import not_now, unprocessable

EDITABLE = ("draft", "active.enquiries")
AUCTION_LIMIT = timedelta(minutes=90)
_ACCELERATOR = re.compile(r"accelerator=([0-9]{1,9})")

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Timetable:
    """What the clock needs to know of a tender."""

    status: str
    tendering_at: datetime
    tendering_ends_at: datetime
    bids: int = 0
    has_auction: bool = True
    min_bids: int = 1


def timetable(body: Body, config: Config, bids: int) -> Timetable:
    """The timetable of a stored tender; ``bids`` counts those that are not drafts."""
    period = body["tenderPeriod"]
    return Timetable(
        body["status"],
        read(period["startDate"]),
        read(period["endDate"]),
        bids,
        config.hasAuction,
        config.minBidsNumber,
    )


def decide_status(tender: Timetable, now: datetime) -> str:
    """The status that this tender has at ``now``."""
    status = tender.status
    if status == "active.enquiries" and now >= tender.tendering_at:
        status = "active.tendering"
    if status == "active.tendering" and now >= tender.tendering_ends_at:
        if tender.bids < tender.min_bids:
            return "unsuccessful"
        return "active.auction" if tender.has_auction and tender.bids > 1 else "active.qualification"
    return status


def decide_check(tender: Timetable) -> datetime | None:
    """When the clock changes this tender next; None when only a person or an auction does."""
    return {
        "active.enquiries": tender.tendering_at,
        "active.tendering": tender.tendering_ends_at,
    }.get(tender.status)


def new_tender(
    fields: NewTender, config: Config, *, id: str, number: str, owner: str, now: datetime, ids: Iterator[str]
) -> Body:
    """The body of a draft. ``ids`` gives fresh identifiers for its parts. Raises ApiError 422."""
    body = plain(fields) | {
        "id": id,
        "tenderID": number,
        "owner": owner,
        "awardCriteria": "lowestCost",
        "procurementMethod": "open",
        "submissionMethod": "electronicAuction",
        "date": written(now),
        "dateCreated": written(now),
        "dateModified": written(now),
    }
    body["enquiryPeriod"].setdefault("startDate", written(now))
    return _completed(body, config, now, ids)


def patch_tender(
    body: Body, config: Config, patch: TenderPatch, *, now: datetime, ids: Iterator[str]
) -> Body:
    """The body after a buyer's change. Raises ApiError 403 or 422."""
    status = body["status"]
    if status not in EDITABLE:
        raise not_now(f"Can't update tender in current ({status}) tender status")
    changes = patch_of(patch)
    _keep_lots(body, changes)
    if changes.get("status", status) not in (status, "active.enquiries"):
        raise not_now(f"Can't change status from {status} to {changes['status']}")
    changed = patched(body, changes)
    for name in ("title", "procuringEntity", "value", "items", "enquiryPeriod", "tenderPeriod"):
        if name not in changed:
            raise unprocessable(name, ["This field is required."])
    if changed["status"] == "active.enquiries" and status == "draft":
        _require_notice(changed)
        changed["enquiryPeriod"] = {**changed["enquiryPeriod"], "startDate": written(now)}
        changed["noticePublicationDate"] = changed["date"] = written(now)
    changed = _completed(changed, config, now, ids)
    if changed != body:
        changed["dateModified"] = written(now)
    return changed


def advance(
    body: Body, config: Config, bids: tuple[Body, ...], *, now: datetime, auction_url: str, ids: Iterator[str]
) -> Body:
    """The body as the clock makes it; the same body when nothing is due. ``bids`` are those not drafts."""
    status = decide_status(timetable(body, config, len(bids)), now)
    if status == body["status"]:
        return body
    if status == "active.qualification":
        return begin_qualification(body, bids, now, ids)
    changed = {**body, "status": status, "date": written(now), "dateModified": written(now)}
    if status == "active.auction":
        _publish_auctions(changed, now, auction_url)
    return _with_check(changed, config)


def auctions(body: Body) -> list[tuple[str | None, datetime]]:
    """The auctions of a tender: lot (None without lots) and when the first round is due."""
    if "lots" in body:
        return [(lot["id"], read(lot["auctionPeriod"]["startDate"])) for lot in body["lots"]]
    return [(None, read(body["auctionPeriod"]["startDate"]))]


def is_public(body: Body) -> bool:
    """Whether the changes feed shows it."""
    return bool(body["status"] != "draft")


def accelerated(body: Body, days: int) -> timedelta:
    """A duration of the procedure; ``procurementMethodDetails: quick, accelerator=N`` divides it by N."""
    match = _ACCELERATOR.search(body.get("procurementMethodDetails", ""))
    return timedelta(days=days) / max(1, int(match[1])) if match else timedelta(days=days)


def _completed(body: Body, config: Config, now: datetime, ids: Iterator[str]) -> Body:
    """Fill in identifiers, periods and auctions, and check what must hold between fields."""
    for name in ("items", "lots", "milestones"):
        for part in body.get(name, ()):
            if "id" not in part:
                part["id"] = next(ids)
    for lot in body.get("lots", ()):
        lot.setdefault("status", "active")
        lot.setdefault("date", written(now))
    lots = {lot["id"] for lot in body.get("lots", ())}
    for item in body["items"]:
        if "relatedLot" in item and item["relatedLot"] not in lots:
            raise unprocessable("items", ["relatedLot should be one of lots"])
    _check_periods(body, config)
    _plan_auctions(body, config)
    return _with_check(body, config)


def _check_periods(body: Body, config: Config) -> None:
    enquiry, tender = dict(body["enquiryPeriod"]), dict(body["tenderPeriod"])
    for name, period in (("enquiryPeriod", enquiry), ("tenderPeriod", tender)):
        if "endDate" not in period:
            raise unprocessable(name, ["endDate: This field is required."])
    tender.setdefault("startDate", enquiry["endDate"])
    if read(tender["startDate"]) < read(enquiry["endDate"]):
        raise unprocessable("tenderPeriod", ["period should begin after enquiryPeriod"])
    least = accelerated(body, config.minEnquiriesDuration)
    if read(enquiry["endDate"]) < read(enquiry["startDate"]) + least:
        raise unprocessable("enquiryPeriod", [f"enquiryPeriod must be at least {least} long"])
    least = accelerated(body, config.minTenderingDuration)
    if read(tender["endDate"]) < read(tender["startDate"]) + least:
        raise unprocessable("tenderPeriod", [f"tenderPeriod must be at least {least} long"])
    until = read(enquiry["endDate"]) + accelerated(body, config.clarificationUntilDuration)
    body["enquiryPeriod"], body["tenderPeriod"] = enquiry | {"clarificationsUntil": written(until)}, tender


def _plan_auctions(body: Body, config: Config) -> None:
    if not config.hasAuction:
        return
    after = read(body["tenderPeriod"]["endDate"])
    planned = {
        "shouldStartAfter": written(after),
        "startDate": written(after + accelerated(body, 1) / 2),
    }
    if "lots" in body:
        body.pop("auctionPeriod", None)
        for lot in body["lots"]:
            lot["auctionPeriod"] = dict(planned)
    else:
        body["auctionPeriod"] = planned


def _publish_auctions(body: Body, now: datetime, auction_url: str) -> None:
    """Say where the auctions are; one that would begin in the past (we come late) is still due then."""
    page = f"{auction_url}/tenders/{body['id']}"
    if "lots" in body:
        body["lots"] = [{**lot, "auctionUrl": f"{page}_{lot['id']}"} for lot in body["lots"]]
    else:
        body["auctionUrl"] = page
    first = min(due for _, due in auctions(body))
    body["next_check"] = written(max(first, now) + AUCTION_LIMIT)


def _with_check(body: Body, config: Config) -> Body:
    if body["status"] == "active.auction":
        return body
    check = decide_check(timetable(body, config, 0))
    return patched(body, {"next_check": written(check) if check else None})


def _require_notice(body: Body) -> None:
    if not any(
        document.get("documentType") == "notice" and is_signature(document)
        for document in latest(body.get("documents", ()))
    ):
        raise unprocessable("documents", "Document with type 'notice' and format pkcs7-signature is required")


def _keep_lots(body: Body, changes: dict[str, Any]) -> None:
    """A lot that stays keeps the date and status that we gave it."""
    known = {lot["id"]: lot for lot in body.get("lots", ())}
    for lot in changes.get("lots") or ():
        kept = known.get(lot.get("id", ""), {})
        lot.update({name: kept[name] for name in ("date", "status") if name in kept})
