"""The document service: what it acknowledges is in the storage, checked, and in the outbox."""

import asyncio
import hashlib
import io
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from procurement.storage.memory import MemoryStorage
from procurement_world import Answer, World, asynchronous, world

from dcctl.adapters.outbox import PostgresOutbox

CONTENT = b"content"
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
MIB = 1 << 20
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
BASIC = {"Authorization": "Basic YnJva2VyOmJyb2tlcg=="}


def local(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def form(content: bytes = CONTENT, name: str = "file", **more: Any) -> aiohttp.FormData:
    made = aiohttp.FormData()
    made.add_field(
        name, io.BytesIO(content), **({"filename": "file.txt", "content_type": "text/plain"} | more)
    )
    return made


async def registered(w: World, md5: str = MD5) -> Answer:
    answer = await w.ask("POST", "/register", {"hash": f"md5:{md5}"})
    assert answer.status == 201
    return answer


async def post_form(w: World, path: str, made: aiohttp.FormData, token: str | None = "broker") -> Answer:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with w.http.post(w.url + path, data=made, headers=headers) as answer:
        return Answer(answer.status, answer.headers, await answer.json())


async def outbox(w: World) -> list[tuple[str, bool]]:
    """Document and whether its upload was finished, for each row."""
    async with w.database.reading() as connection:
        rows = await connection.execute("SELECT name, done IS NOT NULL FROM document_outbox ORDER BY number")
        return [(id, done) for id, done in await rows.fetchall()]


@asynchronous
async def test_register_upload_get_and_attach(database: str) -> None:
    async with world(database) as w:
        answer = await registered(w)
        assert answer.headers["Location"] == answer.body["upload_url"]
        assert (await w.ask("GET", local(answer.data["url"]))).status == 403, "that URL is for attaching"
        sent = await post_form(w, local(answer.body["upload_url"]), form())
        assert sent.status == 200
        assert sent.data == {
            "url": answer.data["url"],
            "hash": f"md5:{MD5}",
            "format": "text/plain",
            "title": "file.txt",
        }
        got = await w.ask("GET", local(sent.body["get_url"]), token=None)
        assert (got.status, got.body) == (200, CONTENT)
        assert "file.txt" in got.headers["Content-Disposition"]
        tender = await w.tender()
        path = f"/api/2.5/tenders/{tender}/documents"
        attached = await w.created(w.owned(path, tender), sent.data)
        assert attached.data["url"] != sent.data["url"]
        public = await w.ask("GET", local(attached.data["url"]), token=None)
        assert (public.status, public.body) == (200, CONTENT)
        id = urlsplit(sent.data["url"]).path.rsplit("/", 1)[1]
        assert await outbox(w) == [(id, True)]


@asynchronous
async def test_upload_without_registration_and_by_form(database: str) -> None:
    async with world(database) as w:
        sent = await post_form(w, "/upload", form())
        assert sent.status == 200
        assert local(sent.headers["Location"]) == local(sent.body["get_url"])
        async with w.http.post(
            f"{w.url}/register",
            data={"hash": f"md5:{MD5}"},
            headers=BASIC,
        ) as answer:
            assert answer.status == 201
            assert (await answer.json())["data"]["hash"] == f"md5:{MD5}"


@asynchronous
async def test_wrong_uploads_are_told_in_the_services_words(database: str) -> None:
    async with world(database) as w:
        path = local((await registered(w)).body["upload_url"])
        other = local((await registered(w)).body["upload_url"])
        unknown = f"/upload/{'0' * 32}?{w.keys.query('0' * 32)}"
        swapped = other.split("?")[0] + "?" + path.split("?")[1]
        for where, made, expected in (
            (path, form(b"other bytes"), (403, "body", "file", "Invalid checksum")),
            (path, form(name="wrong"), (404, "body", "file", "Not Found")),
            (unknown, form(), (404, "url", "doc_id", "Not Found")),
            (swapped, form(), (403, "url", "Signature", "Signature does not match")),
            (path.replace(w.keys.key_id, "00000000"), form(), (403, "url", "KeyID", "Key Id does not exist")),
            (path.split("?")[0], form(), (403, "url", "Signature", "Not Found")),
            (path.split("?")[0] + "?Signature=*", form(), (403, "url", "Signature", "Signature invalid")),
        ):
            answer = await post_form(w, where, made)
            error = answer.error
            assert (answer.status, error["location"], error["name"], error["description"]) == expected
        assert await outbox(w) == []
        assert (await post_form(w, path, form(), token=None)).status == 403
        assert (await post_form(w, path, form())).status == 200
        again = await post_form(w, path, form())
        assert (again.status, again.error["description"]) == (403, "Content already uploaded")
        assert isinstance(w.storage, MemoryStorage)
        assert len(w.storage.objects) == 1


@asynchronous
async def test_wrong_registrations_are_told(database: str) -> None:
    async with world(database) as w:
        for data, status, description in (
            ({}, 404, "Not Found"),
            ({"hash": "sha1:" + "0" * 32}, 422, ["Hash type is not supported."]),
            ({"hash": "md5:0"}, 422, ["Hash value is wrong length."]),
            ({"hash": "md5:" + "x" * 32}, 422, ["Hash value is not hexadecimal."]),
            ({"hash": 5}, 422, ["Input should be a valid string"]),
        ):
            answer = await w.ask("POST", "/register", data)
            assert (answer.status, answer.error["description"]) == (status, description)


@asynchronous
async def test_bodies_that_are_not_multipart_are_refused_in_shape(database: str) -> None:
    async with world(database) as w:
        broker = {"Authorization": "Bearer broker"}
        for kind, body in (
            ("text/plain", b"content"),
            ("multipart/form-data", b"content"),
            ("multipart/form-data; boundary=b", b"content"),
            ("multipart/form-data; boundary=b", b"--b\r\nno header\r\n"),
            ("multipart/form-data; boundary=b", b""),
            ("multipart/form-data; boundary=b", PART),
            ("multipart/form-data; boundary=b", PART + b"cut sho"),
        ):
            async with w.http.post(
                f"{w.url}/upload", data=body, headers=broker | {"Content-Type": kind}
            ) as answer:
                assert answer.status in (404, 422), (kind, body, await answer.text())
                assert (await answer.json())["status"] == "error"
        assert await outbox(w) == []


@asynchronous
async def test_a_document_larger_than_memory_goes_through_and_one_too_large_is_refused(database: str) -> None:
    async with world(database) as w:
        large = b"x" * (2 * MIB)
        sent = await post_form(w, "/upload", form(large))
        assert sent.data["hash"] == f"md5:{hashlib.md5(large, usedforsecurity=False).hexdigest()}"
        got = await w.ask("GET", local(sent.body["get_url"]))
        assert got.body == large
        try:
            refused = await post_form(w, "/upload", form(b"x" * (51 * MIB)))
            assert (refused.status, refused.error["name"]) == (413, "file")
        except aiohttp.ClientConnectionError:
            pass  # the line was closed while we were still sending
        assert len(await outbox(w)) == 1


@asynchronous
async def test_a_storage_that_is_away_is_no_acknowledgement_and_leaves_an_open_intent(database: str) -> None:
    async with world(database) as w:
        assert isinstance(w.storage, MemoryStorage)
        path = local((await registered(w)).body["upload_url"])
        w.storage.down = True
        refused = await post_form(w, path, form())
        assert (refused.status, refused.headers["X-Outcome"]) == (503, "not-applied")
        w.storage.down, w.storage.lose_answers = False, True
        assert (await post_form(w, path, form())).status == 503
        w.storage.lose_answers = False
        assert [done for _, done in await outbox(w)] == [False, False]
        empty = await w.ask("GET", f"{path.split('?')[0].replace('upload', 'get')}?{path.split('?')[1]}")
        assert empty.status == 204, "registered, and nothing of it acknowledged"
        assert (await post_form(w, path, form())).status == 200, "the client may simply try again"
        assert [done for _, done in await outbox(w)] == [False, False, True]


@asynchronous
async def test_two_uploads_of_one_document_at_once_are_acknowledged_once(database: str) -> None:
    async with world(database) as w:
        path = local((await registered(w)).body["upload_url"])
        answers = await asyncio.gather(*(post_form(w, path, form()) for _ in range(5)))
        assert sorted(answer.status for answer in answers) == [200, 403, 403, 403, 403]
        assert sum(done for _, done in await outbox(w)) == 1


@asynchronous
async def test_links_end_when_they_say(database: str) -> None:
    async with world(database) as w:
        link = local((await post_form(w, "/upload", form())).body["get_url"])
        assert (await w.ask("GET", link)).status == 200
        longer = link.replace("Expires=1", "Expires=9")
        assert (await w.ask("GET", longer)).error["description"] == "Signature does not match"
        w.time.advance(seconds=301)
        over = await w.ask("GET", link)
        assert (over.status, over.error["description"]) == (403, "Request has expired")
        assert (await w.ask("GET", link.replace("Expires=", "Expires=x"))).status == 403


@asynchronous
async def test_a_document_not_carried_here_yet_comes_from_the_other_site(database: str) -> None:
    east, west = MemoryStorage("east"), MemoryStorage("west")
    async with world(database, storage=east, peers=(west,)) as at_east:
        link = local((await post_form(at_east, "/upload", form())).body["get_url"])
    async with world(database, storage=west, peers=(east,)) as at_west:
        assert (await at_west.ask("GET", link)).body == CONTENT
        id = next(iter(east.objects))
        west.objects[id] = (b"older bytes", "text/plain")
        assert (await at_west.ask("GET", link)).body == CONTENT, "never other bytes than those acknowledged"
        east.down = True
        nowhere = await at_west.ask("GET", link)
        assert nowhere.status == 503
        assert "west: other bytes; east: no answer" in nowhere.error["description"]


@asynchronous
async def test_the_replicator_reads_the_outbox_as_it_is(database: str) -> None:
    """What dcctl carries documents by, over what this service writes."""
    async with world(database) as w:
        assert isinstance(w.storage, MemoryStorage)
        first = await post_form(w, "/upload", form())
        w.storage.lose_answers = True
        await post_form(w, "/upload", form())
        outbox = PostgresOutbox(database)
        try:
            outbox.ensure_table()
            told = outbox.pending(10)
            assert [(each.site, each.container, each.done is not None) for each in told] == [
                ("east", "documents", True),
                ("east", "documents", False),
            ]
            assert {each.name for each in told} == set(w.storage.objects)
            assert told[0].name in first.data["url"]
            outbox.settle([told[0].number])
            assert outbox.pending(10) == told[1:]
        finally:
            outbox.close()
