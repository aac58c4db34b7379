"""HAProxy: ``ports.Edges`` and ``ports.EdgeTraffic`` through its statistics page as CSV,
``ports.EdgeRuntime`` through its runtime socket (HAProxy Management Guide, sections 9.1 and 9.3).

Out of rotation is HAProxy's ``drain``: the server gets no new work, finishes what it has, and its health
checks go on. Unlike a weight of 0 it outlives a reload through the server state file.
"""

import csv
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

from dcctl.domain.observation import EdgeReport
from dcctl.domain.traffic import EdgeServer
from dcctl.errors import Rejected, TimedOut, Unreachable

PORT = 8404
PATH = "/;csv"
BACKEND = "postgresql_primary"
"""The backend through which writes go; its servers are named as the databases are."""
SUMMARY_ROWS = ("FRONTEND", "BACKEND")
OUT = ("DRAIN", "MAINT")
OUT_BITS = 0x01 | 0x02 | 0x08 | 0x10 | 0x20
"""Maintenance and drain, whoever asked for it. 0x04 alone only says what the configuration began with."""
USABLE = ("UP", "DRAIN", "no check")
"""A server that drains is one whose health checks succeed."""


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
        return parse_statistics(self._statistics(name), name=name)

    def observe_servers(self, edge: str) -> tuple[EdgeServer, ...]:
        return parse_servers(self._statistics(edge), name=edge)

    def _statistics(self, name: str) -> str:
        status, text = self._get(self._urls[name], limit_s=self._limit_s, tried="ask the edge", on=name)
        if status != HTTPStatus.OK:
            raise Rejected("ask the edge", on=name, saw=f"HTTP {status}")
        return text


class HaproxyRuntime:
    """The edge on this machine; ``limit_s`` bounds a whole call. One connection per command, so that a
    reload, which replaces the process behind ``path``, is noticed."""

    def __init__(self, path: Path, *, limit_s: float) -> None:
        self._path = path
        self._limit_s = limit_s

    def observe_servers(self) -> tuple[EdgeServer, ...]:
        out = parse_out_of_rotation(self._ask("show servers state"))
        seen = parse_servers(self._ask("show stat"), name=str(self._path))
        return tuple(replace(each, in_rotation=(each.backend, each.name) not in out) for each in seen)

    def steer(self, backend: str, server: str, *, in_rotation: bool, at_once: bool = False) -> None:
        # Never maintenance, which ends the checks: whoever is taken out of it counts as up until one fails,
        # and a standby would get clients of the primary.
        self._do(f"set server {backend}/{server} state {'ready' if in_rotation else 'drain'}")
        if at_once and not in_rotation:
            self._do(f"shutdown sessions server {backend}/{server}")

    def _do(self, command: str) -> None:
        # A command that was carried out answers with an empty line.
        if saw := self._ask(command).strip():
            raise Rejected(command, on=str(self._path), saw=saw)

    def _ask(self, command: str) -> str:
        deadline_s = time.monotonic() + self._limit_s
        answer = b""
        try:
            with socket.socket(socket.AF_UNIX) as runtime:
                runtime.settimeout(self._limit_s)
                runtime.connect(str(self._path))
                runtime.sendall(command.encode() + b"\n")
                while piece := runtime.recv(65536):
                    answer += piece
                    runtime.settimeout(max(0.001, deadline_s - time.monotonic()))
        except TimeoutError as error:
            saw = f"no answer within {self._limit_s:g} s"
            raise TimedOut(command, on=str(self._path), saw=saw) from error
        except OSError as error:
            raise Unreachable(command, on=str(self._path), saw=error.strerror or str(error)) from error
        return answer.decode(errors="replace")


def parse_out_of_rotation(text: str) -> frozenset[tuple[str, str]]:
    """Backend and server of each that is to get no new work, by its administrative state.

    Raises Rejected for text that is no list of servers' states (Management Guide, "show servers state").
    """
    lines = text.splitlines()
    titles = next((line.removeprefix("# ").split() for line in lines if line.startswith("# be_id ")), None)
    if titles is None:
        raise Rejected("ask the edge", saw=text.strip().partition("\n")[0] or "an empty answer")
    rows = [dict(zip(titles, line.split(), strict=False)) for line in lines if line[:1].isdecimal()]
    return frozenset(
        (row["be_name"], row["srv_name"])
        for row in rows
        if len(row) == len(titles) and (int(row["srv_admin_state"]) & OUT_BITS or row["srv_uweight"] == "0")
    )


def parse_servers(text: str, *, name: str) -> tuple[EdgeServer, ...]:
    """All servers in HAProxy's CSV, which does not say of one that is down whether it drains as well.

    Raises Rejected for text that is none (a refusal, say).
    """
    if not text.startswith("# pxname,"):
        raise Rejected("ask the edge", on=name, saw=text.strip().partition("\n")[0] or "an empty answer")
    return tuple(
        EdgeServer(
            backend=row["pxname"],
            name=row["svname"],
            in_rotation=row["weight"] != "0" and not row["status"].startswith(OUT),
            up=row["status"].startswith(USABLE),
            status=row["status"],
            in_flight=int(row["scur"] or 0),
        )
        for row in csv.DictReader(text.removeprefix("# ").splitlines())
        if row.get("svname") not in SUMMARY_ROWS and row.get("status")
    )


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
