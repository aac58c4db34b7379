"""What a deploy decides, and how the engine goes about it over machines in memory."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from dcctl.domain.deploy import (
    Change,
    Deployment,
    Doing,
    Failure,
    Finding,
    Target,
    as_static_inventory,
    decide_deployment,
    decide_unusable,
)
from dcctl.domain.inventory import Login, Member, decide_inventory
from dcctl.domain.refusal import Refusal
from dcctl.engines.deploy import Deployed, Means, compare, deploy
from dcctl.errors import Interrupted, Rejected, StepFailed, Unreachable
from dcctl.shell import perform
from dcctl.testing.clock import VirtualClock
from dcctl.testing.deploy import FakeAcceptance, FakeArtifacts, FakeEstate, FakePlaybooks
from dcctl.testing.journal import MemoryJournal

TARGETS = (
    Target("east-db-1", "east", "192.0.2.1", ("base", "zookeeper", "postgresql")),
    Target("east-edge-1", "east", "192.0.2.2", ("base", "edge")),
    Target("west-db-1", "west", "192.0.2.3", ("base", "zookeeper", "postgresql")),
    Target("west-edge-1", "west", "192.0.2.4", ("base", "edge")),
    Target("witness-1", "witness", "192.0.2.5", ("base", "zookeeper")),
)
ALL = tuple(target.name for target in TARGETS)


class TestDecideDeployment:
    def test_everything_unless_narrowed_down(self) -> None:
        assert decide_deployment(TARGETS) == Deployment(
            ("base", "zookeeper", "postgresql", "edge"), ALL, whole=True
        )

    def test_a_role_is_deployed_where_it_is_carried(self) -> None:
        assert decide_deployment(TARGETS, roles=["zookeeper"]) == Deployment(
            ("zookeeper",), ("east-db-1", "west-db-1", "witness-1"), whole=False
        )

    def test_roles_come_in_the_order_in_which_they_depend_on_each_other(self) -> None:
        decided = decide_deployment(TARGETS, roles=["edge", "zookeeper"])
        assert isinstance(decided, Deployment)
        assert decided.roles == ("zookeeper", "edge")

    @pytest.mark.parametrize(
        ("limit", "machines"),
        [
            (["east"], ("east-db-1", "east-edge-1")),
            (["west-db-1"], ("west-db-1",)),
            (["witness", "west-edge-1"], ("west-edge-1", "witness-1")),
        ],
    )
    def test_a_limit_names_machines_and_places(self, limit: list[str], machines: tuple[str, ...]) -> None:
        decided = decide_deployment(TARGETS, limit=limit)
        assert isinstance(decided, Deployment)
        assert (decided.machines, decided.whole) == (machines, False)

    def test_a_limit_leaves_only_the_roles_carried_there(self) -> None:
        decided = decide_deployment(TARGETS, limit=["witness"])
        assert isinstance(decided, Deployment)
        assert decided.roles == ("base", "zookeeper")

    def test_every_unknown_word_is_a_reason(self) -> None:
        decided = decide_deployment(TARGETS, roles=["frog"], limit=["nowhere"])
        assert isinstance(decided, Refusal)
        assert [reason.partition(";")[0] for reason in decided.reasons] == [
            "no machine carries the role frog",
            "there is no machine or place nowhere",
        ]

    def test_nothing_left_is_a_reason(self) -> None:
        decided = decide_deployment(TARGETS, roles=["edge"], limit=["witness"])
        assert decided == Refusal(("none of witness carries edge",))


def test_a_static_inventory_says_what_the_dynamic_one_says() -> None:
    members = [
        Member(t.name, t.place, "" if t.place == "witness" else "db", t.address, t.roles) for t in TARGETS
    ]
    static = as_static_inventory(decide_inventory("lab", members, Login("dcctl", 22, "/id", "/known"), {}))
    everything = static["all"]
    assert everything["vars"]["dcctl_environment"] == "lab"
    assert everything["hosts"]["east-db-1"]["ansible_host"] == "192.0.2.1"
    assert set(everything["hosts"]) == set(ALL)
    assert set(everything["children"]["role_zookeeper"]["hosts"]) == {"east-db-1", "west-db-1", "witness-1"}
    assert everything["children"]["zookeeper"]["children"] == {"role_zookeeper": {}}


@pytest.mark.parametrize("secret", ["pa'ss\"word", "{{ x }}", "%s\\ #:$`", "0"])
def test_a_secret_of_printable_ascii_can_be_used(secret: str) -> None:
    assert decide_unusable(secret) == ""


@pytest.mark.parametrize("secret", ["grün", "a\nb", "tab\there"])
def test_any_other_secret_is_refused_before_anything_is_changed(secret: str) -> None:
    assert "not printable ASCII" in decide_unusable(secret)


@pytest.mark.parametrize(("secret", "usable"), [("aZ0_.~+/=-", True), ("two words", False), ("100%", False)])
def test_swift_cannot_be_given_every_secret(secret: str, usable: bool) -> None:
    assert (decide_unusable(secret, "swift_admin") == "") == usable
    assert decide_unusable(secret, "postgresql_app") == ""


@dataclass
class World:
    """Machines in memory and what a watcher saw."""

    estate: FakeEstate = field(default_factory=lambda: FakeEstate(TARGETS))
    seen: list[Doing | Change | Failure | Finding] = field(default_factory=list)
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    artifacts: FakeArtifacts = field(default_factory=FakeArtifacts)
    asked_to_end: Callable[[], bool] = lambda: False

    def means(self) -> Means:
        return Means(
            self.artifacts,
            FakePlaybooks(self.estate),
            FakeAcceptance(self.estate),
            watch=self.seen.append,
            asked_to_end=self.asked_to_end,
        )

    def deploy(self, **narrowed: list[str]) -> Deployed:
        deployment = decide_deployment(TARGETS, **narrowed)  # type: ignore[arg-type]  # roles and limit
        assert isinstance(deployment, Deployment)
        return perform(
            deploy(deployment, self.means()),
            clock=VirtualClock(),
            journal=self.journal,
            resume="dcctl deploy",
        )


class TestDeploy:
    def test_a_second_deploy_changes_nothing(self) -> None:
        world = World()
        first, second = world.deploy(), world.deploy()
        assert (first.applied.changed, second.applied.changed) == (12, 0)
        assert len(second.findings) == 12

    def test_a_failing_task_is_told_in_its_own_words(self) -> None:
        world = World()
        world.estate.failing["west-db-1", "zookeeper"] = "No space left on device"
        with pytest.raises(StepFailed) as caught:
            world.deploy()
        error = caught.value
        assert error.saw == "west-db-1: task 'zookeeper: configure' failed: No space left on device"
        assert (error.run, error.step, error.next_command) == ("run", "configure", "dcctl deploy")

    def test_every_machine_that_failed_is_told(self) -> None:
        world = World()
        world.estate.failing["east-db-1", "zookeeper"] = "a"
        world.estate.dark["west-edge-1"] = "No route to host"
        with pytest.raises(StepFailed) as caught:
            world.deploy()
        told = [caught.value.saw, *caught.value.__notes__]
        assert told == [
            "west-edge-1: it cannot be reached: No route to host",
            "east-db-1: task 'zookeeper: configure' failed: a",
        ]

    def test_the_others_are_configured_all_the_same(self) -> None:
        world = World()
        world.estate.dark["west-edge-1"] = "No route to host"
        with pytest.raises(StepFailed):
            world.deploy()
        assert ("east-edge-1", "edge") in world.estate.configured

    def test_deploying_again_finishes_what_failed(self) -> None:
        world = World()
        world.estate.failing["west-db-1", "zookeeper"] = "No space left on device"
        with pytest.raises(StepFailed):
            world.deploy()
        world.estate.failing.clear()
        assert world.deploy().applied.changed == 2

    def test_a_failing_check_ends_a_deploy(self) -> None:
        world = World()
        world.estate.unsound["east-db-1", "postgresql"] = "SINGLE-COPY"
        with pytest.raises(StepFailed) as caught:
            world.deploy()
        assert caught.value.saw == "east-db-1: postgresql: it works: SINGLE-COPY"
        assert caught.value.step == "examine"

    def test_a_machine_that_nothing_looked_at_is_not_accepted(self) -> None:
        world = World()
        world.estate.unseen.add("witness-1")
        with pytest.raises(StepFailed, match="witness-1: no check looked at it"):
            world.deploy()

    def test_machines_outside_the_limit_are_left_alone(self) -> None:
        world = World()
        world.deploy(limit=["east"])
        assert {machine for machine, _role in world.estate.configured} == {"east-db-1", "east-edge-1"}

    def test_an_interruption_ends_it_and_it_can_be_finished(self) -> None:
        world = World(asked_to_end=lambda: True)
        with pytest.raises(Interrupted):
            world.deploy()
        world.asked_to_end = lambda: False
        assert world.deploy().applied.changed == 12

    def test_what_happens_is_told_as_it_happens(self) -> None:
        world = World()
        world.deploy(limit=["witness"])
        assert [type(each) for each in world.seen] == [Doing, Change, Doing, Change, Finding, Finding]


class TestCompare:
    def test_it_changes_nothing_and_tells_what_would_change(self) -> None:
        world = World()
        whole = decide_deployment(TARGETS)
        assert isinstance(whole, Deployment)
        applied = compare(whole, world.means())
        assert (len(applied.changes), world.estate.configured) == (12, {})

    @pytest.mark.parametrize(
        ("dark", "failing", "kind"),
        [
            ({"east-db-1": "no route"}, {}, Unreachable),
            ({}, {("east-db-1", "base"): "no"}, Rejected),
        ],
    )
    def test_what_cannot_be_compared_is_an_error_that_promises_no_change(
        self, dark: dict[str, str], failing: dict[tuple[str, str], str], kind: type[Exception]
    ) -> None:
        world = World()
        world.estate.dark, world.estate.failing = dark, failing
        whole = decide_deployment(TARGETS)
        assert isinstance(whole, Deployment)
        with pytest.raises(kind) as caught:
            compare(whole, world.means())
        assert type(caught.value) is kind


def test_artifacts_are_built_before_a_machine_is_touched_and_only_those_needed() -> None:
    targets = (Target("east-app-1", "east", "192.0.2.1", ("base", "swift", "replication")),)
    world = World(FakeEstate(targets))
    deployment = decide_deployment(targets)
    assert isinstance(deployment, Deployment)
    perform(deploy(deployment, world.means()), clock=VirtualClock(), journal=world.journal, resume="")
    assert world.artifacts.made == ["swift", "dcctl"]
    steps = [event.fields["step"] for event in world.journal.events() if event.type == "step.started"]
    assert steps == ["build", "configure", "examine"]
