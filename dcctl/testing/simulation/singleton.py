"""Singletons: one holder per site over the real leadership engine, and the work that a lease allows.

The work of ``auction`` is checked by the store: each transaction takes the epoch's row FOR SHARE. The work
of ``reports`` is checked by nobody: its lease alone keeps two from doing it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from dcctl.domain.leadership import EPOCH_VARIABLE, Epoch, Term
from dcctl.domain.traffic import why_barred
from dcctl.engines.leadership import Holder
from dcctl.errors import DcctlError, Unreachable
from dcctl.ports import Sites
from dcctl.testing.simulation.database import IDLE_LIMIT_S, Entry, Outcome, Postgres
from dcctl.testing.simulation.history import Work
from dcctl.testing.simulation.scheduler import Killed
from dcctl.testing.simulation.session import SimSession

if TYPE_CHECKING:
    from dcctl.testing.simulation.world import World

SESSION_S = 10.0
GRACE_S = 1.0
PACE = 3.0
"""A holder wakes that much more seldom than it would like."""
WATCHDOG_S = 0.1
"""How long a machine that goes on may work before its watchdog runs."""


class SimCommand:
    """``ports.GuardedCommand``: the work, and a watchdog that ends it whoever else stands still."""

    def __init__(self, world: "World", role: str, site: str) -> None:
        self._world = world
        self._role = role
        self._site = site
        self._machine = world.network.machines[f"{site}-edge-1"]
        self._ended_s = 0.0
        self._began = False
        self._stop_at_s = self._kill_at_s = 0.0
        self._obeys_s = world.scheduler.random.choice((0.0, 0.3, 5.0))

    def start(self, environment: Mapping[str, str], *, stop_at_s: float, kill_at_s: float) -> None:
        now_s = self._world.scheduler.now_s
        self._began, self._ended_s = True, float("inf")
        self._stop_at_s, self._kill_at_s = stop_at_s, kill_at_s
        if now_s >= stop_at_s:
            self._ended_s = now_s
            return
        epoch = int(environment[EPOCH_VARIABLE])
        self._world.history.tell(now_s, f"{self._role}: {self._site} works under epoch {epoch}")
        work = self._transactions if self._role == "auction" else self._acts
        self._world.scheduler.spawn(f"{self._role}@{self._site}", self._machine, lambda: work(epoch))

    def feed(self, *, stop_at_s: float, kill_at_s: float) -> None:
        self._settle()
        self._stop_at_s, self._kill_at_s = stop_at_s, kill_at_s

    def ask_to_end(self) -> None:
        self._end_by(self._world.scheduler.now_s + self._obeys_s)

    def kill(self) -> None:
        self._end_by(self._world.scheduler.now_s)

    def ended(self) -> int | None:
        self._settle()
        over = self._began and self._ended_s <= self._world.scheduler.now_s
        return 0 if over or not self._machine.up else None

    def _settle(self) -> None:
        now_s = self._world.scheduler.now_s
        if now_s >= self._stop_at_s:
            self._end_by(self._stop_at_s + self._obeys_s)
        if now_s >= self._kill_at_s:
            self._end_by(self._kill_at_s)

    def _end_by(self, at_s: float) -> None:
        self._ended_s = min(self._ended_s, at_s)

    @property
    def _over(self) -> bool:
        self._settle()
        return self._ended_s <= self._world.scheduler.now_s

    @property
    def _just_thawed(self) -> bool:
        """On a machine that goes on, the work may be faster than its watchdog."""
        return self._world.scheduler.now_s - self._machine.thawed_s < WATCHDOG_S

    # The work.

    def _acts(self, epoch: int) -> None:
        scheduler = self._world.scheduler
        while True:
            scheduler.sleep(scheduler.random.uniform(0.5, 2.0))
            if self._over:
                return
            now_s = scheduler.now_s
            self._world.history.work.append(Work(self._role, epoch, now_s, now_s, self._site, stored=False))

    def _transactions(self, epoch: int) -> None:
        scheduler = self._world.scheduler
        while True:
            scheduler.sleep(scheduler.random.uniform(0.3, 2.0))
            if self._over and not self._just_thawed:
                return
            try:
                if not self._transaction(epoch):
                    self._end_by(scheduler.now_s)
                    return
            except Unreachable:
                continue

    def _transaction(self, epoch: int) -> bool:
        """One transaction; False when the store refuses this epoch."""
        world, scheduler = self._world, self._world.scheduler
        edge, database = world.epochs_at(self._site).primary(1.0)
        began_s = scheduler.now_s
        lock = world.variant.row_lock(database, self._role)
        if lock is None:
            return True  # a bump is under way: tried again
        try:
            if not world.variant.store_accepts(database, self._role, epoch):
                return False
            thinks_s = scheduler.random.choice((0.0, 0.05, 0.05, 0.3, 3.0))
            scheduler.sleep(thinks_s)
            if self._over and not self._just_thawed:
                return True
            # A COMMIT that was sent arrives once the network lets it, also when its sender is dead by then.
            given_up_s = scheduler.now_s + scheduler.random.choice((0.0, 15.0))
            while not world.way.hears(edge, scheduler.actor.machine, database):
                if scheduler.now_s >= given_up_s:
                    return True
                scheduler.sleep(0.5)
            if not lock.holds(scheduler.now_s) or not database.primary:
                return True
            entry = Entry("work", (self._role, epoch, len(database.wal), began_s))
            outcome = database.commit(entry, 5.0)
        finally:
            lock.release()
        if outcome is Outcome.OK and world.way.hears(edge, scheduler.actor.machine, database):
            site = database.machine.place
            work = Work(self._role, epoch, began_s, scheduler.now_s, site, stored=True)
            world.history.work.append(work)
        return True


class RowLock:
    """``SELECT … FOR SHARE`` on a role's row. The server ends a transaction that idles for too long."""

    def __init__(self, database: Postgres, role: str, now_s: float) -> None:
        self._shared = database.shared  # of this life of the server
        self._role = role
        self._until_s = now_s + IDLE_LIMIT_S
        self._held = True
        self._shared[role] = self._shared.get(role, 0) + 1
        self._database = database
        database.scheduler.at(self._until_s, self.release)

    def holds(self, now_s: float) -> bool:
        return self._held and now_s < self._until_s and self._database.shared is self._shared

    def release(self) -> None:
        if self._held:
            self._held = False
            self._shared[self._role] -= 1


