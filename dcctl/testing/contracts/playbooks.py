"""What every ``ports.Playbooks`` keeps, over two machines that carry the roles base and zookeeper."""

import threading
import time
from typing import Protocol

import pytest

from dcctl.domain.deploy import Applied, Change, Deployment, Doing, Failure, Finding, Trouble
from dcctl.errors import Interrupted
from dcctl.ports import Playbooks

MACHINES = ("east-db-1", "west-db-1")
ROLES = ("base", "zookeeper")
WHOLE = Deployment(ROLES, MACHINES, whole=True)
LIMIT_S = 60.0


class PlaybooksWorld(Protocol):
    """The port, and what befalls its machines from the next ``apply`` on."""

    playbooks: Playbooks

    def fail(self, machine: str, role: str, message: str) -> None:
        """The role's task fails there with this message."""

    def darken(self, machine: str) -> None:
        """Nothing answers there."""


class PlaybooksContract:
    """Subclass it and give it a fixture ``world`` in which nothing is configured yet."""

    def apply(
        self, world: PlaybooksWorld, deployment: Deployment = WHOLE, *, check: bool = False
    ) -> tuple[Applied, list[Doing | Change | Failure | Finding]]:
        seen: list[Doing | Change | Failure | Finding] = []
        applied = world.playbooks.apply(
            deployment, check=check, limit_s=LIMIT_S, seen=seen.append, asked_to_end=lambda: False
        )
        return applied, seen

    def test_a_second_time_changes_nothing(self, world: PlaybooksWorld) -> None:
        first, _seen = self.apply(world)
        second, _seen = self.apply(world)
        assert (first.changed, first.failures) == (4, ())
        assert (second.changed, second.changes, second.failures) == (0, (), ())
        assert [recap.machine for recap in second.recaps] == list(MACHINES)

    def test_comparing_tells_and_changes_nothing(self, world: PlaybooksWorld) -> None:
        compared, _seen = self.apply(world, check=True)
        applied, _seen = self.apply(world)
        assert {(c.machine, c.role) for c in compared.changes} == {(m, r) for m in MACHINES for r in ROLES}
        assert compared.changed == applied.changed == 4

    def test_roles_and_machines_can_be_narrowed_down(self, world: PlaybooksWorld) -> None:
        applied, _seen = self.apply(world, Deployment(("zookeeper",), ("west-db-1",), whole=False))
        assert [(change.machine, change.role) for change in applied.changes] == [("west-db-1", "zookeeper")]

    def test_a_failing_task_tells_its_own_message_and_stops_its_machine_alone(
        self, world: PlaybooksWorld
    ) -> None:
        world.fail("east-db-1", "base", "No space left on device")
        applied, _seen = self.apply(world)
        (failure,) = applied.failures
        assert (failure.machine, failure.role, failure.trouble) == ("east-db-1", "base", Trouble.FAILED)
        assert "No space left on device" in failure.message
        assert {change.machine for change in applied.changes} == {"west-db-1"}
        assert {recap.machine: recap.failed for recap in applied.recaps} == {"east-db-1": 1, "west-db-1": 0}

    def test_a_machine_that_cannot_be_reached_is_named(self, world: PlaybooksWorld) -> None:
        world.darken("west-db-1")
        applied, _seen = self.apply(world)
        (failure,) = applied.failures
        assert (failure.machine, failure.trouble) == ("west-db-1", Trouble.UNREACHABLE)
        assert failure.message
        assert {change.machine for change in applied.changes} == {"east-db-1"}

    def test_what_happens_is_told_while_it_happens(self, world: PlaybooksWorld) -> None:
        _applied, seen = self.apply(world)
        for machine in MACHINES:
            told = [each for each in seen if each.machine == machine]
            assert [each.role for each in told if isinstance(each, Change)] == list(ROLES)
            for change in (each for each in told if isinstance(each, Change)):
                assert Doing(machine, change.role, change.task) in told[: told.index(change)]

    def test_it_ends_soon_after_it_was_asked_to(self, world: PlaybooksWorld) -> None:
        asked = threading.Event()

        def seen(_what: object) -> None:
            asked.set()

        began = time.monotonic()
        with pytest.raises(Interrupted):
            world.playbooks.apply(WHOLE, check=False, limit_s=LIMIT_S, seen=seen, asked_to_end=asked.is_set)
        assert time.monotonic() - began < LIMIT_S / 2
