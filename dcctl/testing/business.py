"""The application's clients in memory, over ``dcctl.testing.system``: each tender with its document."""

import hashlib
from collections.abc import Mapping, Sequence

from dcctl.domain.business import (
    Act,
    BusinessHistory,
    Copy,
    Ended,
    Fact,
    Inventory,
    Invoked,
    Kind,
    Line,
    Look,
)
from dcctl.domain.drill import title_of
from dcctl.domain.history import Mark, Phase
from dcctl.errors import TimedOut
from dcctl.testing.system import EDGES, FakeSystem

ANSWER_S = 0.005
EVERY_S = 0.5


class FakeBusiness:
    """``ports.Business``: what was due since the last look happens at the next one, in order.

    ``carried_after_s``: so long a document takes to the other site; none is carried from or to a dark one.
    ``loses``: so many acknowledged tenders are not there at the end. ``stops_acting``: no scheduler follows.
    """

    def __init__(
        self,
        system: FakeSystem,
        *,
        run: str = "run",
        carried_after_s: float = 2.0,
        loses: int = 0,
        stops_acting: bool = False,
    ) -> None:
        self._system, self._run = system, run
        self.carried_after_s, self.loses, self.stops_acting = carried_after_s, loses, stops_acting
        self._began_at, self._began_s = system.clock.now(), system.clock.monotonic()
        self._lines: list[Line] = []
        self._acknowledged: dict[str, list[float]] = {edge: [] for edge in EDGES}
        self._facts: dict[str, Fact] = {}
        self._places: dict[str, dict[str, float]] = {}
        """Per document, since when it has been at each site."""
        self._next = self._op = 0
        self._epoch, self._acts_at = 1, EDGES["east-edge-1"]
        self._running = False

    def start(self) -> None:
        self._running, self._started_s = True, self._now_s()
        self._look()

    def acknowledged_s(self) -> Mapping[str, Sequence[float]]:
        self._catch_up()
        return {edge: tuple(instants) for edge, instants in self._acknowledged.items()}

    def mark(self, name: str, target: str) -> float:
        self._catch_up()
        self._lines.append(Mark(self._now_s(), name, target))
        return self._now_s()

    def seek(self, site: str) -> tuple[str, ...]:
        self._catch_up()
        if self._system.is_cut(site):
            raise TimedOut("fetch the acknowledged documents", on=site, saw="no answer")
        missing = []
        for name, places in self._places.items():
            self._carry(places)
            there = places.get(site, float("inf")) <= self._now_s()
            self._lines.append(Copy(self._now_s(), site, name, _md5(name) if there else ""))
            missing += [] if there else [name]
        return tuple(missing)

    def stop(self) -> BusinessHistory:
        if self._running:
            self._catch_up()
            self._running = False
            self._look()
            tenders = [key for key in self._facts if key.startswith("tender/")]
            gone = tenders[len(tenders) - self.loses :]
            found = tuple(fact for key, fact in self._facts.items() if key not in gone)
            self._lines.append(Inventory(self._now_s(), ok=True, facts=found))
        return self.history()

    def history(self) -> BusinessHistory:
        machines = {f"{site}-app-1": site for site in EDGES.values()}
        return BusinessHistory(self._run, self._began_at, EDGES, machines, tuple(self._lines))

    def _now_s(self) -> float:
        return self._system.clock.monotonic() - self._began_s

    def _carry(self, places: dict[str, float]) -> None:
        """A document reaches the other site once neither is dark."""
        dark = any(map(self._system.is_cut, EDGES.values()))
        for site in EDGES.values():
            if site not in places and not dark and self._now_s() >= min(places.values()):
                places[site] = max(self._now_s(), min(places.values()) + self.carried_after_s)

    def _catch_up(self) -> None:
        while self._running and (due_s := self._started_s + self._next * EVERY_S) <= self._now_s() - ANSWER_S:
            self._system.advance(self._began_s + due_s)
            for places in self._places.values():
                self._carry(places)
            edge = tuple(EDGES)[self._next % len(EDGES)]
            self._tender(edge, due_s)
            self._act(due_s)
            self._next += 1

    def _tender(self, edge: str, due_s: float) -> None:
        name = f"{self._next:032x}"
        marker = title_of(self._run, "tender", self._next)
        tender = Fact(f"tender/{name}", rank=(1, due_s), marker=marker)
        content = Fact(f"bytes/{name}", _md5(name))
        ok = self._system.writable(edge)
        for kind, fact in ((Kind.TENDER, tender), (Kind.UPLOAD, content)):
            op, self._op = self._op, self._op + 1
            self._lines.append(Invoked(due_s, op, kind, edge, marker=marker if kind is Kind.TENDER else ""))
            outcome = Phase.OK if ok else Phase.FAIL
            saw = "" if ok else "503 not-applied"
            at_s = due_s + ANSWER_S
            by = f"{EDGES[edge]}-app-1" if ok else ""
            self._lines.append(Ended(at_s, op, outcome, saw, by, (fact,) if ok else ()))
            if ok:
                self._facts[fact.key] = fact
                self._acknowledged[edge].append(at_s)
        if ok:
            self._places[name] = {EDGES[edge]: due_s}

    def _act(self, due_s: float) -> None:
        """A round begins with every tender, by whoever leads; a successor leads once the site is dark."""
        if self._system.is_cut(self._acts_at):
            if self.stops_acting or self._next % 8:
                return
            self._epoch += 1
            self._acts_at = next(site for site in EDGES.values() if not self._system.is_cut(site))
            self._look()
        started_s = self._began_at.timestamp() + due_s + ANSWER_S
        self._lines.append(Act(f"{self._next}", 1, self._epoch, started_s, 0.0, missed=False))

    def _look(self) -> None:
        since_s = self._began_at.timestamp() + self._started_s + max(0, self._next - 1) * EVERY_S
        self._lines.append(Look(self._now_s(), self._epoch, self._acts_at, since_s))


def _md5(name: str) -> str:
    return hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
