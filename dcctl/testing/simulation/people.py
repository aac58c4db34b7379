"""People with dcctl at hand: each command is a process of its own, driven by the real shell, and may be
killed at any boundary of its journal. Somebody else then goes on."""

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from dcctl.adapters.zookeeper.runs import SharedJournal
from dcctl.domain.capacity import Capacity, Fit
from dcctl.domain.order import Order, read_order
from dcctl.domain.traffic import Rotation
from dcctl.engines.admission import admit
from dcctl.engines.failover import failover
from dcctl.engines.situation import Means
from dcctl.engines.switchover import switchover
from dcctl.engines.traffic import Means as RotationMeans
from dcctl.engines.traffic import put_back, take_out
from dcctl.errors import DcctlError
from dcctl.shell import Interruption, perform
from dcctl.testing.simulation import judge
from dcctl.testing.simulation.history import RunRecord
from dcctl.testing.simulation.network import MACHINES, SITES
from dcctl.testing.simulation.ports import MortalJournal
from dcctl.testing.simulation.scheduler import Killed
from dcctl.testing.simulation.session import SimSession
from dcctl.testing.simulation.views import SimVantages, SimWriteProof, ask_together

if TYPE_CHECKING:
    from dcctl.testing.simulation.world import World

SESSION_S = 10.0
BEGIN_LIMIT_S = 150.0
APPEND_LIMIT_S = 20.0
RESUME_PATIENCE_S = 90.0
WATCH_EVERY_S = 6.0
HELD = Interruption()
"""Nobody presses Ctrl-C here: a run ends, or is killed."""


@dataclass(frozen=True, slots=True)
class Command:
    """What a person types. ``dies_at``: the event of its journal at which its process is killed."""

    what: str
    site: str
    dies_at: int | None = None

    @property
    def words(self) -> str:
        return Order(self.what, self.site).words()


def command_of(words: str) -> Command:
    """The command that a run's record names."""
    order = read_order(words)
    assert order is not None
    return Command(order.what, order.site)


def run_command(world: "World", who: str, command: Command, resumes: str = "") -> None:
    """A process of its own, begun by ``who``; with ``resumes`` it goes on with that run."""
    session = SimSession(world.ensemble, world.network.machines[who], SESSION_S)
    runs = world.variant.runs(session, who)
    means = means_of(world, session, who, runs)
    try:
        act(world, who, command, runs, means, resumes=resumes)
    except DcctlError:
        pass  # it is in the record
    except Killed:
        session.die()
        raise
    session.close()


def act(world: "World", who: str, command: Command, runs: Any, means: Means, *, resumes: str = "") -> str:
    """Take the right to act, act, give it back; the run's name. As ``wiring.failover.Stage`` does it."""
    scheduler = world.scheduler
    run = resumes or world.new_run(command.what)
    record = RunRecord(run, command.words, who, scheduler.now_s)
    clock = world.clock_of(scheduler.actor.machine.name)
    try:
        world.begin(record, runs)
        kept = runs.events(run, limit_s=APPEND_LIMIT_S) if resumes else ()
        journal = MortalJournal(
            run,
            dies_at=command.dies_at,
            die=partial(_die, world, record),
            events=kept,
            told=partial(judge.event, world),
            now=clock.now,
        )
        shared = SharedJournal(journal, runs, limit_s=APPEND_LIMIT_S)
        patience_s = RESUME_PATIENCE_S if resumes else means.patience_s
        means = replace(means, journal=shared, patience_s=patience_s)
        resumed = world.variant.resume if resumes else None
        work = resumed(command, means) if resumed is not None else _work(world, command, means)
        about = {"command": command.words}
        perform(
            work,
            clock=clock,
            journal=shared,
            about=about,
            interruption=HELD,
            resumed=bool(resumes),
        )
        record.ended = "done"
        judge.done(world, command, run, record.began_s)
    except DcctlError as error:
        record.ended, record.saw = type(error).__name__, str(error)
        raise
    except Killed:
        record.ended = record.ended or "killed"
        raise
    finally:
        record.ended_s = scheduler.now_s
        told = f"{who}: {command.words} ({run}): {record.ended} {record.saw[:300]}"
        world.history.tell(scheduler.now_s, told)
        if record.ended != "killed":
            with suppress(DcctlError):  # the end of our session ends it too
                runs.end(limit_s=2.0)
    return run


