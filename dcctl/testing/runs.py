"""The right to act, in memory: one registry, and clients of it whose sessions live and end."""

from collections.abc import Callable
from dataclasses import dataclass, field

from dcctl.domain.event import Event
from dcctl.domain.rules import LastMove
from dcctl.domain.run import ENDS, ActiveRun, Asked, Ordered, Wish, decide_begin
from dcctl.errors import LeadershipLost, NotFound, Refused, Unreachable
from dcctl.testing.clock import VirtualClock


@dataclass
class FakeRegistry:
    """What the ensemble keeps of runs. ``dark``: no quorum."""

    clock: VirtualClock
    active: ActiveRun | None = None
    epoch: int = 0
    owner: "FakeRuns | None" = None
    begun: dict[str, float] = field(default_factory=dict)
    ended: bool = False
    """Whether the last word of the run that acts is kept."""
    changed_s: float = 0.0
    events: dict[str, list[Event]] = field(default_factory=dict)
    ordered: dict[str, Ordered] = field(default_factory=dict)
    moved: LastMove | None = None
    asked: dict[str, list[Asked]] = field(default_factory=dict)
    dark: bool = False


class FakeRuns:
    """``ports.Runs`` of one session. ``end_session`` is what a kill of the process comes to, later."""

    def __init__(
        self,
        registry: FakeRegistry,
        *,
        who: str = "somebody",
        pass_time: Callable[[float], None] | None = None,
    ) -> None:
        self._registry = registry
        self._who = who
        self._pass_time = pass_time or registry.clock.sleep
        self._epoch = 0
        self._run = ""

    def observe_active(self, *, limit_s: float) -> ActiveRun | None:  # noqa: ARG002
        self._reach()
        active, registry = self._registry.active, self._registry
        if active is None:
            return None
        if registry.ended and registry.owner is None and not registry.begun:
            return None
        lasts_s = max(registry.begun.values(), default=0.0)
        free_in_s = max(0.0, registry.changed_s + lasts_s - registry.clock.monotonic())
        return ActiveRun(
            active.run,
            active.epoch,
            active.who,
            active.command,
            alive=registry.owner is not None,
            doing=tuple(registry.begun),
            free_in_s=free_in_s,
        )

    def observe_last_move(self, *, limit_s: float) -> LastMove | None:  # noqa: ARG002
        self._reach()
        return self._registry.moved

    def begin(self, run: str, command: str, *, limit_s: float) -> None:
        active = self.observe_active(limit_s=limit_s)
        if active is not None and not active.alive and active.free_in_s <= limit_s:
            self._pass_time(active.free_in_s)
            active = self.observe_active(limit_s=limit_s)
        registry = self._registry
        if why_not := decide_begin(active, run, command):
            raise Refused("start a run", reasons=(why_not,))
        registry.epoch += 1
        self._epoch, self._run = registry.epoch, run
        registry.active = ActiveRun(run, registry.epoch, self._who, command, alive=True)
        registry.owner, registry.begun, registry.ended = self, {}, False
        registry.events.setdefault(run, [])
        registry.ordered[run] = Ordered(self._who, command)
        self._change()

    def append(self, event: Event, *, limit_s: float) -> None:  # noqa: ARG002
        self._reach()
        registry = self._registry
        if registry.active is None or registry.active.epoch != self._epoch:
            saw = registry.active.sentence() if registry.active else "another run was begun meanwhile"
            raise LeadershipLost(f"go on with run {event.run}", saw=saw)
        registry.owner = self
        name = f"{event.fields.get('step', '')} on {event.fields.get('target', '')}"
        if event.type in ("run.started", "run.resumed"):
            registry.ended = False
        if event.type == "move.ended":
            what, site = str(event.fields.get("what", "")), str(event.fields.get("site", ""))
            registry.moved = LastMove(what, site, event.run, event.at)
        elif event.type == "run.resumed":
            registry.begun.clear()
        elif event.type in ENDS:
            registry.ended = True
        elif event.type == "step.started":
            registry.begun[name] = float(event.fields.get("limit_s", 0.0))
        elif event.type in ("step.done", "step.failed"):
            registry.begun.pop(name, None)
        registry.events.setdefault(event.run, []).append(event)
        self._change()

    def end(self, *, limit_s: float) -> None:  # noqa: ARG002
        self._reach()
        registry = self._registry
        if registry.active is not None and registry.active.epoch == self._epoch:
            registry.active, registry.owner, registry.begun = None, None, {}

    def events(self, run: str, *, limit_s: float) -> tuple[Event, ...]:  # noqa: ARG002
        self._reach()
        return tuple(sorted(self._registry.events.get(run, ()), key=lambda event: event.seq))

    def observe_ordered(self, run: str, *, limit_s: float) -> Ordered | None:  # noqa: ARG002
        self._reach()
        return self._registry.ordered.get(run)

    def observe_runs(self, *, limit_s: float) -> tuple[str, ...]:  # noqa: ARG002
        self._reach()
        return tuple(sorted(self._registry.events))

    def forget(self, run: str, *, limit_s: float) -> bool:  # noqa: ARG002
        self._reach()
        registry = self._registry
        if registry.active is None or registry.active.epoch != self._epoch:
            raise LeadershipLost(f"forget {run}", saw="no run of ours is active")
        if run == registry.active.run:
            raise Refused("forget a run", on=run, reasons=("it is the one that acts",))
        registry.events.pop(run, None)
        registry.asked.pop(run, None)
        registry.ordered.pop(run, None)
        return True

    def observe_asked(self, run: str, *, limit_s: float) -> tuple[Asked, ...]:  # noqa: ARG002
        self._reach()
        return tuple(self._registry.asked.get(run, ()))

    def ask(self, run: str, asked: Asked, *, limit_s: float) -> None:  # noqa: ARG002
        self._reach()
        if run not in self._registry.events:
            raise NotFound("ask a run", on=run, saw="nothing is kept of it")
        kept = self._registry.asked.get(run, [])
        others = [each for each in kept if (each.wish, each.step) != (asked.wish, asked.step)]
        self._registry.asked[run] = [*others, asked]

    def withdraw(self, run: str, wish: Wish, *, limit_s: float) -> None:  # noqa: ARG002
        self._reach()
        kept = self._registry.asked.get(run, [])
        self._registry.asked[run] = [each for each in kept if each.wish is not wish]

    def end_session(self) -> None:
        """The ensemble has not heard of this session for as long as it lasts."""
        if self._registry.owner is self:
            self._registry.owner = None

    def _change(self) -> None:
        self._registry.changed_s = self._registry.clock.monotonic()

    def _reach(self) -> None:
        if self._registry.dark:
            raise Unreachable("ask ZooKeeper", saw="no connection to ZooKeeper")
