"""What every ``ports.Leases`` keeps, ZooKeeper and the fake.

class TestMyLeases(LeasesContract):
    @pytest.fixture
    def world(self) -> Iterator[LeasesWorld]: ...
"""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

import pytest

from dcctl.domain.leadership import Epoch, Renewal, RoleState, Term, is_ours, next_epoch
from dcctl.errors import LeadershipLost, Unreachable
from dcctl.ports import Leases

ROLE = "auction"
LIMIT_S = 5.0


class LeasesWorld(Protocol):
    """An ensemble and two clients of it, each with its own session and its own way there."""

    here: Leases
    there: Leases

    def now_s(self) -> float:
        """The clock that leases are judged by."""

    def pass_time(self, seconds: float) -> None: ...

    def cut(self, leases: Leases) -> None:
        """From now on nothing goes to the ensemble or comes back."""

    def deafen(self, leases: Leases) -> None:
        """From now on requests arrive and no answer comes back."""

    def heal(self, leases: Leases) -> None:
        """All goes through again; returns once it does."""


def a_term(state: RoleState, who: str = "here") -> Term:
    return Term(ROLE, next_epoch(state.epoch, None), who, "a-host", 4711, datetime(2026, 1, 2, 3, tzinfo=UTC))


def claim(leases: Leases, who: str = "here") -> tuple[Term, Renewal]:
    state = leases.observe_role(ROLE, limit_s=LIMIT_S)
    term = a_term(state, who)
    renewal = leases.claim(state, term, limit_s=LIMIT_S)
    assert renewal is not None
    return term, renewal


