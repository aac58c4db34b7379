"""Prozorro's published exchanges, replayed against the running service on a real PostgreSQL.

Only half of each tutorial is published; what lies between is done with requests of our own. Documents are
attached under the signatures that were published with them: the service verifies each with their public key.
"""

import copy
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from exchanges import Exchange, Pairs, parse
from procurement_world import Answer, Time, World, asynchronous, world
from published import published

TENDERS = "/api/2.5/tenders"
TUTORIAL = "tendering__belowthreshold__http__tutorial__"
NEW_YEAR = datetime(2026, 12, 31, 22, tzinfo=UTC)  # midnight in Kyiv, when their clock stands
THEIR_DOCUMENTS = "public-docs-sandbox.prozorro.gov.ua"

# What is not replayed, and why.
OTHER_PROCEDURES = "another procedure than belowThreshold"
NOT_COVERED = {
    "frameworks__": "frameworks, agreements, submissions and qualifications are other registers",
    "tendering__cfaselectionua__": OTHER_PROCEDURES,
    "tendering__defense__": OTHER_PROCEDURES,
    "tendering__openua__": OTHER_PROCEDURES,
    "tendering__requestforproposal__": OTHER_PROCEDURES,
    f"{TUTORIAL}ask-question": "questions are not part of this application",
    f"{TUTORIAL}get-answer": "questions are not part of this application",
    f"{TUTORIAL}list-question": "questions are not part of this application",
    f"{TUTORIAL}active-cancellation": "cancellations are not part of this application",
    f"{TUTORIAL}cancellation-sign": "cancellations are not part of this application",
    f"{TUTORIAL}prepare-cancellation": "cancellations are not part of this application",
    f"{TUTORIAL}upload-cancellation": "cancellations are not part of this application",
    f"{TUTORIAL}patch-tender-period-with-review": "inspectors are not part of this application",
    f"{TUTORIAL}patch-tender-with-unanswered": "inspectors are not part of this application",
    f"{TUTORIAL}post-tender-review": "inspectors are not part of this application",
    f"{TUTORIAL}second-patch-tender-review": "inspectors are not part of this application",
}
REPLAYED = {
    "initial-tender-listing",
    "tender-add-relatedLot-to-item",
    "notice-document-required",
    "add-notice-document",
    "tender-activating",
    "active-tender-listing-no-auth",
    "create-tender-funders",
    "tender-patch-2pc",
    "tender-listing-after-procuringEntity",
    "delete-tender-doc",
    "patch-items-value-periods",
    "upload-award-criteria",
    "tender-documents-2",
    "set-bid-guarantee",
    "update-award-criteria",
    "tender-documents-3",
    "patch-tender-funders",
    "register-bidder",
    "activate-bidder-without-proposal",
    "upload-bid-proposal",
    "bidder-documents",
    "activate-bidder",
    "auction-url",
    "bidder2-participation-url",
    "activate-non-qualified-award",
    "award-unsuccessful-notice-document-required",
}
# Differences that are meant: place in the answer and why.
MEANT = {
    "auction-url": {
        ".data.questions": "questions are not part of this application",
        ".data.auctionPeriod": "theirs is an empty object when lots have auctions of their own",
        "shouldStartAfter": "theirs forgets it when the auction is near",
    },
}


def exchange(name: str) -> Exchange:
    return parse(published("http", f"{TUTORIAL}{name}.http"))


def test_every_exchange_is_replayed_or_left_out_for_a_reason() -> None:
    for path in sorted(published("http").glob("*.http")):
        replayed = path.stem.removeprefix(TUTORIAL) in REPLAYED and path.stem.startswith(TUTORIAL)
        reasons = [reason for name, reason in NOT_COVERED.items() if path.stem.startswith(name)]
        assert replayed or reasons, f"{path.name}: neither replayed nor left out for a reason"


