"""Leaders in memory: an ensemble with sessions, a guarded command, and many holders in virtual time.

The very engine that leads in earnest runs here against faults of every kind, with a checker over what its
commands did (``overlaps``).
"""

import itertools
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any

from dcctl.domain.leadership import EPOCH_VARIABLE, Epoch, Lease, Renewal, RoleState, Term, is_superseded
from dcctl.errors import DcctlError, LeadershipLost, Refused, TimedOut, Unreachable
from dcctl.testing.clock import EPOCH as START
from dcctl.testing.clock import VirtualClock


@dataclass
class FakeEnsemble:
    """The roles and the sessions. ``early_s``: by how much sessions end before their clients' reckoning
    (a follower that was cut from its leader answers pings that the leader never hears of)."""

    clock: VirtualClock
    early_s: float = 0.0
    states: dict[str, RoleState] = field(default_factory=dict)
    owners: dict[str, int] = field(default_factory=dict)
    """The session of each role's holder."""
    silent: dict[int, tuple[float, float]] = field(default_factory=dict)
    """Sessions that are not heard: since when, and after how long they end."""
    ended: set[int] = field(default_factory=set)
    writes: int = 0
    sessions: int = 0

    def new_session(self) -> int:
        self.sessions += 1
        return self.sessions

    def settle(self) -> None:
        """End the sessions whose time has come, and their holders with them."""
        now_s = self.clock.monotonic()
        for session, (since_s, after_s) in list(self.silent.items()):
            if now_s >= since_s + after_s - self.early_s:
                self.end(session)

    def end(self, session: int) -> None:
        self.silent.pop(session, None)
        self.ended.add(session)
        for role, owner in list(self.owners.items()):
            if owner == session:
                del self.owners[role]
                self.states[role] = replace(self.states[role], term=None)

    def stamp(self) -> int:
        self.writes += 1
        return self.writes


