"""What a drill's file may say (docs/reference/drill.md), and from the file to a drill ready to run."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, PlainValidator, Strict, ValidationError, model_validator

from dcctl import resources
from dcctl.config import wording
from dcctl.config.document import read, shown
from dcctl.config.fields import Bytes, Duration, Name, Section, Text
from dcctl.config.schema import Objectives
from dcctl.config.units import parse_duration
from dcctl.domain.drill import GIVING_UP, BusinessSpec, Drill, Tolerances, WorkloadSpec
from dcctl.domain.fault import Breakage, Kind
from dcctl.errors import ConfigurationError, UsageError

FOLDER = Path("drills")
SUFFIXES = (".yml", ".yaml")
BREAKS = ("cut_site", "pause_machine", "lose_traffic", "kill_voter")
MARGIN_S = 10
"""The cut's own timer must outlast the time it may be held by this much: a fault that ends by itself
proves nothing about the healing, and too late a timer keeps a site dark."""


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("must be more than 0")
    return value


def _tolerance(value: object) -> timedelta | None:
    return None if value == OBJECTIVE else parse_duration(value)


OBJECTIVE = "objective"
PerSecond = Annotated[float, Strict(), Field(le=1000), AfterValidator(_positive)]
Tolerance = Annotated[timedelta | None, PlainValidator(_tolerance)]
"""A duration, or None: the environment's own objective."""


class SteadyState(Section):
    """What must hold before anything is broken, besides that nothing needs attention."""

    lag_at_most: Bytes = 16 * 2**20
    """How far the synchronous standby may be behind."""


class Client(Section):
    """The writer."""

    writes_per_second: PerSecond = 50.0
    reads_per_second: PerSecond = 5.0
    connections_at_most: Annotated[int, Strict(), Field(ge=1, le=1000)] = 32
    """Per edge; an arrival beyond it fails at once."""
    connect_limit: Duration = Field(default="2s", validate_default=True)
    statement_limit: Duration = Field(default="5s", validate_default=True)
    warm_up: Duration = Field(default="5s", validate_default=True)
    """Acknowledged through every edge for this long before the fault."""
    cool_down: Duration = Field(default="5s", validate_default=True)
    """Goes on for this long after the steady state has returned."""


class Application(Section):
    """The application's clients, who make tenders, bids and documents beside the writer."""

    tenders_per_second: PerSecond = 0.5
    """Each is five requests, as is a bid; a document is three."""
    bids_per_second: PerSecond = 0.5
    documents_per_second: PerSecond = 0.5
    reads_per_second: PerSecond = 2.0
    """Of something acknowledged through the other edge."""
    document_size: Bytes = 2048
    tendering: Duration = Field(default="10s", validate_default=True)
    """How long every third tender takes bids; its auction follows at once."""
    connect_limit: Duration = Field(default="2s", validate_default=True)
    answer_limit: Duration = Field(default="5s", validate_default=True)

    def spec(self) -> BusinessSpec:
        return BusinessSpec(
            tenders_per_s=self.tenders_per_second,
            bids_per_s=self.bids_per_second,
            documents_per_s=self.documents_per_second,
            reads_per_s=self.reads_per_second,
            document_bytes=self.document_size,
            tendering_s=self.tendering.total_seconds(),
            connect_limit_s=self.connect_limit.total_seconds(),
            answer_limit_s=self.answer_limit.total_seconds(),
        )


class OneWay(Section):
    """Two places, or ``primary`` and ``standby``: where the database's are then."""

    of: Name
    to: Name


class FaultSpec(Section):
    """What is broken: one of these."""

    cut_site: Name | None = None
    """``primary``, ``standby`` (where the database's are then), the name of a site, or ``witness``."""
    pause_machine: Name | None = None
    """``primary``, ``standby``, or a machine's name."""
    lose_traffic: OneWay | None = None
    """What one place sends to another; the way back stays whole."""
    kill_voter: Name | None = None
    """``leader``, or the name of a machine with a ZooKeeper."""
    holds: tuple[Name, ...] = ()
    """What must be at that site beforehand: ``primary``, and roles; a switchover brings it there."""
    for_at_most: Duration
    """The fault ends by itself after this, whatever becomes of dcctl."""

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        named = [name for name in BREAKS if getattr(self, name) is not None]
        if len(named) != 1:
            raise ValueError(f"must name one of {', '.join(BREAKS)}{': not two' if named else ''}")
        if self.holds and self.cut_site is None:
            raise ValueError("holds goes with cut_site only")
        return self

    def breaks(self) -> Breakage | None:
        """What is broken instead of a site being cut off."""
        if self.pause_machine is not None:
            return Breakage(Kind.PAUSE, self.pause_machine)
        if self.kill_voter is not None:
            return Breakage(Kind.KILL, self.kill_voter)
        if self.lose_traffic is not None:
            return Breakage(Kind.ONE_WAY, self.lose_traffic.of, self.lose_traffic.to)
        return None


class Hold(Section):
    """How long the fault stays."""

    at_least: Duration = Field(default="0s", validate_default=True)
    """For this long in any case, and then …"""
    writes_acknowledged_for: Duration
    """… until the client is served again for this long …"""
    at_most: Duration
    """… or for this long."""


