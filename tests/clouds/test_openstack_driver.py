"""What a client does to a server happens to its machine, and the other way round.

Through plain openstacksdk and the ``openstack`` command, so that nothing of ours is between client and Nova.
"""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import openstack
import pytest
from openstack_world import KEY, PATIENCE_S, ControlPlane, plane, running, services, wait_until

__all__ = ["plane", "running"]

pytestmark = pytest.mark.lab

NAME = "driver-1"
ADDRESS = "198.18.1.33"
USER_DATA = "#cloud-config\nhostname: driver-1\n"


@pytest.fixture
def cloud(plane: ControlPlane) -> Any:
    return plane.plain()


@pytest.fixture
def server(cloud: Any) -> Any:
    """One that runs."""
    return cloud.compute.wait_for_server(create(cloud), interval=0.2, wait=PATIENCE_S)


def create(cloud: Any, **more: Any) -> Any:
    return cloud.compute.create_server(
        name=NAME,
        image_id=cloud.image.find_image("debian-12").id,
        flavor_id=cloud.compute.find_flavor("dcctl.small").id,
        networks=[{"uuid": cloud.network.find_network("dcctl").id, "fixed_ip": ADDRESS}],
        user_data=base64.b64encode(USER_DATA.encode()).decode(),
        **more,
    )


def settle(cloud: Any, server: Any, status: str) -> Any:
    """The server, once it has that status and nothing is pending."""

    def there() -> bool:
        now = cloud.compute.get_server(server.id)
        return now.status == status and now.task_state is None

    wait_until(there)
    return cloud.compute.get_server(server.id)


def another_host(cloud: Any, server: Any) -> str:
    return next(each.host for each in services(cloud) if each.host != server.compute_host)


def test_a_machine_is_made_as_the_server_was_specified(plane: ControlPlane, cloud: Any) -> None:
    keypair = cloud.compute.create_keypair(name="driver", public_key=KEY)
    try:
        made = cloud.compute.wait_for_server(create(cloud, key_name="driver"), interval=0.2, wait=PATIENCE_S)
    finally:
        cloud.compute.delete_keypair(keypair)
    assert plane.runtime.machines()[NAME] == {
        "state": "running",
        "spec": {
            "id": made.id,
            "name": NAME,
            "hostname": NAME,
            "place": "east",
            "address": f"{ADDRESS}/24",
            "gateway": "198.18.1.1",
            "vcpus": 1,
            "memory_mb": 768,
            "authorized_keys": [KEY],
            "user_data": USER_DATA,
            "image": "debian-12",
        },
    }


@pytest.mark.usefixtures("server")
def test_a_deleted_server_takes_its_machine_along(plane: ControlPlane, cloud: Any, server: Any) -> None:
    cloud.compute.delete_server(server)
    cloud.compute.wait_for_delete(server, interval=0.2, wait=PATIENCE_S)
    assert plane.runtime.state(NAME) == "absent"
    assert list(cloud.network.ports(device_id=server.id)) == []


def test_a_stop_cuts_the_power_at_once(plane: ControlPlane, cloud: Any, server: Any) -> None:
    before = len(plane.runtime.calls())
    cloud.compute.stop_server(server)
    settle(cloud, server, "SHUTOFF")
    assert plane.runtime.state(NAME) == "off"
    assert plane.runtime.calls()[before:] == ["halt"]
    cloud.compute.start_server(server)
    settle(cloud, server, "ACTIVE")
    assert plane.runtime.state(NAME) == "running"


@pytest.mark.parametrize("kind", ["SOFT", "HARD"])
def test_a_reboot_boots_again(plane: ControlPlane, cloud: Any, server: Any, kind: str) -> None:
    before = len(plane.runtime.calls())
    cloud.compute.reboot_server(server, kind)
    settle(cloud, server, "ACTIVE")
    assert plane.runtime.calls()[before:] == ["shutdown" if kind == "SOFT" else "halt", "boot"]


def test_suspend_and_pause_freeze(plane: ControlPlane, cloud: Any, server: Any) -> None:
    cloud.compute.suspend_server(server)
    settle(cloud, server, "SUSPENDED")
    assert plane.runtime.state(NAME) == "suspended"
    cloud.compute.resume_server(server)
    settle(cloud, server, "ACTIVE")
    assert plane.runtime.state(NAME) == "running"
    cloud.compute.pause_server(server)
    settle(cloud, server, "PAUSED")
    assert plane.runtime.state(NAME) == "suspended"
    cloud.compute.unpause_server(server)
    settle(cloud, server, "ACTIVE")


def test_a_machine_that_died_shows(plane: ControlPlane, cloud: Any, server: Any) -> None:
    plane.runtime.die(NAME)
    assert settle(cloud, server, "SHUTOFF").vm_state == "stopped"


def test_a_machine_frozen_behind_novas_back_is_left_frozen(
    plane: ControlPlane, cloud: Any, server: Any
) -> None:
    plane.runtime.run("suspend", server.id)
    wait_until(lambda: cloud.compute.get_server(server.id).power_state == 3)
    assert cloud.compute.get_server(server.id).status == "ACTIVE"
    assert plane.runtime.state(NAME) == "suspended"


