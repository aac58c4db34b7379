"""Two small real Swift clusters on loopback, for tests and benchmarks: up in seconds, gone without a trace.

Each cluster is a proxy, an account, a container and an object server with one replica, and a memcached for
tokens, all of them processes of this one that die with it. Swift itself comes from PyPI into a virtual
environment keyed by the hash of its requirements (``/var/cache/dcctl-swift``), built once.

A cluster's clock can be shifted (``offset_s``), a server killed and started again, and ``reclaim_age``
shortened, because these are the faults that replication has to live with.
"""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dcctl.errors import TimedOut, Unreachable

CACHE = Path("/var/cache/dcctl-swift")
SERVERS = ("account", "container", "object", "proxy")
STAMPS = Path(__file__).parents[2] / "templates/swift/dcctl_stamps.py"
REALM = "dcctl"
REALM_KEY = "realm-key-of-the-tests"
SYNC_KEY = "container-key-of-the-tests"
USER, PASSWORD, ACCOUNT = "test:tester", "testing", "AUTH_test"
OTHER_USER, OTHER_ACCOUNT = "other:tester", "AUTH_other"
START_LIMIT_S = 120.0

PIPELINE = (
    "catch_errors gatekeeper healthcheck proxy-logging cache listing_formats container_sync bulk tempurl"
    " dcctl_stamps tempauth copy container-quotas account-quotas slo dlo versioned_writes symlink"
    " proxy-logging proxy-server"
)
FILTERS = {
    "catch_errors": "catch_errors",
    "gatekeeper": "gatekeeper",
    "healthcheck": "healthcheck",
    "proxy-logging": "proxy_logging",
    "listing_formats": "listing_formats",
    "bulk": "bulk",
    "tempurl": "tempurl",
    "copy": "copy",
    "container-quotas": "container_quotas",
    "account-quotas": "account_quotas",
    "slo": "slo",
    "dlo": "dlo",
    "symlink": "symlink",
}
CLOCK = """
import os, time
_offset, _real, _real_ns = float(os.environ.get("SWIFT_CLOCK_OFFSET_S", "0")), time.time, time.time_ns
if _offset:
    time.time = lambda: _real() + _offset
    time.time_ns = lambda: _real_ns() + int(_offset * 1e9)
"""
RINGS = """
import json, sys
from swift.common.ring import RingBuilder
for path, port in json.load(sys.stdin):
    builder = RingBuilder(4, 1, 1)
    builder.add_dev(dict(id=0, region=1, zone=1, ip="127.0.0.1", port=port, device="d1", weight=1.0))
    builder.rebalance()
    builder.get_ring().save(path)
"""


