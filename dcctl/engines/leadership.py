"""Holding a role: wait for it, take its epoch, run a command, and end the command before the lease ends.

An engine here is a generator that yields how many seconds it would wait and receives the reading of the
clock that leases are judged by. Who drives it owns the time; a drive that comes late, because the process
was frozen, is what it is written for: it trusts no reading from before a wait or a request.
"""

import contextlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeAlias

from dcctl.domain.leadership import (
    EPOCH_VARIABLE,
    ROLE_VARIABLE,
    Epoch,
    Renewal,
    RoleState,
    Seen,
    Term,
    Times,
    free_in_s,
    is_ours,
    look,
    next_epoch,
    why_not_free,
)
from dcctl.errors import DcctlError, Interrupted, LeadershipLost, Refused, TimedOut, Unreachable
from dcctl.ports import EpochMirror, GuardedCommand, Leases

LOOK_EVERY_S = 0.5
LOOK_LIMIT_S = 3.0
BUMP_LIMIT_S = 30.0
"""Waiting for the transactions of the last holder to end, where the epoch is checked."""
RELEASE_LIMIT_S = 2.0
WAKE_S = 0.25
"""How late a request to end may be noticed."""


class End(StrEnum):
    """Why a command is over."""

    BY_ITSELF = "it ended by itself"
    RESIGNED = "the holder was asked to resign"
    ASKED = "this process was asked to end"
    LOST = "the lease was lost"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a term ended; ``code`` is the command's exit status."""

    end: End
    code: int
    epoch: Epoch
    saw: str = ""


Pace: TypeAlias = Generator[float, float, None]


