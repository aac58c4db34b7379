"""What the vSphere adapter does beyond the contract: sessions, limits, placement, high availability."""

import contextlib
import dataclasses
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyVim.task import WaitForTask
from pyVmomi import vim
from vcenter_world import (
    PASSWORD,
    StandIn,
    Vcenter,
    World,
    clone,
    find,
    find_all,
    on_loopback,
    vcenter_loopback,
    vcenter_program,
    vcenter_running,
    vcenter_runtime,
    vcenter_session,
    wait_until,
)

from dcctl.adapters.vmware import Limits, VMwareMachines, specs
from dcctl.domain.machine import Power
from dcctl.errors import CredentialsRefused, NotFound, Refused, Rejected, TimedOut, Unreachable

program = vcenter_program
loopback, vcenter, runtime, si = vcenter_loopback, vcenter_running, vcenter_runtime, vcenter_session


@pytest.fixture
def world(vcenter: Vcenter) -> Iterator[World]:
    with VMwareMachines(vcenter.site()) as machines:
        yield World(vcenter, machines)


def sessions(si: vim.ServiceInstance) -> int:
    """How many sessions there are besides the one that asks."""
    return len(si.RetrieveContent().sessionManager.sessionList) - 1


# Sessions and limits


def test_closing_leaves_no_session(world: World, si: vim.ServiceInstance) -> None:
    world.machines.observe_servers()
    assert sessions(si) == 1
    assert isinstance(world.machines, VMwareMachines)
    world.machines.close()
    assert sessions(si) == 0


def test_an_expired_session_is_renewed_without_a_word(world: World, si: vim.ServiceInstance) -> None:
    world.machines.ensure_server(world.spec("one"))
    manager = si.RetrieveContent().sessionManager
    keys = [each.key for each in manager.sessionList if each.key != manager.currentSession.key]
    manager.TerminateSession(sessionId=keys)
    assert world.machines.ensure_power("one", Power.OFF).power is Power.OFF
    assert sessions(si) == 1


def test_threads_share_one_session(world: World, si: vim.ServiceInstance) -> None:
    names = [f"machine-{number}" for number in range(4)]
    threads = [
        threading.Thread(
            target=world.machines.ensure_server, args=[world.spec(name, address=f"198.18.2.5{number}")]
        )
        for number, name in enumerate(names)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(s.name, s.power) for s in world.machines.observe_servers()] == [(n, Power.ON) for n in names]
    assert sessions(si) == 1


def test_a_refused_password_is_tried_once(program: Path, tmp_path: Path) -> None:
    """vCenter locks accounts after a few failures; a loop of ours must not do that."""
    with on_loopback(program, tmp_path) as (vcenter, _runtime):
        machines = VMwareMachines(vcenter.site(password="wrong"))
        with pytest.raises(CredentialsRefused, match=r"dcctl@lab\.local on west"):
            machines.observe_servers()
    with pytest.raises(CredentialsRefused):  # and not Unreachable: nothing was sent
        machines.observe_servers()


def test_the_password_is_in_no_error_and_no_representation(vcenter: Vcenter) -> None:
    assert PASSWORD not in repr(vcenter.site())
    with pytest.raises(CredentialsRefused) as caught:
        VMwareMachines(vcenter.site(password="very-secret")).observe_servers()
    assert "very-secret" not in str(caught.value) + repr(caught.value)


def test_tls_is_verified(vcenter: Vcenter) -> None:
    with pytest.raises(Unreachable, match="no trusted TLS connection: self-signed certificate"):
        VMwareMachines(vcenter.site(ca_file="")).observe_servers()


def test_tls_is_not_verified_when_told_so(vcenter: Vcenter) -> None:
    with VMwareMachines(vcenter.site(ca_file="", verify_tls=False)) as machines:
        assert machines.observe_servers() == ()


def test_a_missing_authority_is_named(vcenter: Vcenter, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"nowhere\.pem: No such file"):
        VMwareMachines(vcenter.site(ca_file=str(tmp_path / "nowhere.pem"))).observe_servers()


def test_what_accepts_and_says_nothing_is_given_up_on(vcenter: Vcenter) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"https://127.0.0.1:{silent.getsockname()[1]}"
        machines = VMwareMachines(vcenter.site(endpoint=endpoint, limits=Limits(connect_s=0.3)))
        began = time.monotonic()
        with pytest.raises(Unreachable, match=r"no connection within 0.3 s"):
            machines.observe_servers()
        assert time.monotonic() - began < 2


def test_what_is_no_vcenter_is_said_to_be_none(vcenter: Vcenter) -> None:
    with pytest.raises(Unreachable, match="no vCenter: 404"):
        VMwareMachines(vcenter.site(endpoint=vcenter.endpoint + "/elsewhere")).observe_servers()


