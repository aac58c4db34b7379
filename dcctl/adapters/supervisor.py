"""What a service tells systemd that started it (sd_notify(3)); without systemd nothing is said.

With ``Type=notify`` and ``WatchdogSec=`` in its unit, a process that says nothing for that long is ended
by systemd, and with ``KillMode=control-group`` everything of the unit with it.
"""

import contextlib
import os
import socket

READY = "READY=1"
ALIVE = "WATCHDOG=1"


def status(sentence: str) -> str:
    """What ``systemctl status`` shows."""
    return f"STATUS={sentence}".replace("\n", " ")


def notify(message: str) -> None:
    """Say ``message``; a supervisor that does not listen is no reason to stop."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.setblocking(False)  # noqa: FBT003  # positional only
        channel.connect(address)
        channel.send(message.encode())
