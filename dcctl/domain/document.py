"""A stored document on its way: what is carried beside the bytes, and how a cluster answered."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from dcctl.domain.replication import Stamp

CARRIED = frozenset(
    {
        "content-type",
        "content-encoding",
        "content-disposition",
        "content-language",
        "cache-control",
        "expires",
        "x-robots-tag",
        "x-delete-at",
        "x-object-manifest",
        "x-static-large-object",
        "x-symlink-target",
        "x-symlink-target-account",
    }
)
"""Headers of an object that belong to it (Swift's ``allowed_headers``), beside ``X-Object-Meta-*``."""


def carried(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of an answer that belong to the object and travel with it."""
    return {
        name: value
        for name, value in headers.items()
        if name.lower() in CARRIED or name.lower().startswith("x-object-meta-")
    }


class Answer(Enum):
    """How a cluster judged a write by its stamp."""

    APPLIED = "applied"
    OLDER = "older"  # what is stored, a tombstone included, is as new or newer; nothing was changed
    ABSENT = "absent"  # there is no such object (a DELETE has laid its tombstone all the same)
    DAMAGED = "damaged"  # the bytes that arrived do not match the ETag; nothing was changed


@dataclass(frozen=True, slots=True)
class Head:
    """An object without its bytes. ``stamp`` is the latest change, a POST's included.

    ``body`` is the body's own stamp where the cluster tells it (templates/swift/dcctl_stamps.py).
    """

    hash: str
    stamp: Stamp
    length_bytes: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Stamp | None = None

    @property
    def manifest(self) -> bool:
        return any(name.lower() == "x-static-large-object" for name in self.headers)


@dataclass(frozen=True, slots=True)
class Document:
    """An object with its bytes: ``content`` if small or a manifest, else ``chunks``, to be read once."""

    head: Head
    content: bytes | None
    chunks: AsyncIterator[bytes] | None = None
