"""One PostgreSQL for this folder, and an empty database with the schema for each test that wants one."""

import asyncio
from collections.abc import Iterator

import psycopg
import pytest
from postgres import Postgres, running_postgres
from procurement.database import migrate
from procurement_world import conninfo

from dcctl.testing.replication_site import REQUIREMENTS
from dcctl.testing.swift_pair import Cluster, Pair, two_clusters

TABLES = "tender, bid, auction, auction_stage, document, document_outbox, feed_generation, role_epoch"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running_postgres(max_connections="60") as server:
        server.query("CREATE DATABASE tests")
        asyncio.run(migrate(conninfo(server, "tests")))
        yield server


@pytest.fixture
def database(postgres: Postgres) -> str:
    """The connection string of a database with the schema and nothing in it."""
    url = conninfo(postgres, "tests")
    with psycopg.connect(url) as connection:
        connection.execute(f"TRUNCATE {TABLES}")
    asyncio.run(migrate(url))
    return url


@pytest.fixture(scope="session")
def pair() -> Iterator[Pair]:
    """Two real Swifts that share a realm."""
    with two_clusters(REQUIREMENTS) as clusters:
        yield clusters


@pytest.fixture
def cluster(pair: Pair) -> Cluster:
    """One of them."""
    return pair.east
