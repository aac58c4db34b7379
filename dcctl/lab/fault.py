"""``ports.Fault`` in the lab: traffic is lost in the backbone, machines are paused, voters are killed.

Each ends by itself. Traffic by the kernel's own timers; a paused machine by a process of the lab's own on
this host, since nothing runs inside; a killed voter by systemd on its machine.
"""

import math
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from dcctl.domain.fault import Breakage, InForce, Kind, read_breakage
from dcctl.lab import cgroup, machine, network, operator
from dcctl.lab.paths import PLACES, RUN
from dcctl.lab.process import run

FAULTS = RUN / "faults"
"""One file per pause or kill: the second of this host's clock since boot at which it ends."""
GROUP = "fault-"
"""Control groups of the processes that end a pause: ``lab down`` removes them as everything of the lab."""
TIMER = "dcctl-fault-ends"
ZOOKEEPER = "zookeeper"
REMOTE_LIMIT_S = 30.0

# Arguments: the control groups to join, seconds, then the program that ends it and its arguments.
LATER = """set -e
groups=$1 seconds=$2
shift 2
for group in $groups; do echo $$ > "$group"; done
exec setsid --fork sh -c 'sleep "$0"; exec "$@"' "$seconds" "$@" < /dev/null > /dev/null 2>&1
"""


class LabFault:
    """The lab on this host. Every call needs root."""

    def observe_breakages(self) -> tuple[InForce, ...]:
        directed = {(each.source, each.target): each.heals_in_s for each in network.observe_cuts()}
        return (*_cuts(directed), *_one_ways(directed), *_observe_noted())

    def inflict(self, breakage: Breakage, *, for_s: float) -> None:
        seconds = math.ceil(for_s)
        match breakage.kind:
            case Kind.CUT:
                network.cut(breakage.target, for_s=seconds)
            case Kind.ONE_WAY:
                network.cut(breakage.target, other=breakage.toward, one_way=True, for_s=seconds)
            case Kind.PAUSE:
                _pause(breakage, seconds)
            case Kind.KILL:
                _kill(breakage, seconds)

    def mend(self, breakage: Breakage) -> None:
        match breakage.kind:
            case Kind.CUT:
                network.heal(breakage.target)
            case Kind.ONE_WAY:
                network.heal_way(breakage.target, breakage.toward)
            case Kind.PAUSE:
                spec = operator.find(breakage.target)
                _end_timer(spec)
                machine.resume(spec.id)
                _file(breakage).unlink(missing_ok=True)
            case Kind.KILL:
                _on(breakage.target, f"{FORGET}; {START}")
                _file(breakage).unlink(missing_ok=True)


def _cuts(directed: Mapping[tuple[str, str], int]) -> Iterator[InForce]:
    """The places that reach no other one and are reached by none: by what is lost, from where to where."""
    for place in sorted(PLACES):
        others = [other for other in PLACES if other != place]
        pairs = [(place, other) for other in others] + [(other, place) for other in others]
        if all(pair in directed for pair in pairs):
            yield InForce(Breakage(Kind.CUT, place), max(directed[pair] for pair in pairs))


def _one_ways(directed: Mapping[tuple[str, str], int]) -> Iterator[InForce]:
    for (source, target), ends_in_s in directed.items():
        if (target, source) not in directed:
            yield InForce(Breakage(Kind.ONE_WAY, source, target), ends_in_s)


START = f"sudo systemctl start {ZOOKEEPER}"
FORGET = f"sudo systemctl stop {TIMER}.timer 2> /dev/null"


def _pause(breakage: Breakage, seconds: int) -> None:
    """Its end is set before it begins."""
    spec = operator.find(breakage.target)
    _note(breakage, seconds)
    _end_timer(spec)
    groups = " ".join(str(group) for group in cgroup.ensure(GROUP + spec.short))
    resume = (sys.executable, "-m", "dcctl.lab.machine", "resume", spec.id)
    run(["sh", "-c", LATER, "sh", groups, str(seconds), *resume])
    machine.stall(spec.id)


def _end_timer(spec: machine.Spec) -> None:
    cgroup.kill(GROUP + spec.short)
    cgroup.remove(GROUP + spec.short)


def _kill(breakage: Breakage, seconds: int) -> None:
    """SIGKILL, and a stop before systemd has started it again; its end is set before that."""
    operator.find(breakage.target)
    _note(breakage, seconds)
    later = f"sudo systemd-run --quiet --collect --unit {TIMER} --on-active={seconds}s"
    kill = f"sudo systemctl kill --kill-who=all --signal=KILL {ZOOKEEPER}"
    _on(
        breakage.target,
        f"{FORGET}; {later} systemctl start {ZOOKEEPER} && {kill} && sudo systemctl stop {ZOOKEEPER}",
    )


def _on(name: str, command: str) -> str:
    return run(operator.ssh(operator.find(name), (command,)), limit_s=REMOTE_LIMIT_S).strip()


def _file(breakage: Breakage) -> Path:
    return FAULTS / breakage.word()


def _note(breakage: Breakage, seconds: int) -> None:
    FAULTS.mkdir(parents=True, exist_ok=True)
    _file(breakage).write_text(str(_now_s() + seconds))


def _observe_noted() -> Iterator[InForce]:
    """Those that were noted, have not run out, and are seen to be in force."""
    for file in sorted(FAULTS.glob("*")):
        breakage, left_s = read_breakage(file.name), float(file.read_text()) - _now_s()
        if left_s > 0 and _is_in_force(breakage):
            yield InForce(breakage, left_s)


def _is_in_force(breakage: Breakage) -> bool:
    if breakage.kind is Kind.PAUSE:
        return machine.is_stalled(operator.find(breakage.target).id)
    said = _on(breakage.target, f"systemctl is-active {ZOOKEEPER} || true")
    return said not in ("active", "activating")


def _now_s() -> float:
    """This host's clock since boot: the same for every process, and never set back."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