@dataclass
class Holder:
    """One attempt to hold ``role``. ``new_term`` makes our term of an epoch; ``tell`` gets sentences.

    ``why_not_here`` is asked before each claim: why nobody here may lead now, whoever else does; empty where
    one may. What it cannot find out is Unreachable, and waited for as the ensemble's silence is.
    """

    role: str
    leases: Leases
    command: GuardedCommand
    mirror: EpochMirror | None
    new_term: Callable[[Epoch], Term]
    asked: Callable[[], bool]
    grace_s: float
    wait: bool = True
    tell: Callable[[str], None] = lambda _sentence: None
    why_not_here: Callable[[], str] = lambda: ""
    _told: str = field(default="", init=False)
    _now_s: float = field(default=0.0, init=False)

    def hold(self) -> Generator[float, float, Ending]:
        """Lead, run the command once, release.

        Raises Refused (led by somebody else, without ``wait``; a later epoch is in force), Unreachable,
        Interrupted while waiting, and LeadershipLost when the lease was lost before the command began.
        """
        if problems := Times(self.leases.session_s, self.grace_s).problems():
            raise Refused(f"lead {self.role}", reasons=problems)
        term, renewal = yield from self._contend()
        self._say(f"leads {self.role} under epoch {term.epoch.number}")
        stay = _Stay(term, renewal, self.leases, self.grace_s)
        try:
            yield from self._bump(stay)
        except DcctlError:
            self._release(stay)
            raise
        return (yield from self._run(stay))

    # Waiting for the role.

    def _contend(self) -> Generator[float, float, tuple[Term, Renewal]]:
        seen: Seen | None = None
        tried: tuple[Term, Renewal] | None = None
        yield from self._pause(0.0)
        while True:
            if self.asked():
                raise Interrupted("wait to lead", on=self.role, saw=self._told)
            try:
                state = self.leases.observe_role(self.role, limit_s=LOOK_LIMIT_S)
                yield from self._pause(0.0)
                if tried is not None and is_ours(state, tried[0]):
                    # The answer to our claim was lost, not the claim.
                    return tried[0], _at(tried[1], state)
                seen = look(state, seen, self._now_s)
                in_s = free_in_s(state, seen, self._now_s)
                if in_s == 0.0 and (barred := self.why_not_here()):
                    if not self.wait:
                        raise Refused(f"lead {self.role}", reasons=(barred,), next_command="dcctl status")
                    self._say(f"waiting: {barred}")
                    yield from self._pause(LOOK_EVERY_S)
                    continue
                if in_s == 0.0:
                    tried = yield from self._attempt(state)
                    renewal = self.leases.claim(state, tried[0], limit_s=LOOK_LIMIT_S)
                    if renewal is not None:
                        return tried[0], renewal
                    continue
            except Unreachable as error:
                if not self.wait:
                    raise
                self._say(f"waiting: {error}")
                yield from self._pause(LOOK_EVERY_S)
                continue
            reason = why_not_free(state, in_s)
            if not self.wait:
                raise Refused(f"lead {self.role}", reasons=(reason,), next_command="dcctl leader show")
            self._say(f"waiting: {why_not_free(state, state.lease.session_s if state.lease else 0)}")
            yield from self._pause(min(in_s, LOOK_EVERY_S))

    def _attempt(self, state: RoleState) -> Generator[float, float, tuple[Term, Renewal]]:
        """Our term if the claim that follows succeeds, and the earliest that it can have been sent."""
        mirrored = self.mirror.observe(limit_s=LOOK_LIMIT_S) if self.mirror else {}
        term = self.new_term(next_epoch(state.epoch, mirrored.get(self.role)))
        yield from self._pause(0.0)
        return term, Renewal(self._now_s, self.leases.session_s, 0)

    # Leading.

    def _bump(self, stay: "_Stay") -> Pace:
        """Put the epoch in force where it is checked; the lease is renewed meanwhile."""
        if self.mirror is None:
            return
        began_s = self._now_s
        while True:
            yield from self._pause(0.0)
            if self.asked():
                raise Interrupted("put the epoch in force", on=self.role)
            stay.renew(self._now_s)
            yield from self._pause(0.0)
            if stay.must_end(self._now_s):
                raise LeadershipLost("put the epoch in force", on=self.role, saw=stay.saw)
            try:
                self.mirror.bump(stay.term, limit_s=stay.times.attempt_s)
            except Unreachable as error:
                yield from self._pause(0.0)
                if self._now_s - began_s > BUMP_LIMIT_S:
                    raise LeadershipLost("put the epoch in force", on=self.role, saw=str(error)) from error
                self._say(f"waiting: {error}")
                yield from self._pause(LOOK_EVERY_S)
            else:
                return

    def _run(self, stay: "_Stay") -> Generator[float, float, Ending]:
        yield from self._pause(0.0)
        stay.renew(self._now_s)
        yield from self._pause(0.0)
        if stay.must_end(self._now_s):
            self._release(stay)
            raise LeadershipLost(f"lead {self.role} under epoch {stay.term.epoch.number}", saw=stay.saw)
        self.command.start(self._environment(stay.term), stop_at_s=stay.stop_at_s, kill_at_s=stay.kill_at_s)
        end: End | None = None
        end_by_s = float("inf")
        while (code := self.command.ended()) is None:
            due_s = min(stay.next_s, end_by_s if end else stay.stop_at_s)
            yield from self._pause(min(WAKE_S, max(0.0, due_s - self._now_s)))
            if end is None:
                end = self._reason_to_end(stay)
                if end is not None:
                    self._say(f"ending the command: {end}")
                    self.command.ask_to_end()
                    end_by_s = self._now_s + self.grace_s
            elif stay.must_end(self._now_s):
                end = End.LOST
            if end is not None and self._now_s >= min(end_by_s, stay.kill_at_s):
                self.command.kill()
                end_by_s = self._now_s + LOOK_EVERY_S
            if stay.renew_if_due(self._now_s):
                self.command.feed(stop_at_s=stay.stop_at_s, kill_at_s=stay.kill_at_s)
        yield from self._pause(0.0)
        if end is None and stay.must_end(self._now_s):
            # The watchdog ended it while we were frozen, or so late that it cannot be told apart.
            end = End.LOST
        self._release(stay)
        return Ending(end or End.BY_ITSELF, code, stay.term.epoch, stay.saw)

    def _reason_to_end(self, stay: "_Stay") -> End | None:
        if stay.must_end(self._now_s):
            return End.LOST
        if self.asked():
            return End.ASKED
        return End.RESIGNED if stay.renewal.resign else None

    def _environment(self, term: Term) -> Mapping[str, str]:
        return {EPOCH_VARIABLE: str(term.epoch.number), ROLE_VARIABLE: self.role}

    def _release(self, stay: "_Stay") -> None:
        """Let a successor begin at once. Where that cannot be said, it waits until the lease is over."""
        try:
            self.leases.release(stay.term, limit_s=RELEASE_LIMIT_S)
        except Unreachable as error:
            self._say(f"could not release {self.role}: {error}")

    def _pause(self, seconds: float) -> Pace:
        self._now_s = yield seconds

    def _say(self, sentence: str) -> None:
        if sentence != self._told:
            self._told = sentence
            self.tell(sentence)


