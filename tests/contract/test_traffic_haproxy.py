"""The edge's own configuration under a real HAProxy: what clients get, and what steering does to it."""

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from haproxy_edge import PLACES, Application, Edge, running_edge

from dcctl.adapters.haproxy import HaproxyRuntime, parse_servers
from dcctl.domain.traffic import (
    BACKENDS,
    ROTATION,
    WRITES,
    EdgeServer,
    Rotation,
    SiteState,
    decide_fence,
    decide_weights,
)
from dcctl.errors import Rejected, Unreachable
from dcctl.testing.contracts.traffic import EdgeRuntimeContract

OK, GONE, BROKEN = 200, 503, 502


def until(holds: Callable[[], object], limit_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


class HaproxyWorld:
    def __init__(self, edge: Edge, applications: dict[str, Application]) -> None:
        self.haproxy = edge
        self.applications = applications
        self.edge = HaproxyRuntime(edge.socket, limit_s=5)
        self.own, self.other = applications["east-app-1"], applications["west-app-1"]

    def end(self) -> None:
        self.haproxy.stop()

    def server(self, backend: str, name: str) -> EdgeServer:
        return next(
            each for each in self.edge.observe_servers() if (each.backend, each.name) == (backend, name)
        )

    def apply(self, east: Rotation, west: Rotation = Rotation.ACTIVE) -> None:
        """What the agent does, once."""
        states = (SiteState("east", east), SiteState("west", west))
        steers = decide_weights(states, self.edge.observe_servers(), PLACES)
        assert isinstance(steers, tuple)
        for each in steers:
            self.edge.steer(each.backend, each.server, in_rotation=each.in_rotation)
        assert decide_weights(states, self.edge.observe_servers(), PLACES) == ()
        until(lambda: all(each.up for each in self.edge.observe_servers() if each.backend in BACKENDS))


@pytest.fixture
def fresh() -> Iterator[HaproxyWorld]:
    """Just started: its agent has said nothing yet."""
    with running_edge("east") as (edge, applications):
        yield HaproxyWorld(edge, applications)


@pytest.fixture
def world(fresh: HaproxyWorld) -> HaproxyWorld:
    fresh.apply(Rotation.ACTIVE)
    return fresh


class TestHaproxyRuntime(EdgeRuntimeContract):
    pass


def test_until_the_agent_speaks_clients_go_to_the_other_site(fresh: HaproxyWorld) -> None:
    until(lambda: fresh.haproxy.ask("/api/2.5/tenders")[:2] == (OK, "west-app-1"))
    assert fresh.haproxy.ask("/healthz")[0] == GONE
    fresh.apply(Rotation.ACTIVE)
    assert fresh.haproxy.ask("/api/2.5/tenders")[:2] == (OK, "east-app-1")
    assert fresh.haproxy.ask("/healthz")[0] == OK


def test_paths_lead_to_their_backends_and_the_answer_names_its_server(world: HaproxyWorld) -> None:
    for path in ("/api/2.5/tenders", "/register", "/get/1", "/auctions/1", "/v1/AUTH_a/c/o", "/auth/v1.0"):
        status, body, headers = world.haproxy.ask(path)
        assert (status, body, headers["X-Served-By"]) == (OK, "east-app-1", "east-app-1"), path
    assert world.haproxy.ask("/readyz")[0] == 404, "the servers' own health is not for clients"
    assert world.haproxy.ask("/apiary")[0] == 404


def test_a_drained_site_gets_nothing_new_and_finishes_what_it_has(world: HaproxyWorld) -> None:
    answers = []
    slow = threading.Thread(target=lambda: answers.append(world.haproxy.ask("/api/slow")[:2]))
    slow.start()
    until(lambda: world.server("cdb", "east-app-1").in_flight)
    world.apply(Rotation.DRAINED)
    assert world.haproxy.ask("/healthz")[0] == GONE
    status, body, headers = world.haproxy.ask("/api/new")
    assert (status, body) == (OK, "west-app-1")
    assert headers["Connection"] == "close", "its client is to choose again"
    assert world.server("cdb", "east-app-1").in_flight == 1
    world.own.hold.set()
    slow.join(20)
    assert answers == [(OK, "east-app-1")]
    until(lambda: world.server("cdb", "east-app-1").in_flight == 0)
    world.apply(Rotation.ACTIVE)
    assert world.haproxy.ask("/api/again")[:2] == (OK, "east-app-1")


def test_a_reload_resurrects_no_drained_server_and_takes_none_out(world: HaproxyWorld) -> None:
    world.apply(Rotation.QUARANTINED)
    world.haproxy.reload()
    own = [each for each in world.edge.observe_servers() if each.backend in (*BACKENDS, ROTATION)]
    assert {each.in_rotation for each in own if "east" in each.name} == {False}
    assert {each.in_rotation for each in world.edge.observe_servers() if "west" in each.name} == {True}
    assert world.haproxy.ask("/api/x")[1] == "west-app-1"
    world.apply(Rotation.ACTIVE)
    world.haproxy.reload()
    assert {each.in_rotation for each in world.edge.observe_servers()} == {True}
    assert world.haproxy.ask("/api/x")[1] == "east-app-1"


def test_a_drained_server_that_goes_down_and_comes_back_stays_out(world: HaproxyWorld) -> None:
    """HAProxy's statistics call it DOWN and hide the drain; its administrative state does not."""
    world.apply(Rotation.DRAINED)
    world.own.ready = False
    until(lambda: world.server("cdb", "east-app-1").status == "DOWN")
    assert not world.server("cdb", "east-app-1").in_rotation
    world.own.ready = True
    until(lambda: world.server("cdb", "east-app-1").up)
    assert world.haproxy.ask("/api/x")[1] == "west-app-1"


def test_a_server_that_refuses_connections_costs_no_client_an_error(world: HaproxyWorld) -> None:
    world.own.close()
    for method in ("POST", "GET", "PATCH"):
        assert world.haproxy.ask("/api/x", method, b"x")[:2] == (OK, "west-app-1"), method
    until(lambda: not world.server("cdb", "east-app-1").up)
    assert world.haproxy.ask("/healthz")[0] == OK, "the other site's servers are there"


def test_only_what_changes_nothing_is_asked_twice(world: HaproxyWorld) -> None:
    """A server that hangs up without an answer may have done what it was asked."""
    world.own.breaks = 1
    assert world.haproxy.ask("/api/x")[:2] == (OK, "west-app-1")
    for method in ("POST", "PATCH", "PUT", "DELETE"):
        world.own.breaks, world.own.asked, world.other.asked = 1, [], []
        assert world.haproxy.ask("/api/x", method, b"x")[0] == BROKEN
        assert world.own.asked + world.other.asked == [(method, "/api/x")], "once, and nowhere else"


def test_sessions_of_a_server_that_is_marked_down_are_ended(world: HaproxyWorld) -> None:
    """Its peer may be gone for ever. A GET goes to the other site; who sent a POST is not told a lie."""
    world.other.hold.set()
    answers = {}
    asking = [
        threading.Thread(
            target=lambda method=method: answers.update({method: world.haproxy.ask("/api/slow", method)[:2]})
        )
        for method in ("GET", "POST")
    ]
    for each in asking:
        each.start()
    until(lambda: world.server("cdb", "east-app-1").in_flight == 2)
    world.own.ready = False
    for each in asking:
        each.join(20)
    assert answers["GET"] == (OK, "west-app-1")
    assert answers["POST"][0] == BROKEN


def test_a_websocket_is_carried(world: HaproxyWorld) -> None:
    """Its client says nothing before it was answered (RFC 6455, section 4.1)."""
    with socket.create_connection(("127.0.0.1", world.haproxy.http_port), timeout=20) as line:
        line.sendall(
            b"GET /auctions/1/live HTTP/1.1\r\nHost: edge\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        answer = b""
        while not answer.endswith(b"\r\n\r\n") and (more := line.recv(4096)):
            answer += more
        seen = (answer, world.applications["east-app-1"].asked, world.server("auction", "east-app-1"))
        assert answer.startswith(b"HTTP/1.1 101 "), seen
        line.sendall(b"hello")
        assert b"".join(iter(lambda: line.recv(4096), b"")) == b"hello"


def test_an_edge_that_refuses_the_command_says_why(world: HaproxyWorld) -> None:
    """The socket's level does not allow it."""
    text = world.haproxy.file.read_text().replace(
        "agent.sock mode 660 level admin", "agent.sock mode 660 level user"
    )
    world.haproxy.file.write_text(text)
    world.haproxy.reload()
    with pytest.raises(Rejected, match="Permission denied"):
        world.edge.steer("cdb", "east-app-1", in_rotation=False)


def test_an_agent_without_a_socket_is_told_so(world: HaproxyWorld) -> None:
    world.haproxy.socket.unlink()
    with pytest.raises(Unreachable, match="No such file"):
        world.edge.observe_servers()


def test_the_statistics_page_is_read_as_the_socket_is(world: HaproxyWorld) -> None:
    world.apply(Rotation.DRAINED)
    connection = http.client.HTTPConnection("127.0.0.1", world.haproxy.status_port, timeout=20)
    connection.request("GET", "/;csv")
    seen = parse_servers(connection.getresponse().read().decode(), name="east-edge-1")
    connection.close()
    out = {(each.backend, each.name) for each in seen if not each.in_rotation}
    assert out == {*((backend, "east-app-1") for backend in BACKENDS), ("rotation", "east")}


def test_a_fenced_site_is_shut_for_writes_left_by_clients_and_marked_stale(world: HaproxyWorld) -> None:
    def fence(*, fenced: bool) -> set[bool]:
        for each in decide_fence(world.edge.observe_servers(), fenced=fenced):
            world.edge.steer(each.backend, each.server, in_rotation=each.in_rotation, at_once=each.at_once)
        assert decide_fence(world.edge.observe_servers(), fenced=fenced) == ()
        return {each.in_rotation for each in world.edge.observe_servers() if each.backend == WRITES}

    def usable() -> dict[str, bool]:
        return {each.name: each.up for each in world.edge.observe_servers() if each.backend == WRITES}

    until(lambda: not any(usable().values()))  # nothing answers on the databases' ports
    assert world.haproxy.ask("/api/2.5/tenders")[2].get("X-Dcctl-Stale") is None
    assert fence(fenced=True) == {False}
    status, body, headers = world.haproxy.ask("/api/2.5/tenders")
    assert (status, body, headers.get("X-Dcctl-Stale")) == (OK, "east-app-1", "east"), "reads go on"
    assert world.haproxy.ask("/healthz")[0] == GONE
    world.haproxy.reload()
    assert {each.in_rotation for each in world.edge.observe_servers() if each.backend == WRITES} == {False}
    assert fence(fenced=False) == {True}
    assert not any(usable().values()), "a standby gets no client before a check has found a primary there"
    world.apply(Rotation.ACTIVE)
    until(lambda: world.haproxy.ask("/healthz")[0] == OK)
    assert world.haproxy.ask("/api/2.5/tenders")[2].get("X-Dcctl-Stale") is None
