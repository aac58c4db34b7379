"""What every keeper of ``ports.Machines`` must do: the fake, OpenStack and VMware run these same cases."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Protocol

import pytest

from dcctl.domain.machine import (
    Power,
    PowerReading,
    Server,
    ServerSpec,
    decide_power_off_proven,
)
from dcctl.errors import CredentialsRefused, DcctlError, NotFound, Refused, Rejected, Unreachable
from dcctl.ports import Machines

ONE = "contract-1"
TWO = "contract-2"
FOREIGN = "contract-foreign"
ABSENT = "contract-absent"


class MachinesWorld(Protocol):
    """A site with at least two usable hypervisors, in which nothing of ours exists yet.

    The fixture that gives one also ends it, and then nothing that a test made is left, whatever failed.
    """

    machines: Machines

    def spec(self, name: str) -> ServerSpec:
        """A small server that fits this site; for one name always the same, with an address of its own."""

    def make_foreign(self, name: str, *, owner: str | None) -> None:
        """Make a running server of that name by other means, marked by ``owner`` or by nobody."""

    def make_leftover(self, spec: ServerSpec) -> None:
        """Leave what an ``ensure_server`` that was killed midway leaves: ours, marked, unfinished."""

    def disconnected(self, hypervisor: str) -> AbstractContextManager[None]:
        """While entered, the cloud has lost that host; ``pytest.skip`` where that cannot be done."""

    def unreachable(self) -> Machines:
        """The same port set to talk to an endpoint where nothing answers."""

    def with_wrong_password(self) -> Machines:
        """The same port with credentials that the cloud refuses."""


class MachinesContract:
    """Subclass it and give it a ``world`` fixture."""

    @pytest.fixture
    def world(self) -> Iterator[MachinesWorld]:
        raise NotImplementedError("a subclass gives the world")

    @pytest.fixture
    def machines(self, world: MachinesWorld) -> Machines:
        return world.machines

    @pytest.fixture
    def server(self, world: MachinesWorld) -> Server:
        return world.machines.ensure_server(world.spec(ONE))

    # What is there

    def test_a_site_that_holds_nothing_of_ours_lists_nothing_of_ours(self, world: MachinesWorld) -> None:
        environment = world.spec(ONE).environment
        assert [s for s in world.machines.observe_servers() if s.owner == environment] == []

    @pytest.mark.usefixtures("server")
    def test_servers_are_listed_sorted_with_ours_and_foreign_told_apart(self, world: MachinesWorld) -> None:
        world.make_foreign(FOREIGN, owner=None)
        listed = world.machines.observe_servers()
        owners = {s.name: s.owner for s in listed}
        assert [s.name for s in listed] == sorted(s.name for s in listed)
        assert owners[ONE] == world.spec(ONE).environment
        assert owners[FOREIGN] is None

    def test_another_environment_is_named_as_the_owner(self, world: MachinesWorld) -> None:
        world.make_foreign(FOREIGN, owner="another")
        assert find(world.machines, FOREIGN).owner == "another"

    def test_hypervisors_are_listed_sorted_usable_and_with_capacity(self, machines: Machines) -> None:
        hosts = machines.observe_hypervisors()
        assert [h.name for h in hosts] == sorted(h.name for h in hosts)
        assert len([h for h in hosts if h.usable]) >= 2
        for host in hosts:
            assert host.site == machines.site
            assert host.vcpus > 0
            assert host.memory_bytes > 0

    def test_a_server_counts_against_the_hypervisor_it_is_on(self, world: MachinesWorld) -> None:
        before = {h.name: h for h in world.machines.observe_hypervisors()}
        server = world.machines.ensure_server(world.spec(ONE))
        after = {h.name: h for h in world.machines.observe_hypervisors()}[server.hypervisor]
        size = world.spec(ONE).size
        assert after.servers == before[after.name].servers + 1
        assert after.vcpus_used >= before[after.name].vcpus_used + size.vcpus
        assert after.memory_used_bytes >= before[after.name].memory_used_bytes + size.memory_bytes

    # Creating

    def test_an_ensured_server_runs_as_specified(self, world: MachinesWorld, server: Server) -> None:
        spec = world.spec(ONE)
        assert server.id
        assert server.name == spec.name
        assert server.site == world.machines.site
        assert server.owner == spec.environment
        assert server.power is Power.ON
        assert server.address == spec.address
        assert server.host_key == spec.host_key
        assert not server.leftover
        assert server.size is not None
        assert server.size.vcpus == spec.size.vcpus
        assert server.size.memory_bytes == spec.size.memory_bytes
        assert server.hypervisor in {h.name for h in world.machines.observe_hypervisors()}
        assert find(world.machines, ONE) == server

    def test_ensuring_again_changes_nothing(self, world: MachinesWorld, server: Server) -> None:
        again = world.machines.ensure_server(world.spec(ONE))
        assert again == server
        assert count(world.machines, ONE) == 1

    def test_ensuring_powers_on_what_was_off(self, world: MachinesWorld, server: Server) -> None:
        world.machines.ensure_power(ONE, Power.OFF)
        again = world.machines.ensure_server(world.spec(ONE))
        assert again.id == server.id
        assert again.power is Power.ON

    def test_ensuring_resumes_what_was_suspended(self, world: MachinesWorld, server: Server) -> None:
        world.machines.ensure_power(ONE, Power.SUSPENDED)
        again = world.machines.ensure_server(world.spec(ONE))
        assert again.id == server.id
        assert again.power is Power.ON

    def test_a_leftover_is_removed_and_made_anew(self, world: MachinesWorld) -> None:
        world.make_leftover(world.spec(ONE))
        server = world.machines.ensure_server(world.spec(ONE))
        assert server.power is Power.ON
        assert not server.leftover
        assert server.address == world.spec(ONE).address
        assert count(world.machines, ONE) == 1

    def test_a_leftover_is_listed_as_ours(self, world: MachinesWorld) -> None:
        world.make_leftover(world.spec(ONE))
        leftover = find(world.machines, ONE)
        assert leftover.owner == world.spec(ONE).environment
        assert leftover.leftover

    def test_two_servers_live_side_by_side(self, world: MachinesWorld, server: Server) -> None:
        other = world.machines.ensure_server(world.spec(TWO))
        assert other.id != server.id
        assert other.address != server.address
        assert find(world.machines, ONE) == server

    # Power

    def test_power_on_reads_on_and_is_newer_than_the_question(
        self, world: MachinesWorld, server: Server
    ) -> None:
        asked = just_now()
        reading = world.machines.observe_power(ONE)
        assert reading.power is Power.ON
        assert reading.server == ONE
        assert reading.hypervisor == server.hypervisor
        assert reading.hypervisor_connected
        assert not reading.task_pending
        assert asked <= reading.asked_at <= reading.read_at <= datetime.now(UTC)

    @pytest.mark.usefixtures("server")
    def test_power_off_is_proven_by_its_read_back(self, world: MachinesWorld) -> None:
        requested = just_now()
        reading = world.machines.ensure_power(ONE, Power.OFF)
        assert decide_power_off_proven(reading, requested_at=requested) == ()
        later = world.machines.observe_power(ONE)
        assert decide_power_off_proven(later, requested_at=requested) == ()
        assert find(world.machines, ONE).power is Power.OFF

    @pytest.mark.usefixtures("server")
    def test_power_off_again_is_proven_again(self, world: MachinesWorld) -> None:
        world.machines.ensure_power(ONE, Power.OFF)
        requested = just_now()
        assert (
            decide_power_off_proven(world.machines.ensure_power(ONE, Power.OFF), requested_at=requested) == ()
        )

    @pytest.mark.usefixtures("server")
    def test_a_reading_from_before_the_request_proves_nothing(self, world: MachinesWorld) -> None:
        reading = world.machines.ensure_power(ONE, Power.OFF)
        assert decide_power_off_proven(reading, requested_at=just_now()) != ()

    def test_a_disconnected_hypervisor_proves_nothing(self, world: MachinesWorld, server: Server) -> None:
        world.machines.ensure_power(ONE, Power.OFF)
        with world.disconnected(server.hypervisor):
            requested = just_now()
            reading = world.machines.observe_power(ONE)
            host = next(h for h in world.machines.observe_hypervisors() if h.name == server.hypervisor)
        assert not host.usable
        assert not reading.hypervisor_connected
        assert decide_power_off_proven(reading, requested_at=requested) != ()

    def test_power_on_after_off(self, world: MachinesWorld, server: Server) -> None:
        world.machines.ensure_power(ONE, Power.OFF)
        assert world.machines.ensure_power(ONE, Power.ON).power is Power.ON
        assert world.machines.ensure_power(ONE, Power.ON).power is Power.ON
        assert find(world.machines, ONE).id == server.id

    def test_suspend_and_resume(self, world: MachinesWorld, server: Server) -> None:
        requested = just_now()
        suspended = world.machines.ensure_power(ONE, Power.SUSPENDED)
        assert suspended.power is Power.SUSPENDED
        assert decide_power_off_proven(suspended, requested_at=requested) != ()
        assert world.machines.ensure_power(ONE, Power.SUSPENDED).power is Power.SUSPENDED
        assert world.machines.ensure_power(ONE, Power.ON).power is Power.ON
        assert find(world.machines, ONE).id == server.id

    @pytest.mark.usefixtures("server")
    def test_a_suspended_server_is_put_off_or_stays_suspended(self, world: MachinesWorld) -> None:
        """It must not be resumed on the way: for that moment the fenced machine would act again."""
        world.machines.ensure_power(ONE, Power.SUSPENDED)
        requested = just_now()
        try:
            reading: PowerReading = world.machines.ensure_power(ONE, Power.OFF)
        except Rejected:
            assert world.machines.observe_power(ONE).power is Power.SUSPENDED
        else:
            assert decide_power_off_proven(reading, requested_at=requested) == ()

    # Moving

    def test_a_running_server_moves_to_the_named_host(self, world: MachinesWorld, server: Server) -> None:
        target = another_host(world.machines, than=server.hypervisor)
        moved = world.machines.move_server(ONE, target)
        assert moved.hypervisor == target
        assert moved.id == server.id
        assert moved.power is Power.ON
        assert find(world.machines, ONE) == moved

    def test_moving_to_where_it_is_changes_nothing(self, world: MachinesWorld, server: Server) -> None:
        assert world.machines.move_server(ONE, server.hypervisor) == server

    def test_a_server_that_is_off_moves_and_stays_off(self, world: MachinesWorld, server: Server) -> None:
        world.machines.ensure_power(ONE, Power.OFF)
        target = another_host(world.machines, than=server.hypervisor)
        moved = world.machines.move_server(ONE, target)
        assert moved.hypervisor == target
        assert moved.power is Power.OFF

    @pytest.mark.usefixtures("server")
    def test_an_unknown_host_is_not_found(self, world: MachinesWorld) -> None:
        with pytest.raises(NotFound) as caught:
            world.machines.move_server(ONE, "no-such-host")
        says(caught.value, world.machines.site, "no-such-host")

    # Deleting

    @pytest.mark.usefixtures("server")
    def test_delete_removes(self, world: MachinesWorld) -> None:
        world.machines.delete_server(ONE)
        assert count(world.machines, ONE) == 0

    @pytest.mark.usefixtures("server")
    def test_delete_removes_what_is_off(self, world: MachinesWorld) -> None:
        world.machines.ensure_power(ONE, Power.OFF)
        world.machines.delete_server(ONE)
        assert count(world.machines, ONE) == 0

    def test_delete_removes_a_leftover(self, world: MachinesWorld) -> None:
        world.make_leftover(world.spec(ONE))
        world.machines.delete_server(ONE)
        assert count(world.machines, ONE) == 0

    def test_deleting_what_is_absent_is_done(self, machines: Machines) -> None:
        machines.delete_server(ABSENT)

    def test_a_deleted_server_can_be_made_again(self, world: MachinesWorld, server: Server) -> None:
        world.machines.delete_server(ONE)
        again = world.machines.ensure_server(world.spec(ONE))
        assert again.id != server.id
        assert again.address == server.address

    # Absence

    def test_an_absent_server_is_not_found(self, machines: Machines) -> None:
        host = machines.observe_hypervisors()[0].name
        for call in (
            lambda: machines.observe_power(ABSENT),
            lambda: machines.ensure_power(ABSENT, Power.OFF),
            lambda: machines.move_server(ABSENT, host),
        ):
            with pytest.raises(NotFound) as caught:
                call()
            says(caught.value, machines.site, ABSENT)

    # What is not ours

    @pytest.mark.parametrize("owner", [None, "another"])
    def test_a_foreign_server_is_never_changed(self, world: MachinesWorld, owner: str | None) -> None:
        world.make_foreign(FOREIGN, owner=owner)
        before = find(world.machines, FOREIGN)
        target = another_host(world.machines, than=before.hypervisor)
        for call in (
            lambda: world.machines.ensure_server(world.spec(FOREIGN)),
            lambda: world.machines.ensure_power(FOREIGN, Power.OFF),
            lambda: world.machines.ensure_power(FOREIGN, Power.ON),
            lambda: world.machines.move_server(FOREIGN, target),
            lambda: world.machines.delete_server(FOREIGN),
        ):
            with pytest.raises(Refused) as caught:
                call()
            says(caught.value, world.machines.site, FOREIGN, *([owner] if owner else []))
        assert find(world.machines, FOREIGN) == before
        assert count(world.machines, FOREIGN) == 1

    # The cloud itself

    def test_an_endpoint_that_does_not_answer_is_unreachable(self, world: MachinesWorld) -> None:
        for call in every_call(world.unreachable(), world.spec(ONE)):
            with pytest.raises(Unreachable) as caught:
                call()
            assert not isinstance(caught.value, Rejected | CredentialsRefused)
            says(caught.value, world.machines.site)

    def test_a_wrong_password_is_refused(self, world: MachinesWorld) -> None:
        for call in every_call(world.with_wrong_password(), world.spec(ONE)):
            with pytest.raises(CredentialsRefused) as caught:
                call()
            says(caught.value, world.machines.site)


def just_now() -> datetime:
    """This instant, and it is past when the call returns: two clock reads can give the same microsecond."""
    instant = datetime.now(UTC)
    while datetime.now(UTC) <= instant:
        pass
    return instant


def find(machines: Machines, name: str) -> Server:
    """The one server of that name."""
    (server,) = [s for s in machines.observe_servers() if s.name == name]
    return server


def count(machines: Machines, name: str) -> int:
    """How many servers bear that name."""
    return len([s for s in machines.observe_servers() if s.name == name])


def another_host(machines: Machines, *, than: str) -> str:
    """A usable hypervisor other than ``than``."""
    return next(h.name for h in machines.observe_hypervisors() if h.usable and h.name != than)


def every_call(machines: Machines, spec: ServerSpec) -> tuple[Callable[[], object], ...]:
    """One call of every method, each of which must fail in the same way when the cloud is no use."""
    return (
        machines.observe_servers,
        machines.observe_hypervisors,
        lambda: machines.observe_power(spec.name),
        lambda: machines.ensure_server(spec),
        lambda: machines.ensure_power(spec.name, Power.OFF),
        lambda: machines.move_server(spec.name, "host"),
        lambda: machines.delete_server(spec.name),
    )


def says(error: DcctlError, *words: str) -> None:
    """Assert that the error names these things to the person who reads it."""
    for word in words:
        assert word in error.sentence(), f"{word!r} is not named in {error.sentence()!r}"
