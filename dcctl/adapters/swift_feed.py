"""``ports.ChangeFeed`` over our proxy middleware (templates/swift/dcctl_feed.py), for applications that tell
nothing themselves. What it forgets, a pass finds."""

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from dcctl.domain.replication_account import account_of, own_name
from dcctl.domain.replication_feed import Told

NAME = ".dcctl-feed"
CALL_LIMIT_S = 5.0
KEPT = 10_000
KEPT_S = 600.0


@dataclass(frozen=True, slots=True)
class Source:
    """One cluster's account; ``url`` is its storage URL, ``accounts`` are those of more accounts by name."""

    site: str
    url: str
    ca_file: str | None = None
    accounts: Mapping[str, str] = field(default_factory=dict)


class ProxyFeed:
    """Asks every source about every container. ``sign`` is (method, path, stamp) -> the header's value."""

    def __init__(
        self, sources: Sequence[Source], containers: Sequence[str], sign: Callable[[str, str, str], str]
    ) -> None:
        self._sources = tuple(sources)
        self._containers = tuple(containers)
        self._sign = sign
        self._positions: dict[tuple[str, str], int] = {}
        self._pending: dict[int, Told] = {}
        self._numbers = itertools.count(1)
        self._guard = threading.Lock()
        self._session = requests.Session()

    def watch(self, containers: Sequence[str]) -> None:
        self._containers = tuple(containers)

    def pending(self, limit: int) -> tuple[Told, ...]:
        with self._guard:
            oldest = datetime.fromtimestamp(time.time() - KEPT_S, UTC)
            self._pending = {number: one for number, one in self._pending.items() if one.begun > oldest}
            for source in self._sources:
                for container in self._containers:
                    if len(self._pending) < KEPT:
                        self._ask(source, container)
            return tuple(self._pending[number] for number in sorted(self._pending)[:limit])

    def settle(self, numbers: Sequence[int]) -> None:
        with self._guard:
            for number in numbers:
                self._pending.pop(number, None)

    def close(self) -> None:
        self._session.close()

    def _ask(self, source: Source, container: str) -> None:
        """What came after the last question. A cluster that is away tells nothing; passes say that it is."""
        parts = urlsplit(source.accounts.get(account_of(container), source.url))
        path = quote(f"{parts.path.rstrip('/')}/{own_name(container)}/{NAME}")
        position = self._positions.get((source.site, container))
        try:
            answer = self._session.get(
                f"{parts.scheme}://{parts.netloc}{path}",
                params={} if position is None else {"after": str(position)},
                headers={"X-Container-Sync-Auth": self._sign("GET", path, "")},
                timeout=CALL_LIMIT_S,
                verify=source.ca_file or True,
            )
            told: Mapping[str, Any] = answer.json() if answer.status_code == requests.codes.ok else {}
        except (requests.RequestException, ValueError):
            return
        if "until" not in told:
            return
        self._positions[source.site, container] = int(told["until"])
        for _number, name, at in told["changes"]:
            when = datetime.fromtimestamp(at, UTC)
            number = next(self._numbers)
            self._pending[number] = Told(number, source.site, container, name, when, when)
