"""What buyers and suppliers do: journeys of a few requests that end at the first one not acknowledged.

A client that tried again would hide what it was told. Reads go through another edge than the acknowledgement.
"""

import collections
import hashlib
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from dcctl.adapters.business.request import Answer, Ask, Body, Lane, Requests, path_of
from dcctl.domain.business import Fact, Kind, bid_facts, document_fact, tender_facts
from dcctl.domain.drill import BusinessSpec, title_of

API = "/api/2.5/tenders"
REMEMBERED = 200
"""How many acknowledged things may be read back: the newest."""
ACCELERATOR = 10_000_000
"""Divides the procedure's least durations (docs/reference/procurement.md): an auction follows in seconds."""
ENQUIRIES_S = 1.5
LAST_BID_S = 3.0
"""No bid is begun so shortly before its tender closes that the closing would refuse it."""
SOON_EVERY = 3
"""Of tenders: the others stay open for documents. So those that close get bids enough for an auction."""
LONG_S = 30 * 86400.0


@dataclass(frozen=True, slots=True)
class _Tender:
    id: str
    token: str
    opens_s: float = 0.0
    closes_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Known:
    """Something acknowledged that can be read back, and the edge through which it was."""

    subject: str
    path: str
    edge: str
    token: str = ""


class Journeys:
    """The journeys of one run; ``now_s`` is the history's clock."""

    def __init__(
        self, spec: BusinessSpec, requests: Requests, *, run: str, now_s: Callable[[], float]
    ) -> None:
        self._spec, self._requests, self._run, self._now_s = spec, requests, run, now_s
        self._numbers = itertools.count(1)
        self._tenders = 0
        self._random = random.Random(run)  # noqa: S311  # what is read back is no secret
        self._open: collections.deque[_Tender] = collections.deque(maxlen=REMEMBERED)
        self._lasting: collections.deque[_Tender] = collections.deque(maxlen=1)
        self._known: collections.deque[_Known] = collections.deque(maxlen=REMEMBERED)

    async def tender(self, lane: Lane, due_s: float) -> None:
        """A draft, its signed notice, its activation. Every third one comes to an auction within seconds."""
        number, self._tenders = next(self._numbers), self._tenders + 1
        title, soon = title_of(self._run, "tender", number), self._tenders % SOON_EVERY == 0
        made = await self._requests.exchange(
            lane, Ask(Kind.TENDER, "POST", API, _of_tender, data=_tender(title), due_s=due_s, marker=title)
        )
        if made is None:
            return
        id, token = made.body["data"]["id"], made.body["access"]["token"]
        path = f"{API}/{id}"
        if not await self._attach(lane, _Known(f"tender/{id}", path, "", token), f"{title} notice", "notice"):
            return
        opens_s = self._now_s() + ENQUIRIES_S
        change = {"status": "active.enquiries", **_periods(self._spec, soon=soon)}
        active = await self._requests.exchange(
            lane, Ask(Kind.ACTIVATE, "PATCH", path, _of_tender, data=change, token=token)
        )
        if active is None:
            return
        self._known.append(_Known(f"tender/{id}", path, lane.edge))
        if soon:
            last_s = opens_s + self._spec.tendering_s - LAST_BID_S
            self._open.append(_Tender(id, token, opens_s + 0.5, last_s))
        else:
            self._lasting.append(_Tender(id, token))

    async def bid(self, lane: Lane, due_s: float) -> None:
        """A draft bid, its signed proposal, its submission, for the open tender that has waited longest."""
        now_s = self._now_s()
        tender = next((each for each in self._open if each.opens_s <= now_s < each.closes_s), None)
        if tender is None:
            return
        self._open.remove(tender)
        self._open.append(tender)
        name = title_of(self._run, "bidder", next(self._numbers))
        path = f"{API}/{tender.id}/bids"
        offer = {"tenderers": [_organization(name)], "value": {"amount": 400}}

        def facts(answer: Answer) -> tuple[Fact, ...]:
            return bid_facts(tender.id, answer.body["data"])

        made = await self._requests.exchange(
            lane, Ask(Kind.BID, "POST", path, facts, data=offer, due_s=due_s, marker=name)
        )
        if made is None:
            return
        id, token = made.body["data"]["id"], made.body["access"]["token"]
        bid = _Known(f"bid/{tender.id}/{id}", f"{path}/{id}", lane.edge, token)
        if not await self._attach(lane, bid, f"{name} proposal", "proposal"):
            return
        submit = Ask(Kind.SUBMIT, "PATCH", bid.path, facts, data={"status": "pending"}, token=token)
        if await self._requests.exchange(lane, submit) is not None:
            self._known.append(bid)

    async def document(self, lane: Lane, due_s: float) -> None:
        """One more document for a tender that stays open for documents."""
        if self._lasting:
            tender = self._lasting[-1]
            of = _Known(f"tender/{tender.id}", f"{API}/{tender.id}", "", tender.token)
            title = title_of(self._run, "document", next(self._numbers))
            await self._attach(lane, of, title, "", due_s=due_s)

    async def read(self, lane: Lane, due_s: float) -> None:
        """Something that was acknowledged through another edge than this one."""
        others = [each for each in self._known if each.edge != lane.edge]
        if not others:
            return
        known = self._random.choice(others)
        kind, _, rest = known.subject.partition("/")

        def facts(answer: Answer) -> tuple[Fact, ...]:
            if kind == "bytes":
                return (Fact(known.subject, _md5(answer.body)),)
            data = answer.body["data"]
            return bid_facts(rest.split("/")[0], data) if kind == "bid" else tender_facts(data)

        read = Kind.DOWNLOAD if kind == "bytes" else Kind.READ
        await self._requests.exchange(
            lane,
            Ask(read, "GET", known.path, facts, token=known.token, due_s=due_s, subject=known.subject),
        )

    async def _attach(
        self, lane: Lane, of: _Known, title: str, type: str, *, due_s: float | None = None
    ) -> bool:
        """Register bytes, upload them, attach them. Whether all three were acknowledged."""
        content = hashlib.shake_256(title.encode()).digest(self._spec.document_bytes)
        md5 = _md5(content)

        def named(kind: str) -> Callable[[Answer], tuple[Fact, ...]]:
            return lambda answer: (Fact(f"{kind}/{_document_id(answer.body['data']['url'])}", md5),)

        announced = {"hash": f"md5:{md5}"}
        registered = await self._requests.exchange(
            lane,
            Ask(Kind.REGISTER, "POST", "/register", named("registered"), data=announced, due_s=due_s),
        )
        if registered is None:
            return False
        target = path_of(registered.body["upload_url"])
        uploaded = await self._requests.exchange(
            lane, Ask(Kind.UPLOAD, "POST", target, named("bytes"), file=(f"{title}.p7s", content))
        )
        if uploaded is None:
            return False
        record = {
            "title": title,
            "url": uploaded.body["data"]["url"],
            **announced,
            "format": "application/pkcs7-signature",
            **({"documentType": type} if type else {}),
        }

        def attached_facts(answer: Answer) -> tuple[Fact, ...]:
            return (document_fact(of.subject, answer.body["data"]),)

        ask = Ask(
            Kind.ATTACH, "POST", f"{of.path}/documents", attached_facts,
            data=record, token=of.token, marker=title,
        )  # fmt: skip
        attached = await self._requests.exchange(lane, ask)
        if attached is None:
            return False
        url = attached.body["data"]["url"]
        self._known.append(_Known(f"bytes/{_document_id(url)}", path_of(url), lane.edge))
        return True