class Replay:
    """One run through exchanges, with the identifiers seen so far."""

    def __init__(self, w: World) -> None:
        self.w = w
        self.pairs = Pairs()
        self.replayed: set[str] = set()

    async def again(self, name: str) -> Answer:
        """Send their request with our identifiers; the answer must be as theirs."""
        theirs = exchange(name)
        bearer = theirs.headers.get("Authorization", "").removeprefix("Bearer ") or None
        data = translated(theirs.data, self.pairs)
        whole = json.loads(theirs.body) if theirs.body else None
        body = {"json": {**whole, "data": data}} if whole is not None else {}
        ours = await self.w.ask(theirs.method, self.pairs.translate(theirs.target), token=bearer, **body)
        assert ours.status == theirs.status, (name, ours.body)
        found = self.pairs.differences(theirs.answer, ours.body)
        meant = MEANT.get(name, {})
        assert [each for each in found if not any(place in each for place in meant)] == [], name
        if "Location" in theirs.answer_headers:
            location = self.pairs.translate(urlsplit(theirs.answer_headers["Location"]).path)
            assert urlsplit(ours.headers["Location"]).path == location
        self.replayed.add(name)
        return ours

    async def tender(self, their_id: str, their_token: str, fields: dict[str, Any]) -> str:
        """A tender of our own in the place of theirs; its id."""
        id = (await self.w.created(TENDERS, fields)).data["id"]
        self.pairs.pair(their_id, id)
        self.pairs.pair(their_token, self.w.tokens[id])
        return str(id)

    async def document(self, id: str, theirs: dict[str, Any]) -> None:
        """A document of our own that is described as theirs."""
        described = {k: v for k, v in theirs.items() if k not in ("id", "url", *MADE_BY_SERVER)}
        fields = translated(
            self.w.document(id=stored_id(theirs), md5=theirs["hash"][4:]) | described, self.pairs
        )
        made = await self.w.created(self.w.owned(f"{TENDERS}/{id}/documents", id), fields)
        self.pairs.pair(theirs["id"], made.data["id"])


MADE_BY_SERVER = ("confidentiality", "datePublished", "dateModified", "author", "hash")


def stored_id(document: dict[str, Any]) -> str:
    return urlsplit(document["url"]).path.rsplit("/", 1)[1]


def translated(data: Any, pairs: Pairs) -> Any:
    """Their fields with our identifiers, except in addresses: those are signed."""
    if isinstance(data, dict):
        return {key: translated(value, pairs) for key, value in data.items()}
    if isinstance(data, list):
        return [translated(value, pairs) for value in data]
    return pairs.translate(data) if isinstance(data, str) and "://" not in data else data


def token_of(name: str) -> str:
    return exchange(name).target.split("acc_token=")[1]


def fields_with_lot(name: str) -> dict[str, Any]:
    """What must have been posted for the tender in their answer: their creation, with their lot."""
    fields = copy.deepcopy(exchange("create-tender-funders").data)
    del fields["funders"]
    lot = exchange(name).answer["data"]["lots"][0]
    fields["lots"] = [{key: lot[key] for key in ("id", "title", "description", "value", "minimalStep")}]
    fields["items"][0]["relatedLot"] = lot["id"]
    return fields


def their_key() -> str:
    return str(json.loads(published("signed_urls.json").read_text())["ed25519_public_key_hex"])


def their_id(name: str, part: int = 4) -> str:
    return exchange(name).path.split("/")[part]


@asynchronous
async def test_the_tutorial_of_a_tender_from_draft_to_award(database: str) -> None:
    time = Time(NEW_YEAR)
    async with world(database, time=time, accepted=(their_key(),), document_hosts=(THEIR_DOCUMENTS,)) as w:
        replay = Replay(w)
        await replay.again("initial-tender-listing")
        id = await draft(replay)
        await active(replay, id)
        await documents(replay, id)
        await in_tendering(replay, id)
        await in_auction(replay, id)
        await removal(replay)
        assert replay.replayed == REPLAYED


async def draft(replay: Replay) -> str:
    """A draft with a lot, activated when it has a signed notice."""
    theirs = their_id("tender-activating")
    id = await replay.tender(theirs, token_of("tender-activating"), fields_with_lot("tender-activating"))
    await replay.again("tender-add-relatedLot-to-item")
    await replay.again("notice-document-required")
    await replay.document(id, exchange("tender-documents-2").answer["data"][0])
    await replay.again("add-notice-document")
    await replay.again("tender-activating")
    await replay.again("active-tender-listing-no-auth")
    return id


