"""What a part tells systemd that started it (sd_notify(3)); without systemd nothing is said."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator

READY, STOPPING, ALIVE = "READY=1", "STOPPING=1", "WATCHDOG=1"


def notify(message: str) -> None:
    """Say ``message``; a supervisor that does not listen is no reason to stop."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.setblocking(False)  # noqa: FBT003  # positional only
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.send(message.encode())


@contextlib.asynccontextmanager
async def alive() -> AsyncIterator[None]:
    """Say that we are ready, and as long as the event loop turns that we live (WatchdogSec=)."""
    notify(READY)
    beating = asyncio.create_task(_beat(int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6 / 3))
    try:
        yield
    finally:
        beating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beating


async def _beat(every_s: float) -> None:
    while every_s:
        notify(ALIVE)
        await asyncio.sleep(every_s)
