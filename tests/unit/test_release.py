"""When Patroni's leader key may be released early: every reason against it; and the failover that does it."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from situations import EAST_DOWN, World, vantage
from test_failover_engine import east_dark
from two_sites import TwoSites

from dcctl.domain.failover import decide_failover
from dcctl.domain.leadership import Term
from dcctl.domain.plan import Plan
from dcctl.domain.refusal import Refusal
from dcctl.domain.release import LeaderKeys, Release, decide_release, why_not_taken
from dcctl.domain.rules import OVERRIDABLE, Override, Rule
from dcctl.domain.traffic import Rotation
from dcctl.engines.failover import failover
from dcctl.errors import LeadershipLost, Refused, TimedOut

KEYS = LeaderKeys(
    leader="east-db-1",
    session=11,
    member=b"{}",
    member_session=11,
    member_created=5,
    member_version=40,
    sync=b'{"leader": "east-db-1", "sync_standby": "west-db-1"}',
    sync_version=3,
    synchronous=("west-db-1",),
    synchronous_to="east-db-1",
    config_version=2,
    synchronous_mode=True,
    failsafe_mode=False,
    paused=False,
    switching=False,
    members=("east-db-1", "west-db-1"),
)
RELEASE = Release("east-db-1", "west-db-1")
EAST = {"east-db-1", "east-edge-1"}


def world() -> World:
    seen = (vantage("west-edge-1", EAST_DOWN), vantage("witness-1", EAST_DOWN))
    return World(silent=set(EAST), cloud_silent={"east"}, vantages=seen)


def decided(keys: LeaderKeys, world: World) -> Release | Refusal | None:
    situation = world.look()
    plan = decide_failover("east", situation)
    assert isinstance(plan, Plan), plan
    return decide_release(plan, situation, keys)


def test_a_lost_primary_with_a_named_standby_may_be_released() -> None:
    assert decided(KEYS, world()) == RELEASE


@pytest.mark.parametrize("leader", [None, "west-db-1"])
def test_there_is_nothing_to_release_where_the_key_is_not_at_the_lost_site(leader: str | None) -> None:
    assert decided(replace(KEYS, leader=leader), world()) is None


AGAINST: dict[str, dict[str, Any]] = {
    "synchronous mode is off": {"synchronous_mode": False},
    "failsafe mode is on": {"failsafe_mode": True},
    "Patroni is paused": {"paused": True},
    "asked for a move that has not ended": {"switching": True},
    "SINGLE-COPY: no synchronous standby is named": {"synchronous": ()},
    "no synchronous standby is named": {"sync_version": None},
    "/sync tells of west-db-1, and east-db-1 leads": {"synchronous_to": "west-db-1"},
    "the synchronous standby is east-db-2, not at west": {"synchronous": ("east-db-2",)},
    "/sync is at version 0": {"sync_version": 0},
    "west-db-1 is not in touch with the quorum": {"members": ("east-db-1",)},
    "west-db-1 is tagged never to be promoted": {"refusing": ("west-db-1",)},
    "has not kept its own key in the session": {"member_session": 12},
    "it begins or ends": {"members": ("west-db-1",)},
}


@pytest.mark.parametrize("reason", AGAINST)
def test_every_reason_against_it_is_told(reason: str) -> None:
    refusal = decided(replace(KEYS, **AGAINST[reason]), world())
    assert isinstance(refusal, Refusal)
    assert any(reason in each for each in refusal.reasons)


def test_all_reasons_are_told_at_once() -> None:
    refusal = decided(replace(KEYS, paused=True, failsafe_mode=True, sync_version=0), world())
    assert isinstance(refusal, Refusal)
    assert len(refusal.reasons) == 3


def test_a_primary_that_answers_is_moved_by_a_switchover() -> None:
    lost = world()
    plan = decide_failover("east", lost.look())
    assert isinstance(plan, Plan)
    lost.silent.clear()
    refusal = decide_release(plan, lost.look(), KEYS)
    assert isinstance(refusal, Refusal)
    assert "east-db-1 answers: it is moved by a switchover" in refusal.reasons


def test_a_standby_that_does_not_run_takes_no_key() -> None:
    lost = world()
    plan = decide_failover("east", lost.look())
    assert isinstance(plan, Plan)
    lost.stopped.add("west-db-1")
    refusal = decide_release(plan, lost.look(), KEYS)
    assert isinstance(refusal, Refusal)
    assert "west-db-1 is stopped" in refusal.reasons


def test_the_standby_has_taken_it_when_it_has_written_sync() -> None:
    assert why_not_taken(RELEASE, replace(KEYS, leader=None)) == ("the leader key is held by nobody",)
    taken = replace(KEYS, leader="west-db-1")
    assert why_not_taken(RELEASE, taken) == ("west-db-1 has the key and has not written /sync yet",)
    assert why_not_taken(RELEASE, replace(taken, synchronous_to="west-db-1")) == ()


# The failover that does it.


class FakeLeaderKey:
    """``ports.LeaderKey`` over two sites in memory; ``then`` is what a release does."""

    def __init__(self, world: TwoSites, then: Callable[[], None]) -> None:
        self.world = world
        self.then = then
        self.released: list[LeaderKeys] = []

    def observe_keys(self, *, limit_s: float) -> LeaderKeys:  # noqa: ARG002
        system = self.world.system
        forgotten = system.forgotten("east") and system.primary == "east-db-1"
        named = (system.synchronous,) if system.synchronous else ()
        leader = None if forgotten else system.primary
        return replace(KEYS, leader=leader, synchronous=named, synchronous_to=system.primary)

    def release(self, keys: LeaderKeys, *, term: Term | None, limit_s: float) -> None:  # noqa: ARG002
        self.released.append(keys)
        self.then()


def failover_with(world: TwoSites, then: Callable[[], None]) -> tuple[FakeLeaderKey, Any, Any]:
    port = FakeLeaderKey(world, then)
    moved, events = world.perform(lambda means: failover("east", replace(means, leader_key=port)))
    return port, moved, events


def test_the_survivor_is_primary_long_before_the_session_ends() -> None:
    world = east_dark()
    world.system.promote_after_s = 100_000
    promote = partial(world.system._promote, "west-db-1")
    port, moved, events = failover_with(world, promote)
    assert (moved.primary, moved.single_copy) == ("west-db-1", True)
    assert len(port.released) == 1
    told = [event.type for event in events]
    assert (
        told.index("failover.decided") < told.index("failover.key_released") < told.index("failover.fenced")
    )
    assert world.state("east") is Rotation.QUARANTINED


@pytest.mark.parametrize("rule", OVERRIDABLE)
def test_only_an_override_about_evidence_has_the_key_kept(rule: Rule) -> None:
    """Whoever says that the survivor's headroom will do has said nothing of the lost primary."""
    world = east_dark()
    world.system.promote_after_s = 60
    world.overrides = (Override(rule, "ticket 7", "ann@laptop"),)
    port, moved, events = failover_with(world, partial(world.system._promote, "west-db-1"))
    about_evidence = rule in (Rule.WITNESS_REQUIRED, Rule.NO_UNKNOWN_VERDICT, Rule.FENCE)
    assert len(port.released) == (0 if about_evidence else 1)
    assert ("failover.key_released" in [event.type for event in events]) is not about_evidence
    assert moved.primary == "west-db-1"


