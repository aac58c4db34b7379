"""What the clients noted, in order, kept on disk as it happens. Safe to share between threads."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from dcctl.domain.business import READS, Ended, Invoked, Line
from dcctl.domain.history import Phase


class Notes:
    """``keep`` is called with every line."""

    def __init__(self, edges: Sequence[str], keep: Callable[[Line], None]) -> None:
        self._keep = keep
        self._began_s = time.monotonic()
        self._lock = threading.Lock()
        self._lines: list[Line] = []
        self._changes: dict[int, str] = {}
        self._acknowledged_s: dict[str, list[float]] = {edge: [] for edge in edges}
        self._facts: dict[str, str] = {}

    def now_s(self) -> float:
        """Seconds since the beginning, to the microsecond, as they are kept on disk."""
        return round(time.monotonic() - self._began_s, 6)

    def write(self, line: Line) -> None:
        with self._lock:
            self._lines.append(line)
            if isinstance(line, Invoked) and line.kind not in READS:
                self._changes[line.op] = line.edge
            if isinstance(line, Ended) and line.outcome is Phase.OK and line.op in self._changes:
                self._acknowledged_s[self._changes[line.op]].append(line.at_s)
                self._facts |= {fact.key: fact.holds for fact in line.facts}
            self._keep(line)

    def lines(self) -> tuple[Line, ...]:
        with self._lock:
            return tuple(self._lines)

    def acknowledged_s(self) -> Mapping[str, Sequence[float]]:
        """When changes were acknowledged, by edge."""
        with self._lock:
            return {edge: tuple(instants) for edge, instants in self._acknowledged_s.items()}

    def acknowledged(self, prefix: str) -> Mapping[str, str]:
        """What acknowledged facts hold, of keys that begin with ``prefix``, by the rest of the key."""
        with self._lock:
            return {
                key.removeprefix(prefix): holds
                for key, holds in self._facts.items()
                if key.startswith(prefix)
            }