async def active(replay: Replay, id: str) -> None:
    """What a buyer may still change, and a second and third tender."""
    created = await replay.again("create-tender-funders")
    assert set(created.body["access"]) == {"token", "transfer"}
    theirs = exchange("tender-patch-2pc")
    other = await replay.tender(
        their_id("tender-patch-2pc"), token_of("tender-patch-2pc"), fields_with_lot("tender-patch-2pc")
    )
    for document in theirs.answer["data"]["documents"]:
        await replay.document(other, document)
    await replay.again("tender-patch-2pc")
    listed = [row["id"] for row in exchange("tender-listing-after-procuringEntity").answer["data"]]
    replay.pairs.pair(next(each for each in listed if each not in replay.pairs.ours), other)
    await replay.again("tender-listing-after-procuringEntity")
    replay.w.time.advance(seconds=1)
    await replay.again("patch-items-value-periods")
    await replay.again("patch-tender-funders")
    await replay.again("set-bid-guarantee")


async def documents(replay: Replay, id: str) -> None:
    """Documents of an active tender, and a new version of one."""
    await replay.document(id, exchange("tender-documents-2").answer["data"][2])
    replay.w.time.advance(minutes=6)
    await replay.again("upload-award-criteria")
    await replay.again("tender-documents-2")
    await replay.again("update-award-criteria")
    await replay.again("tender-documents-3")


async def in_tendering(replay: Replay, id: str) -> None:
    """A bid, which counts when its proposal is signed."""
    replay.w.time.now = NEW_YEAR + timedelta(days=7, minutes=14)
    bid = await replay.again("register-bidder")
    replay.pairs.pair(token_of("activate-bidder"), bid.body["access"]["token"])
    await replay.again("activate-bidder-without-proposal")
    await replay.again("upload-bid-proposal")
    await replay.again("bidder-documents")
    await replay.again("activate-bidder")


async def in_auction(replay: Replay, id: str) -> None:
    """A second bid, an auction, and a buyer who decides too fast."""
    w = replay.w
    fields = copy.deepcopy(exchange("register-bidder").data)
    theirs = exchange("bidder2-participation-url").answer["data"]
    fields["tenderers"], fields["lotValues"][0]["value"]["amount"] = theirs["tenderers"], 499
    fields["items"][0]["unit"]["value"]["amount"] = 99.8
    bids = f"{TENDERS}/{id}/bids"
    second = (await w.created(bids, translated(fields, replay.pairs))).data["id"]
    for document in theirs["documents"]:
        described = {key: document[key] for key in ("title", "format")}
        await w.created(w.owned(f"{bids}/{second}/documents", second), w.document(**described))
    replay.pairs.pair(theirs["id"], second)
    replay.pairs.pair(token_of("bidder2-participation-url"), w.tokens[second])
    third = (await w.created(bids, translated(fields, replay.pairs))).data["id"]
    await w.bid_counts(id, third)  # theirs stays a draft, and an auction needs two that are not
    w.time.now = NEW_YEAR + timedelta(days=15, hours=1)
    await w.lead()
    await w.scheduler(1).tick()
    await replay.again("auction-url")
    await replay.again("bidder2-participation-url")
    w.time.advance(days=3)
    for _ in range(4):
        await w.scheduler(1).tick()
        w.time.advance(minutes=2)
    award = (await w.ask("GET", f"{TENDERS}/{id}/awards")).data[0]
    replay.pairs.pair(their_id("activate-non-qualified-award", 6), award["id"])
    await replay.again("activate-non-qualified-award")
    await replay.again("award-unsuccessful-notice-document-required")


async def removal(replay: Replay) -> None:
    """A document is taken off a draft of our own that stands for theirs."""
    theirs = exchange("delete-tender-doc")
    fields = copy.deepcopy(exchange("create-tender-funders").data)
    fields["enquiryPeriod"]["endDate"], fields["tenderPeriod"]["endDate"] = "2027-02-08", "2027-02-15"
    replay.pairs.ours.pop(their_id("delete-tender-doc"), None)
    replay.pairs.ours.pop(token_of("delete-tender-doc"), None)
    draft = await replay.tender(their_id("delete-tender-doc"), token_of("delete-tender-doc"), fields)
    await replay.document(draft, theirs.answer["data"])
    await replay.again("delete-tender-doc")


