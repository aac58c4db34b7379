"""The seam to the two cloud APIs: what ``lab up`` and ``lab down`` ask of each."""

import importlib
from collections.abc import Callable
from typing import Protocol, cast

Say = Callable[[str], None]


class Cloud(Protocol):
    """A module that offers one cloud's API inside its site's network."""

    def ensure_built(self, progress: Say) -> None:
        """Make what it keeps in the cache; idempotent, and safe against SIGKILL midway."""

    def start(self, progress: Say) -> None:
        """Start it in its namespace, detached, and write what its clients need."""

    def wait_ready(self, limit_s: float) -> None:
        """Until it serves. Raises TimedOut with the tail of its log."""

    def stop(self) -> None:
        """Stop it; absent is done."""

    def observe(self) -> str:
        """How it is, in one line."""


MODULES = {"east": "dcctl.lab.openstack", "west": "dcctl.lab.vcenter"}


def cloud(site: str) -> Cloud:
    """The cloud of a site; imported late, so that a lab without clouds does not need them."""
    return cast(Cloud, importlib.import_module(MODULES[site]))


def stops() -> list[Callable[[], None]]:
    """How to stop each; one that cannot even be imported says so when it is called."""
    return [lambda site=site: cloud(site).stop() for site in MODULES]  # type: ignore[misc]
