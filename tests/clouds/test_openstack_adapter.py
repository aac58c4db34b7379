"""What the contract cannot ask of every cloud: Nova's own ways of saying no, and of being half done."""

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

import openstack
import pytest
import yaml
from openstack_world import IMPOSSIBLE, KEY, PATIENCE_S, ControlPlane, World, plane, running, wait_until

from dcctl.adapters.openstack import OpenStackMachines
from dcctl.domain.machine import Power
from dcctl.errors import NotFound, Rejected, Unreachable

__all__ = ["plane", "running"]

pytestmark = pytest.mark.lab

NAME = "adapter-1"


@pytest.fixture
def machines(plane: ControlPlane) -> Iterator[OpenStackMachines]:
    with contextlib.closing(OpenStackMachines(plane.site())) as machines:
        yield machines


@pytest.fixture
def world(plane: ControlPlane, machines: OpenStackMachines) -> World:
    return World(plane, machines)


@pytest.fixture
def cloud(plane: ControlPlane) -> Any:
    return plane.plain()


# Creating


def test_no_room_is_said_with_novas_reason(world: World) -> None:
    with pytest.raises(Rejected, match=f"{NAME} at east: it is in ERROR: No valid host was found"):
        world.machines.ensure_server(world.spec(NAME, flavour=IMPOSSIBLE))


@pytest.mark.parametrize("what", ["image", "flavour", "network"])
def test_what_does_not_exist_is_named(world: World, what: str) -> None:
    with pytest.raises(NotFound, match="no-such-thing"):
        world.machines.ensure_server(world.spec(NAME, **{what: "no-such-thing"}))


def test_an_address_in_use_is_said(world: World) -> None:
    server = world.machines.ensure_server(world.spec(NAME))
    with pytest.raises(Rejected, match=f"{server.address} is already in use on instance {server.id}"):
        world.machines.ensure_server(world.spec("adapter-2", address=server.address))


def test_an_address_that_a_vanished_server_left_is_taken(world: World, cloud: Any) -> None:
    spec = world.spec(NAME)
    network = cloud.network.find_network(spec.network)
    orphan = cloud.network.create_port(
        network_id=network.id,
        fixed_ips=[{"ip_address": spec.address}],
        device_owner="compute:nova",
        device_id=str(uuid.uuid4()),
    )
    assert world.machines.ensure_server(spec).address == spec.address
    assert cloud.network.find_port(orphan.id) is None


def test_a_port_that_somebody_keeps_is_not(world: World, cloud: Any) -> None:
    spec = world.spec(NAME)
    network = cloud.network.find_network(spec.network)
    kept = cloud.network.create_port(network_id=network.id, fixed_ips=[{"ip_address": spec.address}])
    try:
        with pytest.raises(Rejected, match=spec.address):
            world.machines.ensure_server(spec)
    finally:
        cloud.network.delete_port(kept)


def test_keys_that_the_user_data_lacks_get_in(world: World, plane: ControlPlane) -> None:
    world.machines.ensure_server(world.spec(NAME, user_data="", authorized_keys=(KEY,)))
    user_data = plane.runtime.machines()[NAME]["spec"]["user_data"]
    assert yaml.safe_load(user_data)["ssh_authorized_keys"] == [KEY]


def test_a_server_that_ran_is_mended_not_made_anew(world: World, cloud: Any, plane: ControlPlane) -> None:
    server = world.machines.ensure_server(world.spec(NAME))
    cloud.compute.reset_server_state(server.id, "error")
    assert not next(each for each in world.machines.observe_servers() if each.name == NAME).leftover
    plane.runtime.die(NAME)
    wait_until(lambda: world.machines.observe_power(NAME).power is not Power.ON)
    again = world.machines.ensure_server(world.spec(NAME))
    assert (again.id, again.power, again.status) == (server.id, Power.ON, "ACTIVE")


def test_two_of_ours_with_one_name_are_not_guessed_between(world: World) -> None:
    environment = world.spec(NAME).environment
    for address in ("198.18.1.98", "198.18.1.99"):
        world.create(world.spec(NAME, address=address), "dcctl.small", environment, status="ACTIVE")
    with pytest.raises(Rejected, match="2 servers bear that name"):
        world.machines.delete_server(NAME)


# Power and moving


def test_a_host_out_of_touch_is_not_asked(world: World, cloud: Any) -> None:
    server = world.machines.ensure_server(world.spec(NAME))
    with (
        world.disconnected(server.hypervisor),
        pytest.raises(Rejected, match=f"its host {server.hypervisor} is not in touch"),
    ):
        world.machines.ensure_power(NAME, Power.OFF)
    assert cloud.compute.get_server(server.id).task_state is None


