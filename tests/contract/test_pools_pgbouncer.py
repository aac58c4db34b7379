"""PgBouncer on the edges, held by their own program: real processes on loopback."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from pgbouncer_edges import MEMBERS, PgBouncerWorld, database, running_edges
from postgres import PASSWORD, Postgres

from dcctl.adapters.workload import Login, PostgresWorkload
from dcctl.domain.drill import WorkloadSpec
from dcctl.domain.history import Action, Phase, operations
from dcctl.testing.contracts.pools import LIMIT_S, PoolsContract

HOLDER = "dcctl-pool-hold.service"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with database() as server:
        yield server


class TestPgBouncer(PoolsContract):
    @pytest.fixture
    def world(self, server: Postgres) -> Iterator[PgBouncerWorld]:
        with running_edges(server) as world:
            yield world


@pytest.fixture
def one(server: Postgres) -> Iterator[PgBouncerWorld]:
    """A single edge."""
    with running_edges(server, ("east-edge-1",)) as world:
        yield world


def hold(world: PgBouncerWorld) -> str:
    return world.pools.hold("east-db-1", "west-db-1", for_s=LIMIT_S, limit_s=LIMIT_S)["east-edge-1"]


def test_whoever_holds_may_be_killed_and_its_clients_go_on(one: PgBouncerWorld) -> None:
    assert hold(one) == ""
    client = one.ask("east-edge-1")
    os.kill(int((one.edges["east-edge-1"].folder / HOLDER).read_text()), signal.SIGKILL)
    assert client.answer() == "east-db-1"


def test_what_is_under_way_may_last_and_everybody_else_is_held(one: PgBouncerWorld) -> None:
    edge = one.edges["east-edge-1"]
    with edge.connected() as long:
        with long.transaction():
            long.execute("SELECT 1")
            assert hold(one) == ""
            client = one.ask("east-edge-1")
            assert long.execute("SELECT 2").fetchone() == (2,), "it is not cut off"
        one.promote()
        assert client.answer() == "west-db-1"
        assert long.execute("SELECT 3").fetchone() == (3,)


def test_what_outlasts_the_move_keeps_nobody_waiting(one: PgBouncerWorld) -> None:
    edge = one.edges["east-edge-1"]
    # The old primary, or its edge, ends what is still under way there.
    with contextlib.suppress(psycopg.Error), edge.connected() as long, long.transaction():
        long.execute("SELECT 1")
        assert hold(one) == ""
        client = one.ask("east-edge-1")
        one.promote()
        assert client.answer() == "west-db-1"
        holder, ends = edge.folder / HOLDER, time.monotonic() + LIMIT_S
        while holder.exists():
            assert time.monotonic() < ends, "the unit has not ended"
            time.sleep(0.01)
        assert one.ask("east-edge-1").answer() == "west-db-1"


def test_a_pool_that_does_not_run_is_told(one: PgBouncerWorld) -> None:
    edge = one.edges["east-edge-1"]
    edge._processes[-1].kill()
    edge._processes[-1].wait()
    assert "socket" in one.pools.observe(limit_s=LIMIT_S)["east-edge-1"]
    assert hold(one)
    assert one.pools.let_go(limit_s=LIMIT_S)["east-edge-1"] == "", "nobody is held"


def test_a_member_that_has_the_key_and_is_no_primary_yet_gets_nobody(one: PgBouncerWorld) -> None:
    """Patroni answers 200 as soon as it has the key, while the database is still in recovery."""
    one.patroni.promoted = False
    assert hold(one) == ""
    client = one.ask("east-edge-1")
    one.promote()
    before = one.patroni.asked
    ends = time.monotonic() + LIMIT_S
    while one.patroni.asked < before + 5 and time.monotonic() < ends:
        time.sleep(0.01)
    assert not client.found
    one.patroni.promoted = True
    assert client.answer() == "west-db-1"


def test_the_drills_client_writes_through_the_pool_and_no_write_fails_while_the_primary_moves(
    one: PgBouncerWorld,
) -> None:
    edge = one.edges["east-edge-1"]
    workload = PostgresWorkload(
        WorkloadSpec(connect_limit_s=LIMIT_S, statement_limit_s=LIMIT_S, in_flight_at_most=200),
        run="pool",
        edges={"east-edge-1": "127.0.0.1"},
        servers={address: name.partition("-")[0] for name, address in MEMBERS.items()},
        login=Login("postgres", PASSWORD, "postgres", edge.pool_port),
        keep=lambda _line: None,
        now=lambda: datetime.now(UTC),
    )
    workload.start()
    try:
        more(workload, 20)
        assert hold(one) == ""
        one.promote()
        more(workload, 50)
    finally:
        history = workload.stop()
        workload.drop()
    done = operations(history)
    assert {each.outcome for each in done} == {Phase.OK}
    by = [each.by for each in done if each.action is Action.WRITE]
    assert (by[0], by[-1]) == (MEMBERS["east-db-1"], MEMBERS["west-db-1"])


def more(workload: PostgresWorkload, writes: int) -> None:
    """Wait until so many more are acknowledged."""
    before, ends = len(workload.acknowledged_s()["east-edge-1"]), time.monotonic() + LIMIT_S
    while len(workload.acknowledged_s()["east-edge-1"]) < before + writes:
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_the_limits_of_a_connection_are_the_roles_not_the_clients(one: PgBouncerWorld) -> None:
    with one.edges["east-edge-1"].connected() as client:
        settings = ("statement_timeout", "idle_in_transaction_session_timeout")
        assert [client.execute(f"SHOW {name}".encode()).fetchone() for name in settings] == [
            ("10s",),
            ("5min",),
        ]


def test_a_program_that_is_asked_for_nonsense_says_how_it_is_used(one: PgBouncerWorld) -> None:
    program = ("sudo", "-n", "/usr/local/lib/dcctl/pool")
    status, _out, err = one.edges["east-edge-1"].run((*program, "hold", "10"), limit_s=LIMIT_S)
    assert status == 2
    assert "pool hold SECONDS OLD NEW ADDRESS" in err
    assert Path(program[-1]).name in err
