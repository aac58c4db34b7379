"""``ports.Edges`` through HAProxy's statistics page as CSV (HAProxy Management Guide, section 9.1)."""

import csv
from collections.abc import Callable, Mapping
from http import HTTPStatus

from dcctl.domain.observation import EdgeReport
from dcctl.errors import Rejected

PORT = 8404
PATH = "/;csv"
BACKEND = "postgresql_primary"
"""The backend through which writes go; its servers are named as the databases are."""
SUMMARY_ROWS = ("FRONTEND", "BACKEND")


class HaproxyEdges:
    """``edges`` by name, with the address of each; ``limit_s`` bounds a whole call.

    ``get`` is ``dcctl.adapters.http.get``.
    """

    def __init__(
        self,
        addresses: Mapping[str, str],
        *,
        get: Callable[..., tuple[int, str]],
        limit_s: float,
        port: int = PORT,
    ) -> None:
        self._get = get
        self.edges = tuple(addresses)
        self._urls = {name: f"http://{address}:{port}{PATH}" for name, address in addresses.items()}
        self._limit_s = limit_s

    def observe_edge(self, name: str) -> EdgeReport:
        status, text = self._get(self._urls[name], limit_s=self._limit_s, tried="ask the edge", on=name)
        if status != HTTPStatus.OK:
            raise Rejected("ask the edge", on=name, saw=f"HTTP {status}")
        return parse_statistics(text, name=name)


def parse_statistics(text: str, *, name: str) -> EdgeReport:
    """The database servers in HAProxy's CSV. Raises Rejected for text that is none."""
    rows = list(csv.DictReader(text.removeprefix("# ").splitlines()))
    servers = {
        row["svname"]: (row["status"].startswith("UP"), row["status"])
        for row in rows
        if row.get("pxname") == BACKEND and row.get("svname") not in SUMMARY_ROWS and row.get("status")
    }
    if not servers:
        raise Rejected("ask the edge", on=name, saw=f"its statistics name no server of backend {BACKEND}")
    return EdgeReport(servers)
