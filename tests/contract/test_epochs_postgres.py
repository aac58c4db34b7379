"""The epochs in a real PostgreSQL: what a bump waits for, and what is refused after it."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from postgres import PASSWORD, Postgres, free_port, running_postgres

from dcctl.adapters.postgres.epoch import PostgresEpochs
from dcctl.domain.leadership import Epoch, Term
from dcctl.errors import NotFound, Refused, TimedOut, Unreachable, UsageError

SCHEMA = Path(__file__).parents[2] / "procurement" / "procurement" / "schema.sql"
LIMIT_S = 10.0
_made = iter(range(1_000_000))


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with running_postgres() as server:
        server.query(SCHEMA.read_text())
        yield server


@pytest.fixture
def epochs(server: Postgres) -> PostgresEpochs:
    return PostgresEpochs(conninfo(server), password=PASSWORD)


@pytest.fixture
def role() -> str:
    return f"role-{next(_made)}"


def conninfo(server: Postgres) -> str:
    return f"host=127.0.0.1 port={server.port} user=postgres dbname=postgres"


def term(role: str, counter: int, who: str = "sre") -> Term:
    return Term(role, Epoch(1, counter), who, "a-host", 1, datetime(2026, 1, 1, tzinfo=UTC))


def test_the_first_bump_and_the_next(epochs: PostgresEpochs, role: str) -> None:
    assert role not in epochs.observe(limit_s=LIMIT_S)
    epochs.bump(term(role, 1), limit_s=LIMIT_S)
    epochs.bump(term(role, 1), limit_s=LIMIT_S)
    assert epochs.observe(limit_s=LIMIT_S)[role] == Epoch(1, 1)
    epochs.bump(term(role, 5), limit_s=LIMIT_S)
    assert epochs.observe(limit_s=LIMIT_S)[role] == Epoch(1, 5)


def test_what_is_not_newer_is_refused(epochs: PostgresEpochs, role: str) -> None:
    epochs.bump(term(role, 5), limit_s=LIMIT_S)
    with pytest.raises(Refused, match="is not newer than"):
        epochs.bump(term(role, 4), limit_s=LIMIT_S)
    with pytest.raises(Refused, match="is not newer than"):
        epochs.bump(term(role, 5, who="another"), limit_s=LIMIT_S)
    assert epochs.observe(limit_s=LIMIT_S)[role] == Epoch(1, 5)


def test_a_bump_waits_for_the_transactions_of_the_last_holder(
    server: Postgres, epochs: PostgresEpochs, role: str
) -> None:
    epochs.bump(term(role, 1), limit_s=LIMIT_S)
    with psycopg.connect(conninfo(server), password=PASSWORD) as singleton:
        singleton.execute("SELECT role_epoch_check(%s, %s)", (role, Epoch(1, 1).number))
        with pytest.raises(TimedOut, match="still under way"):
            epochs.bump(term(role, 2), limit_s=0.5)
        assert epochs.observe(limit_s=LIMIT_S)[role] == Epoch(1, 1)
        ended_s: list[float] = []
        bump = threading.Thread(
            target=lambda: (epochs.bump(term(role, 2), limit_s=30), ended_s.append(time.monotonic()))
        )
        bump.start()
        time.sleep(1.0)
        assert not ended_s
        committing_s = time.monotonic()
        singleton.commit()
    bump.join(30)
    assert ended_s
    assert ended_s[0] >= committing_s
    with (
        psycopg.connect(conninfo(server), password=PASSWORD) as singleton,
        pytest.raises(psycopg.Error, match="is not in force") as refused,
    ):
        singleton.execute("SELECT role_epoch_check(%s, %s)", (role, Epoch(1, 1).number))
    assert refused.value.sqlstate == "DC001"


def test_a_bump_whose_standby_was_not_waited_for_is_no_bump(
    server: Postgres, epochs: PostgresEpochs, role: str
) -> None:
    """It could be undone by a failover: a COMMIT that waits for ever is ended, and is tried again."""
    server.query("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    server.query("SELECT pg_reload_conf()")
    try:
        with pytest.raises(TimedOut, match="warning"):
            epochs.bump(term(role, 1), limit_s=1)
    finally:
        server.query("ALTER SYSTEM RESET synchronous_standby_names")
        server.query("SELECT pg_reload_conf()")
    epochs.bump(term(role, 1), limit_s=30)


def test_a_database_without_the_schema_says_so(server: Postgres, role: str) -> None:
    bare = PostgresEpochs(conninfo(server).replace("dbname=postgres", "dbname=template1"), password=PASSWORD)
    with pytest.raises(NotFound, match="role_epoch"):
        bare.observe(limit_s=LIMIT_S)
    with pytest.raises(NotFound, match="role_epoch"):
        bare.bump(term(role, 1), limit_s=LIMIT_S)


def test_no_database_and_a_wrong_password_are_unreachable(server: Postgres, role: str) -> None:
    nowhere = PostgresEpochs(f"host=127.0.0.1 port={free_port()} user=postgres", password=PASSWORD)
    wrong = PostgresEpochs(conninfo(server), password="not-the-password")
    for epochs in (nowhere, wrong):
        with pytest.raises(Unreachable) as error:
            epochs.observe(limit_s=LIMIT_S)
        assert "not-the-password" not in str(error.value)


def test_a_password_on_the_command_line_is_refused_without_being_repeated() -> None:
    with pytest.raises(UsageError) as error:
        PostgresEpochs("host=x password=secret-word")
    assert "secret-word" not in str(error.value)
