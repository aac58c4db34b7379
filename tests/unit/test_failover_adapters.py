"""What a move asks of Patroni and of a cloud: bounded, and told in our words."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from dcctl.adapters import http
from dcctl.adapters.patroni import PatroniSwitch, parse_cluster, parse_history
from dcctl.errors import CredentialsRefused, Rejected, TimedOut
from dcctl.shell import at_once


@pytest.fixture
def patroni() -> Iterator[tuple[int, list[Any], dict[str, Any]]]:
    """A member's API: its port, what it was asked, and what it answers."""
    asked: list[Any] = []
    says: dict[str, Any] = {"status": 200, "text": 'Successfully switched over to "west-db-1"'}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, json.loads(body), self.headers["Authorization"]))
            self.send_response(says["status"])
            self.end_headers()
            self.wfile.write(says["text"].encode())

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, asked, says
        server.shutdown()


def east(port: int) -> PatroniSwitch:
    return PatroniSwitch(
        {"east-db-1": "127.0.0.1"},
        post=http.post,
        run=lambda _name, _argv, _limit_s: (0, "", ""),
        user="dcctl",
        password="a-password",
        port=port,
    )


def switch(port: int) -> Callable[..., str]:
    return partial(east(port).switch_over, "east-db-1", "west-db-1", limit_s=5.0)


def test_a_switchover_names_the_leader_and_the_candidate(patroni: Any) -> None:
    port, asked, _says = patroni
    assert "Successfully switched over" in switch(port)()
    ((path, body, login),) = asked
    assert path == "/switchover"
    assert body == {"leader": "east-db-1", "candidate": "west-db-1"}
    assert login.startswith("Basic ")


@pytest.mark.parametrize(("status", "error"), [(401, CredentialsRefused), (412, Rejected), (503, Rejected)])
def test_a_refusal_of_patronis_is_told_with_its_words(
    patroni: Any, status: int, error: type[Exception]
) -> None:
    port, _asked, says = patroni
    says.update(status=status, text="candidate name does not match with sync_standby")
    with pytest.raises(error) as refusal:
        switch(port)()
    assert f"HTTP {status}" in str(refusal.value)
    assert "a-password" not in str(refusal.value)


def test_a_standby_is_started_anew_or_copied_anew_at_its_own_api(patroni: Any) -> None:
    """A start that becomes a rewind is answered by 503, and is no failure of ours."""
    port, asked, says = patroni
    one = east(port)
    assert one.rebuild("east-db-1", limit_s=5.0) == says["text"]
    says.update(status=503, text="restart failed")
    assert one.start_anew("east-db-1", limit_s=5.0) == "HTTP 503: restart failed"
    with pytest.raises(Rejected, match="HTTP 503"):
        one.rebuild("east-db-1", limit_s=5.0)
    assert [(path, body) for path, body, _login in asked][:2] == [
        ("/reinitialize", {"force": True}),
        ("/restart", {}),
    ]
    says.update(status=401)
    with pytest.raises(CredentialsRefused):
        one.start_anew("east-db-1", limit_s=5.0)


def test_a_patroni_that_hangs_ends_the_call_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        patroni = east(silent.getsockname()[1])
        with pytest.raises(TimedOut, match="no answer within"):
            patroni.switch_over("east-db-1", "west-db-1", limit_s=0.3)


def test_a_primary_that_wrote_no_checkpoint_is_told_and_stops_nothing() -> None:
    def run(name: str, argv: Sequence[str], limit_s: float) -> tuple[int, str, str]:
        assert (name, argv[-1], limit_s) == ("east-db-1", "CHECKPOINT", 5.0)
        return answers.pop(0)

    answers = [(0, "", ""), (1, "", "ERROR:  must be superuser\n"), (3, "", "")]
    patroni = PatroniSwitch({}, post=http.post, run=run, user="u", password="p")
    told = [patroni.make_ready("east-db-1", limit_s=5.0) for _each in range(3)]
    assert told == ["", "ERROR:  must be superuser", "psql ended with 3"]


def test_a_cloud_that_hangs_costs_its_limit_and_no_more() -> None:
    """What the power-off is asked through: a machine whose cloud does not answer is left behind."""
    forever = threading.Event()

    def hang() -> tuple[str, ...]:
        forever.wait(60)
        return ()

    began_s = time.monotonic()
    answers = at_once({"east-db-1": hang, "east-edge-1": lambda: ()}, limit_s=0.5)
    took_s = time.monotonic() - began_s
    forever.set()
    assert isinstance(answers["east-db-1"], TimedOut)
    assert answers["east-edge-1"] == ()
    assert took_s < 30


def test_the_sync_key_says_to_whom() -> None:
    sync = b'{"leader": "east-db-1", "sync_standby": "west-db-1"}'
    assert parse_cluster(None, sync).synchronous_to == "east-db-1"
    assert parse_cluster(None, None).synchronous_to is None


def test_the_history_says_where_the_last_timeline_ended() -> None:
    history = (
        b'[[1, 67108864, "no recovery target specified"], [2, 83886080, "no recovery target specified"]]'
    )
    assert parse_history(history) == (2, 83886080)
    assert parse_history(b"[]") is None
    assert parse_history(None) is None
    assert parse_history(b"[[1]]") is None, "what cannot be read decides nothing"
