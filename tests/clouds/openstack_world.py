"""OpenStack for tests: the real services in a network of their own, over a runtime that only remembers.

One control plane serves all tests of a module, for it takes seconds to start; each test leaves it empty.
"""

import contextlib
import ctypes
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openstack
import pytest
import yaml
from vcenter_world import StandIn

from dcctl.adapters.openstack import Limits, OpenStackMachines, OpenStackSite, reading
from dcctl.domain.machine import ServerSpec, Size
from dcctl.lab import openstack_build
from dcctl.lab.openstack import clouds_yaml
from dcctl.network_namespace import CLONE_NEWNET
from dcctl.ports import Machines

ENVIRONMENT = "contract"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGVhY2ggdGVzdCBrZXkgaXMgb25seSBhIHRlc3Qga2V5 operator"
IMPOSSIBLE = "impossible"
"""A flavour that no hypervisor of the lab has room for."""
START_LIMIT_S = 60.0
PATIENCE_S = 60.0


class ControlPlane:
    """The services. Its network is its processes' own, so nothing of it outlives them, nor they the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.clouds = folder / "clouds.yaml"
        (folder / "runtime").mkdir()
        self.runtime = StandIn(folder / "runtime")
        certificate, key = openstack_build.self_signed(folder)
        passwords = openstack_build.unpack(
            self.state, certificate=certificate, key=key, authority=certificate
        )
        openstack_build.write_secret(self.clouds, clouds_yaml(passwords, certificate))
        self._plain: openstack.connection.Connection | None = None

    def start(self) -> None:
        standin = Path(__file__).with_name("standin_machine.py")
        machine = shlex.join([sys.executable, str(standin), str(self.runtime.folder)])
        argv = openstack_build.isolated(
            str(openstack_build.python()), "-m", "labcloud.launch", str(self.state)
        )
        with (self.folder / "launch.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *argv],
                env=openstack_build.environment(self.state, machine),
                stdout=log,
                stderr=log,
            )
        ready = self.state / "ready"
        wait_until(lambda: ready.exists() or self.process.poll() is not None, limit_s=START_LIMIT_S)
        assert self.process.poll() is None, (self.folder / "launch.log").read_text()

    def kill(self) -> None:
        """Nothing of it runs another instruction; its children go with their parent."""
        if self._plain is not None:
            self._plain.close()
            self._plain = None
        self.process.kill()
        self.process.wait(PATIENCE_S)
        (self.state / "ready").unlink(missing_ok=True)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread, and those that it starts meanwhile, in the control plane's network."""
        with Path("/proc/thread-self/ns/net").open() as before:
            with Path(f"/proc/{self.process.pid}/ns/net").open() as inside:
                _join(inside.fileno())
            try:
                yield
            finally:
                _join(before.fileno())

    def site(self, **changes: Any) -> OpenStackSite:
        values: dict[str, Any] = {
            "site": "east",
            "environment": ENVIRONMENT,
            "network": "dcctl",
            "cloud": "east",
            "clouds_file": str(self.clouds),
            "limits": Limits(connect_s=2, answer_s=30, task_s=PATIENCE_S, create_s=PATIENCE_S),
        }
        return OpenStackSite(**values | changes)

    def clouds_but(self, **auth: str) -> str:
        """The path of another ``clouds.yaml``, in which these parts of ``auth`` differ."""
        document = yaml.safe_load(self.clouds.read_text())
        document["clouds"]["east"]["auth"] |= auth
        file = self.folder / "other-clouds.yaml"
        file.write_text(yaml.safe_dump(document))
        return str(file)

    def plain(self) -> Any:
        """Somebody else's session, with nothing of ours in it, as long as the control plane runs."""
        if self._plain is None:
            config = openstack.config.OpenStackConfig(config_files=[str(self.clouds)], load_envvars=False)
            self._plain = openstack.connection.Connection(config=config.get_one("east"))
        return self._plain

    def empty(self) -> None:
        """Delete every server, and let every hypervisor be heard again."""
        compute = self.plain().compute
        for service in services(self.plain()):
            if service.is_forced_down:
                compute.update_service_forced_down(service, forced=False)
        for server in compute.servers(details=False):
            compute.delete_server(server)
        wait_until(lambda: not list(compute.servers(details=False)))
        wait_until(lambda: all(each.state == "up" for each in services(self.plain())))