class FakeLeases:
    """``ports.Leases`` of one client. ``pass_time`` lets the others act while a request is under way."""

    def __init__(
        self,
        ensemble: FakeEnsemble,
        session_s: float,
        *,
        latency_s: float = 0.0,
        pass_time: Callable[[float], None] | None = None,
    ) -> None:
        self.ensemble = ensemble
        self.session_s = session_s
        self.latency_s = latency_s
        self.lose_answers = False
        """Requests arrive and are carried out; nothing comes back."""
        self._pass_time = pass_time or ensemble.clock.sleep
        self._session = ensemble.new_session()
        self._cut = self._frozen = False
        self._queued: list[Callable[[], object]] = []

    # What happens to the client.

    def cut(self) -> None:
        self._cut = True
        self._silence()

    def freeze(self) -> None:
        self._frozen = True
        self._silence()

    def heal(self) -> None:
        """Connected again; what was given up while cut is carried out now (kazoo's queue)."""
        self._cut = False
        self._resume()

    def thaw(self) -> None:
        self._frozen = False
        self._resume()

    def _resume(self) -> None:
        self.ensemble.settle()
        if self._cut or self._frozen:
            return
        self.ensemble.silent.pop(self._session, None)
        late, self._queued = self._queued, []
        if self._session in self.ensemble.ended:
            self._session = self.ensemble.new_session()
            return
        for change in late:
            with suppress(DcctlError):
                change()

    def close(self) -> None:
        self.ensemble.settle()
        if self._cut or self._frozen:
            self._silence()
        else:
            self.ensemble.end(self._session)

    def _silence(self) -> None:
        self.ensemble.silent.setdefault(self._session, (self.ensemble.clock.monotonic(), self.session_s))

    # The port.

    def observe_roles(self, *, limit_s: float) -> tuple[RoleState, ...]:
        self._travel(limit_s)
        return tuple(self._seen(state) for _role, state in sorted(self.ensemble.states.items()))

    def observe_role(self, role: str, *, limit_s: float) -> RoleState:
        self._travel(limit_s)
        state = self._seen(self.ensemble.states.get(role, RoleState(role)))
        self._return(limit_s)
        return state

    def claim(self, state: RoleState, term: Term, *, limit_s: float) -> Renewal | None:
        return self._changed(partial(self._claim, state, term), limit_s)

    def renew(self, term: Term, version: int, *, limit_s: float) -> Renewal:
        renewal = self._changed(partial(self._renew, term, version), limit_s)
        assert renewal is not None
        resign = self.ensemble.states[term.role].resign == term.epoch
        return replace(renewal, resign=resign)

    def release(self, term: Term, *, limit_s: float) -> bool:
        self._travel(limit_s)
        state = self._seen(self.ensemble.states.get(term.role, RoleState(term.role)))
        if is_superseded(state, term.epoch) or state.lease is None:
            return False
        lease = self._lease(term.epoch, state.lease.version + 1, released=True)
        if state.ours:
            del self.ensemble.owners[term.role]
        self.ensemble.states[term.role] = replace(
            state, lease=lease, term=None if state.ours else state.term, ours=False, resign=None
        )
        return True

    def ask_to_resign(self, role: str, epoch: Epoch, who: str, *, limit_s: float) -> None:  # noqa: ARG002
        self._travel(limit_s)
        self.ensemble.states[role] = replace(self.ensemble.states[role], resign=epoch)

    def withdraw(self, role: str, epoch: Epoch, *, limit_s: float) -> None:
        self._travel(limit_s)
        if self.ensemble.states[role].resign == epoch:
            self.ensemble.states[role] = replace(self.ensemble.states[role], resign=None)

    # One request.

    def _changed(self, change: Callable[[], Renewal | None], limit_s: float) -> Renewal | None:
        sent_s = self.ensemble.clock.monotonic()
        try:
            self._travel(limit_s)
        except Unreachable:
            self._queued.append(change)
            raise
        renewal = change()
        self._return(limit_s)
        return None if renewal is None else replace(renewal, sent_s=sent_s)

    def _claim(self, state: RoleState, term: Term) -> Renewal | None:
        now = self.ensemble.states.get(term.role, RoleState(term.role))
        if self._session in self.ensemble.ended:
            raise Unreachable("claim", saw="the session has expired")
        held = (now.epoch, now.lease.version if now.lease else None)
        seen = (state.epoch, state.lease.version if state.lease else None)
        if held != seen or (now.term is None) != (state.term is None):
            return None
        lease = self._lease(term.epoch, now.lease.version + 1 if now.lease else 1)
        version = 0 if now.epoch_version is None else now.epoch_version + 1
        self.ensemble.states[term.role] = replace(
            now, epoch=term.epoch, epoch_version=version, lease=lease, term=term
        )
        self.ensemble.owners[term.role] = self._session
        return Renewal(0.0, self.session_s, lease.version)

    def _renew(self, term: Term, version: int) -> Renewal:
        state = self._seen(self.ensemble.states.get(term.role, RoleState(term.role)))
        if is_superseded(state, term.epoch) or state.lease is None or not state.ours:
            raise LeadershipLost(f"renew the lease under epoch {term.epoch.number}", on=term.role)
        lease = self._lease(term.epoch, max(version, state.lease.version) + 1)
        self.ensemble.states[term.role] = replace(state, lease=lease, ours=False)
        return Renewal(0.0, self.session_s, lease.version)

    def _lease(self, epoch: Epoch, version: int, *, released: bool = False) -> Lease:
        at = START + timedelta(seconds=self.ensemble.clock.monotonic())
        return Lease(epoch, self.session_s, released, version, self.ensemble.stamp(), at)

    def _seen(self, state: RoleState) -> RoleState:
        return replace(state, ours=self.ensemble.owners.get(state.role) == self._session)

    def _travel(self, limit_s: float) -> None:
        if not self._cut:
            self._pass_time(self.latency_s / 2)
        if self._cut:
            self._pass_time(limit_s)
            raise TimedOut("ask ZooKeeper", saw=f"no answer within {limit_s:.1f} s")
        self.ensemble.settle()
        if self._session in self.ensemble.ended:
            self._session = self.ensemble.new_session()
            raise Unreachable("ask ZooKeeper", saw="the session has expired")

    def _return(self, limit_s: float) -> None:
        self._pass_time(self.latency_s / 2)
        if self._cut or self.lose_answers:
            self._pass_time(limit_s)
            raise TimedOut("ask ZooKeeper", saw=f"no answer within {limit_s:.1f} s")


@dataclass
class Stay:
    """What one command did: it could act from ``began_s`` until ``ended_s``, under ``epoch``."""

    epoch: int
    began_s: float
    ended_s: float = float("inf")


def overlaps(stays: Sequence[Stay]) -> tuple[str, ...]:
    """Every breach of "one acts at a time, under epochs that only grow"; each is a sentence."""
    found = []
    in_order = sorted(stays, key=lambda stay: (stay.began_s, stay.epoch))
    for earlier, later in itertools.pairwise(in_order):
        if later.began_s < earlier.ended_s:
            found.append(
                f"epoch {later.epoch} acted from {later.began_s:.3f} s,"
                f" epoch {earlier.epoch} until {earlier.ended_s:.3f} s"
            )
        if later.epoch <= earlier.epoch:
            found.append(f"epoch {later.epoch} began after epoch {earlier.epoch}")
    return tuple(found)


