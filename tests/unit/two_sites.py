"""Two sites in memory and in virtual time, with all that a move between them works with."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from dcctl.adapters.zookeeper import SharedJournal
from dcctl.domain.capacity import Capacity, Fit
from dcctl.domain.event import Event
from dcctl.domain.fault import Breakage, Kind
from dcctl.domain.leadership import Epoch, RoleState, Term, next_epoch
from dcctl.domain.plan import Moved
from dcctl.domain.probe import Health, ProbeResult
from dcctl.domain.rules import Override, SafetyRules
from dcctl.domain.situation import Documents
from dcctl.domain.step import Work
from dcctl.domain.traffic import EdgeApplied, Observation, Rotation, SiteState
from dcctl.engines.situation import Means
from dcctl.engines.status import System, in_turn
from dcctl.errors import DcctlError, Unreachable
from dcctl.shell import perform
from dcctl.testing.clock import VirtualClock
from dcctl.testing.journal import MemoryJournal
from dcctl.testing.leadership import FakeEnsemble, FakeEpochs, FakeLeases
from dcctl.testing.runs import FakeRegistry, FakeRuns
from dcctl.testing.system import (
    DATABASES,
    EDGES,
    HOSTS,
    SITES,
    FakeCoordination,
    FakeDatabase,
    FakeEdges,
    FakeFault,
    FakeReach,
    FakeSystem,
)
from dcctl.testing.traffic import FakeCoordinator, FakeSites

SESSION_S = 10.0
AGENTS = {"east-edge-1": "east", "west-edge-1": "west", "witness-1": "witness"}


class Killed(BaseException):
    """SIGKILL of the operator: no ``except`` of ours sees it."""


class MortalJournal(MemoryJournal):
    """Dies with its process at the event numbered ``dies_at`` (before it is written), and stays dead."""

    def __init__(self, run: str, *, dies_at: int | None, **more: Any) -> None:
        super().__init__(run, **more)
        self._dies_at = dies_at

    def append(self, type: str, fields: Mapping[str, Any]) -> Event:
        if self._dies_at is not None and len(self.events()) + 1 >= self._dies_at:
            raise Killed
        return super().append(type, fields)


@dataclass
class TwoSites:
    """The world. ``api_answers``: whether a cut site's cloud still answers (it lives elsewhere)."""

    clock: VirtualClock = field(default_factory=VirtualClock)
    api_answers: bool = False
    unproven: tuple[str, ...] = ()
    """Machines whose power cannot be proven off."""
    no_power: DcctlError | None = None
    """Why no machine can be powered off at all."""
    contends: set[str] = field(default_factory=lambda: {"east-edge-1", "west-edge-1"})
    """Who would lead the auction."""
    faster: str | None = None
    """Who takes a role that is free, whoever else contends."""
    fails_to_serve: tuple[str, ...] = ()
    switch_fails: Unreachable | None = None
    dies_in_switch: str | None = None
    documents: Documents | None = None
    rules: SafetyRules = field(default_factory=SafetyRules)
    overrides: tuple[Override, ...] = ()
    """Of the runs from now on."""

    def __post_init__(self) -> None:
        self.system = FakeSystem(self.clock)
        self.fault = FakeFault(self.system)
        self.coordinator = FakeCoordinator(SITES)
        self.registry = FakeRegistry(self.clock)
        self.ensemble = FakeEnsemble(self.clock)
        self.epochs = FakeEpochs()
        self.leases = _Contended(self)
        self.calls: list[tuple[str, str]] = []
        """What was changed, in order; looks are not in it."""
        self.written: list[tuple[str, str]] = []
        """Acknowledged writes: through which edge, by which database."""
        self._runs = 0
        self.lead("east-edge-1")

    # What happens.

    def cut(self, site: str) -> None:
        self.fault.inflict(Breakage(Kind.CUT, site), for_s=100_000)

    def heal(self, site: str) -> None:
        self.fault.mend(Breakage(Kind.CUT, site))

    def pass_time(self, seconds: float) -> None:
        self.clock.sleep(seconds)
        self.system.advance(self.clock.monotonic())

    def lead(self, host: str) -> None:
        """``host`` leads the auction from now on, and its epoch is in force."""
        state = self.ensemble.states.get("auction", RoleState("auction"))
        term = Term("auction", next_epoch(state.epoch, None), "dcctl-run", host, 1, self.clock.now())
        FakeLeases.claim(self.leases, state, term, limit_s=1)
        self.epochs.inforce["auction"] = term.epoch

    @property
    def leader(self) -> str | None:
        term = self.leases.observe_role("auction", limit_s=1).term
        return term.host if term else None

    @property
    def epoch(self) -> Epoch:
        return self.epochs.inforce["auction"]

    # The ports that are made of it.

    def means(self, runs: FakeRuns | None = None) -> Means:
        return Means(
            environment="test",
            sites=SITES,
            witness=True,
            system=System(
                hosts=HOSTS,
                clouds={site: self._cloud(site) for site in SITES},
                reach=FakeReach(self.system),
                coordination=FakeCoordination(self.system),
                database=FakeDatabase(self.system),
                edges=FakeEdges(self.system),
            ),
            ask=in_turn,
            now=self.clock.now,
            states=_Sites(self),
            vantages=_Vantages(self),
            runs=runs or FakeRuns(self.registry),
            leases=self.leases,
            epochs=self.epochs,
            capacity=lambda lost: Capacity(lost, next(s for s in SITES if s != lost), Fit.FITS, (), {}),
            documents=(lambda _losing: self.documents or Documents(0)) if self.documents else None,
            power_off=self._power_off,
            switch=self,
            write=self,
            verify=lambda _site: self.fails_to_serve,
            who="ann@operator",
            rules=self.rules,
            overrides=self.overrides,
        )

    def _cloud(self, site: str) -> Any:
        def servers() -> tuple[()]:
            if self.system.is_cut(site) and not self.api_answers:
                raise Unreachable("list servers", on=site, saw="no answer")
            return ()

        return servers

    def _power_off(self, site: str) -> dict[str, tuple[str, ...]]:
        if self.no_power is not None:
            raise self.no_power
        if self.system.is_cut(site) and not self.api_answers:
            raise Unreachable("connect", on=site, saw="no answer within 2 s")
        assert self.state(site) is Rotation.QUARANTINED, "powered off before it was out of rotation"
        names = [host.name for host in HOSTS if host.place == site]
        self.calls += [("off", name) for name in names]
        return {name: ("it reads on, not off",) if name in self.unproven else () for name in names}

    def make_ready(self, member: str, *, limit_s: float) -> str:  # noqa: ARG002
        return ""

    def switch_over(self, leader: str, candidate: str, *, limit_s: float) -> str:  # noqa: ARG002
        assert leader == self.system.primary
        self.calls.append(("switch", candidate))
        if self.dies_in_switch is not None:
            self.cut(self.dies_in_switch)
        if self.switch_fails is not None:
            raise self.switch_fails
        self.system._promote(candidate)
        self.system._whole_since = self.clock.monotonic()
        return "Successfully switched over"

    def start_anew(self, member: str, *, limit_s: float) -> str:  # noqa: ARG002
        self.calls.append(("start anew", member))
        if not self.system.in_vain:
            self.system.stranded_for_s = 0.0
        return "HTTP 503: restart failed"

    def rebuild(self, member: str, *, limit_s: float) -> str:  # noqa: ARG002
        self.calls.append(("rebuild", member))
        self.system.stranded_for_s = 0.0
        return "reinitialize started"

    def write(self, edge: str, note: str, *, limit_s: float) -> str:  # noqa: ARG002
        if not self.system.writable(edge):
            raise Unreachable("write", on=edge, saw="no primary")
        self.written.append((edge, self.system.primary))
        return self.system.primary

    def state(self, site: str) -> Rotation:
        return self.coordinator.states.get(site, SiteState(site)).state

    # Acting.

    @contextmanager
    def acting(self, *, dies_at: int | None = None) -> Iterator[Means]:
        """The means of a run of its own, whose process may be killed at an event of its journal."""
        self._runs += 1
        runs = FakeRuns(self.registry)
        journal = MortalJournal(f"run-{self._runs}", dies_at=dies_at, now=self.clock.now)
        self._last = journal
        try:
            runs.begin(journal.run, "a move", limit_s=150)
            yield replace(self.means(runs), journal=SharedJournal(journal, runs, limit_s=5))
        except Killed:
            runs.end_session()
            raise
        finally:
            if self.registry.owner is runs:
                runs.end(limit_s=1)

    def resume(self, work: Any) -> tuple[Moved, tuple[Event, ...]]:
        """Go on with the last run, from another machine that has its journal."""
        runs, journal = FakeRuns(self.registry), MemoryJournal(self._last.run, now=self.clock.now)
        journal._events = list(self.registry.events.get(journal.run, ()))
        try:
            runs.begin(journal.run, "a move", limit_s=150)
            shared = SharedJournal(journal, runs, limit_s=5)
            means = replace(self.means(runs), journal=shared, patience_s=90.0)
            made: Work[Moved] = work(means)
            about = {"by": "bob@elsewhere"}
            moved = perform(made, clock=self.clock, journal=shared, about=about, resumed=True)
            return moved, shared.events()
        finally:
            if self.registry.owner is runs:
                runs.end(limit_s=1)

    def perform(self, work: Any, *, dies_at: int | None = None) -> tuple[Moved, tuple[Event, ...]]:
        """Carry out ``work(means)`` as a run; what it returned, and its journal."""
        with self.acting(dies_at=dies_at) as means:
            assert means.journal is not None
            made: Work[Moved] = work(means)
            moved = perform(made, clock=self.clock, journal=means.journal)
            return moved, means.journal.events()


