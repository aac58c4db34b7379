"""``ports.EdgeLoad`` through HAProxy's statistics as CSV (HAProxy Management Guide, section 9.1).

A server's ``rate`` counts what was sent to it in the last second: requests where the backend speaks HTTP,
connections where it forwards TCP. Health checks are in neither.
"""

import csv
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus

from dcctl.domain.capacity import Traffic
from dcctl.errors import Rejected

PORT = 8404
PATH = "/;csv"
OWN_FRONTEND = "status"
"""Health, metrics and statistics: no client's."""


class HaproxyLoad:
    """``addresses`` by edge; ``limit_s`` bounds a call; ``get`` is ``dcctl.adapters.http.get``."""

    def __init__(
        self,
        addresses: Mapping[str, str],
        *,
        get: Callable[..., tuple[int, str]],
        limit_s: float,
        port: int = PORT,
    ) -> None:
        self._get = get
        self._urls = {name: f"http://{address}:{port}{PATH}" for name, address in addresses.items()}
        self._limit_s = limit_s

    def observe_load(self, edge: str) -> Mapping[str, Traffic]:
        status, text = self._get(self._urls[edge], limit_s=self._limit_s, tried="ask the edge", on=edge)
        if status != HTTPStatus.OK:
            raise Rejected("ask the edge", on=edge, saw=f"HTTP {status}")
        return parse_load(text, edge=edge)


def parse_load(text: str, *, edge: str) -> dict[str, Traffic]:
    """What every server is sent, and what comes in to the edge. Raises Rejected for text that is no CSV."""
    rows = list(csv.DictReader(text.removeprefix("# ").splitlines()))
    if not rows or "svname" not in rows[0]:
        raise Rejected("ask the edge", on=edge, saw="its statistics cannot be read")
    fronts = [row for row in rows if row["svname"] == "FRONTEND" and row["pxname"] != OWN_FRONTEND]
    servers: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        if row["svname"] not in ("FRONTEND", "BACKEND"):
            servers.setdefault(row["svname"], []).append(row)
    # Every frontend is shown with the limit of the whole process.
    limits = [int(row["slim"]) for row in fronts if row["slim"]]
    return {
        edge: _traffic(fronts, limit=max(limits, default=None)),
        **{name: _traffic(of, limit=_limit(of)) for name, of in servers.items()},
    }


def _limit(rows: Iterable[Mapping[str, str]]) -> int | None:
    """The sum of its limits in all backends; None when one of them has none."""
    limits = [row["slim"] for row in rows]
    return sum(int(limit) for limit in limits) if all(limits) else None


def _traffic(rows: Iterable[Mapping[str, str]], *, limit: int | None) -> Traffic:
    rows = list(rows)
    return Traffic(
        per_s=sum(_number(row, "req_rate", "rate") for row in rows),
        peak_per_s=sum(_number(row, "req_rate_max", "rate_max") for row in rows),
        sessions=int(sum(_number(row, "scur") for row in rows)),
        session_limit=limit,
    )


def _number(row: Mapping[str, str], *columns: str) -> float:
    """The first column that says anything above zero: a frontend has both, TCP ones with no requests."""
    return next((float(row[column]) for column in columns if row.get(column) not in (None, "", "0")), 0.0)
