"""What proves that a machine is off: one row per thing that a cloud may say, or lie, about its power."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dcctl.domain.machine import Power, PowerReading, decide_power_off_proven

REQUESTED = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
OFF = PowerReading(
    server="east-db-1",
    power=Power.OFF,
    read_at=REQUESTED + timedelta(seconds=3),
    asked_at=REQUESTED + timedelta(seconds=2),
    hypervisor="east-hv-1",
    hypervisor_connected=True,
    task_pending=False,
    automatic_restart=False,
)


@pytest.mark.parametrize(
    ("reading", "told"),
    [
        (OFF, ()),
        (replace(OFF, power=Power.ON), ("east-db-1 reads on, not off",)),
        (replace(OFF, power=Power.SUSPENDED), ("east-db-1 reads suspended, not off",)),
        (replace(OFF, power=Power.UNKNOWN), ("east-db-1 reads unknown, not off",)),
        (
            replace(OFF, hypervisor_connected=False),
            ("hypervisor east-hv-1 is not connected to its cloud",),
        ),
        (
            replace(OFF, hypervisor="", hypervisor_connected=False),
            ("hypervisor unknown is not connected to its cloud",),
        ),
        (replace(OFF, task_pending=True), ("east-db-1 has a task pending",)),
        (
            replace(OFF, asked_at=REQUESTED - timedelta(seconds=1)),
            ("the reading is not newer than the power-off request",),
        ),
        (replace(OFF, asked_at=REQUESTED), ("the reading is not newer than the power-off request",)),
        (replace(OFF, automatic_restart=True), ("automatic restart is not known to be off",)),
        (replace(OFF, automatic_restart=None), ("automatic restart is not known to be off",)),
        (
            replace(OFF, power=Power.UNKNOWN, task_pending=True, automatic_restart=None),
            (
                "east-db-1 reads unknown, not off",
                "east-db-1 has a task pending",
                "automatic restart is not known to be off",
            ),
        ),
    ],
)
def test_a_reading_proves_that_a_machine_is_off_or_says_why_not(
    reading: PowerReading, told: tuple[str, ...]
) -> None:
    assert decide_power_off_proven(reading, requested_at=REQUESTED) == told
