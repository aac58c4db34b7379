"""What a client does to a virtual machine happens to its machine, and the other way round.

Through plain pyVmomi, so that nothing of ours is between the client and vCenter.
"""

import base64
import contextlib
import gzip
from pathlib import Path
from typing import Any

import pytest
from pyVim.task import WaitForTask
from pyVmomi import vim, vmodl
from vcenter_world import (
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

from dcctl.adapters.vmware import VMwareMachines, specs

program = vcenter_program
loopback, vcenter, runtime, si = vcenter_loopback, vcenter_running, vcenter_runtime, vcenter_session

ON, OFF, SUSPENDED = "poweredOn", "poweredOff", "suspended"


@pytest.fixture
def machine(vcenter: Vcenter, si: vim.ServiceInstance) -> Any:
    """A customized clone that runs."""
    with contextlib.closing(VMwareMachines(vcenter.site())) as machines:
        World(vcenter, machines).make_foreign("one", owner=None)
    return find(si, "one")


def test_a_wrong_password_is_refused(vcenter: Vcenter) -> None:
    with pytest.raises(vim.fault.InvalidLogin), vcenter.plain("wrong"):
        pass


def test_the_inventory_is_the_lab_s_and_nothing_else(si: vim.ServiceInstance) -> None:
    (datacenter,) = find_all(si, vim.Datacenter)
    (cluster,) = find_all(si, vim.ClusterComputeResource)
    (template,) = find_all(si, vim.VirtualMachine)
    assert datacenter.name == "west"
    assert cluster.name == "compute"
    assert [host.name for host in find_all(si, vim.HostSystem)] == ["west-hv-1", "west-hv-2", "west-hv-3"]
    assert {network.name for network in cluster.network} >= {"VM Network", "dcctl"}
    assert template.name == "debian-12"
    assert template.config.template
    assert "dcctl" in [folder.name for folder in find_all(si, vim.Folder)]


def test_a_machine_is_made_of_what_its_guest_would_find(vcenter: Vcenter, runtime: StandIn) -> None:
    with VMwareMachines(vcenter.site()) as machines:
        server = machines.ensure_server(World(vcenter, machines).spec("one", address="198.18.2.33"))
    made = runtime.machines()["one"]
    assert made["state"] == "running"
    assert made["spec"] == {
        "id": server.id,
        "name": "one",
        "hostname": "one",
        "place": "west",
        "address": "198.18.2.33/24",
        "gateway": "198.18.2.1",
        "vcpus": 2,
        "memory_mb": 512,
        "authorized_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA operator"],
        "user_data": "#cloud-config\n{}\n",
        "image": "debian-12",
    }


def test_packed_user_data_is_unpacked_as_cloud_init_would(si: vim.ServiceInstance, runtime: StandIn) -> None:
    one = clone(si, "one")
    packed = base64.b64encode(gzip.compress(b"#cloud-config\n")).decode()
    values = {"guestinfo.userdata": packed, "guestinfo.userdata.encoding": "gzip+base64"}
    WaitForTask(one.ReconfigVM_Task(vim.vm.ConfigSpec(extraConfig=specs.options(values))))
    WaitForTask(one.CustomizeVM_Task(customization("one")))
    WaitForTask(one.PowerOnVM_Task())
    assert runtime.machines()["one"]["spec"]["user_data"] == "#cloud-config\n"


def test_a_clone_without_an_address_says_what_it_lacks(si: vim.ServiceInstance, runtime: StandIn) -> None:
    one = clone(si, "one")
    with pytest.raises(vim.fault.GenericVmConfigFault, match="no address"):
        WaitForTask(one.PowerOnVM_Task())
    assert one.runtime.powerState == OFF
    assert runtime.machines() == {}


def test_clones_have_identities_of_their_own(si: vim.ServiceInstance) -> None:
    one, two = clone(si, "one"), clone(si, "two")
    assert one.config.instanceUuid != two.config.instanceUuid
    cards = [
        device.macAddress
        for each in (one, two, find(si, "debian-12"))
        for device in each.config.hardware.device
        if isinstance(device, vim.vm.device.VirtualEthernetCard)
    ]
    assert len(set(cards)) == 3


