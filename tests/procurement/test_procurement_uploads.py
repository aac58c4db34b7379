"""The document service as a process over a real Swift and a real PostgreSQL, killed while clients upload."""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psycopg
import pytest
from postgres import free_port
from procurement.settings import SwiftSettings
from procurement.storage.swift import SwiftStorage
from procurement_world import asynchronous

from dcctl.testing.swift_pair import Cluster

PACKAGE = Path(__file__).parents[2] / "procurement"
BROKER = {"Authorization": "Bearer broker"}
KILLS, CLIENTS = 3, 4


class Service:
    """The process, which may be killed and started again on its port."""

    def __init__(self, database: str, cluster: Cluster, folder: Path) -> None:
        secrets = {
            "brokers": '{"broker": "broker"}',
            "key": "11" * 32,
            "swift": "testing",
            "temp": "a-temp-url-key",
        }
        for name, text in secrets.items():
            (folder / name).write_text(text)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.swift = SwiftSettings(
            site="east", auth_url=cluster.auth_url, user="test:tester", key="testing", container="uploads"
        )
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(PACKAGE),
            "PROCUREMENT_SITE": "east",
            "PROCUREMENT_LISTEN": f"127.0.0.1:{port}",
            "PROCUREMENT_DOCUMENTS_URL": self.url,
            "PROCUREMENT_DATABASE": database,
            "PROCUREMENT_BROKERS": f"file:{folder}/brokers",
            "PROCUREMENT_SIGNING_KEY": f"file:{folder}/key",
            "PROCUREMENT_SWIFT_AUTH_URL": cluster.auth_url,
            "PROCUREMENT_SWIFT_PUBLIC_URL": cluster.url,
            "PROCUREMENT_SWIFT_USER": "test:tester",
            "PROCUREMENT_SWIFT_KEY": f"file:{folder}/swift",
            "PROCUREMENT_SWIFT_TEMP_URL_KEY": f"file:{folder}/temp",
            "PROCUREMENT_SWIFT_CONTAINER": "uploads",
        }

    async def start(self, http: aiohttp.ClientSession) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "procurement", "serve", "documents"],
            env=self.environment,
            stderr=subprocess.DEVNULL,
            cwd="/",
        )
        for _ in range(600):
            try:
                async with http.get(f"{self.url}/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                assert self.process.poll() is None, "it ended by itself"
            await asyncio.sleep(0.05)
        raise AssertionError("it did not become ready")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


async def upload(service: Service, http: aiohttp.ClientSession, content: bytes) -> dict[str, Any] | None:
    """What was acknowledged; None: it was not."""
    form = aiohttp.FormData(quote_fields=False)
    form.add_field("file", content, filename="файл.txt", content_type="text/plain")
    try:
        async with http.post(f"{service.url}/upload", data=form, headers=BROKER) as answer:
            return json.loads(await answer.text()) if answer.status == 200 else None
    except aiohttp.ClientError:
        return None


@pytest.mark.swift
@asynchronous
async def test_what_was_acknowledged_is_there_whenever_the_service_was_killed(
    database: str, cluster: Cluster, tmp_path: Path
) -> None:
    service, acknowledged, stop = Service(database, cluster, tmp_path), {}, asyncio.Event()

    async def client(number: int, http: aiohttp.ClientSession) -> None:
        count = 0
        while not stop.is_set():
            content = f"{number}-{count}".encode()
            answer = await upload(service, http, content)
            if answer is None:
                await asyncio.sleep(0.05)
            else:
                acknowledged[content] = answer
            count += 1

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http:
        try:
            await service.start(http)
            clients = [asyncio.create_task(client(number, http)) for number in range(CLIENTS)]
            for kill in range(1, KILLS + 1):
                while len(acknowledged) < 15 * kill:
                    await asyncio.sleep(0.005)
                service.kill()
                await service.start(http)
            stop.set()
            await asyncio.gather(*clients)
            await verify(database, service, acknowledged)
            await redirected(http, *next(iter(acknowledged.items())))
        finally:
            stop.set()
            service.kill()


async def verify(database: str, service: Service, acknowledged: dict[bytes, dict[str, Any]]) -> None:
    """Each is in Swift with its md5, and finished in the outbox."""
    async with await psycopg.AsyncConnection.connect(database) as connection:
        rows = await connection.execute("SELECT name, done IS NOT NULL FROM document_outbox")
        outbox = dict(await rows.fetchall())
    assert len(acknowledged) >= 15 * KILLS
    async with SwiftStorage(service.swift) as storage:
        for content, answer in acknowledged.items():
            id = urlsplit(answer["data"]["url"]).path.rsplit("/", 1)[1]
            stored = await storage.head(id)
            assert stored is not None
            assert stored.md5 == hashlib.md5(content, usedforsecurity=False).hexdigest()
            assert outbox[id]


async def redirected(http: aiohttp.ClientSession, content: bytes, answer: dict[str, Any]) -> None:
    """A download leads to Swift itself, under the name that the document had."""
    async with http.get(answer["get_url"]) as got:
        assert [each.status for each in got.history] == [302]
        assert "temp_url_sig" in got.url.query
        assert await got.read() == content
        assert got.content_disposition is not None
        assert got.content_disposition.filename == "файл.txt"
