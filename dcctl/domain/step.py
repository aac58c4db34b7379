"""What an engine yields: steps, waits, and branches that may run side by side.

An engine is a generator of these values. It never sleeps, starts a thread or reads a clock: it yields
to a shell that performs each value and sends the result back. The real shell (``dcctl.shell``) owns
wall time and threads; a simulation owns virtual time and drives the very same engine.

When the run is asked to end (Ctrl-C, SIGTERM), what is running ends by its own limit, nothing new is
started, and ``errors.Interrupted`` is thrown into each engine once, where its ``finally`` yields its
undo. Steps and waits of an undo carry ``undo=True``: they are performed on every way out, also when the
interruption comes while they are under way and when the journal can no longer be written.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar


@dataclass(frozen=True, slots=True)
class Step:
    """One effect. ``name`` is stable within a plan and is what the journal and a resume speak of.

    ``effect`` is idempotent and must end within ``limit_s`` seconds by its own means. Its return value
    is what the engine receives. ``target`` is the site or machine it acts on, for people. An effect is
    never cut short: one that can last asks the run's interruption itself (``dcctl.shell``).
    """

    name: str
    target: str
    limit_s: float
    effect: Callable[[], Any]
    undo: bool = False
    of: str = ""
    """The step of the plan that it belongs to."""
    no_return: bool = False
    """From here on the run cannot be aborted."""
    needs: Callable[[], Sequence[str]] = tuple
    """Why it must not be begun, asked just before it is; empty: it may. As long as it says something nothing
    is begun, no intent is kept, and after a short while the shell throws ``errors.Refused`` into the engine.
    An undo needs nothing."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask ``until`` every ``every_s`` seconds until it returns something other than None.

    The engine receives that value. After ``limit_s`` seconds the shell throws ``errors.TimedOut`` into
    the engine, with the last sentence that ``saw`` returned.
    """

    name: str
    target: str
    limit_s: float
    every_s: float
    until: Callable[[], Any]
    saw: Callable[[], str] = lambda: ""
    undo: bool = False
    of: str = ""
    """The step of the plan that it belongs to."""
    instead: Any = None
    """What the engine receives when a person states that what is waited for holds; None: nobody may."""


@dataclass(frozen=True, slots=True)
class Together:
    """Branches that may run at the same time; the engine receives their results in order.

    A branch that fails ends alone, its undo included; its siblings go on. When all have ended the gravest
    failure (an undo that did not finish, then a bug, then the first) is thrown into the engine, with the
    others named in its notes.
    """

    branches: "tuple[Work[Any], ...]"


Request: TypeAlias = Step | Wait | Together

_T = TypeVar("_T")
Work: TypeAlias = Generator[Request, Any, _T]
"""An engine at work; ``_T`` is what it returns in the end."""
