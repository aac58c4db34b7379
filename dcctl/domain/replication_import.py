"""Bringing files into the pair: which need to be written, and what certifies that all are there."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from dcctl.domain.replication import Row, Stamp


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file: its path below the root in bytes, its size, and its modification time as a stamp.

    ``plain``: an ordinary one, and no symbolic link, socket or device.
    """

    path: bytes
    size_bytes: int
    stamp: Stamp
    plain: bool = True


class Need(Enum):
    """What a file needs."""

    NOTHING = "unchanged"
    WRITE = "written"
    LATER = "later"
    NEWER_THERE = "newer_there"
    UNREADABLE_NAME = "unreadable_name"
    LEFT_OUT = "left_out"


def decide_import(file: SourceFile, a: Row | None, b: Row | None, now: Stamp) -> Need:
    """A file is written under its modification time, so a later pass knows it by its listing row alone.

    | file | both sides | need |
    |------|------------|------|
    | a symbolic link, a socket, a device | | LEFT_OUT: reported, it is no file |
    | name is not UTF-8 | | UNREADABLE_NAME: reported, Swift has no such names |
    | modified in the clusters' future | | LATER |
    | same stamp and size on both | | NOTHING, and the file is not even read |
    | a side has a later stamp | | NEWER_THERE: somebody wrote the document since; left alone |
    | otherwise | | WRITE to both sides under one stamp |
    """
    if not file.plain:
        return Need.LEFT_OUT
    try:
        file.path.decode()
    except UnicodeDecodeError:
        return Need.UNREADABLE_NAME
    if file.stamp > now:
        return Need.LATER
    if any(row is not None and row.stamp.ticks > file.stamp.ticks for row in (a, b)):
        return Need.NEWER_THERE
    if all(
        row is not None and row.stamp.ticks == file.stamp.ticks and row.bytes == file.size_bytes
        for row in (a, b)
    ):
        return Need.NOTHING
    return Need.WRITE


@dataclass
class Manifest:
    """Names, hashes and sizes in order: count, bytes, and a checksum of all of it."""

    count: int = 0
    bytes: int = 0
    _digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def add(self, name: str, hash: str, size_bytes: int) -> None:
        """The next in order."""
        self.count += 1
        self.bytes += size_bytes
        self._digest.update(f"{name}\0{hash}\0{size_bytes}\n".encode())

    @property
    def checksum(self) -> str:
        return self._digest.hexdigest()

    def document(self) -> dict[str, str | int]:
        return {"count": self.count, "bytes": self.bytes, "sha256": self.checksum}


def same_manifests(manifests: Iterable[Manifest]) -> bool:
    """Whether all say the same."""
    return len({(one.count, one.bytes, one.checksum) for one in manifests}) == 1