def _of_tender(answer: Answer) -> tuple[Fact, ...]:
    return tender_facts(answer.body["data"])


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _document_id(url: str) -> str:
    return path_of(url).partition("?")[0].rpartition("/")[2]


def _organization(name: str) -> Body:
    return {
        "name": name,
        "identifier": {"scheme": "UA-EDR", "id": "00000000"},
        "address": {"countryName": "Україна"},
        "contactPoint": {"name": "A drill", "email": "drill@example.test"},
    }


def _tender(title: str) -> Body:
    now = datetime.now(UTC)
    fields: dict[str, Any] = {
        "title": title,
        "procurementMethodType": "belowThreshold",
        "procurementMethodDetails": f"quick, accelerator={ACCELERATOR}",
        "procuringEntity": _organization("A drill's buyer"),
        "value": {"amount": 500, "currency": "UAH"},
        "items": [{"description": "paper", "unit": {"code": "KGM", "name": "kg"}, "quantity": 5}],
    }
    return fields | _between(now, timedelta(days=1), timedelta(days=2))


def _periods(spec: BusinessSpec, *, soon: bool) -> Body:
    """When it opens for bids and when it closes, counted from its activation."""
    opens = timedelta(seconds=ENQUIRIES_S if soon else LONG_S)
    return _between(datetime.now(UTC), opens, opens + timedelta(seconds=spec.tendering_s))


def _between(now: datetime, opens: timedelta, closes: timedelta) -> Body:
    return {
        "enquiryPeriod": {"endDate": (now + opens).isoformat()},
        "tenderPeriod": {"endDate": (now + closes).isoformat()},
    }
