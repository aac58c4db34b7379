"""A virtual machine of the lab's vCenter is a machine that one can log in to, and both change together."""

import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from guests import BOOT_LIMIT_S, Guest, eventually
from pyVim.connect import SmartStubAdapter
from pyVim.task import WaitForTask
from pyVmomi import vim
from vcenter_world import USERNAME, find

from dcctl.adapters.vmware import VMwareMachines, VMwareSite
from dcctl.domain.machine import Power, Server, ServerSpec, Size, decide_power_off_proven
from dcctl.errors import Unreachable
from dcctl.lab import cgroup, machine, network, operator
from dcctl.lab.certificate import AUTHORITY
from dcctl.lab.paths import OPERATOR_NAMESPACE
from dcctl.lab.vcenter import PASSWORD
from dcctl.network_namespace import enter

pytestmark = pytest.mark.lab

NAME = "west-vmware-1"
OFF_IS_SEEN_WITHIN_S = 5.0
DARK_IS_SEEN_WITHIN_S = 5.0

Inside = Callable[[Callable[[], Any]], Any]


@pytest.fixture(scope="module")
def inside(lab: object) -> Iterator[Inside]:
    """Calls a function where the operator is: in a thread that has joined that network."""
    with ThreadPoolExecutor(1, initializer=enter, initargs=(OPERATOR_NAMESPACE,)) as thread:
        yield lambda function: thread.submit(function).result(timeout=60)


@pytest.fixture(scope="module")
def machines(inside: Inside) -> Iterator[VMwareMachines]:
    adapter = VMwareMachines(
        VMwareSite(
            site="west",
            environment="vmware-test",
            endpoint="https://198.18.2.5:443",
            username=USERNAME,
            password=PASSWORD.read_text(),
            ca_file=str(AUTHORITY),
            datacenter="west",
            cluster="compute",
            folder="dcctl",
            cidr="198.18.2.0/24",
            gateway="198.18.2.1",
        )
    )
    try:
        yield adapter
    finally:
        inside(lambda: adapter.delete_server(NAME))
        inside(adapter.close)


@pytest.fixture(scope="module")
def si(inside: Inside) -> Iterator[vim.ServiceInstance]:
    """Somebody else's session."""

    def log_in() -> Any:
        context = ssl.create_default_context(cafile=str(AUTHORITY))
        stub = SmartStubAdapter(host="198.18.2.5", port=443, sslContext=context)
        service = vim.ServiceInstance("ServiceInstance", stub)
        service.content.sessionManager.Login(USERNAME, PASSWORD.read_text())
        return service

    service = inside(log_in)
    yield service
    inside(service.content.sessionManager.Logout)
    service._stub.DropConnections()


@pytest.fixture(scope="module")
def host_key() -> tuple[str, str]:
    return operator.new_key("test")