class FakeCommand:
    """``ports.GuardedCommand`` in virtual time. ``obeys_after_s``: how long SIGTERM takes; None: for ever.

    ``watched`` False leaves the watchdog out.
    """

    def __init__(
        self,
        clock: VirtualClock,
        stays: list[Stay],
        *,
        obeys_after_s: float | None = 0.0,
        lasts_s: float = float("inf"),
        watched: bool = True,
    ) -> None:
        self._clock = clock
        self._stays = stays
        self._obeys_after_s = obeys_after_s
        self._lasts_s = lasts_s
        self._watched = watched
        self._stay: Stay | None = None
        self._stop_at_s = self._kill_at_s = float("inf")

    def start(self, environment: Mapping[str, str], *, stop_at_s: float, kill_at_s: float) -> None:
        now_s = self._clock.monotonic()
        self._stay = Stay(int(environment[EPOCH_VARIABLE]), now_s, now_s + self._lasts_s)
        if self._watched and now_s >= stop_at_s:
            self._stay.ended_s = now_s
            return
        self._stays.append(self._stay)
        self._stop_at_s, self._kill_at_s = stop_at_s, kill_at_s

    def feed(self, *, stop_at_s: float, kill_at_s: float) -> None:
        self.settle()
        self._stop_at_s, self._kill_at_s = stop_at_s, kill_at_s

    def ask_to_end(self) -> None:
        self.settle()
        self._end_by(self._clock.monotonic(), asked=True)

    def kill(self) -> None:
        self.settle()
        self._end_by(self._clock.monotonic())

    def ended(self) -> int | None:
        self.settle()
        if self._stay is None or self._stay.ended_s > self._clock.monotonic():
            return None
        return 0

    def settle(self) -> None:
        """What the watchdog did by now."""
        if not self._watched:
            return
        for at_s, asked in ((self._stop_at_s, True), (self._kill_at_s, False)):
            if at_s <= self._clock.monotonic():
                self._end_by(at_s, asked=asked)

    def _end_by(self, at_s: float, *, asked: bool = False) -> None:
        if self._stay is not None and (not asked or self._obeys_after_s is not None):
            after_s = (self._obeys_after_s or 0.0) if asked else 0.0
            self._stay.ended_s = min(self._stay.ended_s, at_s + after_s)


class FakeEpochs:
    """``ports.EpochMirror``; ``dark`` makes it unreachable."""

    def __init__(self) -> None:
        self.inforce: dict[str, Epoch] = {}
        self.dark = False

    def observe(self, *, limit_s: float) -> Mapping[str, Epoch]:  # noqa: ARG002
        self._reach()
        return dict(self.inforce)

    def bump(self, term: Term, *, limit_s: float) -> None:  # noqa: ARG002
        self._reach()
        old = self.inforce.get(term.role)
        if old is not None and term.epoch < old:
            raise Refused("put the epoch in force", reasons=(f"{old.number} is newer",))
        self.inforce[term.role] = term.epoch

    def _reach(self) -> None:
        if self.dark:
            raise Unreachable("ask the database", saw="dark")


Work = Generator[float, float, Any]


@dataclass
class Contender:
    """One process that wants to lead, again and again, and what happens to it."""

    leases: FakeLeases
    new_work: Callable[["Contender"], Work]
    wake_s: float = 0.0
    frozen_until_s: float = 0.0
    dead: bool = False
    busy: bool = False
    work: Work | None = None
    endings: list[Any] = field(default_factory=list)


class Simulation:
    """Contenders for one role in virtual time; each is driven when its wait is over, late when frozen."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.contenders: list[Contender] = []

    def run_until(self, until_s: float) -> None:
        """Everything that happens up to ``until_s``; may be called from within a contender's request."""
        while ready := [each for each in self.contenders if not each.busy and not each.dead]:
            one = min(ready, key=_due_s)
            if _due_s(one) > until_s:
                break
            self.clock.sleep(_due_s(one) - self.clock.monotonic())
            self._drive(one)
        self.clock.sleep(until_s - self.clock.monotonic())

    def pass_time(self, contender: Contender, seconds: float) -> None:
        """A request of ``contender`` is under way; a freeze that hits it meanwhile delays its answer."""
        self.run_until(self.clock.monotonic() + seconds)
        while contender.frozen_until_s > self.clock.monotonic():
            self.run_until(contender.frozen_until_s)
        self._thaw(contender)

    def freeze(self, contender: Contender, seconds: float) -> None:
        contender.frozen_until_s = self.clock.monotonic() + seconds
        contender.leases.freeze()

    def kill(self, contender: Contender) -> None:
        """SIGKILL: its watchdog lives on."""
        contender.dead = True
        contender.leases.freeze()

    def _thaw(self, contender: Contender) -> None:
        if contender.frozen_until_s and contender.frozen_until_s <= self.clock.monotonic():
            contender.frozen_until_s = 0.0
            contender.leases.thaw()

    def _drive(self, one: Contender) -> None:
        self._thaw(one)
        one.busy = True
        try:
            if one.work is None:
                one.work = one.new_work(one)
                pause_s = next(one.work)
            else:
                pause_s = one.work.send(self.clock.monotonic())
            one.wake_s = self.clock.monotonic() + pause_s
        except (StopIteration, DcctlError) as end:
            one.endings.append(end.value if isinstance(end, StopIteration) else end)
            one.work, one.wake_s = None, self.clock.monotonic() + 0.5
        finally:
            one.busy = False


def _due_s(contender: Contender) -> float:
    return max(contender.wake_s, contender.frozen_until_s)
