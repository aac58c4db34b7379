"""``ports.FileTree`` over a directory: files in byte order, a folder in memory at a time."""

import hashlib
import os
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from dcctl.domain.document import Document, Head
from dcctl.domain.replication import Stamp
from dcctl.domain.replication_import import SourceFile
from dcctl.errors import NotFound, Unreachable

CHUNK_BYTES = 1 << 20
SMALL_BYTES = 1 << 20


class DirectoryTree:
    """The files under ``root``; symbolic links are not followed, and are not plain files."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise NotFound("import a directory", on=str(root), saw="there is no such directory")
        self._root = root

    def files(self) -> Iterator[SourceFile]:
        """Every file, sorted as Swift sorts names."""
        yield from self._folder(os.fsencode(self._root), b"")

    def _folder(self, path: bytes, prefix: bytes) -> Iterator[SourceFile]:
        try:
            with os.scandir(path) as found:
                # a folder sorts as its name with the slash that its files' names have
                entries = sorted(
                    ((one.name + b"/" if one.is_dir(follow_symlinks=False) else one.name), one)
                    for one in found
                )
        except FileNotFoundError:  # removed since: the tree is in use
            return
        except OSError as error:
            raise Unreachable("read a folder", on=os.fsdecode(path), saw=error.strerror or "") from error
        for name, entry in entries:
            if name.endswith(b"/"):
                yield from self._folder(entry.path, prefix + name)
            else:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:  # removed since: the tree is in use
                    continue
                changed = Stamp(status.st_mtime_ns // 10_000)
                yield SourceFile(prefix + name, status.st_size, changed, stat.S_ISREG(status.st_mode))

    def read(self, file: SourceFile) -> Document:
        """The file as a document; it is read once for its hash, and again when it is large."""
        path = Path(os.fsdecode(os.path.join(os.fsencode(self._root), file.path)))  # noqa: PTH118  # bytes
        try:
            with path.open("rb") as opened:
                digest = hashlib.md5(usedforsecurity=False)
                content = b""
                while chunk := opened.read(CHUNK_BYTES):
                    digest.update(chunk)
                    content = chunk if file.size_bytes <= SMALL_BYTES else b""
                size = opened.tell()
        except OSError as error:
            raise Unreachable("read a file", on=str(path), saw=error.strerror or "") from error
        if size != file.size_bytes:
            raise Unreachable("read a file", on=str(path), saw="it changes while it is read")
        head = Head(digest.hexdigest(), file.stamp, size, {"Content-Type": "application/octet-stream"})
        if size <= SMALL_BYTES:
            return Document(head, content)
        return Document(head, None, _chunks(path))


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as opened:
        while chunk := opened.read(CHUNK_BYTES):
            yield chunk
