"""A drill as it runs: write, break, hold, mend, settle, read back. And the way back after a crash.

Whatever must be undone is in the journal, on disk, before it is done; the journal is the only record of
it. ``drill_undo.restore`` reads it there, in the same process or in another one weeks later.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from typing import Any, Protocol

from dcctl.domain.availability import BUSINESS_GAP_S, recovery_s, unbroken_s
from dcctl.domain.business_check import check_business
from dcctl.domain.drill import GIVING_UP, SWITCHOVER, DrillPlan, Undo
from dcctl.domain.fault import Kind
from dcctl.domain.history import History, check
from dcctl.domain.history_primary import check_primary
from dcctl.domain.status import Status, decide_status
from dcctl.domain.step import Step, Wait, Work
from dcctl.engines.drill_amid import struck_amid
from dcctl.engines.drill_undo import (
    UNDO_LIMIT_S,
    mend,
    observe_in_force,
    raise_if_left,
    undo,
    undo_by,
)
from dcctl.engines.status import System, in_turn, observe
from dcctl.errors import DcctlError, Interrupted, TimedOut, UndoIncomplete, Unreachable
from dcctl.ports import Business, Fault, Journal, Workload

OUTSIDE = "outside"
"""Where the client is, for people."""
LOOK_EVERY_S = 0.25
GRACE_S = 15.0
"""How much longer than asked for the client's own waits may take."""
CLIENTS_LIMIT_S = 120.0
"""For the application's clients to end and to read everything back."""
SEEK_LIMIT_S = 60.0


