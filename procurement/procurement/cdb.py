"""The central database's API: tenders, bids, documents, awards. Their changes are in ``changes``."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from procurement import tenders
from procurement.database import Connection, Database
from procurement.domain import bid as bids
from procurement.domain.award import patch_award
from procurement.domain.document import attached, find, latest, new_record, patched_record
from procurement.domain.instant import written
from procurement.domain.models import (
    AwardPatch,
    BidPatch,
    Config,
    Document,
    DocumentPatch,
    NewBid,
    NewTender,
    TenderPatch,
    validated,
)
from procurement.domain.signature import Keyring
from procurement.domain.tender import EDITABLE, new_tender, patch_tender
from procurement.domain.token import new_token
from procurement.errors import ApiError, forbidden, not_found, not_now
from procurement.tenders import Stored, fresh_ids
from procurement.web import ROOT, Brokers, Clock, access_token, json_answer, json_body, json_data, utc_now

Body = dict[str, Any]


@dataclass(frozen=True)
class Cdb:
    """The API over one database. ``public_url`` is what clients call us; ``document_hosts`` are the document
    service's names in URLs that may be attached; ``documents_url`` is where we say documents are."""

    database: Database
    brokers: Brokers
    keys: Keyring
    public_url: str
    documents_url: str
    document_hosts: frozenset[str]
    auction_url: str
    clock: Clock = utc_now

    def routes(self) -> list[web.RouteDef]:
        """All that this part answers to."""
        tender, bid = f"{ROOT}/tenders/{{tender_id}}", f"{ROOT}/tenders/{{tender_id}}/bids/{{bid_id}}"
        return [
            web.post(f"{ROOT}/tenders", self.create_tender),
            web.get(tender, self.show_tender),
            web.patch(tender, self.change_tender),
            web.get(f"{tender}/bids", self.list_bids),
            web.post(f"{tender}/bids", self.create_bid),
            web.get(bid, self.show_bid),
            web.patch(bid, self.change_bid),
            *(
                route
                for of in (tender, bid)
                for route in (
                    web.get(f"{of}/documents", self.list_documents),
                    web.post(f"{of}/documents", self.add_document),
                    web.get(f"{of}/documents/{{document_id}}", self.show_document),
                    web.put(f"{of}/documents/{{document_id}}", self.replace_document),
                    web.patch(f"{of}/documents/{{document_id}}", self.change_document),
                    web.delete(f"{of}/documents/{{document_id}}", self.delete_document),
                )
            ),
            web.get(f"{tender}/awards", self.list_awards),
            web.get(f"{tender}/awards/{{award_id}}", self.show_award),
            web.patch(f"{tender}/awards/{{award_id}}", self.change_award),
            web.get(f"{tender}/contracts", self.list_contracts),
        ]

    # -- tenders

    async def create_tender(self, request: web.Request) -> web.Response:
        """A draft, and the tokens that own it: they are shown only here."""
        owner = self.brokers.required(request)
        whole = await json_body(request)
        fields = validated(NewTender, _object(whole, "data"))
        config = validated(Config, whole.get("config", {}))
        ids, token, transfer = fresh_ids(), new_token(), new_token()
        async with self.database.acknowledged() as connection:
            number = await tenders.next_number(connection, self.clock())
            body = new_tender(
                fields, config, id=next(ids), number=number, owner=owner, now=self.clock(), ids=ids
            )
            await tenders.add_tender(connection, body, config, token, transfer)
        return self._created(
            f"tenders/{body['id']}",
            {
                "data": body,
                "config": config.model_dump(),
                "access": {"token": token, "transfer": transfer},
            },
        )

    async def show_tender(self, request: web.Request) -> web.Response:
        """One tender; its bids only when they are open."""
        async with self.database.reading() as connection:
            stored = await tenders.read_tender(connection, request.match_info["tender_id"])
            body = stored.body
            if bids.visible(body):
                offers = await tenders.read_bids(connection, body["id"])
                opened = [offer.body for offer in offers if offer.body["status"] != "draft"]
                body = {**body, "bids": opened} if opened else body
        return json_answer({"data": body, "config": stored.config.model_dump()})

    async def change_tender(self, request: web.Request) -> web.Response:
        """Change a draft, activate it, or change what may still change."""
        self.brokers.required(request)
        patch = validated(TenderPatch, await json_data(request))
        async with self.database.acknowledged() as connection:
            stored = await self._tender(connection, request, owner=True)
            body = patch_tender(stored.body, stored.config, patch, now=self.clock(), ids=fresh_ids())
            await tenders.write_tender(connection, body, stored.config)
        return json_answer({"data": body, "config": stored.config.model_dump()})

    # -- bids

    async def list_bids(self, request: web.Request) -> web.Response:
        """All bids, when they are open."""
        async with self.database.reading() as connection:
            tender = (await tenders.read_tender(connection, request.match_info["tender_id"])).body
            if not bids.visible(tender):
                raise not_now(f"Can't view bids in current ({tender['status']}) tender status")
            offers = await tenders.read_bids(connection, tender["id"])
        return json_answer({"data": [offer.body for offer in offers if offer.body["status"] != "draft"]})

    async def create_bid(self, request: web.Request) -> web.Response:
        """A draft bid, and the tokens that own it."""
        self.brokers.required(request)
        fields = validated(NewBid, await json_data(request))
        ids, token, transfer = fresh_ids(), new_token(), new_token()
        async with self.database.acknowledged() as connection:
            tender = (await self._tender(connection, request)).body
            body = bids.new_bid(fields, tender, id=next(ids), now=self.clock(), ids=ids)
            await tenders.add_bid(connection, tender["id"], body, token, transfer)
        return self._created(
            f"tenders/{tender['id']}/bids/{body['id']}",
            {"data": body, "access": {"token": token, "transfer": transfer}},
        )

    async def show_bid(self, request: web.Request) -> web.Response:
        """One bid, to its owner always, to others when bids are open."""
        async with self.database.reading() as connection:
            tender = await tenders.read_tender(connection, request.match_info["tender_id"])
            stored = await tenders.read_bid(connection, tender.body["id"], request.match_info["bid_id"])
        self._require_view(request, tender.body, stored)
        mine = stored.owned_by(access_token(request))
        return json_answer(
            {"data": bids.with_participation(stored.body, tender.body) if mine else stored.body}
        )

    async def change_bid(self, request: web.Request) -> web.Response:
        """Change a bid, or make it count."""
        self.brokers.required(request)
        patch = validated(BidPatch, await json_data(request))
        async with self.database.acknowledged() as connection:
            tender = (await self._tender(connection, request)).body
            stored = await self._bid(connection, request, owner=True)
            body = bids.patch_bid(stored.body, tender, patch, now=self.clock(), ids=fresh_ids())
            await tenders.write_bid(connection, body)
        return json_answer({"data": body})

    # -- documents, of a tender or of a bid

    async def list_documents(self, request: web.Request) -> web.Response:
        """The newest version of each; ``all=1`` every version."""
        documents = await self._documents(request)
        return json_answer({"data": documents if request.query.get("all") else latest(documents)})

    async def show_document(self, request: web.Request) -> web.Response:
        """The newest version of one, with the older ones as ``previousVersions``."""
        documents = await self._documents(request)
        document = find(documents, request.match_info["document_id"])
        older = [each for each in documents if each["id"] == document["id"] and each is not document]
        return json_answer({"data": {**document, "previousVersions": older} if older else document})

    async def add_document(self, request: web.Request) -> web.Response:
        """Attach bytes that the document service has."""
        fields = self._attached(await self._document_fields(request))

        def add(documents: list[Body], author: str | None) -> tuple[list[Body], Body]:
            record = new_record(fields, next(fresh_ids()), author, self.clock())
            return [*documents, record], record

        record = await self._change_documents(request, add)
        return self._created(f"{request.path.removeprefix(ROOT + '/')}/{record['id']}", {"data": record})

    async def replace_document(self, request: web.Request) -> web.Response:
        """A new version with other bytes."""
        fields = self._attached(await self._document_fields(request))

        def replace(documents: list[Body], author: str | None) -> tuple[list[Body], Body]:
            kept = find(documents, request.match_info["document_id"])
            inherited = {name: kept[name] for name in ("documentType", "relatedItem") if name in kept}
            record = new_record(inherited | fields, kept["id"], author, self.clock())
            return [*documents, record], record

        return json_answer({"data": await self._change_documents(request, replace)})

    async def change_document(self, request: web.Request) -> web.Response:
        """Another description of the same bytes."""
        self.brokers.required(request)
        patch = validated(DocumentPatch, await json_data(request))

        def change(documents: list[Body], _: str | None) -> tuple[list[Body], Body]:
            kept = find(documents, request.match_info["document_id"])
            record = patched_record(kept, patch, self.clock())
            return [record if each is kept else each for each in documents], record

        return json_answer({"data": await self._change_documents(request, change)})

    async def delete_document(self, request: web.Request) -> web.Response:
        """Take a document off a draft. The bytes stay where they are."""
        self.brokers.required(request)

        def delete(documents: list[Body], _: str | None) -> tuple[list[Body], Body]:
            gone = find(documents, request.match_info["document_id"])
            return [each for each in documents if each["id"] != gone["id"]], gone

        return json_answer({"data": await self._change_documents(request, delete, only_draft=True)})

    # -- awards and contracts

    async def list_awards(self, request: web.Request) -> web.Response:
        """All awards."""
        return json_answer({"data": (await self._shown(request)).get("awards", [])})

    async def list_contracts(self, request: web.Request) -> web.Response:
        """All contracts."""
        return json_answer({"data": (await self._shown(request)).get("contracts", [])})

    async def show_award(self, request: web.Request) -> web.Response:
        """One award."""
        for award in (await self._shown(request)).get("awards", ()):
            if award["id"] == request.match_info["award_id"]:
                return json_answer({"data": award})
        raise not_found("award_id")

    async def change_award(self, request: web.Request) -> web.Response:
        """The buyer's decision: qualified or not, won or not."""
        self.brokers.required(request)
        patch = validated(AwardPatch, await json_data(request))
        id, ids = request.match_info["award_id"], fresh_ids()
        async with self.database.acknowledged() as connection:
            stored = await self._tender(connection, request, owner=True)
            offers = await tenders.read_bids(connection, stored.body["id"])
            counted = tuple(offer.body for offer in offers if offer.body["status"] != "draft")
            body = patch_award(stored.body, id, patch, counted, now=self.clock(), ids=ids)
            await tenders.write_tender(connection, body, stored.config)
        return json_answer({"data": next(award for award in body["awards"] if award["id"] == id)})

    # -- what several of them do

    async def _tender(self, connection: Connection, request: web.Request, *, owner: bool = False) -> Stored:
        """The tender of the URL, locked, as the clock has it."""
        stored = await tenders.read_current(
            connection, request.match_info["tender_id"], self.clock(), self.auction_url
        )
        if owner and not stored.owned_by(access_token(request)):
            raise forbidden()
        return stored

    async def _bid(self, connection: Connection, request: web.Request, *, owner: bool = False) -> Stored:
        ids = request.match_info
        stored = await tenders.read_bid(connection, ids["tender_id"], ids["bid_id"])
        if owner and not stored.owned_by(access_token(request)):
            raise forbidden()
        return stored

    async def _shown(self, request: web.Request) -> Body:
        async with self.database.reading() as connection:
            return (await tenders.read_tender(connection, request.match_info["tender_id"])).body

    def _require_view(self, request: web.Request, tender: Body, bid: Stored) -> None:
        if bid.owned_by(access_token(request)) or (bids.visible(tender) and bid.body["status"] != "draft"):
            return
        raise not_now(f"Can't view bid in current ({tender['status']}) tender status")

    async def _documents(self, request: web.Request) -> list[Body]:
        async with self.database.reading() as connection:
            tender = await tenders.read_tender(connection, request.match_info["tender_id"])
            if "bid_id" not in request.match_info:
                return list(tender.body.get("documents", ()))
            bid = await self._bid(connection, request)
        self._require_view(request, tender.body, bid)
        return list(bid.body.get("documents", ()))

    async def _document_fields(self, request: web.Request) -> Document:
        self.brokers.required(request)
        return validated(Document, await json_data(request))

    def _attached(self, fields: Document) -> Body:
        return attached(fields, self.keys, self.document_hosts, self.documents_url)

    async def _change_documents(
        self,
        request: web.Request,
        change: Callable[[list[Body], str | None], tuple[list[Body], Body]],
        *,
        only_draft: bool = False,
    ) -> Body:
        """Change the documents of the tender or bid in the URL; the record that is the answer."""
        of_bid = "bid_id" in request.match_info
        async with self.database.acknowledged() as connection:
            tender = await self._tender(connection, request, owner=not of_bid)
            status = tender.body["status"]
            allowed = ("active.tendering",) if of_bid else ("draft",) if only_draft else EDITABLE
            stored = await self._bid(connection, request, owner=True) if of_bid else tender
            if status not in allowed or (of_bid and only_draft and stored.body["status"] != "draft"):
                raise not_now(f"Can't change document in current ({status}) tender status")
            author = None if of_bid else "tender_owner"
            documents, record = change(list(stored.body.get("documents", ())), author)
            body = {**stored.body, "documents": documents}
            if not documents:
                del body["documents"]
            if of_bid:
                await tenders.write_bid(connection, body)
            else:
                body["dateModified"] = written(self.clock())
                await tenders.write_tender(connection, body, tender.config)
        return record

    def _created(self, path: str, body: Body) -> web.Response:
        return json_answer(body, status=201, headers={"Location": f"{self.public_url}{ROOT}/{path}"})


def _object(whole: Body, name: str) -> Body:
    value = whole.get(name)
    if not isinstance(value, dict):
        raise ApiError(422, "body", name, "Data not available")
    return value
