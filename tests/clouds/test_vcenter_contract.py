"""The vSphere adapter keeps the machines contract on the lab's vCenter program, here over no machines."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from vcenter_world import World, on_loopback, vcenter_program

from dcctl.adapters.vmware import VMwareMachines
from dcctl.testing.contracts.machines import MachinesContract

program = vcenter_program


class TestVMware(MachinesContract):
    @pytest.fixture
    def world(self, program: Path, tmp_path: Path) -> Iterator[World]:
        with (
            on_loopback(program, tmp_path) as (running, _runtime),
            VMwareMachines(running.site()) as machines,
        ):
            yield World(running, machines)
