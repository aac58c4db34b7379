"""What an engine yields: steps, waits, and branches that may run side by side.

An engine is a generator of these values. It never sleeps, starts a thread or reads a clock: it yields
to a shell that performs each value and sends the result back. The real shell (``dcctl.shell``) owns
wall time and threads; a simulation owns virtual time and drives the very same engine.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar


@dataclass(frozen=True, slots=True)
class Step:
    """One effect. ``name`` is stable within a plan and is what the journal and a resume speak of.

    ``effect`` is idempotent and must end within ``limit_s`` seconds by its own means. Its return value
    is what the engine receives. ``target`` is the site or machine it acts on, for people.
    """

    name: str
    target: str
    limit_s: float
    effect: Callable[[], Any]


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


@dataclass(frozen=True, slots=True)
class Together:
    """Branches that may run at the same time; the engine receives their results in order.

    A branch that fails does not stop its siblings. When all have ended the first failure is thrown into
    the engine, with the others named in its notes.
    """

    branches: "tuple[Work[Any], ...]"


Request: TypeAlias = Step | Wait | Together

_T = TypeVar("_T")
Work: TypeAlias = Generator[Request, Any, _T]
"""An engine at work; ``_T`` is what it returns in the end."""
