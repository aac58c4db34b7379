"""Cuts: what they drop, what they leave, and that they end."""

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from guests import Guest, eventually, inside

from dcctl.lab import network

pytestmark = pytest.mark.lab

NAMESPACE = {"east": "dcctl-east-api", "west": "dcctl-west-api", "outside": "dcctl-operator"}
ADDRESS = {"east": "198.18.1.5", "west": "198.18.2.5", "outside": "198.18.9.2"}

LISTEN = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 9999))
s.settimeout(float(sys.argv[2]))
print("ready", flush=True)
s.recv(10)
"""
SEND = (
    "import socket, sys; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', (sys.argv[1], 9999))"
)


@pytest.fixture(autouse=True)
def healed(substrate: object) -> Iterator[None]:
    network.heal()
    yield
    network.heal()


def hears(target: str, source: str, *, within_s: float = 0.5) -> bool:
    """Whether one datagram from ``source`` arrives at ``target``: one direction, no answer needed."""
    listen = inside(NAMESPACE[target], sys.executable, "-c", LISTEN, ADDRESS[target], str(within_s))
    with subprocess.Popen(listen, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as listener:
        assert listener.stdout is not None
        listener.stdout.readline()
        send = inside(NAMESPACE[source], sys.executable, "-c", SEND, ADDRESS[target])
        subprocess.run(send, check=True, capture_output=True, timeout=10)
        return listener.wait(timeout=10) == 0


def test_every_place_hears_every_other(substrate: object) -> None:
    assert all(hears(target, source) for target in NAMESPACE for source in NAMESPACE if source != target)


def test_a_cut_place_neither_sends_nor_receives_and_the_others_go_on(substrate: object) -> None:
    network.cut("east", for_s=60)
    assert not hears("outside", "east")
    assert not hears("east", "outside")
    assert not hears("west", "east")
    assert hears("outside", "west")


def test_inside_a_cut_place_traffic_goes_on(guest: Callable[..., Guest]) -> None:
    machine = guest()
    machine.boot()
    network.cut("east", for_s=60)
    connect = f"import socket; print(socket.create_connection(('{machine.address}', 22), 2).recv(4))"
    done = subprocess.run(
        inside(NAMESPACE["east"], sys.executable, "-c", connect),
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )
    assert done.stdout.strip() == "b'SSH-'"


def test_a_cut_one_way_drops_only_what_the_place_sends(substrate: object) -> None:
    network.cut("east", one_way=True, for_s=60)
    assert not hears("outside", "east")
    assert hears("east", "outside")


def test_a_cut_between_two_places_leaves_the_third_reachable(substrate: object) -> None:
    network.cut("east", other="west", for_s=60)
    assert not hears("west", "east")
    assert not hears("east", "west")
    assert hears("outside", "east")
    assert hears("outside", "west")


def test_a_cut_stops_established_connections_and_they_survive_a_short_one(
    guest: Callable[..., Guest],
) -> None:
    machine = guest()
    machine.boot()
    with machine.ticking() as ticks:
        assert ticks.heard(within_s=2)
        network.cut("east", for_s=60)
        assert not ticks.heard(within_s=1)
        network.heal("east")
        assert ticks.heard(within_s=5)


def test_a_cut_heals_by_itself(substrate: object) -> None:
    network.cut("east", for_s=1)
    assert not hears("outside", "east")
    assert eventually(lambda: not network.observe_cuts(), limit_s=5)
    assert hears("outside", "east")


def test_a_cut_again_gets_the_new_time(substrate: object) -> None:
    network.cut("east", other="west", one_way=True, for_s=600)
    network.cut("east", other="west", one_way=True, for_s=1)
    assert eventually(lambda: not network.observe_cuts(), limit_s=5)


def test_what_is_cut_is_shown_with_the_time_left(substrate: object) -> None:
    network.cut("west", other="outside", for_s=60)
    cuts = network.observe_cuts()
    assert [(cut.source, cut.target) for cut in cuts] == [("outside", "west"), ("west", "outside")]
    assert all(50 <= cut.heals_in_s <= 60 for cut in cuts)


def test_healing_a_place_leaves_other_cuts(substrate: object) -> None:
    network.cut("east", other="outside", one_way=True, for_s=60)
    network.cut("west", other="outside", one_way=True, for_s=60)
    network.heal("east")
    assert [(cut.source, cut.target) for cut in network.observe_cuts()] == [("west", "outside")]
    network.heal()
    assert network.observe_cuts() == ()


def test_healing_what_is_not_cut_is_done(substrate: object) -> None:
    network.heal("east")
    network.cut("east", one_way=True, for_s=60)
    network.heal("east")
    network.heal("east")
    assert network.observe_cuts() == ()


def test_a_gateway_answers_only_its_own_network(substrate: object) -> None:
    """Else a cut site could still see another through the router's own addresses."""
    connect = (
        "import socket, sys; s = socket.socket(); s.settimeout(0.5); print(s.connect_ex((sys.argv[1], 1)))"
    )

    def outcome(address: str) -> str:
        argv = inside(NAMESPACE["east"], sys.executable, "-c", connect, address)
        return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    assert outcome("198.18.1.1") == "111"  # ECONNREFUSED: it is there
    assert outcome("198.18.2.1") == "11"  # EAGAIN: the time ran out
