"""What the benchmark reads out of raw figures."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PATH = Path(__file__).parents[2] / "bench/replication_record.py"


@pytest.fixture(scope="module")
def record() -> ModuleType:
    spec = importlib.util.spec_from_file_location("replication_record", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


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
