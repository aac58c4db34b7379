"""What every connection of ours to PostgreSQL has in common."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import psycopg

CANCEL_LIMIT_S = 2.0


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
