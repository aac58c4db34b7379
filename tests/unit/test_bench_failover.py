"""What the benchmark of failover publishes of its runs."""

import contextlib
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dcctl.lab import machine

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


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    """The bench itself, with what it imports."""
    sys.path.insert(0, str(FOLDER))
    try:
        spec = importlib.util.spec_from_file_location("failover_bench", FOLDER / "failover.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(FOLDER))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("undoing_fails", [False, True])
def test_a_signal_ends_it_with_a_sentence_once_what_was_broken_is_undone(
    *,
    bench: Any,
    number: signal.Signals,
    undoing_fails: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """A second signal, in the middle of the undoing, changes nothing."""
    done: list[str] = []

    def run_one(_lab: Any, case: str, _settings: Any) -> Any:
        done.append(f"break {case}")
        try:
            os.kill(os.getpid(), number)
            pytest.fail("it went on")
        finally:
            os.kill(os.getpid(), number)
            done.append("undo")
            if undoing_fails:
                raise SystemExit("the lab did not become whole")

    class Lab:
        @staticmethod
        @contextlib.contextmanager
        def opened(_environment: str) -> Iterator[Any]:
            yield Lab()
            done.append("never")

        @contextlib.contextmanager
        def settings(self, _settings: Any) -> Iterator[None]:
            try:
                yield
            finally:
                done.append("settings as before")

    monkeypatch.setattr(bench, "Lab", Lab)
    monkeypatch.setattr(bench, "run_one", run_one)
    out = tmp_path / "runs.jsonl"
    words = ["bench", "--out", str(out), "--case", "site-lost", "--case", "switchover", "--who", "ours"]
    monkeypatch.setattr(sys, "argv", words)
    before = signal.getsignal(number)
    assert bench.main() == 130
    assert signal.getsignal(number) == before
    assert done == ["break site-lost", "undo", "settings as before"]
    said = capsys.readouterr().err
    assert f"the runs so far are in {out}: the same command goes on with the rest" in said
    assert "Traceback" not in said
    assert "did not become whole" in out.read_text() if undoing_fails else not out.exists()


def test_the_machine_of_an_address_is_known_by_its_specification(
    bench: Any,  # which imports it
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    isolated, namespaces = sys.modules["failover_isolated"], tmp_path / "netns"
    monkeypatch.setattr(machine, "MACHINES", tmp_path)
    monkeypatch.setattr(isolated, "NAMESPACES", namespaces)
    (namespaces / "dcctl-m-7f5dcb8e").mkdir(parents=True)
    specs = {
        "6f5dcb8e-9d0c-4f0c-9f0e-5f0d3a1b7c11": "198.18.1.2/24",
        "7f5dcb8e-9d0c-4f0c-9f0e-5f0d3a1b7c11": "198.18.1.20/24",
    }
    for id, address in specs.items():
        (tmp_path / id).mkdir()
        spec = {"id": id, "name": "m", "hostname": "m", "place": "east", "address": address}
        (tmp_path / id / "spec.json").write_text(json.dumps({**spec, "gateway": "198.18.1.1"}))
    assert isolated._namespace_of("198.18.1.20") == str(namespaces / "dcctl-m-7f5dcb8e")
    for address in ("198.18.1.2", "198.18.1.9"):  # one that is off, one of nobody
        with pytest.raises(SystemExit, match=f"no machine that runs has {address}"):
            isolated._namespace_of(address)


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
