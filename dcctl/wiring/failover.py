"""Moves between the sites, composed: what they are decided from, and what carries them out."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from dcctl.errors import Unreachable
from dcctl.ports import Clock, Journal
from dcctl.wiring.ensemble import new_session
from dcctl.wiring.runs import Opened, acting, resuming, who

if TYPE_CHECKING:
    from dcctl.adapters.patroni import PatroniSwitch
    from dcctl.adapters.pgbouncer import PgBouncerPools
    from dcctl.adapters.zookeeper import ZooKeeperRuns, ZooKeeperSession
    from dcctl.config.replication import Replication as ReplicationSettings
    from dcctl.config.schema import Configuration
    from dcctl.domain.machine import Server
    from dcctl.domain.probe import ProbeResult
    from dcctl.domain.situation import Documents
    from dcctl.engines.situation import Means
    from dcctl.engines.status import Ask

SESSION_S = 10.0
CONNECT_LIMIT_S = 5.0
PART_LIMIT_S = 2.0
LOOK_LIMIT_S = 30.0
"""One look at everything; what did not answer by then is told so."""
CLOUD_LIMIT_S = 12.0
"""Until a cloud that is to power machines off has let us in."""
POWER_LIMIT_S = 75.0
"""For all machines, side by side."""
BUSY_LIMIT_S = 65.0
"""For a task of a machine's cloud: none is asked for later than the others are waited for. Nova gives a guest
60 s to end by itself, unless its image says otherwise."""
CAPACITY_LIMIT_S = 25.0
RESUME_PATIENCE_S = 90.0
"""What an interrupted move left half done settles meanwhile: a promotion, a standby that joins."""
PATRONI_USER = "dcctl"
"""Who may change something through Patroni's API (playbooks/roles/postgresql)."""
REPLICATION_METRICS = 8406
CLIENTS_NEED = ("http", "tcp", "postgresql", "patroni", "zookeeper", "swift")
"""Kinds of probes that say whether a site serves; a certificate that runs out next week does not."""


@dataclass(frozen=True)
class Stage:
    """An environment in which something may be moved, and the right to do so."""

    means: "Means"
    runs: "ZooKeeperRuns"
    keep: int

    @contextmanager
    def acting(self, journal: Journal, command: str) -> "Iterator[Means]":
        """The means of the run of ``journal``, which alone may act now; all it notes is kept in ZooKeeper.

        Raises Refused, which names the run that is active.
        """
        with acting(self.runs, journal, command, keep=self.keep) as shared:
            yield replace(self.means, journal=shared)

    @contextmanager
    def resuming(self, opened: Opened, run: str, command: str) -> "Iterator[Means]":
        """The means of ``run``, which ended or was broken off on any machine, with its journal so far.

        ``opened`` is what ``wiring.runs.resumed`` gave. Raises Refused, which names the run that is active.
        """
        with resuming(self.runs, opened, run, command) as journal:
            yield replace(self.means, journal=journal, patience_s=RESUME_PATIENCE_S)


@contextmanager
def stage(
    configuration: "Configuration",
    *,
    clock: Clock,
    ask_within: "Callable[[float], Ask]",
    dcctl: str = "dcctl",
) -> "Iterator[Stage]":
    """Ready to look, and to act. An ensemble that lets nobody in is a finding, not an error.

    ``ask_within`` gives what asks several questions at once, within so many seconds
    (``shell.at_once``). ``dcctl`` is how the next command begins.
    """
    from dcctl import wiring
    from dcctl.adapters.postgres.write_proof import PostgresWriteProof
    from dcctl.adapters.zookeeper import ZooKeeperLeaderKey, ZooKeeperRuns
    from dcctl.config import expand
    from dcctl.config.reference import resolve
    from dcctl.engines.situation import Means
    from dcctl.wiring import capacity, traffic

    leases = wiring.leases(configuration, session_s=SESSION_S)
    session = new_session(configuration, session_s=SESSION_S)
    with closing(leases), closing(session):
        leases.begin()
        session.begin()
        _wait_until_connected(session)
        runs = ZooKeeperRuns(session, configuration.environment, who=who())
        system = wiring.system(configuration, limit_s=PART_LIMIT_S)
        written = {each.name: each.address for each in expand.with_role(configuration, "edge")}
        means = Means(
            environment=configuration.environment,
            sites=tuple(configuration.sites),
            witness=configuration.witness is not None,
            system=system,
            ask=ask_within(LOOK_LIMIT_S),
            now=clock.now,
            states=traffic.sites_of(configuration, session),
            vantages=traffic.vantages_of(configuration, session),
            runs=runs,
            leases=leases,
            epochs=wiring.epochs(configuration),
            capacity=lambda lost: capacity.capacity(configuration, lost, ask=ask_within(CAPACITY_LIMIT_S)),
            documents=_documents(configuration, clock),
            power_off=partial(_power_off, configuration, clock, ask_within, system.clouds),
            switch=_switch(configuration),
            pools=_pools(configuration),
            leader_key=ZooKeeperLeaderKey(
                session,
                configuration.environment,
                keys=wiring.PATRONI_KEYS.format(environment=configuration.environment),
                members=[each.name for each in expand.with_role(configuration, "postgresql")],
                owned=runs.guards,
            ),
            write=PostgresWriteProof(
                written,
                user=wiring.APPLICATION,
                password=resolve(configuration.secret("postgresql_app")),
                database=wiring.APPLICATION,
                port=wiring.WRITE_PORT,
            ),
            verify=_verify(configuration),
            who=who(),
            dcctl=dcctl,
            rules=configuration.rules.as_rules(),
        )
        yield Stage(means, runs, configuration.runs.keep)


