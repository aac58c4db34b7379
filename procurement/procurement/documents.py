"""The document service: register, upload, get.

Invariant: a client that got 200 for an upload finds it as ``done`` in the outbox, and the bytes were
checked against their md5 by us and by Swift. The order is: intent committed, bytes to Swift, done committed,
answer. A crash in between leaves an intent without an end, never an acknowledgement without bytes.
"""

import contextlib
import hashlib
import re
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import quote
from uuid import uuid4

import aiohttp
from aiohttp import web
from aiohttp.http import HttpProcessingError

from procurement import uploads
from procurement.database import Database
from procurement.domain.models import Hash, Part, validated
from procurement.domain.signature import Keyring, decode_signature, over_expiry, over_md5
from procurement.errors import ApiError, Unavailable, not_found, unprocessable
from procurement.storage.port import Storage
from procurement.web import Brokers, Clock, error_answer, json_answer, json_data, utc_now

DOWNLOAD_S = 300
IN_MEMORY_BYTES = 1 << 20
MAX_BYTES = 50 << 20
PARTS = "multipart/"
# What aiohttp raises over a body that is not what its Content-Type says.
NOT_MULTIPART = (ValueError, AssertionError, HttpProcessingError, web.RequestPayloadError)
_MEDIA = re.compile(r"[\w!#$&^.+-]{1,127}/[\w!#$&^.+-]{1,127}\Z")


class Registration(Part):
    """What a broker says of bytes that it is going to upload."""

    hash: Hash


@dataclass(frozen=True)
class Upload:
    """A file that arrived whole."""

    content: IO[bytes]
    md5: str
    size_bytes: int
    title: str
    format: str


