"""Whether one site can carry what both carry: every branch of the decision."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from dcctl.domain.capacity import (
    MIB,
    Capacity,
    Figures,
    Fit,
    Group,
    Reading,
    Traffic,
    decide_capacity,
    decide_placed,
)
from dcctl.domain.machine import Hypervisor, Power, Server, Size

AT = datetime(2026, 11, 21, 3, tzinfo=UTC)
SMALL = Size(1, 768 * MIB, 4 * 1024 * MIB)
APP = Group(
    "app",
    SMALL,
    {"east": ("east-app-1",), "west": ("west-app-1",)},
    carries_per_s=100,
    peak_per_s={"east": 30, "west": 40},
)


def server(name: str, *, power: Power = Power.ON, hypervisor: str = "host-1") -> Server:
    return Server("id", name, "west", "lab", power, "", hypervisor, "192.0.2.1", SMALL, "")


def host(name: str = "host-1", *, vcpus: int = 4, mib: int = 4096, usable: bool = True) -> Hypervisor:
    return Hypervisor(name, "west", usable, "", vcpus, 0, mib * MIB, 0, 0, 0)


def figures(**changed: Any) -> Figures:
    base = Figures(
        lost="east",
        survivor="west",
        groups=(APP,),
        servers=Reading((server("west-app-1"),), "west's cloud", AT),
        hypervisors=Reading((host(),), "west's cloud", AT),
        traffic={},
        headroom=0.2,
    )
    return replace(base, **changed)


def measured(**by_group: Traffic) -> Reading[Mapping[str, Traffic]]:
    return Reading(by_group, "an edge", AT)


def decide(**changed: Any) -> Capacity:
    return decide_capacity(figures(**changed))


def test_the_sum_is_held_against_what_runs_less_the_headroom() -> None:
    decided = decide()
    line = decided.lines[0]
    assert (decided.fit, line.needed, line.available, decided.reasons) == (Fit.FITS, 70, 80, ())


def test_the_headroom_alone_can_make_it_short() -> None:
    decided = decide(headroom=0.4)
    assert (decided.fit, dict(decided.add)) == (Fit.SHORT, {"app": 1})
    assert decided.reasons == ("west: app requests/s: 70 needed, 60 there: 10.0/s too few",)


def test_room_for_what_must_be_added_does_not_make_it_fit() -> None:
    decided = decide(headroom=0.4)
    room = decided.lines[-1]
    assert (room.resource, room.fit, room.needed, room.available) == ("machines to add", Fit.FITS, 1, 1)
    assert decided.fit is Fit.SHORT


def test_no_room_for_what_must_be_added_is_said() -> None:
    decided = decide(headroom=0.4, hypervisors=Reading((host(mib=512),), "west's cloud", AT))
    assert decided.lines[-1].fit is Fit.SHORT
    assert "the largest free slot is 4 vCPUs and 512 MiB on host-1" in decided.lines[-1].sources[0].source


def test_a_measured_rate_above_the_declared_one_counts() -> None:
    decided = decide(
        traffic={"east": measured(app=Traffic(50, 60, 3)), "west": measured(app=Traffic(40, 40, 1))}
    )
    assert (decided.lines[0].needed, decided.fit) == (90, Fit.SHORT)
    assert decided.notes == (
        "app at east was asked 60/s at its busiest since its edges started; 30/s are declared",
    )


def test_what_a_site_out_of_rotation_would_ask_for_is_not_counted_twice() -> None:
    decided = decide(
        traffic={"east": measured(app=Traffic(0, 60, 0)), "west": measured(app=Traffic(69, 69, 1))}
    )
    assert (decided.lines[0].needed, decided.fit) == (70, Fit.FITS)


def test_what_was_last_seen_of_a_dark_site_does_not_stand_against_its_declaration() -> None:
    old = Reading({"app": Traffic(500, 500, 1)}, "edges at east", AT, "east-edge-1 is dark")
    assert decide(traffic={"east": old}).lines[0].needed == 70


def test_without_a_declaration_the_measurement_is_the_demand() -> None:
    undeclared = replace(APP, peak_per_s=None)
    decided = decide(
        groups=(undeclared,),
        traffic={"east": measured(app=Traffic(5, 9, 3)), "west": measured(app=Traffic(7, 9, 1))},
    )
    assert (decided.lines[0].needed, decided.fit) == (12, Fit.FITS)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"groups": (replace(APP, carries_per_s=None),)}, "what one machine carries is not declared"),
        ({"groups": (replace(APP, peak_per_s={"west": 1}),)}, "east declares no demand"),
        (
            {
                "groups": (replace(APP, peak_per_s={"west": 1}),),
                "traffic": {"east": Reading(None, "edges", reason="east-edge-1 is dark")},
            },
            "east-edge-1 is dark",
        ),
        ({"servers": Reading(None, "west's cloud", reason="timed out")}, "timed out"),
        ({"servers": Reading((server("west-app-1"),), "cloud", AT, "it is dark now")}, "it is dark now"),
        ({"groups": ()}, ""),
    ],
)
def test_what_is_not_known_is_never_yes(changed: dict[str, Any], why: str) -> None:
    decided = decide(**changed)
    assert decided.fit is Fit.UNKNOWN
    assert why in "; ".join(decided.reasons)


@pytest.mark.parametrize(
    "servers",
    [
        (),
        (server("west-app-1", power=Power.OFF),),
        (server("west-app-1", power=Power.UNKNOWN),),
        (server("west-app-1", hypervisor="host-2"),),
        (server("other"),),
    ],
)
def test_only_a_machine_that_runs_on_a_usable_host_carries_anything(servers: tuple[Server, ...]) -> None:
    hosts = Reading((host(), host("host-2", usable=False)), "west's cloud", AT)
    decided = decide(servers=Reading(servers, "west's cloud", AT), hypervisors=hosts)
    assert (decided.lines[0].available, decided.fit) == (0, Fit.SHORT)


def test_room_is_not_asked_for_when_nothing_must_be_added() -> None:
    assert decide(hypervisors=Reading(None, "west's cloud", reason="forbidden")).fits


def test_unknown_room_for_what_must_be_added_is_said() -> None:
    decided = decide(headroom=0.4, hypervisors=Reading(None, "west's cloud", reason="forbidden"))
    assert (decided.fit, decided.lines[-1].fit) == (Fit.SHORT, Fit.UNKNOWN)
    assert "forbidden" in decided.reasons[-1]


def test_a_group_of_the_lost_site_alone_has_no_machine_to_take_it() -> None:
    alone = replace(APP, machines={"east": ("east-app-1",)})
    assert decide(groups=(alone,)).fit is Fit.SHORT


def test_a_group_of_the_survivor_alone_carries_its_own() -> None:
    alone = replace(APP, machines={"west": ("west-app-1",)}, peak_per_s={"west": 40})
    assert decide(groups=(alone,)).lines[0].needed == 40


@pytest.mark.parametrize(("limit", "fit"), [(100, Fit.FITS), (80, Fit.SHORT)])
def test_sessions_are_held_against_their_limit(limit: int, fit: Fit) -> None:
    decided = decide(
        traffic={"east": measured(app=Traffic(1, 1, 30)), "west": measured(app=Traffic(1, 1, 40, limit))}
    )
    assert decided.lines[-1].resource == "sessions"
    assert (decided.lines[-1].needed, decided.fit) == (70, fit)


def test_figures_last_seen_keep_their_age_and_why_there_are_no_newer_ones() -> None:
    old = Reading({"app": Traffic(50, 50, 1)}, "edges at east", AT, "east-edge-1 is dark")
    undeclared = replace(APP, peak_per_s={"west": 1})
    demand = decide(groups=(undeclared,), traffic={"east": old}).lines[0].sources[1]
    assert (demand.value, demand.at, demand.reason) == (50, AT, "east-edge-1 is dark")


@pytest.mark.parametrize(
    ("wanted", "hosts", "placed"),
    [
        ([SMALL] * 2, [host(mib=1600)], 2),
        ([SMALL] * 3, [host(mib=1600)], 2),
        # The sum of what is free would do, no single host does.
        ([SMALL], [host(mib=512), host("host-2", mib=512)], 0),
        ([SMALL], [host(vcpus=0)], 0),
        ([SMALL], [host(usable=False)], 0),
        ([SMALL, replace(SMALL, memory_bytes=2048 * MIB)], [host(mib=800), host("host-2", mib=2048)], 2),
    ],
)
def test_each_machine_needs_one_host(
    wanted: Sequence[Size], hosts: Sequence[Hypervisor], placed: int
) -> None:
    assert decide_placed(wanted, hosts) == placed


def test_a_hosts_own_reservation_and_its_machines_are_not_free() -> None:
    busy = replace(host(mib=2048), memory_reserved_bytes=512 * MIB, memory_used_bytes=1024 * MIB)
    assert decide_placed([SMALL], [busy]) == 0
