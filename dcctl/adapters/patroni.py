"""``ports.Database`` over Patroni: each member's REST API, and Patroni's keys in ZooKeeper.

Of the REST API only ``GET /patroni`` is used, which a member answers from its memory (Patroni
documentation, "Patroni REST API"). ``GET /cluster`` is not: it makes the member read ZooKeeper, and kazoo
sends its heartbeat only when nothing else was sent for a third of the session. A member that is asked
every few seconds does not notice that its ZooKeeper server went dark, and does not take over (read in
kazoo's ``_connect_attempt`` and seen with Patroni 3.0.2: no promotion in 90 s).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import Any

from dcctl.domain.observation import ClusterReport, DatabaseReport
from dcctl.errors import CredentialsRefused, DcctlError, Rejected

PORT = 8008
PRIMARY_ROLES = ("primary", "master", "standby_leader")
"""Patroni renamed ``master`` in 4.0."""
CHECKPOINT = ("sudo", "-n", "-u", "postgres", "psql", "-qXc", "CHECKPOINT")
"""A primary writes one before it stops, and a standby that is in the middle of one takes over slowly."""


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
        keys = [f"{self._keys}/members/{name}" for name in self.members]
        own = [f"{self._keys}/{key}" for key in ("leader", "sync", "history")]
        leader, sync, history, *members = self._read(*own, *keys)
        alive = [name for name, value in zip(self.members, members, strict=True) if value is not None]
        return replace(
            parse_cluster(leader, sync), members=tuple(sorted(alive)), ended=parse_history(history)
        )


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
        replayed_at=_instant(positions.get("replayed_timestamp")),
    )


def _instant(value: object) -> datetime | None:
    """PostgreSQL's own spelling, with its offset; None for none, and for what is not one."""
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def parse_cluster(leader: bytes | None, sync: bytes | None) -> ClusterReport:
    """The report in Patroni's keys ``leader`` and ``sync`` (None: there is no such key)."""
    try:
        fields = json.loads(sync) if sync else {}
        names, to = fields.get("sync_standby") or "", fields.get("leader")
    except (ValueError, AttributeError) as error:
        raise Rejected("read Patroni's keys", on="sync", saw="the value is not Patroni's") from error
    return ClusterReport(
        leader=leader.decode(errors="replace") if leader else None,
        synchronous=tuple(sorted(name for name in names.split(",") if name)),
        synchronous_to=str(to) if to else None,
    )


def parse_history(history: bytes | None) -> tuple[int, int] | None:
    """The last line of Patroni's key ``history``: ``[timeline, position, why, …]`` per ended timeline.

    None where it says nothing that can be read: it is for people, and decides nothing.
    """
    try:
        rows = json.loads(history) if history else []
        return (int(rows[-1][0]), int(rows[-1][1])) if rows else None
    except (ValueError, LookupError, TypeError):
        return None


class PatroniSwitch:
    """Asks Patroni for a switchover at the primary's own API, and for a standby's at its own.

    Patroni refuses by itself when ``leader`` is not the primary any more, or ``candidate`` is not its
    synchronous standby, and to reinitialize a leader (Patroni documentation, "Patroni REST API");
    ``POST /failover`` is never used.
    ``run`` runs a command on a member's machine, within so many seconds (``ports.Remote``).
    """

    def __init__(
        self,
        addresses: Mapping[str, str],
        *,
        post: Callable[..., tuple[int, str]],
        run: Callable[[str, Sequence[str], float], tuple[int, str, str]],
        user: str,
        password: str,
        port: int = PORT,
    ) -> None:
        self._post = post
        self._run = run
        self._urls = {name: f"http://{address}:{port}" for name, address in addresses.items()}
        self._login = (user, password)

    def make_ready(self, member: str, *, limit_s: float) -> str:
        try:
            status, _out, err = self._run(member, CHECKPOINT, limit_s)
        except DcctlError as error:
            return error.saw or error.sentence()
        return "" if status == 0 else (err.strip().splitlines() or [f"psql ended with {status}"])[-1]

    def switch_over(self, leader: str, candidate: str, *, limit_s: float) -> str:
        tried = f"move the primary to {candidate}"
        asked = {"leader": leader, "candidate": candidate}
        status, saw = self._ask(leader, "/switchover", asked, tried=tried, limit_s=limit_s)
        if status != HTTPStatus.OK:
            raise Rejected(tried, on=leader, saw=saw)
        return saw

    def start_anew(self, member: str, *, limit_s: float) -> str:
        """As ``ports.Switch`` says. Patroni answers 503 as soon as it rewinds instead of starting: what came
        of it is for a look at the member to tell."""
        return self._ask(member, "/restart", {}, tried="start a standby anew", limit_s=limit_s)[1]

    def rebuild(self, member: str, *, limit_s: float) -> str:
        tried = "rebuild a standby"
        status, saw = self._ask(member, "/reinitialize", {"force": True}, tried=tried, limit_s=limit_s)
        if status != HTTPStatus.OK:
            raise Rejected(tried, on=member, saw=saw)
        return saw

    def _ask(
        self, member: str, path: str, asked: Mapping[str, object], *, tried: str, limit_s: float
    ) -> tuple[int, str]:
        """The status and what was answered, in words. Raises CredentialsRefused."""
        status, text = self._post(
            self._urls[member] + path, asked, login=self._login, limit_s=limit_s, tried=tried, on=member
        )
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise CredentialsRefused(tried, on=member, saw=f"HTTP {status}")
        words = text.strip()[:200]
        return status, words if status == HTTPStatus.OK else f"HTTP {status}: {words}"
