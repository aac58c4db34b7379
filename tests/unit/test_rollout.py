"""A deploy from place to place: what is decided, and what happens when something goes wrong on the way."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from dcctl.domain.deploy import Applied, Deployment, Target, decide_deployment
from dcctl.domain.observation import ClusterReport, DatabaseReport, Seen, View, VoterMode, VoterReport
from dcctl.domain.probe import Health, ProbeResult
from dcctl.domain.refusal import Refusal
from dcctl.domain.rollout import Rollout, SiteNow, decide_ready, decide_rollout
from dcctl.domain.rules import Override, Reason, Rule, rule_of
from dcctl.domain.step import Step, Work
from dcctl.domain.traffic import Rotation
from dcctl.engines import deploy
from dcctl.engines.deploy import Deployed
from dcctl.engines.rollout import Means, observe_changed, roll_out
from dcctl.errors import Interrupted, Refused, Rejected, StepFailed, UndoIncomplete, Unreachable
from dcctl.shell import Interruption, perform
from dcctl.testing.clock import VirtualClock
from dcctl.testing.deploy import FakeAcceptance, FakeAccepted, FakeArtifacts, FakeEstate, FakePlaybooks
from dcctl.testing.journal import MemoryJournal

AT = datetime(2026, 11, 21, tzinfo=UTC)
TARGETS = (
    Target("east-db-1", "east", "192.0.2.1", ("base", "zookeeper", "postgresql")),
    Target("east-edge-1", "east", "192.0.2.2", ("base", "edge", "agent")),
    Target("west-db-1", "west", "192.0.2.3", ("base", "zookeeper", "postgresql")),
    Target("west-edge-1", "west", "192.0.2.4", ("base", "edge", "agent")),
    Target("witness-1", "witness", "192.0.2.5", ("base", "zookeeper", "agent")),
)
ALL = tuple(target.name for target in TARGETS)
EAST = SiteNow("east", Rotation.ACTIVE, serves=True, primary=True)
WEST = SiteNow("west", Rotation.ACTIVE, serves=True)
CLOSED = (Reason(Rule.CHANGE_WINDOW, "auctions are held until 16:00"),)


def deployment(**narrowed: list[str]) -> Deployment:
    decided = decide_deployment(TARGETS, **narrowed)
    assert isinstance(decided, Deployment)
    return decided


def decide(
    *,
    changed: Sequence[str] = ALL,
    east: SiteNow = EAST,
    west: SiteNow = WEST,
    together: str = "",
    of: Deployment | None = None,
    **more: Any,
) -> Rollout | Refusal:
    return decide_rollout(of or deployment(), TARGETS, changed, (east, west), together=together, **more)


def shape(decided: Rollout | Refusal) -> list[tuple[str, bool, bool]]:
    assert isinstance(decided, Rollout), decided
    return [(wave.place, wave.drain, wave.undrain) for wave in decided.waves]


class TestDecideRollout:
    def test_the_witness_then_the_standby_then_the_primary(self) -> None:
        decided = decide()
        assert shape(decided) == [("witness", False, False), ("west", True, True), ("east", True, True)]
        assert isinstance(decided, Rollout)
        assert [wave.deployment.machines for wave in decided.waves] == [
            ("witness-1",),
            ("west-db-1", "west-edge-1"),
            ("east-db-1", "east-edge-1"),
        ]
        assert decided.waves[0].deployment.roles == ("base", "zookeeper", "agent")

    def test_nothing_is_taken_out_for_nothing(self) -> None:
        assert shape(decide(changed=())) == []
        assert shape(decide(changed=("west-edge-1",))) == [("west", True, True)]

    def test_a_system_that_serves_nobody_is_configured_together(self) -> None:
        east, west = (replace(each, serves=False, why_not="no edge answers") for each in (EAST, WEST))
        decided = decide(east=east, west=west)
        assert shape(decided) == [("", False, False)]
        assert isinstance(decided, Rollout)
        assert "no site serves clients" in decided.together

    def test_a_person_may_ask_for_all_together(self) -> None:
        assert shape(decide(together="asked for")) == [("", False, False)]
        assert shape(decide(together="asked for", changed=())) == []

    def test_a_site_that_does_not_serve_comes_first(self) -> None:
        assert shape(decide(east=replace(EAST, serves=False))) == [
            ("witness", False, False),
            ("east", True, True),
            ("west", True, True),
        ]

    @pytest.mark.parametrize("state", [Rotation.DRAINED, Rotation.QUARANTINED])
    def test_what_a_person_or_a_failover_took_out_stays_out(self, state: Rotation) -> None:
        of = deployment(limit=["west"])
        decided = decide(west=replace(WEST, rotation=state), of=of, changed=of.machines)
        assert shape(decided) == [("west", False, False)]

    @pytest.mark.parametrize("state", [Rotation.DRAINED, Rotation.QUARANTINED])
    def test_no_site_would_be_left(self, state: Rotation) -> None:
        decided = decide(west=replace(WEST, rotation=state))
        assert decided == Refusal((f"taking east out would leave no site to serve: west is {state}",))

    def test_a_site_that_an_earlier_deploy_left_out_is_put_back(self) -> None:
        left = replace(WEST, rotation=Rotation.DRAINED, ours=True)
        assert shape(decide(west=left, changed=())) == [("west", False, True)]
        assert shape(decide(west=left)) == [
            ("witness", False, False),
            ("west", False, True),
            ("east", True, True),
        ]

    def test_a_part_of_a_site_puts_it_back_only_if_all_of_it_is_well(self) -> None:
        left = replace(WEST, rotation=Rotation.DRAINED, ours=True)
        decided = decide(west=left, of=deployment(roles=["edge"]), changed=())
        assert shape(decided) == [("west", False, True)]
        assert isinstance(decided, Rollout)
        assert decided.waves[0].deployment == Deployment(("edge",), ("west-edge-1",), whole=False)
        assert decided.waves[0].gate.machines == ("west-db-1", "west-edge-1")
        assert decided.waves[0].gate.roles == ("base", "zookeeper", "postgresql", "edge", "agent")

    def test_a_deploy_of_one_site_leaves_the_other_alone(self) -> None:
        of = deployment(limit=["east"])
        assert shape(decide(of=of, changed=of.machines)) == [("east", True, True)]

    @pytest.mark.parametrize("together", ["", "asked for"])
    def test_nothing_planned_begins_in_the_hours_of_auctions(self, together: str) -> None:
        decided = decide(together=together, closed=CLOSED)
        assert isinstance(decided, Refusal)
        assert [rule_of(each) for each in decided.reasons] == [Rule.CHANGE_WINDOW]
        word = Override(Rule.CHANGE_WINDOW, "a hole in a library", "ann@ops")
        decided = decide(together=together, closed=CLOSED, overrides=(word,))
        assert isinstance(decided, Rollout)
        assert (bool(decided.waves), decided.overridden) == (True, tuple(CLOSED))

    def test_what_serves_nobody_or_changes_nothing_keeps_no_hours(self) -> None:
        east, west = (replace(each, serves=False) for each in (EAST, WEST))
        assert isinstance(decide(east=east, west=west, closed=CLOSED), Rollout)
        assert decide(changed=(), closed=CLOSED) == Rollout(())

    def test_nobody_overrides_that_a_site_is_left(self) -> None:
        every = tuple(Override(rule, "because", "ann@ops") for rule in Rule)
        out = replace(EAST, rotation=Rotation.QUARANTINED)
        decided = decide(east=out, overrides=every)
        assert isinstance(decided, Refusal)
        assert {rule_of(each) for each in decided.reasons} == {Rule.NEVER_ZERO_ACTIVE}

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ({}, "one place at a time: witness, west (out of traffic meanwhile), east (out of traffic"),
            ({"changed": ()}, "nothing would change: only checks are made"),
            ({"together": "asked for"}, "all places at once: asked for"),
        ],
    )
    def test_what_will_happen_is_said(self, given: dict[str, Any], told: str) -> None:
        decided = decide(**given)
        assert isinstance(decided, Rollout)
        assert decided.sentence().startswith(told)


def view(
    *, voters: dict[str, VoterMode | str] | None = None, primary: str = "east-db-1", sync: str = "west-db-1"
) -> View:
    modes = {"east-db-1": VoterMode.LEADER, "west-db-1": VoterMode.FOLLOWER, "witness-1": VoterMode.FOLLOWER}
    seen = {name: Seen(VoterReport(mode)) for name, mode in modes.items()}
    for name, mode in (voters or {}).items():
        seen[name] = Seen(VoterReport(mode)) if isinstance(mode, VoterMode) else Seen(None, mode)
    return View(
        clouds={},
        reachable={},
        voters=seen,
        databases={
            name: Seen(
                DatabaseReport(
                    name, name == primary, "running", 1, streaming={sync: "sync"} if name == primary else {}
                )
            )
            for name in ("east-db-1", "west-db-1")
        },
        cluster=Seen(ClusterReport(primary, (sync,) if sync else ())),
        edges={},
    )


class TestDecideReady:
    @pytest.mark.parametrize("machines", [("east-db-1",), ("west-db-1",), ("witness-1",)])
    def test_a_whole_system_can_do_without_any_place(self, machines: tuple[str, ...]) -> None:
        assert decide_ready(view(), machines) == ()

    def test_another_voter_that_does_not_serve(self) -> None:
        seen = view(voters={"witness-1": "Connection refused"})
        assert decide_ready(seen, ("east-db-1",)) == ("voter witness-1 does not serve: Connection refused",)
        assert decide_ready(seen, ("witness-1",)) == ()
        assert decide_ready(view(voters={"west-db-1": VoterMode.NOT_SERVING}), ("east-db-1",))

    def test_the_primary_is_not_restarted_without_a_synchronous_standby(self) -> None:
        assert "no other database" in decide_ready(view(sync=""), ("east-db-1",))[0]
        assert decide_ready(view(sync=""), ("west-db-1",)) == ()

    def test_a_standby_that_is_named_and_does_not_stream_counts_for_nothing(self) -> None:
        seen = view()
        primary = seen.databases["east-db-1"].value
        assert primary is not None
        quiet = {**seen.databases, "east-db-1": Seen(replace(primary, streaming={}))}
        assert decide_ready(replace(seen, databases=quiet), ("east-db-1",))

    def test_no_database_is_no_reason(self) -> None:
        assert decide_ready(replace(view(), databases={}), ("east-edge-1",)) == ()


@dataclass
class World:
    """Both sites serve version 1, which was accepted; version 2 is what is configured now."""

    estate: FakeEstate = field(default_factory=lambda: FakeEstate(TARGETS))
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    interruption: Interruption = field(default_factory=Interruption)
    out: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    not_ready: tuple[str, ...] = ()
    unhealthy: Callable[[str], bool] = lambda _machine: False
    drain_fails: Exception | None = None
    undrain_fails: Exception | None = None

    def __post_init__(self) -> None:
        self.accepted = FakeAccepted(self.estate)
        whole = deployment()
        self.estate.configured = dict.fromkeys(self.estate.carried(whole.machines, whole.roles), 1)
        self.accepted.keep(whole)
        self.estate.version = 2

    def means(self) -> Means:
        return Means(
            deploy.Means(
                FakeArtifacts(),
                FakePlaybooks(self.estate),
                FakeAcceptance(self.estate),
                watch=lambda _what: None,
                asked_to_end=self.interruption.asked,
            ),
            accepted=self.accepted,
            ready=lambda _machines: self.not_ready,
            health=self.health,
            drain=self.drain,
            undrain=self.undrain,
        )

    def drain(self, site: str) -> Work[None]:
        yield Step(f"drain {site}", site, 10, lambda: self._take(site))

    def _take(self, site: str) -> None:
        if self.drain_fails:
            raise self.drain_fails
        assert not self.out, f"{site} is taken out while {self.out} is"
        self.out.append(site)
        self.story.append(f"drain {site}")

    def undrain(self, site: str) -> Work[None]:
        yield Step(f"undrain {site}", site, 10, lambda: self._put(site))

    def _put(self, site: str) -> None:
        if self.undrain_fails:
            raise self.undrain_fails
        self.story.append(f"undrain {site} at {sorted(self.running(site))}")
        if site in self.out:
            self.out.remove(site)

    def running(self, site: str) -> set[int]:
        """The versions that the site's machines run."""
        return {
            version
            for (machine, _role), version in self.estate.configured.items()
            if machine.startswith(site)
        }

    def health(self, machines: Sequence[str]) -> Callable[[], tuple[ProbeResult, ...]]:
        def look() -> tuple[ProbeResult, ...]:
            return tuple(
                ProbeResult(f"{m}/x", m, "http", "", True, "HTTP 503", 0.1, AT, health=self._health(m))
                for m in machines
            )

        return look

    def _health(self, machine: str) -> Health:
        return Health.DOWN if self.unhealthy(machine) else Health.UP

    def deploy(self, *, sites: tuple[SiteNow, ...] = (EAST, WEST), **narrowed: list[str]) -> Deployed:
        of, means = deployment(**narrowed), self.means()
        compared, changed = observe_changed(of, means.deploy)
        plan = decide_rollout(of, TARGETS, changed, sites)
        assert isinstance(plan, Rollout)
        return perform(
            roll_out(plan, of, compared, means),
            clock=VirtualClock(),
            journal=self.journal,
            resume="dcctl deploy",
            interruption=self.interruption,
        )


