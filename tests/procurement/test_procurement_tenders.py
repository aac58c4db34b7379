"""Tenders and bids through the running service."""

import asyncio
import io
from typing import Any

from procurement_world import Time, World, asynchronous, organization, tender, world

TENDERS = "/api/2.5/tenders"


@asynchronous
async def test_a_tender_goes_its_way_by_the_clock_to_a_contract(database: str) -> None:
    async with world(database) as w:
        id = await w.active_tender()
        w.time.advance(days=7)
        cheap, dear = await w.bid(id, 400), await w.bid(id, 450)
        sealed = await w.ask("GET", f"{TENDERS}/{id}/bids")
        assert (sealed.status, sealed.error["description"]) == (
            403,
            "Can't view bids in current (active.tendering) tender status",
        )
        w.time.advance(days=7)
        await w.lead()
        scheduler = w.scheduler(1)
        await scheduler.tick()
        assert await status(w, id) == "active.auction"
        mine = await w.ask("GET", w.owned(f"{TENDERS}/{id}/bids/{cheap}", cheap))
        assert mine.data["participationUrl"].endswith(f"key_for_bid={cheap}")
        w.time.advance(hours=12)
        for _ in range(4):
            await scheduler.tick()
            w.time.advance(minutes=2)
        opened = (await w.ask("GET", f"{TENDERS}/{id}")).data
        assert opened["status"] == "active.qualification"
        assert [bid["id"] for bid in opened["bids"]] == [cheap, dear]
        award = opened["awards"][0]
        assert (award["bid_id"], award["status"]) == (cheap, "pending")
        path = w.owned(f"{TENDERS}/{id}/awards/{award['id']}", id)
        won = await w.ask("PATCH", path, {"status": "active", "qualified": True})
        assert won.data["status"] == "active"
        assert await status(w, id) == "active.awarded"
        contracts = (await w.ask("GET", f"{TENDERS}/{id}/contracts")).data
        assert [contract["awardID"] for contract in contracts] == [award["id"]]


@asynchronous
async def test_the_clock_is_obeyed_even_where_no_scheduler_runs(database: str) -> None:
    async with world(database) as w:
        id = await w.active_tender()
        early = await w.ask("POST", f"{TENDERS}/{id}/bids", bid_fields(400))
        assert early.error["description"] == "Can't add bid in current (active.enquiries) tender status"
        w.time.advance(days=7)
        await w.bid(id, 400)
        w.time.advance(days=7)
        late = await w.ask("POST", f"{TENDERS}/{id}/bids", bid_fields(300))
        assert late.error["description"] == "Can't add bid in current (active.qualification) tender status"


@asynchronous
async def test_refused_awards_fall_to_the_next_bid_and_end_the_tender(database: str) -> None:
    async with world(database) as w:
        id = await w.active_tender(**no_auction())
        w.time.advance(days=7)
        first = await w.bid(id, 400)
        w.time.advance(days=7)
        await w.lead()
        await w.scheduler(1).tick()
        award = (await w.ask("GET", f"{TENDERS}/{id}/awards")).data[0]
        assert award["bid_id"] == first
        path = w.owned(f"{TENDERS}/{id}/awards/{award['id']}", id)
        assert (await w.ask("PATCH", path, {"status": "unsuccessful"})).status == 422
        assert (await w.ask("PATCH", path, {"status": "unsuccessful", "qualified": False})).status == 200
        assert await status(w, id) == "unsuccessful"


@asynchronous
async def test_without_bids_a_tender_is_unsuccessful(database: str) -> None:
    async with world(database) as w:
        id = await w.active_tender()
        w.time.advance(days=14)
        await w.lead()
        await w.scheduler(1).tick()
        assert await status(w, id) == "unsuccessful"


@asynchronous
async def test_tokens_open_only_what_they_own_and_are_not_stored(database: str) -> None:
    async with world(database) as w:
        id, other = await w.tender(), await w.tender()
        path = f"{TENDERS}/{id}"
        for wrong in (
            path,
            f"{path}?acc_token=",
            f"{path}?acc_token={'0' * 32}",
            f"{path}?acc_token={w.tokens[other]}",
        ):
            refused = await w.ask("PATCH", wrong, {"title": "mine now"})
            assert refused.status == 403
            assert refused.error == {"location": "url", "name": "permission", "description": "Forbidden"}
        by_header = await w.ask(
            "PATCH", path, {"title": "still mine"}, headers={"X-Access-Token": w.tokens[id]}
        )
        assert by_header.data["title"] == "still mine"
        async with w.database.reading() as connection:
            rows = await (await connection.execute("SELECT tender::text FROM tender")).fetchall()
        assert all(token not in row[0] for token in w.tokens.values() for row in rows)