def _die(world: "World", record: RunRecord) -> None:
    record.ended = "killed"
    world.scheduler.actor.alive = False
    raise Killed


def _work(world: "World", command: Command, means: Means) -> Any:
    match command.what:
        case "failover":
            return failover(command.site, means)
        case "switchover":
            return switchover(command.site, means)
        case "admit":
            return admit(command.site, means)
    rotation = RotationMeans(
        sites=means.states,
        vantages=means.vantages,
        edges=world.sim_edges,
        places=MACHINES,
        capacity=lambda site: means.capacity(site).reasons,
        ask=means.ask,
        now=means.now,
        by=means.who,
        journal=means.journal,
    )
    if command.what == "drain":
        return take_out(command.site, rotation, reason="a new kernel", idle_limit_s=5.0)
    return put_back(command.site, rotation, reason="done")


def means_of(world: "World", session: SimSession, who: str, runs: Any) -> Means:
    """``Means``, composed as ``dcctl.wiring.failover`` does."""
    scheduler = world.scheduler
    return Means(
        environment="sim",
        sites=SITES,
        witness=True,
        system=world.system,
        ask=ask_together(scheduler),
        now=world.clock_of(session.machine.name).now,
        states=world.variant.sites(session),
        vantages=SimVantages(session),
        runs=runs,
        leases=world.variant.leases(session),
        epochs=world.epochs,
        capacity=lambda lost: capacity(world, lost),
        documents=None,
        power_off=world.power_off,
        switch=world.switch,
        pools=world.pools,
        write=SimWriteProof(world.way, world.proved),
        verify=world.verify,
        who=who,
        leader_key=world.variant.leader_key(session, runs),
    )


def capacity(world: "World", lost: str) -> Capacity:
    survivor = next(site for site in SITES if site != lost)
    fit = Fit.FITS if survivor not in world.too_small else Fit.SHORT
    return Capacity(lost, survivor, fit, (), {})


def run_watch(world: "World", who: str) -> None:
    """Somebody on call: goes on with what was broken off, gives up a site that is dark, lets it in again."""
    scheduler = world.scheduler
    machine = world.network.machines[who]
    dark_s: dict[str, float] = {}
    next_s: dict[str, float] = {}
    while True:
        scheduler.sleep(WATCH_EVERY_S * scheduler.random.uniform(0.7, 1.3))
        for site in SITES:
            seen = any(
                world.network.connected(machine, world.network.machines[name])
                for name, place in MACHINES.items()
                if place == site
            )
            if seen:
                dark_s.pop(site, None)
            else:
                dark_s.setdefault(site, scheduler.now_s)
        wanted, resumes = _wanted(world, dark_s, next_s)
        if wanted is not None:
            # A process of its own: who is killed with it is not the person.
            wanted = replace(wanted, dies_at=world.dies_at.pop(who, wanted.dies_at))
            name = f"{wanted.what}@{who}"
            actor = scheduler.spawn(name, machine, partial(run_command, world, who, wanted, resumes))
            while actor.alive:
                scheduler.sleep(1.0)


def _wanted(world: "World", dark_s: dict[str, float], next_s: dict[str, float]) -> tuple[Command | None, str]:
    now_s = world.scheduler.now_s
    broken_off = world.broken_off()
    if broken_off is not None and _may(f"resume {broken_off.words}", now_s, next_s, 15.0):
        return command_of(broken_off.words), broken_off.run
    for site, since_s in dark_s.items():
        if now_s - since_s > 8.0 and _may(f"failover {site}", now_s, next_s, 20.0):
            return Command("failover", site), ""
    if world.healed and world.active_run() is None:
        world.power_on()
    for site in SITES:
        state = world.state_of(site)
        if site in dark_s or not world.is_whole:
            continue
        if state is Rotation.QUARANTINED and _may(f"admit {site}", now_s, next_s, 12.0):
            return Command("admit", site), ""
        if state is Rotation.DRAINED and world.healed and _may(f"undrain {site}", now_s, next_s, 12.0):
            return Command("undrain", site), ""
    return None, ""


def _may(what: str, now_s: float, next_s: dict[str, float], every_s: float) -> bool:
    if now_s < next_s.get(what, 0.0):
        return False
    next_s[what] = now_s + every_s
    return True
