"""One session with the ensemble, whose every request ends within a time limit of its own.

kazoo is used for its session and its requests alone: no listener, no watch, no recipe, no retry. A client
that is cut off stays SUSPENDED without an end and queues what it is asked (kazoo 2.7 and later); so every
request has a time limit of its own, none is made while there is no connection, and its send time is read
before kazoo sees it. A request that was given up may still be carried out when the connection is back:
each change therefore names the versions that it is based on.
"""

import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import (
    BadVersionError,
    ConnectionClosedError,
    ConnectionLoss,
    KazooException,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
)
from kazoo.handlers.threading import KazooTimeoutError, SequentialThreadingHandler
from kazoo.protocol.serialization import Connect
from kazoo.retry import KazooRetry

from dcctl.errors import Rejected, TimedOut, Unreachable

RECONNECT_PAUSE_S = 0.2
CLOSE_LIMIT_S = 2.0

Answer = tuple[bytes, Any] | None
"""A node's content and its Stat; None where there is no such node."""


class _Connections(SequentialThreadingHandler):  # type: ignore[misc]  # kazoo has no types
    """kazoo's connections, given up early enough for a lease to live through the loss of a server.

    By itself kazoo notices a silent server after two thirds of a session, and then waits for a whole
    session on each server that is dark. ``limit_s`` bounds a connect.
    """

    def __init__(self, *, limit_s: float) -> None:
        super().__init__()
        self.limit_s = limit_s
        self._last: socket.socket | None = None

    def create_connection(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["timeout"] = min(kwargs.get("timeout", self.limit_s), self.limit_s)
        self._last = super().create_connection(*args, **kwargs)
        return self._last

    def give_up(self) -> None:
        """End the present connection; kazoo goes on to the next server, with the same session."""
        if self._last is not None:
            with contextlib.suppress(OSError):
                self._last.shutdown(socket.SHUT_RDWR)


class ZooKeeperSession:
    """One session. ``hosts`` as kazoo writes them (``host:port,…``), the local voter first.

    ``clock`` is the one that its age is judged by, in seconds. ``session_s`` is asked for; the ensemble
    may grant another. ``NoNodeError``, ``NodeExistsError`` and ``BadVersionError`` are answers and leave
    as kazoo's own: every other failure is ``Unreachable``.
    """

    def __init__(self, hosts: str, *, session_s: float, clock: Callable[[], float]) -> None:
        self._hosts = hosts
        self.clock = clock
        self._granted_s: float | None = None
        self._acknowledged_s: float | None = None
        self._connections = _Connections(limit_s=max(0.5, session_s / 8))
        self.client = self._new_client(hosts, session_s)

    def _new_client(self, hosts: str, session_s: float) -> KazooClient:
        quiet = logging.Logger("kazoo")
        quiet.addHandler(logging.NullHandler())
        retry = KazooRetry(
            max_tries=-1, delay=RECONNECT_PAUSE_S, backoff=1, max_jitter=0.1, max_delay=RECONNECT_PAUSE_S
        )
        client = KazooClient(
            hosts,
            timeout=session_s,
            handler=self._connections,
            randomize_hosts=False,
            connection_retry=retry,
            logger=quiet,
        )
        # kazoo reads the granted session timeout and keeps it to itself. It is needed before the client
        # calls itself connected, so the one place where it passes by is listened to.
        invoke = client._connection._invoke

        def noting(timeout: float, request: Any, xid: int | None = None) -> Any:
            answer = invoke(min(timeout, self._connections.limit_s), request, xid)
            if isinstance(request, Connect):
                self._granted_s = answer[0].time_out / 1000
            return answer

        client._connection._invoke = noting
        return client

    def connect(self, *, limit_s: float) -> None:
        """Begin the session. Raises Unreachable when no server lets us in within ``limit_s``."""
        if not self.client.start_async().wait(limit_s):
            self.close()
            raise Unreachable(
                "connect to ZooKeeper",
                on=self._hosts,
                saw=f"no session within {limit_s:g} s",
                next_command="dcctl status",
            )

    def begin(self, *, limit_s: float = 0.0) -> None:
        """Begin the session whenever a server lets us in; until then requests are ``Unreachable``.

        Waits for it for ``limit_s``, and says nothing when it is not there by then.
        """
        begun = self.client.start_async()
        if limit_s:
            begun.wait(limit_s)

    def close(self) -> None:
        """End the session, or leave it to run out where that cannot be said within two seconds."""

        def end() -> None:
            # kazoo raises what is not of its own tree when its connection thread will not end.
            with contextlib.suppress(Exception):
                self.client.stop()
                self.client.close()

        ending = threading.Thread(target=end, daemon=True)
        ending.start()
        ending.join(CLOSE_LIMIT_S)

    @property
    def granted_s(self) -> float | None:
        """What the ensemble granted; None before it did."""
        return self._granted_s

    @property
    def session_s(self) -> float:
        """What the ensemble granted. Raises Unreachable before it did."""
        if self._granted_s is None:
            raise Unreachable("read the session's time limit", on=self._hosts, saw="there is no session")
        return self._granted_s

    @property
    def acknowledged_s(self) -> float | None:
        """When the last request that was answered was sent, by ``clock``; None before the first."""
        return self._acknowledged_s

    @property
    def number(self) -> int | None:
        """The number of the session now, which owns its ephemeral nodes; None while not connected."""
        identity = self.client.client_id
        return None if identity is None else int(identity[0])

    def sent(self, tried: str, request: Callable[[], Any]) -> Any:
        """Hand a request to kazoo, if there is a connection now: it would queue it otherwise."""
        if not self.client.connected:
            raise Unreachable(tried, on=self._hosts, saw="no connection to ZooKeeper")
        return request()

    def wait(self, tried: str, asked: Any, limit_s: float) -> Any:
        """The answer to what ``sent`` returned."""
        try:
            return asked.get(timeout=max(0.001, limit_s))
        except KazooTimeoutError as error:
            if limit_s >= self._connections.limit_s:
                self._connections.give_up()
            raise TimedOut(tried, on=self._hosts, saw=f"no answer within {limit_s:.1f} s") from error
        except (ConnectionLoss, ConnectionClosedError) as error:
            raise Unreachable(tried, on=self._hosts, saw="the connection was lost") from error
        except SessionExpiredError as error:
            raise Unreachable(tried, on=self._hosts, saw="the session has expired") from error
        except (NoNodeError, NodeExistsError, BadVersionError):
            raise
        except KazooException as error:
            raise Rejected(tried, on=self._hosts, saw=type(error).__name__) from error

    def look_for(self, path: str) -> Any:
        """Hand the request for a node over; ``found`` has its answer. Several go together."""
        return self.sent(f"read {path}", partial(self.client.get_async, path))

    def found(self, tried: str, asked: Any, limit_s: float) -> Answer:
        """The node that was looked for; None where there is none."""
        try:
            answer: Answer = self.wait(tried, asked, limit_s)
        except NoNodeError:
            return None
        return answer

    def ask(self, tried: str, request: Callable[[], Any], limit_s: float) -> Any:
        """One request and its answer; ``acknowledged_s`` moves when there is one."""
        sent_s = self.clock()
        asked = self.sent(tried, request)
        try:
            answer = self.wait(tried, asked, limit_s)
        except (NoNodeError, NodeExistsError, BadVersionError):
            self._acknowledged_s = sent_s
            raise
        self._acknowledged_s = sent_s
        return answer

    def read(self, path: str, limit_s: float) -> Answer:
        """A node's content and Stat; None where there is none."""
        try:
            answer: Answer = self.ask(f"read {path}", lambda: self.client.get_async(path), limit_s)
        except NoNodeError:
            return None
        return answer