def _wait_until_connected(session: "ZooKeeperSession") -> None:
    deadline_s = time.monotonic() + CONNECT_LIMIT_S
    while session.number is None and time.monotonic() < deadline_s:
        time.sleep(0.05)


def _switch(configuration: "Configuration") -> "PatroniSwitch":
    from dcctl import wiring
    from dcctl.adapters import http
    from dcctl.adapters.patroni import PatroniSwitch
    from dcctl.config import expand
    from dcctl.config.reference import resolve

    def run(name: str, argv: "Sequence[str]", limit_s: float) -> tuple[int, str, str]:
        return wiring.remote(configuration, name).run(argv, limit_s=limit_s)

    addresses = {each.name: each.address for each in expand.with_role(configuration, "postgresql")}
    password = resolve(configuration.secret("patroni_api"))
    return PatroniSwitch(addresses, post=http.post, run=run, user=PATRONI_USER, password=password)


def _pools(configuration: "Configuration") -> "PgBouncerPools":
    from dcctl import wiring
    from dcctl.adapters.pgbouncer import PgBouncerPools
    from dcctl.config import expand

    edges = [each.name for each in expand.with_role(configuration, "edge")]
    addresses = {each.name: each.address for each in expand.with_role(configuration, "postgresql")}
    return PgBouncerPools({name: partial(wiring.remote, configuration, name) for name in edges}, addresses)


def _power_off(
    configuration: "Configuration",
    clock: Clock,
    ask_within: "Callable[[float], Ask]",
    clouds: "Mapping[str, Callable[[], tuple[Server, ...]]]",
    site: str,
) -> dict[str, tuple[str, ...]]:
    from dcctl import wiring
    from dcctl.config import expand
    from dcctl.engines.power import power_off

    return power_off(
        [each.name for each in expand.machines(configuration) if each.place == site],
        partial(wiring.machines, configuration, site, task_s=BUSY_LIMIT_S),
        look=clouds[site],
        look_within=ask_within(CLOUD_LIMIT_S),
        ask=ask_within(POWER_LIMIT_S),
        now=clock.now,
    )


def _verify(configuration: "Configuration") -> "Callable[[str], tuple[str, ...]]":
    """What clients at a site cannot do, by a round of the operator's probes of that site's machines."""
    from dcctl.wiring import probe

    rounds: dict[str, Callable[[], tuple[ProbeResult, ...]]] = {}

    def verify(site: str) -> tuple[str, ...]:
        if site not in rounds:
            specs = [
                each
                for each in probe.probe_specs(configuration)
                if each.site == site and each.target != site and each.kind in CLIENTS_NEED
            ]
            rounds[site] = probe.probe_round(configuration, specs=specs)
        return tuple(f"{each.name}: {each.saw}" for each in rounds[site]() if each.ok is not True)

    return verify


def _documents(configuration: "Configuration", clock: Clock) -> "Callable[[str | None], Documents] | None":
    """How far the documents are replicated; None where none are."""
    from dcctl.config import expand

    settings = configuration.replication
    holders = expand.with_role(configuration, "replication")
    if settings is None or not holders:
        return None
    urls = {each.name: f"http://{each.address}:{REPLICATION_METRICS}/metrics" for each in holders}
    compared = settings

    def documents(losing: str | None) -> "Documents":
        return _told(urls) if losing is not None else _compared(compared, clock)

    return documents


def _told(urls: "Mapping[str, str]") -> "Documents":
    """What the replicator knew after its last pass: only where it runs does anything answer."""
    from dcctl.adapters import http
    from dcctl.domain.situation import Documents

    said = []
    for name, url in urls.items():
        try:
            _status, text = http.get(url, limit_s=PART_LIMIT_S, tried="ask the replicator", on=name)
        except Unreachable as error:
            said.append(f"{name}: {error.saw}")
            continue
        pending = _samples(text, "dcctl_replication_pending")
        if pending:
            waits = _samples(text, "dcctl_replication_oldest_pending_seconds")
            return Documents(int(sum(pending)), oldest_s=max(waits, default=None))
        said.append(f"{name}: it has finished no pass yet")
    raise Unreachable("ask the replicator", saw="; ".join(said))


def _samples(text: str, name: str) -> list[float]:
    from prometheus_client.parser import text_string_to_metric_families

    families = text_string_to_metric_families(text)
    return [sample.value for family in families if family.name == name for sample in family.samples]


def _compared(settings: "ReplicationSettings", clock: Clock) -> "Documents":
    """Both clusters' listings, compared now."""
    from dcctl import wiring
    from dcctl.domain.situation import Documents
    from dcctl.engines.replication_options import Options
    from dcctl.engines.replication_run import compare

    options = Options(settled_s=settings.settled.total_seconds())
    if settings.tokens:
        from dcctl.engines.replication_token import compare_with_tokens
        from dcctl.wiring.replication import token_stores

        found = compare_with_tokens(token_stores(settings, clock), settings.replicated(), options)
        return Documents(sum(len(names) for names in found.values()))
    verdicts = compare(wiring.replication_stores(settings), settings.replicated(), options, level="listing")
    return Documents(sum(sum(verdict.kinds.values()) for verdict in verdicts))
