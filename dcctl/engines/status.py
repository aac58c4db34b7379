"""One look at everything: each part is asked on its own, and silence is an answer. Nothing is changed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from dcctl.domain.machine import Server
from dcctl.domain.observation import AtRisk, Seen, View
from dcctl.domain.status import Host
from dcctl.domain.traffic import SiteState
from dcctl.errors import DcctlError, Unreachable
from dcctl.ports import Coordination, Database, Edges, Fault, Reach

T = TypeVar("T")

SSH_PORT = 22


@dataclass(frozen=True, slots=True)
class System:
    """One environment, as its ports show it. ``fault`` is None where nothing may be broken on purpose."""

    hosts: Sequence[Host]
    clouds: Mapping[str, Callable[[], tuple[Server, ...]]]
    """How to list the servers of each site."""
    reach: Reach
    coordination: Coordination
    database: Database
    edges: Edges
    fault: Fault | None = None
    ssh_port: int = SSH_PORT
    documents: Callable[[], AtRisk] | None = None
    """How many documents are at one site only; None where none are replicated."""
    states: Callable[[], tuple[SiteState, ...]] | None = None
    """What is wanted of each site; None where nobody is asked."""


Question = Callable[[], Any]
Ask = Callable[[Mapping[str, Question]], Mapping[str, Any]]
"""Asks several questions and returns, under the same keys, each answer or the DcctlError in its place.

``shell.at_once`` asks all of them at the same time: a look then takes as long as the slowest part, whose
port has its own time limit, and not as long as all of them.
"""


def observe(system: System, ask: Ask) -> View:
    """Look at every part of ``system``. Raises what is no silence of a part (a wrong configuration)."""
    questions = _questions(system)
    answers = ask({f"{part} {name}": question for (part, name), question in questions.items()})
    found: dict[str, dict[str, Seen[Any]]] = {part: {} for part, _name in questions}
    for part, name in questions:
        found[part][name] = _seen(answers[f"{part} {name}"])
    breakages = found.pop("breakages", {}).get("breakages", Seen(()))
    documents = found.pop("documents", {}).get("documents")
    states = found.pop("states", {}).get("states", Seen(None, "not asked"))
    return View(
        clouds=found.get("clouds", {}),
        reachable=found.get("reachable", {}),
        voters=found.get("voters", {}),
        databases=found.get("databases", {}),
        cluster=found["cluster"]["cluster"],
        edges=found.get("edges", {}),
        breakages=breakages.value or (),
        documents=documents,
        states=states,
    )


def _questions(system: System) -> dict[tuple[str, str], Question]:
    """What is asked, by the part of the view and the name that the answer goes under."""
    clouds = {("clouds", name): cloud for name, cloud in system.clouds.items()}
    reach, voters = system.reach.observe_port, system.coordination.voters
    return {
        **clouds,
        **{("reachable", each.name): partial(reach, each.address, system.ssh_port) for each in system.hosts},
        **{("voters", name): partial(system.coordination.observe_voter, name) for name in voters},
        **{
            ("databases", name): partial(system.database.observe_member, name)
            for name in system.database.members
        },
        ("cluster", "cluster"): system.database.observe_cluster,
        **{("edges", name): partial(system.edges.observe_edge, name) for name in system.edges.edges},
        **({("breakages", "breakages"): system.fault.observe_breakages} if system.fault is not None else {}),
        **({("documents", "documents"): system.documents} if system.documents is not None else {}),
        **({("states", "states"): system.states} if system.states is not None else {}),
    }


def in_turn(questions: Mapping[str, Callable[[], T]]) -> dict[str, T | DcctlError]:
    """An ``Ask`` in this thread, one question after the other: quick while everything answers."""
    return {name: _answer(question) for name, question in questions.items()}


def _answer(question: Callable[[], T]) -> T | DcctlError:
    try:
        return question()
    except DcctlError as error:
        return error


def _seen(answer: Any) -> Seen[Any]:
    match answer:
        case Unreachable():
            return Seen(None, answer.saw or answer.sentence())
        case DcctlError():
            raise answer
        case _:
            return Seen(answer)
