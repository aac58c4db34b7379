"""Bad input and failure: one clear error each, with its exit code, and nothing is lost. No Swift is needed.

What needs one is in tests/swift: wrong keys, missing containers, quotas, disks that are full.
"""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dcctl.adapters.replication_base import SqliteBase
from dcctl.adapters.swift import Keys, SwiftStore
from dcctl.adapters.swift_admin import Keystone, SwiftAdministrator
from dcctl.cli.main import run
from dcctl.domain.replication import Stamp
from dcctl.errors import Busy, CredentialsRefused, Rejected
from dcctl.shell import WallClock
from dcctl.testing.documents import document

CONFIGURATION = """
extends: {lab}
environment: bad
network_namespace:
state_directory: .dcctl
replication:
  realm: r
  realm_key: file:key
  container_key: file:key
  containers: [docs]
  outbox:
  stores:
    east: {{url: "http://127.0.0.1:1/v1/AUTH_x", plaintext: true}}
    west: {{url: "http://127.0.0.1:1/v1/AUTH_x", plaintext: true}}
"""


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    (tmp_path / "key").write_text("k")
    (tmp_path / "key").chmod(0o600)
    lab = Path(__file__).parents[2] / "inventories/lab/dcctl.yaml"
    (tmp_path / "dcctl.yaml").write_text(CONFIGURATION.format(lab=lab))
    return tmp_path


def typed(environment: Path, *argv: str) -> int:
    return run(["-e", str(environment), "replication", *argv])


def base_of(environment: Path) -> Path:
    return environment / ".dcctl/replication/base.sqlite"


def test_a_base_of_another_pair_is_refused_and_left_as_it_is(environment: Path, capsys: Any) -> None:
    SqliteBase(base_of(environment), "another pair").close()
    before = base_of(environment).read_bytes()
    assert typed(environment, "once") == 5
    err = capsys.readouterr().err
    assert "it belongs to another pair" in err
    assert "a new one costs requests only" in err.replace("\n", " ")
    assert base_of(environment).read_bytes() == before


def test_a_corrupt_base_is_set_aside_by_a_pass_and_told_by_a_reader(environment: Path, capsys: Any) -> None:
    base_of(environment).parent.mkdir(parents=True)
    base_of(environment).write_bytes(b"not a database" * 1000)
    assert typed(environment, "status") == 4
    assert "base.sqlite" in capsys.readouterr().err
    assert typed(environment, "once") == 4, "the clusters are away"
    kept = list(base_of(environment).parent.glob("base.sqlite.damaged-*"))
    assert [path.read_bytes()[:14] for path in kept] == [b"not a database"]


def test_a_name_that_is_not_utf8_is_told_and_not_sent(environment: Path, capsys: Any) -> None:
    assert typed(environment, "keep", "caf\udce9.pdf", "--container", "docs") == 2
    assert r"not UTF-8, and Swift has no such names: 'caf\udce9.pdf'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"), [("{", "read a plan"), ("[]", "not a plan"), (None, "No such file")]
)
def test_what_is_no_plan_is_refused(environment: Path, capsys: Any, content: str | None, words: str) -> None:
    path = environment / "plan.json"
    if content is not None:
        path.write_text(content)
    assert typed(environment, "apply", str(path)) == 2
    assert words in capsys.readouterr().err


def test_a_plan_of_another_pair_is_refused(environment: Path, capsys: Any) -> None:
    path = environment / "plan.json"
    path.write_text(json.dumps({"version": 1, "pair": "others", "made": "", "entries": []}))
    assert typed(environment, "apply", str(path)) == 5
    assert "it is for others" in capsys.readouterr().err


class Answering(BaseHTTPRequestHandler):
    """Answers every write with one status."""

    status = 201
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args: Any) -> None:
        pass

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._answer(type(self).status)


class Cluster(Answering):
    """Is a Keystone too, of which ``right`` is the password."""

    def do_HEAD(self) -> None:
        status = 204 if self.headers.get("X-Auth-Token") == "a-token" else 401
        self._answer(status, X_Container_Sync_Key="k", X_Storage_Policy="gold", X_Container_Object_Count="3")

    def do_GET(self) -> None:
        self._answer(200, json.dumps({"version": {"id": "v3", "links": []}}).encode())

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["auth"]
        if asked["identity"]["password"]["user"]["password"] != "right":
            self._answer(401, b"{}")
            return
        assert asked["scope"]["project"]["name"] == "documents"
        where = f"http://127.0.0.1:{self.server.server_address[1]}/v1/AUTH_documents"
        endpoint = {"interface": "public", "region": "one", "region_id": "one", "url": where, "id": "e"}
        token = {
            "methods": ["password"],
            "expires_at": "2099-01-01T00:00:00.000000Z",
            "issued_at": "2026-01-01T00:00:00.000000Z",
            "project": {"id": "p", "name": "documents", "domain": {"id": "d", "name": "Default"}},
            "user": {"id": "u", "name": "owner", "domain": {"id": "d", "name": "Default"}},
            "catalog": [{"type": "object-store", "name": "swift", "id": "s", "endpoints": [endpoint]}],
        }
        self._answer(201, json.dumps({"token": token}).encode(), X_Subject_Token="a-token")


