"""What people said of automatic action, and what it rests on. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from dcctl.domain.capacity import Capacity
from dcctl.domain.observation import Seen

CONTROLLER = "controller"
"""The role of whoever may start a failover without a person."""
HOLD_OFF = timedelta(minutes=10)
"""After one automatic failover, until another may start, where the environment chose nothing."""
RETRY_AFTER = timedelta(seconds=60)
"""After an automatic failover that failed midway, until it is gone on with."""


class Mode(StrEnum):
    """Who starts a failover."""

    MANUAL = "manual"
    AUTOMATIC = "automatic"


@dataclass(frozen=True, slots=True)
class Automation:
    """What people said of automatic action, and why. ``mode``: None leaves it to the configuration.

    ``version`` is what a change is compared with; None where nobody ever said anything.
    """

    paused: bool = False
    mode: Mode | None = None
    reason: str = ""
    by: str = ""
    at: datetime | None = None
    version: int | None = None

    def mode_in_force(self, configured: Mode) -> Mode:
        return self.mode or configured

    def sentence(self, configured: Mode) -> str:
        """Its state in a line."""
        mode = self.mode_in_force(configured)
        said = f", by {self.by}" if self.by else ""
        why = f" ({self.reason})" if self.reason else ""
        if self.paused:
            return f"{mode}, paused{said}{why}"
        return f"{mode}{said}{why}" if self.mode is not None else str(mode)


@dataclass(frozen=True, slots=True)
class LastAction:
    """The last automatic failover: of which ``site``, as which ``run``, begun when, and what became of it.

    ``done`` is None while that is not known. ``aborted``: who ended it for good, and why; it is not begun
    again by itself until that is taken back (``engines.controller.forget_abort``).
    """

    site: str
    run: str
    at: datetime
    done: bool | None = None
    aborted: str = ""

    def sentence(self) -> str:
        """What became of it, for people."""
        if self.aborted:
            return f"aborted by {self.aborted}"
        return {True: "done", False: "did not end well", None: "may not be over"}[self.done]


@dataclass(frozen=True, slots=True)
class Certificate:
    """The answer of ``decide_capacity`` for losing a site, kept while all was well."""

    lost: str
    fits: bool
    reasons: tuple[str, ...]
    by: str
    at: datetime


def why_not_automatic(configured: Mode, automation: Automation) -> tuple[str, ...]:
    """Why a person, and nobody else, starts anything now."""
    reasons = []
    if automation.mode_in_force(configured) is not Mode.AUTOMATIC:
        reasons.append("automation is in manual mode: dcctl automation mode automatic")
    if automation.paused:
        why = f": {automation.reason}" if automation.reason else ""
        reasons.append(f"automation was paused by {automation.by or 'somebody'}{why}")
    return tuple(reasons)


def why_held_off(
    last: LastAction | None, now: datetime, hold_off: timedelta | None = None
) -> tuple[str, ...]:
    """Why the last automatic failover is too recent for another. ``hold_off`` is what the environment chose;
    one that did not end well is gone on with soon whatever it chose."""
    if last is None:
        return ()
    waits = (HOLD_OFF if hold_off is None else hold_off) if last.done else RETRY_AFTER
    left_s = (last.at + waits - now).total_seconds()
    if left_s <= 0:
        return ()
    what = "ended" if last.done else "did not end well" if last.done is False else "may not be over"
    return (f"hold-off: the automatic failover of {last.site} ({last.run}) {what}; {left_s:.0f} s are left",)


def why_aborted(last: LastAction | None, lost: str) -> tuple[str, ...]:
    """Why the failover of ``lost`` is not begun again by itself: a person ended the last one."""
    if last is None or not last.aborted or last.site != lost:
        return ()
    told = f"the automatic failover of {lost} ({last.run}) was aborted by {last.aborted}"
    return (f"{told}; until {lost} was seen up again, or dcctl automation resume",)


def decide_aborted(last: LastAction | None, aborted: LastAction) -> LastAction | None:
    """What is kept once an automatic failover was ``aborted``, where ``last`` is; None: as it is.

    A later one, of whatever site, is not overwritten by the end of an earlier.
    """
    if last is None or last.run == aborted.run:
        return aborted
    begun = not last.run and last.site == aborted.site and last.at <= aborted.at
    return replace(aborted, at=last.at) if begun else None


def why_not_by_itself(
    configured: Mode,
    automation: Automation,
    last: LastAction | None,
    *,
    now: datetime,
    hold_off: timedelta | None,
    carries: Seen[Capacity],
    led: bool,
) -> tuple[str, ...]:
    """Why nobody would give a site up by itself, were it lost now: to be known before that is rehearsed.

    ``carries`` is what was found out of losing it, ``led``: somebody is the controller.
    """
    reasons = [*why_not_automatic(configured, automation), *why_held_off(last, now, hold_off)]
    if not led:
        reasons.append("nobody is the controller: dcctl automation show")
    if carries.value is None:
        reasons.append(carries.reason)
    elif not carries.value.fits:
        reasons += carries.value.reasons
    return tuple(reasons)
