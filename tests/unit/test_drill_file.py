"""Drill files: the one that travels with dcctl, and what is said about wrong ones."""

from pathlib import Path

import pytest

from dcctl.config.drill import DrillFile, find_drill, known_drills, load_drill
from dcctl.config.schema import Objectives
from dcctl.errors import ConfigurationError, UsageError

OBJECTIVES = Objectives.model_validate({"recovery_time": "60s", "loss_window": "0s"})
RIGHT = """\
drill: mine
purpose: to know
fault: {cut_site: primary, for_at_most: 60s}
hold: {writes_acknowledged_for: 5s, at_most: 50s}
settle: {at_most: 1m}
"""


def loaded(folder: Path, text: str) -> DrillFile:
    path = folder / "mine.yml"
    path.write_text(text)
    return load_drill(path)


UNITS = "a duration with its unit, such as 500ms, 90s, 5m or 1h30m"


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as failure:
        loaded(folder, text)
    return [str(problem).partition("mine.yml:")[2] for problem in failure.value.problems]


def test_the_drill_that_travels_with_dcctl_is_right() -> None:
    drill = load_drill(find_drill("site-cut")).with_objectives(OBJECTIVES)
    assert (drill.name, drill.cut_site) == ("site-cut", "primary")
    assert (drill.tolerances.recovery_time_s, drill.tolerances.loss_window_s) == (60, 0)
    assert drill.cut_for_at_most_s >= drill.hold_at_most_s + 10


def test_a_short_file_is_enough(tmp_path: Path) -> None:
    drill = loaded(tmp_path, RIGHT).with_objectives(OBJECTIVES)
    assert drill.workload.writes_per_s == 50
    assert drill.settle_at_most_s == 60


def test_a_tolerance_of_its_own_replaces_the_objective(tmp_path: Path) -> None:
    text = RIGHT + "tolerances: {recovery_time: 30s, loss_window: 0s}\n"
    objectives = Objectives.model_validate({"recovery_time": "60s", "loss_window": "9s"})
    tolerances = loaded(tmp_path, text).with_objectives(objectives).tolerances
    assert (tolerances.recovery_time_s, tolerances.loss_window_s) == (30, 0)


def test_every_problem_is_told_at_once_with_its_place(tmp_path: Path) -> None:
    text = RIGHT.replace("for_at_most: 60s", "for_atmost: 60s").replace("1m", "60")
    assert problems(tmp_path, text + "tolerances: {recovery_time: soon}\nworkloads: {}\n") == [
        "3:1: fault.for_at_most: is required and missing",
        "3:28: fault.for_atmost: unknown key; did you mean for_at_most?",
        f"5:19: settle.at_most: 60 has no unit; write {UNITS}",
        f"6:29: tolerances.recovery_time: 'soon' is not {UNITS}",
        "7:1: workloads: unknown key; did you mean workload?",
    ]


def test_a_fault_must_outlast_the_time_it_is_held(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, RIGHT.replace("60s", "55s"))
    assert "fault.for_at_most must be at least 60s" in problem


@pytest.mark.parametrize("rate", ["0", "-1", "fast", "'50'", "1001"])
def test_a_rate_is_a_number_that_makes_sense(tmp_path: Path, rate: str) -> None:
    (problem,) = problems(tmp_path, RIGHT + f"workload: {{writes_per_second: {rate}}}\n")
    assert "workload.writes_per_second" in problem


def test_a_file_that_is_no_yaml_is_a_configuration_error(tmp_path: Path) -> None:
    assert problems(tmp_path, "drill: [")


def test_an_unknown_drill_lists_those_that_are_there() -> None:
    with pytest.raises(UsageError, match="site-cut"):
        find_drill("no-such-drill")


def test_the_working_folders_drills_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "drills").mkdir()
    (tmp_path / "drills" / "site-cut.yml").write_text(RIGHT)
    monkeypatch.chdir(tmp_path)
    assert known_drills()["site-cut"] == Path("drills/site-cut.yml")