class LeasesContract:
    def test_a_role_that_nobody_ever_held(self, world: LeasesWorld) -> None:
        assert world.here.observe_roles(limit_s=LIMIT_S) == ()
        assert world.here.observe_role(ROLE, limit_s=LIMIT_S) == RoleState(ROLE)

    def test_the_first_claim_begins_the_first_epoch(self, world: LeasesWorld) -> None:
        before_s = world.now_s()
        term, renewal = claim(world.here)
        assert before_s <= renewal.sent_s <= world.now_s()
        assert renewal.session_s == world.here.session_s
        state = world.here.observe_role(ROLE, limit_s=LIMIT_S)
        assert (state.epoch, state.term, state.ours) == (Epoch(1, 1), term, True)
        assert state.lease is not None
        assert (state.lease.epoch, state.lease.released) == (Epoch(1, 1), False)
        assert state.lease.version == renewal.version
        elsewhere = world.there.observe_roles(limit_s=LIMIT_S)
        assert elsewhere == (replace(state, ours=False),)

    def test_of_two_claims_on_the_same_state_one_succeeds(self, world: LeasesWorld) -> None:
        for _round in range(2):
            seen = world.here.observe_role(ROLE, limit_s=LIMIT_S)
            assert world.here.claim(seen, a_term(seen), limit_s=LIMIT_S) is not None
            assert world.there.claim(seen, a_term(seen, "there"), limit_s=LIMIT_S) is None

    def test_a_renewal_between_look_and_claim_fails_the_claim(self, world: LeasesWorld) -> None:
        term, renewal = claim(world.here)
        seen = world.there.observe_role(ROLE, limit_s=LIMIT_S)
        again = world.here.renew(term, renewal.version, limit_s=LIMIT_S)
        assert again.sent_s >= renewal.sent_s
        assert world.there.claim(seen, a_term(seen, "there"), limit_s=LIMIT_S) is None
        after = world.there.observe_role(ROLE, limit_s=LIMIT_S)
        assert after.lease is not None
        assert seen.lease is not None
        assert after.lease.stamp > seen.lease.stamp
        assert after.lease.version == again.version

    def test_a_holder_who_was_put_out_hears_of_it(self, world: LeasesWorld) -> None:
        term, renewal = claim(world.here)
        successor, _ = claim(world.there, "there")
        assert successor.epoch > term.epoch
        with pytest.raises(LeadershipLost):
            world.here.renew(term, renewal.version, limit_s=LIMIT_S)
        assert not world.here.release(term, limit_s=LIMIT_S)
        state = world.here.observe_role(ROLE, limit_s=LIMIT_S)
        assert (state.term, state.ours) == (successor, False)

    def test_released_is_written_and_seen_and_the_epoch_stays(self, world: LeasesWorld) -> None:
        term, _ = claim(world.here)
        assert world.here.release(term, limit_s=LIMIT_S)
        state = world.there.observe_role(ROLE, limit_s=LIMIT_S)
        assert (state.term, state.epoch) == (None, term.epoch)
        assert state.lease is not None
        assert state.lease.released
        assert not world.here.release(term, limit_s=LIMIT_S)
        successor, _ = claim(world.there, "there")
        assert successor.epoch == Epoch(1, 2)

    def test_a_cut_is_silence_within_the_limit(self, world: LeasesWorld) -> None:
        term, renewal = claim(world.here)
        world.cut(world.here)
        began_s = world.now_s()
        with pytest.raises(Unreachable):
            world.here.renew(term, renewal.version, limit_s=0.3)
        assert world.now_s() - began_s < 2.0
        world.heal(world.here)
        # Whether the renewal that was given up has been carried out or not, the next one is.
        assert world.here.renew(term, renewal.version, limit_s=LIMIT_S).version > renewal.version

    def test_a_claim_whose_answer_was_lost_is_recognised(self, world: LeasesWorld) -> None:
        first, _ = claim(world.there, "there")
        world.there.release(first, limit_s=LIMIT_S)
        state = world.here.observe_role(ROLE, limit_s=LIMIT_S)
        term = a_term(state)
        world.deafen(world.here)
        with pytest.raises(Unreachable):
            world.here.claim(state, term, limit_s=0.5)
        world.heal(world.here)
        found = world.here.observe_role(ROLE, limit_s=LIMIT_S)
        assert found.lease is not None
        assert is_ours(found, term)
        assert not is_ours(world.there.observe_role(ROLE, limit_s=LIMIT_S), term)
        assert world.here.renew(term, found.lease.version, limit_s=LIMIT_S)

    def test_a_session_that_ended_takes_its_holder_along_and_leaves_the_lease(
        self, world: LeasesWorld
    ) -> None:
        term, renewal = claim(world.here)
        world.cut(world.here)
        world.pass_time(world.here.session_s * 1.5 + 1.0)
        state = world.there.observe_role(ROLE, limit_s=LIMIT_S)
        assert (state.term, state.epoch) == (None, term.epoch)
        assert state.lease is not None
        assert not state.lease.released
        world.heal(world.here)
        with pytest.raises((LeadershipLost, Unreachable)):
            world.here.renew(term, renewal.version, limit_s=LIMIT_S)
        with pytest.raises(LeadershipLost):
            world.here.renew(term, renewal.version, limit_s=LIMIT_S)
        assert world.here.release(term, limit_s=LIMIT_S), "nobody else leads: our word still helps"

    def test_a_request_to_resign_is_seen_with_a_renewal(self, world: LeasesWorld) -> None:
        term, renewal = claim(world.here)
        renewal = world.here.renew(term, renewal.version, limit_s=LIMIT_S)
        assert not renewal.resign
        world.there.ask_to_resign(ROLE, Epoch(1, 77), "somebody", limit_s=LIMIT_S)
        renewal = world.here.renew(term, renewal.version, limit_s=LIMIT_S)
        assert not renewal.resign, "it was meant for another epoch"
        world.there.ask_to_resign(ROLE, term.epoch, "somebody", limit_s=LIMIT_S)
        renewal = world.here.renew(term, renewal.version, limit_s=LIMIT_S)
        assert renewal.resign
        assert world.there.observe_role(ROLE, limit_s=LIMIT_S).resign == term.epoch
        world.there.withdraw(ROLE, Epoch(1, 77), limit_s=LIMIT_S)
        assert world.here.renew(term, renewal.version, limit_s=LIMIT_S).resign
        world.there.withdraw(ROLE, term.epoch, limit_s=LIMIT_S)
        world.there.withdraw(ROLE, term.epoch, limit_s=LIMIT_S)
        state = world.here.observe_role(ROLE, limit_s=LIMIT_S)
        assert state.resign is None
        assert state.lease is not None
        assert not world.here.renew(term, state.lease.version, limit_s=LIMIT_S).resign
