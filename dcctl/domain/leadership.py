"""Who leads a role, judged by clocks and never by events.

Invariant: of two terms of one role, the work of the earlier is over before the work of the later begins.

Three records of a role stand in ZooKeeper. Its *epoch* changes with each claim and only grows. Its *lease*
is rewritten by the holder with every renewal, each time against the version that it last wrote. Its
*holder* is ephemeral, for people and for resigning. Why the invariant holds:

- A renewal was sent at ``sent``, and names a session of ``session_s`` seconds. The holder's work is over
  at ``sent + session_s - margin_s``, by the holder's own clock, or a later renewal was acknowledged.
- A contender claims only against the version of the lease that it saw, and only when it saw that version
  for ``session_s`` seconds by its own clock, or when the holder wrote that its work is over (released).
  It cannot have seen a renewal before it was sent, and a renewal that it did not see fails its claim.
- The two clocks are never compared; ``margin_s`` is for the difference in their speed and for the time
  that ending a process takes.

The end of a ZooKeeper session alone would not do: a follower answers its clients' pings and reads for up to
``syncLimit`` ticks after its leader has stopped hearing of them, so that the session may end earlier than
the client's last acknowledged request tells (ZooKeeper Internals; LearnerSessionTracker).
"""

from dataclasses import dataclass
from datetime import datetime

NAME_PATTERN = r"(?=.{1,30}$)[a-z][a-z0-9]*(-[a-z0-9]+)*"
"""A role's name, spelled as names in the configuration are."""
GENERATION_SIZE = 10**9
"""Epochs of one generation; the number of an epoch is then still readable: 1000000007 is 7 of 1."""
EPOCH_VARIABLE = "DCCTL_EPOCH"
ROLE_VARIABLE = "DCCTL_ROLE"
LEASE_VARIABLE = "DCCTL_LEASE_FILE"
"""How a command learns what it runs under."""
SHORTEST_SESSION_S = 2.0
"""A session of less could not outlast one slow answer."""


@dataclass(frozen=True, slots=True, order=True)
class Epoch:
    """The fencing number of a role. ``generation`` grows when the ensemble was built anew."""

    generation: int
    counter: int

    @property
    def number(self) -> int:
        """As one number that fits 64 bits, for ``DCCTL_EPOCH`` and for where epochs are checked."""
        return self.generation * GENERATION_SIZE + self.counter

    @classmethod
    def of(cls, number: int) -> "Epoch":
        """The epoch of a number."""
        return cls(*divmod(number, GENERATION_SIZE))


def next_epoch(last: Epoch | None, mirrored: Epoch | None) -> Epoch:
    """The epoch after ``last``, above ``mirrored`` too: the one in force where epochs are checked.

    A mirror is always behind the ensemble that it mirrors. One that is ahead remembers an ensemble that
    is no more, so a new generation begins.
    """
    if mirrored is not None and (last is None or last < mirrored):
        return Epoch(mirrored.generation + 1, 1)
    if last is None:
        return Epoch(1, 1)
    if last.counter + 1 == GENERATION_SIZE:
        return Epoch(last.generation + 1, 1)
    return Epoch(last.generation, last.counter + 1)


@dataclass(frozen=True, slots=True)
class Term:
    """One holder's time as the leader of ``role``; ``since`` is aware UTC by the holder's wall clock."""

    role: str
    epoch: Epoch
    who: str
    host: str
    pid: int
    since: datetime

    @property
    def holder(self) -> str:
        """The holder in a few words; no two holders of one epoch have the same."""
        return f"{self.who}@{self.host}:{self.pid}"


@dataclass(frozen=True, slots=True)
class Lease:
    """What the last renewal wrote. ``released``: the work under ``epoch`` is over, by the holder's word.

    ``stamp`` tells renewals apart within the life of one ensemble; ``renewed_at`` is the ensemble's time.
    """

    epoch: Epoch
    session_s: float
    released: bool
    version: int
    stamp: int
    renewed_at: datetime