@dataclass
class _Stay:
    """A term and its lease, as far as renewals were acknowledged."""

    term: Term
    renewal: Renewal
    leases: Leases
    grace_s: float
    saw: str = ""
    next_s: float = 0.0
    over: bool = False
    """The records say that the term is over."""
    times: Times = field(init=False)
    stop_at_s: float = field(init=False)
    kill_at_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._count_from(self.renewal)

    def _count_from(self, renewal: Renewal) -> None:
        """The deadlines of a renewal that was acknowledged."""
        self.renewal = renewal
        self.times = Times(renewal.session_s, min(self.grace_s, renewal.session_s / 2))
        self.stop_at_s = self.times.stop_at_s(renewal.sent_s)
        self.kill_at_s = self.times.kill_at_s(renewal.sent_s)

    def must_end(self, now_s: float) -> bool:
        return self.over or now_s >= self.stop_at_s

    def renew_if_due(self, now_s: float) -> bool:
        """Whether there are new deadlines."""
        return now_s >= self.next_s and self.renew(now_s)

    def renew(self, now_s: float) -> bool:
        """One attempt, which never lasts beyond the moment when the work is to be asked to end."""
        left_s = self.stop_at_s - now_s
        if self.over or left_s <= 0:
            self.next_s = float("inf")
            return False
        self.next_s = now_s + self.times.renew_every_s
        try:
            self._count_from(
                self.leases.renew(self.term, self.renewal.version, limit_s=min(self.times.attempt_s, left_s))
            )
        except LeadershipLost as error:
            self.over, self.saw = True, error.saw
        except Unreachable as error:
            self.saw = f"the last renewal that was acknowledged is too old: {error}"
        else:
            self.saw = ""
            return True
        return False


def _at(renewal: Renewal, state: RoleState) -> Renewal:
    return replace(renewal, version=state.lease.version if state.lease is not None else 0)


def hand_over(leases: Leases, role: str, who: str, *, limit_s: float) -> Generator[float, float, RoleState]:
    """Ask the holder of ``role`` to resign and wait until its term is over; the state then.

    Raises Refused when nobody leads it, and TimedOut when the holder did not hand over within ``limit_s``:
    it is then asked no more.
    """
    began_s = yield 0.0
    state = leases.observe_role(role, limit_s=LOOK_LIMIT_S)
    term = state.term
    if term is None:
        raise Refused(f"resign {role}", reasons=(f"nobody leads {role}",), next_command="dcctl leader show")
    leases.ask_to_resign(role, term.epoch, who, limit_s=LOOK_LIMIT_S)
    saw = f"{term.holder} still leads after {limit_s:g} s; it is asked no more"
    try:
        while True:
            now_s = yield LOOK_EVERY_S
            try:
                state = leases.observe_role(role, limit_s=LOOK_LIMIT_S)
            except Unreachable as error:
                saw = str(error)
            else:
                if state.term is None or state.term.epoch != term.epoch:
                    return state
            if now_s - began_s > limit_s:
                raise TimedOut(
                    f"resign {role}", on=term.host, saw=saw, next_command=f"dcctl leader show {role}"
                )
    finally:
        with contextlib.suppress(Unreachable):
            leases.withdraw(role, term.epoch, limit_s=LOOK_LIMIT_S)
