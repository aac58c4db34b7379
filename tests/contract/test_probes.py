"""Every kind of probe against servers that behave and servers that do not, and a round's limits.

What must never be: a probe that died, hung or was lied to and calls its target healthy; a round that
outlasts its limits.
"""

import asyncio
import hashlib
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from postgres import free_port
from probe_servers import Authority, Handler, hang, http, saying, serving, without_end

from dcctl.adapters.patroni import parse_member
from dcctl.adapters.probes import (
    Blocking,
    Outcome,
    Round,
    probe_clock_by_http,
    probe_clock_over_ssh,
    probe_cloud,
    probe_command,
    probe_disk,
    probe_http,
    probe_patroni,
    probe_swift,
    probe_tcp,
    probe_tls,
    probe_zookeeper,
)
from dcctl.adapters.zookeeper.voters import parse_srvr
from dcctl.domain.probe import (
    Check,
    ClockCheck,
    CloudCheck,
    CommandCheck,
    DiskCheck,
    Health,
    HttpCheck,
    PatroniCheck,
    ProbeResult,
    ProbeSpec,
    SwiftCheck,
    TcpCheck,
    TlsCheck,
    ZookeeperCheck,
)
from dcctl.errors import ConfigurationError, CredentialsRefused, Problem, Unreachable

PROBERS: dict[type[Any], Callable[[Any], Awaitable[Outcome]]] = {
    HttpCheck: probe_http,
    TcpCheck: probe_tcp,
    TlsCheck: probe_tls,
    ClockCheck: probe_clock_by_http,
    PatroniCheck: probe_patroni(parse_member),
    ZookeeperCheck: probe_zookeeper(parse_srvr),
    SwiftCheck: probe_swift(lambda name: f"the value of {name}"),
}
LIMIT_S = 0.4
"""For what is made to hang."""
PATIENT_S = 20.0
"""For what answers, on a busy host."""


def spec(check: Check, *, timeout_s: float = PATIENT_S, name: str = "x/y") -> ProbeSpec:
    return ProbeSpec(name, "x", "east", check, timeout_s=timeout_s, rise=1, fall=1)


def probed(check: Check, *, timeout_s: float = PATIENT_S, **more: Any) -> ProbeResult:
    (result,) = Round([spec(check, timeout_s=timeout_s)], {**PROBERS, **more.get("probers", {})})()
    return result


def assert_silent(result: ProbeResult) -> None:
    """It did not answer; or, on a host that is busy, we had no time to hear it. Never healthy."""
    assert (result.ok, result.answered) in ((False, False), (None, False))
    words = "the prober itself stood still" if result.ok is None else "no answer within"
    assert result.saw.startswith(words)
    assert result.health is not Health.UP


# HTTP


@pytest.mark.parametrize(
    ("handler", "ok", "saw", "answered"),
    [
        (http("all well"), True, "HTTP 200", True),
        (http("sick"), False, "HTTP 200, and 'well' is not in 'sick'", True),
        (http("no", status="503 Busy"), False, "HTTP 503: no", True),
        (http("all well", length=1000), False, "the answer broke off before its end", True),
        (http(status="302 Found", headers="Location: http://198.51.100.1/\r\n"), False, "HTTP 302: ok", True),
        (saying(b""), False, "it hung up without an answer", True),
        (saying(b"220 smtp.example.org ESMTP\r\n"), False, "no HTTP answer", True),
        (saying(b"HTTP/1.1 2000000 \x1b[2J\r\n\r\n"), False, "no HTTP answer", True),
    ],
)
def test_http(handler: Handler, ok: bool, saw: str, answered: bool) -> None:
    with serving(handler) as port:
        result = probed(HttpCheck(f"http://127.0.0.1:{port}/", body="well"))
    assert (result.ok, result.answered) == (ok, answered)
    assert result.saw.startswith(saw)
    assert result.saw.isprintable()
    assert result.health is (Health.UP if ok else Health.DOWN)


def test_a_body_without_an_end_holds_nobody() -> None:
    with serving(without_end) as port:
        assert probed(HttpCheck(f"http://127.0.0.1:{port}/")).ok is True


@pytest.mark.parametrize("check", [HttpCheck, PatroniCheck])
def test_a_server_that_hangs_after_it_accepted_is_given_up(check: Callable[[str], Check]) -> None:
    with serving(hang) as port:
        assert_silent(probed(check(f"http://127.0.0.1:{port}"), timeout_s=LIMIT_S))


