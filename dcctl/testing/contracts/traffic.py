"""What every ``ports.Sites``, ``ports.Vantages`` and ``ports.EdgeRuntime`` keeps.

class TestMySites(SitesContract):
    @pytest.fixture
    def world(self) -> Iterator[SitesWorld]: ...
"""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

import pytest

from dcctl.domain.probe import Health, ProbeResult
from dcctl.domain.traffic import EdgeApplied, Observation, Rotation, SiteState
from dcctl.errors import Refused, Rejected, Unreachable
from dcctl.ports import EdgeRuntime, Sites, Vantages

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class SitesWorld(Protocol):
    """An environment of ``east`` and ``west``, and two clients of its ensemble."""

    here: Sites
    there: Sites

    def cut(self, sites: Sites) -> None:
        """From now on nothing goes to the ensemble or comes back."""


def a_state(site: str = "east", state: Rotation = Rotation.DRAINED, by: str = "ann@ops") -> SiteState:
    return SiteState(site, state, "a new kernel", by, AT, "20260102-030405-drain-0001")


class SitesContract:
    def test_a_site_that_was_never_changed_is_active(self, world: SitesWorld) -> None:
        assert world.here.observe_sites() == (SiteState("east"), SiteState("west"))

    def test_what_is_written_is_seen_by_everybody(self, world: SitesWorld) -> None:
        written = world.here.change_site(a_state(), expected=None)
        assert replace(written, version=None) == a_state()
        assert written.version is not None
        assert world.there.observe_sites() == (written, SiteState("west"))

    def test_a_change_names_the_version_that_it_is_based_on(self, world: SitesWorld) -> None:
        first = world.here.change_site(a_state(), expected=None)
        second = world.there.change_site(a_state(state=Rotation.ACTIVE), expected=first.version)
        assert second.version is not None
        assert first.version is not None
        assert second.version > first.version
        assert world.here.observe_sites()[0] == second

    def test_of_two_changes_of_the_same_state_one_is_refused(self, world: SitesWorld) -> None:
        world.here.change_site(a_state(by="ann@ops"), expected=None)
        with pytest.raises(Refused, match="ann@ops"):
            world.there.change_site(a_state(state=Rotation.QUARANTINED, by="bob@ops"), expected=None)
        now = world.there.observe_sites()[0]
        world.there.change_site(a_state(state=Rotation.ACTIVE, by="bob@ops"), expected=now.version)
        with pytest.raises(Refused, match="bob@ops"):
            world.here.change_site(a_state(state=Rotation.DRAINED, by="ann@ops"), expected=now.version)
        assert world.here.observe_sites()[0].by == "bob@ops"

    def test_our_own_change_again_is_no_conflict(self, world: SitesWorld) -> None:
        """The answer to the first may have been lost."""
        written = world.here.change_site(a_state(), expected=None)
        assert world.here.change_site(a_state(), expected=None) == written

    def test_a_client_that_is_cut_off_is_told_so(self, world: SitesWorld) -> None:
        world.cut(world.here)
        with pytest.raises(Unreachable):
            world.here.observe_sites()
        with pytest.raises(Unreachable):
            world.here.change_site(a_state(), expected=None)


class VantagesWorld(Protocol):
    """Two vantages of one environment."""

    here: Vantages
    there: Vantages

    def end_session(self, vantages: Vantages) -> None:
        """Its agent dies; returns once the ensemble knows."""

    def renew_session(self, vantages: Vantages) -> None:
        """The ensemble forgets its session; the agent lives and gets another."""


def an_observation(vantage: str = "east-edge-1", number: int = 1) -> Observation:
    seen = ProbeResult(
        name="west-app-1/cdb",
        target="west-app-1",
        kind="http",
        site="west",
        ok=True,
        saw="200",
        took_s=0.004,
        at=AT,
        figure=12.5,
        health=Health.UP,
    )
    results = (seen, replace(seen, name="west-app-1/ssh", ok=None, saw="it died", figure=None))
    applied = EdgeApplied({"east": True, "west": None}, "Permission denied")
    return Observation(vantage, vantage.partition("-")[0], AT, number, results, applied)


class VantagesContract:
    def test_nobody_has_published(self, world: VantagesWorld) -> None:
        assert world.here.observe_vantages() == ()

    def test_everybody_sees_what_each_published_last(self, world: VantagesWorld) -> None:
        world.here.publish(an_observation())
        world.there.publish(replace(an_observation("witness-1"), place="witness", edge=None, results=()))
        world.here.publish(an_observation(number=2))
        seen = world.there.observe_vantages()
        assert [(each.vantage, each.round) for each in seen] == [("east-edge-1", 2), ("witness-1", 1)]
        assert seen[0] == an_observation(number=2)
        assert world.here.observe_vantages() == seen

    def test_what_is_withdrawn_is_gone(self, world: VantagesWorld) -> None:
        world.here.publish(an_observation())
        world.here.withdraw()
        world.here.withdraw()
        assert world.there.observe_vantages() == ()
        world.here.publish(an_observation(number=3))
        assert [each.round for each in world.there.observe_vantages()] == [3]

    def test_the_observation_ends_with_the_session(self, world: VantagesWorld) -> None:
        world.here.publish(an_observation())
        world.there.publish(an_observation("west-edge-1"))
        world.end_session(world.here)
        assert [each.vantage for each in world.there.observe_vantages()] == ["west-edge-1"]

    def test_a_vantage_with_a_new_session_publishes_on(self, world: VantagesWorld) -> None:
        world.here.publish(an_observation())
        world.renew_session(world.here)
        world.here.publish(an_observation(number=2))
        assert [each.round for each in world.there.observe_vantages()] == [2]


class EdgeWorld(Protocol):
    """An edge at east with ``cdb/east-app-1``, ``cdb/west-app-1`` and its own mark ``rotation/east``."""

    edge: EdgeRuntime

    def end(self) -> None:
        """HAProxy is gone."""


class EdgeRuntimeContract:
    def test_all_are_in_rotation_at_first(self, world: EdgeWorld) -> None:
        seen = {(each.backend, each.name): each.in_rotation for each in world.edge.observe_servers()}
        assert {key: seen[key] for key in (("cdb", "east-app-1"), ("cdb", "west-app-1"))} == {
            ("cdb", "east-app-1"): True,
            ("cdb", "west-app-1"): True,
        }
        assert seen["rotation", "east"]

    def test_what_is_steered_is_read_back(self, world: EdgeWorld) -> None:
        for wanted in (False, False, True, True):
            world.edge.steer("cdb", "east-app-1", in_rotation=wanted)
            seen = {(each.backend, each.name): each.in_rotation for each in world.edge.observe_servers()}
            assert seen["cdb", "east-app-1"] is wanted
            assert seen["cdb", "west-app-1"], "no other is touched"
        world.edge.steer("rotation", "east", in_rotation=False)
        assert not next(
            each.in_rotation for each in world.edge.observe_servers() if each.backend == "rotation"
        )

    def test_a_server_that_is_not_there_is_rejected(self, world: EdgeWorld) -> None:
        with pytest.raises(Rejected, match=r"(?i)no such"):
            world.edge.steer("cdb", "north-app-1", in_rotation=False)
        with pytest.raises(Rejected, match=r"(?i)no such"):
            world.edge.steer("nothing", "east-app-1", in_rotation=False)

    def test_a_dead_edge_is_unreachable(self, world: EdgeWorld) -> None:
        world.end()
        with pytest.raises(Unreachable):
            world.edge.observe_servers()
        with pytest.raises(Unreachable):
            world.edge.steer("cdb", "east-app-1", in_rotation=False)
