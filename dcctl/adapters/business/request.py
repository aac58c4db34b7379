"""One request of a client through one edge: sent once, judged by what came back, noted."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import aiohttp

from dcctl.adapters.business.notes import Notes
from dcctl.domain.business import READS, Ended, Fact, Invoked, Kind, Response, decide_outcome
from dcctl.domain.drill import BusinessSpec
from dcctl.domain.history import Phase

Body: TypeAlias = dict[str, Any]

SERVED_BY = "X-Served-By"
"""The edge's header that names the server which answered (playbooks/roles/edge)."""
OUTCOME = "X-Outcome"
"""The application's header that says whether a 503 changed something (docs/reference/procurement.md)."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})
ABSENT = 404
WORDS_AT_MOST = 160


@dataclass
class Lane:
    """One edge and how many requests are under way through it."""

    edge: str
    base: str
    under_way: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """``body`` is the JSON, or the bytes where it is none."""

    status: int
    body: Any
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked. ``due_s``: when it should have been; ``subject`` and ``marker`` as in ``Invoked``.

    ``facts`` says what an answer proves; it may raise for one that is no such answer.
    """

    kind: Kind
    method: str
    path: str
    facts: Callable[[Answer], tuple[Fact, ...]]
    data: Body | None = None
    file: tuple[str, bytes] | None = None
    token: str = ""
    due_s: float | None = None
    subject: str = ""
    marker: str = ""


class Requests:
    """Every request of the clients. Use as an asynchronous context manager."""

    def __init__(self, spec: BusinessSpec, lanes: Sequence[Lane], *, token: str, notes: Notes) -> None:
        self._spec, self._lanes, self._notes = spec, lanes, notes
        self._headers = {"Authorization": f"Bearer {token}"}
        self._ops = itertools.count()
        self._http: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=self._spec.answer_limit_s, sock_connect=self._spec.connect_limit_s
            ),
            trace_configs=[_tracing()],
        )

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def exchange(self, lane: Lane, ask: Ask) -> Answer | None:
        """Ask once and note what came of it. The answer when it is an acknowledgement, else None."""
        op, at_s = next(self._ops), self._notes.now_s()
        late_s = 0.0 if ask.due_s is None else round(max(0.0, at_s - ask.due_s), 6)
        self._notes.write(Invoked(at_s, op, ask.kind, lane.edge, late_s, ask.subject, ask.marker))
        response, answer, saw = await self._asked(lane, ask)
        reads = ask.kind in READS
        outcome, facts = decide_outcome(response, changes=not reads), tuple[Fact, ...]()
        if answer is not None and reads and _says_absent(answer):
            outcome = Phase.OK
        elif answer is not None and outcome is Phase.OK:
            try:
                facts = ask.facts(answer)
            except (KeyError, TypeError, ValueError, IndexError) as error:
                outcome, saw = Phase.FAIL if reads else Phase.UNKNOWN, f"no such answer: {error!r}"
        by = answer.headers.get(SERVED_BY, "") if answer is not None else ""
        saw = "" if outcome is Phase.OK else saw
        self._notes.write(Ended(self._notes.now_s(), op, outcome, saw, by, facts))
        return answer if outcome is Phase.OK else None

    async def _asked(self, lane: Lane, ask: Ask) -> tuple[Response, Answer | None, str]:
        if lane.under_way >= self._spec.in_flight_at_most:
            return Response(sent=False), None, f"not sent: {lane.under_way} requests were under way"
        lane.under_way += 1
        sent: list[bool] = []
        try:
            answer = await self._send(lane.base, ask, sent)
            if ask.kind is Kind.DOWNLOAD and answer.status in REDIRECTS:
                where = answer.headers["Location"]
                follow = Ask(ask.kind, "GET", path_of(where), ask.facts)
                answer = await self._send(self._base_of(where, lane), follow, sent)
        except (aiohttp.ClientError, TimeoutError, OSError, KeyError) as error:
            return Response(sent=bool(sent)), None, _words(error, sent=bool(sent))
        finally:
            lane.under_way -= 1
        said = answer.headers.get(OUTCOME, "")
        return Response(sent=True, status=answer.status, said=said), answer, _described(answer, said)

    async def _send(self, base: str, ask: Ask, sent: list[bool]) -> Answer:
        assert self._http is not None  # noqa: S101  # opened
        body: dict[str, Any] = {}
        if ask.data is not None:
            body["json"] = {"data": ask.data}
        if ask.file is not None:
            name, content = ask.file
            form = aiohttp.FormData()
            form.add_field("file", content, filename=name, content_type="application/pkcs7-signature")
            body["data"] = form
        async with self._http.request(
            ask.method,
            base + ask.path,
            headers=self._headers | ({"X-Access-Token": ask.token} if ask.token else {}),
            allow_redirects=False,
            trace_request_ctx=sent,
            **body,
        ) as answer:
            content = await answer.read()
            is_json = answer.content_type == "application/json"
            return Answer(answer.status, _json(content) if is_json else content, answer.headers)

    def _base_of(self, url: str, lane: Lane) -> str:
        """The edge that a redirect names; this one where it names none that we know."""
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        return next((each.base for each in self._lanes if each.base == origin), lane.base)


def path_of(url: str) -> str:
    """What an edge is asked for: clients here choose their edge themselves."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _tracing() -> aiohttp.TraceConfig:
    """Notes in a request's own list that its first byte is about to leave."""
    tracing = aiohttp.TraceConfig()

    async def leaving(_session: Any, context: Any, _params: Any) -> None:
        context.trace_request_ctx.append(True)

    tracing.on_request_headers_sent.append(leaving)
    return tracing


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content


def _says_absent(answer: Answer) -> bool:
    """The application's own 404; another server's says nothing about what is there."""
    return answer.status == ABSENT and isinstance(answer.body, dict) and answer.body.get("status") == "error"


def _described(answer: Answer, said: str) -> str:
    """A bad answer, alike for alike causes."""
    text = said or "from the edge"
    if isinstance(answer.body, dict) and answer.body.get("errors"):
        text = str(answer.body["errors"][0].get("description", ""))
    return f"{answer.status} {text}"[:WORDS_AT_MOST]


def _words(error: BaseException, *, sent: bool) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time" if sent else "not connected in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"not connected: {error.os_error.strerror or error.os_error}"[:WORDS_AT_MOST]
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"{'' if sent else 'not connected: '}{first}"[:WORDS_AT_MOST]
