"""The real ZooKeeper adapters over a simulated session: only how they wait is another."""

from collections.abc import Callable, Sequence
from typing import Any

from dcctl.adapters.zookeeper.leases import ZooKeeperLeases
from dcctl.adapters.zookeeper.release import ZooKeeperLeaderKey
from dcctl.adapters.zookeeper.runs import ZooKeeperRuns
from dcctl.adapters.zookeeper.sites import ZooKeeperSites
from dcctl.domain.event import Event
from dcctl.errors import Rejected, Unreachable
from dcctl.testing.journal import MemoryJournal
from dcctl.testing.simulation.network import DATABASES, SITES
from dcctl.testing.simulation.session import SimSession

ENVIRONMENT = "sim"
KEYS = "/service/dc"
"""Where Patroni keeps its own."""
AGAIN_S = 0.5
ATTEMPT_S = 3.0


class SimLeases(ZooKeeperLeases):
    """``ports.Leases``: the adapter."""

    def __init__(self, session: SimSession) -> None:
        self._roles = f"/dcctl/{ENVIRONMENT}/roles"
        self._clock = session.clock
        self._session = session  # type: ignore[assignment]
        self._client = session.client


class SimRuns(ZooKeeperRuns):
    """``ports.Runs``: the adapter, which waits in virtual time."""

    def __init__(self, session: SimSession, *, who: str) -> None:
        super().__init__(session, ENVIRONMENT, who=who)  # type: ignore[arg-type]
        self._sleep = session.ensemble.scheduler.sleep

    def _again(self, call: Callable[[float], Any], limit_s: float) -> Any:
        deadline_s = self._clock() + limit_s
        while True:
            try:
                return call(max(0.3, min(ATTEMPT_S, deadline_s - self._clock())))
            except Unreachable as error:
                if isinstance(error, Rejected) or self._clock() + AGAIN_S > deadline_s:
                    raise
            self._sleep(AGAIN_S)


def leader_key_of(session: SimSession, runs: ZooKeeperRuns) -> ZooKeeperLeaderKey:
    """``ports.LeaderKey``: the adapter."""
    return ZooKeeperLeaderKey(
        session,  # type: ignore[arg-type]
        ENVIRONMENT,
        keys=KEYS,
        members=tuple(DATABASES),
        owned=runs.guards,
    )


def sites_of(session: SimSession) -> ZooKeeperSites:
    """``ports.Sites``: the adapter."""
    return ZooKeeperSites(session, ENVIRONMENT, SITES, limit_s=2.0)  # type: ignore[arg-type]


class MortalJournal(MemoryJournal):
    """A local journal whose process is killed at its event numbered ``dies_at``: before it is written, or
    once it is on disk and before anybody else knows."""

    def __init__(
        self,
        run: str,
        *,
        dies_at: int | None,
        die: Callable[[], None],
        events: Sequence[Event] = (),
        told: Callable[[Event], None] = lambda _event: None,
        **more: Any,
    ) -> None:
        super().__init__(run, **more)
        self._events = list(events)
        self._dies_at = dies_at
        self._appended = 0
        self._die = die
        self._told = told

    def append(self, type: str, fields: Any) -> Event:
        self._appended += 1
        if self._dies_at is not None and self._appended >= self._dies_at:
            self._die()
        event = super().append(type, fields)
        self._told(event)
        return event
