"""What the benchmark reads out of raw figures."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "bench"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def record() -> ModuleType:
    return load("replication_record")


@pytest.fixture(scope="module")
def publish(record: ModuleType) -> ModuleType:  # which it imports
    return load("replication_publish")


def figures(record: Any, values: dict[str, list[float]]) -> list[Any]:
    return [
        record.Figure("seed", what, value, "objects/s", number, "10 objects")
        for what, rounds in values.items()
        for number, value in enumerate(rounds)
    ]


def test_ours_is_compared_round_by_round_because_load_moves_both(record: Any) -> None:
    found = figures(record, {"dcctl": [10.0, 20.0, 90.0], "rclone": [5.0, 10.0, 30.0]})
    ours, peer = record.lines_of(found, "seed", "10 objects", "dcctl")
    assert (ours.median, ours.runs, ours.ours) == (20.0, 3, None)
    assert (peer.median, peer.lowest, peer.highest, peer.ours) == (10.0, 5.0, 30.0, 2.0)


def test_a_peer_that_took_part_in_fewer_rounds_is_compared_in_those(record: Any) -> None:
    found = figures(record, {"dcctl": [10.0, 50.0], "rclone": [5.0]})
    assert record.lines_of(found, "seed", "10 objects", "dcctl")[1].ours == 2.0


def test_other_scales_and_units_are_kept_apart(record: Any) -> None:
    found = figures(record, {"dcctl": [10.0]})
    found += [
        record.Figure("seed", "dcctl", 99.0, "objects/s", 0, "20 objects"),
        record.Figure("seed", "memory", 60.0, "MB", 0, "10 objects"),
    ]
    ours, memory = record.lines_of(found, "seed", "10 objects", "dcctl")
    assert ours.median == 10.0
    assert memory.ours is None


def test_a_run_that_was_cut_goes_on_where_it_stopped(record: Any, tmp_path: Path) -> None:
    path = tmp_path / "figures.jsonl"
    record.Records(path).add(record.Figure("seed", "ceiling", 40.0, "objects/s", 0, "10 objects", load=2.0))
    with path.open("a") as out:
        out.write('{"row": "seed", "wha')  # the line that a kill cut
    found = record.Records(path)
    assert found.has("seed", "ceiling", "10 objects", 0)
    assert not found.has("seed", "ceiling", "10 objects", 1)
    assert not found.has("seed", "ceiling", "20 objects", 0)
    assert record.ceiling(found.figures) == 40.0


def test_a_line_after_one_that_was_cut_is_whole(record: Any, tmp_path: Path) -> None:
    path = tmp_path / "figures.jsonl"
    path.write_text('{"row": "seed", "wha')
    record.Records(path).add(record.Figure("seed", "ceiling", 40.0, "objects/s", 0, "10 objects"))
    assert len(record.Records(path).figures) == 1


def test_without_a_ceiling_no_rate_is_made_up(record: Any) -> None:
    with pytest.raises(ValueError, match="row seed"):
        record.ceiling([])


def test_the_report_says_how_loaded_the_machine_was(record: Any) -> None:
    text = record.report([record.Figure("seed", "dcctl", 123.4, "objects/s", 0, "10 objects", load=3.0)])
    assert "## seed: 10 objects (load average 3.0 to 3.0)" in text
    assert "| dcctl | 123 objects/s | 123 to 123 | 1 |  |" in text


def everything(record: Any, *, seed: float) -> list[Any]:
    """Figures of each row, good ones but for the seed copy's rate."""
    rows = {
        ("seed", "ceiling", "9 objects"): [100.0, 50.0],
        ("seed", "dcctl", "9 objects"): [seed, seed / 2],
        ("seed", "rclone sync, default", "9 objects"): [50.0, 25.0],
        ("seed", "dcctl", "3 objects"): [1.0],
        ("listing", "raw listing of both", "1000 rows"): [9.5],
        ("listing", "dcctl", "1000 rows"): [10.0],
        ("memory", "dcctl", "10 rows"): [60.0, 62.0],
        ("memory", "dcctl", "1000 rows"): [70.0],
        ("churn", "dcctl", "1000 rows"): [11.0],
        ("churn", "an unchanged pass and the copies", "1000 rows"): [10.0],
        ("lag", "p50", "60 s"): [0.1],
        ("lag", "p99", "60 s"): [2.5],
        ("workers", "1 worker", "400 objects"): [10.0],
        ("workers", "2 workers", "400 objects"): [19.0],
    }
    return [
        record.Figure(row, what, value, "s", number, scale, at="2026-11-22T03:00:00+00:00", load=2.0)
        for (row, what, scale), values in rows.items()
        for number, value in enumerate(values)
    ]


def test_what_is_asked_for_is_judged_at_the_largest_scale(record: Any, publish: Any) -> None:
    found = {one.what: one for one in publish.verdicts(everything(record, seed=90.0))}
    assert found["seed copy, ours to the ceiling"].measured == "0.90 (0.90 to 0.90, 2 rounds)"
    assert found["seed copy, ours to the ceiling"].met
    assert found["seed copy, ours to rclone's default"].met
    assert found["unchanged pass, our listing rate to the raw one"].measured == "0.95"
    assert found["unchanged pass, memory"].measured == "62 MB (10 rows), 70 MB (1000 rows)"
    assert found["0.1 % churn, to an unchanged pass and the copies"].met
    assert found["two workers to one"].met
    assert found["lag, p99, s"].met is False
    assert found["requests per copied object"].met is None


def test_a_target_that_is_missed_is_said(record: Any, publish: Any) -> None:
    found = {one.what: one for one in publish.verdicts(everything(record, seed=80.0))}
    assert found["seed copy, ours to the ceiling"].met is False
    assert found["seed copy, ours to rclone's default"].met is False


def test_nothing_measured_is_nothing_claimed(publish: Any) -> None:
    assert {one.met for one in publish.verdicts([])} == {None}


def test_the_page_gets_the_section_in_its_place(record: Any, publish: Any) -> None:
    text = publish.section(everything(record, seed=80.0), ["On this host."])
    page = f"before\n{publish.BEGIN}\nyesterday's\n{publish.END}\nafter\n"
    new = publish.published(page, text)
    assert new.startswith("before\n")
    assert new.endswith(f"{publish.END}\nafter\n")
    assert "yesterday's" not in new
    assert (
        "| seed copy, ours to the ceiling | at least 0.85 | 0.80 (0.80 to 0.80, 2 rounds) | **not met** |"
        in new
    )
    assert "#### listing, 1,000 rows" in new
    assert publish.published(new, text) == new
    with pytest.raises(ValueError, match="lacks"):
        publish.published("no place", text)


def test_the_page_of_the_documentation_has_its_place(publish: Any) -> None:
    page = (FOLDER.parent / "docs/benchmarks.md").read_text()
    assert page.index(publish.BEGIN) < page.index(publish.END)
