"""Documents of a tender or a bid: records of bytes that the document service has.

Every version is kept: a PUT appends a record with the same id. The newest record of an id is the document.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from procurement.domain.instant import written
from procurement.domain.models import Document, DocumentPatch, patch_of, patched, plain
from procurement.domain.signature import Keyring, decode_signature, over_md5
from procurement.errors import ApiError, not_found, unprocessable

SIGNATURES = frozenset({"application/pkcs7-signature", "sign/pkcs7-signature", "sign/p7s"})

Record = dict[str, Any]


def is_signature(document: Record) -> bool:
    """Whether it is a detached signature by its format."""
    return document["format"] in SIGNATURES


def latest(documents: Iterable[Record]) -> list[Record]:
    """The newest version of each document, in the order of those versions."""
    newest: dict[str, Record] = {}
    for document in documents:
        newest.pop(document["id"], None)
        newest[document["id"]] = document
    return list(newest.values())


def find(documents: Iterable[Record], id: str) -> Record:
    """The newest version of one document. Raises ApiError 404."""
    for document in latest(documents):
        if document["id"] == id:
            return document
    raise not_found("document_id")


def attached(fields: Document, keys: Keyring, hosts: Iterable[str], public_url: str) -> dict[str, Any]:
    """The fields of a record whose URL was checked and replaced by one that anybody may download from.

    The URL must bear the document service's signature over its id and the md5 that the client names: so
    nobody can attach bytes that were never uploaded. Raises ApiError 403 or 422 in Prozorro's words.
    """
    url = urlsplit(fields.url)
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    parts = url.path.split("/")
    if url.netloc not in hosts or parts[:2] != ["", "get"] or set(query) != {"Signature", "KeyID"}:
        raise ApiError(403, "body", "url", "Can add document only from document service.")
    if fields.hash is None:
        raise unprocessable("hash", "This field is required.")
    if not keys.knows(query["KeyID"]):
        raise unprocessable("url", "Document url expired.")
    signature = decode_signature(query["Signature"])
    if signature is None:
        raise unprocessable("url", "Document url signature invalid.")
    id = parts[-1]
    if not keys.verify(query["KeyID"], over_md5(id, fields.hash.removeprefix("md5:")), signature):
        raise unprocessable("url", "Document url invalid.")
    return plain(fields) | {"url": f"{public_url}/get/{id}?{keys.query(id)}", "confidentiality": "public"}


def new_record(fields: dict[str, Any], id: str, author: str | None, now: datetime) -> Record:
    """A record as the API shows it; a bid's documents name no author."""
    record = {**fields, "id": id, "datePublished": written(now), "dateModified": written(now)}
    return record | {"author": author} if author else record


def patched_record(record: Record, patch: DocumentPatch, now: datetime) -> Record:
    """The record with another description; its bytes stay."""
    changed = patched(record, patch_of(patch))
    return changed if changed == record else changed | {"dateModified": written(now)}
