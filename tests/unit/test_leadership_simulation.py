"""Three contenders, hours of virtual time, every fault: at most one command acts at any instant.

Each rule is then taken away in turn, and the checker must notice: a checker that cannot fail shows nothing.
"""

import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from dcctl.domain.leadership import Epoch, Renewal, Term
from dcctl.engines.leadership import Holder
from dcctl.errors import Unreachable
from dcctl.testing.clock import VirtualClock
from dcctl.testing.leadership import (
    Contender,
    FakeCommand,
    FakeEnsemble,
    FakeLeases,
    Simulation,
    Stay,
    Work,
    overlaps,
)

SESSION_S = 10.0
SEEDS = range(12)


class TrustsEvents(FakeLeases):
    """Broken on purpose: as long as no event says LOST, the lease counts as renewed."""

    def renew(self, term: Term, version: int, *, limit_s: float) -> Renewal:
        try:
            return super().renew(term, version, limit_s=limit_s)
        except Unreachable:
            return Renewal(self.ensemble.clock.monotonic(), self.session_s, version)


class CountsFromTheAnswer(FakeLeases):
    """Broken on purpose: the lease counts from when the answer was read."""

    def renew(self, term: Term, version: int, *, limit_s: float) -> Renewal:
        renewal = super().renew(term, version, limit_s=limit_s)
        return replace(renewal, sent_s=self.ensemble.clock.monotonic())


class EndIsRelease(FakeEnsemble):
    """Broken on purpose: with its session, a holder's lease counts as over."""

    def end(self, session: int) -> None:
        roles = [role for role, owner in self.owners.items() if owner == session]
        super().end(session)
        for role in roles:
            lease = self.states[role].lease
            assert lease is not None
            self.states[role] = replace(self.states[role], lease=replace(lease, released=True))


class World:
    """Three contenders whose lives are made of faults."""

    def __init__(
        self,
        seed: int,
        *,
        leases: type[FakeLeases] = FakeLeases,
        ensemble: type[FakeEnsemble] = FakeEnsemble,
        watched: bool = True,
    ) -> None:
        self.random = random.Random(seed)  # noqa: S311
        self.clock = VirtualClock()
        self.stays: list[Stay] = []
        self.simulation = Simulation(self.clock)
        shared = ensemble(self.clock, early_s=3.0)
        for number in range(3):
            client = leases(shared, SESSION_S, latency_s=0.01)
            one = Contender(client, lambda contender, number=number: self._new_work(contender, number))
            client._pass_time = lambda seconds, one=one: self.simulation.pass_time(one, seconds)
            self.simulation.contenders.append(one)
        self.watched = watched
        self.pids = 0

    def _new_work(self, contender: Contender, number: int) -> Work:
        self.pids += 1
        pid = self.pids
        command = FakeCommand(
            self.clock,
            self.stays,
            obeys_after_s=self.random.choice([0.0, 0.5, None]),
            lasts_s=self.random.choice([20.0, 300.0]),
            watched=self.watched,
        )

        def new_term(epoch: Epoch) -> Term:
            return Term("auction", epoch, "sre", f"host-{number}", pid, datetime(2026, 1, 1, tzinfo=UTC))

        self.commands = [*getattr(self, "commands", []), command]
        return Holder(
            role="auction",
            leases=contender.leases,
            command=command,
            mirror=None,
            new_term=new_term,
            asked=lambda: False,
            grace_s=1.0,
        ).hold()

    def live(self, for_s: float) -> None:
        while self.clock.monotonic() < for_s:
            self.simulation.run_until(self.clock.monotonic() + self.random.uniform(0.5, 20.0))
            self._misfortune(self.random.choice(self.simulation.contenders))
            for command in self.commands:
                command.settle()

    def _misfortune(self, one: Contender) -> None:
        duration_s = self.random.choice([0.2, 2.0, 6.0, 9.0, 11.0, 30.0])
        match self.random.randrange(5):
            case 0:
                self.simulation.freeze(one, duration_s)
            case 1:
                one.leases.cut()
                self.simulation.run_until(self.clock.monotonic() + duration_s)
                one.leases.heal()
            case 2:
                one.leases.lose_answers = True
                self.simulation.run_until(self.clock.monotonic() + duration_s)
                one.leases.lose_answers = False
            case 3:
                one.leases.latency_s = self.random.choice([0.01, 0.5, 1.5])
            case 4:
                # Frozen while an answer is under way: the hardest moment.
                one.leases.latency_s = 1.0
                self.simulation.run_until(self.clock.monotonic() + self.random.uniform(0.0, 2.0))
                self.simulation.freeze(one, duration_s)
                one.leases.latency_s = 0.01


@pytest.mark.parametrize("seed", SEEDS)
def test_at_most_one_acts_whatever_happens(seed: int) -> None:
    world = World(seed)
    world.live(2000.0)
    assert overlaps(world.stays) == ()
    assert len(world.stays) > 10, "faults must not keep everybody from leading"
    acting_s = sum(min(stay.ended_s, 2000.0) - stay.began_s for stay in world.stays)
    assert acting_s > 600.0


def breaches(**broken: object) -> int:
    found = 0
    for seed in SEEDS:
        world = World(seed, **broken)  # type: ignore[arg-type]
        world.live(2000.0)
        found += len(overlaps(world.stays))
    return found


def test_the_checker_notices_a_deadline_taken_from_events() -> None:
    assert breaches(leases=TrustsEvents)


def test_the_checker_notices_a_lease_counted_from_the_answer() -> None:
    assert breaches(leases=CountsFromTheAnswer)


def test_the_checker_notices_a_missing_watchdog() -> None:
    assert breaches(watched=False)


def test_the_checker_notices_a_successor_that_trusts_the_end_of_a_session() -> None:
    assert breaches(ensemble=EndIsRelease)
