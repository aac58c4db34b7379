"""Where the figures of a capacity come from: edges, clouds, and what was seen before."""

import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dcctl.adapters import http as get_http
from dcctl.adapters.haproxy_load import HaproxyLoad, parse_load
from dcctl.adapters.state import LoadFiles
from dcctl.cli.main import run
from dcctl.domain.capacity import Fit, Group, Traffic
from dcctl.domain.machine import Hypervisor, Power, Server, Size
from dcctl.engines.capacity import Sources, observe_capacity, observe_figures
from dcctl.engines.status import in_turn
from dcctl.errors import ConfigurationError, Rejected, TimedOut, Unreachable

CASES = Path(__file__).parent / "cases"
AT = datetime(2026, 11, 21, 3, tzinfo=UTC)
SMALL = Size(1, 768 * 2**20, 2**32)


class TestEdge:
    def test_what_haproxy_2_6_showed(self) -> None:
        seen = parse_load((CASES / "observation" / "haproxy.csv").read_text(), edge="east-edge-1")
        assert set(seen) == {"east-edge-1", "east-db-1", "west-db-1"}
        assert seen["east-db-1"] == Traffic(0, 1, 0)
        assert (seen["east-edge-1"].peak_per_s, seen["east-edge-1"].session_limit) == (2, 2000)

    def test_a_server_is_the_sum_of_its_backends(self) -> None:
        text = (
            "# pxname,svname,scur,slim,rate,rate_max,req_rate,req_rate_max\n"
            "clients,FRONTEND,9,2000,3,30,7,70\n"
            "status,FRONTEND,1,2000,5,5,5,5\n"
            "cdb,east-app-1,2,100,4,40,,\n"
            "cdb,BACKEND,2,200,4,40,,\n"
            "swift,east-app-1,1,50,1,10,,\n"
        )
        seen = parse_load(text, edge="east-edge-1")
        assert seen == {"east-edge-1": Traffic(7, 70, 9, 2000), "east-app-1": Traffic(5, 50, 3, 150)}

    @pytest.mark.parametrize("text", ["", "<html>", "a,b\n1,2\n"])
    def test_what_is_no_statistics_is_rejected(self, text: str) -> None:
        with pytest.raises(Rejected):
            parse_load(text, edge="east-edge-1")

    @pytest.mark.parametrize("status", [200, 503])
    def test_it_is_asked_over_http(self, status: int) -> None:
        body = (CASES / "observation" / "haproxy.csv").read_text()
        with serving(status, body) as port:
            edges = HaproxyLoad({"e": "127.0.0.1"}, get=get_http.get, limit_s=2, port=port)
            if status == http.HTTPStatus.OK:
                assert "east-db-1" in edges.observe_load("e")
            else:
                with pytest.raises(Rejected, match="503"):
                    edges.observe_load("e")


class serving:  # noqa: N801  # reads as a verb where it is used
    """One answer to every GET."""

    def __init__(self, status: int, body: str) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_args: object) -> None:
                """Nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> int:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return int(self._server.server_address[1])

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class TestMemory:
    def test_what_an_edge_showed_is_read_back(self, tmp_path: Path) -> None:
        memory = LoadFiles(tmp_path / "observations")
        assert memory.last_seen("east-edge-1") is None
        memory.record("east-edge-1", {"east-app-1": Traffic(1, 2, 3, None)}, AT)
        assert memory.last_seen("east-edge-1") == (AT, {"east-app-1": Traffic(1, 2, 3, None)})

    @pytest.mark.parametrize("text", ["", "[]", '{"at": 1}', '{"at": "x", "traffic": {"a": {"b": 1}}}'])
    def test_what_is_no_memory_of_ours_is_none(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "e.load.json").write_text(text)
        assert LoadFiles(tmp_path).last_seen("e") is None


class FakeLoad:
    """``ports.EdgeLoad``; an edge that is not in ``shown`` is dark."""

    def __init__(self, shown: Mapping[str, Mapping[str, Traffic]]) -> None:
        self.shown = dict(shown)

    def observe_load(self, edge: str) -> Mapping[str, Traffic]:
        if edge not in self.shown:
            raise TimedOut("ask the edge", on=edge, saw="no answer within 1.5 s")
        return self.shown[edge]


class FakeMemory:
    """``ports.LoadMemory``."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[datetime, Mapping[str, Traffic]]] = {}

    def record(self, edge: str, traffic: Mapping[str, Traffic], at: datetime) -> None:
        self.kept[edge] = (at, traffic)

    def last_seen(self, edge: str) -> tuple[datetime, Mapping[str, Traffic]] | None:
        return self.kept.get(edge)