@asynchronous
async def test_nobody_without_a_broker_token_writes(database: str) -> None:
    async with world(database) as w:
        for token in (None, "stranger"):
            assert (await w.ask("POST", TENDERS, tender(w.time.now), token=token)).status == 403


WRONG: tuple[tuple[dict[str, Any], str, Any], ...] = (
    ({"colour": "red"}, "colour", "Rogue field"),
    ({"title": None}, "title", ["Input should be a valid string"]),
    ({"value": {"amount": -1}}, "value", ["amount: Input should be greater than or equal to 0"]),
    ({"value": {"amount": "NaN"}}, "value", None),
    ({"items": []}, "items", None),
    ({"enquiryPeriod": {"endDate": "someday"}}, "enquiryPeriod", None),
    ({"enquiryPeriod": {}}, "enquiryPeriod", ["endDate: This field is required."]),
    ({"enquiryPeriod": {"endDate": "2027-01-02T00:00:00+02:00"}}, "enquiryPeriod", None),
    ({"tenderPeriod": {"endDate": "2027-01-08T03:00:00+02:00"}}, "tenderPeriod", None),
    ({"items": [{"description": "a", "relatedLot": "a" * 32}]}, "items", None),
    ({"procurementMethodType": "aboveThreshold"}, "procurementMethodType", None),
    ({"status": "active.tendering"}, "status", None),
)


@asynchronous
async def test_what_is_wrong_is_named(database: str) -> None:
    async with world(database) as w:
        for change, name, description in WRONG:
            answer = await w.ask("POST", TENDERS, tender(w.time.now) | change)
            assert answer.status == 422, answer.body
            assert (answer.error["location"], answer.error["name"]) == ("body", name)
            if description is not None:
                assert answer.error["description"] == description


@asynchronous
async def test_bodies_that_are_no_json_object_are_refused_in_shape(database: str) -> None:
    async with world(database) as w:
        url, broker = f"{w.url}{TENDERS}", {"Authorization": "Bearer broker"}
        for body, kind, status_code in (
            (b"{", "application/json", 422),
            (b"[" * 100_000, "application/json", 422),
            (b'"data"', "application/json", 422),
            (b'{"data": []}', "application/json", 422),
            (b"\xff\xfe", "application/json", 422),
            (b"a=b", "text/plain", 415),
            (b" " * (11 << 20), "application/json", 413),
        ):
            async with w.http.post(
                url, data=io.BytesIO(body), headers=broker | {"Content-Type": kind}
            ) as answer:
                assert answer.status == status_code, (body[:20], await answer.text())
                assert (await answer.json())["status"] == "error"


@asynchronous
async def test_what_is_not_there_is_not_found_in_shape(database: str) -> None:
    async with world(database) as w:
        id = await w.active_tender()
        for path, name in (
            (f"{TENDERS}/{'0' * 32}", "tender_id"),
            (f"{TENDERS}/{id}/bids/{'0' * 32}", "bid_id"),
            (f"{TENDERS}/{id}/documents/{'0' * 32}", "document_id"),
            (f"{TENDERS}/{id}/awards/{'0' * 32}", "award_id"),
            ("/api/2.5/nothing", "url"),
        ):
            answer = await w.ask("GET", path)
            assert (answer.status, answer.error["name"]) == (404, name)
        assert (await w.ask("DELETE", f"{TENDERS}/{id}")).status == 405


@asynchronous
async def test_a_bid_must_fit_its_tender(database: str) -> None:
    async with world(database) as w:
        id = await w.active_tender()
        w.time.advance(days=7)
        path = f"{TENDERS}/{id}/bids"
        for fields, name in (
            (bid_fields(501), "value"),
            ({"tenderers": [organization()]}, "value"),
            (
                bid_fields(400) | {"lotValues": [{"value": {"amount": 1}, "relatedLot": "a" * 32}]},
                "lotValues",
            ),
        ):
            answer = await w.ask("POST", path, fields)
            assert (answer.status, answer.error["name"]) == (422, name), answer.body


