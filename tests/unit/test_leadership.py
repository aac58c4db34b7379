"""The rules of leading a role, and one holder at a time through the engine."""

from collections.abc import Generator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from dcctl.domain.leadership import (
    GENERATION_SIZE,
    Epoch,
    Lease,
    RoleState,
    Seen,
    Term,
    Times,
    free_in_s,
    look,
    next_epoch,
)
from dcctl.engines.leadership import End, Ending, Holder, hand_over
from dcctl.errors import Interrupted, LeadershipLost, Refused, TimedOut, Unreachable
from dcctl.testing.clock import VirtualClock
from dcctl.testing.leadership import FakeCommand, FakeEnsemble, FakeEpochs, FakeLeases, Stay, overlaps

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("last", "mirrored", "expected"),
    [
        (None, None, Epoch(1, 1)),
        (Epoch(1, 1), None, Epoch(1, 2)),
        (Epoch(1, 7), Epoch(1, 7), Epoch(1, 8)),
        (Epoch(1, 7), Epoch(1, 3), Epoch(1, 8)),
        (None, Epoch(1, 7), Epoch(2, 1)),
        (Epoch(1, 2), Epoch(1, 7), Epoch(2, 1)),
        (Epoch(2, 1), Epoch(1, 900), Epoch(2, 2)),
        (Epoch(1, GENERATION_SIZE - 1), None, Epoch(2, 1)),
    ],
)
def test_epochs_only_grow(last: Epoch | None, mirrored: Epoch | None, expected: Epoch) -> None:
    epoch = next_epoch(last, mirrored)
    assert epoch == expected
    assert all(epoch > other and epoch.number > other.number for other in (last, mirrored) if other)
    assert Epoch.of(epoch.number) == epoch


def lease(stamp: int, *, released: bool = False) -> Lease:
    return Lease(Epoch(1, 1), 10.0, released, version=stamp, stamp=stamp, renewed_at=NOW)


def test_a_role_is_free_when_released_or_when_one_renewal_was_seen_for_a_whole_session() -> None:
    held = RoleState("auction", Epoch(1, 1), 0, lease(5))
    seen = look(held, None, 100.0)
    assert free_in_s(held, seen, 100.0) == 10.0
    assert look(held, seen, 104.0) is seen
    assert free_in_s(held, seen, 104.0) == 6.0
    renewed = replace(held, lease=lease(6))
    assert look(renewed, seen, 109.9) == Seen((6, 6), 109.9)
    assert free_in_s(held, seen, 110.0) == 0.0
    assert free_in_s(replace(held, lease=lease(7, released=True)), look(held, None, 0.0), 0.0) == 0.0
    assert free_in_s(RoleState("auction"), None, 0.0) == 0.0


def test_the_work_is_asked_to_end_then_ended_before_the_lease_is_over() -> None:
    times = Times(session_s=10.0, grace_s=2.0)
    assert times.problems() == ()
    assert 0 < times.stop_at_s(100.0) < times.kill_at_s(100.0) < 110.0
    assert times.kill_at_s(100.0) - times.stop_at_s(100.0) == pytest.approx(2.0)
    assert times.stop_at_s(0.0) > 3 * times.renew_every_s, "one lost renewal must not end the work"
    assert Times(1.0, 0.2).problems()
    assert Times(10.0, 6.0).problems()
    assert Times(10.0, 0.0).problems()


class One:
    """One holder in virtual time, driven by hand."""

    def __init__(self, *, session_s: float = 10.0, **command: Any) -> None:
        self.clock = VirtualClock()
        self.ensemble = FakeEnsemble(self.clock)
        self.leases = FakeLeases(self.ensemble, session_s)
        self.stays: list[Stay] = []
        self.command = FakeCommand(self.clock, self.stays, **command)
        self.told: list[str] = []
        self.asked = False
        self._pause: float | None = None

    def holder(
        self, *, wait: bool = True, mirror: FakeEpochs | None = None, leases: FakeLeases | None = None
    ) -> Holder:
        return Holder(
            role="auction",
            leases=leases or self.leases,
            command=self.command,
            mirror=mirror,
            new_term=lambda epoch: Term("auction", epoch, "sre", "east-edge-1", 1, NOW),
            asked=lambda: self.asked,
            grace_s=2.0,
            wait=wait,
            tell=self.told.append,
        )

    def drive(self, work: Generator[float, float, Any], *, until_s: float = float("inf")) -> Any:
        """To its end; or None once ``until_s`` has come."""
        try:
            pause_s = next(work) if self._pause is None else self._pause
            while self.clock.monotonic() <= until_s:
                self.clock.sleep(pause_s)
                self._pause = pause_s = work.send(self.clock.monotonic())
        except StopIteration as end:
            return end.value
        return None


