"""A cloud's API as one control group of processes, which says in a file that it serves."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dcctl.errors import NotFound, Rejected, TimedOut
from dcctl.lab import cgroup
from dcctl.lab.paths import NAMESPACES, api_namespace
from dcctl.lab.process import run

POLL_S = 0.02

# Arguments: network namespace, the control groups to join, then the program and its arguments.
LAUNCH = """set -e
netns=$1 groups=$2
shift 2
for group in $groups; do echo $$ > "$group"; done
exec setsid --fork nsenter --net="$netns" "$@"
"""


@dataclass(frozen=True, slots=True)
class Service:
    """``title`` for people; the processes of control group ``group`` serve once ``state``/ready exists.

    ``log`` is where a person reads on, and ``last_words`` the end of it.
    """

    title: str
    site: str
    group: str
    state: Path
    log: Path
    last_words: Callable[[], str]

    @property
    def ready(self) -> Path:
        """The file that the program writes when it serves."""
        return self.state / "ready"

    def observe(self) -> str:
        """``off``, ``starting`` or ``up``."""
        if not cgroup.members(self.group):
            return "off"
        return "up" if self.ready.exists() else "starting"

    def require(self, *built: Path) -> None:
        """Raises NotFound when something of it was not built, or when there is no network to start it in."""
        for needed in (NAMESPACES / api_namespace(self.site), *built):
            if not needed.exists():
                raise NotFound(
                    f"start {self.title}", on=self.site, saw=f"no {needed}", next_command="dcctl lab up"
                )

    def launch(self, *command: str, log: Path, environment: dict[str, str]) -> None:
        """Start ``command`` in the site's network and in the control group; it outlives the caller."""
        groups = " ".join(str(group) for group in cgroup.ensure(self.group))
        netns = str(NAMESPACES / api_namespace(self.site))
        with log.open("ab") as output:
            run(["sh", "-c", LAUNCH, "sh", netns, groups, *command], output=output, environment=environment)

    def wait_ready(self, limit_s: float) -> None:
        """Return once it serves.

        Raises Rejected with the end of its log when it ended instead, TimedOut after ``limit_s`` seconds.
        """
        until = time.monotonic() + limit_s
        while (now := self.observe()) != "up":
            tried, where = f"start {self.title}", f"(log: {self.log})"
            if now == "off":
                raise Rejected(tried, on=self.site, saw=f"it ended: {self.last_words()} {where}")
            if time.monotonic() > until:
                raise TimedOut(tried, on=self.site, saw=f"{self.last_words()} {where}")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """End it, as a power cut does; the machines stay. Not running is done."""
        cgroup.kill(self.group)
        cgroup.remove(self.group)
        self.ready.unlink(missing_ok=True)
