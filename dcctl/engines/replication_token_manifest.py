"""Carrying a static large object where nothing is signed: its segments, then itself."""

from collections.abc import Mapping

from dcctl.domain.document import Answer, Document, Head
from dcctl.domain.replication import Row
from dcctl.domain.replication_account import beside
from dcctl.domain.replication_manifest import KEPT_AS, Segment, as_put, segments_of
from dcctl.engines.replication_move import hash_of
from dcctl.errors import Unreachable
from dcctl.ports import TokenStore


async def look(store: TokenStore, container: str, name: str, *, large: bool) -> Head | None:
    """The object as a listing shows it: a large one with its own ETag and headers, not its manifest's."""
    return await (store.shown if large else store.head)(container, name)


async def carry_manifest(src: TokenStore, dst: TokenStore, container: str, row: Row) -> str:
    """``copied``, or ``moved`` where the source is not what was listed any more.

    Raises Unreachable where a segment cannot be there first. One that has other bytes at the destination is
    left alone, since that may be somebody's write: its own container's pass decides.
    """
    manifest = await _manifest(src, container, row)
    head = await src.shown(container, row.name)
    if manifest is None or head is None or (head.hash, head.stamp.ticks) != (row.hash, row.stamp.ticks):
        return "moved"
    for segment in segments_of(manifest):
        await _ensure_segment(src, dst, beside(container, segment.container), segment)
    answer = await dst.put_manifest(container, row.name, as_put(manifest), without_mark(head.headers))
    if answer is not Answer.APPLIED:
        raise Unreachable("copy", on=f"{dst.site}:{container}/{row.name}", saw=answer.value)
    return "copied"


async def kept_manifest(store: TokenStore, container: str, row: Row) -> Document | None:
    """What to keep of a large object that goes: its manifest, ready for ``multipart-manifest=put``."""
    manifest = await _manifest(store, container, row)
    if manifest is None:
        return None
    content = as_put(manifest)
    return Document(Head(hash_of(content), row.stamp, len(content), KEPT_AS), content)


def without_mark(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that a client may send of a large object: Swift alone says that it is one."""
    return {name: value for name, value in headers.items() if name.lower() != "x-static-large-object"}


async def _manifest(store: TokenStore, container: str, row: Row) -> bytes | None:
    async with store.fetch(container, row.name) as document:
        if document is None or document.head.stamp.ticks != row.stamp.ticks or not document.head.manifest:
            return None
        if document.content is None:
            on = f"{store.site}:{container}/{row.name}"
            raise Unreachable("read a manifest", on=on, saw="it has more than 1 MiB")
        return document.content


async def _ensure_segment(src: TokenStore, dst: TokenStore, container: str, segment: Segment) -> None:
    there = await look(dst, container, segment.name, large=segment.large)
    if there is not None and there.hash == segment.hash:
        return
    if there is not None:
        raise _unready(dst, container, segment, "other bytes are there: its own container's pass decides")
    head = await look(src, container, segment.name, large=segment.large)
    if head is None or head.hash != segment.hash:
        raise _unready(src, container, segment, "the large object is broken: not the bytes of its manifest")
    if segment.large:
        row = Row(segment.name, segment.hash, head.stamp, manifest=True)
        done = await carry_manifest(src, dst, container, row) == "copied"
    else:
        async with src.fetch(container, segment.name) as document:
            same = document is not None and document.head.hash == segment.hash
            answer = (
                await dst.put(container, segment.name, head.stamp, document) if same and document else None
            )
            done = answer is Answer.APPLIED
    if not done:
        raise _unready(dst, container, segment, "it could not be copied now")


def _unready(store: TokenStore, container: str, segment: Segment, saw: str) -> Unreachable:
    return Unreachable("carry a segment", on=f"{store.site}:{container}/{segment.name}", saw=saw)