def test_powering_off_stops_the_machine(machine: Any, runtime: StandIn) -> None:
    WaitForTask(machine.PowerOffVM_Task())
    assert machine.runtime.powerState == OFF
    assert runtime.state("one") == "off"
    assert runtime.calls() == ["define", "boot", "halt"]


def test_suspending_and_waking(machine: Any, runtime: StandIn) -> None:
    WaitForTask(machine.SuspendVM_Task())
    assert (machine.runtime.powerState, runtime.state("one")) == (SUSPENDED, "suspended")
    WaitForTask(machine.PowerOnVM_Task())
    assert (machine.runtime.powerState, runtime.state("one")) == (ON, "running")
    assert runtime.calls()[-2:] == ["suspend", "resume"]


def test_resetting_is_a_power_cut_and_a_boot(machine: Any, runtime: StandIn) -> None:
    WaitForTask(machine.ResetVM_Task())
    assert (machine.runtime.powerState, runtime.state("one")) == (ON, "running")
    assert runtime.calls()[-2:] == ["halt", "boot"]


def test_shutting_the_guest_down_is_clean(machine: Any, runtime: StandIn) -> None:
    machine.ShutdownGuest()
    wait_until(lambda: machine.runtime.powerState == OFF)
    assert runtime.calls()[-1] == "shutdown"


def test_destroying_removes_the_machine(machine: Any, si: vim.ServiceInstance, runtime: StandIn) -> None:
    WaitForTask(machine.PowerOffVM_Task())
    WaitForTask(machine.Destroy_Task())
    assert [each.name for each in find_all(si, vim.VirtualMachine)] == ["debian-12"]
    assert runtime.machines() == {}


def test_a_running_machine_is_not_destroyed(machine: Any, runtime: StandIn) -> None:
    with pytest.raises(vim.fault.InvalidPowerState):
        WaitForTask(machine.Destroy_Task())
    assert runtime.state("one") == "running"


def test_moving_does_not_touch_the_machine(machine: Any, si: vim.ServiceInstance, runtime: StandIn) -> None:
    before = runtime.calls()
    source, (target, *_) = machine.runtime.host, others(si, machine.runtime.host)
    WaitForTask(machine.RelocateVM_Task(vim.vm.RelocateSpec(host=target)))
    assert machine.runtime.host == target
    assert machine in target.vm
    assert machine not in source.vm
    assert runtime.calls() == before


def test_nothing_moves_to_a_host_in_maintenance(machine: Any, si: vim.ServiceInstance) -> None:
    source, (target, *_) = machine.runtime.host, others(si, machine.runtime.host)
    WaitForTask(target.EnterMaintenanceMode_Task(timeout=10, evacuatePoweredOffVms=True))
    with pytest.raises(vim.fault.InvalidHostState, match="maintenance"):
        WaitForTask(machine.RelocateVM_Task(vim.vm.RelocateSpec(host=target)))
    assert machine.runtime.host == source


def test_a_task_ends_when_the_machine_has_changed(machine: Any, runtime: StandIn) -> None:
    with runtime.slow("halt"):
        task = machine.PowerOffVM_Task()
        wait_until(lambda: task.info.state == "running")
        assert machine.recentTask == [task]
        assert machine.runtime.powerState == ON
    WaitForTask(task)
    assert machine.runtime.powerState == OFF
    assert machine.recentTask == []


def test_the_last_of_quick_requests_decides(machine: Any, runtime: StandIn) -> None:
    with runtime.slow("halt"):
        tasks = [machine.PowerOffVM_Task(), machine.PowerOnVM_Task(), machine.PowerOffVM_Task()]
    for task in tasks:
        WaitForTask(task)
    assert (machine.runtime.powerState, runtime.state("one")) == (OFF, "off")
    assert runtime.calls() == ["define", "boot", "halt", "boot", "halt"]


def test_what_the_machine_refuses_the_task_refuses(machine: Any, runtime: StandIn) -> None:
    with (
        runtime.failing("halt", "the disk is on fire"),
        pytest.raises(vim.fault.GenericVmConfigFault, match="the disk is on fire"),
    ):
        WaitForTask(machine.PowerOffVM_Task())
    assert (machine.runtime.powerState, runtime.state("one")) == (ON, "running")