@dataclass(frozen=True)
class Documents:
    """The service over one database and this site's storage. ``peers`` are the other sites' storages, where
    a document is looked for that has not been carried here yet."""

    database: Database
    brokers: Brokers
    keys: Keyring
    storage: Storage
    upload_url: str
    get_url: str
    peers: tuple[Storage, ...] = ()
    clock: Clock = utc_now

    def routes(self) -> list[web.RouteDef]:
        """All that this part answers to."""
        return [
            web.post("/register", self.register),
            web.post("/upload", self.upload_new),
            web.post("/upload/{id}", self.upload_registered),
            web.get("/get/{id}", self.get),
        ]

    async def register(self, request: web.Request) -> web.Response:
        """Announce a document by its hash; the answer says where to upload it."""
        broker = self.brokers.required(request)
        data = await _registration(request)
        if "hash" not in data:
            raise ApiError(404, "body", "hash", "Not Found")
        hash = validated(Registration, {"hash": data["hash"]}).hash
        id, md5 = uuid4().hex, hash.removeprefix("md5:")
        async with self.database.acknowledged() as connection:
            await uploads.register(connection, id, md5, broker)
        upload_url = f"{self.upload_url}/upload/{id}?{self.keys.query(id)}"
        body = {"upload_url": upload_url, "data": {"url": self._bound_url(id, md5), "hash": hash}}
        return json_answer(body, status=201, headers={"Location": upload_url})

    async def upload_new(self, request: web.Request) -> web.Response:
        """Upload what was not registered before."""
        broker = self.brokers.required(request)
        id = uuid4().hex
        async with _arriving(request) as upload:
            async with self.database.acknowledged() as connection:
                await uploads.register(connection, id, upload.md5, broker)
                row = await self._intend(connection, id, upload)
            await self._store(row, id, upload)
            answer = self._uploaded(id, upload)
        answer.headers["Location"] = self._download_url(id)
        return answer

    async def upload_registered(self, request: web.Request) -> web.Response:
        """Upload what was registered; its bytes must have the hash that was announced."""
        self.brokers.required(request)
        id = request.match_info["id"]
        self._verify(request, id)
        async with self.database.reading() as connection:
            document = await uploads.read_document(connection, id)
        if document is None:
            raise not_found("doc_id")
        if document.uploaded:
            raise _already()
        async with _arriving(request) as upload:
            if upload.md5 != document.md5:
                raise ApiError(403, "body", "file", "Invalid checksum")
            async with self.database.acknowledged() as connection:
                row = await self._intend(connection, id, upload)
            await self._store(row, id, upload)
            return self._uploaded(id, upload)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Send the client to the bytes: this site's, or another's while they are not here yet."""
        id, expires = request.match_info["id"], request.query.get("Expires")
        if expires is not None:
            if not expires.isdecimal() or int(expires) < self.clock().timestamp():
                raise ApiError(403, "url", "Expires", "Request has expired")
            self._verify(request, over_expiry(id, int(expires)))
        else:
            self._verify(request, id)
        async with self.database.reading() as connection:
            document = await uploads.read_document(connection, id)
        if document is None:
            raise not_found("doc_id")
        if not document.uploaded:
            return web.Response(status=204)
        storage = await self._where(id, document.md5)
        until_s = int(self.clock().timestamp()) + DOWNLOAD_S
        address = storage.temporary_url(id, filename=document.title or id, expires_s=until_s)
        if address is not None:
            return web.Response(status=302, headers={"Location": address})
        return await _streamed(request, storage, document)

    async def _where(self, id: str, md5: str) -> Storage:
        """The nearest storage that has the bytes. Raises Unavailable, naming what each one said."""
        seen = []
        for storage in (self.storage, *self.peers):
            try:
                stored = await storage.head(id)
            except Unavailable as error:
                seen.append(str(error))
                continue
            if stored is not None and stored.md5 == md5:
                return storage
            seen.append(f"{storage.site}: {'other bytes' if stored else 'not there yet'}")
        raise Unavailable(f"document {id}: {'; '.join(seen)}")

    async def _intend(self, connection: Any, id: str, upload: Upload) -> int:
        return await uploads.intend(
            connection,
            id,
            site=self.storage.site,
            container=self.storage.container,
            md5=upload.md5,
            size_bytes=upload.size_bytes,
        )

    async def _store(self, row: int, id: str, upload: Upload) -> None:
        """The bytes to Swift, then the end of the outbox row."""
        both = await self.storage.put(
            id, upload.content, size_bytes=upload.size_bytes, md5=upload.md5, format=upload.format
        )
        async with self.database.acknowledged() as connection:
            first = await uploads.done(
                connection,
                row,
                id,
                site=self.storage.site,
                title=upload.title,
                format=upload.format,
                size_bytes=upload.size_bytes,
                both=both,
            )
            if not first:
                raise _already()

    def _uploaded(self, id: str, upload: Upload) -> web.Response:
        data = {
            "url": self._bound_url(id, upload.md5),
            "hash": f"md5:{upload.md5}",
            "format": upload.format,
            "title": upload.title,
        }
        return json_answer({"get_url": self._download_url(id), "data": data})

    def _bound_url(self, id: str, md5: str) -> str:
        return f"{self.get_url}/get/{id}?{self.keys.query(over_md5(id, md5))}"

    def _download_url(self, id: str) -> str:
        expires_s = int(self.clock().timestamp()) + DOWNLOAD_S
        return (
            f"{self.get_url}/get/{id}?{self.keys.query(over_expiry(id, expires_s), Expires=str(expires_s))}"
        )

    def _verify(self, request: web.Request, message: str) -> None:
        key_id = request.query.get("KeyID", self.keys.key_id)
        if not self.keys.knows(key_id):
            raise ApiError(403, "url", "KeyID", "Key Id does not exist")
        if "Signature" not in request.query:
            raise ApiError(403, "url", "Signature", "Not Found")
        signature = decode_signature(request.query["Signature"])
        if signature is None:
            raise ApiError(403, "url", "Signature", "Signature invalid")
        if not self.keys.verify(key_id, message, signature):
            raise ApiError(403, "url", "Signature", "Signature does not match")


def _already() -> ApiError:
    return ApiError(403, "url", "doc_id", "Content already uploaded")


async def _registration(request: web.Request) -> dict[str, Any]:
    if request.content_type == "application/x-www-form-urlencoded":
        return dict(await request.post())
    return await json_data(request)


@contextlib.asynccontextmanager
async def _arriving(request: web.Request) -> AsyncIterator[Upload]:
    """The part named ``file``, spooled to disk and hashed as it comes. Raises ApiError."""
    if not request.content_type.startswith(PARTS):
        raise ApiError(404, "body", "file", "Not Found")
    with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as content:
        try:
            reader = await request.multipart()
            while (part := await reader.next()) is not None:
                if isinstance(part, aiohttp.BodyPartReader) and part.name == "file" and part.filename:
                    md5, size_bytes = await _spool(part, content)
                    await reader.next()  # raises when the part was cut short: no boundary follows
                    break
            else:
                raise ApiError(404, "body", "file", "Not Found")
        except NOT_MULTIPART as error:
            raise unprocessable("file", str(error) or "not a multipart body") from error
        declared = part.headers.get("Content-Type", "").partition(";")[0].strip()
        format = declared if _MEDIA.match(declared) else "application/octet-stream"
        yield Upload(content, md5, size_bytes, part.filename, format)


async def _spool(part: aiohttp.BodyPartReader, content: IO[bytes]) -> tuple[str, int]:
    digest, size_bytes = hashlib.md5(usedforsecurity=False), 0
    while chunk := await part.read_chunk(1 << 16):
        size_bytes += len(chunk)
        if size_bytes > MAX_BYTES:
            raise ApiError(413, "body", "file", f"A document has at most {MAX_BYTES} bytes")
        digest.update(chunk)
        content.write(chunk)
    content.seek(0)
    return digest.hexdigest(), size_bytes


async def _streamed(
    request: web.Request, storage: Storage, document: uploads.Registered
) -> web.StreamResponse:
    name = document.title or document.id
    # RFC 6266: the name as it is, for clients that can; the rest get the identifier.
    disposition = f"attachment; filename={_token(name, document.id)}; filename*=UTF-8''{quote(name, safe='')}"
    async with storage.get(document.id) as chunks:
        if chunks is None:
            return error_answer(404, "url", "doc_id", "Not Found")
        answer = web.StreamResponse(headers={"Content-Disposition": disposition})
        answer.content_type = document.format or "application/octet-stream"
        await answer.prepare(request)
        async for chunk in chunks:
            await answer.write(chunk)
        await answer.write_eof()
        return answer


def _token(name: str, otherwise: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9._-]{1,200}", name) else otherwise