class _Contended(FakeLeases):
    """Leases of others: when a holder's site was dark for a session, or it was asked, another leads."""

    def __init__(self, world: TwoSites) -> None:
        super().__init__(world.ensemble, SESSION_S)
        self._world = world
        self._dark_since: float | None = None

    def observe_role(self, role: str, *, limit_s: float) -> RoleState:
        self._contend()
        return super().observe_role(role, limit_s=limit_s)

    def observe_roles(self, *, limit_s: float) -> tuple[RoleState, ...]:
        self._contend()
        return super().observe_roles(limit_s=limit_s)

    def _contend(self) -> None:
        world, now_s = self._world, self._world.clock.monotonic()
        world.system.advance(now_s)
        state = world.ensemble.states.get("auction")
        if state is None or state.term is None:
            return
        dark = world.system.is_cut(AGENTS[state.term.host])
        self._dark_since = (self._dark_since or now_s) if dark else None
        over = self._dark_since is not None and now_s >= self._dark_since + SESSION_S
        if not over and state.resign != state.epoch:
            return
        able = [each for each in sorted(world.contends) if not world.system.is_cut(AGENTS[each])]
        if state.resign == state.epoch and not dark and world.faster is None:
            able = [each for each in able if each != state.term.host] or able
        chosen = world.faster if world.faster in able else next(iter(able), None)
        if chosen is not None:
            world.faster = None
            self._dark_since = None
            world.lead(chosen)


