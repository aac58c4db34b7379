"""A drill as it runs: write, break, hold, mend, settle, read back. And the way back after a crash.

Whatever must be undone is in the journal, on disk, before it is done; the journal is the only record of
it. ``restore`` reads it there, in the same process or in another one weeks later.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from typing import Any

from dcctl.domain.availability import recovery_s, unbroken_s
from dcctl.domain.drill import DrillPlan, Undo, still_cut
from dcctl.domain.history import History, check
from dcctl.domain.status import Status, decide_status
from dcctl.domain.step import Step, Wait, Work
from dcctl.engines.status import System, in_turn, observe
from dcctl.errors import DcctlError, TimedOut, UndoIncomplete, Unreachable
from dcctl.ports import Fault, Journal, Workload

OUTSIDE = "outside"
"""Where the client is, for people."""
LOOK_EVERY_S = 0.25
UNDO_LIMIT_S = 60.0
GRACE_S = 15.0
"""How much longer than asked for the client's own waits may take."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """One drill at work. ``keep`` leaves the client's table; it is left anyway when it is evidence."""

    environment: str
    plan: DrillPlan
    system: System
    fault: Fault
    workload: Workload
    journal: Journal
    keep: bool = False
    left: list[str] = field(default_factory=list)
    """What could not be undone."""

    def run(self) -> Work[History]:
        """Drill, and return what the client saw. The verdict is ``domain.report``'s.

        Raises UndoIncomplete when the site could not be healed or the table could not be dropped.
        """
        drop = Undo("drop", self.workload.table)
        history: History | None = None
        yield self._begin(drop)
        try:
            try:
                yield Step("start the writer", OUTSIDE, UNDO_LIMIT_S, self.workload.start)
                yield from self._warm_up()
                yield from self._break_and_mend()
                yield from self._settle()
            finally:
                history = yield Step(
                    "stop writing and read every row back", OUTSIDE, UNDO_LIMIT_S, self._stop, undo=True
                )
            self._note("drill.ended")
        finally:
            if history and (self.keep or is_evidence(history)):
                self._note("drill.kept", table=self.workload.table)
                self.journal.append("undo.done", drop.fields())
            else:
                yield from undo(drop, self.workload.drop, self.journal, self.left)
            raise_if_left(self.left)
        return history

    def _begin(self, drop: Undo) -> Step:
        drill, radius = self.plan.drill, self.plan.radius
        self._note(
            "drill.started",
            **asdict(drill),
            drill=drill.name,
            environment=self.environment,
            site=radius.site,
            radius=asdict(radius),
            primary=self.plan.primary,
            standby=self.plan.standby,
            table=self.workload.table,
        )
        return self._write(drop)

    def _warm_up(self) -> Work[None]:
        """Every edge must serve before anything is broken: a broken client proves nothing."""
        for_s = self.plan.drill.workload.warm_up_s

        def until() -> bool | None:
            return all(unbroken_s(acks) >= for_s for acks in self.workload.acknowledged_s().values()) or None

        yield Wait(
            f"writes acknowledged through every edge for {for_s:g} s",
            OUTSIDE,
            for_s + GRACE_S,
            LOOK_EVERY_S,
            until,
            lambda: ", ".join(
                f"{edge} acknowledged {len(acks)}" for edge, acks in self.workload.acknowledged_s().items()
            ),
        )
        self._note("drill.warm")

    def _break_and_mend(self) -> Work[None]:
        site = self.plan.radius.site
        heal = Undo("heal", site)
        yield self._write(heal)
        try:
            fault_s = yield Step(f"cut {site} off", site, UNDO_LIMIT_S, self._cut)
            yield from self._hold(fault_s)
        finally:
            yield from undo(heal, self._heal, self.journal, self.left)

    def _cut(self) -> float:
        # The mark comes first: the moment that cutting takes counts against us, never for us.
        site = self.plan.radius.site
        fault_s = self.workload.mark("fault", site)
        self.fault.cut(site, for_s=self.plan.drill.cut_for_at_most_s)
        self._note("drill.fault", site=site)
        return fault_s

    def _hold(self, fault_s: float) -> Work[None]:
        """Keep the site dark until the client is served again, and note a promotion when it is seen."""
        for_s = self.plan.drill.acknowledged_for_s
        promoted: list[str] = []

        def until() -> bool | None:
            if not promoted and (primary := self._new_primary()):
                promoted.append(primary)
                self.workload.mark("promoted", self._place(primary))
                self._note("drill.promoted", primary=primary, site=self._place(primary))
            acks = sorted(chain.from_iterable(self.workload.acknowledged_s().values()))
            return recovery_s(acks, fault_s=fault_s, sustained_s=for_s) is not None or None

        try:
            yield Wait(
                f"writes acknowledged again for {for_s:g} s",
                OUTSIDE,
                self.plan.drill.hold_at_most_s,
                LOOK_EVERY_S,
                until,
                lambda: f"the primary is {promoted[0]}" if promoted else "no new primary was seen",
            )
        except TimedOut as error:
            self._note("drill.not_served", saw=error.saw)
        else:
            self._note("drill.served", for_s=for_s)

    def _new_primary(self) -> str | None:
        """Who calls itself primary outside the dark site, when that is not who was."""
        database = self.system.database
        for name in database.members:
            if self._place(name) != self.plan.radius.site and name != self.plan.primary:
                try:
                    if database.observe_member(name).primary:
                        return name
                except Unreachable:
                    continue
        return None

    def _heal(self) -> None:
        site = self.plan.radius.site
        try:
            in_force = still_cut(site, self.fault.observe_cuts()) is not None
        except DcctlError:
            in_force = False  # what nobody saw is not claimed; healing comes first
        heal(self.fault, site)
        self.workload.mark("healed", site)
        self._note("drill.healed", site=site, in_force=in_force)

    def _settle(self) -> Work[None]:
        """Wait until nothing needs attention any more; then the client goes on for a while."""
        last: list[Status] = []

        def until() -> Status | None:
            last[:] = [decide_status(self.environment, self.system.hosts, observe(self.system, in_turn))]
            return None if last[0].problems else last[0]

        try:
            status: Status = yield Wait(
                "steady again, a synchronous standby at the other site",
                self.environment,
                self.plan.drill.settle_at_most_s,
                1.0,
                until,
                lambda: "; ".join(last[0].problems) if last else "nothing yet",
            )
        except TimedOut as error:
            self._note("drill.not_settled", saw=error.saw)
            return
        database = status.database
        self.workload.mark("settled", database.primary_place or "")
        self._note("drill.settled", primary=database.primary, standby=database.synchronous[0])
        yield from self._cool_down()

    def _cool_down(self) -> Work[None]:
        for_s = self.plan.drill.workload.cool_down_s

        def until() -> bool | None:
            now_s = max((acks[-1] for acks in self.workload.acknowledged_s().values() if acks), default=0.0)
            return now_s - begin_s >= for_s or None

        begin_s = self.workload.mark("cool down", OUTSIDE)
        try:
            yield Wait(f"writes for {for_s:g} s more", OUTSIDE, for_s + GRACE_S, LOOK_EVERY_S, until)
        except TimedOut:
            self._note("drill.not_settled", saw="writes stopped being acknowledged again")

    def _stop(self) -> History:
        history = self.workload.stop()
        self._note("drill.read_back", succeeded=check(history).final_read)
        return history

    def _place(self, name: str) -> str:
        return next((host.place for host in self.system.hosts if host.name == name), "")

    def _write(self, pending: Undo) -> Step:
        return Step(
            f"write to disk what must be undone: {pending.sentence()}",
            pending.place,
            UNDO_LIMIT_S,
            partial(self.journal.append, "undo.written", pending.fields()),
        )

    def _note(self, type: str, **fields: Any) -> None:
        self.journal.append(type, fields)


def is_evidence(history: History) -> bool:
    """Whether the table should be looked at before anyone drops it."""
    found = check(history)
    suspect = (found.lost, found.vanished, found.phantom, found.altered, found.failed_yet_present)
    return bool(history.records) and (not found.final_read or any(suspect))


def heal(fault: Fault, site: str) -> None:
    """End the cut of ``site`` and read back that it is gone. Raises UndoIncomplete when it is not."""
    fault.heal(site)
    if (cut := still_cut(site, fault.observe_cuts())) is not None:
        raise UndoIncomplete(
            f"heal site {site}",
            left=(f"site {site} is cut off; it heals by itself in {cut.heals_in_s:.0f} s",),
            next_command="dcctl drill restore",
        )


def undo(pending: Undo, effect: Callable[[], None], journal: Journal, left: list[str]) -> Work[None]:
    """Undo one thing and record that it is done, or add it to what is ``left``; never raises."""

    def done() -> None:
        effect()
        journal.append("undo.done", pending.fields())

    try:
        yield Step(pending.sentence(), pending.place, UNDO_LIMIT_S, done, undo=True)
    except DcctlError as error:
        left.append(f"{pending.sentence()}: {error.saw or error.sentence()}")


def _undo_when_it_can(
    pending: Undo, effect: Callable[[], None], journal: Journal, left: list[str]
) -> Work[None]:
    """As ``undo``, but again and again: after a site was healed a database may take a while to answer."""
    seen: list[str] = []

    def until() -> bool | None:
        try:
            effect()
        except Unreachable as error:
            seen[:] = [error.saw or error.sentence()]
            return None
        journal.append("undo.done", pending.fields())
        return True

    try:
        yield Wait(
            pending.sentence(), pending.place, UNDO_LIMIT_S, 2.0, until, lambda: "".join(seen), undo=True
        )
    except DcctlError as error:
        left.append(f"{pending.sentence()}: {error.saw or error.sentence()}")


def raise_if_left(left: Sequence[str]) -> None:
    """Raise UndoIncomplete when something is."""
    if left:
        raise UndoIncomplete("undo what the drill did", left=tuple(left), next_command="dcctl drill restore")


def restore(
    pending: Sequence[tuple[Journal, Undo]], *, fault: Fault | None, drop: Callable[[str], None]
) -> Work[None]:
    """Undo what earlier runs left, each recorded in the journal of the run that left it.

    Everything is tried. Raises UndoIncomplete with what remains.
    """
    left: list[str] = []
    for journal, each in pending:
        if each.what == "drop":
            yield from _undo_when_it_can(each, partial(drop, each.target), journal, left)
        elif fault is None:
            left.append(f"{each.sentence()}: this environment has no means to")
        else:
            yield from undo(each, partial(heal, fault, each.target), journal, left)
    raise_if_left(left)
