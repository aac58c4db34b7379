"""``ports.Reach``: a TCP connection, made and closed."""

import socket
import time

from dcctl.errors import TimedOut, Unreachable


class TcpReach:
    """``limit_s`` bounds a call."""

    def __init__(self, *, limit_s: float) -> None:
        self._limit_s = limit_s

    def observe_port(self, address: str, port: int) -> float:
        where = f"{address}:{port}"
        began_s = time.monotonic()
        try:
            socket.create_connection((address, port), timeout=self._limit_s).close()
        except TimeoutError as error:
            raise TimedOut("connect", on=where, saw=f"no answer within {self._limit_s:g} s") from error
        except OSError as error:
            raise Unreachable("connect", on=where, saw=error.strerror or str(error)) from error
        return time.monotonic() - began_s