@asynchronous
async def test_only_drafts_are_hidden_and_only_drafts_lose_documents(database: str) -> None:
    async with world(database) as w:
        draft, active = await w.tender(), await w.active_tender()
        assert [row["id"] for row in (await w.ask("GET", TENDERS)).data] == [active]
        document = (await w.created(w.owned(f"{TENDERS}/{draft}/documents", draft), w.document())).data["id"]
        assert (
            await w.ask("DELETE", w.owned(f"{TENDERS}/{draft}/documents/{document}", draft))
        ).status == 200
        assert (await w.ask("GET", f"{TENDERS}/{draft}/documents")).data == []
        kept = (await w.ask("GET", f"{TENDERS}/{active}/documents")).data[0]["id"]
        assert (await w.ask("DELETE", w.owned(f"{TENDERS}/{active}/documents/{kept}", active))).status == 403


@asynchronous
async def test_every_version_of_a_document_is_kept(database: str) -> None:
    async with world(database) as w:
        id = await w.tender()
        path = f"{TENDERS}/{id}/documents"
        document = (await w.created(w.owned(path, id), w.document())).data["id"]
        replaced = await w.ask(
            "PUT", w.owned(f"{path}/{document}", id), w.document(id="e" * 32, title="new.doc")
        )
        described = await w.ask("PATCH", w.owned(f"{path}/{document}", id), {"description": "better"})
        assert (replaced.status, described.status) == (200, 200)
        assert [each["title"] for each in (await w.ask("GET", path)).data] == ["new.doc"]
        assert len((await w.ask("GET", f"{path}?all=1")).data) == 2
        newest = (await w.ask("GET", f"{path}/{document}")).data
        assert (newest["description"], newest["previousVersions"][0]["title"]) == ("better", "name.doc")


@asynchronous
async def test_only_bytes_that_the_document_service_has_can_be_attached(database: str) -> None:
    async with world(database) as w:
        id = await w.tender()
        path, good = w.owned(f"{TENDERS}/{id}/documents", id), w.document()
        for change, status_code, name in (
            ({"url": "http://elsewhere.test/get/" + "d" * 32 + "?Signature=a&KeyID=b"}, 403, "url"),
            ({"url": good["url"].split("?")[0]}, 403, "url"),
            ({"url": good["url"].replace(w.keys.key_id, "00000000")}, 422, "url"),
            ({"url": good["url"].replace("d" * 32, "e" * 32)}, 422, "url"),
            ({"hash": "md5:" + "1" * 32}, 422, "url"),
            ({"hash": "sha1:" + "0" * 32}, 422, "hash"),
            ({"hash": "md5:short"}, 422, "hash"),
            ({"hash": None}, 422, "hash"),
        ):
            answer = await w.ask("POST", path, good | change)
            assert (answer.status, answer.error["name"]) == (status_code, name), answer.body


@asynchronous
async def test_two_buyers_changes_at_once_are_both_kept(database: str) -> None:
    async with world(database) as w:
        id = await w.tender()
        path = w.owned(f"{TENDERS}/{id}/documents", id)
        answers = await asyncio.gather(
            *(w.ask("POST", path, w.document(title=f"{n}.doc")) for n in range(20))
        )
        assert {answer.status for answer in answers} == {201}
        titles = {each["title"] for each in (await w.ask("GET", f"{TENDERS}/{id}/documents")).data}
        assert titles == {f"{n}.doc" for n in range(20)}


@asynchronous
async def test_an_accelerator_shortens_the_procedure(database: str) -> None:
    async with world(database, time=Time()) as w:
        now = w.time.now
        quick = {
            "procurementMethodDetails": "quick, accelerator=14400",
            "enquiryPeriod": {"endDate": now.replace(second=20).isoformat()},
            "tenderPeriod": {"endDate": now.replace(second=40).isoformat()},
        }
        assert (await w.ask("POST", TENDERS, tender(now, **quick))).status == 201
        del quick["procurementMethodDetails"]
        assert (await w.ask("POST", TENDERS, tender(now, **quick))).status == 422


def bid_fields(amount: float) -> dict[str, Any]:
    return {"tenderers": [organization()], "value": {"amount": amount}}


def no_auction() -> dict[str, Any]:
    return {"title": "one bid only"}


async def status(w: World, id: str) -> str:
    return str((await w.ask("GET", f"{TENDERS}/{id}")).data["status"])
