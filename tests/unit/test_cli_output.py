"""Results and progress as they are printed."""

import io
import json
import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import pytest

from dcctl.cli.output import Progress, emit
from dcctl.cli.session import Session
from dcctl.domain.event import Event
from dcctl.domain.machine import Power
from dcctl.domain.step import Wait

if TYPE_CHECKING:
    from rich.console import Console

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def event(type: str, fields: Mapping[str, Any]) -> Event:
    return Event(AT, "run", 1, type, fields)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_json_is_one_document_with_values_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"at": AT, "power": Power.ON, "address": IPv4Address("192.0.2.1"), "names": {"b", "a"}}
    emit(Session(None, "json"), document, lambda _console: pytest.fail("text was drawn"))
    assert json.loads(capsys.readouterr().out) == {
        "at": "2026-03-01T12:00:00+00:00",
        "power": "on",
        "address": "192.0.2.1",
        "names": ["a", "b"],
    }


def test_text_is_plain_and_whole_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    def text(console: "Console") -> None:
        console.print("[red]not a colour[/red] :warning: " + "x" * 300, style="bold")

    emit(Session(None, "text"), {}, text)
    assert capsys.readouterr().out == "[red]not a colour[/red] :warning: " + "x" * 300 + "\n"


def test_progress_is_a_line_for_each_step_that_ended() -> None:
    stream = io.StringIO()
    with Progress(stream=stream) as progress:
        progress(event("run.started", {}))
        progress(event("step.started", {"step": "create [db]", "target": "east"}))
        progress(event("wait.started", {"wait": "ssh answers", "target": "west"}))
        progress(event("step.done", {"step": "create [db]", "target": "east", "took_s": 1.25}))
        progress(
            event("wait.failed", {"wait": "ssh answers", "target": "west", "took_s": 60, "saw": "refused"})
        )
        progress.say("two sites")
    assert stream.getvalue().splitlines() == [
        "    1.2 s  done    east            create [db]",
        "   60.0 s  failed  west            ssh answers: refused",
        "two sites",
    ]


def test_progress_prints_the_time_of_each_phase() -> None:
    stream = io.StringIO()
    with (
        pytest.raises(RuntimeError),
        Progress("all", stream=stream) as progress,
    ):
        with progress.phase("one"):
            pass
        with progress.phase("two"):
            raise RuntimeError
    lines = [re.sub(r"[0-9.]+ s$", "N s", line) for line in stream.getvalue().splitlines()]
    assert lines == ["one …", "one: done in N s", "two …", "two: failed after N s", "all: failed after N s"]


def test_a_terminal_sees_what_runs_and_not_what_has_ended() -> None:
    stream = Terminal()
    with Progress(stream=stream) as progress:
        progress(event("step.started", {"step": "create", "target": "east"}))
        progress.say("first")
        progress(event("step.done", {"step": "create", "target": "east", "took_s": 1}))
        after = len(stream.getvalue())
        progress.say("second")
    first, second = stream.getvalue()[:after], stream.getvalue()[after:]
    assert "create" in first
    assert "done" in first
    assert "create" not in second


def waiting(limit_s: float) -> Wait:
    return Wait("nothing stands against it", "east", limit_s, 1.0, lambda: None)


def test_a_terminal_sees_what_is_waited_for_and_how_long() -> None:
    stream = Terminal()
    with Progress(stream=stream) as progress:
        progress(event("wait.started", {"wait": "nothing stands against it", "target": "east"}))
        progress.waits(waiting(210.0), "east-db-1 answers here")
        progress.say("first")
        progress(event("wait.done", {"wait": "nothing stands against it", "target": "east", "took_s": 1}))
        progress.waits(waiting(210.0), "said too late")
    shown = " ".join(stream.getvalue().split())
    assert re.search(r"nothing stands against it, at most 2(10|09) s more: east-db-1 answers here", shown)
    assert "said too late" not in shown


def test_elsewhere_what_is_waited_for_is_a_line_now_and_then() -> None:
    now = [100.0]
    stream = io.StringIO()
    with Progress(stream=stream, monotonic=lambda: now[0]) as progress:
        progress(event("wait.started", {"wait": "nothing stands against it", "target": "east"}))
        for second in range(25):
            now[0] = 100.0 + second
            progress.waits(waiting(20.0), f"look {second}")
    assert stream.getvalue().splitlines() == [
        "   10.0 s  waits   east            nothing stands against it, at most 10 s more: look 10",
        "   20.0 s  waits   east            nothing stands against it, at most 0 s more: look 20",
    ]


def test_progress_may_be_told_by_several_threads() -> None:
    stream = io.StringIO()

    def branch(progress: Progress, site: str) -> None:
        for number in range(50):
            name = {"step": f"step {number}", "target": site}
            progress(event("step.started", name))
            progress(event("step.done", {**name, "took_s": 0}))

    with Progress(stream=stream) as progress:
        threads = [threading.Thread(target=branch, args=(progress, site)) for site in ("east", "west")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = stream.getvalue().splitlines()
    assert len(lines) == len(set(lines)) == 100
