"""What may be concluded from probes: never health from a dead probe, never a failure from a stale one."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcctl.domain.probe import Health, ProbeResult, decide_health

START = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
FRESH = 30 * SECOND
UP, DOWN, UNKNOWN = Health.UP, Health.DOWN, Health.UNKNOWN


def result(ok: bool | None, at: datetime = START, health: Health = UNKNOWN) -> ProbeResult:
    return ProbeResult("db/patroni", "db", "patroni", "east", ok, "", 0.01, at, health=health)


def history(marks: str) -> list[ProbeResult]:
    """One result per second: ``+`` right, ``-`` wrong, ``?`` nothing learned; ``_`` is a minute's silence."""
    at, found = START, []
    for mark in marks:
        at += 60 * SECOND if mark == "_" else SECOND
        if mark != "_":
            found.append(result({"+": True, "-": False, "?": None}[mark], at))
    return found


@pytest.mark.parametrize(
    ("marks", "health"),
    [
        ("", UNKNOWN),
        ("+", UNKNOWN),
        ("++", UP),
        ("-", UNKNOWN),
        ("--", UNKNOWN),
        ("---", DOWN),
        ("+-+-+-+-", UNKNOWN),  # flapping proves nothing
        ("++-", UP),  # one failure is no failure yet
        ("++--", UP),
        ("++---", DOWN),
        ("---+", DOWN),  # one answer is no recovery yet
        ("---++", UP),
        ("---+-+-", DOWN),
        ("++?", UNKNOWN),  # the probe died: the target is not healthy for that
        ("---?", UNKNOWN),  # nor is it down
        ("++?+", UNKNOWN),
        ("++?++", UP),
        ("--?-", UNKNOWN),  # what came before the gap does not count
        ("++_-", UNKNOWN),
        ("--_-", UNKNOWN),
        ("+_+", UNKNOWN),
    ],
)
def test_rise_and_fall(marks: str, health: Health) -> None:
    assert decide_health(history(marks), 2, 3) is health


@pytest.mark.parametrize("marks", ["++", "---", "+++---"])
@pytest.mark.parametrize("late", [31, 3600])
def test_silence_makes_it_unknown(marks: str, late: int) -> None:
    last = history(marks)[-1].at
    assert decide_health(history(marks), 2, 3, now=last + FRESH, fresh_for=FRESH) is not UNKNOWN
    assert decide_health(history(marks), 2, 3, now=last + late * SECOND, fresh_for=FRESH) is UNKNOWN


@given(
    marks=st.lists(st.sampled_from([True, False, None])),
    gaps=st.lists(st.integers(0, 90)),
    rise=st.integers(1, 4),
    fall=st.integers(1, 4),
    late=st.integers(0, 90),
)
def test_the_invariants_hold_for_any_history(
    marks: list[bool | None], gaps: list[int], rise: int, fall: int, late: int
) -> None:
    at, found = START, []
    for index, ok in enumerate(marks):
        at += (gaps[index] if index < len(gaps) else 1) * SECOND
        found.append(result(ok, at))
    health = decide_health(found, rise, fall, now=at + late * SECOND, fresh_for=FRESH)
    if not found or found[-1].ok is None or late * SECOND > FRESH:
        assert health is UNKNOWN
    if health is UP:
        assert [each.ok for each in found].count(True) >= rise
    if health is DOWN:
        assert [each.ok for each in found].count(False) >= fall
