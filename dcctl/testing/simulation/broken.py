"""A catalogue of systems that are each wrong in one way. The simulation must catch every one of them.

Each is our own composition with one port or one decision replaced; nothing in production knows of it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from dcctl.domain.leadership import Renewal, Term
from dcctl.errors import Unreachable
from dcctl.testing.simulation.database import Outcome, Postgres
from dcctl.testing.simulation.ports import SimLeases
from dcctl.testing.simulation.singleton import NoLock
from dcctl.testing.simulation.world import Variant


@dataclass(frozen=True)
class Broken:
    """``why`` says what is wrong. ``hint`` is a seed that is known to show it: it is tried first.
    ``decisions`` are replaced while a simulation of it runs."""

    name: str
    why: str
    hint: int
    variant: Variant = field(default_factory=Variant)
    decisions: tuple[tuple[ModuleType, str, Callable[..., Any]], ...] = ()

    @contextmanager
    def composed(self) -> Iterator[Variant]:
        """The composition, with its decisions in place of ours."""
        ours = [(module, name, getattr(module, name)) for module, name, _theirs in self.decisions]
        try:
            for module, name, theirs in self.decisions:
                setattr(module, name, theirs)
            yield self.variant
        finally:
            for module, name, decision in ours:
                setattr(module, name, decision)


class TrustsEvents(SimLeases):
    """As long as no event says LOST, the lease counts as renewed."""

    def renew(self, term: Term, version: int, *, limit_s: float) -> Renewal:
        try:
            return super().renew(term, version, limit_s=limit_s)
        except Unreachable:
            return Renewal(self._clock(), self.session_s, version)


class CountsFromTheAnswer(SimLeases):
    """The lease counts from when the answer was read."""

    def renew(self, term: Term, version: int, *, limit_s: float) -> Renewal:
        renewal = super().renew(term, version, limit_s=limit_s)
        return Renewal(self._clock(), renewal.session_s, renewal.version, renewal.resign)


def _counts_warnings(outcome: Outcome) -> Outcome:
    return Outcome.OK if outcome is Outcome.WARNING else outcome


def _no_lock(database: Postgres, _role: str) -> NoLock:
    return NoLock(database)


CATALOGUE = (
    Broken(
        "lease deadline from events",
        "a holder works on until somebody tells it that its lease is lost",
        4,
        Variant(leases=TrustsEvents),
    ),
    Broken(
        "epoch not checked in the store",
        "a singleton's transaction commits whatever epoch is in force",
        131,
        Variant(store_accepts=lambda _database, _role, _epoch: True),
    ),
    Broken(
        "epoch checked without a row lock",
        "a plain SELECT before the work: a bump commits in between",
        153,
        Variant(row_lock=_no_lock),
    ),
    Broken(
        "a warning counted as acknowledged",
        "a COMMIT whose wait for the standby was cancelled",
        138,
        Variant(client_counts=_counts_warnings),
    ),
)
"""By name: ``python -m dcctl.testing.simulation --broken NAME``."""