def test_a_boot_that_fails_is_an_error_with_its_reason(plane: ControlPlane, cloud: Any) -> None:
    with plane.runtime.failing("boot", "boot the machine on driver-1: no word from it"):
        failed = settle(cloud, create(cloud), "ERROR")
    assert "no word from it" in failed.fault["message"]
    assert failed.launched_at is None
    assert plane.runtime.state(NAME) == "absent"
    cloud.compute.delete_server(failed)
    cloud.compute.wait_for_delete(failed, interval=0.2, wait=PATIENCE_S)
    cloud.compute.wait_for_server(create(cloud), interval=0.2, wait=PATIENCE_S)


def test_a_live_migration_leaves_the_machine_running(plane: ControlPlane, cloud: Any, server: Any) -> None:
    before = len(plane.runtime.calls())
    target = another_host(cloud, server)
    cloud.compute.live_migrate_server(server, host=target, block_migration="auto")
    wait_until(lambda: cloud.compute.get_server(server.id).compute_host == target)
    settle(cloud, server, "ACTIVE")
    assert plane.runtime.calls()[before:] == []
    assert plane.runtime.state(NAME) == "running"
    (port,) = cloud.network.ports(device_id=server.id)
    assert (port.status, port.binding_host_id) == ("ACTIVE", target)


def test_a_resize_and_its_way_back(plane: ControlPlane, cloud: Any, server: Any) -> None:
    medium = cloud.compute.find_flavor("dcctl.medium")
    cloud.compute.resize_server(server, medium)
    settle(cloud, server, "VERIFY_RESIZE")
    assert plane.runtime.machines()[NAME]["spec"]["memory_mb"] == 2048
    cloud.compute.revert_server_resize(server)
    settle(cloud, server, "ACTIVE")
    assert plane.runtime.machines()[NAME]["spec"]["memory_mb"] == 768
    cloud.compute.resize_server(server, medium)
    settle(cloud, server, "VERIFY_RESIZE")
    cloud.compute.confirm_server_resize(server)
    settle(cloud, server, "ACTIVE")
    assert plane.runtime.machines()[NAME]["state"] == "running"
    assert "delete" not in plane.runtime.calls()[-8:]


def test_an_evacuated_machine_begins_again_from_its_disk_and_stays_there(
    plane: ControlPlane, cloud: Any, server: Any
) -> None:
    before = len(plane.runtime.calls())
    (lost,) = [each for each in services(cloud) if each.host == server.compute_host]
    cloud.compute.update_service_forced_down(lost, forced=True)
    cloud.compute.evacuate_server(server)
    wait_until(lambda: cloud.compute.get_server(server.id).compute_host not in (None, lost.host))
    settled = settle(cloud, server, "SHUTOFF")  # as Nova leaves it from microversion 2.95 on
    cloud.compute.start_server(settled)
    settle(cloud, server, "ACTIVE")
    plane.kill()
    plane.start()  # the lost hypervisor is back, and removes what was evacuated from it: nothing
    with plane.entered():
        assert settle(plane.plain(), server, "ACTIVE").compute_host == settled.compute_host
    assert "delete" not in plane.runtime.calls()[before:]
    assert plane.runtime.state(NAME) == "running"


def test_machines_outlive_the_control_plane(plane: ControlPlane, cloud: Any, server: Any) -> None:
    before = len(plane.runtime.calls())
    plane.kill()
    plane.start()
    with plane.entered():
        again = plane.plain()
        found = settle(again, server, "ACTIVE")
        assert found.compute_host == server.compute_host
        assert plane.runtime.calls()[before:] == []
        again.compute.stop_server(found)
        settle(again, server, "SHUTOFF")
    assert plane.runtime.state(NAME) == "off"


def test_the_image_is_where_glance_says(cloud: Any) -> None:
    image = cloud.image.find_image("debian-12")
    assert b"golden image" in cloud.image.download_image(image).content


def test_a_wrong_password_is_refused(plane: ControlPlane) -> None:
    config = openstack.config.OpenStackConfig(
        config_files=[plane.clouds_but(password="wrong")], load_envvars=False
    )
    with (
        openstack.connection.Connection(config=config.get_one("east")) as cloud,
        pytest.raises(openstack.exceptions.SDKException, match="HTTP 401"),
    ):
        cloud.authorize()


def test_the_openstack_command_sees_and_stops_it(plane: ControlPlane, cloud: Any, server: Any) -> None:
    def command(*words: str) -> str:
        program = Path(sys.executable).with_name("openstack")
        done = subprocess.run(
            [str(program), *words],
            env={**os.environ, "OS_CLIENT_CONFIG_FILE": str(plane.clouds), "OS_CLOUD": "east"},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=True,
        )
        return done.stdout

    (listed,) = json.loads(command("server", "list", "-f", "json"))
    assert (listed["Name"], listed["Status"]) == (NAME, "ACTIVE")
    command("server", "stop", NAME)
    settle(cloud, server, "SHUTOFF")
    assert plane.runtime.state(NAME) == "off"
