"""A journal in memory."""

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from dcctl.domain.event import Event
from dcctl.errors import DcctlError


class MemoryJournal:
    """``ports.Journal`` without a disk. Set ``fails`` and every later ``append`` raises it: a full disk."""

    def __init__(self, run: str = "run", *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.run = run
        self.fails: DcctlError | None = None
        self._now = now
        self._events: list[Event] = []
        self._lock = threading.Lock()

    def append(self, type: str, fields: Mapping[str, Any]) -> Event:
        with self._lock:
            if self.fails is not None:
                raise self.fails
            event = Event(
                at=self._now(), run=self.run, seq=len(self._events) + 1, type=type, fields=dict(fields)
            )
            self._events.append(event)
            return event

    def events(self) -> tuple[Event, ...]:
        return tuple(self._events)
