"""``ports.Database`` over Patroni: each member's REST API, and Patroni's keys in ZooKeeper.

Of the REST API only ``GET /patroni`` is used, which a member answers from its memory (Patroni
documentation, "Patroni REST API"). ``GET /cluster`` is not: it makes the member read ZooKeeper, and kazoo
sends its heartbeat only when nothing else was sent for a third of the session. A member that is asked
every few seconds does not notice that its ZooKeeper server went dark, and does not take over (read in
kazoo's ``_connect_attempt`` and seen with Patroni 3.0.2: no promotion in 90 s).
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from dcctl.domain.observation import ClusterReport, DatabaseReport
from dcctl.errors import Rejected

PORT = 8008
PRIMARY_ROLES = ("primary", "master", "standby_leader")
"""Patroni renamed ``master`` in 4.0."""


class PatroniMembers:
    """``members`` by name, with the address of each; ``limit_s`` bounds a whole call.

    ``get`` is ``dcctl.adapters.http.get``; ``read`` gives the values of ZooKeeper nodes; ``keys``
    is the node under which Patroni keeps this cluster's (``<namespace>/<scope>``).
    """

    def __init__(
        self,
        addresses: Mapping[str, str],
        *,
        get: Callable[..., tuple[int, str]],
        read: Callable[..., tuple[bytes | None, ...]],
        keys: str,
        limit_s: float,
        port: int = PORT,
    ) -> None:
        self._get = get
        self._read = read
        self._keys = keys
        self.members = tuple(addresses)
        self._urls = {name: f"http://{address}:{port}" for name, address in addresses.items()}
        self._limit_s = limit_s

    def observe_member(self, name: str) -> DatabaseReport:
        tried = "ask Patroni"
        _status, text = self._get(self._urls[name] + "/patroni", limit_s=self._limit_s, tried=tried, on=name)
        try:
            own = json.loads(text)
        except ValueError as error:
            raise Rejected(tried, on=name, saw="the answer is not JSON") from error
        return parse_member(name, own)

    def observe_cluster(self) -> ClusterReport:
        return parse_cluster(*self._read(f"{self._keys}/leader", f"{self._keys}/sync"))


def parse_member(name: str, own: Any) -> DatabaseReport:
    """The report in an answer to ``/patroni``. Raises Rejected for what is none."""
    if not isinstance(own, dict) or "state" not in own:
        raise Rejected("ask Patroni", on=name, saw="the answer is not a member's")
    positions = own.get("xlog") or {}
    return DatabaseReport(
        name=name,
        primary=own.get("role") in PRIMARY_ROLES and own["state"] == "running",
        state=str(own["state"]),
        timeline=own.get("timeline"),
        location_bytes=positions.get("location", positions.get("received_location")),
        streaming={
            str(each.get("application_name")): str(each.get("sync_state"))
            for each in own.get("replication", ())
            if each.get("state") == "streaming"
        },
        paused=bool(own.get("pause")),
    )


def parse_cluster(leader: bytes | None, sync: bytes | None) -> ClusterReport:
    """The report in Patroni's keys ``leader`` and ``sync`` (None: there is no such key)."""
    try:
        names = (json.loads(sync) if sync else {}).get("sync_standby") or ""
    except (ValueError, AttributeError) as error:
        raise Rejected("read Patroni's keys", on="sync", saw="the value is not Patroni's") from error
    return ClusterReport(
        leader=leader.decode(errors="replace") if leader else None,
        synchronous=tuple(sorted(name for name in names.split(",") if name)),
    )
