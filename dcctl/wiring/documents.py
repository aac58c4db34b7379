"""Documents that one site alone has, by what the application's database knows."""

from contextlib import closing
from typing import TYPE_CHECKING

from dcctl.errors import DcctlError, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from dcctl.config.schema import Configuration
    from dcctl.domain.observation import AtRisk, ReplicationLag


def documents_at_risk(configuration: "Configuration", *, limit_s: float) -> "Callable[[], AtRisk] | None":
    """How to count them; None where none are replicated. ``limit_s`` bounds a connection to one edge.

    The first edge that lets us in is asked; an edge that is dark is told first, by a plain connection,
    because libpq waits for two seconds at least.
    """
    from dcctl import wiring
    from dcctl.adapters.outbox import PostgresOutbox
    from dcctl.adapters.reach import TcpReach
    from dcctl.config import expand
    from dcctl.config.reference import resolve

    edges = expand.with_role(configuration, "edge")
    told = expand.with_role(configuration, "procurement")
    if configuration.replication is None or not told or not expand.with_role(configuration, "replication"):
        return None
    reach = TcpReach(limit_s=limit_s)

    def ask() -> "AtRisk":
        said = []
        for edge in edges:
            conninfo = (
                f"host={edge.address} port={wiring.WRITE_PORT} user={wiring.APPLICATION}"
                f" dbname={wiring.APPLICATION} connect_timeout=2 options='-c statement_timeout=2000'"
            )
            try:
                reach.observe_port(edge.address, wiring.WRITE_PORT)
                password = resolve(configuration.secret("postgresql_app"))
                with closing(PostgresOutbox(conninfo, password=password)) as outbox:
                    return outbox.at_risk()
            except DcctlError as error:
                said.append(f"{edge.name}: {error.saw}")
        raise Unreachable("count documents", on=configuration.environment, saw="; ".join(said))

    return ask


METRICS_PORT = 8406
"""Where a replicator tells how far it is (playbooks/roles/replication)."""


def replication_lag(
    configuration: "Configuration", *, limit_s: float
) -> "Callable[[], ReplicationLag] | None":
    """How to ask the replicators for their lag; None where there are none. Unreachable when none tells.

    A replicator answers where it leads. Each tells of the pass before; the worst of them counts.
    """
    from prometheus_client.parser import text_string_to_metric_families

    from dcctl.adapters import http
    from dcctl.config import expand
    from dcctl.domain.observation import ReplicationLag

    machines = expand.with_role(configuration, "replication")
    if configuration.replication is None or not machines:
        return None

    def ask() -> ReplicationLag:
        said, oldest, behind = [], [], 0.0
        for machine in machines:
            url = f"http://{machine.address}:{METRICS_PORT}/metrics"
            try:
                _status, text = http.get(url, limit_s=limit_s, tried="ask the replicator", on=machine.name)
                families = {each.name: each for each in text_string_to_metric_families(text)}
            except (DcctlError, ValueError) as error:
                said.append(f"{machine.name}: {getattr(error, 'saw', '') or error}")
                continue
            lags = families.get("dcctl_replication_lag_seconds")
            waiting = families.get("dcctl_replication_behind_objects")
            ranks = (
                [each.value for each in lags.samples if each.labels.get("rank") == "oldest"] if lags else []
            )
            oldest += ranks
            behind += sum(each.value for each in waiting.samples) if waiting else 0
            if not ranks:
                said.append(f"{machine.name}: it has finished no pass yet")
        if not oldest:
            raise Unreachable("ask the replicator", on=configuration.environment, saw="; ".join(said))
        return ReplicationLag(max(oldest), int(behind))

    return ask