@pytest.fixture
def cluster() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Cluster)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (405, Rejected, "read-only"),
        (413, Rejected, "quota"),
        (507, Busy, "disks there are full"),
        (401, CredentialsRefused, "HTTP 401"),
    ],
)
def test_a_cluster_that_takes_no_write_says_why(
    cluster: str, status: int, kind: type[Exception], words: str
) -> None:
    Cluster.status = status

    async def whole() -> None:
        async with SwiftStore("east", f"{cluster}/v1/AUTH_x", Keys("r", "k", "k")) as store:
            with pytest.raises(kind, match=words):
                await store.put("docs", "o", Stamp(1), document(b"1"))

    asyncio.run(whole())


class Listing(Answering):
    """A cluster with one object, or none; it takes no write and says why."""

    objects: tuple[str, ...] = ()

    def do_GET(self) -> None:
        if self.path.split("?")[0].endswith("/docs"):
            row = {"hash": HASH, "last_modified": "2026-01-01T00:00:00.000000", "bytes": 1}
            self._answer(200, json.dumps([row | {"name": name} for name in type(self).objects]).encode())
            return
        self._answer(200, b"1", **SHOWN)

    def do_HEAD(self) -> None:
        there = self.path.split("?")[0].rpartition("/")[2] in type(self).objects
        self._answer(200 if there else 404, **(SHOWN if there else {}))

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._answer(type(self).status)


HASH, STAMP = "c4ca4238a0b923820dcc509a6f75849b", "1767225600.00000"
SHOWN = {"X_Timestamp": STAMP, "X_Object_Body_Timestamp": STAMP, "Etag": HASH}


@pytest.fixture
def two_sites(environment: Path) -> Iterator[type[Listing]]:
    """East has an object that west, of the class that is given, does not take."""
    east = type("East", (Listing,), {"objects": ("o",)})
    west = type("West", (Listing,), {})
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), each) for each in (east, west)]
    threads = []
    for server in servers:
        server.daemon_threads = True
        threads.append(threading.Thread(target=server.serve_forever, args=(0.05,)))
        threads[-1].start()
    path = environment / "dcctl.yaml"
    text = path.read_text()
    for server in servers:
        text = text.replace("http://127.0.0.1:1/", f"http://127.0.0.1:{server.server_port}/", 1)
    path.write_text(text)
    yield west
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (405, "the account or the cluster is read-only"),
        (413, "a quota is used up"),
        (507, "the disks there are full"),
    ],
)
def test_an_object_that_a_cluster_does_not_take_is_told_by_name_and_waits(
    environment: Path, two_sites: type[Listing], capsys: Any, status: int, words: str
) -> None:
    two_sites.status = status
    assert typed(environment, "once", "--wait", "0") == 8
    told = capsys.readouterr().out.replace("\n", " ")
    assert "1 failed" in told
    assert "west:docs/o" in told
    assert words in told
    two_sites.status = 201
    assert typed(environment, "once", "--wait", "0") == 0


def test_an_administrator_may_be_a_user_of_keystone(cluster: str) -> None:
    keystone = Keystone("documents", region="one")
    owner = SwiftAdministrator("east", f"{cluster}/v3", "owner", "right", WallClock(), keystone=keystone)
    facts = owner.observe_container("docs")
    assert facts is not None
    assert (facts.key, facts.policy, facts.objects) == ("k", "gold", 3)
    owner.close()
    wrong = SwiftAdministrator("east", f"{cluster}/v3", "owner", "wrong", WallClock(), keystone=keystone)
    with pytest.raises(CredentialsRefused, match="Keystone"):
        wrong.observe_container("docs")
    wrong.close()