class World:
    """Two sites with an edge and an application machine each; nothing is declared but what one carries."""

    def __init__(self) -> None:
        self.load = FakeLoad(
            {
                "east-edge-1": {"east-edge-1": Traffic(9, 9, 9, 2000), "east-app-1": Traffic(8, 8, 1)},
                "west-edge-1": {"west-edge-1": Traffic(5, 5, 5, 2000), "west-app-1": Traffic(4, 4, 1)},
            }
        )
        self.memory = FakeMemory()
        self.now = AT
        self.cloud_error: Exception | None = None
        self.hypervisors_error: Unreachable | None = None

    def cloud(self) -> tuple[tuple[Server, ...], tuple[Hypervisor, ...] | Unreachable]:
        if self.cloud_error:
            raise self.cloud_error
        names = ("west-edge-1", "west-app-1")
        servers = tuple(Server(n, n, "west", "lab", Power.ON, "", "h", None, SMALL, "") for n in names)
        if self.hypervisors_error:
            return servers, self.hypervisors_error
        return servers, (Hypervisor("h", "west", True, "", 4, 2, 2**32, 2**31, 0, 2),)

    def sources(self) -> Sources:
        return Sources(
            lost="east",
            survivor="west",
            groups=tuple(
                Group(name, SMALL, {s: (f"{s}-{name}-1",) for s in ("east", "west")}, carries_per_s=100)
                for name in ("edge", "app")
            ),
            headroom=0.2,
            cloud=self.cloud,
            edges={"east": ["east-edge-1"], "west": ["west-edge-1"]},
            traffic=self.load,
            memory=self.memory,
            now=lambda: self.now,
        )


class TestFigures:
    def test_everything_answers(self) -> None:
        decided = observe_capacity(World().sources(), in_turn)
        assert decided.fit is Fit.FITS
        rates = {line.group: line.needed for line in decided.lines if line.resource == "requests/s"}
        assert rates == {"edge": 14, "app": 12}

    def test_a_dark_site_is_what_it_showed_last_with_the_age_of_that(self) -> None:
        world = World()
        observe_figures(world.sources(), in_turn)
        del world.load.shown["east-edge-1"]
        world.now = AT.replace(hour=4)
        decided = observe_capacity(world.sources(), in_turn)
        assert decided.fit is Fit.FITS
        old = decided.lines[1].sources[1]
        assert (old.value, old.at) == (8, AT)
        assert old.reason == "east-edge-1: no answer within 1.5 s"

    def test_a_dark_site_that_was_never_seen_is_unknown(self) -> None:
        world = World()
        del world.load.shown["east-edge-1"]
        decided = observe_capacity(world.sources(), in_turn)
        assert decided.fit is Fit.UNKNOWN
        assert "east-edge-1: no answer within 1.5 s" in decided.reasons[0]

    def test_a_cloud_that_does_not_answer_is_unknown(self) -> None:
        world = World()
        world.cloud_error = Unreachable("list servers", saw="connection refused")
        decided = observe_capacity(world.sources(), in_turn)
        assert decided.fit is Fit.UNKNOWN
        assert "connection refused" in "; ".join(decided.reasons)

    def test_who_may_not_see_the_hypervisors_sees_what_runs(self) -> None:
        world = World()
        world.hypervisors_error = Unreachable("list hypervisors", saw="HTTP 403")
        assert observe_capacity(world.sources(), in_turn).fit is Fit.FITS

    def test_what_is_no_silence_is_raised(self) -> None:
        world = World()
        world.cloud_error = ConfigurationError(())
        with pytest.raises(ConfigurationError):
            observe_capacity(world.sources(), in_turn)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Path]:
    """``good.yaml`` with both places where nothing listens."""
    good = CASES / "config" / "good.yaml"
    (tmp_path / "dcctl.yaml").write_text(
        good.read_text()
        .replace("198.51.100.", "127.0.1.")
        .replace("203.0.113.", "127.0.2.")
        .replace("https://vcenter.example.org", "https://127.0.2.5:9")
    )
    yield tmp_path


class TestCommand:
    def test_everything_silent_is_refused_with_every_reason(
        self, environment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("VCENTER_PASSWORD", "x")
        assert run(["-e", str(environment), "capacity", "--lose", "east", "-o", "json"]) == 5
        said = capsys.readouterr()
        told = json.loads(said.out)
        assert (told["lost"], told["survivor"], told["fit"]) == ("east", "west", "unknown")
        assert any("what one machine carries is not declared" in reason for reason in told["reasons"])
        assert any("Connection refused" in reason for reason in told["reasons"])
        assert "config show" in said.err

    def test_it_is_a_table_for_people(
        self, environment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("VCENTER_PASSWORD", "x")
        assert run(["-e", str(environment), "capacity", "--lose", "east"]) == 5
        assert "losing east: west cannot be certified" in capsys.readouterr().out

    def test_an_unknown_site_is_a_wrong_command_line(
        self, environment: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["-e", str(environment), "capacity", "--lose", "north"]) == 2
        assert "sites are east, west" in capsys.readouterr().err
