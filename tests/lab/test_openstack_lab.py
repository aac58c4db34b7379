"""A server of the lab's Nova is a machine that one can log in to, and both change together."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from guests import BOOT_LIMIT_S, Guest, eventually
from guests import inside as inside_namespace

from dcctl.adapters.openstack import Limits, OpenStackMachines, OpenStackSite
from dcctl.domain.machine import Power, Server, ServerSpec, Size, decide_power_off_proven
from dcctl.errors import Unreachable
from dcctl.lab import cgroup, machine, network, openstack, operator
from dcctl.lab.paths import OPERATOR_NAMESPACE
from dcctl.network_namespace import enter

pytestmark = pytest.mark.lab

NAME = "east-openstack-1"
ADDRESS = "198.18.1.95"
ENVIRONMENT = "openstack-test"
DEATH_IS_SEEN_WITHIN_S = 20.0
DARK_IS_SEEN_WITHIN_S = 5.0

Inside = Callable[[Callable[[], Any]], Any]


@pytest.fixture(scope="module")
def inside(lab: object) -> Iterator[Inside]:
    """Calls a function where the operator is: in a thread that has joined that network."""
    with ThreadPoolExecutor(1, initializer=enter, initargs=(OPERATOR_NAMESPACE,)) as thread:
        yield lambda function: thread.submit(function).result(timeout=120)


@pytest.fixture(scope="module")
def machines(inside: Inside) -> Iterator[OpenStackMachines]:
    adapter = new_adapter()
    try:
        yield adapter
    finally:
        inside(lambda: adapter.delete_server(NAME))
        inside(adapter.close)


def new_adapter() -> OpenStackMachines:
    return OpenStackMachines(
        OpenStackSite(
            site="east",
            environment=ENVIRONMENT,
            network="dcctl",
            cloud="east",
            clouds_file=str(openstack.CLOUDS),
            limits=Limits(task_s=60, create_s=60),
        )
    )


@pytest.fixture(scope="module")
def host_key() -> tuple[str, str]:
    return operator.new_key("test")


@pytest.fixture
def server(inside: Inside, machines: OpenStackMachines, host_key: tuple[str, str]) -> Server:
    private, public = host_key
    indented = "".join(f"    {line}\n" for line in private.splitlines())
    key = operator.PUBLIC_KEY.read_text().strip()
    user = (
        f"{{name: dcctl, shell: /bin/bash, sudo: 'ALL=(ALL) NOPASSWD:ALL', ssh_authorized_keys: ['{key}']}}"
    )
    spec = ServerSpec(
        name=NAME,
        environment=ENVIRONMENT,
        site="east",
        group="openstack",
        roles=(),
        size=Size(vcpus=1, memory_bytes=768 * 2**20, disk_bytes=4 * 2**30),
        flavour="dcctl.small",
        image="debian-12",
        network="dcctl",
        address=ADDRESS,
        authorized_keys=(key,),
        host_key=" ".join(public.split()[:2]),
        user_data=f"#cloud-config\nusers: [{user}]\nssh_keys:\n  ed25519_private: |\n{indented}"
        f"  ed25519_public: {public}\n",
    )
    server: Server = inside(lambda: machines.ensure_server(spec))
    return server


@pytest.fixture
def guest(server: Server) -> Guest:
    guest = Guest(machine.read(server.id))
    assert eventually(guest.is_answering, limit_s=BOOT_LIMIT_S)
    return guest


def test_it_is_the_machine_that_was_ordered(server: Server, guest: Guest) -> None:
    assert guest.run("hostname") == NAME
    assert f"{ADDRESS}/24" in guest.run("ip -brief address show eth0")
    assert server.host_key in guest.run("sudo cat /etc/ssh/ssh_host_ed25519_key.pub")
    assert machine.show(server.id)["memory_mb"] == 768


def test_the_openstack_command_stops_it_and_the_adapter_sees_it(
    inside: Inside, machines: OpenStackMachines, server: Server, guest: Guest
) -> None:
    listed = {each["ID"]: each for each in json.loads(openstack_command("server", "list", "-f", "json"))}
    assert listed[server.id]["Status"] == "ACTIVE"
    openstack_command("server", "stop", server.id)
    assert eventually(lambda: is_off(inside, machines), limit_s=DEATH_IS_SEEN_WITHIN_S)
    assert machine.state(server.id) == "off"
    assert not guest.is_answering()
    openstack_command("server", "start", server.id)
    assert eventually(guest.is_answering, limit_s=BOOT_LIMIT_S)


def openstack_command(*words: str) -> str:
    """The independent client, as an operator types it."""
    program = Path(sys.executable).with_name("openstack")
    done = subprocess.run(
        inside_namespace(OPERATOR_NAMESPACE, str(program), *words),
        env={**os.environ, "OS_CLIENT_CONFIG_FILE": str(openstack.CLOUDS), "OS_CLOUD": "east"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def test_a_machine_that_died_shows_in_nova(
    inside: Inside, machines: OpenStackMachines, server: Server, guest: Guest
) -> None:
    cgroup.kill(server.id)
    assert eventually(lambda: is_off(inside, machines), limit_s=DEATH_IS_SEEN_WITHIN_S)


def test_a_guest_that_powers_off_shows_in_nova(
    inside: Inside, machines: OpenStackMachines, guest: Guest
) -> None:
    guest.run("sudo systemctl --no-block poweroff")
    assert eventually(lambda: is_off(inside, machines), limit_s=BOOT_LIMIT_S)


def test_a_fence_is_proven_and_fast(
    inside: Inside, machines: OpenStackMachines, server: Server, guest: Guest
) -> None:
    requested_at = inside(lambda: machines.observe_power(NAME)).read_at
    began = time.monotonic()
    reading = inside(lambda: machines.ensure_power(NAME, Power.OFF))
    assert decide_power_off_proven(reading, requested_at=requested_at) == ()
    assert machine.state(server.id) == "off"
    assert time.monotonic() - began < 10


def test_suspended_it_answers_nothing_and_goes_on_afterwards(
    inside: Inside, machines: OpenStackMachines, server: Server, guest: Guest
) -> None:
    with guest.ticking() as ticks:
        assert ticks.heard(within_s=10)
        inside(lambda: machines.ensure_power(NAME, Power.SUSPENDED))
        assert machine.state(server.id) == "suspended"
        assert not ticks.heard(within_s=1)
        inside(lambda: machines.ensure_power(NAME, Power.ON))
        assert ticks.heard(within_s=10)


def test_a_suspended_machine_is_put_off_without_a_moment_awake(
    inside: Inside, machines: OpenStackMachines, server: Server, guest: Guest
) -> None:
    guest.run("nohup sh -c 'while date +%s%N > /var/tmp/alive; do sleep 0.01; done' >/dev/null 2>&1 &")
    inside(lambda: machines.ensure_power(NAME, Power.SUSPENDED))
    alive = guest.spec.folder / "upper" / "var" / "tmp" / "alive"
    last = alive.read_text()
    inside(lambda: machines.ensure_power(NAME, Power.OFF))
    assert machine.state(server.id) == "off"
    assert alive.read_text() == last


def test_it_runs_on_while_it_is_moved(
    inside: Inside, machines: OpenStackMachines, server: Server, guest: Guest
) -> None:
    hosts = inside(machines.observe_hypervisors)
    target = next(host.name for host in hosts if host.name != server.hypervisor)
    init = machine.init_of(server.id)
    with guest.ticking() as ticks:
        assert ticks.heard(within_s=10)
        assert inside(lambda: machines.move_server(NAME, target)).hypervisor == target
        assert ticks.heard(within_s=10)
    assert machine.init_of(server.id) == init


def test_it_runs_on_while_the_control_plane_is_killed_and_comes_back(
    inside: Inside, machines: OpenStackMachines, server: Server, guest: Guest
) -> None:
    with guest.ticking() as ticks:
        openstack.stop()
        try:
            assert openstack.observe() == "off"
            assert ticks.heard(within_s=10)
            with pytest.raises(Unreachable):
                inside(machines.observe_servers)
        finally:
            openstack.start(print)
            openstack.wait_ready(60)
        with contextlib.closing(new_adapter()) as fresh:
            assert inside(lambda: fresh.observe_power(NAME)).power is Power.ON
        assert inside(lambda: machines.observe_power(NAME)).power is Power.ON
        assert ticks.heard(within_s=10)


def test_a_dark_site_is_noticed_soon_on_an_open_connection_and_on_a_new_one(
    inside: Inside, machines: OpenStackMachines, server: Server
) -> None:
    try:
        network.cut("east", other="outside", for_s=20)
        for connection, adapter in (("open", machines), ("new", new_adapter())):
            began = time.monotonic()
            with pytest.raises(Unreachable, match="east"):
                inside(adapter.observe_servers)
            assert time.monotonic() - began < DARK_IS_SEEN_WITHIN_S, connection
            inside(adapter.close)
    finally:
        network.heal("east")
    assert inside(lambda: machines.observe_power(NAME)).power is Power.ON


def test_deleted_it_is_gone(inside: Inside, machines: OpenStackMachines, server: Server) -> None:
    inside(lambda: machines.delete_server(NAME))
    assert server.id not in machine.ids()
    assert NAME not in [each.name for each in inside(machines.observe_servers)]


def is_off(inside: Inside, machines: OpenStackMachines) -> bool:
    return bool(inside(lambda: machines.observe_power(NAME)).power is Power.OFF)
