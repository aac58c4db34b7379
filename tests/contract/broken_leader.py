"""``dcctl leader hold`` with one rule taken away: ``python broken_leader.py RULE ARGV…``.

unwatched   no watchdog: only the holder itself ends the command
events      the lease counts as renewed until kazoo says LOST, which it never does while cut off
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping

from dcctl import wiring
from dcctl.adapters.guard import boot_clock
from dcctl.adapters.zookeeper import ZooKeeperLeases
from dcctl.cli.main import main
from dcctl.domain.leadership import Renewal, Term
from dcctl.errors import Unreachable


class Unwatched:
    """``ports.GuardedCommand`` that guards nothing."""

    def __init__(self, argv: list[str]) -> None:
        self._argv = list(argv)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, environment: Mapping[str, str], *, stop_at_s: float, kill_at_s: float) -> None:  # noqa: ARG002
        self._process = subprocess.Popen(
            self._argv, env={**os.environ, **environment}, start_new_session=True
        )

    def feed(self, *, stop_at_s: float, kill_at_s: float) -> None: ...

    def ask_to_end(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def ended(self) -> int | None:
        return self._process.poll() if self._process is not None else None

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def close(self) -> None:
        self.kill()


class TrustsEvents(ZooKeeperLeases):
    def renew(self, term: Term, version: int, *, limit_s: float) -> Renewal:
        try:
            return super().renew(term, version, limit_s=limit_s)
        except Unreachable:
            return Renewal(boot_clock(), self.session_s, version)


def take_away(rule: str) -> None:
    match rule:
        case "unwatched":
            wiring.watched_command = Unwatched  # type: ignore[assignment]
        case "events":

            def leases_at(hosts: str, environment: str, *, session_s: float) -> ZooKeeperLeases:
                return TrustsEvents(hosts, environment=environment, session_s=session_s, clock=boot_clock)

            wiring.leases_at = leases_at
        case _:
            raise ValueError(rule)


if __name__ == "__main__":
    take_away(sys.argv[1])
    main(sys.argv[2:])
