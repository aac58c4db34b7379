"""An agent's candidacy for the role ``controller``: while it leads, ``dcctl controller`` runs under it.

The controller is a process of its own under a watchdog of its own (``adapters.guard``): an agent that is
frozen, killed or cut off leaves none behind, and a busy controller delays no weight and no fence.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

from dcctl.adapters.guard import WatchedCommand
from dcctl.domain.automation import CONTROLLER
from dcctl.domain.leadership import Epoch, Term
from dcctl.engines.leadership import Holder
from dcctl.errors import DcctlError
from dcctl.ports import Leases

GRACE_S = 2.0
AGAIN_S = 1.0


class _Command(WatchedCommand):
    """Knows whether it was started: from then on we lead."""

    started = False

    def start(self, environment: Mapping[str, str], *, stop_at_s: float, kill_at_s: float) -> None:
        self.started = True
        super().start(environment, stop_at_s=stop_at_s, kill_at_s=kill_at_s)


class Candidate:
    """Contends until it is closed. ``argv`` is the controller's command. ``eligible``: whether this place is
    to contend now; ``superseded``: whether a better one is there, so that a term is handed over."""

    def __init__(
        self,
        leases: Leases,
        argv: Sequence[str],
        *,
        new_term: Callable[[Epoch], Term],
        eligible: Callable[[], bool],
        superseded: Callable[[], bool],
        clock: Callable[[], float],
        tell: Callable[[str], None],
    ) -> None:
        self._leases = leases
        self._argv = argv
        self._new_term = new_term
        self._eligible = eligible
        self._superseded = superseded
        self._clock = clock
        self._tell = tell
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._contend, name="candidate", daemon=True)

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def close(self) -> None:
        """Hand the role over, where it is ours, and wait for that."""
        self._stop.set()
        self._thread.join(GRACE_S + 2 * AGAIN_S + 2.0)

    def _asked(self, command: _Command) -> bool:
        """Whether to contend, or to lead, no longer."""
        return self._stop.is_set() or (self._superseded() if command.started else not self._eligible())

    def _contend(self) -> None:
        while not self._stop.is_set():
            if self._eligible():
                with closing(_Command(self._argv)) as command:
                    try:
                        self._hold(command)
                    except DcctlError as error:
                        if not self._asked(command):
                            self._tell(error.sentence())
            self._stop.wait(AGAIN_S)

    def _hold(self, command: _Command) -> None:
        work = Holder(
            role=CONTROLLER,
            leases=self._leases,
            command=command,
            mirror=None,
            new_term=self._new_term,
            asked=lambda: self._asked(command),
            grace_s=GRACE_S,
            tell=self._tell,
        ).hold()
        with closing(work):
            try:
                pause_s = next(work)
                while True:
                    command.wait(max(0.0, pause_s))
                    pause_s = work.send(self._clock())
            except StopIteration:
                return