class Responder(Protocol):
    """The person who is called when a site is lost, and again when it is back."""

    def fail_over(self, lost: str) -> Work[Any]:
        """Give ``lost`` up as soon as that is allowed."""

    def switch_over(self, to: str) -> Work[Any]:
        """Move what the other site holds to ``to``."""

    def admit(self, site: str) -> Work[Any]:
        """Put ``site`` back into rotation as soon as that is allowed; one that is in it is done."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """One drill at work. ``keep`` leaves the client's table; it is left anyway when it is evidence.

    ``business`` are the application's clients beside the writer, ``responder`` who fails over and admits;
    without them the writer is alone, and Patroni is.
    """

    environment: str
    plan: DrillPlan
    system: System
    fault: Fault
    workload: Workload
    journal: Journal
    keep: bool = False
    business: Business | None = None
    responder: Responder | None = None
    left: list[str] = field(default_factory=list)
    """What could not be undone."""

    def run(self) -> Work[History]:
        """Drill, and return what the writer saw. The verdict is ``domain.report``'s.

        Raises UndoIncomplete when the site could not be healed or the table could not be dropped.
        """
        drop = Undo("drop", self.workload.table)
        history: History | None = None
        yield self._begin(drop)
        try:
            try:
                yield Step("start the writer", OUTSIDE, UNDO_LIMIT_S, self.workload.start)
                if self.business is not None:
                    yield Step("start the application's clients", OUTSIDE, UNDO_LIMIT_S, self.business.start)
                yield from self._warm_up()
                yield from self._break_and_mend()
                if not self.left:
                    yield from self._settle()
            finally:
                if self.business is not None:
                    yield Step(
                        "stop the application's clients and read everything back",
                        OUTSIDE,
                        CLIENTS_LIMIT_S,
                        self._stop_business,
                        undo=True,
                    )
                history = yield Step(
                    "stop writing and read every row back", OUTSIDE, UNDO_LIMIT_S, self._stop, undo=True
                )
            if self.business is not None and not self.left:
                yield from self._converge(self.business)
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
            what=self.plan.breakage.sentence(),
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
            whole = all(unbroken_s(acks) >= for_s for acks in self.workload.acknowledged_s().values())
            return (whole and not self._silent_edges()) or None

        def saw() -> str:
            acknowledged = self.workload.acknowledged_s().items()
            told = [f"{edge} acknowledged {len(acks)}" for edge, acks in acknowledged]
            silent = [f"the application acknowledged nothing through {edge}" for edge in self._silent_edges()]
            return ", ".join([*told, *silent])

        yield Wait(
            f"writes acknowledged through every edge for {for_s:g} s",
            OUTSIDE,
            for_s + GRACE_S,
            LOOK_EVERY_S,
            until,
            saw,
        )
        self._note("drill.warm")

    def _silent_edges(self) -> list[str]:
        if self.business is None:
            return []
        return [edge for edge, acks in self.business.acknowledged_s().items() if not acks]

    def _break_and_mend(self) -> Work[None]:
        end, out = Undo.of(self.plan.breakage), Undo("admit", self.plan.radius.site)
        gives_up = self.responder is not None and self.plan.drill.respond in GIVING_UP
        if gives_up:
            yield self._write(out)
        yield self._write(end)  # the newest is undone first: a dark site cannot be admitted
        try:
            try:
                if self.responder is not None and self.plan.drill.respond == SWITCHOVER:
                    faults_s = yield from self._break_amid(self.responder)
                else:
                    faults_s = yield self._strike()
                    yield from self._fail_over()
                if faults_s is not None:
                    yield from self._hold(faults_s)
                    yield from self._seek_survivor()
            finally:
                yield from undo(end, self._heal, self.journal, self.left)
        finally:
            if gives_up and not self.left:
                yield from undo_by(out, self._admit, self.journal, self.left)

    def _strike(self) -> Step:
        return Step(self.plan.breakage.order(), self.plan.radius.site, UNDO_LIMIT_S, self._break)

    def _break_amid(self, responder: Responder) -> Work[tuple[float, float] | None]:
        """Switch over, and strike once that cannot be taken back. None: it never came so far."""
        to, struck = self._place(self.plan.standby), []

        def strike() -> Work[None]:
            struck.append((yield self._strike()))

        try:
            yield from struck_amid(responder.switch_over(to), strike)
        except (Interrupted, UndoIncomplete):
            raise
        except DcctlError as error:
            self._note("drill.not_switched_over", site=to, saw=error.saw or error.sentence())
        else:
            self._mark("switched over", to)
            self._note("drill.switched_over", site=to)
        return struck[0] if struck else None

    def _fail_over(self) -> Work[None]:
        """As the person would who is called: what stands against it is noted, and the site is healed."""
        if self.responder is None or self.plan.drill.respond not in GIVING_UP:
            return
        site = self.plan.radius.site
        try:
            yield from self.responder.fail_over(site)
        except (Interrupted, UndoIncomplete):
            raise
        except DcctlError as error:
            self._note("drill.not_failed_over", site=site, saw=error.saw or error.sentence())
        else:
            self._mark("failed over", site)
            self._note("drill.failed_over", site=site)

    def _admit(self) -> Work[None]:
        assert self.responder is not None  # noqa: S101  # asked only then
        site = self.plan.radius.site
        yield from self.responder.admit(site)
        self._mark("admitted", site)
        self._note("drill.admitted", site=site)

    def _seek_survivor(self) -> Work[None]:
        """Which acknowledged documents the surviving sites lack: the loss window, by name."""
        if self.business is None:
            return
        for site in self._survivors():
            try:
                names = yield Step(
                    "ask for every acknowledged document",
                    site,
                    SEEK_LIMIT_S,
                    partial(self.business.seek, site),
                )
            except (Interrupted, UndoIncomplete):
                raise
            except DcctlError as error:
                self._note("drill.not_sought", site=site, saw=error.saw or error.sentence())
            else:
                self._note("drill.sought", site=site, missing=len(names), names=list(names))

    def _survivors(self) -> Iterable[str]:
        lost = self.plan.radius.site if self.plan.breakage.kind is Kind.CUT else None
        return (site for site in self.plan.sites if site != lost)

    def _mark(self, name: str, target: str) -> float:
        """In both histories; when, by the writer's."""
        if self.business is not None:
            self.business.mark(name, target)
        return self.workload.mark(name, target)

    def _break(self) -> tuple[float, float]:
        # The mark comes first: the moment that breaking takes counts against us, never for us.
        site, of_business_s = self.plan.radius.site, 0.0
        if self.business is not None:
            of_business_s = self.business.mark("fault", site)
        fault_s = self.workload.mark("fault", site)
        self.fault.inflict(self.plan.breakage, for_s=self.plan.drill.cut_for_at_most_s)
        self._note("drill.fault", site=site, what=self.plan.breakage.sentence())
        return fault_s, of_business_s

    def _hold(self, faults_s: tuple[float, float]) -> Work[None]:
        """Keep it broken until the client is served again, and note a promotion when it is seen."""
        for_s, at_least_s = self.plan.drill.acknowledged_for_s, self.plan.drill.hold_at_least_s
        promoted: list[str] = []

        def until() -> bool | None:
            if not promoted and (primary := self._new_primary()):
                promoted.append(primary)
                if self.responder is None:  # else it happened long ago, and the failover's steps tell of it
                    self._mark("promoted", self._place(primary))
                    self._note("drill.promoted", primary=primary, site=self._place(primary))
            return (
                not self._unserved(faults_s, for_s) and self._last_s() >= faults_s[0] + at_least_s
            ) or None

        try:
            yield Wait(
                f"writes acknowledged again for {for_s:g} s",
                OUTSIDE,
                self.plan.drill.hold_at_most_s,
                LOOK_EVERY_S,
                until,
                lambda: "; ".join(
                    [
                        f"the primary is {promoted[0]}" if promoted else "no new primary was seen",
                        *self._unserved(faults_s, for_s),
                    ]
                ),
            )
        except TimedOut as error:
            self._note("drill.not_served", saw=error.saw)
        else:
            self._note("drill.served", for_s=for_s)

    def _last_s(self) -> float:
        """When a write was last acknowledged: as long as the client is served, that is now."""
        return max((acks[-1] for acks in self.workload.acknowledged_s().values() if acks), default=0.0)

    def _unserved(self, faults_s: tuple[float, float], for_s: float) -> list[str]:
        """Which clients are not served again, those of all edges together."""
        acks = sorted(chain.from_iterable(self.workload.acknowledged_s().values()))
        unserved = []
        if recovery_s(acks, fault_s=faults_s[0], sustained_s=for_s) is None:
            unserved.append("the writer is not served")
        if self.business is not None:
            acks = sorted(chain.from_iterable(self.business.acknowledged_s().values()))
            begun = {"fault_s": faults_s[1], "sustained_s": for_s, "broken_gap_s": BUSINESS_GAP_S}
            if recovery_s(acks, **begun) is None:
                unserved.append("the application's clients are not served")
        return unserved

    def _new_primary(self) -> str | None:
        """Who calls itself primary outside what is dark, when that is not who was."""
        database = self.system.database
        for name in database.members:
            if name not in self.plan.radius.machines and name != self.plan.primary:
                try:
                    if database.observe_member(name).primary:
                        return name
                except Unreachable:
                    continue
        return None

    def _heal(self) -> None:
        site, breakage = self.plan.radius.site, self.plan.breakage
        try:
            in_force = observe_in_force(self.fault, breakage) is not None
        except DcctlError:
            in_force = False  # what nobody saw is not claimed; healing comes first
        mend(self.fault, breakage)
        self._mark("healed", site)
        self._note("drill.healed", site=site, in_force=in_force, what=breakage.after())

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
        self._mark("settled", database.primary_place or "")
        self._note("drill.settled", primary=database.primary, standby=database.synchronous[0])
        yield from self._cool_down()

    def _converge(self, business: Business) -> Work[None]:
        """Wait until every acknowledged document is at every site; then all that was at risk has arrived."""
        missing: dict[str, int] = {}

        def until() -> bool | None:
            for site in self.plan.sites:
                missing[site] = len(business.seek(site))
            return not any(missing.values()) or None

        try:
            yield Wait(
                "every acknowledged document is at every site",
                self.environment,
                self.plan.drill.settle_at_most_s,
                1.0,
                until,
                lambda: ", ".join(f"{number} are not at {site}" for site, number in missing.items()),
            )
        except TimedOut as error:
            self._note("drill.not_converged", saw=error.saw)
        else:
            self._note("drill.converged")

    def _cool_down(self) -> Work[None]:
        for_s = self.plan.drill.workload.cool_down_s

        def until() -> bool | None:
            return self._last_s() - begin_s >= for_s or None

        begin_s = self.workload.mark("cool down", OUTSIDE)
        try:
            yield Wait(f"writes for {for_s:g} s more", OUTSIDE, for_s + GRACE_S, LOOK_EVERY_S, until)
        except TimedOut:
            self._note("drill.not_settled", saw="writes stopped being acknowledged again")

    def _stop(self) -> History:
        history = self.workload.stop()
        self._note("drill.read_back", succeeded=check(history).final_read)
        return history

    def _stop_business(self) -> None:
        if self.business is not None:
            whole = check_business(self.business.stop()).inventory
            self._note("drill.business_read_back", succeeded=whole)

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
    found, primary = check(history), check_primary(history)
    suspect = (
        *(found.lost, found.vanished, found.phantom, found.altered, found.failed_yet_present),
        *(primary.overlapped, primary.fell),
    )
    return bool(history.records) and (not found.final_read or any(suspect))
