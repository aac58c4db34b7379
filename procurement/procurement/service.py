"""The composition root: settings become running processes."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from logging import getLogger
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from procurement.cdb import Cdb
from procurement.changes import Changes
from procurement.database import Database
from procurement.documents import Documents
from procurement.domain.signature import SEED_BYTES, Keyring
from procurement.errors import SettingsError
from procurement.health import Health
from procurement.live import Due, Live
from procurement.scheduler import Scheduler
from procurement.settings import Settings
from procurement.storage.both import SyncStorage
from procurement.storage.swift import SwiftStorage
from procurement.supervisor import STOPPING, alive, notify
from procurement.web import Brokers, errors_in_shape

log = getLogger(__name__)

JSON_BYTES = 10 << 20
SHUTDOWN_S = 10.0
LINGER_S = 2.0  # how long a body that was refused is still read, so that its sender hears the answer

Work = Callable[[asyncio.Event], Awaitable[None]]


class PathOnly(AbstractAccessLogger):
    """One line per request, without the query: tokens and signatures travel there."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        self.logger.info("%s %s %s %.0f ms", request.method, request.path, response.status, time * 1000)


def application(routes: list[web.RouteDef]) -> web.Application:
    """An application of these routes, with errors in the API's shape."""
    made = web.Application(middlewares=[errors_in_shape], client_max_size=JSON_BYTES)
    made.add_routes(routes)
    return made


@contextlib.asynccontextmanager
async def listening(made: web.Application, address: str, port: int) -> AsyncIterator[int]:
    """Serve ``made``; the port, chosen by the system when 0. Requests under way are finished at the end."""
    runner = web.AppRunner(
        made, access_log_class=PathOnly, shutdown_timeout=SHUTDOWN_S, lingering_time=LINGER_S
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, address, port)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def serve_cdb(settings: Settings) -> None:
    """Tenders and their changes, until a signal. Raises SettingsError, Unavailable."""
    documents_url = settings.url("DOCUMENTS_URL")
    async with database_of(settings) as database:
        cdb = Cdb(
            database=database,
            brokers=Brokers(settings.brokers()),
            keys=keyring_of(settings),
            public_url=settings.url("PUBLIC_URL"),
            documents_url=documents_url,
            document_hosts=frozenset(
                {urlsplit(documents_url).netloc, *settings.text("DOCUMENT_HOSTS", "").split()}
            ),
            auction_url=settings.url("AUCTION_URL", settings.text("PUBLIC_URL")),
        )
        health = Health("cdb", settings.text("SITE"), database)
        changes = Changes(database, settings.url("PUBLIC_URL"))
        parts = (cdb, changes, health)
        await _serve(settings, [route for part in parts for route in part.routes()])


async def serve_live(settings: Settings) -> None:
    """The public view of auctions, until a signal. Raises SettingsError."""
    async with database_of(settings) as database:
        health = Health("live", settings.text("SITE"), database)
        due = Due(database)
        await _serve(settings, [*Live(database).routes(), *due.routes(), *health.routes()], due.run)


async def serve_documents(settings: Settings) -> None:
    """The document service, until a signal. Raises SettingsError, Unavailable."""
    async with database_of(settings) as database, AsyncExitStack() as stack:
        own, peer = settings.swift(), settings.swift("PEER_SWIFT")
        if own is None:
            raise SettingsError("PROCUREMENT_SWIFT_AUTH_URL is not set")
        storage = await stack.enter_async_context(SwiftStorage(own))
        peers = (await stack.enter_async_context(SwiftStorage(peer)),) if peer else ()
        documents = Documents(
            database=database,
            brokers=Brokers(settings.brokers()),
            keys=keyring_of(settings),
            storage=SyncStorage(storage, peers[0]) if peers and own.sync else storage,
            upload_url=settings.url("UPLOAD_URL", settings.text("DOCUMENTS_URL")),
            get_url=settings.url("DOCUMENTS_URL"),
            peers=peers,
        )
        health = Health("documents", settings.text("SITE"), database, storage)
        await storage.ensure()
        await _serve(settings, [*documents.routes(), *health.routes()])


async def serve_auction(settings: Settings) -> None:
    """The scheduler, until a signal. Raises SettingsError, and StaleEpoch when somebody else leads."""
    text = settings.given_by_dcctl("EPOCH") or ""
    if not text.isdecimal() or int(text) == 0:
        raise SettingsError(
            "DCCTL_EPOCH is not set to an epoch: run this under `dcctl leader hold auction --`"
        )
    lease = settings.given_by_dcctl("LEASE_FILE")
    async with database_of(settings) as database:
        scheduler = Scheduler(
            database=database,
            epoch=int(text),
            auction_url=settings.url("AUCTION_URL", settings.text("PUBLIC_URL")),
            round_length=timedelta(seconds=settings.number("ROUND_S", 120)),
            tick_s=settings.number("TICK_S", 1),
        )
        health = Health("auction", settings.text("SITE"), database, lease_file=Path(lease) if lease else None)
        await _serve(settings, health.routes(), scheduler.run)


def database_of(settings: Settings) -> Database:
    """The pool; ``DATABASE`` is a libpq connection string without the password."""
    return Database(settings.text("DATABASE"), password=settings.optional_secret("DATABASE_PASSWORD"))


def keyring_of(settings: Settings) -> Keyring:
    """Our signing key (64 hex digits) and the public keys accepted beside it."""
    seed = settings.secret("SIGNING_KEY")
    accepted = settings.text("ACCEPTED_KEYS", "").split()
    try:
        keyring = Keyring(seed, accepted)
    except ValueError as error:
        raise SettingsError(
            f"PROCUREMENT_SIGNING_KEY or _ACCEPTED_KEYS: {SEED_BYTES} bytes in hex each"
        ) from error
    return keyring


async def _serve(settings: Settings, routes: list[web.RouteDef], work: Work | None = None) -> None:
    """Listen, and do ``work`` beside it, until SIGTERM or SIGINT; then finish what is under way."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    address, port = settings.listen()
    async with listening(application(routes), address, port) as bound, alive():
        log.info("listening on %s:%d", address, bound)
        await (work(stop) if work else stop.wait())
        notify(STOPPING)
