"""Where the run stands that acts, or acted last: for how long, at which step, by whom, and what to type."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from dcctl.cli.output import span
from dcctl.cli.status import _last_run, last_run
from dcctl.domain.event import Event
from dcctl.domain.last_run import LastRun, choose_last, decide_last_run
from dcctl.domain.run import ActiveRun, Ordered, Outcome, decide_run
from dcctl.testing.clock import EPOCH, VirtualClock
from dcctl.testing.runs import FakeRegistry, FakeRuns
from dcctl.wiring import runs as wiring
from dcctl.wiring.runs import Known

RUN = "20260101-000000-switchover-aaaa"
STARTED = (0.0, "run.started", {"command": "switchover apply --to west", "by": "ann@laptop"})
FENCE = {"step": "fence", "target": "east", "limit_s": 90.0}
NEXT = "dcctl -e lab run"


def events(*told: tuple[float, str, dict[str, Any]], first: int = 1) -> tuple[Event, ...]:
    return tuple(
        Event(EPOCH + timedelta(seconds=at_s), RUN, seq, type, fields)
        for seq, (at_s, type, fields) in enumerate(told, start=first)
    )


def stands(
    told: Sequence[Event], *, at_s: float, active: bool = False, ordered: Ordered | None = None
) -> LastRun:
    found = decide_run(RUN, told, active=active, ordered=ordered)
    return decide_last_run(found, EPOCH + timedelta(seconds=at_s), dcctl="dcctl -e lab")


def screen(last: LastRun | None) -> list[str]:
    """The line of a status, 25 s after the run began."""
    out = io.StringIO()
    Console(file=out, width=200).print(_last_run(last, EPOCH + timedelta(seconds=25)))
    return [line.rstrip() for line in out.getvalue().splitlines()]


ACTIVE = events(STARTED, (30.0, "step.started", FENCE))
CASES = [
    (
        stands(ACTIVE, at_s=42.4, active=True),
        [
            f"{RUN}  active for 42 s, since 00:00:00 UTC",
            "  switchover apply --to west, by ann@laptop",
            "  now for 12 s of at most 1 min 30 s: fence, on east",
            f"  next: {NEXT} watch {RUN}",
        ],
    ),
    (
        stands(
            events(
                STARTED, (30.0, "step.started", FENCE), (40.0, "run.paused", {"by": "bob", "because": ""})
            ),
            at_s=100,
            active=True,
        ),
        [
            f"{RUN}  paused, begun 1 min 40 s ago",
            "  switchover apply --to west, by ann@laptop",
            "  now for 1 min 10 s of at most 1 min 30 s: fence, on east",
            f"  next: {NEXT} resume {RUN}",
        ],
    ),
    (
        stands(events(STARTED, (3.0, "step.started", FENCE)), at_s=25),
        [
            f"{RUN}  broken off after 3 s, 22 s ago",
            "  switchover apply --to west, by ann@laptop",
            "  it had begun (done or not): fence, on east",
            f"  next: {NEXT} resume {RUN}",
        ],
    ),
    (
        stands(
            events(STARTED, (30.0, "step.started", FENCE), (3600.0, "run.resumed", {"by": "bob@desk"})),
            at_s=3610,
            active=True,
        ),
        [
            f"{RUN}  active for 10 s, since it was resumed at 01:00:00 UTC",
            "  switchover apply --to west, by bob@desk",
            f"  next: {NEXT} watch {RUN}",
        ],
    ),
    (
        stands(events(STARTED, (20.0, "run.done", {})), at_s=25),
        [f"{RUN}  done in 20 s, 5 s ago"],
    ),
    (
        stands(events(STARTED, (20.0, "run.failed", {"saw": "fence on east: no answer"})), at_s=25),
        [
            f"{RUN}  failed after 20 s, 5 s ago",
            "  switchover apply --to west, by ann@laptop",
            "  fence on east: no answer",
            f"  next: {NEXT} resume {RUN}",
        ],
    ),
    (
        stands(events(STARTED, (20.0, "run.aborted", {"saw": "bob: not tonight"})), at_s=25),
        [
            f"{RUN}  aborted after 20 s, 5 s ago",
            "  switchover apply --to west, by ann@laptop",
            "  bob: not tonight",
        ],
    ),
    (
        stands((), at_s=25, ordered=Ordered("ann@laptop", "admit west")),
        [
            f"{RUN}  broken off, begun 25 s ago",
            "  admit west, by ann@laptop",
            f"  next: {NEXT} resume {RUN}",
        ],
    ),
    (
        LastRun(RUN, "unreadable", saw="not an event"),
        [f"{RUN}  unreadable", "  its command is not known", "  not an event"],
    ),
    (None, ["none"]),
]


@pytest.mark.parametrize(("last", "lines"), CASES)
def test_where_it_stands(last: LastRun | None, lines: list[str]) -> None:
    assert screen(last) == lines


def test_of_a_run_that_goes_on_the_time_is_until_now_and_nothing_is_said_of_an_end() -> None:
    last = stands(ACTIVE, at_s=42.4, active=True)
    assert (last.started_at, last.ended_at, last.took_s) == (EPOCH, None, 42.4)
    (doing,) = last.doing
    assert doing.for_s == pytest.approx(12.4)
    assert doing.limit_s == 90.0


def test_the_run_that_may_act_is_shown_before_a_newer_one() -> None:
    names = ("20260101-000000-switchover-aaaa", "20260101-010000-provision-bbbb")
    active = ActiveRun(names[0], 2, "ann@laptop", "switchover apply --to west", alive=False)
    assert choose_last(names, active) == names[0]
    assert choose_last(names, None) == names[1]
    assert choose_last((), None) is None


def test_what_a_drill_kept_to_itself_is_not_taken_for_its_end() -> None:
    """On another machine than its own: what acted is there, and who began it, and no last word."""
    ordered = Ordered("ann@laptop", "drill run site-cut")
    acted = events((60.0, "failover.decided", {"site": "east", "survivor": "west", "primary": "x"}), first=9)
    found = decide_run(RUN, acted, active=False, ordered=ordered)
    assert (found.outcome, found.command, found.by) == (Outcome.UNKNOWN, "drill run site-cut", "ann@laptop")
    assert found.saw == "how it ended is in its journal alone, where ann@laptop began it"
    assert (found.started_at, found.took_s, found.missing) == (EPOCH, 60.0, 8)
    assert [each.offset_s for each in found.timeline] == [60.0]
    going_on = decide_run(RUN, acted, active=True, ordered=ordered)
    assert (going_on.outcome, going_on.saw) == (Outcome.ACTIVE, "")
    told = events((0.0, "run.started", {"command": "drill run site-cut", "by": "ann@laptop"}))
    done = (*told, *acted, *events((90.0, "run.done", {}), first=40))
    over = decide_run(RUN, done, active=False, ordered=ordered)
    assert (over.outcome, over.by, over.missing) == (Outcome.DONE, "ann@laptop", 37)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (349200, "4 d 1 h"),
    ],
)
def test_times_are_told_in_two_units(seconds: float, told: str) -> None:
    assert span(seconds) == told


def test_the_run_of_a_status_is_the_one_that_may_act_and_a_torn_report_is_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = "20260101-010000-drill-bbbb"
    registry = FakeRegistry(VirtualClock())
    for run, command in ((newer, "drill run site-cut"), (RUN, "switchover apply --to west")):
        runs = FakeRuns(registry, who="ann@laptop")
        runs.begin(run, command, limit_s=1)
        runs.append(Event(EPOCH, run, 1, "run.started", {"command": command}), limit_s=1)
        if run == newer:
            runs.end(limit_s=1)
    kept: Any = FakeRuns(registry)
    configuration: Any = SimpleNamespace(state_directory=tmp_path)

    @contextmanager
    def known(_configuration: Any, *, limit_s: float) -> Iterator[Known]:
        active = kept.observe_active(limit_s=limit_s)
        yield Known(configuration, kept, "", active, kept.observe_runs(limit_s=limit_s))

    monkeypatch.setattr(wiring, "known", known)
    last, active = last_run(configuration, dcctl="dcctl -e lab")
    assert last is not None
    assert active is not None
    assert (last.run, last.outcome, active.run) == (RUN, "active", RUN)
    assert last.next_command == f"dcctl -e lab run watch {RUN}"
    runs.end(limit_s=1)
    (tmp_path / "runs" / newer).mkdir(parents=True)
    (tmp_path / "runs" / newer / "report.json").write_text('{"verdi')
    last, active = last_run(configuration)
    assert last is not None
    assert (last.run, last.verdict, active) == (newer, "", None)