@dataclass(frozen=True, slots=True)
class RoleState:
    """A role as the ensemble shows it. ``ours``: the holder's record belongs to the session that looked."""

    role: str
    epoch: Epoch | None = None
    epoch_version: int | None = None
    lease: Lease | None = None
    term: Term | None = None
    ours: bool = False
    resign: Epoch | None = None
    """The epoch whose holder was asked to resign."""


@dataclass(frozen=True, slots=True)
class Renewal:
    """A claim or a renewal that was acknowledged. ``sent_s`` was read before the request was sent."""

    sent_s: float
    session_s: float
    version: int
    """Of the lease, after it."""
    resign: bool = False


@dataclass(frozen=True, slots=True)
class Times:
    """When what must happen, in seconds after the send time of the last acknowledged renewal."""

    session_s: float
    grace_s: float
    """From asking the work to end until it is ended by force."""

    @property
    def margin_s(self) -> float:
        return 0.15 * self.session_s

    @property
    def renew_every_s(self) -> float:
        return self.session_s / 10

    @property
    def attempt_s(self) -> float:
        """The time limit of one renewal."""
        return self.session_s / 5

    def kill_at_s(self, sent_s: float) -> float:
        """The end of the lease for its holder: nothing of its work may live longer."""
        return sent_s + self.session_s - self.margin_s

    def stop_at_s(self, sent_s: float) -> float:
        """When the work is asked to end."""
        return self.kill_at_s(sent_s) - self.grace_s

    def problems(self) -> tuple[str, ...]:
        """Why these times cannot be used; each is a sentence."""
        found = []
        if self.session_s < SHORTEST_SESSION_S:
            found.append(
                f"a session of {self.session_s:g} s is too short; {SHORTEST_SESSION_S:g} s is the least"
            )
        if not 0 < self.grace_s <= self.session_s / 2:
            found.append(
                f"a grace of {self.grace_s:g} s does not fit a session of {self.session_s:g} s:"
                f" it must be more than 0 and at most {self.session_s / 2:g} s"
            )
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Seen:
    """A contender's memory: since when, by its own clock, it has seen this very renewal."""

    stamp: tuple[int, int]
    since_s: float


def look(state: RoleState, seen: Seen | None, now_s: float) -> Seen | None:
    """What a contender remembers after an answer; ``now_s`` is read after the answer came."""
    if state.lease is None:
        return None
    stamp = (state.lease.stamp, state.lease.version)
    return seen if seen is not None and seen.stamp == stamp else Seen(stamp, now_s)


def free_in_s(state: RoleState, seen: Seen | None, now_s: float) -> float:
    """Seconds until the role may be claimed; 0 when it may be claimed now. ``seen`` is of ``state``."""
    if state.lease is None or state.lease.released or seen is None:
        return 0.0
    return max(0.0, seen.since_s + state.lease.session_s - now_s)


def why_not_free(state: RoleState, in_s: float) -> str:
    """The reason, as a sentence, that ``state`` cannot be claimed for ``in_s`` seconds."""
    number = state.epoch.number if state.epoch else 0
    if state.term is not None:
        return f"{state.term.holder} leads {state.role} under epoch {number}"
    return (
        f"nobody leads {state.role}, but the work under epoch {number} may not be over;"
        f" its lease runs out in at most {in_s:.1f} s"
    )


def is_superseded(state: RoleState, epoch: Epoch) -> bool:
    """Whether a lease of ``epoch`` is over, by the records: another epoch, or its own release."""
    return state.lease is None or state.lease.epoch != epoch or state.lease.released


def is_ours(state: RoleState, term: Term) -> bool:
    """Whether ``state`` shows ``term`` in power through the session that looked (``ephemeralOwner``)."""
    return state.ours and state.term == term and not is_superseded(state, term.epoch)