def said(error: BaseException) -> str:
    return " | ".join([str(error), *getattr(error, "__notes__", ())])


class TestRollOut:
    def test_one_site_at_a_time_and_both_are_back(self) -> None:
        world = World()
        done = world.deploy()
        assert world.story == ["drain west", "undrain west at [2]", "drain east", "undrain east at [2]"]
        assert world.out == []
        assert {recap.machine for recap in done.applied.recaps} == set(ALL)
        assert (done.applied.changed, len(done.findings)) == (15, 15)

    def test_what_passed_is_what_a_later_failure_goes_back_to(self) -> None:
        world = World()
        world.deploy()
        assert set(world.accepted.kept.values()) == {2}

    def test_nothing_to_change_takes_nothing_out_and_looks_at_everything(self) -> None:
        world = World()
        world.deploy()
        world.story.clear()
        again = world.deploy()
        assert (world.story, again.applied.changed, len(again.findings)) == ([], 0, 15)
        assert {recap.machine for recap in again.applied.recaps} == set(ALL)

    def test_a_site_whose_gate_fails_is_brought_back_and_the_other_is_left_alone(self) -> None:
        world = World()
        world.estate.bad.add(2)
        with pytest.raises(StepFailed) as caught:
            world.deploy(limit=["east", "west"])
        assert world.story == ["drain west", "undrain west at [1]"]
        assert (world.running("east"), world.out) == ({1}, [])
        assert caught.value.exit_code == 6
        assert "version 2 is broken" in said(caught.value)
        assert "was brought back to what was accepted before, and is in rotation" in said(caught.value)
        assert set(world.accepted.kept.values()) == {1}

    def test_a_machine_that_cannot_be_configured_is_brought_back_too(self) -> None:
        world = World()
        means = world.means()
        of = deployment()
        compared, changed = observe_changed(of, means.deploy)
        plan = decide_rollout(of, TARGETS, changed, (EAST, WEST))
        assert isinstance(plan, Rollout)
        failing = FailingOnce(world.estate, "west-edge-1", "edge")
        means = replace(means, deploy=replace(means.deploy, playbooks=failing))
        with pytest.raises(StepFailed, match="brought back"):
            perform(
                roll_out(plan, of, compared, means),
                clock=VirtualClock(),
                journal=world.journal,
                interruption=world.interruption,
            )
        assert (world.running("west"), world.out) == ({1}, [])

    def test_a_probe_that_does_not_come_well_brings_it_back(self) -> None:
        world = World()
        world.unhealthy = lambda machine: machine == "west-edge-1" and 2 in world.running("west")
        with pytest.raises(StepFailed) as caught:
            world.deploy()
        assert world.story == ["drain west", "undrain west at [1]"]
        assert "west-edge-1/x: HTTP 503" in said(caught.value)

    def test_when_going_back_fails_too_the_site_stays_out_and_that_is_said(self) -> None:
        world = World()
        world.estate.bad |= {1, 2}
        with pytest.raises(UndoIncomplete) as caught:
            world.deploy(limit=["west"])
        assert world.out == ["west"]
        assert caught.value.exit_code == 9
        assert caught.value.left[0].startswith("west stays out of rotation")
        assert "version 2 is broken" in said(caught.value)
        assert caught.value.next_command == "dcctl deploy"

    def test_what_was_never_accepted_has_no_way_back_and_stays_out(self) -> None:
        world = World()
        world.accepted.kept.clear()
        world.estate.bad.add(2)
        with pytest.raises(StepFailed) as caught:
            world.deploy(limit=["west"])
        assert world.out == ["west"]
        assert "nothing was accepted on all of west before" in said(caught.value)

    def test_the_next_deploy_mends_a_site_that_was_left_out(self) -> None:
        world = World()
        world.estate.bad |= {1, 2}
        with pytest.raises(UndoIncomplete):
            world.deploy(limit=["west"])
        world.estate.version = 3
        left = replace(WEST, rotation=Rotation.DRAINED, ours=True)
        world.story.clear()
        world.deploy(sites=(EAST, left))
        assert world.story == ["undrain west at [3]", "drain east", "undrain east at [3]"]

    def test_a_refused_drain_changes_nothing(self) -> None:
        world = World()
        world.drain_fails = Refused("drain west", reasons=("east cannot carry it",))
        with pytest.raises(StepFailed, match="east cannot carry it"):
            world.deploy(limit=["west"])
        assert (world.running("west"), world.out) == ({1}, [])

    def test_a_quorum_that_does_not_come_keeps_the_site_in(self) -> None:
        world = World()
        world.not_ready = ("voter witness-1 does not serve",)
        with pytest.raises(StepFailed, match="voter witness-1 does not serve"):
            world.deploy(limit=["west", "east"])
        assert (world.running("west"), world.story) == ({1}, [])

    def test_the_witness_fails_before_any_site_is_touched(self) -> None:
        world = World()
        world.estate.unsound["witness-1", "zookeeper"] = "it does not serve"
        with pytest.raises(UndoIncomplete):
            world.deploy()
        assert world.story == []
        assert world.running("west") == {1}

    def test_interrupted_before_it_is_configured_the_site_is_put_back(self) -> None:
        world = World()
        held = replace_drain(world, after=world.interruption)
        with pytest.raises(Interrupted):
            held.deploy(limit=["west"])
        assert world.story == ["drain west", "undrain west at [1]"]
        assert world.out == []

    def test_interrupted_half_configured_the_site_stays_out_and_that_is_said(self) -> None:
        world = World()
        means = world.means()
        of = deployment(limit=["west"])
        compared, changed = observe_changed(of, means.deploy)
        plan = decide_rollout(of, TARGETS, changed, (EAST, WEST))
        assert isinstance(plan, Rollout)
        asking = AskingMidway(world.estate, world.interruption)
        means = replace(means, deploy=replace(means.deploy, playbooks=asking))
        with pytest.raises(Interrupted) as caught:
            perform(
                roll_out(plan, of, compared, means),
                clock=VirtualClock(),
                journal=world.journal,
                resume="dcctl deploy",
                interruption=world.interruption,
            )
        assert world.out == ["west"]
        assert "west stays out of rotation, half configured" in said(caught.value)
        assert caught.value.next_command == "dcctl deploy"

    def test_a_dark_machine_is_told_before_anything_is_taken_out(self) -> None:
        world = World()
        world.estate.dark["west-edge-1"] = "No route to host"
        with pytest.raises(Unreachable, match="west-edge-1: it cannot be reached: No route to host"):
            world.deploy()
        assert world.story == []

    def test_a_machine_that_cannot_be_compared_counts_as_changed(self) -> None:
        world = World()
        world.deploy()
        world.estate.failing["west-edge-1", "edge"] = "no such file"
        _compared, changed = observe_changed(deployment(), world.means().deploy)
        assert changed == ("west-edge-1",)

    def test_an_undrain_that_fails_says_so(self) -> None:
        world = World()
        world.undrain_fails = Rejected("put west back", saw="west-edge-1 does not show it")
        with pytest.raises(StepFailed, match="west-edge-1 does not show it"):
            world.deploy(limit=["west"])
        assert world.out == ["west"]


def replace_drain(world: World, *, after: Interruption) -> World:
    """The process is asked to end while the site is being drained."""
    take = world._take

    def taken(site: str) -> None:
        take(site)
        after._note(0, None)

    world._take = taken  # type: ignore[method-assign]  # the world's own effect, watched
    return world


class FailingOnce(FakePlaybooks):
    """The first application of a role fails on one machine."""

    def __init__(self, estate: FakeEstate, machine: str, role: str) -> None:
        super().__init__(estate)
        self._once = (machine, role)

    def apply(self, deployment: Deployment, **how: Any) -> Applied:
        self._estate.failing[self._once] = "No space left on device"
        try:
            return super().apply(deployment, **how)
        finally:
            del self._estate.failing[self._once]


class AskingMidway(FakePlaybooks):
    """The process is asked to end while machines are being configured."""

    def __init__(self, estate: FakeEstate, interruption: Interruption) -> None:
        super().__init__(estate)
        self._interruption = interruption

    def apply(self, deployment: Deployment, **how: Any) -> Applied:
        self._interruption._note(0, None)
        return super().apply(deployment, **how)
