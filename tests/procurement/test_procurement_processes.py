"""The real processes, from their command line: start, serve, fence, end."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from postgres import Postgres, free_port
from procurement.database import migrate
from procurement.errors import SettingsError, Unavailable
from procurement.service import serve_auction, serve_cdb, serve_documents, serve_live
from procurement.settings import Settings
from procurement_world import asynchronous, conninfo

PACKAGE = Path(__file__).parents[2] / "procurement"
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def settings(database: str, tmp_path: Path) -> dict[str, str]:
    password = psycopg.conninfo.conninfo_to_dict(database).pop("password")
    for name, text in (
        ("password", str(password)),
        ("brokers", '{"broker": "broker"}'),
        ("key", "11" * 32),
    ):
        (tmp_path / name).write_text(text + "\n")
    port = free_port()
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(PACKAGE),
        "PROCUREMENT_SITE": "east",
        "PROCUREMENT_LISTEN": f"127.0.0.1:{port}",
        "PROCUREMENT_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "PROCUREMENT_DOCUMENTS_URL": "http://docs.test",
        "PROCUREMENT_DATABASE": psycopg.conninfo.make_conninfo(database, password=None),
        "PROCUREMENT_DATABASE_PASSWORD": f"file:{tmp_path}/password",
        "PROCUREMENT_BROKERS": f"file:{tmp_path}/brokers",
        "PROCUREMENT_SIGNING_KEY": f"file:{tmp_path}/key",
    }


@pytest.fixture
def start() -> Iterator[Start]:
    processes: list[subprocess.Popen[str]] = []

    def begin(settings: dict[str, str], *argv: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "procurement", *argv],
            env=settings,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
        )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str], code: int) -> str:
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code, errors
    assert "Traceback" not in errors, errors
    return errors


def get(settings: dict[str, str], path: str) -> tuple[int, Any]:
    """Asked until somebody listens."""
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(settings["PROCUREMENT_PUBLIC_URL"] + path, timeout=5) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def test_migrate_twice_then_serve_until_told_to_end(settings: dict[str, str], start: Start) -> None:
    for _ in range(2):
        ended(start(settings, "migrate"), 0)
    process = start(settings, "serve", "cdb")
    assert get(settings, "/readyz")[0] == 200
    assert get(settings, "/api/2.5/tenders?offset=&acc_token=never-to-be-logged")[1]["data"] == []
    process.send_signal(signal.SIGTERM)
    errors = ended(process, 0)
    assert "GET /api/2.5/tenders 200" in errors
    assert "never-to-be-logged" not in errors


@pytest.fixture
def empty(postgres: Postgres) -> Iterator[str]:
    """A database without a schema."""
    postgres.query("CREATE DATABASE empty")
    yield conninfo(postgres, "empty")
    postgres.query("DROP DATABASE empty WITH (FORCE)")


@asynchronous
async def test_migrate_says_whether_it_changed_anything(empty: str) -> None:
    steps = [(True, True), (True, True), (False, True), (True, False), (False, False)]
    assert [(check, await migrate(empty, check=check)) for check, _ in steps] == steps


@asynchronous
async def test_a_schema_of_another_version_is_brought_to_ours(empty: str) -> None:
    """Also an older one's after a newer one's: a deploy that is taken back."""
    await migrate(empty)
    async with await psycopg.AsyncConnection.connect(empty) as connection:
        await connection.execute("INSERT INTO schema_version (digest) VALUES ('of another')")
        await connection.execute("DROP FUNCTION role_epoch_check")
    assert await migrate(empty)
    async with await psycopg.AsyncConnection.connect(empty) as connection:
        await connection.execute("SELECT to_regprocedure('role_epoch_check(text, bigint)')::oid")
    assert not await migrate(empty)


@asynchronous
async def test_migrate_does_not_make_the_application_wait(empty: str) -> None:
    """When there is nothing to do it takes no lock; when there is and a table is held, it gives up soon."""
    await migrate(empty)
    async with await psycopg.AsyncConnection.connect(empty) as connection:
        await connection.execute("LOCK TABLE tender IN ACCESS EXCLUSIVE MODE")
        assert not await migrate(empty)
        async with await psycopg.AsyncConnection.connect(empty) as other:
            await other.execute("INSERT INTO schema_version (digest) VALUES ('of another')")
        with pytest.raises(Unavailable, match="lock timeout"):
            await migrate(empty)


def test_the_view_of_auctions_is_a_part_of_its_own(settings: dict[str, str], start: Start) -> None:
    process = start(settings, "serve", "live")
    assert get(settings, "/readyz")[1]["service"] == "live"
    assert get(settings, "/auctions")[1]["data"] == [], "it reads what is due by itself"
    with pytest.raises(OSError, match="404"):
        urllib.request.urlopen(f"{settings['PROCUREMENT_PUBLIC_URL']}/auctions/none", timeout=5)  # noqa: S310
    process.send_signal(signal.SIGTERM)
    ended(process, 0)


def test_a_part_tells_its_supervisor_that_it_is_ready_and_lives(
    settings: dict[str, str], start: Start, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "notify"))
        supervisor.settimeout(20)
        told = settings | {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"}
        process = start(told, "serve", "live")
        assert [supervisor.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
        process.send_signal(signal.SIGTERM)
        while supervisor.recv(100) != b"STOPPING=1":
            pass
        ended(process, 0)


WRONG: tuple[tuple[dict[str, str | None], str, str], ...] = (
    ({"PROCUREMENT_SITE": None}, "cdb", "PROCUREMENT_SITE is not set"),
    ({"PROCUREMENT_BROKERS": "broker"}, "cdb", "PROCUREMENT_BROKERS must be file:PATH or env:NAME"),
    ({"PROCUREMENT_BROKERS": "file:/none"}, "cdb", "PROCUREMENT_BROKERS: cannot read file:/none"),
    ({"PROCUREMENT_BROKERS": "env:SHORT"}, "cdb", "PROCUREMENT_BROKERS does not refer to JSON"),
    ({"PROCUREMENT_BROKERS": "env:NUMBER"}, "cdb", "PROCUREMENT_BROKERS must be an object"),
    ({"PROCUREMENT_SIGNING_KEY": "env:SHORT"}, "cdb", "32 bytes in hex each"),
    ({"PROCUREMENT_LISTEN": "8080"}, "cdb", "PROCUREMENT_LISTEN must be ADDRESS:PORT"),
    ({"PROCUREMENT_DOCUMENTS_URL": "docs"}, "cdb", "PROCUREMENT_DOCUMENTS_URL is not an http"),
    ({"PROCUREMENT_ROUND_S": "long", "DCCTL_EPOCH": "1"}, "auction", "PROCUREMENT_ROUND_S is not a number"),
    ({"PROCUREMENT_DATABASE": None}, "live", "PROCUREMENT_DATABASE is not set"),
    ({}, "documents", "PROCUREMENT_SWIFT_AUTH_URL is not set"),
    ({}, "auction", "DCCTL_EPOCH is not set to an epoch"),
    ({"DCCTL_EPOCH": "first"}, "auction", "DCCTL_EPOCH is not set to an epoch"),
)


def test_wrong_settings_are_one_sentence(settings: dict[str, str]) -> None:
    parts = {"cdb": serve_cdb, "documents": serve_documents, "live": serve_live, "auction": serve_auction}
    for change, part, sentence in WRONG:
        given = {**settings, "SHORT": "{", "NUMBER": "11", **change}
        variables = {name: value for name, value in given.items() if value is not None}
        with pytest.raises(SettingsError, match=re.escape(sentence)):
            asyncio.run(parts[part](Settings(variables)))


def test_wrong_settings_end_the_process_with_3(settings: dict[str, str], start: Start) -> None:
    assert "procurement: DCCTL_EPOCH is not set" in ended(start(settings, "serve", "auction"), 3)


def test_a_port_that_is_taken_is_one_sentence(settings: dict[str, str], start: Start) -> None:
    address, port = settings["PROCUREMENT_LISTEN"].split(":")
    with socket.create_server((address, int(port))):
        assert "address already in use" in ended(start(settings, "serve", "cdb"), 3)


def test_a_database_that_is_away_ends_migrate_with_a_sentence(settings: dict[str, str], start: Start) -> None:
    wrong = settings | {"PROCUREMENT_DATABASE": f"host=127.0.0.1 port={free_port()} user=nobody dbname=none"}
    assert "procurement: the database: " in ended(start(wrong, "migrate"), 4)


def test_a_scheduler_ends_by_itself_when_another_one_leads(
    settings: dict[str, str], start: Start, database: str
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SELECT role_epoch_bump('auction', 1, 'here')")
        process = start(settings | {"DCCTL_EPOCH": "1", "PROCUREMENT_TICK_S": "0.05"}, "serve", "auction")
        assert get(settings, "/livez")[1]["service"] == "auction"
        assert process.poll() is None
        connection.execute("SELECT role_epoch_bump('auction', 2, 'there')")
        assert "epoch 1 of auction is not in force: 2" in ended(process, 5)
