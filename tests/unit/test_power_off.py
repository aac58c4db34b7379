"""Machines of a site that is given up, off through its cloud: what is proven, told, and not tried twice."""

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
from two_sites import TwoSites

from dcctl import wiring
from dcctl.domain.machine import Power, PowerReading, ServerSpec, Size
from dcctl.engines.failover import failover
from dcctl.engines.power import power_off
from dcctl.engines.status import Ask
from dcctl.errors import (
    ConfigurationError,
    CredentialsRefused,
    DcctlError,
    Problem,
    Rejected,
    TimedOut,
    Unreachable,
)
from dcctl.shell import WallClock, at_once
from dcctl.testing.machines import FakeCloud, FakeMachines

NAMES = ("east-app-1", "east-db-1")


def cloud_with_machines() -> FakeCloud:
    cloud = FakeCloud("east")
    for name in NAMES:
        spec = ServerSpec(
            name=name,
            environment="test",
            site="east",
            group="db",
            roles=(),
            size=Size(1, 2**30, 2**30),
            flavour="",
            image="debian-12",
            network="dcctl",
            address="192.0.2.20",
        )
        cloud.put(spec, owner="test")
    return cloud


WITHIN = partial(at_once, limit_s=30.0)


def off(machines: FakeMachines, *, ask: Ask = WITHIN) -> dict[str, tuple[str, ...]]:
    return power_off(
        NAMES,
        lambda: contextlib.nullcontext(machines),
        look=machines.observe_servers,
        look_within=WITHIN,
        ask=ask,
        now=WallClock().now,
    )


def test_each_machine_is_off_and_that_is_proven() -> None:
    cloud = cloud_with_machines()
    assert off(FakeMachines(cloud, "test")) == dict.fromkeys(NAMES, ())
    assert {each.power for each in cloud.servers.values()} == {Power.OFF}


def test_machines_that_are_off_already_are_proven_again() -> None:
    machines = FakeMachines(cloud_with_machines(), "test")
    off(machines)
    assert off(machines) == dict.fromkeys(NAMES, ())


def test_a_machine_whose_host_is_lost_is_not_proven_and_the_others_are() -> None:
    cloud = cloud_with_machines()
    (host,) = {each.hypervisor for each in cloud.servers.values() if each.name == "east-db-1"}
    cloud.disconnected.add(host)
    assert off(FakeMachines(cloud, "test")) == {
        "east-app-1": (),
        "east-db-1": (f"host {host} is disconnected",),
    }


def test_a_machine_of_somebody_else_is_left_alone() -> None:
    cloud = cloud_with_machines()
    told = off(FakeMachines(cloud, "another"))
    assert all(told[name] for name in NAMES)
    assert {each.power for each in cloud.servers.values()} == {Power.ON}


class LyingMachines(FakeMachines):
    """Calls a machine off at once; a task that is to make it true is pending."""

    def ensure_power(self, name: str, power: Power) -> PowerReading:
        now = self.observe_power(name)
        return PowerReading(name, power, now.read_at, now.asked_at, now.hypervisor, True, True, False)


def test_a_cloud_that_calls_a_machine_off_while_its_task_is_pending_proves_nothing() -> None:
    told = off(LyingMachines(cloud_with_machines(), "test"))
    assert told == {name: (f"{name} has a task pending",) for name in NAMES}


def test_a_machine_of_which_the_cloud_says_nothing_in_time_is_not_proven() -> None:
    late = TimedOut("look", on="east-db-1", saw="no answer within 75 s")

    def all_but_one(asked: Mapping[str, Callable[[], Any]]) -> Mapping[str, Any]:
        return {name: late if name == "east-db-1" else ask() for name, ask in asked.items()}

    told = off(FakeMachines(cloud_with_machines(), "test"), ask=all_but_one)
    assert told == {"east-app-1": (), "east-db-1": ("no answer within 75 s",)}


def test_a_wrong_password_is_tried_once_and_not_for_every_machine() -> None:
    logins: list[str] = []

    def begun() -> Any:
        logins.append("one more")
        return contextlib.nullcontext(FakeMachines(cloud_with_machines(), "test"))

    wrong = FakeMachines(cloud_with_machines(), "test", password_is_right=False)
    with pytest.raises(CredentialsRefused):
        power_off(
            NAMES, begun, look=wrong.observe_servers, look_within=WITHIN, ask=WITHIN, now=WallClock().now
        )
    assert logins == []


def test_whom_a_cloud_has_refused_asks_it_no_more() -> None:
    asked: list[str] = []

    def look() -> tuple[()]:
        asked.append("once")
        raise CredentialsRefused("list the servers", on="east", saw="wrong password")

    once = wiring.until_refused(look)
    for _again in range(3):
        with pytest.raises(CredentialsRefused, match="wrong password"):
            once()
    assert asked == ["once"]


def test_a_cloud_that_did_not_answer_is_asked_again() -> None:
    asked: list[str] = []

    def look() -> tuple[()]:
        asked.append("once")
        if len(asked) == 1:
            raise Unreachable("list the servers", on="east", saw="dark")
        return ()

    again = wiring.until_refused(look)
    with pytest.raises(Unreachable):
        again()
    assert again() == ()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TimedOut("connect", saw="no answer within 2 s"), "its cloud does not answer (no answer within 2 s)"),
        (
            Rejected("power off", saw="witness-1 has no credentials of a cloud"),
            "witness-1 has no credentials of a cloud",
        ),
        (CredentialsRefused("log in as dcctl", saw="Invalid login"), "Invalid login"),
        (
            ConfigurationError((Problem("clouds.yaml", 0, 0, "east: there is no cloud east"),)),
            "clouds.yaml: east: there is no cloud east",
        ),
    ],
)
def test_a_failover_goes_on_without_a_power_off_whatever_kept_from_it(error: DcctlError, told: str) -> None:
    world = TwoSites()
    world.pass_time(100)
    world.cut("east")
    world.pass_time(16)
    world.no_power = error
    moved, _events = world.perform(partial(failover, "east"))
    assert moved.fences[0] == f"no machine was powered off: {told}"
    assert "none there can acknowledge a write" in moved.fences[1]
