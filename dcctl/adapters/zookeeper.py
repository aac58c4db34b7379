"""``ports.Coordination``: each ZooKeeper server's own answer to ``srvr``, asked one by one.

A kazoo client speaks to whichever server lets it in; whether the others live is asked with the four-letter
word itself, on a plain socket (ZooKeeper Administrator's Guide, "The Four Letter Words"; ``srvr`` is the
one that is allowed by default). It needs no session, so it answers without a quorum too.
"""

import re
import socket
import time
from collections.abc import Mapping

from dcctl.domain.observation import VoterMode, VoterReport
from dcctl.errors import Rejected, TimedOut, Unreachable

PORT = 2181
NOT_SERVING = "not currently serving requests"


class ZooKeeperVoters:
    """``voters`` by name, with the address of each; ``limit_s`` bounds a whole call."""

    def __init__(self, addresses: Mapping[str, str], *, limit_s: float, port: int = PORT) -> None:
        self.voters = tuple(addresses)
        self._addresses = dict(addresses)
        self._limit_s = limit_s
        self._port = port

    def observe_voter(self, name: str) -> VoterReport:
        return parse_srvr(self._ask(name, b"srvr"), name=name)

    def _ask(self, name: str, word: bytes) -> str:
        deadline_s = time.monotonic() + self._limit_s
        answer = b""
        try:
            with socket.create_connection(
                (self._addresses[name], self._port), timeout=self._limit_s
            ) as server:
                server.sendall(word)
                while True:
                    server.settimeout(max(0.001, deadline_s - time.monotonic()))
                    piece = server.recv(4096)
                    if not piece:
                        return answer.decode(errors="replace")
                    answer += piece
        except TimeoutError as error:
            raise TimedOut("ask ZooKeeper", on=name, saw=f"no answer within {self._limit_s:g} s") from error
        except OSError as error:
            raise Unreachable("ask ZooKeeper", on=name, saw=error.strerror or str(error)) from error


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
