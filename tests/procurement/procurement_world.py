"""The application as tests run it: real HTTP, real PostgreSQL, a clock that moves when told to."""

import asyncio
import contextlib
import copy
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from postgres import PASSWORD, Postgres
from procurement.cdb import Cdb
from procurement.changes import Changes
from procurement.database import Database
from procurement.documents import Documents
from procurement.domain.signature import Keyring, over_md5
from procurement.health import Health
from procurement.live import Due, Live
from procurement.scheduler import Scheduler
from procurement.service import application, listening
from procurement.storage.memory import MemoryStorage
from procurement.storage.port import Storage
from procurement.web import Brokers

START = datetime(2027, 1, 1, tzinfo=UTC)
SEED = "11" * 32
BROKERS = {"broker": "broker", "broker1": "broker1"}
MD5 = "0" * 32


class Time:
    """A clock that stands still."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **amount: float) -> None:
        self.now += timedelta(**amount)


def asynchronous(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that is a coroutine, for pytest."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


@dataclass
class Answer:
    status: int
    headers: Any
    body: Any

    @property
    def data(self) -> Any:
        return self.body["data"]

    @property
    def error(self) -> dict[str, Any]:
        assert self.body["status"] == "error", self.body
        return dict(self.body["errors"][0])


@dataclass
class World:
    """One site's processes over one database."""

    database: Database
    http: aiohttp.ClientSession
    keys: Keyring
    time: Time
    storage: Storage
    url: str = ""
    health: Health | None = None
    due: Due | None = None
    tokens: dict[str, str] = field(default_factory=dict)

    async def ask(
        self, method: str, path: str, data: Any = None, *, token: str | None = "broker", **more: Any
    ) -> Answer:
        """One request; ``data`` is wrapped as the API wants it."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        body = {"json": {"data": data}} if data is not None else {}
        async with self.http.request(
            method, self.url + path, headers=headers | more.pop("headers", {}), **(body | more)
        ) as answer:
            is_json = answer.content_type == "application/json"
            return Answer(answer.status, answer.headers, await (answer.json() if is_json else answer.read()))

    async def created(self, path: str, data: Any, **more: Any) -> Answer:
        """POST that must succeed; the tokens are remembered under the new id."""
        answer = await self.ask("POST", path, data, **more)
        assert answer.status == 201, answer.body
        if "access" in answer.body:
            self.tokens[answer.data["id"]] = answer.body["access"]["token"]
        return answer

    def owned(self, path: str, id: str) -> str:
        """A path with the access token of tender or bid ``id``."""
        return f"{path}?acc_token={self.tokens[id]}"

    def document(self, **more: Any) -> dict[str, Any]:
        """Fields of a document that the document service vouches for."""
        id, md5 = more.pop("id", "d" * 32), more.pop("md5", MD5)
        url = f"{self.url}/get/{id}?{self.keys.query(over_md5(id, md5))}"
        return {"title": "name.doc", "url": url, "hash": f"md5:{md5}", "format": "application/msword"} | more

    async def tender(self, **more: Any) -> str:
        """A draft; its id."""
        return str((await self.created("/api/2.5/tenders", tender(self.time.now, **more))).data["id"])

    async def active_tender(self, **more: Any) -> str:
        """A tender in active.enquiries; its id."""
        id = await self.tender(**more)
        path = f"/api/2.5/tenders/{id}"
        notice = self.document(documentType="notice", format="application/pkcs7-signature", title="sign.p7s")
        await self.created(self.owned(f"{path}/documents", id), notice)
        answer = await self.ask("PATCH", self.owned(path, id), {"status": "active.enquiries"})
        assert answer.status == 200, answer.body
        return id

    async def bid(self, tender_id: str, amount: float) -> str:
        """A pending bid; its id."""
        path = f"/api/2.5/tenders/{tender_id}/bids"
        id = (await self.created(path, {"tenderers": [organization()], "value": {"amount": amount}})).data[
            "id"
        ]
        await self.bid_counts(tender_id, id)
        return str(id)

    async def bid_counts(self, tender_id: str, id: str) -> None:
        """Sign a draft bid and make it pending."""
        path = f"/api/2.5/tenders/{tender_id}/bids/{id}"
        proposal = self.document(documentType="proposal", format="sign/p7s", title="Proposal.p7s")
        await self.created(self.owned(f"{path}/documents", id), proposal)
        answer = await self.ask("PATCH", self.owned(path, id), {"status": "pending"})
        assert answer.status == 200, answer.body

    async def lead(self, epoch: int = 1, holder: str = "here") -> None:
        """What a new leader does before it starts."""
        async with self.database.acknowledged() as connection:
            await connection.execute("SELECT role_epoch_bump('auction', %s, %s)", (epoch, holder))

    def scheduler(self, epoch: int, **more: Any) -> Scheduler:
        return Scheduler(self.database, epoch, "http://auctions.test", clock=self.time, **more)


@contextlib.asynccontextmanager
async def world(
    conninfo: str,
    *,
    time: Time | None = None,
    storage: Storage | None = None,
    peers: tuple[Storage, ...] = (),
    accepted: tuple[str, ...] = (),
    document_hosts: tuple[str, ...] = (),
    **database: Any,
) -> AsyncIterator[World]:
    """Both services behind one address, which stands for an edge."""
    keys, clock = Keyring(SEED, accepted), time or Time()
    store = storage or MemoryStorage("east")
    async with (
        Database(conninfo, **database) as pool,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http,
    ):
        made = World(pool, http, keys, clock, store)
        brokers = Brokers(BROKERS)
        probe = application([])
        async with listening(probe, "127.0.0.1", 0) as port:
            pass
        made.url = f"http://127.0.0.1:{port}"
        cdb = Cdb(
            pool,
            brokers,
            keys,
            made.url,
            made.url,
            frozenset({urlsplit(made.url).netloc, *document_hosts}),
            "http://auctions.test",
            clock,
        )
        documents = Documents(pool, brokers, keys, store, made.url, made.url, peers, clock)
        health = Health("all", "east", pool, store)
        changes = Changes(pool, made.url)
        made.due = Due(pool, clock=clock)
        routes = [
            *cdb.routes(),
            *changes.routes(),
            *documents.routes(),
            *Live(pool, 0.05).routes(),
            *made.due.routes(),
            *health.routes(),
        ]
        async with listening(application(routes), "127.0.0.1", port):
            yield made


def organization() -> dict[str, Any]:
    return {
        "name": "A supplier",
        "identifier": {"scheme": "UA-EDR", "id": "00137256"},
        "address": {"countryName": "Україна"},
        "contactPoint": {"name": "Somebody", "email": "somebody@example.test"},
    }


def tender(now: datetime, **more: Any) -> dict[str, Any]:
    """The fields of a new tender whose tendering begins after 7 days and ends after 14."""
    fields = {
        "title": "футляри",
        "procurementMethodType": "belowThreshold",
        "procuringEntity": organization(),
        "value": {"amount": 500, "currency": "UAH"},
        "items": [{"description": "папір", "unit": {"code": "KGM", "name": "кг"}, "quantity": 5}],
        "enquiryPeriod": {"endDate": (now + timedelta(days=7)).isoformat()},
        "tenderPeriod": {"endDate": (now + timedelta(days=14)).isoformat()},
    }
    return copy.deepcopy(fields | more)


def conninfo(server: Postgres, name: str) -> str:
    return f"host=127.0.0.1 port={server.port} user=postgres password={PASSWORD} dbname={name}"
