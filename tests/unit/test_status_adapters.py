"""The adapters that are looked through: real answers as case files, and every way of giving none."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dcctl.adapters import http
from dcctl.adapters.haproxy import HaproxyEdges, parse_statistics
from dcctl.adapters.patroni import PatroniMembers, parse_cluster, parse_member
from dcctl.adapters.reach import TcpReach
from dcctl.adapters.zookeeper import ZooKeeperVoters, parse_srvr
from dcctl.domain.observation import VoterMode
from dcctl.errors import Rejected, TimedOut, Unreachable

CASES = Path(__file__).parent / "cases" / "observation"
"""What Patroni 3.0.2, HAProxy 2.6 and ZooKeeper 3.8 answered."""


def case(name: str) -> Any:
    text = (CASES / name).read_text()
    return json.loads(text) if name.endswith(".json") else text


def test_a_primary_says_who_confirms_its_writes() -> None:
    report = parse_member("east-db-1", case("patroni-east-db-1.json"))
    assert (report.primary, report.state, report.timeline) == (True, "running", 3)
    assert report.streaming == {"west-db-1": "sync"}
    assert report.location_bytes == 56047096


def test_a_standby_says_so() -> None:
    report = parse_member("west-db-1", case("patroni-west-db-1.json"))
    assert (report.primary, report.timeline, report.location_bytes) == (False, None, 56047096)
    assert report.replayed_at == datetime(2026, 11, 21, 19, 10, 46, 788579, UTC)
    own = case("patroni-west-db-1.json") | {"xlog": {"replayed_timestamp": None}}
    assert parse_member("west-db-1", own).replayed_at is None


@pytest.mark.parametrize("own", [None, [], {}, {"role": "master"}])
def test_what_is_no_member_is_rejected(own: Any) -> None:
    with pytest.raises(Rejected):
        parse_member("east-db-1", own)


def test_a_primary_that_is_starting_is_none_yet() -> None:
    own = case("patroni-east-db-1.json") | {"state": "starting"}
    assert not parse_member("east-db-1", own).primary


@pytest.mark.parametrize(
    ("leader", "sync", "report"),
    [
        (b"east-db-1", b'{"leader":"east-db-1","sync_standby":"west-db-1"}', ("east-db-1", ("west-db-1",))),
        (b"east-db-1", b'{"leader":"east-db-1","sync_standby":"z,a"}', ("east-db-1", ("a", "z"))),
        (b"east-db-1", b'{"leader":"east-db-1","sync_standby":null}', ("east-db-1", ())),
        (None, b"", (None, ())),
        (None, None, (None, ())),
    ],
)
def test_the_quorum_says_who_leads_and_who_is_synchronous(
    leader: bytes | None, sync: bytes | None, report: tuple[str | None, tuple[str, ...]]
) -> None:
    found = parse_cluster(leader, sync)
    assert (found.leader, found.synchronous) == report


@pytest.mark.parametrize("sync", [b"nonsense", b"[]", b"3"])
def test_keys_that_are_not_patronis_are_rejected(sync: bytes) -> None:
    with pytest.raises(Rejected):
        parse_cluster(b"east-db-1", sync)


def test_a_member_is_never_made_to_read_zookeeper() -> None:
    """Asked often enough, it would not notice that its way to the quorum is gone."""
    asked: list[str] = []

    def get(url: str, **_more: Any) -> tuple[int, str]:
        asked.append(url)
        return 200, (CASES / "patroni-east-db-1.json").read_text()

    def read(*paths: str) -> tuple[bytes | None, ...]:
        return tuple(None for _ in paths)

    members = PatroniMembers({"x": "192.0.2.1"}, get=get, read=read, keys="/k", limit_s=1.0)
    members.observe_member("x")
    members.observe_cluster()
    assert asked == ["http://192.0.2.1:8008/patroni"]


def test_an_edge_says_where_it_sends_writes() -> None:
    report = parse_statistics(case("haproxy.csv"), name="east-edge-1")
    assert report.routes_to == ("east-db-1",)
    assert report.servers["west-db-1"] == (False, "DOWN")


@pytest.mark.parametrize("text", ["", "<html></html>", "# pxname,svname,status\nother,east-db-1,UP\n"])
def test_statistics_without_the_database_are_rejected(text: str) -> None:
    with pytest.raises(Rejected):
        parse_statistics(text, name="east-edge-1")


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("srvr.txt", VoterMode.LEADER),
        ("srvr-not-serving.txt", VoterMode.NOT_SERVING),
        ("Zookeeper version: 3.8.0\nConnections: 1\nZxid: 0x0\nMode: standalone\n", VoterMode.STANDALONE),
    ],
)
def test_a_voter_says_what_it_is(text: str, mode: VoterMode) -> None:
    report = parse_srvr(case(text) if text.endswith(".txt") else text, name="witness-1")
    assert report.mode is mode


@pytest.mark.parametrize(
    "text", ["", "srvr is not executed because it is not in the whitelist.\n", "Mode: none\n"]
)
def test_what_is_no_voter_is_rejected(text: str) -> None:
    with pytest.raises(Rejected):
        parse_srvr(text, name="witness-1")


@contextlib.contextmanager
def server(answer: bytes | None) -> Iterator[int]:
    """Listens on loopback; sends ``answer`` to whoever connects, or nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        open_: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                open_.append(client)
                if answer is not None:
                    client.recv(4096)
                    client.sendall(answer)
                    client.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for client in open_:
                client.close()


