"""What one lab differs in from the next: written by ``dcctl.lab.openstack``, never baked."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Settings:
    """``settings.json`` in the state directory, readable by its owner only: it holds the passwords."""

    passwords: dict[str, str]
    """Of each of ``names.USERS``."""
    certificate: str
    """File: the certificate of the APIs, with what vouches for it."""
    key: str
    """File: the private key of that certificate."""
    ca: str
    """File: whom the services trust when they call each other."""

    @classmethod
    def read(cls, state: Path) -> Self:
        return cls(**json.loads((state / "settings.json").read_text()))
