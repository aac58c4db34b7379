"""A real PostgreSQL on loopback for one test: made in a temporary folder, removed with it."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

BINARIES = Path("/usr/lib/postgresql/15/bin")
PASSWORD = "a-password-for-tests"


@dataclass
class Postgres:
    """One server; ``port`` on 127.0.0.1, user ``postgres``."""

    folder: Path
    port: int

    def start(self) -> None:
        self.ctl("start", "-w", "-l", str(self.folder / "log"), "-o", f"-p {self.port} -k {self.folder}")

    def stop(self, mode: str = "immediate") -> None:
        self.ctl("stop", "-w", "-m", mode)

    def ctl(self, *argv: str) -> None:
        as_postgres([str(BINARIES / "pg_ctl"), "-D", str(self.folder / "data"), *argv])

    def query(self, statement: str) -> str:
        argv = [
            "psql",
            "-qAtX",
            "-h",
            str(self.folder),
            "-p",
            str(self.port),
            "-U",
            "postgres",
            "-c",
            statement,
        ]
        return as_postgres([str(BINARIES / argv[0]), *argv[1:]]).strip()


def as_postgres(argv: list[str]) -> str:
    """PostgreSQL refuses to run as root."""
    prefix = (
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
        if os.geteuid() == 0
        else []
    )
    done = subprocess.run(
        [*prefix, *argv],
        check=False,
        text=True,
        capture_output=True,
        timeout=60,
        cwd="/",
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def running_postgres(**settings: str) -> Iterator[Postgres]:
    """A server that accepts ``postgres`` with PASSWORD; skips the test where there is no PostgreSQL 15."""
    if not (BINARIES / "initdb").exists():
        pytest.skip(f"PostgreSQL 15 is not installed ({BINARIES}); apt-get install postgresql-15")
    folder = Path(tempfile.mkdtemp(prefix="dcctl-test-postgres-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        as_postgres(
            [
                str(BINARIES / "initdb"),
                *(
                    "-D",
                    str(folder / "data"),
                    "-U",
                    "postgres",
                    "--auth-host=scram-sha-256",
                    "--auth-local=trust",
                ),
                *("--pwfile", str(folder / "password"), "--no-sync", "--locale=C", "-E", "UTF8"),
            ]
        )
        lines = {"fsync": "off", "listen_addresses": "'127.0.0.1'", "shared_buffers": "16MB", **settings}
        with (folder / "data" / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in lines.items())
        server = Postgres(folder, free_port())
        server.start()
        try:
            yield server
        finally:
            with contextlib.suppress(AssertionError):
                server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
