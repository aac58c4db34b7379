"""Real ZooKeeper servers on loopback for one test, and a way to them that can be frozen."""

import contextlib
import select
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from postgres import free_port

JARS = ("/usr/share/java/zookeeper.jar", "/usr/share/java/slf4j-simple.jar")
TICK_MS = 500
LONGEST_SESSION_MS = 24_000
START_LIMIT_S = 90.0


@dataclass
class Server:
    """One server of an ensemble; ``port`` on 127.0.0.1."""

    folder: Path
    port: int
    number: int = 1
    _process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        java = ["java", "-Xms24m", "-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xss512k"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *java,
                    "-Djava.net.preferIPv4Stack=true",
                    "-Dzookeeper.forceSync=no",
                    "-cp",
                    ":".join(JARS),
                    "org.apache.zookeeper.server.quorum.QuorumPeerMain",
                    str(self.folder / "zoo.cfg"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )

    def serves(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as asked:
                asked.sendall(b"srvr")
                answer = b""
                while piece := asked.recv(4096):
                    answer += piece
        except OSError:
            return False
        return b"Mode: " in answer

    def mode(self) -> str:
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as asked:
            asked.sendall(b"srvr")
            answer = b"".join(iter(lambda: asked.recv(4096), b"")).decode()
        return answer.partition("Mode: ")[2].split()[0]

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def running_zookeeper(count: int = 1) -> Iterator[list[Server]]:
    """An ensemble that serves; skips where there is no ZooKeeper."""
    missing = [each for each in JARS if not Path(each).exists()]
    if missing or shutil.which("java") is None:
        pytest.skip(
            "ZooKeeper is not installed; apt-get install zookeeper default-jre-headless libslf4j-java"
        )
    folder = Path(tempfile.mkdtemp(prefix="dcctl-test-zookeeper-"))
    servers = [Server(folder / str(number), free_port(), number) for number in range(1, count + 1)]
    peers = [f"server.{each.number}=127.0.0.1:{free_port()}:{free_port()}" for each in servers]
    try:
        for each in servers:
            each.folder.mkdir()
            lines = [
                f"tickTime={TICK_MS}",
                "initLimit=40",
                "syncLimit=6",
                "minSessionTimeout=1000",
                f"maxSessionTimeout={LONGEST_SESSION_MS}",
                f"dataDir={each.folder}",
                f"clientPort={each.port}",
                "clientPortAddress=127.0.0.1",
                "4lw.commands.whitelist=srvr",
                "admin.enableServer=false",
                *(peers if count > 1 else []),
            ]
            (each.folder / "zoo.cfg").write_text("\n".join(lines) + "\n")
            (each.folder / "myid").write_text(f"{each.number}\n")
            each.start()
        deadline_s = time.monotonic() + START_LIMIT_S
        while not all(each.serves() for each in servers):
            assert time.monotonic() < deadline_s, (servers[0].folder / "log").read_text()
            time.sleep(0.2)
        yield servers
    finally:
        for each in servers:
            each.kill()
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Relay:
    """A way to ``port`` that can be frozen (both directions), or made deaf (nothing comes back).

    Connections stay open and silent, and new ones are accepted by the kernel and not served: what a
    client sees when a network between goes dark.
    """

    port: int
    frozen: bool = False
    deaf: bool = False
    _pairs: list[tuple[socket.socket, socket.socket]] = field(default_factory=list)
    _closed: bool = False

    def __post_init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.own_port = int(self._server.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def hosts(self) -> str:
        return f"127.0.0.1:{self.own_port}"

    def _serve(self) -> None:
        while not self._closed:
            if self.frozen:
                time.sleep(0.02)
                continue
            sources = {a: (b, True) for a, b in self._pairs}
            if not self.deaf:
                sources |= {b: (a, False) for a, b in self._pairs}
            ready, _, _ = select.select([self._server, *sources], [], [], 0.02)
            for each in ready:
                if self.frozen or (self.deaf and each is not self._server and not sources[each][1]):
                    break
                if each is self._server:
                    self._accept()
                else:
                    self._move(each, sources[each][0])

    def _accept(self) -> None:
        client, _ = self._server.accept()
        try:
            self._pairs.append((client, socket.create_connection(("127.0.0.1", self.port), timeout=2)))
        except OSError:
            client.close()

    def _move(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            data = source.recv(65536)
            if data:
                sink.sendall(data)
                return
        except OSError:
            pass
        for pair in [pair for pair in self._pairs if source in pair]:
            self._pairs.remove(pair)
            for end in pair:
                end.close()

    def close(self) -> None:
        self._closed = True
        self._thread.join(5)
        for end in [self._server, *(end for pair in self._pairs for end in pair)]:
            end.close()
