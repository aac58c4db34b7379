"""Merging two sorted listings and the base, a range of names at a time, parsing only what differs.

Rows travel as the texts that Swift sent. A replica's row has the same text as its source's (same hash,
same stamp to the last digit), so equal texts need no parsing: a million unchanged rows cost two digests
per page.
"""

import hashlib
import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dcctl.domain.replication import Copy, Decision, Offer, Refresh, Row, Side, row_of

_BETWEEN = b"}, {"


def split_page(page: bytes) -> list[bytes]:
    """The texts of a listing's rows, cut and not parsed.

    A name that holds the separator itself cuts its row in two; both halves are no JSON, which
    ``rows_of`` then says.
    """
    return page[2:-2].split(_BETWEEN) if len(page) > len(b"[]") else []


def count_rows(page: bytes) -> int:
    """How many texts ``split_page`` would give."""
    return page.count(_BETWEEN) + 1 if len(page) > len(b"[]") else 0


def whole_rows(page: bytes) -> list[bytes]:
    """The same by parsing all of it: slow, and right for every name."""
    return [json.dumps(entry).encode()[1:-1] for entry in json.loads(page)]


def rows_of(texts: Iterable[bytes]) -> list[tuple[Row, bytes]]:
    """Rows with their texts, in the order given. Raises ValueError where a text is not a whole row."""
    kept = list(texts)
    if not kept:
        return []
    entries = json.loads(_page(kept))
    if len(entries) != len(kept):
        raise ValueError("a row was cut inside its name")
    return [(row_of(entry), text) for entry, text in zip(entries, kept, strict=True)]


@dataclass(frozen=True, slots=True)
class Witness:
    """What the three say of one name, with the texts they said it in."""

    base: Row | None = None
    a: Row | None = None
    b: Row | None = None
    base_text: bytes | None = None
    a_text: bytes | None = None
    b_text: bytes | None = None

    def row(self, side: Side) -> Row:
        row = self.a if side is Side.A else self.b
        assert row is not None, "a decision speaks of a side that has the name"  # noqa: S101
        return row

    def text(self, decision: Decision) -> bytes | None:
        """The text both sides list once ``decision`` was carried out."""
        match decision:
            case Copy(side) | Refresh(side) | Offer(side):
                return self.a_text if side is Side.A else self.b_text
            case _:
                return self.a_text


@dataclass(frozen=True, slots=True)
class Range:
    """``after`` < name <= ``upto`` (None: to the end).

    ``common`` are texts on which both sides agree, ``rows`` their number; ``witnesses`` the names on which
    they do not; ``beyond`` base rows after the range that were looked at and belong to the next.
    ``unchanged``: all of it is as the base has it.
    """

    after: str
    upto: str | None
    common: Sequence[bytes] = ()
    rows: int = 0
    witnesses: Mapping[str, Witness] = field(default_factory=dict)
    beyond: Sequence[bytes] = ()
    digest: bytes | None = None
    unchanged: bool = False


def range_end(pages: Mapping[Side, bytes], page_rows: int) -> str | None:
    """The last name of which both pages can speak; None when both reach the end of their listing."""
    ends = []
    for page in pages.values():
        if count_rows(page) < page_rows:
            continue
        try:
            ends.append(_name(page[page.rindex(b"{") + 1 : -2]))
        except ValueError:  # the last name holds a brace
            ends.append(_name(whole_rows(page)[-1]))
    return min(ends, key=str.encode) if ends else None


def same_range(after: str, upto: str | None, page: bytes, digest: bytes, base: Sequence[bytes]) -> Range:
    """Both sides sent the same text: nothing to do but to remember it."""
    common = split_page(page)
    beyond: list[bytes] = []
    if upto is not None and base:
        known = set(common)
        try:
            left = rows_of(text for text in base if text not in known)
        except ValueError:
            left = rows_of(whole_rows(_page(base)))
        beyond = [text for row, text in left if row.name.encode() > upto.encode()]
    return Range(after, upto, common=common, rows=len(common), digest=digest, beyond=beyond)


def cut_range(
    after: str, upto: str | None, pages: Mapping[Side, bytes], base: Sequence[bytes], prefix: str
) -> Range:
    """The range's names on which the sides differ, each with all three witnesses."""
    try:
        return _cut(after, upto, pages, base, prefix, split_page)
    except ValueError:  # a name that holds the separator between rows
        return _cut(after, upto, pages, whole_rows(_page(base)) if base else [], prefix, whole_rows)


def _cut(  # noqa: PLR0917  # cut_range, with the way to split said
    after: str,
    upto: str | None,
    pages: Mapping[Side, bytes],
    base: Sequence[bytes],
    prefix: str,
    split: Callable[[bytes], list[bytes]],
) -> Range:
    texts_a, texts_b = split(pages[Side.A]), split(pages[Side.B])
    set_a, set_b = set(texts_a), set(texts_b)
    common = [text for text in texts_a if text in set_b]
    low, high = after.encode(), upto.encode() if upto is not None else None

    def within(texts: Iterable[bytes]) -> dict[str, tuple[Row, bytes]]:
        return {
            row.name: (row, text)
            for row, text in rows_of(texts)
            if low < (name := row.name.encode()) and (high is None or name <= high)
        }

    only_a = within(text for text in texts_a if text not in set_b)
    only_b = within(text for text in texts_b if text not in set_a)
    gone = [text for text in base if text not in set_a or text not in set_b]
    known = within(gone)
    beyond = [text for row, text in rows_of(gone) if high is not None and row.name.encode() > high]
    nothing = (None, None)
    witnesses = {}
    for name in sorted({*only_a, *only_b}):
        (base_row, base_text), (a, a_text), (b, b_text) = (
            known.get(name, nothing),
            only_a.get(name, nothing),
            only_b.get(name, nothing),
        )
        if name.startswith(prefix):
            witnesses[name] = Witness(base_row, a, b, base_text, a_text, b_text)
    return Range(after, upto, common=common, rows=len(common), witnesses=witnesses, beyond=beyond)


def digest_of(page: bytes) -> bytes:
    """By which the base knows a page that both sides sent."""
    return hashlib.blake2b(page, digest_size=16).digest()


def settled_page(common: Sequence[bytes], agreed: Mapping[str, bytes]) -> bytes:
    """The page that both sides will send of a range once they agree on these names too, with these texts.

    Raises ValueError where a text is not a whole row.
    """
    texts: list[bytes] = []
    done = 0
    for name in sorted(agreed, key=str.encode):
        place = bisect_left(common, name.encode(), lo=done, key=lambda text: _name(text).encode())
        texts += [*common[done:place], agreed[name]]
        done = place
    texts += common[done:]
    return _page(texts) if texts else b"[]"


def _name(text: bytes) -> str:
    return str(json.loads(b"{" + text + b"}")["name"])


def _page(texts: Sequence[bytes]) -> bytes:
    return b"[{" + _BETWEEN.join(texts) + b"}]"
