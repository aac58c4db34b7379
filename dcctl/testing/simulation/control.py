"""The controller: whoever leads the role ``controller`` gives up a lost site by itself, in a run."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from dcctl.adapters.zookeeper.automation import ZooKeeperAutomation
from dcctl.domain.automation import CONTROLLER
from dcctl.domain.leadership import EPOCH_VARIABLE, Epoch, Term
from dcctl.engines.agent import Agent, Moment
from dcctl.engines.controller import Controller, OwnClock
from dcctl.engines.leadership import Holder
from dcctl.errors import DcctlError, Unreachable
from dcctl.testing.simulation import people
from dcctl.testing.simulation.network import MACHINES
from dcctl.testing.simulation.ports import ENVIRONMENT
from dcctl.testing.simulation.scheduler import Actor, Killed
from dcctl.testing.simulation.session import SimSession

if TYPE_CHECKING:
    from dcctl.testing.simulation.world import World

SESSION_S = 10.0
GRACE_S = 2.0
PACE = 3.0
AGAIN_S = 2.0


class ControllerCommand:
    """``ports.GuardedCommand``: the controller's process, and a watchdog that ends it."""

    def __init__(self, world: "World", name: str, term: "list[Term]") -> None:
        self._world = world
        self._name = name
        self._term = term
        self._actor: Actor | None = None
        self.started = False
        self._kill_at_s = float("inf")

    def start(self, environment: Mapping[str, str], *, stop_at_s: float, kill_at_s: float) -> None:
        world = self._world
        self.started = True
        self._kill_at_s = kill_at_s
        if world.scheduler.now_s >= stop_at_s:
            return
        world.history.tell(
            world.scheduler.now_s, f"{self._name} is controller, {environment[EPOCH_VARIABLE]}"
        )
        machine = world.network.machines[self._name]
        term = self._term[-1]
        self._actor = world.scheduler.spawn(
            f"controller@{self._name}", machine, lambda: run_controller(world, self._name, term)
        )
        self._watch()

    def feed(self, *, stop_at_s: float, kill_at_s: float) -> None:  # noqa: ARG002
        self._kill_at_s = kill_at_s

    def ask_to_end(self) -> None:
        self.kill()  # a controller ends at once: whatever it was in is resumed

    def kill(self) -> None:
        if self._actor is not None and self._actor.alive:
            self._world.scheduler.kill(self._actor)
            for actor in self._world.scheduler.actors_on(self._actor.machine):
                if actor.name.endswith(f"@controller@{self._name}"):
                    self._world.scheduler.kill(actor)

    def ended(self) -> int | None:
        return 0 if self._actor is None or not self._actor.alive else None

    def _watch(self) -> None:
        """The watchdog: it looks by itself, whoever stands still."""
        if self._actor is None or not self._actor.alive:
            return
        now_s = self._world.scheduler.now_s
        if now_s >= self._kill_at_s:
            self.kill()
        else:
            self._world.scheduler.after(max(0.05, self._kill_at_s - now_s), self._watch)


def run_candidate(world: "World", name: str) -> None:
    """The agent's candidacy."""
    scheduler = world.scheduler
    machine = world.network.machines[name]
    terms: list[Term] = []
    clock = world.clock_of(name)

    def new_term(epoch: Epoch) -> Term:
        terms.append(Term(CONTROLLER, epoch, "dcctl-run", name, len(terms) + 1, clock.now()))
        return terms[-1]

    while True:
        scheduler.sleep(AGAIN_S)
        agent = world.agents.get(name)
        if agent is None or not agent.is_eligible():
            continue
        session = SimSession(world.ensemble, machine, SESSION_S)
        command = ControllerCommand(world, name, terms)
        holder = Holder(
            role=CONTROLLER,
            leases=world.variant.leases(session),
            command=command,
            mirror=None,
            new_term=new_term,
            asked=lambda one=command, by=agent: _asked(one, by),  # type: ignore[misc]
            grace_s=GRACE_S,
        )
        try:
            scheduler.drive(holder.hold(), pace=PACE)
        except DcctlError:
            pass
        except Killed:
            session.die()
            raise
        finally:
            command.kill()
        session.close()


def _asked(command: ControllerCommand, agent: Agent) -> bool:
    return agent.is_superseded() if command.started else not agent.is_eligible()


def run_controller(world: "World", name: str, term: Term) -> None:
    """The controller's process, as ``dcctl.wiring.automation`` composes it."""
    scheduler, machine = world.scheduler, world.network.machines[name]
    session = SimSession(world.ensemble, machine, SESSION_S)
    clock = world.clock_of(name)
    runs = world.variant.runs(session, f"controller@{name}")
    looks = people.means_of(world, session, name, runs)
    looks = replace(
        looks,
        system=replace(looks.system, clouds={}),
        vantages=OwnClock(looks.vantages, clock.now),
        power_off=_no_power,
        place=MACHINES[name],
        term=term,
    )

    def act(lost: str) -> str:
        command = people.Command("failover", lost, world.dies_at.pop("controller", None))
        return people.act(world, f"controller@{name}", command, runs, looks)

    controller = Controller(
        looks,
        world.mode,
        ZooKeeperAutomation(session, ENVIRONMENT, limit_s=2.0),  # type: ignore[arg-type]
        act,
        lambda sentence: world.history.tell(scheduler.now_s, f"controller {name}: {sentence[:300]}"),
    )
    loop = controller.control()
    try:
        pause_s = next(loop)
        while True:
            scheduler.sleep(pause_s * PACE)
            pause_s = loop.send(Moment(clock.monotonic(), clock.now()))
    except DcctlError as error:
        world.history.tell(scheduler.now_s, f"controller {name} ends: {error}")
        session.close()
    except Killed:
        session.die()
        raise


def _no_power(_site: str) -> dict[str, tuple[str, ...]]:
    raise Unreachable("power off what its cloud reaches", saw="no credentials of a cloud")
