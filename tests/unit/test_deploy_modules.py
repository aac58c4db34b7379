"""The modules that travel with the playbooks, run as Ansible runs them on a machine."""

import grp
import http.server
import importlib.util
import json
import os
import pwd
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dcctl import resources

LIBRARY = resources.playbooks() / "library"
ME = {"owner": pwd.getpwuid(os.getuid()).pw_name, "group": grp.getgrgid(os.getgid()).gr_name}


def run(module: str, arguments: dict[str, Any], *, check: bool = False) -> dict[str, Any]:
    """What the module answers."""
    given = {**arguments, "_ansible_check_mode": check, "_ansible_diff": True}
    done = subprocess.run(
        [sys.executable, str(LIBRARY / f"{module}.py")],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": given}),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ANSIBLE_DEPRECATION_WARNINGS": "0"},
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def load(module: str) -> ModuleType:
    """The module as Python, for what is pure in it."""
    spec = importlib.util.spec_from_file_location(module, LIBRARY / f"{module}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def configure(*files: dict[str, Any], check: bool = False, masked: tuple[str, ...] = ()) -> dict[str, Any]:
    entries = [entry if "link" in entry else ME | entry for entry in files]
    return run("configuration", {"files": entries, "masked": list(masked)}, check=check)


class TestConfiguration:
    def test_a_file_is_written_once(self, tmp_path: Path) -> None:
        file = {"path": str(tmp_path / "zoo.cfg"), "content": "tickTime=1000\n"}
        first, second = configure(file), configure(file)
        assert (first["changed"], first["written"]) == (True, [file["path"]])
        assert (second["changed"], second["written"], second["diff"]) == (False, [], [])
        assert (tmp_path / "zoo.cfg").read_text() == "tickTime=1000\n"

    def test_comparing_tells_the_difference_and_writes_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("one\n")
        answer = configure(
            {"path": str(tmp_path / "a"), "content": "two\n"},
            {"path": str(tmp_path / "new" / "b"), "content": "b\n"},
            {"path": str(tmp_path / "folder"), "directory": True},
            {"path": str(tmp_path / "link"), "link": "/usr/share/zoneinfo/Etc/UTC"},
            check=True,
        )
        assert answer["written"] == [str(tmp_path / name) for name in ("a", "new/b", "folder", "link")]
        assert (answer["diff"][0]["before"], answer["diff"][0]["after"]) == ("one\n", "two\n")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]

    def test_a_mode_is_mended(self, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text("x")
        secret.chmod(0o644)
        entry = {"path": str(secret), "content": "x", "mode": "0600"}
        assert (configure(entry)["changed"], configure(entry)["changed"]) == (True, False)
        assert secret.stat().st_mode & 0o777 == 0o600

    def test_a_link_replaces_what_was_there(self, tmp_path: Path) -> None:
        (tmp_path / "localtime").write_text("a file")
        entry = {"path": str(tmp_path / "localtime"), "link": "/usr/share/zoneinfo/Etc/UTC"}
        assert (configure(entry)["changed"], configure(entry)["changed"]) == (True, False)
        assert (tmp_path / "localtime").readlink() == Path("/usr/share/zoneinfo/Etc/UTC")

    def test_what_does_not_validate_is_not_put_in_place(self, tmp_path: Path) -> None:
        (tmp_path / "haproxy.cfg").write_text("good\n")
        answer = configure(
            {"path": str(tmp_path / "haproxy.cfg"), "content": "bad\n", "validate": "grep -q good %s"}
        )
        assert answer["failed"]
        assert (tmp_path / "haproxy.cfg").read_text() == "good\n"

    def test_a_fixed_file_is_never_changed_nor_is_any_other_with_it(self, tmp_path: Path) -> None:
        (tmp_path / "myid").write_text("1\n")
        other = {"path": str(tmp_path / "zoo.cfg"), "content": "x"}
        myid = {"path": str(tmp_path / "myid"), "content": "11\n", "fixed": "a number never changes"}
        answer = configure(other, myid)
        assert answer["failed"]
        assert "'1' would become '11': a number never changes" in answer["msg"]
        assert not (tmp_path / "zoo.cfg").exists()
        assert not configure({**myid, "content": "1\n"})["changed"]

    def test_a_secret_is_masked_in_everything_that_is_told(self, tmp_path: Path) -> None:
        entry = {"path": str(tmp_path / "patroni.yml"), "content": "password: s3cret\n"}
        answer = configure(entry, masked=("s3cret",))
        assert "s3cret" not in json.dumps(answer)
        assert (tmp_path / "patroni.yml").read_text() == "password: s3cret\n"

    def test_a_reader_is_stale_until_it_has_read(self, tmp_path: Path) -> None:
        stamp = tmp_path / "loaded"
        entry = {"path": str(tmp_path / "zoo.cfg"), "content": "a", "read_stamp": str(stamp)}
        first = configure(entry)
        assert (first["stamped"], first["stale"]) == (False, []), "nothing of ours runs yet"
        stamp.touch()
        assert configure(entry)["stale"] == []
        assert configure({**entry, "content": "b"})["stale"] == [entry["path"]]
        assert configure({**entry, "content": "b"})["stale"] == [entry["path"]], "also in the next deploy"
        stamp.touch()
        assert configure({**entry, "content": "b"})["stale"] == []

    def test_a_folder_that_cannot_be_written_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        answer = configure({"path": str(tmp_path / "file" / "below"), "directory": True})
        assert answer["failed"]
        assert str(tmp_path / "file" / "below") in answer["msg"]


class Voter(socketserver.BaseRequestHandler):
    """Answers ``srvr`` as ZooKeeper does."""

    def handle(self) -> None:
        assert self.request.recv(4) == b"srvr"
        self.request.sendall(self.server.answer)  # type: ignore[attr-defined]


@contextmanager
def serving(handler: type[socketserver.BaseRequestHandler], **facts: Any) -> Iterator[str]:
    """A server on loopback; what it is told about is on the server."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        for name, value in facts.items():
            setattr(server, name, value)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class TestZookeeperServing:
    def wait(self, voters: list[str], at_least: int) -> dict[str, Any]:
        return run("zookeeper_serving", {"voters": voters, "at_least": at_least, "limit_s": 0.3})

    def test_leaders_and_followers_serve(self) -> None:
        with serving(Voter, answer=b"Mode: leader\n") as a, serving(Voter, answer=b"Mode: follower\n") as b:
            assert self.wait([a, b], 2)["modes"] == {a: "leader", b: "follower"}

    def test_a_voter_alone_does_not(self) -> None:
        with serving(Voter, answer=b"Mode: standalone\n") as alone:
            assert self.wait([alone], 1)["msg"] == f"0 of the 1 voters needed serve ({alone}: standalone)"

    def test_what_is_seen_of_each_is_told(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            dark = f"127.0.0.1:{free.getsockname()[1]}"
        with serving(Voter, answer=b"This ZooKeeper instance is not currently serving requests\n") as lost:
            answer = self.wait([dark, lost], 1)
        assert f"{dark}: Connection refused" in answer["msg"]
        assert f"{lost}: This ZooKeeper instance is not currently serving requests" in answer["msg"]


class Api(http.server.BaseHTTPRequestHandler):
    """A Patroni that has the members and settings of its server."""

    def do_GET(self) -> None:
        known = {"/cluster": {"members": self.server.members}, "/config": self.server.settings}  # type: ignore[attr-defined]
        self.answer(known.get(self.path, {}))

    def do_PATCH(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers.get("Authorization") is None:
            self.send_error(401)
            return
        self.server.settings.update(asked)  # type: ignore[attr-defined]
        self.answer(self.server.settings)  # type: ignore[attr-defined]

    def answer(self, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words: object) -> None:
        pass


def member(name: str, role: str, state: str = "running") -> dict[str, str]:
    return {"name": name, "role": role, "state": state, "api_url": "http://127.0.0.1:1/patroni"}


WHOLE = [member("east-db-1", "leader"), member("west-db-1", "sync_standby", "streaming")]


class TestPatroniCluster:
    def settle(self, address: str, *, check: bool = False, **more: Any) -> dict[str, Any]:
        arguments = {
            "api": f"http://{address}",
            "members": ["east-db-1", "west-db-1"],
            "limit_s": 0.3,
            "user": "dcctl",
            "password": "s3cret",
        }
        return run("patroni_cluster", arguments | more, check=check)

    def test_a_whole_cluster_is_told(self) -> None:
        with serving(Api, members=WHOLE, settings={}) as address:
            answer = self.settle(address)
        assert (answer["changed"], answer["leader"], answer["standbys"]) == (
            False,
            "east-db-1",
            ["west-db-1"],
        )

    @pytest.mark.parametrize(
        ("members", "lacks"),
        [
            ([WHOLE[0], member("west-db-1", "replica")], "no synchronous standby is named (SINGLE-COPY)"),
            ([WHOLE[0]], "west-db-1 is not a member yet"),
            ([member("east-db-1", "replica", "starting"), WHOLE[1]], "there is no primary"),
        ],
    )
    def test_what_it_lacks_is_told(self, members: list[dict[str, str]], lacks: str) -> None:
        with serving(Api, members=members, settings={}) as address:
            answer = self.settle(address)
        assert answer["failed"]
        assert lacks in answer["msg"]

    def test_settings_are_changed_where_they_differ(self) -> None:
        settings = {"ttl": 30, "loop_wait": 2, "other": True}
        with serving(Api, members=WHOLE, settings=settings) as address:
            compared = self.settle(address, settings={"loop_wait": 10}, check=True)
            assert (compared["changed"], settings["loop_wait"]) == (True, 2)
            assert self.settle(address, settings={"loop_wait": 10})["changed"]
            assert not self.settle(address, settings={"loop_wait": 10})["changed"]
        assert settings == {"ttl": 30, "loop_wait": 10, "other": True}

    def test_settings_below_each_other_are_merged(self) -> None:
        merged = load("patroni_cluster").merged
        before = {"postgresql": {"use_slots": True, "parameters": {"a": 1, "b": 2}}}
        assert merged(before, {"postgresql": {"parameters": {"b": 3}}}) == {
            "postgresql": {"use_slots": True, "parameters": {"a": 1, "b": 3}}
        }
