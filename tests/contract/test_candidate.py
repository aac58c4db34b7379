"""An agent's candidacy for the controller's role: real threads, and a real watchdog over a real process."""

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dcctl.adapters.guard import boot_clock
from dcctl.agent.candidate import Candidate
from dcctl.domain.automation import CONTROLLER
from dcctl.domain.leadership import RoleState, Term
from dcctl.testing.clock import VirtualClock
from dcctl.testing.leadership import FakeEnsemble, FakeLeases

SESSION_S = 600.0
"""Longer than any test: who leads afterwards was handed the role, and did not wait for a lease to run out."""
LEADS = """
import os, sys, time
with open(sys.argv[1], "a") as file:
    file.write(f"{os.environ['DCCTL_EPOCH']} {os.getpid()}\\n")
time.sleep(3600)
"""


class RealClock(VirtualClock):
    """The one that leases are judged by."""

    def monotonic(self) -> float:
        return boot_clock()

    def sleep(self, seconds: float) -> None:
        """Nothing: requests take no time here."""
        assert seconds == 0


@dataclass
class Places:
    """Agents that contend for the role one after another."""

    folder: Path
    ensemble: FakeEnsemble = field(default_factory=lambda: FakeEnsemble(RealClock()))
    eligible: bool = True
    superseded: bool = False
    told: list[str] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)

    def contend(self) -> Candidate:
        candidate = Candidate(
            FakeLeases(self.ensemble, SESSION_S),
            [sys.executable, "-c", LEADS, str(self.folder / "led")],
            new_term=lambda epoch: Term(CONTROLLER, epoch, "agent", "here", os.getpid(), datetime.now(UTC)),
            eligible=lambda: self.eligible,
            superseded=lambda: self.superseded,
            clock=boot_clock,
            tell=self.told.append,
        )
        self.candidates.append(candidate)
        candidate.start()
        return candidate

    def led(self) -> list[tuple[int, int]]:
        """Epoch and process of each that led."""
        with suppress(FileNotFoundError):
            lines = (self.folder / "led").read_text().splitlines()
            return [(int(epoch), int(pid)) for epoch, pid in (line.split() for line in lines)]
        return []

    def role(self) -> RoleState:
        return self.ensemble.states.get(CONTROLLER, RoleState(CONTROLLER))

    def released(self) -> bool:
        """Whether it is written that the work of whoever led is over."""
        lease = self.role().lease
        return lease is not None and lease.released


@pytest.fixture
def places(tmp_path: Path) -> "Places":
    return Places(tmp_path)


@pytest.fixture(autouse=True)
def nobody_is_left(places: "Places") -> object:
    yield
    for each in places.candidates:
        each.close()
    until(lambda: not [pid for _epoch, pid in places.led() if lives(pid)])


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def until(true: Callable[[], object]) -> None:
    ends_s = time.monotonic() + 60
    while not true():
        assert time.monotonic() < ends_s
        time.sleep(0.02)


def test_asked_to_end_it_hands_the_role_over_and_leaves_no_controller(places: Places) -> None:
    first = places.contend()
    until(lambda: len(places.led()) == 1)
    ((epoch, pid),) = places.led()
    assert not places.released()
    first.close()
    until(places.released)
    assert not lives(pid), "the controller has ended before the role is another's"
    assert places.role().term is None
    places.contend()
    until(lambda: len(places.led()) == 2)
    assert places.led()[1][0] > epoch, "its successor acts under a later epoch"


def test_a_better_place_takes_the_role_and_this_one_does_not_contend_again(places: Places) -> None:
    places.contend()
    until(lambda: len(places.led()) == 1)
    ((_epoch, pid),) = places.led()
    places.eligible, places.superseded = False, True
    until(places.released)
    assert not lives(pid)
    time.sleep(2.5)  # it looks every second
    assert len(places.led()) == 1


def test_what_may_not_contend_leads_nothing_and_says_nothing(places: Places) -> None:
    places.eligible = False
    candidate = places.contend()
    time.sleep(1.5)
    candidate.close()
    assert (places.role(), places.led(), places.told) == (RoleState(CONTROLLER), [], [])


def test_while_it_leads_that_nobody_need_contend_ends_nothing(places: Places) -> None:
    """The witness went and came: who leads goes on until a better place was there for a while."""
    places.contend()
    until(lambda: len(places.led()) == 1)
    places.eligible = False
    time.sleep(1.5)
    ((_epoch, pid),) = places.led()
    assert lives(pid)
    assert not places.released()
