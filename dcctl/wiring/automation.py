"""The controller and what people say of it, composed."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from dcctl.errors import Rejected, Unreachable

if TYPE_CHECKING:
    from dcctl.adapters.zookeeper import ZooKeeperAutomation, ZooKeeperSession
    from dcctl.config.schema import Configuration
    from dcctl.domain.automation import Automation, Mode
    from dcctl.domain.budget import Past
    from dcctl.domain.capacity import Capacity
    from dcctl.domain.leadership import Term
    from dcctl.domain.situation import Documents
    from dcctl.engines.status import Ask
    from dcctl.ports import Automations, Clock, Runs
    from dcctl.wiring.failover import Stage

REQUEST_LIMIT_S = 3.0
PART_LIMIT_S = 0.5
"""For each part of a look: between two sites an answer takes milliseconds, or does not come."""
LOOK_LIMIT_S = 3.0
DOCUMENTS_EVERY_S = 10.0
PAST_AFTER_S = 60.0
"""Whoever has just taken the controller's role may have to act at once, and reads no history before."""
PAST_EVERY_S = 3600.0


def automations_of(configuration: "Configuration", session: "ZooKeeperSession") -> "ZooKeeperAutomation":
    """``ports.Automations`` through ``session``."""
    from dcctl.adapters.zookeeper import ZooKeeperAutomation

    return ZooKeeperAutomation(session, configuration.environment, limit_s=REQUEST_LIMIT_S)


@contextmanager
def automations(configuration: "Configuration") -> "Iterator[ZooKeeperAutomation]":
    """``ports.Automations`` with a session of its own. Raises Unreachable when no server lets us in."""
    from dcctl.wiring.ensemble import session

    with session(configuration) as begun:
        yield automations_of(configuration, begun)


def said(configuration: "Configuration", *, limit_s: float) -> "Automation":
    """What people said of automatic action, without a session. Raises Unreachable when no quorum answers."""
    from dcctl.adapters.zookeeper import ZooKeeperVoters, read_automation
    from dcctl.config import expand

    voters = {each.name: each.address for each in expand.with_role(configuration, "zookeeper")}
    return read_automation(ZooKeeperVoters(voters, limit_s=limit_s).read, configuration.environment)


def configured_mode(configuration: "Configuration") -> "Mode":
    from dcctl.domain.automation import Mode

    return Mode(configuration.automation.mode)


@contextmanager
def stage(
    configuration: "Configuration",
    *,
    place: str,
    term: "Term | None",
    clock: "Clock",
    ask_within: "Callable[[float], Ask]",
) -> "Iterator[tuple[Stage, ZooKeeperAutomation]]":
    """What an operator acts with, as an agent's machine has it: no cloud, and nothing that is slow.

    What a cloud would be asked is known from before: the capacity by the last certificate, the documents
    by what the replicators said while they were heard. A site's machines cannot be powered off from here:
    they are fenced by their stores.
    """
    from dcctl import wiring
    from dcctl.engines.controller import OwnClock
    from dcctl.wiring import ensemble, failover

    with (
        ensemble.session(configuration) as session,
        failover.stage(
            configuration, clock=clock, ask_within=ask_within, dcctl="dcctl -e /etc/dcctl"
        ) as made,
    ):
        said = automations_of(configuration, session)
        system = wiring.system(configuration, limit_s=PART_LIMIT_S)
        means = replace(
            made.means,
            system=replace(system, clouds={}, documents=None, states=None),
            ask=ask_within(LOOK_LIMIT_S),
            vantages=OwnClock(made.means.vantages, clock.now),
            capacity=partial(_certified, configuration, said, clock),
            documents=_remembered(made.means.documents),
            power_off=_no_power,
            pools=None,
            verify=_verify(configuration, place),
            place=place,
            term=term,
            past=_remembered_past(made.runs),
        )
        yield replace(made, means=means), said


def _certified(configuration: "Configuration", said: "Automations", clock: "Clock", lost: str) -> "Capacity":
    from dcctl.engines.controller import certified

    survivor = next(site for site in configuration.sites if site != lost)
    return certified(said.observe_certificate(lost), lost, survivor, clock.now())


def _remembered(
    documents: "Callable[[str | None], Documents] | None",
) -> "Callable[[str | None], Documents] | None":
    """What was known of the documents last; asked behind the back of whoever must not wait."""
    if documents is None:
        return None
    ask = documents
    last: dict[str, Documents] = {}

    def again() -> None:
        while True:
            with suppress(Unreachable):
                last["documents"] = ask("any")
            time.sleep(DOCUMENTS_EVERY_S)

    threading.Thread(target=again, name="documents", daemon=True).start()

    def remembered(_losing: str | None) -> "Documents":
        if "documents" not in last:
            raise Unreachable("ask the replicators", saw="none has said yet how many documents are pending")
        return last["documents"]

    return remembered


def _remembered_past(runs: "Runs") -> "Mapping[str, Past]":
    """What the last failovers took, behind the back of whoever must not wait; until then nothing."""
    from dcctl.wiring.runs import past_of

    past: dict[str, Past] = {}

    def again() -> None:
        time.sleep(PAST_AFTER_S)
        while True:
            past["failover"] = past_of(runs, "failover")
            time.sleep(PAST_EVERY_S)

    threading.Thread(target=again, name="past", daemon=True).start()
    return past


def _no_power(_site: str) -> dict[str, tuple[str, ...]]:
    saw = f"{socket.gethostname()} has no credentials of a cloud"
    raise Rejected("power off what its cloud reaches", saw=saw)


def _verify(configuration: "Configuration", place: str) -> "Callable[[str], tuple[str, ...]]":
    """What clients at a site cannot do, by the probes that can be made from ``place``."""
    from dcctl.wiring import failover, probe

    def verify(site: str) -> tuple[str, ...]:
        specs = [
            each
            for each in probe.probe_specs(configuration, place)
            if each.site == site and each.target != site and each.kind in failover.CLIENTS_NEED
        ]
        results = probe.probe_round(configuration, place, specs=specs)()
        return tuple(f"{each.name}: {each.saw}" for each in results if each.ok is not True)

    return verify
