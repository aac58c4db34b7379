"""A client inside a site that is cut off: it writes through that site's own edge, and is listened to."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import psycopg

from dcctl import wiring
from dcctl.lab import machine
from dcctl.lab.paths import NAMESPACES


@dataclass
class IsolatedWriter:
    """A client inside the site that is cut off; its acknowledgements by the monotonic clock."""

    process: "subprocess.Popen[str]"
    lines: list[tuple[float, float]] = field(default_factory=list)

    def read(self) -> None:
        for line in self.process.stdout or ():
            sent, answered = line.split()
            self.lines.append((float(sent), float(answered)))

    def acknowledged_after(self, fault_s: float) -> list[float]:
        """Answers of what was sent after the fault."""
        return [answered for sent, answered in self.lines if sent > fault_s]


@contextlib.contextmanager
def writing(address: str, *, user: str, password: str) -> Iterator[IsolatedWriter]:
    """A writer on the machine that has ``address``, through the edge there."""
    process = subprocess.Popen(
        ["nsenter", f"--net={_namespace_of(address)}", sys.executable, "-u", __file__, address],
        env={**os.environ, "PGPASSWORD": password, "PGUSER": user, "PGDATABASE": user},
        stdout=subprocess.PIPE,
        text=True,
    )
    writer = IsolatedWriter(process)
    reading = threading.Thread(target=writer.read)
    reading.start()
    try:
        yield writer
    finally:
        process.terminate()
        process.wait(10)
        reading.join(10)


def _namespace_of(address: str) -> str:
    for each in map(machine.read, machine.ids()):
        if each.address.partition("/")[0] == address and (NAMESPACES / each.namespace).exists():
            return str(NAMESPACES / each.namespace)
    raise SystemExit(f"no machine that runs has {address}")


def write_on(address: str) -> None:
    """Commit a row ten times a second through the edge here; print when each was sent and acknowledged.

    Several writers, as one that waits for an answer says nothing of the next.
    """
    warned = threading.local()

    def one() -> None:
        while True:
            with (
                contextlib.suppress(psycopg.Error, OSError),
                psycopg.connect(
                    f"host={address} port={wiring.WRITE_PORT} connect_timeout=2", autocommit=True
                ) as connection,
            ):
                connection.add_notice_handler(lambda _notice: setattr(warned, "now", True))
                while True:
                    warned.now = False
                    sent = time.monotonic()
                    connection.execute("CREATE TABLE IF NOT EXISTS bench_isolated (at timestamptz)")
                    connection.execute("INSERT INTO bench_isolated VALUES (clock_timestamp())")
                    if not warned.now:
                        print(sent, time.monotonic(), flush=True)
                    time.sleep(0.4)
            time.sleep(0.3)

    for _each in range(4):
        threading.Thread(target=one, daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    write_on(sys.argv[1])
