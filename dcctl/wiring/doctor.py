"""Everything that a diagnosis is made from, looked at at once and within a few seconds."""

from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from dcctl.domain.observation import Seen
from dcctl.errors import DcctlError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dcctl.config.schema import Configuration
    from dcctl.domain.diagnosis import Examined, Rehearsal
    from dcctl.domain.probe import ProbeResult
    from dcctl.domain.run import ActiveRun
    from dcctl.domain.traffic import Observation, SiteState

PROBE_LIMIT_S = 4.0
"""No probe may take longer here, whatever its own limit is: a diagnosis is asked for in a hurry."""
PART_LIMIT_S = 1.5
SYSTEM_LIMIT_S = 6.0
"""For what a status looks at, and for the figures of a capacity."""
LOOK_LIMIT_S = 12.0
"""For everything together; what took longer counts as silent. Its parts end sooner by themselves, unless
this very host has no time for them."""
ENSEMBLE_LIMIT_S = 4.0


@dataclass(frozen=True, slots=True)
class _Ensemble:
    states: "Seen[tuple[SiteState, ...]]"
    vantages: "Seen[tuple[Observation, ...]]"
    active_run: "Seen[ActiveRun]"


def examine(
    configuration: "Configuration", at_once: "Callable[..., Mapping[str, Any]]", *, dcctl: str = "dcctl"
) -> "Examined":
    """Look at everything. What is silent is in the answer.

    ``at_once`` is ``dcctl.shell.at_once``; ``dcctl`` is how the next command begins.
    """
    from dcctl import wiring
    from dcctl.config import expand
    from dcctl.config.drill import known_drills
    from dcctl.domain.diagnosis import Examined
    from dcctl.domain.status import decide_status
    from dcctl.engines.status import observe
    from dcctl.wiring.capacity import capacity
    from dcctl.wiring.documents import replication_lag

    system = wiring.system(configuration, limit_s=PART_LIMIT_S)
    parts = partial(at_once, limit_s=SYSTEM_LIMIT_S)
    questions: dict[str, Callable[[], Any]] = {
        "probes": _probe_round(configuration),  # what it needs is loaded here, before time runs
        "view": lambda: observe(system, parts),
        "ensemble": lambda: _ensemble(configuration),
        **{site: partial(capacity, configuration, site, ask=parts) for site in configuration.sites},
    }
    if (lag := replication_lag(configuration, limit_s=PART_LIMIT_S)) is not None:
        questions["replication"] = lag
    answers = at_once(questions, limit_s=LOOK_LIMIT_S)
    view = answers["view"]
    if isinstance(view, DcctlError):
        raise view
    ensemble, probes = answers["ensemble"], answers["probes"]
    if isinstance(ensemble, DcctlError):
        why = _why(ensemble)
        ensemble = _Ensemble(Seen(None, why), Seen(None, why), Seen(None, why))
    return Examined(
        environment=configuration.environment,
        at=datetime.now(UTC),
        sites=tuple(configuration.sites),
        status=decide_status(configuration.environment, system.hosts, view),
        probes=() if isinstance(probes, DcctlError) else probes,
        states=ensemble.states,
        vantages=ensemble.vantages,
        agents={each.name: each.place for each in expand.with_role(configuration, "agent")},
        active_run=ensemble.active_run,
        capacity={site: _seen(answers[site]) for site in configuration.sites},
        documents=view.documents,
        replication=_seen(answers["replication"]) if lag is not None else None,
        drills=tuple(known_drills()),
        rehearsals=_rehearsals(configuration),
        undos=tuple(f"{run}: {undo.sentence()}" for run, undo in wiring.pending_undos(configuration)),
        unprobed=_why(probes) if isinstance(probes, DcctlError) else "not asked",
        dcctl=dcctl,
    )


def _probe_round(configuration: "Configuration") -> "Callable[[], tuple[ProbeResult, ...]]":
    from dcctl.wiring.probe import probe_round, probe_specs

    specs = [
        replace(spec, timeout_s=min(spec.timeout_s, PROBE_LIMIT_S)) for spec in probe_specs(configuration)
    ]
    return probe_round(configuration, specs=specs)


def _ensemble(configuration: "Configuration") -> _Ensemble:
    """Three looks through one session; without a quorum there are none."""
    from dcctl.adapters.zookeeper import ZooKeeperRuns
    from dcctl.wiring import traffic
    from dcctl.wiring.ensemble import new_session

    with closing(new_session(configuration)) as session:
        session.connect(limit_s=ENSEMBLE_LIMIT_S)
        runs = ZooKeeperRuns(session, configuration.environment, who="doctor")
        return _Ensemble(
            _asked(traffic.sites_of(configuration, session).observe_sites),
            _asked(traffic.vantages_of(configuration, session).observe_vantages),
            _asked(lambda: runs.observe_active(limit_s=PART_LIMIT_S)),
        )


def _asked(question: "Callable[[], Any]") -> Seen[Any]:
    try:
        return Seen(question())
    except DcctlError as error:
        return Seen(None, _why(error))


def _seen(answer: Any) -> Seen[Any]:
    return Seen(None, _why(answer)) if isinstance(answer, DcctlError) else Seen(answer)


def _why(error: DcctlError) -> str:
    return error.saw or error.sentence()


def _rehearsals(configuration: "Configuration") -> "tuple[Rehearsal, ...]":
    """The newest report of each drill."""
    import json

    from dcctl.adapters.journal import runs
    from dcctl.domain.diagnosis import Rehearsal

    found: dict[str, Rehearsal] = {}
    for run in reversed(runs(configuration.state_directory)):
        report = configuration.state_directory / "runs" / run / "report.json"
        try:
            told = json.loads(report.read_text())
            drill, began_at = str(told["drill"]), datetime.fromisoformat(told["began_at"])
            if drill not in found:
                found[drill] = Rehearsal(run, drill, str(told["site"]), began_at, str(told["verdict"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # no drill, or a report that broke off
    return tuple(found.values())