def test_a_task_that_does_not_end_is_given_up_on(vcenter: Vcenter, world: World, runtime: StandIn) -> None:
    world.machines.ensure_server(world.spec("one"))
    limits = dataclasses.replace(vcenter.site().limits, task_s=0.3)
    with VMwareMachines(vcenter.site(limits=limits)) as hasty, runtime.slow("halt"):
        with pytest.raises(TimedOut, match=r"one at west: not done after 0\.3 s"):
            hasty.ensure_power("one", Power.OFF)
        reading = hasty.observe_power("one")
        assert reading.task_pending
        assert reading.power is Power.ON


def test_a_failing_machine_is_reported_in_its_own_words(world: World, runtime: StandIn) -> None:
    with (
        runtime.failing("boot", "no room left"),
        pytest.raises(Rejected, match=r"start the server on one at west: .*no room left"),
    ):
        world.machines.ensure_server(world.spec("one"))
    assert world.machines.ensure_server(world.spec("one")).power is Power.ON
    assert runtime.calls().count("define") == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"datacenter": "nowhere"}, "find the datacenter nowhere on west"),
        ({"folder": "nothing"}, "find the folder west/vm/nothing on west"),
        ({"cluster": "none"}, "find the cluster west/host/none on west"),
    ],
)
def test_a_place_that_does_not_exist_is_named(vcenter: Vcenter, changes: dict[str, str], said: str) -> None:
    with (
        VMwareMachines(vcenter.site(**changes)) as machines,
        pytest.raises(NotFound, match=said),
    ):
        machines.observe_servers()


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"image": "debian-99"}, "no template debian-99"), ({"network": "nets"}, "find the network nets")],
)
def test_a_part_that_does_not_exist_is_named(world: World, changes: dict[str, str], said: str) -> None:
    with pytest.raises(NotFound, match=said):
        world.machines.ensure_server(world.spec("one", **changes))
    assert world.machines.observe_servers() == ()


# Making


def test_a_machine_is_on_the_configured_network(world: World, si: vim.ServiceInstance) -> None:
    world.machines.ensure_server(world.spec("one"))
    assert [network.name for network in find(si, "one").network] == ["dcctl"]


def test_a_standard_network_will_do_too(world: World, si: vim.ServiceInstance) -> None:
    world.machines.ensure_server(world.spec("one", network="VM Network"))
    assert [network.name for network in find(si, "one").network] == ["VM Network"]


def test_machines_spread_over_the_hosts(world: World) -> None:
    hosts = {
        world.machines.ensure_server(world.spec(name, address=address)).hypervisor
        for name, address in (("a", "198.18.2.51"), ("b", "198.18.2.52"), ("c", "198.18.2.53"))
    }
    assert hosts == {"west-hv-1", "west-hv-2", "west-hv-3"}


def test_without_a_usable_host_every_host_says_why(
    vcenter: Vcenter, world: World, si: vim.ServiceInstance
) -> None:
    hosts = find_all(si, vim.HostSystem)
    for host in hosts[1:]:
        WaitForTask(host.EnterMaintenanceMode_Task(timeout=10, evacuatePoweredOffVms=True))
    with vcenter.lose(hosts[0].name), pytest.raises(Refused) as caught:
        world.machines.ensure_server(world.spec("one"))
    assert caught.value.reasons == (
        "west-hv-1 is notResponding",
        "west-hv-2 is maintenance",
        "west-hv-3 is maintenance",
    )


def test_a_template_is_never_taken_for_a_machine(world: World) -> None:
    assert world.machines.observe_servers() == ()
    with pytest.raises(Refused, match="template"):
        world.machines.delete_server("debian-12")


def test_killed_anywhere_and_run_again_there_is_one_machine(
    vcenter: Vcenter, world: World, runtime: StandIn
) -> None:
    """The runtime holds the last step back, so that a kill can hit every one before it."""
    spec = world.spec("one")
    for patience_s in (0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7):
        with runtime.slow("boot"):
            maker = subprocess.Popen([sys.executable, "-c", MAKE, repr_site(vcenter), repr(spec.name)])
            with contextlib.suppress(subprocess.TimeoutExpired):
                maker.wait(patience_s)
            maker.kill()
            maker.wait()
        server = world.machines.ensure_server(spec)
        assert server.power is Power.ON
        assert [s.name for s in world.machines.observe_servers()] == ["one"]
        assert runtime.state("one") == "running"
        world.machines.delete_server("one")
        assert runtime.machines() == {}


MAKE = """
import sys
sys.path.insert(0, "tests/clouds")
from pathlib import Path
from vcenter_world import Vcenter, VMwareMachines, World
vcenter = eval(sys.argv[1])
machines = VMwareMachines(vcenter.site())
machines.ensure_server(World(vcenter, machines).spec(eval(sys.argv[2])))
"""