def swift_environment(requirements: Path) -> Path:
    """The ``bin`` folder of a virtual environment with Swift, built once per content of ``requirements``.

    Raises Unreachable when it cannot be built or a Debian package that Swift needs is missing.
    """
    if shutil.which("memcached") is None:
        raise Unreachable(
            "start Swift for the tests",
            saw="memcached is not installed",
            next_command="apt-get install memcached liberasurecode1",
        )
    home = CACHE / hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]
    if (home / "ready").exists():
        return home / "bin"
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    for argv in (
        ["python3.11", "-m", "venv", str(home)],
        [str(home / "bin/pip"), "install", "-q", "-r", str(requirements)],
        [str(home / "bin/python"), "-c", "import swift.common.ring, pyeclib.ec_iface"],
    ):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unreachable(
                "install Swift for the tests",
                on=argv[0],
                saw=done.stderr.strip()[-500:],
                next_command="apt-get install python3-venv liberasurecode1",
            )
    (home / "ready").touch()
    return home / "bin"


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@dataclass
class Cluster:
    """One running cluster. ``endpoint`` has no account; ``url`` is the test account's storage URL."""

    name: str
    folder: Path
    bin: Path
    ports: dict[str, int]
    offset_s: float = 0.0
    reclaim_age_s: int = 604800
    pipeline: str = PIPELINE
    extra_filters: str = ""
    files: tuple[Path, ...] = ()
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports['proxy']}/v1"

    @property
    def auth_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['proxy']}/auth/v1.0"

    @property
    def url(self) -> str:
        return f"{self.endpoint}/{ACCOUNT}"

    def write_configuration(self, peers: dict[str, int]) -> None:
        """Write every configuration file; ``peers`` are all clusters' proxy ports by name."""
        for folder in ("conf", "devices/d1", "lock"):
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        conf = self.folder / "conf"
        (conf / "sitecustomize.py").write_text(CLOCK)
        for file in (STAMPS, *self.files):
            shutil.copy(file, conf)
        (conf / "swift.conf").write_text(
            "[swift-hash]\nswift_hash_path_suffix = dcctl\nswift_hash_path_prefix = dcctl\n"
            "[storage-policy:0]\nname = standard\ndefault = yes\n"
        )
        realm = "".join(
            f"cluster_{name} = http://127.0.0.1:{port}/v1/\n" for name, port in sorted(peers.items())
        )
        (conf / "container-sync-realms.conf").write_text(f"[{REALM}]\nkey = {REALM_KEY}\n{realm}")
        for server in SERVERS:
            (conf / f"{server}.conf").write_text(self._server_conf(server))
        (conf / "internal.conf").write_text(
            f"[DEFAULT]\nswift_dir = {conf}\n[pipeline:main]\n"
            "pipeline = catch_errors proxy-logging proxy-server\n[app:proxy-server]\nuse = egg:swift#proxy\n"
            "account_autocreate = true\n[filter:proxy-logging]\nuse = egg:swift#proxy_logging\n"
            "[filter:catch_errors]\nuse = egg:swift#catch_errors\n"
        )

    def _server_conf(self, server: str) -> str:
        default = (
            f"[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = {self.ports[server]}\nworkers = 0\nuser = {_me()}\n"
            f"swift_dir = {self.folder}/conf\ndevices = {self.folder}/devices\nmount_check = false\n"
            "log_level = WARNING\ndisable_fallocate = true\neventlet_debug = false\n"
            f"reclaim_age = {self.reclaim_age_s}\nrecon_cache_path = {self.folder}/lock\n"
            f"lock_path = {self.folder}/lock\n"
        )
        if server != "proxy":
            return (
                default + f"[pipeline:main]\npipeline = {server}-server\n"
                f"[app:{server}-server]\nuse = egg:swift#{server}\nallow_versions = true\n"
                "[object-updater]\nconcurrency = 1\n[object-replicator]\n[container-updater]\n"
                "[object-expirer]\n"
                "dequeue_from_legacy = true\nrequest_tries = 1\n"
                f"internal_client_conf_path = {self.folder}/conf/internal.conf\n"
            )
        filters = "".join(f"[filter:{name}]\nuse = egg:swift#{egg}\n" for name, egg in FILTERS.items())
        return (
            default + f"[pipeline:main]\npipeline = {self.pipeline}\n"
            "[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\n"
            "allow_account_management = true\n"
            # else asking while servers start makes the proxy avoid them for a minute
            "error_suppression_limit = 10000\n"
            + filters
            + self.extra_filters
            + f"[filter:cache]\nuse = egg:swift#memcache\n"
            f"memcache_servers = 127.0.0.1:{self.ports['memcached']}\n"
            f"[filter:container_sync]\nuse = egg:swift#container_sync\ncurrent = //{REALM}/{self.name}\n"
            "[filter:dcctl_stamps]\npaste.filter_factory = dcctl_stamps:filter_factory\n"
            "[filter:versioned_writes]\nuse = egg:swift#versioned_writes\nallow_versioned_writes = true\n"
            "allow_object_versioning = true\n"
            "[filter:tempauth]\nuse = egg:swift#tempauth\nuser_admin_admin = admin .admin .reseller_admin\n"
            "user_test_tester = testing .admin\nuser_test_reader = reading\n"
            "user_other_tester = testing .admin\n"
        )

    def start(self, *servers: str) -> None:
        """Start these servers (all by default) that do not run; returns without waiting."""
        for server in servers or ("memcached", *SERVERS):
            running = self.processes.get(server)
            if running is not None and running.poll() is None:
                continue
            if server == "memcached":
                argv = [
                    "memcached",
                    "-l",
                    "127.0.0.1",
                    "-p",
                    str(self.ports[server]),
                    "-u",
                    _me(),
                    "-m",
                    "32",
                ]
            else:
                argv = [str(self.bin / f"swift-{server}-server"), str(self.folder / f"conf/{server}.conf")]
            with (self.folder / f"{server}.log").open("ab") as log:
                self.processes[server] = subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", *argv],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self.environment,
                    start_new_session=True,
                )

    def kill(self, *servers: str) -> None:
        """SIGKILL these servers (all by default) and reap them."""
        for server in servers or tuple(self.processes):
            process = self.processes.pop(server)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def pause(self, server: str) -> None:
        """SIGSTOP: connections are accepted by the kernel and never answered."""
        os.killpg(self.processes[server].pid, signal.SIGSTOP)

    def unpause(self, server: str) -> None:
        os.killpg(self.processes[server].pid, signal.SIGCONT)

    def run_daemon(self, daemon: str) -> None:
        """One round of a daemon: ``object-updater`` delivers the container updates that a container server
        missed, ``container-updater`` tells accounts of containers, without which ``object-expirer`` does not
        find what has expired, ``object-replicator`` forgets tombstones older than ``reclaim_age``."""
        conf = self.folder / f"conf/{daemon.partition('-')[0]}.conf"
        subprocess.run(
            [*self.daemon_argv(daemon, conf), "once"],
            env=self.environment,
            check=True,
            capture_output=True,
        )

    def daemon_argv(self, daemon: str, conf: Path) -> list[str]:
        """How to start a daemon: unlike the servers, daemons look for swift.conf in /etc/swift only."""
        script = (
            "import runpy, sys; from swift.common.utils import set_swift_dir;"
            " set_swift_dir(sys.argv.pop(1)); sys.argv.pop(0);"
            " runpy.run_path(sys.argv[0], run_name='__main__')"
        )
        program = str(self.bin / f"swift-{daemon}")
        return [
            str(self.bin / "python"),
            "-W",
            "ignore",
            "-c",
            script,
            str(self.folder / "conf"),
            program,
            str(conf),
        ]

    @property
    def environment(self) -> dict[str, str]:
        """What servers and daemons are started with; the clock's shift is in it."""
        return {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.folder / "conf"),
            "SWIFT_CLOCK_OFFSET_S": str(self.offset_s),
            "PYTHONWARNINGS": "ignore",
        }

    def lose_disk(self) -> None:
        """Containers and objects are on an empty disk now: nothing there remembers anything, deletes
        included. (The account is on another.)"""
        self.kill("container", "object")
        for kind in ("containers", "objects", "async_pending", "tmp"):
            shutil.rmtree(self.folder / "devices/d1" / kind, ignore_errors=True)
        with socket.create_connection(("127.0.0.1", self.ports["memcached"]), timeout=5) as cache:
            cache.sendall(b"flush_all\r\n")
            cache.recv(100)
        self.start()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Until every server has answered. Raises TimedOut with the logs' last lines."""
        deadline = time.monotonic() + START_LIMIT_S
        saw = ""
        while time.monotonic() < deadline:
            try:
                self._exercise(self.token())
            except (OSError, urllib.error.URLError) as error:
                saw = str(error)
                if isinstance(error, urllib.error.HTTPError):
                    error.close()
                time.sleep(0.2)
            else:
                return
        logs = "".join(path.read_text()[-400:] for path in self.folder.glob("*.log"))
        raise TimedOut("start Swift", on=self.name, saw=f"{saw}; {logs}")

    def _exercise(self, token: str) -> None:
        """Have every server answer: make a container and an object, and remove them."""
        path = f"{self.url}/dcctl-ready"
        for method, url in (("PUT", path), ("PUT", f"{path}/o"), ("DELETE", f"{path}/o"), ("DELETE", path)):
            headers = {"X-Auth-Token": token, "Content-Length": "0"}
            request = urllib.request.Request(url, method=method, headers=headers)  # noqa: S310
            try:
                with urllib.request.urlopen(request, timeout=5):  # noqa: S310
                    pass
            except urllib.error.HTTPError as error:
                if error.code not in (404, 409):  # left by an attempt that was cut short
                    raise
                error.close()

    def token(self) -> str:
        """A fresh token of the test account's administrator."""
        headers = {"X-Auth-User": USER, "X-Auth-Key": PASSWORD}
        request = urllib.request.Request(self.auth_url, headers=headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            return str(answer.headers["X-Auth-Token"])


@dataclass
class Pair:
    """Two clusters that share a realm."""

    east: Cluster
    west: Cluster

    @property
    def clusters(self) -> tuple[Cluster, Cluster]:
        return self.east, self.west


@contextlib.contextmanager
def two_clusters(
    requirements: Path,
    *,
    reclaim_age_s: int = 604800,
    offsets_s: tuple[float, float] = (0.0, 0.0),
    pipeline: str = PIPELINE,
    extra_filters: str = "",
    files: tuple[Path, ...] = (),
) -> Iterator[Pair]:
    """Two running clusters, ``east`` and ``west``; every process and file is removed at the end."""
    programs = swift_environment(requirements)
    folder = Path(tempfile.mkdtemp(prefix="dcctl-swift-"))
    ports = iter(free_ports(10))
    clusters = [
        Cluster(
            name=name,
            folder=folder / name,
            bin=programs,
            ports={server: next(ports) for server in (*SERVERS, "memcached")},
            offset_s=offset_s,
            reclaim_age_s=reclaim_age_s,
            pipeline=pipeline,
            extra_filters=extra_filters,
            files=files,
        )
        for name, offset_s in zip(("east", "west"), offsets_s, strict=True)
    ]
    try:
        for cluster in clusters:
            cluster.write_configuration({one.name: one.ports["proxy"] for one in clusters})
        rings = [
            (str(cluster.folder / f"conf/{server}.ring.gz"), cluster.ports[server])
            for cluster in clusters
            for server in ("account", "container", "object")
        ]
        subprocess.run(
            [str(programs / "python"), "-W", "ignore", "-c", RINGS],
            input=json.dumps(rings).encode(),
            check=True,
            capture_output=True,
        )
        for cluster in clusters:
            cluster.start()
        for cluster in clusters:
            cluster.wait_ready()
        yield Pair(*clusters)
    finally:
        for cluster in clusters:
            cluster.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _me() -> str:
    import pwd  # noqa: PLC0415

    return pwd.getpwuid(os.getuid()).pw_name
