"""Replication that a person has paused: who did, and whether it has come to rest."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

WORKING, IDLE = "working", "idle"


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing is begun until somebody resumes."""

    by: str
    at: datetime
    reason: str = ""

    def document(self) -> dict[str, Any]:
        """As JSON values; ``of`` reads them."""
        return {"by": self.by, "at": self.at.isoformat(), "reason": self.reason}

    @classmethod
    def of(cls, document: Any) -> "Pause":
        """Raises ValueError for what is none."""
        try:
            return cls(
                str(document["by"]), datetime.fromisoformat(document["at"]), str(document.get("reason", ""))
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("not a pause") from error


def at_rest(pause: Pause | None, followers: Mapping[str, str]) -> bool:
    """Whether it is paused and nobody who follows is at anything any more."""
    return pause is not None and all(state == IDLE for state in followers.values())