def test_a_failed_change_of_power_is_said_with_its_reason(world: World, plane: ControlPlane) -> None:
    world.machines.ensure_server(world.spec(NAME))
    with (
        plane.runtime.failing("halt", "the switch is stuck"),
        pytest.raises(Rejected, match=r"it is on .* afterwards: .*the switch is stuck"),
    ):
        world.machines.ensure_power(NAME, Power.OFF)


def test_a_move_to_a_host_that_takes_nothing_is_refused(world: World, cloud: Any) -> None:
    server = world.machines.ensure_server(world.spec(NAME))
    target = next(h.name for h in world.machines.observe_hypervisors() if h.name != server.hypervisor)
    (service,) = cloud.compute.services(host=target, binary="nova-compute")
    cloud.compute.disable_service(service)
    try:
        with pytest.raises(Rejected, match="No valid host"):
            world.machines.move_server(NAME, target)
    finally:
        cloud.compute.enable_service(service)


def test_a_move_that_was_left_unconfirmed_is_finished(world: World, cloud: Any) -> None:
    server = world.machines.ensure_server(world.spec(NAME))
    world.machines.ensure_power(NAME, Power.OFF)
    target = next(h.name for h in world.machines.observe_hypervisors() if h.name != server.hypervisor)
    cloud.compute.migrate_server(server.id, host=target)
    cloud.compute.wait_for_server(
        cloud.compute.get_server(server.id), "VERIFY_RESIZE", interval=0.2, wait=PATIENCE_S
    )
    moved = world.machines.move_server(NAME, target)
    assert (moved.hypervisor, moved.power, moved.status) == (target, Power.OFF, "SHUTOFF")


# Who asks, and how


@pytest.fixture
def member(running: ControlPlane, plane: ControlPlane) -> Iterator[OpenStackMachines]:
    """The port for a user who may use the project and administers nothing."""
    config = openstack.config.OpenStackConfig(config_files=[str(plane.clouds)], load_envvars=False)
    with openstack.connection.Connection(config=config.get_one("east-admin")) as admin:
        project = admin.identity.find_project("dcctl")
        user = admin.identity.create_user(name="member", password="member", domain_id="default")
        admin.identity.assign_project_role_to_user(project, user, admin.identity.find_role("member"))
        clouds = plane.clouds_but(username="member", password="member")
        try:
            with contextlib.closing(OpenStackMachines(plane.site(clouds_file=clouds))) as machines:
                yield machines
        finally:
            admin.identity.delete_user(user)


def test_an_ordinary_user_can_provision_but_not_see_hypervisors(
    world: World, member: OpenStackMachines
) -> None:
    made = member.ensure_server(world.spec(NAME))
    assert (made.power, made.hypervisor) == (Power.ON, "")
    assert member.ensure_power(NAME, Power.OFF).power is Power.OFF
    assert not member.observe_power(NAME).hypervisor_connected
    with pytest.raises(Rejected, match="list the hypervisors on east: Policy doesn't allow"):
        member.observe_hypervisors()
    member.delete_server(NAME)


def test_a_certificate_that_nobody_vouches_for_is_not_accepted(plane: ControlPlane, world: World) -> None:
    document = yaml.safe_load(plane.clouds.read_text())
    del document["clouds"]["east"]["cacert"]
    file = plane.folder / "untrusting.yaml"
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(Unreachable, match="no trusted TLS connection: self-signed certificate"):
        OpenStackMachines(plane.site(clouds_file=str(file))).observe_servers()


def test_a_cold_look_costs_three_requests(
    caplog: pytest.LogCaptureFixture, machines: OpenStackMachines
) -> None:
    """A log-in, Nova's versions, and the list."""

    def sent() -> list[str]:
        return [
            record.getMessage().split('"')[1].removesuffix(" HTTP/1.1")
            for record in caplog.records
            if record.name == "urllib3.connectionpool" and '"' in record.getMessage()
        ]

    with caplog.at_level("DEBUG", "urllib3.connectionpool"):
        machines.observe_servers()
        assert sent() == ["POST /v3/auth/tokens", "GET /v2.1", "GET /v2.1/servers/detail"]
        machines.observe_servers()
        assert sent()[3:] == ["GET /v2.1/servers/detail"]


def test_the_user_data_arrives_as_it_was(world: World, plane: ControlPlane) -> None:
    user_data = "#cloud-config\n# Ünïcode\n"
    world.machines.ensure_server(world.spec(NAME, user_data=user_data, authorized_keys=()))
    assert plane.runtime.machines()[NAME]["spec"]["user_data"] == user_data
