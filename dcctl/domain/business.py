"""What clients asked of the application and were told, request by request: tenders, bids, documents.

The model is that of ``domain.history``: a request is *invoked* and ends *ok* (acknowledged), *fail* (it
changed nothing) or *unknown*. What an acknowledgement or a read says is a set of *facts*; the checkers in
``domain.business_check`` compare facts and nothing else. Times named ``at_s`` are seconds since the history
began, on the client's monotonic clock; ``_epoch_s`` are seconds since 1970 by the store's clock.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias

from dcctl.domain.history import Mark, Phase


class Kind(StrEnum):
    """One request of a client; the words are those of the report."""

    TENDER = "create tender"
    ACTIVATE = "activate tender"
    BID = "create bid"
    SUBMIT = "submit bid"
    REGISTER = "register document"
    UPLOAD = "upload document"
    ATTACH = "attach document"
    READ = "read back"
    DOWNLOAD = "download document"


READS = frozenset({Kind.READ, Kind.DOWNLOAD})


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that is so: ``key`` exists, bears ``holds`` for ever, and is at least at ``rank``.

    ``rank`` is (place in its life, when it was last changed): it only grows. Keys are ``tender/ID``,
    ``tender/ID/document/ID``, ``bid/TENDER/ID``, ``bid/TENDER/ID/document/ID``, ``registered/ID`` and
    ``bytes/ID``. ``marker`` is the text by which a thing is told that was made under an unknown id.
    """

    key: str
    holds: str = ""
    rank: tuple[int, float] = (0, 0.0)
    marker: str = ""


@dataclass(frozen=True, slots=True)
class Invoked:
    """A request left us, ``late_s`` after it was due. ``subject`` is what a read asked for."""

    at_s: float
    op: int
    kind: Kind
    edge: str
    late_s: float = 0.0
    subject: str = ""
    marker: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended; ``by`` is the server that answered, as the edge named it. A read that is ok covers
    everything at and below its subject: what is not among its ``facts`` was not there."""

    at_s: float
    op: int
    outcome: Phase
    saw: str = ""
    by: str = ""
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """The scheduler's epoch in the store at that moment."""

    at_s: float
    epoch: int
    holder: str
    since_epoch_s: float


@dataclass(frozen=True, slots=True)
class Act:
    """A row that a scheduler wrote: a round of an auction, stamped with its epoch."""

    tender: str
    stage: int
    epoch: int
    started_epoch_s: float
    late_s: float
    missed: bool


