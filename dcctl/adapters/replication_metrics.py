"""Prometheus metrics of the replicator, through a collector that reads the last results."""

import threading
import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from dcctl.domain.replication_lag import Lag
from dcctl.domain.replication_pass import Tally
from dcctl.errors import Unreachable

Family = GaugeMetricFamily | CounterMetricFamily


class ReplicationMetrics(Collector):
    """Told of every result; serves what it was told last. Port 0 serves nothing (tests)."""

    def __init__(self, port: int, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._guard = threading.Lock()
        self._passes: dict[str, Tally] = {}
        self._done: dict[tuple[str, str], int] = {}
        self._lags: dict[str, Lag] = {}
        self._failures = 0
        self.registry = CollectorRegistry()
        self.registry.register(self)
        if port:
            try:
                start_http_server(port, registry=self.registry)
            except OSError as error:
                raise Unreachable("serve metrics", on=f"port {port}", saw=str(error)) from error

    def seen(self, result: Tally | Lag | Unreachable) -> None:
        """Take note of a pass, a lag, or a cluster that is away."""
        with self._guard:
            match result:
                case Tally():
                    if not result.prefix:  # else it speaks of a part only
                        self._passes[result.container] = result
                    for kind, count in result.kinds.items():
                        key = (result.container, kind)
                        self._done[key] = self._done.get(key, 0) + count
                case Lag():
                    self._lags[result.site] = result
                case _:
                    self._failures += 1

    def collect(self) -> Iterator[Family]:
        """The metrics, as Prometheus asks for them."""
        with self._guard:
            yield from self._collected()

    def _collected(self) -> Iterator[Family]:
        label = ["container"]
        rows = GaugeMetricFamily(
            "dcctl_replication_objects", "Objects that both sides list alike", labels=label
        )
        pending = GaugeMetricFamily(
            "dcctl_replication_pending", "Names that are not the same yet", labels=label
        )
        oldest = GaugeMetricFamily(
            "dcctl_replication_oldest_pending_seconds",
            "Age of the oldest change that the last pass saw on one side only",
            labels=label,
        )
        took = GaugeMetricFamily("dcctl_replication_pass_seconds", "Duration of the last pass", labels=label)
        for container, tally in self._passes.items():
            rows.add_metric([container], tally.rows)
            pending.add_metric([container], tally.pending)
            took.add_metric([container], tally.seconds)
            if tally.oldest_pending is not None:
                oldest.add_metric(
                    [container], max(0.0, self._now() - tally.oldest_pending.instant.timestamp())
                )
        outcomes = CounterMetricFamily(
            "dcctl_replication_outcomes", "What became of names", labels=["container", "kind"]
        )
        for (container, kind), count in self._done.items():
            outcomes.add_metric([container, kind], count)
        away = CounterMetricFamily("dcctl_replication_away", "Passes that a cluster's absence ended")
        away.add_metric([], self._failures)
        yield from (rows, pending, oldest, took, outcomes, away)
        yield from self._lag_families()

    def _lag_families(self) -> Iterator[Family]:
        lag = GaugeMetricFamily(
            "dcctl_replication_lag_seconds",
            "Seconds from a change to its arrival at the other side; oldest: the age of what has not arrived",
            labels=["rank", "from"],
        )
        objects = GaugeMetricFamily(
            "dcctl_replication_behind_objects", "Objects the other side does not have yet", labels=["from"]
        )
        size = GaugeMetricFamily(
            "dcctl_replication_behind_bytes", "Their bytes, as far as known", labels=["from"]
        )
        for site, one in self._lags.items():
            for rank, value in (("p50", one.p50_s), ("p99", one.p99_s), ("oldest", one.oldest_s or 0.0)):
                if value is not None:
                    lag.add_metric([rank, site], value)
            objects.add_metric([site], one.pending)
            size.add_metric([site], one.bytes)
        yield from (lag, objects, size)