def test_a_command_that_ends_by_itself_releases_the_role() -> None:
    one = One(lasts_s=30.0)
    ending = one.drive(one.holder().hold())
    assert ending == Ending(End.BY_ITSELF, 0, Epoch(1, 1))
    state = one.leases.observe_role("auction", limit_s=1)
    assert state.term is None
    assert state.lease is not None
    assert state.lease.released
    assert one.stays[0].ended_s - one.stays[0].began_s == 30.0


def test_without_waiting_a_held_role_is_refused_with_the_holder() -> None:
    one = One()
    work = one.holder().hold()
    one.drive(work, until_s=3.0)
    other = One()
    other.clock, other.ensemble = one.clock, one.ensemble
    with pytest.raises(Refused, match="sre@east-edge-1:1 leads auction under epoch 1000000001"):
        other.drive(other.holder(wait=False, leases=FakeLeases(one.ensemble, 10.0)).hold())


def test_where_nobody_may_lead_nothing_is_claimed_until_one_may() -> None:
    one = One()
    barred = ["east is quarantined"]

    def why_not_here() -> str:
        if barred[0] == "silence":
            raise Unreachable("read the sites", saw="no answer")
        return barred[0]

    work = replace(one.holder(), why_not_here=why_not_here).hold()
    one.drive(work, until_s=30.0)
    assert (one.ensemble.states, one.stays) == ({}, [])
    assert one.told == ["waiting: east is quarantined"]
    barred[0] = "silence"
    one.drive(work, until_s=40.0)
    assert (one.ensemble.states, one.stays) == ({}, [])
    barred[0] = ""
    one.drive(work, until_s=50.0)
    assert len(one.stays) == 1
    barred[0] = "east is quarantined"
    one.drive(work, until_s=90.0)
    assert one.stays[0].ended_s == float("inf"), "who leads is not put out by it: a failover has done that"


def test_where_nobody_may_lead_it_is_refused_without_waiting() -> None:
    one = One()
    holder = replace(one.holder(wait=False), why_not_here=lambda: "east is quarantined")
    with pytest.raises(Refused, match="east is quarantined"):
        one.drive(holder.hold())
    assert one.ensemble.states == {}


def test_asked_to_end_while_barred_it_ends() -> None:
    one = One()
    work = replace(one.holder(), why_not_here=lambda: "east is quarantined").hold()
    one.drive(work, until_s=3.0)
    one.asked = True
    with pytest.raises(Interrupted):
        one.drive(work)


def test_asked_to_end_the_command_has_its_grace_and_the_lease_is_renewed_meanwhile() -> None:
    one = One(obeys_after_s=1.5)
    work = one.holder().hold()
    one.drive(work, until_s=3.0)
    one.asked = True
    ending = one.drive(work)
    assert ending.end is End.ASKED
    assert one.stays[0].ended_s == pytest.approx(4.5, abs=0.6)


def test_a_command_that_ignores_sigterm_is_killed_after_the_grace() -> None:
    one = One(obeys_after_s=None)
    work = one.holder().hold()
    one.drive(work, until_s=3.0)
    one.asked = True
    assert one.drive(work).end is End.ASKED
    assert one.stays[0].ended_s == pytest.approx(5.0, abs=0.6)


@pytest.mark.parametrize("obeys_after_s", [0.1, None])
def test_cut_off_the_command_is_over_before_the_lease(obeys_after_s: float | None) -> None:
    one = One(obeys_after_s=obeys_after_s)
    work = one.holder().hold()
    one.drive(work, until_s=5.0)
    one.leases.cut()
    ending = one.drive(work)
    assert ending.end is End.LOST
    assert "too old" in ending.saw
    assert 5.0 < one.stays[0].ended_s <= 5.0 + 10.0 - Times(10.0, 2.0).margin_s


def test_a_short_cut_is_survived() -> None:
    one = One(lasts_s=60.0)
    work = one.holder().hold()
    one.drive(work, until_s=5.0)
    one.leases.cut()
    one.drive(work, until_s=9.0)
    one.leases.heal()
    assert one.drive(work).end is End.BY_ITSELF


