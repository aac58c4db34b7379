"""One line of the journal: the only record a run leaves, and what every screen and report is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """``seq`` counts from 1 within ``run``; ``at`` is aware UTC; ``fields`` are JSON values, no secret.

    Types in use: ``run.started run.done run.failed run.interrupted step.started step.done step.failed
    wait.started wait.done wait.failed`` from the shell, ``deploy.changed deploy.failed`` from a deploy,
    ``undo.written undo.done`` and ``drill.*`` from a drill. A new type is added here first.
    """

    at: datetime
    run: str
    seq: int
    type: str
    fields: Mapping[str, Any] = field(default_factory=dict)
