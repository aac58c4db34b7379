"""The real client against a real PostgreSQL, through two relays that stand for the edges."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from postgres import PASSWORD, Postgres, free_port, running_postgres

from dcctl.adapters import workload as adapter
from dcctl.adapters.workload import Login, PostgresWorkload
from dcctl.domain.drill import WorkloadSpec
from dcctl.domain.history import Action, Findings, Mark, Phase, Record, check, operations
from dcctl.testing.contracts.workload import WorkloadContract

PORT = free_port()
EDGES = {"east": "127.0.0.11", "west": "127.0.0.12"}
RUN = "20260102-030405-drill-ab12"


class Relay:
    """A TCP relay on one loopback address; ``refuse`` ends what is open and answers nobody any more."""

    def __init__(self, address: str, target: tuple[str, int]) -> None:
        self._target = target
        self._server = socket.create_server((address, PORT))
        self._open: list[socket.socket] = []
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            self._open += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    def refuse(self) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._open.clear()


class PostgresWorld:
    edges = ("east", "west")

    def __init__(self, server: Postgres) -> None:
        self.server = server
        self.relays = {edge: Relay(address, ("127.0.0.1", server.port)) for edge, address in EDGES.items()}
        self.kept: list[Record | Mark] = []
        self.workload = PostgresWorkload(
            WorkloadSpec(reads_per_s=20, connect_limit_s=1.0, statement_limit_s=1.0),
            run=RUN,
            edges=EDGES,
            servers={"127.0.0.1": "east"},
            login=Login("postgres", PASSWORD, "postgres", PORT),
            keep=self.kept.append,
            now=lambda: datetime.now(UTC),
        )

    def pass_time(self, seconds: float) -> None:
        time.sleep(seconds)

    def lose_row(self, row: int) -> None:
        self.server.query(f"DELETE FROM {self.workload.table} WHERE id = {row}")  # noqa: S608

    def tables(self) -> tuple[str, ...]:
        return tuple(
            self.server.query("SELECT tablename FROM pg_tables WHERE tablename LIKE 'dcctl_drill_%'").split()
        )

    def break_edge(self, edge: str) -> None:
        self.relays[edge].refuse()

    def break_database(self) -> None:
        self.server.stop()

    def close(self) -> None:
        for relay in self.relays.values():
            relay.refuse()


@pytest.fixture(scope="module")
def module_server() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def world(module_server: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresWorld]:
    monkeypatch.setattr(adapter, "FINAL_READ_LIMIT_S", 1.0)
    world = PostgresWorld(module_server)
    try:
        yield world
    finally:
        with contextlib.suppress(AssertionError):
            module_server.start()
        world.close()
        module_server.query(f"DROP TABLE IF EXISTS {world.workload.table}")


class TestPostgresWorkload(WorkloadContract):
    pass


def test_every_line_is_kept_as_it_happens(world: PostgresWorld) -> None:
    world.workload.start()
    world.pass_time(0.5)
    assert len(world.kept) > 20
    history = world.workload.stop()
    assert [each for each in world.kept if isinstance(each, Record)] == list(history.records)


@pytest.mark.parametrize("reason", ["cancelled", "terminated"])
def test_a_commit_that_stopped_waiting_for_its_standby_is_unknown(world: PostgresWorld, reason: str) -> None:
    """The row is there afterwards, and nobody has promised it: calling it acknowledged would be a lie."""
    world.workload.start()
    world.pass_time(0.5)
    world.server.query("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    world.server.query("SELECT pg_reload_conf()")
    try:
        world.pass_time(0.5)
        function = {"cancelled": "pg_cancel_backend", "terminated": "pg_terminate_backend"}[reason]
        world.server.query(f"SELECT {function}(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")  # noqa: S608
        world.pass_time(0.3)
    finally:
        world.server.query("ALTER SYSTEM RESET synchronous_standby_names")
        world.server.query("SELECT pg_reload_conf()")
    history = world.workload.stop()
    unknown = [each for each in operations(history) if each.outcome is Phase.UNKNOWN]
    assert unknown
    assert all(each.action is Action.WRITE for each in unknown)
    if reason == "cancelled":
        assert any(each.saw.startswith("01000") for each in unknown)
    assert check(history) == Findings(final_read=True)


def test_time_limits_bound_every_operation_and_send_no_cancel_request(world: PostgresWorld) -> None:
    world.workload.start()
    world.pass_time(0.5)
    world.server.query("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    world.server.query("SELECT pg_reload_conf()")
    try:
        world.pass_time(2.0)
    finally:
        world.server.query("ALTER SYSTEM RESET synchronous_standby_names")
        world.server.query("SELECT pg_reload_conf()")
    history = world.workload.stop()
    writes = [each for each in operations(history) if each.action is Action.WRITE]
    assert any(each.saw == "no answer within 1 s" and each.outcome is Phase.UNKNOWN for each in writes)
    assert all(each.ended_s is not None and each.ended_s - each.invoked_s < 2.6 for each in writes)
    assert "canceling wait" not in (world.server.folder / "log").read_text().rpartition("nobody")[2]


def test_what_a_stall_opened_is_closed_after_it(world: PostgresWorld) -> None:
    """Kept, the connections of a stall take the server's slots from the application."""

    def ours() -> int:
        return int(
            world.server.query("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dcctl-drill'")
        )

    world.workload.start()
    world.server.query("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    world.server.query("SELECT pg_reload_conf()")
    try:
        until = time.monotonic() + 60
        while (many := ours()) < 4 * adapter.IDLE_AT_MOST and time.monotonic() < until:
            world.pass_time(0.1)
    finally:
        world.server.query("ALTER SYSTEM RESET synchronous_standby_names")
        world.server.query("SELECT pg_reload_conf()")
    assert many >= 4 * adapter.IDLE_AT_MOST
    until = time.monotonic() + 60
    while (left := ours()) > 2 * adapter.IDLE_AT_MOST and time.monotonic() < until:
        world.pass_time(0.1)
    assert left <= 2 * adapter.IDLE_AT_MOST
    assert check(world.workload.stop()) == Findings(final_read=True)


def test_more_than_may_be_under_way_is_refused_unsent(module_server: Postgres, world: PostgresWorld) -> None:
    world.workload = PostgresWorkload(
        WorkloadSpec(in_flight_at_most=3, statement_limit_s=2.0),
        run=RUN,
        edges=EDGES,
        servers={},
        login=Login("postgres", PASSWORD, "postgres", PORT),
        keep=world.kept.append,
        now=lambda: datetime.now(UTC),
    )
    world.workload.start()
    world.server.query("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    world.server.query("SELECT pg_reload_conf()")
    try:
        world.pass_time(1.0)
    finally:
        world.server.query("ALTER SYSTEM RESET synchronous_standby_names")
        world.server.query("SELECT pg_reload_conf()")
    writes = [each for each in operations(world.workload.stop()) if each.action is Action.WRITE]
    unsent = [each for each in writes if each.saw == "not sent: 3 operations were under way"]
    assert unsent
    assert all(each.outcome is Phase.FAIL for each in unsent)
    due = [each.due_s for each in writes]
    assert due[-1] - due[0] == pytest.approx((len(due) - 1) / 50, abs=0.05)
