"""How runs look at a terminal of 80 columns and piped: nothing that the next command needs is cut."""

import io
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from rich.console import Console

from dcctl.cli import run_view
from dcctl.cli.errors import say
from dcctl.cli.run_view import draw_list, draw_run, timeline_document, watch_events
from dcctl.cli.session import Session
from dcctl.domain.event import Event
from dcctl.domain.run import Ordered, Run, decide_run
from dcctl.errors import DcctlError, Refused, Unreachable, UsageError
from dcctl.testing.clock import EPOCH

RUN = "20260101-000000-switchover-aaaa"
STARTED = (0.0, "run.started", {"command": "switchover apply --to west", "by": "ann@laptop"})
FENCE = "fence: power read back as off where its cloud answers; else nobody there can acknowledge"
STEP = (3.0, "step.started", {"step": FENCE, "target": "dcctl_drill_20261121_231144_aaaa", "limit_s": 90.0})
Events = tuple[Event, ...]


def events(*told: tuple[float, str, dict[str, Any]], first: int = 1) -> Events:
    return tuple(
        Event(EPOCH + timedelta(seconds=at_s), RUN, seq, type, fields)
        for seq, (at_s, type, fields) in enumerate(told, start=first)
    )


def drawn(draw: Callable[[Console], None], width: int = 80) -> list[str]:
    out = io.StringIO()
    draw(Console(file=out, width=width))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert all(len(line) <= width for line in lines)
    return lines


def shown(told: Events, *, at_s: float, active: bool = False, width: int = 80) -> list[str]:
    found = decide_run(RUN, told, active=active)
    return drawn(lambda out: draw_run(out, found, EPOCH + timedelta(seconds=at_s)), width)


def test_a_name_is_never_cut_and_a_reason_has_room() -> None:
    failed = decide_run(
        RUN, events(STARTED, (9.0, "run.failed", {"saw": f"{FENCE}: no answer within 75 s"})), active=False
    )
    elsewhere = decide_run(RUN, (), active=False, ordered=Ordered("bob@desk", "drill run site-cut"))
    lines = drawn(lambda out: draw_list(out, [failed, elsewhere, (RUN, "a line of it is no event")], EPOCH))
    assert [line.startswith(RUN) for line in lines].count(True) == 3
    text = " ".join(" ".join(lines).split())
    assert "failed 9 s switchover apply --to west" in text
    assert "not known drill run site-cut: how it ended is in its journal alone, where bob@desk" in text


def test_what_runs_now_is_shown_with_how_long_it_does_and_may() -> None:
    lines = shown(events(STARTED, STEP), at_s=20.0, active=True)
    text = " ".join(" ".join(lines).split())
    assert "+3.0 s running 17.0 s" in text
    assert "can acknowledge, at most 1 min 13 s more" in text
    assert lines[-2:] == ["active for 20.0 s", f"next: dcctl run watch {RUN}"]


def test_where_there_is_room_a_line_is_told_by_the_clock_too() -> None:
    assert any(line.startswith("00:00:03") for line in shown(events(STARTED, STEP), at_s=20.0, width=120))


def test_what_a_run_had_begun_that_was_broken_off_is_told_as_what_it_is() -> None:
    assert shown(events(STARTED, STEP), at_s=20.0)[-3:] == [
        "broken off after 3.0 s",
        "what it had begun (unknown) may have happened or not",
        f"next: dcctl run resume {RUN}",
    ]
    assert shown((), at_s=20.0)[-1] == "broken off before its first word"


def test_a_program_is_told_the_same() -> None:
    told = events(STARTED, STEP)
    document = timeline_document(decide_run(RUN, told, active=True), told, "dcctl -e lab")
    assert (document["by"], document["next_command"]) == ("ann@laptop", f"dcctl -e lab run watch {RUN}")
    assert [each["limit_s"] for each in document["doing"]] == [90.0]
    assert document["timeline"][0]["limit_s"] == 90.0


def test_a_watch_says_what_goes_on_and_outlives_an_ensemble_that_does_not_answer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_view, "SAY_EVERY_S", 0.0)
    told = events(STARTED, STEP)
    done = (*told, *events((8.0, "step.done", {**STEP[2], "took_s": 5.0}), (9.0, "run.done", {}), first=3))
    looks: list[tuple[Events, bool] | None] = [(told, True), None, None, (told, True), (done, False)]
    taken = iter(looks)

    def look() -> tuple[Run, Sequence[Event]]:
        if (found := next(taken)) is None:
            raise Unreachable("read the run", saw="no connection to ZooKeeper")
        return decide_run(RUN, found[0], active=found[1]), found[0]

    watch_events(Session(None, "text"), look, every_s=0.0)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "not seen now" in line] == [
        "not seen now, and looked for again: read the run: no connection to ZooKeeper"
    ]
    assert any("running" in line and FENCE in line for line in lines)
    assert lines[-2].split("  ")[:3] == ["+3.0 s", "done", "5.0 s"]
    assert lines[-1] == "done after 9.0 s"


def test_a_watch_that_sees_nothing_at_all_fails() -> None:
    def look() -> tuple[Run, Sequence[Event]]:
        raise Unreachable("read the run", saw="no connection to ZooKeeper")

    with pytest.raises(Unreachable):
        watch_events(Session(None, "text"), look, every_s=0.0)


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (Refused("try", reasons=("no",), next_command="dcctl run list"), "next: dcctl -e night run list"),
        (
            Unreachable("try", saw="no", next_command="dcctl -e other status"),
            "next: dcctl -e other status",
        ),
        (Unreachable("try", saw="no", next_command="mount it"), "next: mount it"),
        (UsageError("no", next_command="dcctl run show --help"), "next: dcctl run show --help"),
        (UsageError("no", next_command="dcctl init"), "next: dcctl init"),
    ],
)
def test_the_next_command_is_about_the_same_environment(
    error: DcctlError, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    say(error, dcctl=Session("night", "text").dcctl)
    assert capsys.readouterr().err.splitlines()[-1] == shown