def web(status: str, body: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()


ASKERS = {
    "patroni": lambda port: (
        PatroniMembers(
            {"x": "127.0.0.1"}, get=http.get, read=lambda *_paths: (), keys="", limit_s=0.3, port=port
        ).observe_member
    ),
    "haproxy": lambda port: (
        HaproxyEdges({"x": "127.0.0.1"}, get=http.get, limit_s=0.3, port=port).observe_edge
    ),
    "zookeeper": lambda port: ZooKeeperVoters({"x": "127.0.0.1"}, limit_s=0.3, port=port).observe_voter,
    "reach": lambda port: lambda _name: TcpReach(limit_s=0.3).observe_port("127.0.0.1", port),
}


@pytest.mark.parametrize("asker", [name for name in ASKERS if name != "reach"])
def test_one_that_never_answers_is_given_up_in_time(asker: str) -> None:
    with server(None) as port:
        began = time.monotonic()
        with pytest.raises(TimedOut, match=r"no answer within 0\.3 s"):
            ASKERS[asker](port)("x")
        assert time.monotonic() - began < 1.0


@pytest.mark.parametrize("asker", ASKERS)
def test_one_that_does_not_listen_is_said_in_the_systems_words(asker: str) -> None:
    with server(None) as port:
        pass
    with pytest.raises(Unreachable) as failure:
        ASKERS[asker](port)("x")
    assert failure.value.saw == "Connection refused"


@pytest.mark.parametrize("asker", ["patroni", "haproxy", "zookeeper"])
def test_one_that_speaks_something_else_is_unreachable_not_a_bug(asker: str) -> None:
    for answer in (b"\xff\xfe garbage", web("500 Oops", "{}"), web("200 OK", "nonsense"), b""):
        with server(answer) as port, pytest.raises(Unreachable):
            ASKERS[asker](port)("x")


def test_reading_a_node_without_a_quorum_says_what_each_voter_said() -> None:
    with server((CASES / "srvr-not-serving.txt").read_bytes()) as port:
        voters = ZooKeeperVoters({"x": "127.0.0.1", "y": "127.0.0.2"}, limit_s=0.3, port=port)
        with pytest.raises(Unreachable, match="x: not serving; y: Connection refused"):
            voters.read("/leader")


def test_what_listens_is_reached() -> None:
    with server(b"") as port:
        assert 0 <= ASKERS["reach"](port)("x") < 1


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with server(web("200 OK", case("haproxy.csv"))) as port:
        report = HaproxyEdges({"x": "127.0.0.1"}, get=http.get, limit_s=1.0, port=port).observe_edge("x")
    assert report.routes_to == ("east-db-1",)