class Owned(Answering):
    """A cluster of Swift's own login, whose owner makes containers; its clock is so much ahead."""

    ahead_s = 0.0
    takes = 201
    listed: tuple[str, ...] = ("docs-1",)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((timestamp or time.time()) + type(self).ahead_s)

    def do_PUT(self) -> None:
        self._answer(type(self).takes)

    def do_GET(self) -> None:
        if "format=json" in self.path:
            names = () if "marker=" in self.path else type(self).listed
            self._answer(200, json.dumps([{"name": name} for name in names]).encode())
            return
        info = {"swift": {"version": "2.38", "policies": [{"name": "gold"}]}, "slo": {}}
        info["container_sync"] = {"realms": {"DOCUMENTS": {"clusters": {}}}}
        where = f"http://{self.headers['Host']}/v1/AUTH_x"
        self._answer(200, json.dumps(info).encode(), X_Storage_Url=where, X_Auth_Token="a-token")

    def do_HEAD(self) -> None:
        if not self.path.endswith("/docs"):
            self._answer(204, X_Account_Meta_Quota_Bytes="100", X_Account_Bytes_Used="40")
            return
        self._answer(404)


@contextlib.contextmanager
def served(kind: type[Owned]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def owned() -> Iterator[str]:
    with served(Owned) as url:
        yield url


def with_owners(environment: Path, *at: str) -> None:
    """Where the owners of both sites log in, and what comes and goes."""
    text = (environment / "dcctl.yaml").read_text()
    text = text.replace("  containers: [docs]\n", "  containers: [docs]\n  containers_like: [docs-]\n")
    for url in at:
        owner = f'{{auth_url: "{url}/auth/v1.0", user: "a:b", password: file:key}}'
        there = f'"{url}/v1/AUTH_x", plaintext: true, administrator: {owner}'
        text = text.replace('"http://127.0.0.1:1/v1/AUTH_x", plaintext: true}', f"{there}}}", 1)
    (environment / "dcctl.yaml").write_text(text)


@pytest.mark.parametrize("argv", [["init"], ["containers", "--keep", "docs-1"]])
def test_a_cluster_that_is_away_midway_is_no_refusal(
    environment: Path, owned: str, capsys: Any, argv: list[str]
) -> None:
    """Codes 2 to 5 promise that nothing was changed."""
    with_owners(environment, owned, "http://127.0.0.1:1")
    assert typed(environment, *argv) == 6
    assert "what was done is not done twice" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize("argv", [["containers"], ["once"]])
def test_nor_is_one_that_goes_away_while_containers_are_made(
    environment: Path, owned: str, capsys: Any, argv: list[str]
) -> None:
    with served(type("West", (Owned,), {"listed": (), "takes": 503})) as west:
        with_owners(environment, owned, west)
        assert typed(environment, *argv) == 6
        assert "west:docs-1" in capsys.readouterr().err
        assert typed(environment, "containers", "--keep", "docs-1", "--dry-run") == 0, "nothing is made"
        assert "docs-1" in capsys.readouterr().out


@pytest.mark.parametrize("ahead_s", [0.0, 30.0, -30.0])
def test_what_a_cluster_says_of_itself_and_how_far_its_clock_is(owned: str, ahead_s: float) -> None:
    Owned.ahead_s = ahead_s
    owner = SwiftAdministrator("east", f"{owned}/auth/v1.0", "a:b", "k", WallClock())
    facts = owner.observe_cluster()
    owner.close()
    assert abs(facts.skew_s - ahead_s) < 5
    assert (facts.version, facts.realms, facts.policies) == ("2.38", {"documents"}, ("gold",))
    assert {"container_sync", "slo"} <= facts.capabilities
    assert (facts.quota_bytes, facts.used_bytes) == (100, 40)


def test_a_plan_is_written_read_and_carried_out_and_is_then_of_the_past(
    environment: Path, two_sites: type[Listing], capsys: Any
) -> None:
    plan = environment / "plan.json"
    two_sites.status = 507
    assert typed(environment, "plan", "--save", str(plan)) == 0
    assert "1 names would be looked at" in capsys.readouterr().out
    (entry,) = json.loads(plan.read_text())["entries"]
    assert (entry["name"], entry["decision"], entry["site"]) == ("o", "copy", "east")
    assert (entry["a"], entry["b"]) == ({"hash": HASH, "stamp": STAMP}, None)
    two_sites.status = 201
    assert typed(environment, "apply", str(plan)) == 0
    assert "1 copied" in capsys.readouterr().out
    plan.write_text(plan.read_text().replace(HASH, "another"))
    assert typed(environment, "apply", str(plan)) == 8
    assert "1 stale" in capsys.readouterr().out
    assert typed(environment, "plan", "--save", str(environment / "none" / "plan.json")) == 2
    assert "write a plan" in capsys.readouterr().err
