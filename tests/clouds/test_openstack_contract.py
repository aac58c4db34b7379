"""The OpenStack adapter keeps the machines contract on the lab's real services, here over no machines."""

import contextlib
from collections.abc import Iterator

import pytest
from openstack_world import ControlPlane, World, plane, running

from dcctl.adapters.openstack import OpenStackMachines
from dcctl.testing.contracts.machines import MachinesContract

__all__ = ["plane", "running"]

pytestmark = pytest.mark.lab


class TestOpenStack(MachinesContract):
    @pytest.fixture
    def world(self, plane: ControlPlane) -> Iterator[World]:
        with contextlib.closing(OpenStackMachines(plane.site())) as machines:
            yield World(plane, machines)
