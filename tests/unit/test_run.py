"""A run's timeline, from its journal alone."""

from collections.abc import Sequence
from typing import Any

import pytest

from dcctl.cli.run_view import watch_events
from dcctl.cli.session import Session
from dcctl.domain.event import Event
from dcctl.domain.run import Outcome, Run, decide_run, name_run
from dcctl.testing.clock import EPOCH, VirtualClock
from dcctl.testing.journal import MemoryJournal


def journal_of(*events: tuple[float, str, dict[str, Any]]) -> MemoryJournal:
    clock = VirtualClock()
    journal = MemoryJournal("r1", now=clock.now)
    for at_s, type, fields in events:
        clock.sleep(at_s - clock.monotonic())
        journal.append(type, fields)
    return journal


STARTED = (0.0, "run.started", {"command": "provision apply"})
STEP = {"step": "create east-db-1", "target": "east"}
OTHER = {"step": "create west-db-1", "target": "west"}


def test_steps_that_overlap_stand_in_the_order_of_their_start() -> None:
    journal = journal_of(
        STARTED,
        (1, "step.started", {**STEP, "limit_s": 10}),
        (2, "step.started", {**OTHER, "limit_s": 10}),
        (3, "step.done", {**OTHER, "took_s": 1.0}),
        (5, "step.failed", {**STEP, "took_s": 4.0, "saw": "quota"}),
        (6, "run.failed", {"saw": "create east-db-1 on east: quota"}),
    )
    run = decide_run("r1", journal.events(), active=False)
    assert (run.outcome, run.command, run.started_at, run.took_s) == (
        Outcome.FAILED,
        "provision apply",
        EPOCH,
        6,
    )
    assert run.saw == "create east-db-1 on east: quota"
    assert [(m.offset_s, m.took_s, m.state, m.name, m.target, m.saw) for m in run.timeline] == [
        (1, 4.0, "failed", "create east-db-1", "east", "quota"),
        (2, 1.0, "done", "create west-db-1", "west", ""),
    ]


def test_what_a_killed_run_had_begun_may_have_happened_or_not() -> None:
    journal = journal_of(STARTED, (1, "step.started", {**STEP, "limit_s": 10}))
    run = decide_run("r1", journal.events(), active=False)
    assert run.outcome is Outcome.BROKEN_OFF
    assert [m.state for m in run.timeline] == ["unknown"]


def test_an_active_run_is_under_way() -> None:
    journal = journal_of(STARTED, (1, "wait.started", {"wait": "ssh", "target": "east", "limit_s": 10}))
    run = decide_run("r1", journal.events(), active=True)
    assert run.outcome is Outcome.ACTIVE
    assert [m.state for m in run.timeline] == ["running"]


def test_a_step_that_is_done_twice_has_two_lines() -> None:
    twice = [(at, type, STEP) for at in (1.0, 3.0) for type in ("step.started", "step.done")]
    run = decide_run("r1", journal_of(STARTED, *twice, (4, "run.done", {})).events(), active=False)
    assert [m.offset_s for m in run.timeline] == [1, 3]
    assert run.outcome is Outcome.DONE


def test_an_event_with_a_sentence_is_told_by_it() -> None:
    journal = journal_of(STARTED, (2, "drill.fault", {"site": "east", "what": "east is cut off"}))
    (moment,) = decide_run("r1", journal.events(), active=False).timeline
    assert (moment.state, moment.saw) == ("noted", "")
    assert moment.name == "FAULT: east is cut off"


def test_an_event_without_a_sentence_is_told_with_its_fields() -> None:
    journal = journal_of(STARTED, (2, "drill.weather", {"target": "east", "wind": "east"}))
    (moment,) = decide_run("r1", journal.events(), active=False).timeline
    assert (moment.name, moment.target, moment.saw) == ("drill.weather", "east", "wind=east")


def test_an_interrupted_run_says_so() -> None:
    run = decide_run("r1", journal_of(STARTED, (1, "run.interrupted", {"saw": "x"})).events(), active=False)
    assert (run.outcome, run.saw) == (Outcome.INTERRUPTED, "x")


def test_a_journal_without_a_word_is_of_a_run_that_was_broken_off() -> None:
    run = decide_run("r1", (), active=False)
    assert (run.outcome, run.started_at, run.took_s, run.timeline) == (Outcome.BROKEN_OFF, None, 0, ())


def test_names_sort_by_start() -> None:
    clock = VirtualClock()
    first = name_run(clock.now(), "provision", "ffff")
    clock.sleep(1)
    assert first < name_run(clock.now(), "deploy", "0000")
    assert first == "20260101-000000-provision-ffff"


@pytest.mark.parametrize("output", ["text", "json"])
def test_a_run_is_followed_line_by_line_until_it_ends(
    output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    events = journal_of(
        (0.0, "run.started", {"command": "switchover apply --to west"}),
        (1, "step.started", {**STEP, "limit_s": 10}),
        (2, "step.started", {**OTHER, "limit_s": 10}),
        (3, "step.done", {**OTHER, "took_s": 1.0}),
        (4, "run.paused", {"by": "bob", "because": ""}),
        (5, "run.continued", {}),
        (6, "step.done", {**STEP, "took_s": 5.0}),
        (7, "run.failed", {"saw": "no answer"}),
    ).events()
    known = iter(range(1, len(events) + 1))

    def look() -> tuple[Run, Sequence[Event]]:
        until = next(known)
        return decide_run("r1", events[:until], active=until < len(events)), events[:until]

    found, seen = watch_events(Session(None, output), look, every_s=0.0)
    assert (found.outcome, len(seen)) == (Outcome.FAILED, len(events))
    said = capsys.readouterr()
    told = (said.err if output == "json" else said.out).splitlines()
    assert [told[0], told[-1]] == [
        "r1  switchover apply --to west, started 2026-01-01 00:00:00 UTC",
        "next: dcctl run resume r1",
    ]
    assert told[-2] == "failed after 7.0 s: no answer"
    west, east = (
        next(number for number, line in enumerate(told) if f"create {site}-db-1" in line)
        for site in ("west", "east")
    )
    assert west < east, "each line when it has ended"
    assert len([line for line in told if "create" in line]) == 2, "each line once"
    assert "bob" in "".join(told[west:east])
    assert (said.out == "") is (output == "json")


def test_of_a_run_that_is_broken_off_while_it_is_watched_what_it_had_begun_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    events = journal_of(STARTED, (1, "step.started", {**STEP, "limit_s": 10})).events()
    active = iter([True, False])
    watch_events(
        Session(None, "text"),
        lambda: (decide_run("r1", events, active=next(active)), events),
        every_s=0.0,
    )
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "create east-db-1" in line]
    assert "unknown" in line
