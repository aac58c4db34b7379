"""One look at everything at once: each part is asked on its own, and silence is an answer.

Nothing is changed. Every question has its port's own time limit, so a look takes as long as the slowest
part, not as long as all of them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from dcctl.domain.observation import Seen, View
from dcctl.domain.status import Host
from dcctl.domain.step import Step, Together, Work
from dcctl.errors import Unreachable
from dcctl.ports import Coordination, Database, Edges, Fault, Machines, Reach

T = TypeVar("T")

SSH_PORT = 22
PARTS = ("clouds", "reachable", "voters", "databases", "edges", "cuts")


@dataclass(frozen=True, slots=True)
class System:
    """One environment, as its ports show it. ``fault`` is None where nothing may be broken on purpose."""

    hosts: Sequence[Host]
    clouds: Mapping[str, Machines]
    reach: Reach
    coordination: Coordination
    database: Database
    edges: Edges
    fault: Fault | None = None


def observe(system: System, *, limit_s: float, ssh_port: int = SSH_PORT) -> Work[View]:
    """Ask every part of ``system`` at the same time; ``limit_s`` is what the ports were given."""
    questions = list(_questions(system, ssh_port))
    answers = yield Together(
        tuple(
            _ask(Step(f"look at {part}", name, limit_s, partial(seen, question)))
            for part, name, question in questions
        )
    )
    return _view((part, name, answer) for (part, name, _), answer in zip(questions, answers, strict=True))


def look(system: System, *, ssh_port: int = SSH_PORT) -> View:
    """The same one after the other, in this thread: quick while everything answers."""
    return _view((part, name, seen(question)) for part, name, question in _questions(system, ssh_port))


def _view(answers: Iterable[tuple[str, str, Seen[Any]]]) -> View:
    found: dict[str, dict[str, Seen[Any]]] = {part: {} for part in PARTS}
    for part, name, answer in answers:
        found[part][name] = answer
    cuts = found.pop("cuts").get("cuts")
    return View(**found, cuts=(cuts.value or ()) if cuts else ())


def _questions(system: System, ssh_port: int) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """What is asked: the part, whose name the answer goes under, and the question."""
    for name, cloud in system.clouds.items():
        yield "clouds", name, cloud.observe_servers
    for host in system.hosts:
        yield "reachable", host.name, partial(system.reach.observe_port, host.address, ssh_port)
    for name in system.coordination.voters:
        yield "voters", name, partial(system.coordination.observe_voter, name)
    for name in system.database.members:
        yield "databases", name, partial(system.database.observe_member, name)
    for name in system.edges.edges:
        yield "edges", name, partial(system.edges.observe_edge, name)
    if system.fault is not None:
        yield "cuts", "cuts", system.fault.observe_cuts


def seen(question: Callable[[], T]) -> Seen[T]:
    """The answer to ``question``, or why there is none. A part that cannot be reached is no error here."""
    try:
        return Seen(question())
    except Unreachable as error:
        return Seen(None, error.saw or error.sentence())


def _ask(step: Step) -> Work[Seen[Any]]:
    answer: Seen[Any] = yield step
    return answer
