"""One PostgreSQL for this folder, and a fresh database with the schema for each test that wants one."""

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from postgres import PASSWORD, Postgres, running_postgres
from procurement.database import migrate

from dcctl.testing.swift_pair import Cluster, two_clusters

REQUIREMENTS = Path(__file__).parents[1] / "swift" / "requirements.txt"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running_postgres(max_connections="60") as server:
        server.query("CREATE DATABASE empty")
        asyncio.run(migrate(conninfo(server, "empty")))
        yield server


@pytest.fixture
def database(postgres: Postgres) -> str:
    """The connection string of a database of this test's own; it goes away with the server."""
    name = f"test{next(_numbers)}"
    with psycopg.connect(conninfo(postgres, "postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE empty")
    return conninfo(postgres, name)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """One real Swift."""
    with two_clusters(REQUIREMENTS) as pair:
        yield pair.east


def conninfo(server: Postgres, name: str) -> str:
    return f"host=127.0.0.1 port={server.port} user=postgres password={PASSWORD} dbname={name}"
