"""What every connection of ours to PostgreSQL has in common."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import psycopg

CANCEL_LIMIT_S = 2.0


def to_a_primary(limit_s: float, name: str) -> dict[str, Any]:
    """How libpq connects to a primary, and how long anything on that connection may take. ``name`` is
    what the server shows of us."""
    limit_ms = max(1, int(limit_s * 1000))
    return {
        # libpq takes no less than two seconds, for each host that it tries.
        "connect_timeout": max(2, round(limit_s)),
        # A server that goes dark in the middle of a call: the limits below are its own to keep.
        "tcp_user_timeout": limit_ms + 2000,
        "keepalives_idle": 2,
        "keepalives_interval": 1,
        "keepalives_count": 3,
        "target_session_attrs": "read-write",
        "application_name": name,
        "options": f"-c statement_timeout={limit_ms} -c lock_timeout={limit_ms}",
    }


@contextlib.contextmanager
def cancelled_after(limit_s: float, connection: "psycopg.Connection[Any]") -> Iterator[None]:
    """Ask the server to stop after ``limit_s``: its own statement limit does not cover a COMMIT that waits
    for a standby (PostgreSQL ends that limit before it commits). The COMMIT then ends with a warning."""

    def cancel() -> None:
        with contextlib.suppress(psycopg.Error):
            connection.cancel_safe(timeout=CANCEL_LIMIT_S)

    timer = threading.Timer(limit_s, cancel)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def first_line(error: BaseException) -> str:
    """What an error says, without the lines that repeat it."""
    return (str(error).strip() or repr(error)).splitlines()[0]
