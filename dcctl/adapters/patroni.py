"""``ports.Database`` through Patroni's REST API (Patroni documentation, "Patroni REST API").

``GET /patroni`` is what a member knows of itself and answers without ZooKeeper; ``GET /cluster`` is what
ZooKeeper knows of all, and may be missing while a member is cut off from it.
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from dcctl.domain.observation import DatabaseReport, Member
from dcctl.errors import Rejected, Unreachable

PORT = 8008
PRIMARY_ROLES = ("primary", "master", "standby_leader")
"""Patroni renamed ``master`` in 4.0."""


class PatroniMembers:
    """``members`` by name, with the address of each; ``limit_s`` bounds a whole call.

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
        self.members = tuple(addresses)
        self._urls = {name: f"http://{address}:{port}" for name, address in addresses.items()}
        self._limit_s = limit_s

    def observe_member(self, name: str) -> DatabaseReport:
        deadline_s = time.monotonic() + self._limit_s
        own = self._ask(name, "/patroni", self._limit_s)
        try:
            cluster = self._ask(name, "/cluster", max(0.05, deadline_s - time.monotonic()))
        except Unreachable:
            cluster = None
        return parse_member(name, own, cluster)

    def _ask(self, name: str, path: str, limit_s: float) -> Any:
        tried = f"ask Patroni for {path}"
        _status, text = self._get(self._urls[name] + path, limit_s=limit_s, tried=tried, on=name)
        try:
            return json.loads(text)
        except ValueError as error:
            raise Rejected(tried, on=name, saw="the answer is not JSON") from error


def parse_member(name: str, own: Any, cluster: Any) -> DatabaseReport:
    """The report in the answers to ``/patroni`` and ``/cluster`` (None: it gave none)."""
    if not isinstance(own, dict) or "state" not in own:
        raise Rejected("ask Patroni", on=name, saw="the answer is not a member's")
    members = cluster.get("members", []) if isinstance(cluster, dict) else None
    return DatabaseReport(
        name=name,
        primary=own.get("role") in PRIMARY_ROLES and own["state"] == "running",
        state=str(own["state"]),
        timeline=_number(own.get("timeline")),
        members=None if members is None else tuple(_member(each) for each in members),
        streaming={
            str(each.get("application_name")): str(each.get("sync_state"))
            for each in own.get("replication", ())
            if each.get("state") == "streaming"
        },
        paused=bool(own.get("pause")),
    )


def _member(fields: Mapping[str, Any]) -> Member:
    return Member(
        name=str(fields.get("name")),
        role=str(fields.get("role")),
        state=str(fields.get("state")),
        timeline=_number(fields.get("timeline")),
        lag_bytes=_number(fields.get("lag")),
    )


def _number(value: object) -> int | None:
    """Patroni writes ``unknown`` where it has no number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
