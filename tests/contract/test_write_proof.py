"""A write that proves where writes go, on a real PostgreSQL."""

import time
from collections.abc import Iterator

import pytest
from postgres import PASSWORD, Postgres, free_port, running_postgres

from dcctl.adapters.postgres.write_proof import PostgresWriteProof
from dcctl.errors import Unreachable


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


def proof(port: int) -> PostgresWriteProof:
    return PostgresWriteProof(
        {"edge-1": "127.0.0.1", "edge-2": "127.0.0.1"},
        user="postgres",
        password=PASSWORD,
        database="postgres",
        port=port,
    )


def test_a_row_per_edge_is_committed_and_replaced(postgres: Postgres) -> None:
    for note in ("run-1", "run-2"):
        for edge in ("edge-1", "edge-2"):
            assert proof(postgres.port).write(edge, note, limit_s=5.0).startswith("127.0.0.1")
    assert (
        postgres.query("SELECT edge, note FROM dcctl_write_proof ORDER BY edge")
        == "edge-1|run-2\nedge-2|run-2"
    )


def test_nobody_there_is_unreachable() -> None:
    with pytest.raises(Unreachable) as error:
        proof(free_port()).write("edge-1", "run", limit_s=2.0)
    assert PASSWORD not in str(error.value)


def test_a_read_only_database_proves_nothing(postgres: Postgres) -> None:
    postgres.query("ALTER DATABASE postgres SET default_transaction_read_only = on")
    try:
        with pytest.raises(Unreachable):
            proof(postgres.port).write("edge-1", "run-3", limit_s=2.0)
    finally:
        postgres.query("BEGIN READ WRITE; ALTER DATABASE postgres RESET ALL; COMMIT")


def test_a_lock_that_is_held_ends_the_write_in_time(postgres: Postgres) -> None:
    import psycopg

    proof(postgres.port).write("edge-1", "run-4", limit_s=5.0)
    with psycopg.connect(
        host="127.0.0.1", port=postgres.port, user="postgres", password=PASSWORD, dbname="postgres"
    ) as holder:
        holder.execute("LOCK TABLE dcctl_write_proof")
        began_s = time.monotonic()
        with pytest.raises(Unreachable, match=r"timeout|user request"):
            proof(postgres.port).write("edge-1", "run-5", limit_s=1.0)
        assert time.monotonic() - began_s < 60


def test_a_commit_that_no_standby_confirms_is_not_acknowledged(postgres: Postgres) -> None:
    """The standby that is named never confirms. PostgreSQL would wait for ever; the COMMIT is cancelled."""
    postgres.query("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    postgres.query("SELECT pg_reload_conf()")
    try:
        with pytest.raises(Unreachable, match="it may be undone"):
            proof(postgres.port).write("edge-1", "run-6", limit_s=3.0)
    finally:
        postgres.query("ALTER SYSTEM RESET synchronous_standby_names")
        postgres.query("SELECT pg_reload_conf()")