@pytest.fixture
def server(inside: Inside, machines: VMwareMachines, host_key: tuple[str, str]) -> Server:
    private, public = host_key
    indented = "".join(f"    {line}\n" for line in private.splitlines())
    key = operator.PUBLIC_KEY.read_text().strip()
    user = (
        f"{{name: dcctl, shell: /bin/bash, sudo: 'ALL=(ALL) NOPASSWD:ALL', ssh_authorized_keys: ['{key}']}}"
    )
    spec = ServerSpec(
        name=NAME,
        environment="vmware-test",
        site="west",
        group="vmware",
        roles=(),
        size=Size(vcpus=1, memory_bytes=512 * 2**20, disk_bytes=2 * 2**30),
        flavour="",
        image="debian-12",
        network="dcctl",
        address="198.18.2.95",
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
    assert "198.18.2.95/24" in guest.run("ip -brief address show eth0")
    assert server.host_key in guest.run("sudo cat /etc/ssh/ssh_host_ed25519_key.pub")
    assert machine.show(server.id)["memory_mb"] == 512


def test_a_plain_client_s_power_off_stops_it_and_the_adapter_sees_it(
    inside: Inside, machines: VMwareMachines, si: vim.ServiceInstance, server: Server, guest: Guest
) -> None:
    theirs = inside(lambda: find(si, NAME))
    assert inside(lambda: theirs.config.instanceUuid) == server.id
    inside(lambda: WaitForTask(theirs.PowerOffVM_Task()))
    assert machine.state(server.id) == "off"
    assert not guest.is_answering()
    assert inside(lambda: machines.observe_power(NAME)).power is Power.OFF
    inside(lambda: WaitForTask(theirs.PowerOnVM_Task()))
    assert eventually(guest.is_answering, limit_s=BOOT_LIMIT_S)


def test_a_machine_that_died_shows_in_vcenter(
    inside: Inside, machines: VMwareMachines, server: Server, guest: Guest
) -> None:
    cgroup.kill(server.id)
    assert eventually(lambda: is_off(inside, machines), limit_s=OFF_IS_SEEN_WITHIN_S)


def test_a_guest_that_powers_off_shows_in_vcenter(
    inside: Inside, machines: VMwareMachines, guest: Guest
) -> None:
    guest.run("sudo systemctl --no-block poweroff")
    assert eventually(lambda: is_off(inside, machines), limit_s=BOOT_LIMIT_S)


def test_a_fence_is_proven_and_fast(
    inside: Inside, machines: VMwareMachines, server: Server, guest: Guest
) -> None:
    began = time.monotonic()
    requested_at = inside(lambda: machines.observe_power(NAME)).read_at
    reading = inside(lambda: machines.ensure_power(NAME, Power.OFF))
    assert decide_power_off_proven(reading, requested_at=requested_at) == ()
    assert machine.state(server.id) == "off"
    assert time.monotonic() - began < 5


def test_suspended_it_answers_nothing_and_goes_on_afterwards(
    inside: Inside, machines: VMwareMachines, server: Server, guest: Guest
) -> None:
    with guest.ticking() as ticks:
        assert ticks.heard(within_s=10)
        inside(lambda: machines.ensure_power(NAME, Power.SUSPENDED))
        assert machine.state(server.id) == "suspended"
        assert not ticks.heard(within_s=1)
        inside(lambda: machines.ensure_power(NAME, Power.ON))
        assert ticks.heard(within_s=10)


def test_it_runs_on_while_it_is_moved(
    inside: Inside, machines: VMwareMachines, server: Server, guest: Guest
) -> None:
    hosts = inside(machines.observe_hypervisors)
    target = next(host.name for host in hosts if host.name != server.hypervisor)
    init = machine.init_of(server.id)
    with guest.ticking() as ticks:
        assert ticks.heard(within_s=10)
        assert inside(lambda: machines.move_server(NAME, target)).hypervisor == target
        assert ticks.heard(within_s=10)
    assert machine.init_of(server.id) == init


def test_a_dark_site_is_noticed_soon_on_an_open_connection_and_on_a_new_one(
    inside: Inside, machines: VMwareMachines, server: Server
) -> None:
    try:
        network.cut("west", other="outside", for_s=20)
        for connection in ("open", "new"):
            began = time.monotonic()
            with pytest.raises(Unreachable, match="west"):
                inside(machines.observe_servers)
            assert time.monotonic() - began < DARK_IS_SEEN_WITHIN_S, connection
    finally:
        network.heal("west")
    assert inside(lambda: machines.observe_power(NAME)).power is Power.ON


def test_deleted_it_is_gone(inside: Inside, machines: VMwareMachines, server: Server) -> None:
    inside(lambda: machines.delete_server(NAME))
    assert server.id not in machine.ids()
    assert NAME not in [each.name for each in inside(machines.observe_servers)]


def is_off(inside: Inside, machines: VMwareMachines) -> bool:
    return bool(inside(lambda: machines.observe_power(NAME)).power is Power.OFF)
