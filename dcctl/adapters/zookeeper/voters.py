"""``ports.Coordination``, and reading nodes, with kazoo.

A kazoo client speaks to whichever server lets it in; whether each of them lives is asked with the
four-letter word ``srvr`` on a plain socket (ZooKeeper Administrator's Guide, "The Four Letter Words"; it
is the one that is allowed by default). It needs no session, so it answers without a quorum too.
"""

import logging
import re
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NoNodeError

from dcctl.domain.observation import VoterMode, VoterReport
from dcctl.errors import Rejected, TimedOut, Unreachable

PORT = 2181
SESSION_S = 4.0
"""Short: a session that is not closed properly is forgotten soon."""
SILENT = logging.getLogger("dcctl.adapters.zookeeper.kazoo")
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False
NOT_SERVING = "not currently serving requests"


class ZooKeeperVoters:
    """``voters`` by name, with the address of each; ``limit_s`` bounds a whole call."""

    def __init__(self, addresses: Mapping[str, str], *, limit_s: float, port: int = PORT) -> None:
        self.voters = tuple(addresses)
        self._addresses = dict(addresses)
        self._limit_s = limit_s
        self._port = port

    def observe_voter(self, name: str) -> VoterReport:
        return parse_srvr(self._ask(name, b"srvr", self._limit_s), name=name)

    def read(self, *paths: str) -> tuple[bytes | None, ...]:
        """The values of nodes as a server in the quorum knows them; None where there is no such node.

        Asks the servers in turn, each of which first has to say within a third of the limit that it is in
        the quorum. Raises Unreachable with what each of them said.
        """
        said = []
        for name in self.voters:
            try:
                mode = parse_srvr(self._ask(name, b"srvr", self._limit_s / 3), name=name).mode
                if mode is not VoterMode.NOT_SERVING:
                    return self._read_from(name, paths)
                said.append(f"{name}: {mode}")
            except Unreachable as error:
                said.append(f"{name}: {error.saw}")
        raise Unreachable("read ZooKeeper", on=paths[0], saw="; ".join(said))

    def _read_from(self, name: str, paths: Sequence[str]) -> tuple[bytes | None, ...]:
        where = f"{self._addresses[name]}:{self._port}"
        client = KazooClient(hosts=where, timeout=SESSION_S, logger=SILENT, read_only=True)
        try:
            client.start(timeout=self._limit_s)
            answers = [client.get_async(path) for path in paths]
            return tuple(_value(answer.get, self._limit_s) for answer in answers)
        except (KazooException, client.handler.timeout_exception) as error:
            saw = str(error) or type(error).__name__
            raise Unreachable("read ZooKeeper", on=f"{name}: {paths[0]}", saw=saw) from error
        finally:
            client.stop()
            client.close()

    def _ask(self, name: str, word: bytes, limit_s: float) -> str:
        deadline_s = time.monotonic() + limit_s
        answer = b""
        try:
            with socket.create_connection((self._addresses[name], self._port), timeout=limit_s) as server:
                server.sendall(word)
                while True:
                    server.settimeout(max(0.001, deadline_s - time.monotonic()))
                    piece = server.recv(4096)
                    if not piece:
                        return answer.decode(errors="replace")
                    answer += piece
        except TimeoutError as error:
            raise TimedOut("ask ZooKeeper", on=name, saw=f"no answer within {limit_s:.1f} s") from error
        except OSError as error:
            raise Unreachable("ask ZooKeeper", on=name, saw=error.strerror or str(error)) from error


def _value(answer: Callable[..., Any], limit_s: float) -> bytes | None:
    try:
        value, _stat = answer(timeout=limit_s)
    except NoNodeError:
        return None
    return bytes(value)


def parse_srvr(text: str, *, name: str) -> VoterReport:
    """The report in an answer to ``srvr``. Raises Rejected for text that is none."""
    if NOT_SERVING in text:
        return VoterReport(VoterMode.NOT_SERVING)
    found = dict(re.findall(r"^(Mode|Zxid|Connections): (.+)$", text, re.MULTILINE))
    modes = {str(mode) for mode in VoterMode}
    if found.get("Mode") not in modes:
        saw = text.strip().splitlines()[0] if text.strip() else "an empty answer"
        raise Rejected("ask ZooKeeper", on=name, saw=saw)
    return VoterReport(
        mode=VoterMode(found["Mode"]),
        zxid=found.get("Zxid", ""),
        connections=int(found.get("Connections", "0")),
    )
