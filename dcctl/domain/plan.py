"""What a decision to move something returns: the steps in order, what they cost, and from where on there
is no way back. It is shown before it is carried out, and it is what the engine carries out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dcctl.domain.rules import Reason


@dataclass(frozen=True, slots=True)
class Planned:
    """One step. ``proof`` is what is looked at before and after it: where it holds already, nothing is done.

    ``limit_s``: after that the run ends with what was seen, and may be begun again. ``effect`` is what it
    changes, ``needs`` what is looked at just before: where that holds no more, it is not begun. A step that
    only looks has neither.
    """

    name: str
    target: str
    proof: str
    limit_s: float
    effect: str = ""
    needs: str = ""
    no_return: bool = False
    """The point of no return: until here nothing has moved."""
    skippable: bool = False
    """A person may state that it holds (``dcctl run skip``): nobody is promoted and nothing fenced by it."""
    way_back: str = ""
    """What to type to take back what it changed; empty where nothing is changed by it."""
    limit_runs: int = 0
    """Of how many past runs ``limit_s`` was made (``domain.budget``); 0: it is the default."""


@dataclass(frozen=True, slots=True)
class Plan:
    """``site`` is the one that was named, ``survivor`` the one that carries what moves.

    ``primary`` is the database's now, ``candidate`` the one that is to be. ``roles`` are the singletons
    that must be held at ``survivor``. ``loss`` and ``notes`` are sentences.
    """

    what: str
    site: str
    survivor: str
    primary: str | None
    candidate: str | None
    roles: tuple[str, ...]
    loss: tuple[str, ...]
    notes: tuple[str, ...]
    steps: tuple[Planned, ...]
    overridden: tuple[Reason, ...] = ()
    """What would stand against it, were its rule not overridden for this run."""

    @property
    def limit_s(self) -> float:
        """The longest that all steps may take together."""
        return sum(step.limit_s for step in self.steps)

    def journalled(self) -> list[dict[str, object]]:
        """The steps, for the journal."""
        return [
            {
                "name": each.name,
                "target": each.target,
                "limit_s": each.limit_s,
                "limit_runs": each.limit_runs,
                "needs": each.needs,
                "no_return": each.no_return,
                "skippable": each.skippable,
            }
            for each in self.steps
        ]

    def step(self, name: str) -> Planned:
        return next(step for step in self.steps if step.name == name)

    def has(self, name: str) -> bool:
        """Whether one of its steps is called ``name``."""
        return any(step.name == name for step in self.steps)


def needs_of(steps: Sequence[Planned]) -> str:
    """What the steps that change something need, in a line; empty where none does."""
    return "; ".join(f"{step.name}: {step.needs}" for step in steps if step.needs)


def ways_back(steps: Sequence[Planned]) -> str:
    """What takes back the steps that change something, in a line; empty where none does."""
    named: dict[str, list[str]] = {}
    for step in steps:
        if step.way_back:
            named.setdefault(step.way_back, []).append(step.name)
    return "; ".join(f"{', '.join(names)}: {command}" for command, names in named.items())


@dataclass(frozen=True, slots=True)
class Moved:
    """What a plan came to. ``single_copy``: no synchronous standby is named. ``fences`` are sentences.

    ``written_by`` is, per edge, the database that took a write through it.
    """

    plan: Plan
    primary: str | None
    single_copy: bool = False
    fences: tuple[str, ...] = ()
    written_by: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    """Who holds each of the plan's roles now."""
