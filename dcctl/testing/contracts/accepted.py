"""What every keeper of ``ports.Accepted`` must do: the fake and the copies on disk run these same cases."""

from collections.abc import Callable
from typing import Protocol

from dcctl.domain.deploy import Deployment, Target
from dcctl.ports import Accepted

TARGETS = (
    Target("east-db-1", "east", "192.0.2.1", ("base", "zookeeper", "postgresql")),
    Target("east-edge-1", "east", "192.0.2.2", ("base", "edge")),
    Target("west-edge-1", "west", "192.0.2.3", ("base", "edge")),
)


class AcceptedWorld(Protocol):
    """Something that was never deployed."""

    accepted: Accepted

    def change(self) -> None:
        """What is configured now becomes something else."""


def part(roles: tuple[str, ...], *machines: str) -> Deployment:
    return Deployment(roles, machines, whole=False)


EAST = part(("base", "zookeeper", "postgresql", "edge"), "east-db-1", "east-edge-1")


class AcceptedContract:
    """Subclass with a fixture ``world``; ``ways_back`` shows what a way back would do."""

    def covered(self, accepted: Accepted, deployment: Deployment) -> set[tuple[str, str]]:
        roles = {target.name: target.roles for target in TARGETS}
        return {
            (machine, role)
            for earlier in accepted.earlier(deployment)
            for machine in earlier.deployment.machines
            for role in earlier.deployment.roles
            if role in roles[machine]
        }

    def test_what_never_passed_has_no_way_back(self, world: AcceptedWorld) -> None:
        assert world.accepted.earlier(EAST) == ()

    def test_what_passed_in_part_has_no_way_back(self, world: AcceptedWorld) -> None:
        world.accepted.keep(part(("base", "edge"), "east-edge-1"))
        assert world.accepted.earlier(EAST) == ()
        assert self.covered(world.accepted, part(("edge",), "east-edge-1")) == {("east-edge-1", "edge")}

    def test_what_passed_has_a_way_back_in_one_part(self, world: AcceptedWorld) -> None:
        world.accepted.keep(EAST)
        world.change()
        assert self.covered(world.accepted, EAST) == {
            *(("east-db-1", role) for role in ("base", "zookeeper", "postgresql")),
            *(("east-edge-1", role) for role in ("base", "edge")),
        }

    def test_other_machines_are_not_in_it(self, world: AcceptedWorld) -> None:
        world.accepted.keep(part(("base", "edge"), "east-edge-1", "west-edge-1"))
        machines = [
            m
            for each in world.accepted.earlier(part(("edge",), "west-edge-1"))
            for m in each.deployment.machines
        ]
        assert machines == ["west-edge-1"]

    def test_each_role_goes_back_to_what_it_passed_with(self, world: AcceptedWorld) -> None:
        world.accepted.keep(EAST)
        world.change()
        world.accepted.keep(part(("postgresql",), "east-db-1"))
        ways = [
            (machine, role)
            for earlier in world.accepted.earlier(EAST)
            for machine in earlier.deployment.machines
            for role in earlier.deployment.roles
            if (machine, role) != ("east-edge-1", "zookeeper")
        ]
        assert ways.count(("east-db-1", "postgresql")) == 1


Make = Callable[[], AcceptedWorld]
