"""What the port through which things are broken on purpose keeps, the real one and the fake.

class TestMyFault(FaultContract):
    @pytest.fixture
    def world(self) -> Iterator[SystemWorld]: ...
"""

import pytest

from dcctl.domain.fault import Breakage, Kind
from dcctl.errors import DcctlError, Unreachable
from dcctl.testing.contracts.system import SystemWorld, broken

UNKNOWN = (
    Breakage(Kind.CUT, "atlantis"),
    Breakage(Kind.ONE_WAY, "east", "atlantis"),
    Breakage(Kind.PAUSE, "atlantis-db-1"),
    Breakage(Kind.KILL, "atlantis-db-1"),
)


class FaultContract:
    @pytest.fixture(params=list(Kind))
    def breakage(self, world: SystemWorld, request: pytest.FixtureRequest) -> Breakage:
        """Of the standby's machine, its site, or the way to it: breaking it for a moment moves nothing."""
        cluster = world.database.observe_cluster()
        standby, leader = cluster.synchronous[0], cluster.leader
        assert leader is not None
        if request.param is Kind.CUT:
            return Breakage(Kind.CUT, world.places[standby])
        if request.param is Kind.ONE_WAY:
            return Breakage(Kind.ONE_WAY, world.places[leader], world.places[standby])
        return Breakage(request.param, standby)

    def test_what_is_broken_is_seen_with_its_end_and_mended(
        self, world: SystemWorld, breakage: Breakage
    ) -> None:
        with broken(world.fault, breakage, for_s=60):
            (seen,) = world.fault.observe_breakages()
            assert seen.breakage == breakage
            assert 0 < seen.ends_in_s <= 60
        assert world.fault.observe_breakages() == ()

    def test_it_ends_by_itself(self, world: SystemWorld, breakage: Breakage) -> None:
        with broken(world.fault, breakage, for_s=1):
            world.pass_time(20.0)
            assert world.fault.observe_breakages() == ()

    def test_a_second_time_renews_its_end(self, world: SystemWorld, breakage: Breakage) -> None:
        with broken(world.fault, breakage, for_s=5), broken(world.fault, breakage, for_s=120):
            world.pass_time(15.0)
            assert [each.breakage for each in world.fault.observe_breakages()] == [breakage]

    def test_mending_what_is_whole_is_done(self, world: SystemWorld, breakage: Breakage) -> None:
        world.fault.mend(breakage)
        assert world.fault.observe_breakages() == ()

    def test_a_machine_that_stands_still_says_nothing(self, world: SystemWorld) -> None:
        standby = world.database.observe_cluster().synchronous[0]
        with broken(world.fault, Breakage(Kind.PAUSE, standby), for_s=60), pytest.raises(Unreachable):
            world.database.observe_member(standby)

    def test_a_voter_that_is_killed_says_nothing_and_its_machine_does(self, world: SystemWorld) -> None:
        standby = world.database.observe_cluster().synchronous[0]
        with broken(world.fault, Breakage(Kind.KILL, standby), for_s=60):
            with pytest.raises(Unreachable):
                world.coordination.observe_voter(standby)
            assert not world.database.observe_member(standby).primary

    @pytest.mark.parametrize("unknown", UNKNOWN, ids=lambda each: each.word())
    def test_what_does_not_exist_is_not_broken(self, world: SystemWorld, unknown: Breakage) -> None:
        with pytest.raises(DcctlError):
            world.fault.inflict(unknown, for_s=5)
        assert world.fault.observe_breakages() == ()
