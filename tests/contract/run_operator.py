"""An operator's process over two sites that live in the test's: it can be killed at any word of its journal.

What is real: the process and its death, its disk, ZooKeeper and the session with it. The two sites are those
of the unit tests, asked over a socket, in virtual time; a time limit of the run's is over 20 times as soon.
"""

import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

from two_sites import TwoSites

from dcctl.adapters.guard import boot_clock
from dcctl.adapters.journal import FileJournal, resume_run, start_run
from dcctl.adapters.zookeeper import ZooKeeperRuns, ZooKeeperSession
from dcctl.domain.event import Event
from dcctl.domain.order import Order
from dcctl.engines.admission import admit
from dcctl.engines.failover import failover
from dcctl.engines.situation import Means
from dcctl.engines.status import System, in_turn
from dcctl.engines.switchover import switchover
from dcctl.shell import WallClock, perform
from dcctl.testing.system import HOSTS, SITES
from dcctl.wiring import runs as runs_wiring
from dcctl.wiring.failover import Stage

SESSION_S = 4.0
FASTER = 20
WORK = {"failover": failover, "switchover": switchover, "admit": admit}
PLAIN = ("voters", "members", "edges", "session_s")
"""Attributes of ports that are no calls."""


# A busy host is waited for, by this process's own clock too.
runs_wiring.BEGIN_LIMIT_S = 150.0 * FASTER
runs_wiring.APPEND_LIMIT_S = 120.0


def clock_s() -> float:
    return boot_clock() * FASTER


class Served:
    """The two sites, for operators in other processes."""

    def __init__(self, world: TwoSites, folder: Path) -> None:
        self.world = world
        self.address = str(folder / "world")
        self._means = world.means()
        self._listener = Listener(self.address, "AF_UNIX")
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        try:
            while True:
                path, args, more = connection.recv()
                connection.send(self._answer(path, args, more))
        except (EOFError, OSError):
            connection.close()  # the operator was killed, or has ended

    def _answer(self, path: tuple[str, ...], args: Any, more: Any) -> tuple[str, Any]:
        found: Any = self.world.clock if path[0] == "clock" else self._means
        for name in path if path[0] != "clock" else path[1:]:
            found = found[name] if isinstance(found, Mapping) else getattr(found, name)
        try:
            return "answer", found(*args, **more) if callable(found) else found
        except Exception as error:
            return "error", (type(error), error.args, vars(error))


class Far:
    """One of the world's objects, from another process."""

    def __init__(self, connection: Connection, *path: str) -> None:
        self._connection, self._path = connection, path

    def __getattr__(self, name: str) -> Any:
        far = Far(self._connection, *self._path, name)
        return far() if name in PLAIN and self._path else far

    def __call__(self, *args: Any, **more: Any) -> Any:
        self._connection.send((self._path, args, more))
        kind, value = self._connection.recv()
        if kind == "answer":
            return value
        type, told, fields = value
        error = type.__new__(type, *told)
        error.__dict__.update(fields)
        raise error


class Mortal:
    """A journal whose process is killed at the event numbered ``dies_at``: before it is on disk, or between
    our disk and the ensemble."""

    def __init__(self, journal: FileJournal, dies_at: int | None, *, between: bool) -> None:
        self.run = journal.run
        self._journal, self._dies_at, self._between = journal, dies_at, between

    def append(self, type: str, fields: Mapping[str, Any]) -> Event:
        dies = len(self.events()) + 1 == self._dies_at
        if dies and not self._between:
            os.kill(os.getpid(), signal.SIGKILL)
        event = self._journal.append(type, fields)
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return event

    def events(self) -> tuple[Event, ...]:
        return self._journal.events()


def far_means(connection: Connection) -> Means:
    far = partial(Far, connection)
    return Means(
        environment="test",
        sites=SITES,
        witness=True,
        system=System(
            hosts=HOSTS,
            clouds={site: far("system", "clouds", site) for site in SITES},
            reach=far("system", "reach"),
            coordination=far("system", "coordination"),
            database=far("system", "database"),
            edges=far("system", "edges"),
        ),
        ask=in_turn,
        now=far("clock", "now"),
        states=far("states"),
        vantages=far("vantages"),
        runs=far("runs"),
        leases=far("leases"),
        epochs=far("epochs"),
        capacity=far("capacity"),
        documents=None,
        power_off=far("power_off"),
        switch=far("switch"),
        write=far("write"),
        verify=far("verify"),
        who="ann@operator",
    )


def operate(
    address: str,
    hosts: str,
    environment: str,
    state: Path,
    order: Order,
    *,
    dies_at: int | None = None,
    between: bool = False,
    resume: str | None = None,
) -> None:
    """Carry out ``order`` as a new run, or go on with the run ``resume``."""
    session = ZooKeeperSession(hosts, session_s=SESSION_S, clock=clock_s)
    session.connect(limit_s=90 * FASTER)
    runs = ZooKeeperRuns(session, environment, who=f"{state.name}@operator")
    with Client(address, "AF_UNIX") as connection:
        means = replace(far_means(connection), runs=runs)
        stage = Stage(means, runs, keep=50)
        if resume is None:
            with (
                start_run(state, environment="test", what=order.what, now=WallClock().now) as local,
                stage.acting(Mortal(local, dies_at, between=between), order.words()) as acting,
            ):
                _act(acting, order, connection, resumed=False)
        else:
            with (
                resume_run(state, resume, environment="test", now=WallClock().now) as opened,
                stage.resuming(opened, resume, order.words()) as acting,
            ):
                _act(acting, order, connection, resumed=True)
    session.close()


def _act(means: Means, order: Order, connection: Connection, *, resumed: bool) -> None:
    assert means.journal is not None
    about = {"by": means.who} if resumed else {"command": order.words()}
    perform(
        WORK[order.what](order.site, means),
        clock=Far(connection, "clock"),
        journal=means.journal,
        about=about,
        resumed=resumed,
    )
