"""What the ports through which a running system is seen and broken keep, the real ones and the fakes.

class TestMySystem(SystemContract):
    @pytest.fixture
    def world(self) -> Iterator[SystemWorld]: ...
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from dcctl.domain.fault import Breakage, Kind
from dcctl.domain.observation import VoterMode
from dcctl.errors import Unreachable
from dcctl.ports import Coordination, Database, Edges, Fault


class SystemWorld(Protocol):
    """A steady system: a quorum, a primary, its synchronous standby at the other site, two edges."""

    coordination: Coordination
    database: Database
    edges: Edges
    fault: Fault
    places: Mapping[str, str]
    """The site of every voter, member and edge."""

    def pass_time(self, seconds: float) -> None:
        """Let that much time pass."""


class SystemContract:
    def test_the_voters_agree_on_one_leader(self, world: SystemWorld) -> None:
        modes = [world.coordination.observe_voter(name).mode for name in world.coordination.voters]
        assert sorted(modes) == sorted([VoterMode.LEADER, *[VoterMode.FOLLOWER] * (len(modes) - 1)])

    def test_one_member_is_primary_and_the_quorum_says_the_same(self, world: SystemWorld) -> None:
        primaries = [name for name in world.database.members if world.database.observe_member(name).primary]
        assert primaries == [world.database.observe_cluster().leader]

    def test_the_synchronous_standby_is_named_and_confirmed(self, world: SystemWorld) -> None:
        cluster = world.database.observe_cluster()
        assert cluster.leader is not None
        (standby,) = cluster.synchronous
        assert world.database.observe_member(cluster.leader).streaming[standby] in ("sync", "quorum")
        assert not world.database.observe_member(standby).primary
        assert world.places[standby] != world.places[cluster.leader]

    def test_positions_in_the_log_can_be_compared(self, world: SystemWorld) -> None:
        positions = [world.database.observe_member(name).location_bytes for name in world.database.members]
        assert all(isinstance(each, int) for each in positions)

    def test_every_edge_sends_writes_to_the_primary_and_nowhere_else(self, world: SystemWorld) -> None:
        primary = world.database.observe_cluster().leader
        assert {world.edges.observe_edge(name).routes_to for name in world.edges.edges} == {(primary,)}

    def test_a_cut_site_is_silent_and_the_others_are_not(self, world: SystemWorld) -> None:
        site = self._standbys_site(world)
        with broken(world.fault, Breakage(Kind.CUT, site), for_s=30):
            (seen,) = world.fault.observe_breakages()
            assert seen.breakage == Breakage(Kind.CUT, site)
            assert 0 < seen.ends_in_s <= 30
            for name, question in self._questions(world):
                silent = False
                try:
                    question(name)
                except Unreachable:
                    silent = True
                assert silent == (world.places[name] == site), name
        assert world.fault.observe_breakages() == ()

    def test_without_a_site_the_quorum_still_answers(self, world: SystemWorld) -> None:
        site, leader = self._standbys_site(world), world.database.observe_cluster().leader
        with broken(world.fault, Breakage(Kind.CUT, site), for_s=30):
            world.pass_time(6.0)  # a dark leader is given up, and another one elected
            assert world.database.observe_cluster().leader == leader

    def _standbys_site(self, world: SystemWorld) -> str:
        """Cutting it for a moment moves nothing."""
        return world.places[world.database.observe_cluster().synchronous[0]]

    def _questions(self, world: SystemWorld) -> list[tuple[str, Callable[[str], Any]]]:
        return [
            *((name, world.coordination.observe_voter) for name in world.coordination.voters),
            *((name, world.database.observe_member) for name in world.database.members),
            *((name, world.edges.observe_edge) for name in world.edges.edges),
        ]


@contextmanager
def broken(fault: Fault, breakage: Breakage, *, for_s: float) -> Iterator[None]:
    fault.inflict(breakage, for_s=for_s)
    try:
        yield
    finally:
        fault.mend(breakage)