def test_a_refused_port_is_down_and_its_host_is_not_silent() -> None:
    result = probed(TcpCheck("127.0.0.1", free_port()))
    assert (result.ok, result.saw, result.answered) == (False, "Connection refused", True)


def test_a_name_that_nobody_knows() -> None:
    result = probed(HttpCheck("http://nobody.invalid/"))
    assert result.ok is not True


def test_tcp() -> None:
    with serving(hang) as port:
        assert probed(TcpCheck("127.0.0.1", port)).ok is True


# TLS


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_a_certificate_with_days_left(authority: Authority) -> None:
    with serving(hang, context=authority.server(valid=timedelta(days=30))) as port:
        result = probed(TlsCheck("127.0.0.1", port, authority.file, days=14))
    assert result.ok is True
    assert result.figure == pytest.approx(30, abs=0.1)


def test_a_certificate_that_ends_soon(authority: Authority) -> None:
    with serving(hang, context=authority.server(valid=timedelta(days=3))) as port:
        result = probed(TlsCheck("127.0.0.1", port, authority.file, days=14))
    assert (result.ok, result.saw) == (False, "valid for 3.0 more days")


@pytest.mark.parametrize(
    ("valid", "address", "ours", "saw"),
    [
        (timedelta(days=-1), "127.0.0.1", True, "certificate has expired"),
        (timedelta(days=30), "127.0.0.2", True, "IP address mismatch"),
        (timedelta(days=30), "127.0.0.1", False, "unable to get local issuer certificate"),
    ],
)
def test_a_wrong_certificate_is_refused(
    tmp_path: Path, valid: timedelta, address: str, ours: bool, saw: str
) -> None:
    authority = Authority(tmp_path)
    (tmp_path / "other").mkdir()
    ca_file = authority.file if ours else Authority(tmp_path / "other").file
    with serving(http(), context=authority.server(valid=valid, address=address)) as port:
        direct = probed(TlsCheck("127.0.0.1", port, ca_file))
        over_http = probed(HttpCheck(f"https://127.0.0.1:{port}/", ca_file=ca_file))
    assert direct.ok is False
    assert saw in direct.saw
    assert over_http.ok is False
    assert saw in over_http.saw


def test_https_with_the_right_authority(authority: Authority) -> None:
    with serving(http(), context=authority.server(valid=timedelta(days=30))) as port:
        assert probed(HttpCheck(f"https://127.0.0.1:{port}/", ca_file=authority.file)).ok is True


def test_no_tls_where_tls_is_expected(authority: Authority) -> None:
    with serving(saying(b"SSH-2.0-x\r\n")) as port:
        assert probed(TlsCheck("127.0.0.1", port, authority.file)).ok is False
        assert probed(HttpCheck(f"https://127.0.0.1:{port}/", ca_file=authority.file)).ok is False


