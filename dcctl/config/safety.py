"""``rules:`` of ``dcctl.yaml``: what an environment chose of the safety rules (docs/reference/rules.md)."""

import re
from datetime import date, time
from typing import Annotated, Literal, TypeAlias
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator

from dcctl.config.demand import Percent
from dcctl.config.fields import Duration, Flag, Section, text_schema
from dcctl.domain.rules import ChangeWindow, SafetyRules

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
HOURS_PATTERN = r"([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]"


def _zone(value: str) -> str:
    if value not in available_timezones():
        raise ValueError("must be a time zone of the IANA database, such as Europe/Kyiv")
    return value


def _hours(value: object) -> tuple[time, time]:
    if not isinstance(value, str) or not re.fullmatch(HOURS_PATTERN, value):
        raise ValueError("must be from one time of day to a later one, such as 11:00-16:00")
    since, until = (time.fromisoformat(each) for each in value.split("-"))
    if since >= until:
        raise ValueError("must be from one time of day to a later one, such as 11:00-16:00")
    return since, until


def _written(hours: tuple[time, time]) -> str:
    return "-".join(f"{each:%H:%M}" for each in hours)


def _always(value: object) -> bool:
    if value is not True:
        raise ValueError("must be true: it keeps a promise, and cannot be switched off")
    return True


Hours: TypeAlias = Annotated[
    tuple[time, time],
    PlainValidator(_hours),
    PlainSerializer(_written, return_type=str),
    text_schema(f"^{HOURS_PATTERN}$", "11:00-16:00"),
]
Always: TypeAlias = Annotated[bool, PlainValidator(_always, json_schema_input_type=Literal[True])]
Weekday: TypeAlias = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


class Window(Section):
    """When planned moves must not begin."""

    timezone: Annotated[str, AfterValidator(_zone)] = "Europe/Kyiv"
    keep_clear: Hours = Field(default="11:00-16:00", validate_default=True)
    """The hours in which auctions are held."""
    days: tuple[Weekday, ...] = ("monday", "tuesday", "wednesday", "thursday", "friday")
    holidays: tuple[date, ...] = ()
    """Days on which no auctions are held, though they are among ``days``."""
    extra_days: tuple[date, ...] = ()
    """Days on which auctions are held, though they are not among ``days``."""

    def as_rule(self) -> ChangeWindow:
        """For decisions."""
        since, until = self.keep_clear
        weekdays = tuple(WEEKDAYS.index(each) for each in self.days)
        return ChangeWindow(ZoneInfo(self.timezone), since, until, weekdays, self.holidays, self.extra_days)


class Rules(Section):
    """The safety rules, by name. Those that keep a promise are only ever true."""

    quorum_survives_any_place: Flag = True
    """Losing any one place must leave a majority of voters; false accepts two sites without a witness,
    in manual mode only."""
    witness_required: Flag = True
    """A failover needs a witness; false lets a person decide with two vantages that are no witness."""
    no_unknown_verdict: Always = True
    """Nothing is moved while it is not known what a site is."""
    never_zero_active: Always = True
    """No action leaves no site in rotation."""
    survivor_has_headroom: Percent = 0.2
    """The part of what a site carries that stays free when it carries both sites' demand."""
    max_loss_window: Duration | None = None
    """A failover is refused when a document has waited longer for its copy, or that is not known."""
    one_site_at_a_time: Flag = True
    """Nothing is moved while the other site is quarantined."""
    hold_off: Duration | None = None
    """After a move, until a planned one may begin."""
    change_window: Window | None = None
    """When planned moves must not begin."""

    def as_rules(self) -> SafetyRules:
        """For decisions."""
        return SafetyRules(
            witness_required=self.witness_required,
            one_site_at_a_time=self.one_site_at_a_time,
            max_loss_window=self.max_loss_window,
            hold_off=self.hold_off,
            change_window=self.change_window.as_rule() if self.change_window else None,
        )
