"""Edges on loopback with the edge role's own HAProxy, PgBouncer and program, before a real PostgreSQL.

One server stands for both databases: it listens on an address of each, and so tells through which it was
asked.
"""

import contextlib
import csv
import getpass
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import psycopg
import pytest
import yaml
from postgres import BINARIES, PASSWORD, Postgres, free_port, running_postgres

from dcctl.adapters.pgbouncer import PROGRAM, PgBouncerPools
from dcctl.errors import Unreachable
from dcctl.testing.contracts.pools import EDGES, LIMIT_S

ROLE = Path(__file__).parents[2] / "playbooks/roles/edge"
STAND_IN = Path(__file__).with_name("systemd_stand_in.py")
MEMBERS = {"east-db-1": "127.0.2.1", "west-db-1": "127.0.2.2"}
PRIMARY = "postgresql_primary"
PYTHON = "/usr/bin/python3"
"""Debian's, for which psycopg2 is packaged."""


class Patroni:
    """The API of both members: ``primary`` has the leader key, and is primary where ``promoted``."""

    def __init__(self) -> None:
        self.primary = "east-db-1"
        self.promoted = True
        self.asked = 0
        self.port = free_port()
        self._servers = [self._serve(name, address) for name, address in MEMBERS.items()]

    def _serve(self, name: str, address: str) -> http.server.ThreadingHTTPServer:
        patroni = self

        class Answers(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                leads = patroni.primary == name
                role = "master" if leads and patroni.promoted else "replica"
                body = json.dumps({"role": role, "state": "running"}).encode()
                patroni.asked += 1
                self.send_response(200 if leads else 503)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_OPTIONS = do_GET  # noqa: N815  # the library's name

            def log_message(self, *_: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer((address, self.port), Answers)
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # checks hang up early
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


@dataclass
class Edge:
    """One edge; ``folder`` has everything that is on its machine."""

    name: str
    folder: Path
    database: Postgres
    patroni_port: int
    pool_port: int = field(default_factory=free_port)
    silent: bool = False
    _processes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    def render(self) -> None:
        defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
        variables = defaults | {
            "inventory_hostname": self.name,
            "dcctl_environment": "test",
            "edge_databases": list(MEMBERS),
            "edge_neighbours": [],
            "edge_http_backends": [],
            "hostvars": {name: {"ansible_host": address} for name, address in MEMBERS.items()},
            "edge_agent_socket": self.folder / "agent.sock",
            "edge_write_port": free_port(),
            "edge_read_port": free_port(),
            "edge_status_port": free_port(),
            "edge_pool_port": self.pool_port,
            "edge_pool_database": "postgres",
            # A host that is busy is no member that is lost, and no client that is silent.
            "edge_check_timeout": "60s",
            "edge_check_fall": 50,
            "edge_pool_idle_timeout": "300s",
        }
        environment = jinja2.Environment(  # noqa: S701  # it renders no HTML
            undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
        )
        for name in ("intersect", "difference"):  # Ansible's, for what is over HTTP
            environment.filters[name] = lambda one, _other: one
        for name in ("haproxy.cfg", "pgbouncer.ini"):
            text = environment.from_string((ROLE / f"templates/{name}.j2").read_text()).render(variables)
            (self.folder / name).write_text(self.moved(text))
        (self.folder / "userlist.txt").write_text(f'"postgres" "{PASSWORD}"\n')
        program = self.folder / "pool"
        program.write_text(self.moved((ROLE / "files/pool").read_text()))
        program.chmod(0o755)
        for verb, word in (("systemd-run", "run"), ("systemctl", "control")):
            (self.folder / verb).write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_IN} {word} "$@"\n')
            (self.folder / verb).chmod(0o755)

    def moved(self, text: str) -> str:
        """The role's text, with this host's paths, ports and accounts."""
        lines = [
            line
            for line in text.splitlines(keepends=True)
            if line.split()[:1] not in (["chroot"], ["user"], ["group"], ["log"])
        ]
        text = "".join(lines).replace(" user root group dcctl-agent", "")
        for old, new in (
            (":5432\n", f":{self.database.port}\n"),
            ("port 8008", f"port {self.patroni_port}"),
            ("PATRONI_PORT = 8008", f"PATRONI_PORT = {self.patroni_port}"),
            ("port=6432", f"port={self.pool_port}"),
            ('"postgres"\n', f'"{account()}"\n'),
            ("/run/haproxy/", f"{self.folder}/"),
            ("/run/pgbouncer", str(self.folder)),
            ("/etc/pgbouncer/", f"{self.folder}/"),
            ("listen_addr = 0.0.0.0", "listen_addr = 127.0.0.1"),
            ("bind :", "bind 127.0.0.1:"),
        ):
            text = text.replace(old, new)
        return text

    def start(self) -> None:
        self.render()
        if os.geteuid() == 0:
            shutil.chown(self.folder, account(), account())
            shutil.chown(self.folder / "userlist.txt", account(), account())
        as_it = ["setpriv", f"--reuid={account()}", f"--regid={account()}", "--clear-groups", "--"]
        prefix = as_it if os.geteuid() == 0 else []
        for argv in (
            ["haproxy", "-W", "-f", str(self.folder / "haproxy.cfg")],
            [*prefix, "pgbouncer", str(self.folder / "pgbouncer.ini")],
        ):
            with (self.folder / f"{argv[-1].rpartition('/')[2]}.log").open("ab") as log:
                self._processes.append(
                    subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                )
        (self.folder / "pgbouncer.service").write_text(str(self._processes[-1].pid))
        ends = time.monotonic() + LIMIT_S
        while True:
            with contextlib.suppress(psycopg.Error, OSError), self.connected() as client:
                client.execute("SELECT 1")
                if not self.leads_to("west-db-1"):  # HAProxy believes in everybody at first
                    return
            assert time.monotonic() < ends, self.logs()
            time.sleep(0.05)

    def leads_to(self, member: str) -> bool:
        """Whether HAProxy sends clients there."""
        with socket.socket(socket.AF_UNIX) as runtime:
            runtime.connect(str(self.folder / "admin.sock"))
            runtime.sendall(b"show stat\n")
            page = b"".join(iter(lambda: runtime.recv(65536), b"")).decode()
        rows = csv.DictReader(page.removeprefix("# ").splitlines())
        row = next(each for each in rows if (each["pxname"], each["svname"]) == (PRIMARY, member))
        return row["status"].startswith("UP")

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*log")))

    def connected(self) -> "psycopg.Connection[Any]":
        return psycopg.connect(
            host="127.0.0.1",
            port=self.pool_port,
            user="postgres",
            password=PASSWORD,
            dbname="postgres",
            autocommit=True,
            prepare_threshold=None,
            # As the application sets its limits where there is no pool; the pool has them from its role.
            options="-c statement_timeout=1",
        )

    def run(self, argv: Sequence[str], *, limit_s: float, stdin: str = "") -> tuple[int, str, str]:
        """``ports.Remote``: this edge's machine is this one."""
        if self.silent:
            raise Unreachable(f"run {argv[0]}", on=self.name, saw="no answer on port 22")
        assert tuple(argv[: len(PROGRAM)]) == PROGRAM
        words = argv[len(PROGRAM) :]
        done = subprocess.run(
            [PYTHON, str(self.folder / "pool"), *words],
            env={"PATH": f"{self.folder}:/usr/bin:/bin", "STAND_IN": str(self.folder)},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def stop(self) -> None:
        with contextlib.suppress(Unreachable):
            self.silent = False
            self.run((*PROGRAM, "let-go"), limit_s=LIMIT_S)
        for process in reversed(self._processes):
            process.terminate()
            process.wait()


def account() -> str:
    """PgBouncer refuses to run as root."""
    return "postgres" if os.geteuid() == 0 else getpass.getuser()


@dataclass
class Asked:
    """One request through a pool."""

    edge: Edge
    found: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # It is a client already: what it waits for is a transaction, not a login.
        self.client = self.edge.connected()
        self.thread = threading.Thread(target=self._ask, daemon=True)
        self.thread.start()

    def _ask(self) -> None:
        try:
            with self.client as client:
                row = client.execute("SELECT host(inet_server_addr())").fetchone()
            assert row is not None
            self.found.append(next(name for name, address in MEMBERS.items() if address == row[0]))
        except psycopg.Error as error:
            self.found.append(str(error))

    def answer(self) -> str:
        self.thread.join(LIMIT_S)
        assert self.found, f"no answer; {self.edge.logs()}"
        return self.found[0]


class PgBouncerWorld:
    def __init__(self, edges: dict[str, Edge], patroni: Patroni) -> None:
        self.edges = edges
        self.patroni = patroni
        remotes = {name: (lambda edge=edge: edge) for name, edge in edges.items()}
        self.pools = PgBouncerPools(remotes, MEMBERS)

    def ask(self, edge: str) -> Asked:
        return Asked(self.edges[edge])

    def promote(self) -> None:
        self.patroni.primary = "west-db-1"

    def lose(self, edge: str) -> None:
        self.edges[edge].silent = True


def why_not() -> str:
    """Why there can be no such edge on this host; empty: there can."""
    for program, package in (("haproxy", "haproxy"), ("pgbouncer", "pgbouncer")):
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            return f"{program} is not installed; apt-get install {package}"
    if not (BINARIES / "initdb").exists():
        return f"PostgreSQL 15 is not installed ({BINARIES}); apt-get install postgresql-15"
    if not Path(PYTHON).exists() or subprocess.run([PYTHON, "-c", "import psycopg2"], check=False).returncode:
        return f"{PYTHON} has no psycopg2; apt-get install python3-psycopg2"
    return ""


@contextlib.contextmanager
def database() -> Iterator[Postgres]:
    """The server behind both members' addresses."""
    if why := why_not():
        pytest.skip(why)
    addresses = ",".join(("127.0.0.1", *MEMBERS.values()))
    with running_postgres(listen_addresses=f"'{addresses}'") as server:
        yield server


@contextlib.contextmanager
def running_edges(server: Postgres, names: Sequence[str] = EDGES) -> Iterator[PgBouncerWorld]:
    """Edges whose pools lead to ``east-db-1``."""
    with contextlib.ExitStack() as stack:
        patroni = Patroni()
        stack.callback(patroni.close)
        edges = {}
        for name in names:
            folder = Path(tempfile.mkdtemp(prefix="dcctl-test-edge-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            folder.chmod(0o755)
            edges[name] = Edge(name, folder, server, patroni.port)
            stack.callback(edges[name].stop)
            edges[name].start()
        yield PgBouncerWorld(edges, patroni)
