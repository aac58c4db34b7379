"""Probes against a real ensemble and a real database: well, refused, without a quorum, stopped."""

from typing import Any

import pytest
from postgres import PASSWORD, running_postgres
from zookeeper_server import running_zookeeper

from dcctl.adapters.probes import Round, probe_postgresql, probe_zookeeper
from dcctl.adapters.zookeeper.voters import parse_srvr
from dcctl.domain.probe import Check, PostgresqlCheck, ProbeResult, ProbeSpec, ZookeeperCheck
from dcctl.shell import WallClock

SECRETS = {"right": PASSWORD, "wrong": "hunter2"}
PROBERS: dict[type[Any], Any] = {
    PostgresqlCheck: probe_postgresql(SECRETS.__getitem__),
    ZookeeperCheck: probe_zookeeper(parse_srvr),
}


def probed(check: Check) -> ProbeResult:
    (result,) = Round([ProbeSpec("x/y", "x", "east", check, timeout_s=20)], PROBERS)()
    return result


def test_a_voter_is_well_while_it_belongs_to_a_quorum() -> None:
    with running_zookeeper(3) as servers:
        checks = [ZookeeperCheck("127.0.0.1", server.port) for server in servers]
        found = [probed(check) for check in checks]
        assert [each.ok for each in found] == [True] * 3
        assert sorted(each.saw for each in found) == ["follower", "follower", "leader"]
        for server in servers[:2]:
            server.kill()
        clock, deadline_s = WallClock(), WallClock().monotonic() + 60
        while (left := probed(checks[2])).ok and clock.monotonic() < deadline_s:
            clock.sleep(0.1)
        assert left.ok is False
        assert probed(checks[0]).saw == "Connection refused"


@pytest.mark.parametrize("secret", ["right", "wrong"])
@pytest.mark.parametrize("primary", [True, False, None])
def test_a_database_is_asked_for_its_role(database: int, secret: str, primary: bool | None) -> None:
    result = probed(PostgresqlCheck("127.0.0.1", database, "postgres", "postgres", secret, primary=primary))
    assert result.ok is (secret == "right" and primary is not False)
    if secret == "wrong":
        assert "password authentication failed" in result.saw
        assert "hunter2" not in repr(result)


@pytest.fixture(scope="module")
def database() -> Any:
    with running_postgres() as server:
        yield server.port


def test_a_database_that_writes_nothing_is_no_primary_and_one_that_stopped_is_down() -> None:
    with running_postgres(default_transaction_read_only="on") as server:
        check = PostgresqlCheck("127.0.0.1", server.port, "postgres", "postgres", "right", primary=True)
        assert probed(check).saw == "answers as read-only primary"
        server.stop()
        stopped = probed(check)
    assert stopped.ok is False
    assert "refused" in stopped.saw.lower()