@pytest.fixture(scope="module")
def running(capable_host: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    openstack_build.ensure_built(print)
    plane = ControlPlane(tmp_path_factory.mktemp("openstack"))
    plane.start()
    try:
        with plane.entered():
            plane.plain().compute.create_flavor(name=IMPOSSIBLE, vcpus=1, ram=2**20, disk=1)
        yield plane
    finally:
        plane.kill()


@pytest.fixture
def plane(running: ControlPlane) -> Iterator[ControlPlane]:
    """The control plane, empty, and this test inside its network."""
    with running.entered():
        yield running
    with running.entered():  # which a test may have restarted
        running.empty()


@dataclass
class World:
    """``contracts.machines.MachinesWorld`` over a control plane."""

    plane: ControlPlane
    machines: Machines

    def spec(self, name: str, **changes: Any) -> ServerSpec:
        values: dict[str, Any] = {
            "name": name,
            "environment": ENVIRONMENT,
            "site": "east",
            "group": "contract",
            "roles": (),
            "size": Size(vcpus=1, memory_bytes=768 * 2**20, disk_bytes=4 * 2**30),
            "flavour": "dcctl.small",
            "image": "debian-12",
            "network": "dcctl",
            "address": f"198.18.1.{20 + sum(name.encode()) % 80}",
            "authorized_keys": (KEY,),
            "host_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5BBBB",
            "user_data": "#cloud-config\n{}\n",
        }
        return ServerSpec(**values | changes)

    def make_foreign(self, name: str, *, owner: str | None) -> None:
        self.create(self.spec(name), "dcctl.small", owner, status="ACTIVE")

    def make_leftover(self, spec: ServerSpec) -> None:
        self.create(spec, IMPOSSIBLE, spec.environment, status="ERROR")

    def create(self, spec: ServerSpec, flavour: str, owner: str | None, *, status: str) -> None:
        cloud = self.plane.plain()
        made = cloud.compute.create_server(
            name=spec.name,
            image_id=cloud.image.find_image(spec.image).id,
            flavor_id=cloud.compute.find_flavor(flavour).id,
            networks=[{"uuid": cloud.network.find_network(spec.network).id, "fixed_ip": spec.address}],
            metadata={reading.OWNER: owner} if owner else {},
        )
        cloud.compute.wait_for_server(made, status=status, failures=[], interval=0.2, wait=PATIENCE_S)

    @contextlib.contextmanager
    def disconnected(self, hypervisor: str) -> Iterator[None]:
        cloud = self.plane.plain()
        (service,) = [each for each in services(cloud) if each.host == hypervisor]
        cloud.compute.update_service_forced_down(service, forced=True)
        yield
        cloud.compute.update_service_forced_down(service, forced=False)

    def unreachable(self) -> Machines:
        nobody = self.plane.clouds_but(auth_url="https://198.18.1.5:5999/v3")
        return OpenStackMachines(self.plane.site(clouds_file=nobody))

    def with_wrong_password(self) -> Machines:
        return OpenStackMachines(self.plane.site(clouds_file=self.plane.clouds_but(password="wrong")))


def services(cloud: Any) -> list[Any]:
    return list(cloud.compute.services(binary="nova-compute"))


def wait_until(happened: Callable[[], bool], limit_s: float = PATIENCE_S) -> None:
    until = time.monotonic() + limit_s
    while not happened():
        assert time.monotonic() < until, f"it did not happen within {limit_s:g} s"
        time.sleep(0.2)  # often enough: each look costs Nova what it needs for the work


def _join(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
