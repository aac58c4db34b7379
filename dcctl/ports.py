"""Every promise that an engine needs kept, on one page.

A port is what dcctl asks of the world; an adapter keeps it with one vendor's means, and ``dcctl.testing``
keeps it in memory. Both pass the same contract suite (``dcctl.testing.contracts``). Rules for all:

- Every call ends within its own time limit and raises ``errors.TimedOut`` when it cannot.
- Absence is ``None`` or an empty tuple where a caller would expect it, ``errors.NotFound`` where not.
- Errors are of ``dcctl.errors`` and name the site, the object and the cause; no vendor type leaves.
- ``observe_*`` only reads. ``ensure_*`` changes what differs, and may be repeated at any time.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from dcctl.domain.event import Event
from dcctl.domain.machine import Hypervisor, Power, PowerReading, Server, ServerSpec


class Clock(Protocol):
    """Time, owned by the shell. Engines never hold one."""

    def now(self) -> datetime:
        """The instant, aware UTC."""

    def monotonic(self) -> float:
        """Seconds that only grow; for limits and leases."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class Journal(Protocol):
    """The append-only record of one run. An event that ``append`` returned from is on disk."""

    run: str

    def append(self, type: str, fields: Mapping[str, Any]) -> Event:
        """Write one event, fsynced, and return it with its number and time."""

    def events(self) -> tuple[Event, ...]:
        """All events so far, in order; a torn last line is left out."""


class Machines(Protocol):
    """The machines of one site, on whichever cloud it is.

    ``name`` is a server's name within the environment that owns it. Nothing that is not marked as owned
    by the environment is ever changed: ``errors.Refused`` says whose it is.
    """

    site: str

    def observe_servers(self) -> tuple[Server, ...]:
        """All servers visible to us, ours and others', sorted by name."""

    def observe_hypervisors(self) -> tuple[Hypervisor, ...]:
        """All hosts with capacity and reservations, sorted by name."""

    def observe_power(self, name: str) -> PowerReading:
        """A reading asked for by this very call. ``NotFound`` when there is no such server."""

    def ensure_server(self, spec: ServerSpec) -> Server:
        """Create what is missing, power it on, and wait until the cloud calls it running.

        An existing server of ours is left as it is, except that it is powered on; what differs from the
        specification is for the plan to show, not for this call to mend. A leftover of a create that
        failed midway is removed and made anew.
        """

    def ensure_power(self, name: str, power: Power) -> PowerReading:
        """Make it ON, OFF or SUSPENDED and read back; OFF is the hard way, with automatic restart off."""

    def move_server(self, name: str, hypervisor: str) -> Server:
        """Move a server to a named host and wait until it is there; it keeps its power state."""

    def delete_server(self, name: str) -> None:
        """Delete a server of ours and wait until it is gone; absent is done."""


class Remote(Protocol):
    """Commands on one machine, over a channel whose other end is proven to be that machine."""

    def run(self, argv: Sequence[str], *, limit_s: float, stdin: str = "") -> tuple[int, str, str]:
        """Exit status, standard output, standard error. ``Unreachable`` when there is no channel."""