def repr_site(vcenter: Vcenter) -> str:
    ca, lost = str(vcenter.ca_file), str(vcenter.lost)
    return f"Vcenter({vcenter.endpoint!r}, {vcenter.password!r}, Path({ca!r}), Path({lost!r}))"


def test_a_task_of_somebody_else_is_waited_for(
    world: World, si: vim.ServiceInstance, runtime: StandIn
) -> None:
    world.machines.ensure_server(world.spec("one"))
    with runtime.slow("halt"):
        find(si, "one").PowerOffVM_Task()
        deleting = threading.Thread(target=world.machines.delete_server, args=["one"])
        deleting.start()
        wait_until(lambda: sessions(si) == 1)
    deleting.join()
    assert world.machines.observe_servers() == ()
    assert runtime.calls() == ["define", "boot", "halt", "delete"]


# High availability


def restart_priorities(si: vim.ServiceInstance) -> dict[str, str]:
    (cluster,) = find_all(si, vim.ClusterComputeResource)
    known = {each._moId: each.name for each in find_all(si, vim.VirtualMachine)}
    return {
        known[each.key._moId]: each.dasSettings.restartPriority
        for each in cluster.configurationEx.dasVmConfig
        if each.key._moId in known
    }


def test_a_fenced_machine_is_out_of_high_availability_until_it_is_started(
    world: World, si: vim.ServiceInstance
) -> None:
    world.machines.ensure_server(world.spec("one"))
    assert world.machines.observe_power("one").automatic_restart is True
    assert world.machines.ensure_power("one", Power.OFF).automatic_restart is False
    assert restart_priorities(si) == {"one": "disabled"}
    assert world.machines.ensure_power("one", Power.ON).automatic_restart is True
    assert restart_priorities(si) == {}


def test_a_machine_that_could_not_be_put_off_keeps_its_restart(
    world: World, vcenter: Vcenter, si: vim.ServiceInstance
) -> None:
    server = world.machines.ensure_server(world.spec("one"))
    with vcenter.lose(server.hypervisor):
        wait_until(lambda: world.machines.observe_power("one").power is Power.UNKNOWN)
        with pytest.raises(Rejected, match="Unable to communicate"):
            world.machines.ensure_power("one", Power.OFF)
        assert restart_priorities(si) == {}
    assert world.machines.observe_power("one").automatic_restart is True


def test_what_an_operator_had_set_comes_back(world: World, si: vim.ServiceInstance) -> None:
    world.machines.ensure_server(world.spec("one"))
    (cluster,) = find_all(si, vim.ClusterComputeResource)
    change = specs.restart_override(find(si, "one"), "high", exists=False)
    WaitForTask(cluster.ReconfigureComputeResource_Task(spec=change, modify=True))
    world.machines.ensure_power("one", Power.OFF)
    world.machines.ensure_power("one", Power.OFF)
    assert restart_priorities(si) == {"one": "disabled"}
    world.machines.ensure_server(world.spec("one"))
    assert restart_priorities(si) == {"one": "high"}


# Others


def test_an_independent_client_and_the_adapter_see_the_same(
    world: World, si: vim.ServiceInstance, runtime: StandIn
) -> None:
    ours = world.machines.ensure_server(world.spec("one"))
    theirs = find(si, "one")
    assert theirs.config.instanceUuid == ours.id
    assert theirs.guest.ipAddress == ours.address
    assert theirs.guest.hostName == "one"
    assert theirs.runtime.host.name == ours.hypervisor
    assert (theirs.summary.config.numCpu, theirs.summary.config.memorySizeMB) == (2, 512)
    WaitForTask(theirs.PowerOffVM_Task())
    assert runtime.state("one") == "off"
    (seen,) = world.machines.observe_servers()
    assert seen.power is Power.OFF
    assert seen.status == "poweredOff"
    assert world.machines.observe_power("one").power is Power.OFF


def test_a_machine_that_vcenter_lost_is_not_said_to_run(vcenter: Vcenter, world: World) -> None:
    server = world.machines.ensure_server(world.spec("one"))
    with vcenter.lose(server.hypervisor):
        (lost,) = world.machines.observe_servers()
        assert lost.power is Power.UNKNOWN
        assert lost.status == "poweredOn, disconnected"
        with pytest.raises(Rejected, match=r"one at west: .*HostNotConnected"):
            world.machines.ensure_power("one", Power.OFF)


def test_a_foreign_clone_under_way_is_not_ours(world: World, si: vim.ServiceInstance) -> None:
    clone(si, "one")
    with pytest.raises(Refused, match="it bears no mark of contract"):
        world.machines.ensure_server(world.spec("one"))
