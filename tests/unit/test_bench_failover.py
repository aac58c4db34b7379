"""What the benchmark of failover publishes of its runs."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "bench"


@pytest.fixture(scope="module")
def publish() -> ModuleType:
    for name in (
        "replication_record",
        "replication_publish",
        "failover_publish",
    ):  # each imports the one before
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return module


def run(case: str, who: str, stall_s: float | None, **more: Any) -> dict[str, Any]:
    seen = {"began_after_s": 0.0, "failed": 0, "unknown": 0, "acknowledged": 100, "lost": 0, "load": 2.0}
    of_ours = {"isolated_acknowledged": None, "phases": {}, "note": "", "at": "2026-11-22T08:00:00+00:00"}
    return {"case": case, "who": who, "stall_s": stall_s, **seen, **of_ours, **more}


def test_the_median_and_the_worst_are_both_held_against_their_targets(publish: Any) -> None:
    quick = [run("site-power-loss", "ours", each) for each in (5.0, 5.5, 9.9)]
    assert publish.met("site-power-loss", quick) is True
    assert publish.met("site-power-loss", [*quick, run("site-power-loss", "ours", 10.1)]) is False
    assert publish.met("site-power-loss", []) is None


def test_a_promise_that_was_broken_is_no_target_met(publish: Any) -> None:
    assert publish.met("switchover", [run("switchover", "ours", 0.5)]) is True
    assert publish.met("switchover", [run("switchover", "ours", 0.5, unknown=1)]) is False
    assert publish.met("site-lost", [run("site-lost", "ours", 7.0, isolated_acknowledged=1)]) is False
    assert publish.met("standby-lost", [run("standby-lost", "ours", 3.0, lost=1)]) is False


def test_the_floor_is_two_probes_and_the_promotion_of_the_same_run(publish: Any) -> None:
    phases = {"run began": 3.8, publish.RELEASED: 4.5}
    text = publish.section([run("site-lost", "ours", 5.75, phases=phases, began_after_s=0.25)])
    assert "| **the floor** | 3.5 s |" in text


def test_a_run_that_broke_off_is_told_and_counts_for_nothing(publish: Any) -> None:
    text = publish.section([run("site-lost", "ours", None, note="the lab did not become whole")])
    assert "- broke off: site-lost, ours: the lab did not become whole" in text
    assert "| not measured |" in text


def test_the_page_of_the_documentation_has_its_place(publish: Any) -> None:
    page = (FOLDER.parent / "docs/benchmarks.md").read_text()
    assert publish.published(page, publish.section([])).count(publish.BEGIN) == 1
