"""A real HAProxy on loopback with the edge role's own configuration, before two sites' applications."""

import base64
import contextlib
import hashlib
import http.client
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from postgres import free_port

ROLE = Path(__file__).parents[2] / "playbooks/roles/edge"
DATABASES = {"east-db-1": "127.0.1.3"}
"""Nothing answers there."""
ADDRESSES = {"east-app-1": "127.0.1.1", "west-app-1": "127.0.1.2"}
PLACES = {"east-app-1": "east", "west-app-1": "west", "east-edge-1": "east", "west-edge-1": "west"}
START_LIMIT_S = 20.0


class Application:
    """One machine's application: answers with its own name to everything, ``/slow`` when it is let to."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.ready = True
        self.hold = threading.Event()
        self.asked: list[tuple[str, str]] = []
        self.breaks = 0
        """So many requests are hung up on without an answer."""
        application = self

        class Answers(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status = 200
                if self.path in ("/readyz", "/healthcheck"):
                    status = 200 if application.ready else 503
                else:
                    application.asked.append((self.command, self.path))
                    if application.breaks:
                        application.breaks -= 1
                        self.close_connection = True
                        return
                    if self.headers.get("Upgrade") == "websocket":
                        self.speak()
                        return
                    if self.path.endswith("/slow"):
                        application.hold.wait(30)
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(status)
                body = application.name.encode()
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_PATCH = do_PUT = do_DELETE = do_GET  # noqa: N815  # the names are the library's

            def speak(self) -> None:
                """A WebSocket whose only word is an echo of the first."""
                key = self.headers["Sec-WebSocket-Key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
                self.send_response(101)
                self.send_header("Connection", "Upgrade")
                self.send_header("Upgrade", "websocket")
                accepted = base64.b64encode(hashlib.sha1(key, usedforsecurity=False).digest()).decode()
                self.send_header("Sec-WebSocket-Accept", accepted)
                self.end_headers()
                self.wfile.write(self.rfile.read(5))
                self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        self.port = port
        self._server = ThreadingHTTPServer((ADDRESSES[name], port), Answers)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # checks hang up early
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Edge:
    """HAProxy at ``site``; ``agent`` whether an agent steers it."""

    folder: Path
    site: str
    agent: bool = True
    http_port: int = field(default_factory=free_port)
    status_port: int = field(default_factory=free_port)
    application_port: int = field(default_factory=free_port)
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def socket(self) -> Path:
        return self.folder / "agent.sock"

    def configure(self) -> None:
        variables = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
        backends = [
            {"name": name, "paths": paths, "check": check, "port": self.application_port}
            for name, paths, check in (
                ("cdb", "/api", "/readyz"),
                ("documents", "/(register|upload|get)", "/readyz"),
                ("auction", "/auctions", "/readyz"),
                ("swift", "/(v1|auth)", "/healthcheck"),
            )
        ]
        variables |= {
            "inventory_hostname": f"{self.site}-edge-1",
            "dcctl_environment": "test",
            "dcctl_site": self.site,
            "edge_databases": list(DATABASES),
            "edge_neighbours": [],
            "edge_own": [name for name in ADDRESSES if name.startswith(self.site)],
            "edge_http_backends": [{**each, "machines": list(ADDRESSES)} for each in backends],
            "hostvars": {
                name: {"ansible_host": address} for name, address in {**ADDRESSES, **DATABASES}.items()
            },
            "edge_at_first": " disabled" if self.agent else "",
            "edge_http_port": self.http_port,
            "edge_status_port": self.status_port,
            "edge_write_port": free_port(),
            "edge_read_port": free_port(),
            "edge_agent_socket": self.socket,
            "edge_check_interval": "200ms",
        }
        environment = jinja2.Environment(  # noqa: S701  # it renders no HTML
            undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
        )
        environment.filters["intersect"] = lambda one, other: [each for each in one if each in other]
        environment.filters["difference"] = lambda one, other: [each for each in one if each not in other]
        text = environment.from_string((ROLE / "templates/haproxy.cfg.j2").read_text()).render(variables)
        text = re.sub(r"^ +(chroot|user|group|log) .*\n", "", text, flags=re.MULTILINE)
        text = re.sub(r" user root group \S+", "", text).replace("/run/haproxy/", f"{self.folder}/")
        text = text.replace("bind :", "bind 127.0.0.1:")
        self.file.write_text(text)

    @property
    def file(self) -> Path:
        return self.folder / "haproxy.cfg"

    def start(self) -> None:
        self.configure()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["haproxy", "-Ws", "-f", str(self.file)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._until_it_answers()

    def reload(self) -> None:
        """As the unit does: what is known of each server is written down, then the process replaced."""
        before = self.pid()
        (self.folder / "servers").write_text(self.say("show servers state"))
        assert self._process is not None
        deadline_s, again_s = time.monotonic() + START_LIMIT_S, 0.0
        while self.pid() in ("", before):
            assert time.monotonic() < deadline_s, (self.folder / "log").read_text()
            if time.monotonic() >= again_s:
                # A master that has just started executes itself anew and may miss one.
                self._process.send_signal(signal.SIGUSR2)
                again_s = time.monotonic() + 3
            time.sleep(0.05)

    def pid(self) -> str:
        with contextlib.suppress(OSError):
            return re.findall(r"^Pid: (\d+)$", self.say("show info"), re.MULTILINE)[0]
        return ""

    def say(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as runtime:
            runtime.settimeout(5)
            runtime.connect(str(self.folder / "admin.sock"))
            runtime.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: runtime.recv(65536), b"")).decode()

    def _until_it_answers(self) -> None:
        deadline_s = time.monotonic() + START_LIMIT_S
        while not self.pid():
            assert time.monotonic() < deadline_s, (self.folder / "log").read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ask(self, path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, str, Any]:
        """Status, body and headers of an answer on the clients' port."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=20)
        try:
            connection.request(method, path, body=body)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), answer.headers
        finally:
            connection.close()


@contextlib.contextmanager
def running_edge(
    site: str = "east", *, agent: bool = True
) -> "Iterator[tuple[Edge, dict[str, Application]]]":
    """An edge and the applications; skips where there is no HAProxy."""
    if shutil.which("haproxy") is None:
        pytest.skip("HAProxy is not installed; apt-get install haproxy")
    folder = Path(tempfile.mkdtemp(prefix="dcctl-test-haproxy-"))
    edge = Edge(folder, site, agent)
    applications: dict[str, Application] = {}
    try:
        applications |= {name: Application(name, edge.application_port) for name in ADDRESSES}
        edge.start()
        yield edge, applications
    finally:
        edge.stop()
        for application in applications.values():
            application.close()
        shutil.rmtree(folder, ignore_errors=True)