def test_an_override_about_evidence_has_the_key_kept_whatever_else_is_overridden() -> None:
    world = east_dark()
    world.system.promote_after_s = 60
    world.overrides = tuple(
        Override(rule, "ticket 7", "ann") for rule in (Rule.SURVIVOR_HAS_HEADROOM, Rule.WITNESS_REQUIRED)
    )
    port, _moved, _events = failover_with(world, lambda: None)
    assert port.released == []


def test_a_release_that_comes_to_nothing_waits_for_the_session() -> None:
    world = east_dark()
    world.system.promote_after_s = 60

    def changed() -> None:
        raise Refused("release", reasons=("Patroni changed sync meanwhile",))

    port, moved, events = failover_with(world, changed)
    assert (moved.primary, len(port.released)) == ("west-db-1", 1)
    saw = next(event.fields["saw"] for event in events if event.type == "failover.key_released")
    assert saw == "the leader key is held by east-db-1"


def test_a_release_of_which_no_answer_came_is_judged_by_the_keys() -> None:
    world = east_dark()
    world.system.promote_after_s = 100_000

    def answer_lost() -> None:
        world.system._promote("west-db-1")
        raise TimedOut("release", saw="no answer within 3.0 s")

    _port, moved, _events = failover_with(world, answer_lost)
    assert moved.primary == "west-db-1"


def test_a_run_that_lost_its_right_to_act_goes_no_further() -> None:
    world = east_dark()

    def lost() -> None:
        raise LeadershipLost("release", saw="another has the right to act now")

    with pytest.raises(LeadershipLost):
        failover_with(world, lost)
    assert world.state("east") is Rotation.ACTIVE


def test_a_key_that_must_not_be_released_is_waited_for() -> None:
    world = east_dark()
    world.system.promote_after_s = 60
    port = FakeLeaderKey(world, lambda: None)
    observe = port.observe_keys
    port.observe_keys = lambda **more: replace(observe(**more), failsafe_mode=True)  # type: ignore[method-assign]
    moved, events = world.perform(lambda means: failover("east", replace(means, leader_key=port)))
    assert (moved.primary, port.released) == ("west-db-1", [])
    assert "failover.key_kept" not in [event.type for event in events]  # by then there was none