def test_resigning_hands_over() -> None:
    one = One(obeys_after_s=0.5)
    work = one.holder().hold()
    one.drive(work, until_s=3.0)
    one.leases.ask_to_resign("auction", Epoch(1, 1), "sre", limit_s=1)
    assert one.drive(work).end is End.RESIGNED
    state = one.leases.observe_role("auction", limit_s=1)
    assert (state.term, state.resign) == (None, None)


def test_a_holder_that_does_not_resign_is_asked_no_more() -> None:
    one = One()
    leases = FakeLeases(one.ensemble, 10.0)
    holder = one.holder().hold()
    one.drive(holder, until_s=3.0)
    other = One()
    other.clock = one.clock
    with pytest.raises(TimedOut, match="asked no more"):
        other.drive(hand_over(leases, "auction", "me", limit_s=2.0))
    assert leases.observe_role("auction", limit_s=1).resign is None


def test_nobody_can_be_asked_to_resign_where_nobody_leads() -> None:
    one = One()
    with pytest.raises(Refused, match="nobody leads auction"):
        one.drive(hand_over(one.leases, "auction", "me", limit_s=2.0))


def test_the_epoch_is_in_force_before_the_command_starts() -> None:
    one, mirror = One(lasts_s=1.0), FakeEpochs()
    one.drive(one.holder(mirror=mirror).hold())
    assert mirror.inforce == {"auction": Epoch(1, 1)}
    assert one.stays[0].epoch == Epoch(1, 1).number


def test_a_rebuilt_ensemble_begins_a_new_generation() -> None:
    one, mirror = One(lasts_s=1.0), FakeEpochs()
    mirror.inforce["auction"] = Epoch(1, 41)
    assert one.drive(one.holder(mirror=mirror).hold()).epoch == Epoch(2, 1)


def test_a_dark_database_is_waited_for_without_claiming() -> None:
    one, mirror = One(lasts_s=1.0), FakeEpochs()
    mirror.dark = True
    work = one.holder(mirror=mirror).hold()
    one.drive(work, until_s=20.0)
    assert one.leases.observe_role("auction", limit_s=1).epoch is None
    mirror.dark = False
    assert one.drive(work).end is End.BY_ITSELF


def test_a_database_that_goes_dark_between_claim_and_bump_ends_the_term() -> None:
    class Dims(FakeEpochs):
        def observe(self, *, limit_s: float) -> Mapping[str, Epoch]:
            self.dark = False
            found = super().observe(limit_s=limit_s)
            self.dark = True
            return found

    one = One()
    with pytest.raises(LeadershipLost, match="dark"):
        one.drive(one.holder(mirror=Dims()).hold())
    state = one.leases.observe_role("auction", limit_s=1)
    assert state.lease is not None
    assert state.lease.released
    assert one.stays == []


def test_a_later_epoch_in_force_is_refused() -> None:
    class Races(FakeEpochs):
        def bump(self, term: Term, *, limit_s: float) -> None:
            self.inforce[term.role] = Epoch(9, 9)
            super().bump(term, limit_s=limit_s)

    one = One()
    with pytest.raises(Refused, match="9000000009 is newer"):
        one.drive(one.holder(mirror=Races()).hold())
    assert one.stays == []


def test_a_lease_that_is_lost_before_the_command_began_starts_nothing() -> None:
    class Slow(FakeEpochs):
        def bump(self, term: Term, *, limit_s: float) -> None:
            one.clock.sleep(11.0)
            super().bump(term, limit_s=limit_s)

    one = One()
    with pytest.raises(LeadershipLost):
        one.drive(one.holder(mirror=Slow()).hold())
    assert one.stays == []


def test_a_session_that_is_granted_too_short_is_refused() -> None:
    one = One(session_s=1.0)
    with pytest.raises(Refused, match="a session of 1 s is too short"):
        one.drive(one.holder().hold())


def test_asked_to_end_while_waiting() -> None:
    one = One()
    one.asked = True
    with pytest.raises(Interrupted):
        one.drive(one.holder().hold())


def test_the_overlap_checker_sees_what_it_is_for() -> None:
    assert overlaps([Stay(1, 0, 5), Stay(2, 5, 9)]) == ()
    assert overlaps([Stay(1, 0, 5.1), Stay(2, 5, 9)])
    assert overlaps([Stay(2, 0, 5), Stay(1, 6, 9)])
    assert overlaps([Stay(1, 0), Stay(2, 5, 9)])
