"""``dcctl automation show``: whether a site would be given up by itself now, and if not, why."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from dcctl.cli.automation import _against, _draw
from dcctl.domain.automation import Automation, Certificate, LastAction, Mode

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
FITS = Certificate("east", True, (), "ann", NOW - timedelta(days=1))
SHORT = Certificate("east", False, ("west: memory: 3 GiB too few",), "ann", NOW)
ACTED = LastAction("east", "r1", NOW - timedelta(seconds=30), done=True)
ABORTED = LastAction("east", "r1", NOW - timedelta(days=1), done=False, aborted="bob: not tonight")
MANUAL = "automation is in manual mode: dcctl automation mode automatic"


def against(
    said: Automation | None = None,
    last: LastAction | None = None,
    certificate: Certificate | None = FITS,
    *,
    configured: Mode = Mode.AUTOMATIC,
    led: bool = True,
) -> tuple[str, ...]:
    return _against(
        said or Automation(),
        last,
        configured,
        "east",
        "west",
        at=NOW,
        certificate=certificate,
        led=led,
        hold_off=None,
    )


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        (against(), ()),
        (against(configured=Mode.MANUAL, certificate=None), (MANUAL,)),
        (against(Automation(paused=True, by="ann", reason="work")), ("automation was paused by ann: work",)),
        (against(led=False), ("nobody is the controller: dcctl automation show",)),
        (against(certificate=SHORT), ("west: memory: 3 GiB too few",)),
        (
            against(certificate=None),
            ("read whether west can carry everything: nobody has found it out yet: dcctl automation resume",),
        ),
        (
            against(last=ABORTED),
            (
                "the automatic failover of east (r1) was aborted by bob: not tonight; until east was seen up"
                " again, or dcctl automation resume",
            ),
        ),
    ],
)
def test_why_it_would_not_be_given_up(reasons: tuple[str, ...], told: tuple[str, ...]) -> None:
    assert reasons == told


def test_the_last_one_holds_off_another() -> None:
    (reason,) = against(last=ACTED)
    assert reason.startswith("hold-off: the automatic failover of east (r1) ended;")


def screen(**changes: Any) -> str:
    document = {
        "mode": Mode.AUTOMATIC,
        "configured": Mode.AUTOMATIC,
        "paused": False,
        "reason": "",
        "by": "",
        "at": None,
        "controller": "witness-1",
        "last": None,
        "capacity": {"east": None},
        "against": {"east": ()},
        **changes,
    }
    out = io.StringIO()
    _draw(Console(file=out, width=80), document)
    return " ".join(out.getvalue().split())


def test_the_screen_says_what_would_happen_and_what_a_person_types() -> None:
    assert "east lost would be given up by itself, once the evidence suffices" in screen()
    told = screen(against={"east": (MANUAL,)})
    assert f"would not be given up by itself - {MANUAL} by a person: dcctl failover plan --lost east" in told


def test_what_became_of_the_last_one_is_a_sentence() -> None:
    for last, told in (
        (ABORTED, "(run r1) was aborted by bob: not tonight"),
        (ACTED, "(run r1) was done"),
        (LastAction("east", "", NOW), "UTC may not be over"),
    ):
        said = {"site": last.site, "run": last.run, "at": last.at, "done": last.done, "told": last.sentence()}
        assert told in screen(last=said)