SENT = ("Authorization", "Content-Type")
DOCUMENT_SERVICE = ("register", "register-json", "upload", "upload-file", "get")


def test_every_exchange_of_the_document_service_is_replayed() -> None:
    assert {path.stem for path in published("documentservice").glob("*.http")} == set(DOCUMENT_SERVICE)


@asynchronous
async def test_the_document_services_tutorial(database: str) -> None:
    """Register both ways, upload both ways with their very bytes, get."""
    async with world(database) as w:
        folder, pairs = published("documentservice"), Pairs()
        for name in ("register-json", "register", "upload", "get", "upload-file"):
            await replay_document_service(w, pairs, folder / f"{name}.http")


async def replay_document_service(w: World, pairs: Pairs, path: Path) -> None:
    theirs = parse(path)
    target = pairs.ours.get(theirs.target) or pairs.ours.get(urlsplit(theirs.target).path) or theirs.target
    headers = {name: theirs.headers[name] for name in SENT if name in theirs.headers}
    body = theirs.body.replace("\n", "\r\n").encode()
    if theirs.headers.get("Content-Type", "").startswith("multipart/"):
        assert len(body) + len(b"\r\n") == int(theirs.headers["Content-Length"])
    more = {"data": body} if body else {}
    async with w.http.request(theirs.method, w.url + target, headers=headers, **more) as answer:
        is_json = answer.content_type == "application/json"
        ours = Answer(answer.status, answer.headers, await (answer.json() if is_json else answer.read()))
    assert ours.status == theirs.status, (path.name, ours.body)
    if theirs.answer is None:
        for name in ("Content-Disposition", "Content-Type"):
            assert ours.headers[name].split(";")[0] == theirs.answer_headers[name].split(";")[0]
        assert "filename=file.txt" in ours.headers["Content-Disposition"]
        assert ours.body == b"content"
        return
    assert pairs.differences(theirs.answer, ours.body) == []
    for key in ("upload_url", "get_url"):
        if key in theirs.answer:
            parts = urlsplit(ours.body[key])
            pairs.ours[urlsplit(theirs.answer[key]).path] = f"{parts.path}?{parts.query}"
    assert ("Location" in theirs.answer_headers) == ("Location" in ours.headers)


ONE, TWO, DATE = "1" * 32, "2" * 32, "2027-01-01T00:00:00+02:00"


@pytest.mark.parametrize(
    ("theirs", "ours", "found"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 1.0}, [".a: 1 became 1.0"]),
        ({"a": 1}, {}, [".a: is missing"]),
        ({}, {"a": 1}, [".a: is too much"]),
        ({"a": ["x"]}, {"a": "x"}, [".a: ['x'] became 'x'"]),
        ({"a": "x"}, {"a": "y"}, [".a: 'x' became 'y'"]),
        ({"a": ONE}, {"a": TWO}, []),
        ({"a": ONE, "b": ONE}, {"a": TWO, "b": "3" * 32}, [f".b: {ONE!r} became {'3' * 32!r}"]),
        ({"a": DATE}, {"a": "2027-01-02T00:00:00+02:00"}, []),
        ({"a": DATE}, {"a": "today"}, [f".a: {DATE!r} became 'today'"]),
        ({"offset": "1.2"}, {"offset": "3"}, []),
        ({"offset": "1.2"}, {"offset": ""}, [".offset: ''"]),
        ({"a": f"http://x/get/{ONE}?K=1"}, {"a": f"http://y/get/{TWO}?K=2"}, []),
        ({"a": "/api/a?b=1"}, {"a": "/api/a?c=1"}, [".a: '/api/a?b=1' became '/api/a?c=1'"]),
        ({"a": [1, 2]}, {"a": [1]}, [".a: 2 entries became 1"]),
    ],
)
def test_the_comparison_itself(theirs: Any, ours: Any, found: list[str]) -> None:
    assert Pairs().differences(theirs, ours) == found