class Settle(Section):
    """How long the system may take to its steady state after the fault."""

    at_most: Duration


class ToleranceSpec(Section):
    """What the client may see at most; ``objective`` is the environment's own."""

    recovery_time: Tolerance = None
    loss_window: Tolerance = None
    lateness: Duration = Field(default="500ms", validate_default=True)
    """Of the client itself, at its 99th percentile."""


class DrillFile(Section):
    """One drill."""

    drill: Name
    purpose: Text
    steady_state: SteadyState = SteadyState()
    workload: Client = Client()
    application: Application | None = None
    fault: FaultSpec
    respond: Literal["nothing", "failover", "switchover", "controller"] = "nothing"
    """``failover``: dcctl gives the site up by its plan, and admits it when it is back. ``switchover``: dcctl
    moves the primary, and the fault strikes once that cannot be taken back. ``controller``: the controller
    gives the site up by itself, and the drill admits it."""
    hold: Hold
    settle: Settle
    tolerances: ToleranceSpec = ToleranceSpec()

    @model_validator(mode="after")
    def _timer_outlasts_the_hold(self) -> Self:
        shortest_s = self.hold.at_most.total_seconds() + MARGIN_S
        if self.fault.for_at_most.total_seconds() < shortest_s:
            raise ValueError(
                f"fault.for_at_most must be at least {shortest_s:g}s, {MARGIN_S}s more than hold.at_most: "
                "the fault must not end by itself while it is held"
            )
        if self.hold.at_least > self.hold.at_most:
            raise ValueError("hold.at_least must not be longer than hold.at_most")
        if self.respond in GIVING_UP and self.fault.cut_site is None:
            raise ValueError(f"respond: {self.respond} goes with fault.cut_site only: a site is given up")
        return self

    def with_objectives(self, objectives: Objectives, *, site: str | None = None) -> Drill:
        """The drill with the objectives of the environment it will run in; ``site`` is cut instead.

        Raises UsageError for a ``site`` where none is cut.
        """
        recovery, loss = self.tolerances.recovery_time, self.tolerances.loss_window
        load, breaks = self.workload, self.fault.breaks()
        if site is not None and breaks is not None:
            raise UsageError(f"cut {site} in drill {self.drill}", saw="it cuts no site: leave --site out")
        return Drill(
            name=self.drill,
            purpose=self.purpose,
            cut_site=site or self.fault.cut_site or "",
            cut_for_at_most_s=self.fault.for_at_most.total_seconds(),
            acknowledged_for_s=self.hold.writes_acknowledged_for.total_seconds(),
            hold_at_most_s=self.hold.at_most.total_seconds(),
            settle_at_most_s=self.settle.at_most.total_seconds(),
            lag_at_most_bytes=self.steady_state.lag_at_most,
            workload=WorkloadSpec(
                writes_per_s=load.writes_per_second,
                reads_per_s=load.reads_per_second,
                in_flight_at_most=load.connections_at_most,
                connect_limit_s=load.connect_limit.total_seconds(),
                statement_limit_s=load.statement_limit.total_seconds(),
                warm_up_s=load.warm_up.total_seconds(),
                cool_down_s=load.cool_down.total_seconds(),
            ),
            tolerances=Tolerances(
                recovery_time_s=(objectives.recovery_time if recovery is None else recovery).total_seconds(),
                loss_window_s=(objectives.loss_window if loss is None else loss).total_seconds(),
                lateness_s=self.tolerances.lateness.total_seconds(),
            ),
            application=self.application.spec() if self.application else None,
            respond="" if self.respond == "nothing" else self.respond,
            holds=self.fault.holds,
            breaks=breaks,
            hold_at_least_s=self.hold.at_least.total_seconds(),
        )


def find_drill(given: str) -> Path:
    """The file of a drill: a path, or a name under ``./drills``, then among dcctl's own.

    Raises UsageError, which lists what there is.
    """
    path = Path(given)
    if path.suffix in SUFFIXES and path.is_file():
        return path
    known = known_drills()
    if given in known:
        return known[given]
    raise UsageError(
        "find the drill",
        on=given,
        saw=f"there is no such file, and drills found are: {', '.join(known) or 'none'}",
        next_command="dcctl drill list",
    )


def known_drills() -> dict[str, Path]:
    """Every drill that a name finds; this folder's before dcctl's own."""
    found: dict[str, Path] = {}
    for folder in (FOLDER, resources.drills()):
        for path in sorted(folder.glob("*")):
            if path.suffix in SUFFIXES:
                found.setdefault(path.stem, path)
    return found


def load_drill(path: Path) -> DrillFile:
    """The drill in ``path``. Raises ConfigurationError with every problem at once."""
    root, problems = read(path)
    if root is not None and not problems:
        try:
            return DrillFile.model_validate(root.plain())
        except ValidationError as error:
            problems = tuple(wording.problems(error, root, schema=DrillFile))
    raise ConfigurationError(
        tuple(sorted(set(problems), key=lambda each: (each.line, each.column))),
        next_command=f"$EDITOR {shown(path)}",
    )
