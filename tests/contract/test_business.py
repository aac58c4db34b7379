"""The application's clients against the real application: two processes, one PostgreSQL, a real scheduler.

Processes are killed and frozen under them. What they note must be true, and the checkers must see through
every way in which such a system could break its word.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from business_site import TOKEN
from postgres import PASSWORD, Postgres, free_port, running_postgres
from procurement.database import migrate

from dcctl.adapters.business import HttpBusiness, PostgresRecord
from dcctl.domain.business import READS, BusinessHistory, Kind, Line, exchanges
from dcctl.domain.business_check import (
    ActingFindings,
    BusinessFindings,
    check_acting,
    check_business,
    decide_courses,
)
from dcctl.domain.document import Document, Head
from dcctl.domain.drill import BusinessSpec
from dcctl.domain.history import Phase
from dcctl.domain.replication import Stamp
from dcctl.errors import DcctlError
from dcctl.testing.contracts.business import BusinessContract

HERE = Path(__file__)
PACKAGE = HERE.parents[2] / "procurement"
SITES = {"east": "127.0.0.21", "west": "127.0.0.22"}
RUN = "20260102-030405-drill-ab12"
LIMIT_S = 40.0
CLEAN = BusinessFindings(inventory=True)


class FolderStore:
    """``ports.DocumentStore``, as far as a drill asks: the bytes in a folder."""

    def __init__(self, site: str, folder: Path) -> None:
        self.site = site
        self._folder = folder / site

    @contextlib.asynccontextmanager
    async def fetch(self, _container: str, name: str) -> AsyncIterator[Document | None]:
        path = self._folder / name
        yield Document(Head("", Stamp(0), 0), path.read_bytes()) if path.exists() else None


class Sites:
    """The application at two sites: processes that share a database; each keeps documents in a folder."""

    def __init__(self, server: Postgres, folder: Path) -> None:
        self.server, self.folder, self.port = server, folder, free_port()
        self.conninfo = f"host=127.0.0.1 port={server.port} user=postgres dbname=postgres"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, site: str) -> None:
        listen = f"{SITES[site]}:{self.port}"
        argv = [sys.executable, str(HERE.with_name("business_site.py")), site, listen]
        self.run(site, [*argv, str(self.folder), self.conninfo])
        asyncio.run(self._answers(f"http://{listen}/api/2.5/tenders/none"))

    async def _answers(self, url: str) -> None:
        async with aiohttp.ClientSession() as http:
            for _ in range(400):
                with contextlib.suppress(aiohttp.ClientError):
                    async with http.get(url) as answer:
                        assert answer.status == 404
                        return
                await asyncio.sleep(0.05)
        raise AssertionError(f"{url} does not answer")

    def run(self, name: str, argv: list[str], settings: Mapping[str, str] | None = None) -> None:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PACKAGE), "PGPASSWORD": PASSWORD}
        self._processes[name] = subprocess.Popen(
            argv,
            env=environment | dict(settings or {}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def signal(self, name: str, number: signal.Signals) -> None:
        self._processes[name].send_signal(number)
        if number is signal.SIGKILL:
            self._processes[name].wait()

    def end(self, names: Iterable[str]) -> None:
        for name in tuple(names):
            self.signal(name, signal.SIGKILL)
            del self._processes[name]

    def schedulers(self) -> set[str]:
        return set(self._processes) - set(SITES)


class World:
    """Clients of both sites, and what carries the documents between them."""

    def __init__(self, sites: Sites) -> None:
        self.sites, self.server, self.folder = sites, sites.server, sites.folder
        self.kept: list[Line] = []
        self.replicates = threading.Event()
        self._ending = threading.Event()
        self._replicator = threading.Thread(target=self._replicate)
        self.replicates.set()
        self._replicator.start()
        spec = BusinessSpec(
            tenders_per_s=2, bids_per_s=3, documents_per_s=1, reads_per_s=6, looks_per_s=10,
            document_bytes=100, tendering_s=5.0, connect_limit_s=1.0, answer_limit_s=2.0,
        )  # fmt: skip
        self.business = HttpBusiness(
            spec,
            run=RUN,
            edges={
                f"{site}-edge-1": (site, f"http://{address}:{sites.port}") for site, address in SITES.items()
            },
            machines={f"{site}-app-1": site for site in SITES},
            token=TOKEN,
            record=PostgresRecord(sites.conninfo, password=PASSWORD),
            stores=self._stores,
            container="documents",
            keep=self.kept.append,
            now=lambda: datetime.now(UTC),
        )

    @contextlib.asynccontextmanager
    async def _stores(self) -> AsyncIterator[Mapping[str, Any]]:
        yield {site: FolderStore(site, self.folder) for site in SITES}

    def _replicate(self) -> None:
        while not self._ending.wait(0.1):
            if self.replicates.is_set():
                for source, target in (("east", "west"), ("west", "east")):
                    for path in (self.folder / source).glob("[!.]*"):
                        if not (copy := self.folder / target / path.name).exists():
                            shutil.copy(path, copy)

    def lead(self, epoch: int) -> None:
        """What ``dcctl leader hold`` does: the bump is committed before the work begins."""
        self.server.query(f"SELECT role_epoch_bump('auction', {epoch}, 'holder-{epoch}')")
        password = self.folder / "password"
        password.write_text(PASSWORD)
        settings = {
            "DCCTL_EPOCH": str(epoch),
            "PROCUREMENT_SITE": "east",
            "PROCUREMENT_LISTEN": f"127.0.0.1:{free_port()}",
            "PROCUREMENT_DATABASE": self.sites.conninfo,
            "PROCUREMENT_DATABASE_PASSWORD": f"file:{password}",
            "PROCUREMENT_PUBLIC_URL": "http://auctions.test",
            "PROCUREMENT_ROUND_S": "0.5",
            "PROCUREMENT_TICK_S": "0.1",
        }
        argv = [sys.executable, "-m", "procurement", "serve", "auction"]
        self.sites.run(f"scheduler-{epoch}", argv, settings)

    def until(self, reached: Callable[[BusinessHistory], bool]) -> None:
        """Let the clients run until their history shows it."""
        deadline = time.monotonic() + LIMIT_S
        while not reached(self.business.history()):
            assert time.monotonic() < deadline, seen(self.business.history())
            time.sleep(0.1)

    def until_acknowledged(self, kind: Kind, more: int) -> None:
        wanted = len(acknowledged(self.business.history(), kind)) + more
        self.until(lambda history: len(acknowledged(history, kind)) >= wanted)

    def close(self) -> None:
        self._ending.set()
        self._replicator.join()
        with contextlib.suppress(DcctlError):
            self.business.stop()
        self.sites.end(self.sites.schedulers())


def seen(history: BusinessHistory) -> Counter[tuple[str, str]]:
    """How requests ended, for a test that fails."""
    ends = [(str(each.outcome), each.ended.saw if each.ended else "") for each in exchanges(history)]
    return Counter(ends)


def acknowledged(history: BusinessHistory, *kinds: Kind) -> list[Any]:
    return [each for each in exchanges(history) if each.invoked.kind in kinds and each.outcome is Phase.OK]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with running_postgres(max_connections="60") as server:
        asyncio.run(
            migrate(f"host=127.0.0.1 port={server.port} user=postgres dbname=postgres password={PASSWORD}")
        )
        yield server


@pytest.fixture(scope="module")
def sites(server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    sites = Sites(server, tmp_path_factory.mktemp("documents"))
    try:
        for site in SITES:
            sites.start(site)
        yield sites
    finally:
        sites.end([*sites.schedulers(), *SITES])


@contextlib.contextmanager
def at_work(sites: Sites) -> Iterator[World]:
    sites.server.query("TRUNCATE tender, bid, auction, auction_stage, document, document_outbox, role_epoch")
    world = World(sites)
    try:
        yield world
    finally:
        with contextlib.suppress(AssertionError):
            sites.server.start()
        world.close()


@pytest.fixture
def world(sites: Sites) -> Iterator[World]:
    with at_work(sites) as world:
        yield world


class Contracted:
    """``BusinessWorld`` over the real application."""

    sites = ("east", "west")

    def __init__(self, world: World) -> None:
        self.business = world.business

    def pass_time(self, seconds: float) -> None:
        time.sleep(seconds)


class TestHttpBusiness(BusinessContract):
    @pytest.fixture
    def world(self, sites: Sites) -> Iterator[Contracted]:
        with at_work(sites) as world:
            world.lead(1)
            yield Contracted(world)


def test_a_system_that_works_is_clean_and_a_successor_takes_over(world: World) -> None:
    rounds = "SELECT count(*) FROM auction_stage WHERE epoch = {}"
    world.lead(1)
    world.business.start()
    world.until(lambda history: all(acknowledged(history, kind) for kind in Kind))
    world.until(lambda history: len(acknowledged(history, *READS)) > 20)
    await_count(world, rounds.format(1))
    world.sites.signal("scheduler-1", signal.SIGSTOP)
    world.lead(2)
    world.sites.signal("scheduler-1", signal.SIGCONT)
    await_count(world, rounds.format(2))
    history = world.business.stop()
    bad = [each for each in exchanges(history) if each.outcome is not Phase.OK]
    assert bad == []
    assert check_business(history) == CLEAN
    acting = check_acting(history)
    assert (acting.fell, acting.overlapped) == ((), ())
    assert [look.epoch for look in acting.epochs] == [1, 2]
    assert world.kept == list(history.lines)
    assert {each.ended.by for each in exchanges(history) if each.ended} == {"east-app-1", "west-app-1"}


def test_killed_and_frozen_sites_lose_nothing_that_was_acknowledged(world: World) -> None:
    world.lead(1)
    world.business.start()
    world.until_acknowledged(Kind.ATTACH, 5)
    world.sites.signal("east", signal.SIGKILL)
    world.sites.signal("west", signal.SIGSTOP)
    world.until(
        lambda history: any(each.ended and each.outcome is Phase.UNKNOWN for each in exchanges(history))
    )
    world.sites.signal("west", signal.SIGCONT)
    world.sites.start("east")
    world.until_acknowledged(Kind.ATTACH, 5)
    history = world.business.stop()
    outcomes = {each.outcome for each in exchanges(history) if each.invoked.kind not in READS}
    assert outcomes == {Phase.OK, Phase.FAIL, Phase.UNKNOWN}
    assert {each.ended.saw for each in exchanges(history) if each.ended and each.outcome is Phase.UNKNOWN}
    assert check_business(history) == CLEAN


def test_a_database_that_dies_loses_nothing_that_was_acknowledged(world: World) -> None:
    world.lead(1)
    world.business.start()
    world.until_acknowledged(Kind.ATTACH, 5)
    world.server.stop("immediate")
    world.until(
        lambda history: any(each.ended and each.outcome is not Phase.OK for each in exchanges(history))
    )
    world.server.start()
    world.until_acknowledged(Kind.ATTACH, 5)
    history = world.business.stop()
    assert check_business(history) == CLEAN


def test_what_is_removed_behind_its_back_is_lost_by_name(world: World) -> None:
    world.business.start()
    world.until_acknowledged(Kind.SUBMIT, 2)
    made = acknowledged(world.business.history(), Kind.TENDER)[0].facts[0].key
    registered = acknowledged(world.business.history(), Kind.UPLOAD)[0].facts[0].key
    submitted = acknowledged(world.business.history(), Kind.SUBMIT)[0].facts[0].key
    tender, name = made.removeprefix("tender/"), registered.removeprefix("bytes/")
    world.server.query(f"UPDATE tender SET body = body || '{{\"title\": \"gone\"}}' WHERE id = '{tender}'")  # noqa: S608
    world.server.query(f"UPDATE document SET md5 = 'other' WHERE id = '{name}'")  # noqa: S608
    world.server.query(f"DELETE FROM bid WHERE id = '{submitted.rpartition('/')[2]}'")  # noqa: S608
    findings = check_business(world.business.stop())
    assert {made, registered, submitted} <= set(findings.lost)
    assert registered in findings.altered


def test_a_record_that_cannot_be_read_proves_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcctl.adapters.business.workload.INVENTORY_LIMIT_S", 1.0)
    world.business.start()
    world.until_acknowledged(Kind.TENDER, 1)
    world.server.stop("immediate")
    assert not check_business(world.business.stop()).inventory


def test_documents_that_were_not_carried_are_named_and_told_when_they_come(world: World) -> None:
    world.business.start()
    world.until_acknowledged(Kind.UPLOAD, 3)
    world.replicates.clear()
    world.until_acknowledged(Kind.UPLOAD, 4)
    world.business.mark("fault", "east")
    missing = set(world.business.seek("west"))
    assert missing
    assert missing == {each.name for each in decide_courses(world.business.history()) if each.at_risk}
    world.business.mark("healed", "east")
    world.replicates.set()
    history = world.business.stop()
    deadline = time.monotonic() + LIMIT_S
    while world.business.seek("west") or world.business.seek("east"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    courses = decide_courses(world.business.history())
    assert {each.name for each in courses if each.at_risk} == missing
    assert all(set(each.arrived) == set(SITES) and not each.wrong for each in courses)
    assert check_business(history).lost == ()


def await_count(world: World, query: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while world.server.query(query) == "0":
        assert time.monotonic() < deadline, query
        time.sleep(0.1)


def test_an_empty_history_is_no_finding(world: World) -> None:
    history = BusinessHistory(RUN, datetime.now(UTC), {}, {})
    assert check_acting(history) == ActingFindings(())
    assert world.business.seek("east") == ()