def test_a_machine_that_does_not_boot_stays_off(machine: Any, runtime: StandIn) -> None:
    WaitForTask(machine.PowerOffVM_Task())
    with (
        runtime.failing("boot", "no room left"),
        pytest.raises(vim.fault.GenericVmConfigFault, match="no room left"),
    ):
        WaitForTask(machine.PowerOnVM_Task())
    assert machine.runtime.powerState == OFF
    WaitForTask(machine.PowerOnVM_Task())
    assert runtime.state("one") == "running"


def test_a_machine_that_died_by_itself_shows_as_off(
    machine: Any, si: vim.ServiceInstance, runtime: StandIn
) -> None:
    runtime.die("one")
    wait_until(lambda: machine.runtime.powerState == OFF)
    events = si.RetrieveContent().eventManager.QueryEvents(vim.event.EventFilterSpec())
    (event,) = [each for each in events if isinstance(each, vim.event.VmPoweredOffEvent)]
    assert event.fullFormattedMessage == f"one on {machine.runtime.host.name} in west is powered off"
    WaitForTask(machine.PowerOnVM_Task())
    assert runtime.state("one") == "running"


def test_a_runtime_that_cannot_be_asked_changes_nothing(machine: Any, runtime: StandIn) -> None:
    with runtime.failing("list", "not now"):
        runtime.die("one")
        log = runtime.folder.parent / "log"
        wait_until(lambda: log.read_text().count("not now") > 1)
        assert machine.runtime.powerState == ON
    wait_until(lambda: machine.runtime.powerState == OFF)


def test_nothing_is_done_on_a_host_that_vcenter_has_lost(
    vcenter: Vcenter, machine: Any, runtime: StandIn
) -> None:
    with vcenter.lose(machine.runtime.host.name):
        wait_until(lambda: machine.runtime.connectionState == "disconnected")
        with pytest.raises(vmodl.fault.HostNotConnected):
            WaitForTask(machine.PowerOffVM_Task())
        runtime.die("one")
        assert machine.runtime.powerState == ON  # what it last heard
    wait_until(lambda: machine.runtime.powerState == OFF)


def test_what_the_lab_has_not_is_refused_and_not_crashed_on(machine: Any, si: vim.ServiceInstance) -> None:
    with pytest.raises(vim.fault.MethodDisabled):
        machine.CreateSnapshot_Task(name="s", memory=False, quiesce=False)
    with pytest.raises(vim.fault.MethodDisabled):
        find_all(si, vim.Datacenter)[0].PowerOnMultiVM_Task(vm=[machine])


def test_only_the_api_is_served(vcenter: Vcenter) -> None:
    import requests

    for path in (
        "/folder/one?dcPath=west&dsName=datastore",
        "/guestFile/etc/passwd?id=1",
        "/about",
        "/nfc/1",
    ):
        assert (
            requests.get(vcenter.endpoint + path, verify=str(vcenter.ca_file), timeout=5).status_code == 404
        )


def test_it_leaves_no_file_of_its_own_behind(program: Path, tmp_path: Path) -> None:
    before = set(Path("/tmp").iterdir())
    with on_loopback(program, tmp_path) as (vcenter, _runtime), vcenter.plain() as si:
        clone(si, "one")
        assert not list((tmp_path / "state").glob("runtime-*"))
    assert not (tmp_path / "state" / "ready").exists()
    assert not [path for path in set(Path("/tmp").iterdir()) - before if "govcsim" in path.name]


def customization(name: str) -> vim.vm.customization.Specification:
    kind = vim.vm.customization
    adapter = kind.IPSettings(
        ip=kind.FixedIp(ipAddress="198.18.2.40"), subnetMask="255.255.255.0", gateway=["198.18.2.1"]
    )
    return kind.Specification(
        identity=kind.LinuxPrep(hostName=kind.FixedName(name=name), domain="internal"),
        globalIPSettings=kind.GlobalIPSettings(),
        nicSettingMap=[kind.AdapterMapping(adapter=adapter)],
    )


def others(si: vim.ServiceInstance, host: Any) -> list[Any]:
    return [each for each in find_all(si, vim.HostSystem) if each != host]