@dataclass(frozen=True, slots=True)
class Copy:
    """The bytes of a document at one site: their md5, or empty when they were not there."""

    at_s: float
    site: str
    name: str
    md5: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything of this run in the database, read from the primary at the end; ``ok``: it was read."""

    at_s: float
    ok: bool
    facts: tuple[Fact, ...] = ()
    saw: str = ""


Line: TypeAlias = Invoked | Ended | Look | Act | Copy | Inventory | Mark
_KINDS: Mapping[str, type[Line]] = {
    "invoke": Invoked,
    "end": Ended,
    "look": Look,
    "act": Act,
    "copy": Copy,
    "inventory": Inventory,
    "mark": Mark,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


@dataclass(frozen=True, slots=True)
class BusinessHistory:
    """Everything the application's clients noted. ``edges`` and ``machines`` are names with their sites."""

    run: str
    began_at: datetime
    edges: Mapping[str, str]
    machines: Mapping[str, str]
    lines: tuple[Line, ...] = ()

    def mark(self, name: str) -> Mark | None:
        """The first mark of that name."""
        return next((each for each in self.marks() if each.name == name), None)

    def marks(self) -> tuple[Mark, ...]:
        """All marks, in order."""
        return tuple(line for line in self.lines if isinstance(line, Mark))


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request with its end; without a recorded end it is unknown."""

    invoked: Invoked
    ended: Ended | None

    @property
    def outcome(self) -> Phase:
        return self.ended.outcome if self.ended else Phase.UNKNOWN

    @property
    def facts(self) -> tuple[Fact, ...]:
        return self.ended.facts if self.ended else ()


def exchanges(history: BusinessHistory) -> tuple[Exchange, ...]:
    """Every request with its first end, in order of invocation."""
    ends: dict[int, Ended] = {}
    for line in history.lines:
        if isinstance(line, Ended):
            ends.setdefault(line.op, line)
    return tuple(Exchange(line, ends.get(line.op)) for line in history.lines if isinstance(line, Invoked))


@dataclass(frozen=True, slots=True)
class Response:
    """What came back, as far as it decides. ``sent``: the request may have left us. ``status`` 0: no answer.

    ``said`` is the application's own word, its header ``X-Outcome``.
    """

    sent: bool
    status: int = 0
    said: str = ""


NOT_APPLIED = "not-applied"
SUCCESS, REFUSAL = range(200, 300), range(400, 500)
REQUEST_TIMEOUT = 408


def decide_outcome(response: Response, *, changes: bool) -> Phase:
    """Whether a request is acknowledged, certainly changed nothing, or may have.

    | sent | answer                               | a change | a read |
    |------|--------------------------------------|----------|--------|
    | no   |                                      | fail     | fail   |
    | yes  | 2xx                                  | ok       | ok     |
    | yes  | 4xx but 408: refused by rule         | fail     | fail   |
    | yes  | any, ``X-Outcome: not-applied``      | fail     | fail   |
    | yes  | 503 of an edge, 502, 504, 500, 408   | unknown  | fail   |
    | yes  | no answer in time, a lost connection | unknown  | fail   |

    The application says of its own 503 which of the two it is (docs/reference/procurement.md). An edge
    answers 503 also when it had to hang up on a server that was marked down, so its 503 proves nothing.
    """
    if response.sent and response.status in SUCCESS:
        return Phase.OK
    nothing_changed = (
        not response.sent
        or not changes
        or response.said == NOT_APPLIED
        or (response.status in REFUSAL and response.status != REQUEST_TIMEOUT)
    )
    return Phase.FAIL if nothing_changed else Phase.UNKNOWN


TENDER_LIFE = ("draft", "active.enquiries", "active.tendering", "active.auction", "active.qualification")
BID_LIFE = ("draft", "pending", "active")


def place_in(life: tuple[str, ...], status: str) -> int:
    """How far a thing has come; what is not in ``life`` comes after all of it."""
    return life.index(status) if status in life else len(life)


def instant_s(written: str) -> float:
    """An instant as the application writes it, in seconds since 1970."""
    return datetime.fromisoformat(written).timestamp()


def tender_facts(body: Mapping[str, Any]) -> tuple[Fact, ...]:
    """What a tender's JSON says."""
    key = f"tender/{body['id']}"
    rank = place_in(TENDER_LIFE, body["status"]), instant_s(body["dateModified"])
    return (Fact(key, rank=rank, marker=body["title"]), *_documents(key, body))


def bid_facts(tender: str, body: Mapping[str, Any]) -> tuple[Fact, ...]:
    """What a bid's JSON says; bids name nobody but their tenderer."""
    key = f"bid/{tender}/{body['id']}"
    rank = place_in(BID_LIFE, body["status"]), instant_s(body["date"])
    return (Fact(key, rank=rank, marker=body["tenderers"][0]["name"]), *_documents(key, body))


def document_fact(of: str, body: Mapping[str, Any]) -> Fact:
    """What the record of an attached document says."""
    rank = 0, instant_s(body["dateModified"])
    return Fact(f"{of}/document/{body['id']}", body["hash"], rank, body["title"])


def _documents(of: str, body: Mapping[str, Any]) -> Iterable[Fact]:
    return (document_fact(of, each) for each in body.get("documents", ()))


def to_fields(line: Line) -> dict[str, Any]:
    """One line of ``business.jsonl`` as JSON values; what has its default is left out."""
    stated = {
        each.name: value for each in fields(line) if (value := getattr(line, each.name)) != each.default
    }
    if isinstance(line, Ended | Inventory) and line.facts:
        stated["facts"] = [_packed(fact) for fact in line.facts]
    return {"is": _NAMES[type(line)], **stated}


def from_fields(stated: Mapping[str, Any]) -> Line:
    """The inverse of ``to_fields``. Raises KeyError, TypeError or ValueError for a line that is not one."""
    given = dict(stated)
    made = _KINDS[given.pop("is")]
    if "facts" in given:
        given["facts"] = tuple(_unpacked(*fact) for fact in given["facts"])
    if "kind" in given:
        given["kind"] = Kind(given["kind"])
    if "outcome" in given:
        given["outcome"] = Phase(given["outcome"])
    return made(**given)


def _packed(fact: Fact) -> list[Any]:
    return [fact.key, fact.holds, list(fact.rank), fact.marker]


def _unpacked(key: str, holds: str, rank: list[Any], marker: str) -> Fact:
    return Fact(key, holds, (int(rank[0]), float(rank[1])), marker)
