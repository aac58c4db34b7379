"""Clients that ask all the time, through one edge each, and remember every answer."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from procurement_world import tender
from stack import API, Buyer, Stack, joined

PAUSE_S = 0.05
BAD = 500


@dataclass(frozen=True)
class Asked:
    """One request: through which edge, who served it, and what went wrong, if anything."""

    edge: str
    at_s: float
    served_by: str = ""
    wrong: str = ""


@dataclass
class Clients:
    """Reads and writes at every edge until it is left."""

    buyer: Buyer
    asked: list[Asked] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, edge: str, write: bool) -> None:
        with joined("dcctl-operator"):
            while not self.stop.wait(PAUSE_S):
                self.asked.append(self._ask(edge, write))

    def _ask(self, edge: str, write: bool) -> Asked:
        at_s = time.monotonic()
        try:
            answer = (
                self.buyer.ask(edge, "POST", API, tender(datetime.now(UTC)))
                if write
                else self.buyer.ask(edge, "GET", f"{API}?limit=1")
            )
        except OSError as error:
            return Asked(edge, at_s, wrong=f"{type(error).__name__}: {error}")
        wrong = f"{answer.status} {answer.content[:100]!r}" if answer.status >= BAD else ""
        return Asked(edge, at_s, str(answer.headers["X-Served-By"]), wrong)

    def errors(self) -> list[Asked]:
        return [each for each in self.asked if each.wrong]

    def served_since(self, at_s: float, edge: str) -> set[str]:
        """Who served what was asked through ``edge`` after ``at_s``."""
        return {each.served_by for each in self.asked if each.edge == edge and each.at_s > at_s}


@contextlib.contextmanager
def asking(stack: Stack, edges: tuple[str, ...]) -> Iterator[Clients]:
    """Readers and writers at each of ``edges``."""
    clients = Clients(stack.buyer())
    threads = [
        threading.Thread(target=clients.run, args=(edge, write), daemon=True)
        for edge in edges
        for write in (False, True)
    ]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        clients.stop.set()
        for thread in threads:
            thread.join(90)