class _Vantages:
    """``ports.Vantages``: agents that look each second and need three looks; their own session ends."""

    def __init__(self, world: TwoSites) -> None:
        self._world = world

    def publish(self, observation: Observation) -> None:
        raise NotImplementedError

    def withdraw(self) -> None:
        raise NotImplementedError

    def observe_vantages(self) -> tuple[Observation, ...]:
        system, now_s = self._world.system, self._world.clock.monotonic()
        system.advance(now_s)
        seen = []
        for name, place in AGENTS.items():
            since_s = system.cut_since_s(place)
            if since_s is not None and now_s >= since_s + SESSION_S:
                continue
            at_s = now_s if since_s is None else since_s
            results = tuple(self._result(site, since_s is None) for site in SITES)
            edge = EdgeApplied({site: self._world.state(site) is Rotation.ACTIVE for site in SITES})
            at = self._world.clock._start + (self._world.clock.now() - self._world.clock._start) * (
                at_s / now_s if now_s else 1
            )
            seen.append(Observation(name, place, at, 1, results, edge if place != "witness" else None))
        return tuple(seen)

    def _result(self, site: str, looks: bool) -> ProbeResult:
        since_s = self._world.system.cut_since_s(site)
        down = since_s is not None and self._world.clock.monotonic() >= since_s + 3
        ok = since_s is None and looks
        health = Health.UP if ok else Health.DOWN if down else Health.UNKNOWN
        at = self._world.clock.now()
        return ProbeResult(f"{site}-db-1/ssh", f"{site}-db-1", "tcp", site, ok, "", 0.1, at, health=health)


class _Sites(FakeSites):
    """``ports.Sites`` that checks what must hold whenever a state is changed."""

    def __init__(self, world: TwoSites) -> None:
        super().__init__(world.coordinator)
        self._world = world

    def change_site(self, state: SiteState, *, expected: int | None) -> SiteState:
        if state.state is Rotation.QUARANTINED:
            system = self._world.system
            led_elsewhere = DATABASES[system.primary] != state.site
            assert led_elsewhere or system.forgotten(state.site), "quarantined while the quorum knew it"
            others = [site for site in SITES if site != state.site]
            assert any(self._world.state(site) is Rotation.ACTIVE for site in others), "zero active sites"
        self._world.calls.append((str(state.state), state.site))
        return super().change_site(state, expected=expected)


def places() -> dict[str, str]:
    return {**DATABASES, **EDGES}
