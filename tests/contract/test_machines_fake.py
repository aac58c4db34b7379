"""The fake keeps the same promises as the clouds that it stands for."""

import contextlib
from collections.abc import Iterator

import pytest

from dcctl.domain.machine import ServerSpec, Size
from dcctl.ports import Machines
from dcctl.testing.contracts.machines import MachinesContract
from dcctl.testing.machines import FakeCloud, FakeMachines


class FakeWorld:
    def __init__(self) -> None:
        self.cloud = FakeCloud("east")
        self.machines: Machines = FakeMachines(self.cloud, "contract")
        self._names: list[str] = []

    def spec(self, name: str) -> ServerSpec:
        if name not in self._names:
            self._names.append(name)
        return ServerSpec(
            name=name,
            environment="contract",
            site="east",
            group="contract",
            roles=("base",),
            size=Size(vcpus=1, memory_bytes=2**29, disk_bytes=2**32),
            flavour="small",
            image="debian-12",
            network="dcctl",
            address=f"192.0.2.{20 + self._names.index(name)}",
            host_key=f"ssh-ed25519 {name}",
        )

    def make_foreign(self, name: str, *, owner: str | None) -> None:
        self.cloud.put(self.spec(name), owner=owner)

    def make_leftover(self, spec: ServerSpec) -> None:
        self.cloud.put(spec, owner=spec.environment, leftover=True)

    @contextlib.contextmanager
    def disconnected(self, hypervisor: str) -> Iterator[None]:
        self.cloud.disconnected.add(hypervisor)
        yield
        self.cloud.disconnected.remove(hypervisor)

    def unreachable(self) -> Machines:
        return FakeMachines(FakeCloud("east", dark=True), "contract")

    def with_wrong_password(self) -> Machines:
        return FakeMachines(self.cloud, "contract", password_is_right=False)


class TestFakeMachines(MachinesContract):
    @pytest.fixture
    def world(self) -> FakeWorld:
        return FakeWorld()