def test_an_authority_that_cannot_be_read_says_nothing_of_the_server(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.pem")
    for check in (TlsCheck("127.0.0.1", 1, gone), HttpCheck("https://127.0.0.1:1/", ca_file=gone)):
        result = probed(check)
        assert (result.ok, result.health) == (None, Health.UNKNOWN)
        assert "gone.pem: cannot be read" in result.saw


# ZooKeeper and Patroni


@pytest.mark.parametrize(
    ("answer", "ok", "saw"),
    [
        (b"Zxid: 0x1\nMode: follower\nConnections: 2\n", True, "follower"),
        (b"Zxid: 0x1\nMode: standalone\n", False, "standalone"),
        (b"This ZooKeeper instance is not currently serving requests\n", False, "not serving"),
        (b"srvr is not executed because it is not in the whitelist.\n", False, "srvr is not executed"),
        (b"", False, "an empty answer"),
    ],
)
def test_zookeeper(answer: bytes, ok: bool, saw: str) -> None:
    with serving(saying(answer)) as port:
        result = probed(ZookeeperCheck("127.0.0.1", port))
    assert result.ok is ok
    assert result.saw.startswith(saw)


@pytest.mark.parametrize(
    ("body", "ok", "saw"),
    [
        ('{"state": "running", "role": "master", "timeline": 7}', True, "primary, running, timeline 7"),
        ('{"state": "streaming", "role": "replica"}', True, "standby, streaming"),
        ('{"state": "start failed", "role": "replica"}', False, "standby, start failed"),
        ('{"state": "running", "ro', False, "the answer is not JSON"),
        ("[]", False, "the answer is not a member's"),
    ],
)
def test_patroni(body: str, ok: bool, saw: str) -> None:
    asked: list[bytes] = []

    def handler(connection: Any) -> None:
        asked.append(connection.recv(65536).split(b"\r\n")[0])
        connection.sendall(f"HTTP/1.0 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())

    with serving(handler) as port:
        result = probed(PatroniCheck(f"http://127.0.0.1:{port}"))
    assert (result.ok, result.saw) == (ok, saw)
    assert asked == [b"GET /patroni HTTP/1.1"]  # never /cluster: docs/explanation/limits.md


# Swift that lies


class Liar:
    """A Swift that logs everybody in, and does not give back what it was given."""

    def __init__(self, *, damaged: bool = True, keeps: bool = False) -> None:
        self.damaged, self.keeps = damaged, keeps
        self.methods: list[str] = []
        self.port = 0
        self._body = b""

    def __call__(self, connection: Any) -> None:
        head, _, rest = connection.recv(65536).partition(b"\r\n\r\n")
        method, path, _ = head.decode().split("\r\n")[0].split(" ")
        self.methods.append(method)
        status, headers, body = "200 OK", "", b""
        if path == "/auth/v1.0":
            headers = f"X-Storage-Url: http://127.0.0.1:{self.port}/v1/AUTH_x\r\nX-Auth-Token: t\r\n"
        elif method == "PUT":
            while len(rest) < 1024:
                rest += connection.recv(65536)
            self._body, status = rest, "201 Created"
        elif method == "GET":
            body = b"\0" * 1024 if self.damaged else self._body
            headers = f"Etag: {hashlib.md5(self._body, usedforsecurity=False).hexdigest()}\r\n"
        elif method == "DELETE":
            status = "500 No" if self.keeps else "204 No Content"
        connection.sendall(
            f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}Connection: close\r\n\r\n".encode()
            + body
        )


@pytest.mark.parametrize(
    ("liar", "saw"),
    [
        (Liar(damaged=True), "an object came back changed"),
        (Liar(damaged=False, keeps=True), "an object was put and got back, and could not be deleted"),
    ],
)
def test_a_swift_that_lies_is_not_healthy_and_is_tidied_up(liar: Liar, saw: str) -> None:
    with serving(liar) as liar.port:
        result = probed(SwiftCheck(f"http://127.0.0.1:{liar.port}/auth/v1.0", "u", "k"))
    assert result.ok is False
    assert result.saw.startswith(saw)
    assert liar.methods == ["GET", "PUT", "GET", "DELETE"]


def test_a_swift_that_refuses_the_key() -> None:
    with serving(http("no", status="401 Unauthorized")) as port:
        result = probed(SwiftCheck(f"http://127.0.0.1:{port}/auth/v1.0", "documents:app", "k"))
    assert (result.ok, result.answered) == (False, True)
    assert result.saw == "HTTP 401: it refuses the key of documents:app"


def test_a_secret_that_is_missing_says_nothing_of_the_target() -> None:
    def no_secret(name: str) -> str:
        raise ConfigurationError((Problem("key", 0, 0, "cannot be read"),))

    result = probed(SwiftCheck("http://127.0.0.1:1/", "u", "k"), probers={SwiftCheck: probe_swift(no_secret)})
    assert (result.ok, result.health) == (None, Health.UNKNOWN)
    assert result.saw.startswith("cannot be asked")


# What only the machine tells


@dataclass
class Machine:
    """``ports.Remote`` that says what it was told to."""

    status: int = 0
    output: str = ""
    error: str = ""
    refuses: bool = False

    @contextmanager
    def __call__(self, _name: str) -> Iterator["Machine"]:
        if self.refuses:
            raise CredentialsRefused("log in", on="x", saw="its host key is not the recorded one")
        yield self

    def run(self, argv: Sequence[str], *, limit_s: float, stdin: str = "") -> tuple[int, str, str]:  # noqa: ARG002
        output = self.output if self.output != "now" else f"{time.time():.9f}"
        return self.status, output, self.error


def over_ssh(check: Check, machine: Machine) -> ProbeResult:
    blocking = Blocking()
    probers = {
        ClockCheck: probe_clock_over_ssh(blocking, machine),
        DiskCheck: probe_disk(blocking, machine),
        CommandCheck: probe_command(blocking, machine),
    }
    return probed(check, probers=probers)


# Ten hours, since minutes may pass between this line and the test.
@pytest.mark.parametrize(
    ("machine", "ok", "saw"),
    [
        (Machine(output="now"), True, "give or take"),
        (Machine(output=f"{time.time() + 36_000:.9f}"), False, "its clock is off by +3"),
        (Machine(output=f"{time.time() - 36_000:.9f}"), False, "its clock is off by -3"),
        (Machine(output="half past two"), None, "the probe died: ValueError"),
        (Machine(status=1, error="no date"), None, "date ended with 1: no date"),
        (Machine(refuses=True), False, "its host key is not the recorded one"),
    ],
)
def test_a_clock_over_ssh(machine: Machine, ok: bool | None, saw: str) -> None:
    result = over_ssh(ClockCheck("x"), machine)
    assert result.ok is ok
    assert saw in result.saw


@pytest.mark.parametrize(("ahead_s", "ok"), [(0, True), (60, False), (-60, False)])
def test_a_clock_by_the_date_of_an_answer(ahead_s: int, ok: bool) -> None:
    def handler(connection: Any) -> None:
        connection.recv(65536)
        date = (datetime.now(UTC) + timedelta(seconds=ahead_s)).strftime("%a, %d %b %Y %H:%M:%S GMT")
        connection.sendall(f"HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n".encode())

    with serving(handler) as port:
        result = probed(ClockCheck("x", f"http://127.0.0.1:{port}/", limit_s=5))
    assert result.ok is ok
    assert result.figure == pytest.approx(ahead_s, abs=2)


def test_an_answer_without_a_date_tells_no_time() -> None:
    with serving(http()) as port:
        assert probed(ClockCheck("x", f"http://127.0.0.1:{port}/")).ok is None


@pytest.mark.parametrize(
    ("output", "ok", "figure"),
    [
        ("Use% IUse%\n 31%    5%\n", True, 31),
        ("Use% IUse%\n 95%    5%\n", False, 95),
        ("Use% IUse%\n 31%   97%\n", False, 97),
        ("Use% IUse%\n 31%     -\n", True, 31),
        ("nonsense", None, None),
    ],
)
def test_a_disk(output: str, ok: bool | None, figure: float | None) -> None:
    result = over_ssh(DiskCheck("x"), Machine(output=output))
    assert (result.ok, result.figure) == (ok, figure)


@pytest.mark.parametrize(
    ("check", "machine", "ok", "saw"),
    [
        (CommandCheck("x", ("true",)), Machine(), True, "ended with 0"),
        (CommandCheck("x", ("x",)), Machine(status=3, error="inactive"), False, "ended with 3: inactive"),
        (CommandCheck("x", ("x",), status=3), Machine(status=3), True, "ended with 3"),
        (CommandCheck("x", ("x",), output="^act"), Machine(output="active"), True, "active"),
        (CommandCheck("x", ("x",), output="^act"), Machine(output="failed"), False, "'^act' is not in"),
    ],
)
def test_a_command(check: CommandCheck, machine: Machine, ok: bool, saw: str) -> None:
    result = over_ssh(check, machine)
    assert result.ok is ok
    assert result.saw.startswith(saw)


# The round


def scripted(prober: Callable[[Any], Awaitable[Outcome]], *, timeout_s: float = LIMIT_S) -> Round:
    """A round of two probes: one is made by ``prober``, the other is well."""

    async def well(_check: CommandCheck) -> Outcome:
        return Outcome(ok=True, saw="well")

    specs = [
        spec(TcpCheck("x", 1), timeout_s=timeout_s, name="x/odd"),
        spec(CommandCheck("x", ()), timeout_s=timeout_s, name="x/well"),
    ]
    return Round(specs, {TcpCheck: prober, CommandCheck: well})


@pytest.mark.parametrize("error", [RuntimeError("bug"), ZeroDivisionError(), KeyError("x"), AssertionError()])
def test_a_probe_that_dies_never_counts_as_healthy_nor_as_down(error: Exception) -> None:
    async def dies(_check: Any) -> Outcome:
        raise error

    made = scripted(dies)
    for _ in range(5):
        odd, well = made()
        assert (odd.ok, odd.health) == (None, Health.UNKNOWN)
        assert odd.saw.startswith("the probe died")
        assert (well.ok, well.health) == (True, Health.UP)


def test_a_probe_that_dies_after_it_was_well_is_not_well_any_more() -> None:
    outcomes = [True, True, None]

    async def dies_later(_check: Any) -> Outcome:
        if (ok := outcomes.pop(0)) is None:
            raise RuntimeError("gone")
        return Outcome(ok=ok, saw="")

    made = scripted(dies_later)
    assert [made()[0].health for _ in range(3)] == [Health.UP, Health.UP, Health.UNKNOWN]


def test_a_kind_that_nobody_can_make_here_is_unknown() -> None:
    (result,) = Round([spec(CloudCheck("east"))], {})()
    assert (result.ok, result.health) == (None, Health.UNKNOWN)


def test_a_probe_that_does_not_let_itself_be_cancelled_is_left_behind() -> None:
    release = threading.Event()

    async def stubborn(_check: Any) -> Outcome:
        while not release.is_set():
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue
        return Outcome(ok=True, saw="too late")

    made = scripted(stubborn)
    odd, well = made()
    release.set()
    assert_silent(odd)
    assert well.ok is True


def test_a_prober_that_stands_still_opens_the_door_and_learned_nothing() -> None:
    release = threading.Event()

    async def blocks(_check: Any) -> Outcome:
        release.wait(30)
        return Outcome(ok=True, saw="late")

    made = scripted(blocks)
    began = time.monotonic()
    first, again = made(), made()
    took_s = time.monotonic() - began
    release.set()
    assert {each.ok for each in (*first, *again)} == {None}
    assert took_s < 15


def test_a_prober_that_had_no_time_to_hear_learned_nothing() -> None:
    async def deaf(_check: Any) -> Outcome:
        while True:
            time.sleep(0.1)  # nothing else of the prober runs meanwhile
            await asyncio.sleep(0)

    odd, _well = scripted(deaf)()
    assert (odd.ok, odd.health) == (None, Health.UNKNOWN)
    assert odd.saw.startswith("the prober itself stood still")


def test_a_cloud_that_hangs_costs_one_thread_and_no_round() -> None:
    release, asked = threading.Event(), []

    def hangs(site: str) -> str:
        asked.append(site)
        release.wait(30)
        return "at last"

    probers = {CloudCheck: probe_cloud(Blocking(), hangs)}
    made = Round([spec(CloudCheck("east"), timeout_s=LIMIT_S)], probers)
    first, second = made()[0], made()[0]
    release.set()
    assert_silent(first)
    assert second.ok is False
    assert second.saw.startswith("a call of ")
    assert asked == ["east"]


def test_a_cloud_that_answers_and_one_that_does_not() -> None:
    def ask(site: str) -> str:
        if site == "west":
            raise Unreachable("connect", on="west", saw="No route to host")
        return "lists 3 servers"

    probers = {CloudCheck: probe_cloud(Blocking(), ask)}
    specs = [spec(CloudCheck("east"), name="east/cloud"), spec(CloudCheck("west"), name="west/cloud")]
    east, west = Round(specs, probers)()
    assert (east.ok, east.saw) == (True, "lists 3 servers")
    assert (west.ok, west.saw, west.answered) == (False, "No route to host", False)


def test_a_resolver_that_hangs_holds_neither_the_round_nor_its_end() -> None:
    release = threading.Event()

    async def resolves(_check: Any) -> Outcome:
        await asyncio.get_running_loop().run_in_executor(None, release.wait, 30)
        return Outcome(ok=True, saw="late")

    made = scripted(resolves)
    first, second = made()[0], made()[0]
    release.set()
    assert_silent(first)
    assert_silent(second)


def test_a_hundred_probes_take_as_long_as_the_slowest() -> None:
    with serving(hang) as port:
        hanging = [
            spec(HttpCheck(f"http://127.0.0.1:{port}/"), timeout_s=LIMIT_S, name=f"x/{number}")
            for number in range(100)
        ]
        began = time.monotonic()
        results = Round(hanging, PROBERS)()
    assert time.monotonic() - began < 100 * LIMIT_S / 2
    for result in results:
        assert_silent(result)
