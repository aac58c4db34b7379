"""The whole system in virtual time: no seed breaches a promise, and what is broken on purpose is caught."""

import time
from pathlib import Path

import pytest

from dcctl.testing.simulation import Fault, Schedule, simulate
from dcctl.testing.simulation.__main__ import failing, first_failing, main, run
from dcctl.testing.simulation.broken import CATALOGUE, Broken

PARTS = [range(first, first + 50) for first in range(1, 301, 50)]
SEEDS_TO_CATCH = 80
BY_NAME = {each.name: each for each in CATALOGUE}


@pytest.fixture(autouse=True)
def no_wall_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sleeps in real time while virtual time stands still sleeps for ever."""

    def sleep(seconds: float) -> None:
        raise AssertionError(f"{seconds:g} s of real sleep")

    monkeypatch.setattr(time, "sleep", sleep)


@pytest.mark.parametrize("seeds", PARTS, ids=lambda part: f"{part.start}-{part.stop - 1}")
def test_no_promise_is_breached_whatever_happens(seeds: range) -> None:
    assert failing(seeds) == []


CUT = Schedule(1, (Fault(20.0, "cut", "east", 60.0),))


def test_a_site_that_is_cut_off_is_given_up_and_admitted_again() -> None:
    result = simulate(CUT)
    assert result.breaches == ()
    ended = [(each.words.split()[0], each.ended) for each in result.history.runs]
    assert ("failover", "done") in ended
    assert ("admit", "done") in ended
    acknowledged = {each.timeline for each in result.history.writes if each.outcome == "ok"}
    assert acknowledged == {1, 2}, "the survivor was promoted"


@pytest.mark.parametrize("seed", range(1, 5))
def test_a_planned_move_fails_no_write(seed: int) -> None:
    moved = Fault(30.0, "command", "ann", 0.0, ["switchover", "west", None])
    result = simulate(Schedule(seed, (moved,)))
    assert result.breaches == ()
    assert [(each.words, each.ended) for each in result.history.runs] == [
        ("switchover apply --to west", "done")
    ]
    writes = [each for each in result.history.writes if each.timeline == 2 or each.began_s > moved.at_s]
    assert {each.outcome for each in writes} == {"ok"}


def test_a_schedule_has_one_course() -> None:
    one, again = simulate(CUT), simulate(Schedule.from_json(CUT.to_json()))
    assert one.history.timeline == again.history.timeline
    assert one.history.writes == again.history.writes


@pytest.mark.parametrize("broken", CATALOGUE, ids=lambda each: each.name)
def test_what_is_broken_is_caught_and_ours_passes_the_same_schedule(broken: Broken) -> None:
    seed = first_failing(range(1, SEEDS_TO_CATCH), broken)
    assert seed is not None
    assert run(broken.schedule(seed)).breaches == ()


def test_a_failing_seed_is_cut_down_and_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "drain without counting who is left"
    assert main(["--seeds", "1", "--broken", name]) == 1
    told = capsys.readouterr().out
    assert "==> no site is active" in told
    assert '"failed": [1]' in told
    kept = tmp_path / "build" / "simulation-1.json"
    assert len(Schedule.from_json(kept.read_text()).faults) <= len(BY_NAME[name].faults)
    assert main(["--replay", str(kept), "--broken", name]) == 1
    assert "==> no site is active" in capsys.readouterr().out
    assert main(["--replay", str(kept)]) == 0
    assert "==> nothing was breached" in capsys.readouterr().out
