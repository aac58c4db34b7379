"""A drill composed: the application's clients, and who responds when a site is lost."""

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from dcctl.errors import ConfigurationError, Problem, Refused, Unreachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from dcctl.adapters.business import HttpBusiness
    from dcctl.config.reference import Reference
    from dcctl.config.schema import Configuration
    from dcctl.domain.business import Line
    from dcctl.domain.drill import BusinessSpec
    from dcctl.engines.situation import Means
    from dcctl.ports import Clock, DocumentStore

CLIENTS_PORT = 8000
"""Where an edge takes the application's clients (playbooks/roles/edge)."""
LOOK_LIMIT_S = 5.0


def business(
    configuration: "Configuration",
    spec: "BusinessSpec",
    *,
    run: str,
    keep: "Callable[[Line], None]",
    clock: "Clock",
) -> "HttpBusiness":
    """The application's clients; ``keep`` gets every line of their history.

    Raises Refused where the environment has no such application.
    """
    from dcctl import wiring
    from dcctl.adapters.business import HttpBusiness, PostgresRecord
    from dcctl.config import expand
    from dcctl.config.reference import resolve

    settings = configuration.replication
    if settings is None or not expand.with_role(configuration, "procurement"):
        reason = "its drill file has an application:, and this environment has none that is replicated"
        raise Refused("run the drill", on=configuration.environment, reasons=(reason,))
    opened = wiring.replication_stores(settings)

    @asynccontextmanager
    async def stores() -> "AsyncIterator[Mapping[str, DocumentStore]]":
        async with opened() as by_side:
            yield {store.site: store for store in by_side.values()}

    edges = expand.with_role(configuration, "edge")
    hosts = ",".join(str(edge.address) for edge in edges)
    return HttpBusiness(
        spec,
        run=run,
        edges={each.name: (each.place, f"http://{each.address}:{CLIENTS_PORT}") for each in edges},
        machines={each.name: each.place for each in expand.machines(configuration)},
        token=_broker(configuration.secret("procurement_brokers")),
        record=PostgresRecord(
            f"host={hosts} port={wiring.WRITE_PORT} user={wiring.APPLICATION} dbname={wiring.APPLICATION}",
            password=resolve(configuration.secret("postgresql_app")),
        ),
        stores=stores,
        container=settings.containers[0],
        keep=keep,
        now=clock.now,
    )


def _broker(secret: "Reference") -> str:
    """The token of the first broker: a drill is a client as any."""
    from dcctl.config.reference import resolve

    try:
        return str(next(iter(json.loads(resolve(secret)).values())))
    except (ValueError, AttributeError, StopIteration) as error:
        problem = Problem(str(secret), 0, 0, "must be a JSON object of brokers and their tokens")
        raise ConfigurationError((problem,)) from error


def leaders(means: "Means") -> dict[str, str]:
    """At which site each role is held."""
    states = means.leases.observe_roles(limit_s=LOOK_LIMIT_S)
    return {each.role: means.places.get(each.term.host, "") for each in states if each.term is not None}


def why_not_by_itself(
    configuration: "Configuration", means: "Means", lost: str, held: "Mapping[str, str]"
) -> tuple[str, ...]:
    """Why the controller would not give ``lost`` up now. Raises Unreachable without a quorum."""
    from dcctl.domain.automation import CONTROLLER, why_not_by_itself
    from dcctl.domain.observation import Seen
    from dcctl.engines.controller import certified
    from dcctl.wiring.automation import automations, configured_mode

    if lost not in means.sites:
        return ()  # which the plan says itself
    survivor = next(site for site in means.sites if site != lost)
    with automations(configuration) as said:
        try:
            capacity = Seen(certified(said.observe_certificate(lost), lost, survivor, means.now()))
        except Unreachable as error:
            capacity = Seen(None, error.sentence())
        return why_not_by_itself(
            configured_mode(configuration),
            said.observe(),
            said.observe_last(),
            now=means.now(),
            hold_off=means.rules.hold_off,
            carries=capacity,
            led=bool(held.get(CONTROLLER)),
        )
