"""What an agent shows over HTTP: ``/healthz`` for people and probes, ``/metrics`` for Prometheus."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from dcctl.domain.agent import AgentReport
from dcctl.domain.probe import Health
from dcctl.domain.traffic import Rotation
from dcctl.domain.verdict import Verdict
from dcctl.errors import Unreachable

Family = GaugeMetricFamily | CounterMetricFamily
PATIENCE_S = 5.0
"""A client that says nothing for so long is hung up on."""


class AgentPage:
    """Serves until ``close``. ``report`` is asked anew for every request."""

    def __init__(self, report: Callable[[], AgentReport], *, address: str, port: int) -> None:
        registry = CollectorRegistry()
        registry.register(_Metrics(report))

        class Answers(BaseHTTPRequestHandler):
            timeout = PATIENCE_S

            def do_GET(self) -> None:
                match self.path:
                    case "/healthz":
                        status, body = _health(report())
                        self._answer(status, "application/json", body)
                    case "/metrics":
                        self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry))
                    case _:
                        self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"/healthz or /metrics\n")

            def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing: probes ask every second."""

        try:
            self._server = ThreadingHTTPServer((address, port), Answers)
        except OSError as error:
            raise Unreachable("serve health and metrics", on=f"port {port}", saw=str(error)) from error
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, name="page", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _health(report: AgentReport) -> tuple[HTTPStatus, bytes]:
    reasons = report.reasons
    document = {
        "ok": not reasons,
        "reasons": reasons,
        "vantage": report.vantage,
        "place": report.place,
        "lease_age_s": report.view.lease_age_s,
        "session_s": report.view.session_s,
        "sites": {state.site: state.state for state in report.states},
        "rotation": report.applied.rotation if report.applied else None,
        "verdicts": {each.site: each.sentence() for each in report.verdicts},
        "epochs": {role: epoch.number for role, epoch in report.epochs.items()},
    }
    status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
    return status, json.dumps(document).encode() + b"\n"


class _Metrics(Collector):
    def __init__(self, report: Callable[[], AgentReport]) -> None:
        self._report = report

    def collect(self) -> Iterator[Family]:
        """The metrics, as Prometheus asks for them."""
        report = self._report()
        yield _gauge("dcctl_agent_healthy", "1 while it does its work", {(): float(not report.reasons)})
        yield from _lease(report)
        yield from _loops(report)
        yield from _sites(report)
        yield from _verdicts(report)
        epochs = {(role,): float(epoch.number) for role, epoch in report.epochs.items()}
        yield _gauge("dcctl_role_epoch", "The epoch of a role, which only grows", epochs, "role")
        yield from _probes(report)


def _lease(report: AgentReport) -> Iterator[Family]:
    ages = {} if report.view.lease_age_s is None else {(): report.view.lease_age_s}
    yield _gauge(
        "dcctl_agent_lease_age_seconds", "Since the last request that ZooKeeper acknowledged was sent", ages
    )
    granted = {} if report.view.session_s is None else {(): report.view.session_s}
    yield _gauge("dcctl_agent_session_seconds", "The session that ZooKeeper granted", granted)


def _loops(report: AgentReport) -> Iterator[Family]:
    rounds = CounterMetricFamily("dcctl_agent_rounds", "Rounds that ended", labels=["loop"])
    for name, loop in report.loops.items():
        rounds.add_metric([name], loop.rounds)
    yield rounds
    late = {(name,): loop.late_s for name, loop in report.loops.items()}
    yield _gauge("dcctl_agent_loop_late_seconds", "How late the last round began", late, "loop")


def _sites(report: AgentReport) -> Iterator[Family]:
    wanted = {(each.site, state): float(each.state is state) for each in report.states for state in Rotation}
    yield _gauge("dcctl_site_state", "1 for the state that is wanted of a site", wanted, "site", "state")
    rotation = report.applied.rotation if report.applied else {}
    applied = {(site,): float(said) for site, said in rotation.items() if said is not None}
    yield _gauge("dcctl_site_in_rotation", "1 where this edge has a site in rotation", applied, "site")


def _verdicts(report: AgentReport) -> Iterator[Family]:
    verdicts = GaugeMetricFamily(
        "dcctl_site_verdict", "1 for what the site is, as seen from here", labels=["site", "verdict"]
    )
    for each in report.verdicts:
        for verdict in Verdict:
            verdicts.add_metric([each.site, str(verdict)], float(each.verdict is verdict))
    yield verdicts


def _probes(report: AgentReport) -> Iterator[Family]:
    labels = ("probe", "target", "site", "kind")
    rows = {(each.name, each.target, each.site, each.kind): each for each in report.results}
    oks = {key: float(each.ok) for key, each in rows.items() if each.ok is not None}
    yield _gauge("dcctl_probe_success", "1 for a target that is as it should be", oks, *labels)
    up = {key: float(each.health is Health.UP) for key, each in rows.items()}
    yield _gauge("dcctl_probe_up", "1 for a target that is UP by rise and fall", up, *labels)
    took = {key: each.took_s for key, each in rows.items()}
    yield _gauge("dcctl_probe_duration_seconds", "How long the probe took", took, *labels)


def _gauge(name: str, help: str, values: Mapping[Any, float], *labels: str) -> GaugeMetricFamily:
    """``values`` by their labels, a tuple each."""
    family = GaugeMetricFamily(name, help, labels=labels)
    for key, value in values.items():
        family.add_metric(list(key), value)
    return family
