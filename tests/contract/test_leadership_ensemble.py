"""Three voters: the one that a holder speaks to goes silent, or the one that leads them does."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest
from zookeeper_server import Server, running_zookeeper

from dcctl.adapters.guard import boot_clock
from dcctl.adapters.zookeeper import ZooKeeperLeases
from dcctl.domain.leadership import Renewal, Term, Times
from dcctl.errors import LeadershipLost, Unreachable
from dcctl.testing.contracts.leases import claim

SESSION_S = 24.0
"""Longer than an election takes even on a busy machine: the test's load must not decide it."""
WELL_AGAIN = 20
"""Renewals in a row without a failure, over several seconds."""


@pytest.fixture(scope="module")
def servers() -> Iterator[list[Server]]:
    with running_zookeeper(3) as servers:
        yield servers


@pytest.fixture
def ensemble(servers: list[Server]) -> list[Server]:
    until(lambda: all(each.serves() for each in servers))
    return servers


def pid_of(server: Server) -> int:
    assert server._process is not None
    return server._process.pid


@pytest.mark.parametrize("which", ["follower", "leader"])
def test_a_lease_lives_through_the_silence_of_one_voter(ensemble: list[Server], which: str) -> None:
    """The holder's own server is frozen: it must notice by itself and go on elsewhere, same session."""
    (first,) = [each for each in ensemble if each.mode() == which][:1]
    hosts = ",".join(f"127.0.0.1:{each.port}" for each in sorted(ensemble, key=lambda one: one is not first))
    leases = ZooKeeperLeases(hosts, environment=f"silent-{which}", session_s=SESSION_S, clock=boot_clock)
    with contextlib.closing(leases):
        leases.connect(limit_s=30)
        term, renewal = claim(leases)
        os.kill(pid_of(first), signal.SIGSTOP)
        try:
            renewal, longest_s = keep(leases, term, renewal)
        finally:
            os.kill(pid_of(first), signal.SIGCONT)
        assert longest_s < Times(SESSION_S, 1.0).stop_at_s(0.0), f"{longest_s:.1f} s without a renewal"
        assert leases.renew(term, renewal.version, limit_s=5.0)


def keep(leases: ZooKeeperLeases, term: Term, renewal: Renewal) -> tuple[Renewal, float]:
    """Renew until it has gone well again for a while; the longest time between acknowledged renewals."""
    longest_s, well = 0.0, 0
    while well < WELL_AGAIN and boot_clock() - renewal.sent_s < SESSION_S:
        try:
            again = leases.renew(term, renewal.version, limit_s=SESSION_S / 5)
        except Unreachable:
            well = 0
        else:
            longest_s = max(longest_s, again.sent_s - renewal.sent_s)
            renewal, well = again, well + 1
        time.sleep(0.3)
    return renewal, max(longest_s, boot_clock() - renewal.sent_s)


def test_without_a_majority_nobody_claims_and_nobody_renews(ensemble: list[Server]) -> None:
    hosts = ",".join(f"127.0.0.1:{each.port}" for each in ensemble)
    leases = ZooKeeperLeases(hosts, environment="minority", session_s=SESSION_S, clock=boot_clock)
    with contextlib.closing(leases):
        leases.connect(limit_s=30)
        term, renewal = claim(leases)
        frozen = ensemble[:2]
        for each in frozen:
            os.kill(pid_of(each), signal.SIGSTOP)
        try:
            began_s = boot_clock()
            acknowledged = 0
            while boot_clock() - began_s < 4.0:
                with contextlib.suppress(Unreachable):
                    leases.renew(term, renewal.version, limit_s=1.0)
                    acknowledged += 1
                time.sleep(0.1)
            assert acknowledged == 0
        finally:
            for each in frozen:
                os.kill(pid_of(each), signal.SIGCONT)
        until(lambda: renewed(leases, term, renewal.version))


def renewed(leases: ZooKeeperLeases, term: Term, version: int) -> bool:
    """Whether the ensemble answers again; that the session is over by then is an answer too."""
    try:
        leases.renew(term, version, limit_s=2.0)
    except LeadershipLost:
        return True
    except Unreachable:
        return False
    return True


def until(true: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 90
    while not true():
        assert time.monotonic() < deadline_s
        time.sleep(0.2)