class NoLock(RowLock):
    """A plain SELECT: nothing keeps a bump from committing in between."""

    def __init__(self, database: Postgres) -> None:
        self._database = database

    def holds(self, now_s: float) -> bool:  # noqa: ARG002
        return True

    def release(self) -> None:
        pass


def take_row_lock(database: Postgres, role: str) -> RowLock | None:
    """None while a bump holds the row FOR UPDATE."""
    if role in database.exclusive:
        return None
    return RowLock(database, role, database.scheduler.now_s)


def store_accepts(database: Postgres, role: str, epoch: int) -> bool:
    """What ``role_epoch_check`` says."""
    return database.epoch(role) == epoch


@dataclass
class Contender:
    """The process at ``site`` that wants to lead ``role``, again and again."""

    world: "World"
    role: str
    site: str
    pids: int = 0

    def run(self) -> None:
        scheduler = self.world.scheduler
        machine = scheduler.actor.machine
        while True:
            session = SimSession(self.world.ensemble, machine, SESSION_S)
            self.pids += 1
            holder = Holder(
                role=self.role,
                leases=self.world.variant.leases(session),
                command=SimCommand(self.world, self.role, self.site),
                mirror=self.world.epochs_at(self.site) if self.role == "auction" else None,
                new_term=self._new_term,
                asked=lambda: False,
                grace_s=GRACE_S,
                why_not_here=partial(self._why_not_here, self.world.variant.sites(session)),
            )
            try:
                ending = scheduler.drive(holder.hold(), pace=PACE)
                told = f"{self.role}: {self.site} ends epoch {ending.epoch.number}: {ending.end}"
                self.world.history.tell(scheduler.now_s, told)
            except DcctlError as error:
                self.world.history.tell(scheduler.now_s, f"{self.role}: {self.site}: {error}")
            except Killed:
                session.die()
                raise
            session.close()
            scheduler.sleep(scheduler.random.uniform(0.5, 2.0))

    def _why_not_here(self, sites: Sites) -> str:
        return why_barred(self.site, sites.observe_sites())

    def _new_term(self, epoch: Epoch) -> Term:
        clock = self.world.clock_of(f"{self.site}-edge-1")
        return Term(self.role, epoch, "dcctl-run", f"{self.site}-edge-1", self.pids, clock.now())
