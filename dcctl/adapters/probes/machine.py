"""What only the machine itself can tell, over SSH: its clock, its disks, and what a command says."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import TypeAlias

from dcctl.adapters.probes.blocking import Blocking
from dcctl.adapters.probes.round import Outcome, Prober, said
from dcctl.domain.probe import ClockCheck, CommandCheck, DiskCheck
from dcctl.ports import Remote

COMMAND_S = 10.0
"""The probe's own limit is shorter; this one ends the thread that it leaves behind."""
OpenRemote: TypeAlias = Callable[[str], AbstractContextManager[Remote]]
"""One connection to a machine, by its name."""


def probe_clock_over_ssh(blocking: Blocking, remote: OpenRemote) -> Prober:
    def ask(check: ClockCheck) -> Outcome:
        with remote(check.machine) as machine:
            before = datetime.now(UTC).timestamp()
            status, output, error = machine.run(["date", "+%s.%N"], limit_s=COMMAND_S)
            after = datetime.now(UTC).timestamp()
        if status != 0:
            return Outcome(None, said(f"date ended with {status}: {error}"))
        return judge_clock(float(output), float(output), before, after, check.limit_s)

    async def probe(check: ClockCheck) -> Outcome:
        return await blocking.call(f"clock {check.machine}", lambda: ask(check))

    return probe


def judge_clock(first: float, last: float, before: float, after: float, limit_s: float) -> Outcome:
    """The other clock read between ``first`` and ``last`` while ours went from ``before`` to ``after``.

    What is not known counts neither way: it is wrong when it is off by more than ``limit_s`` however
    long the answer was on its way, and nothing is learned when the way was too long to tell.
    """
    least, most = first - after, last - before
    skew, unsure = (least + most) / 2, (most - least) / 2
    saw = f"{skew:+.2f} s, give or take {unsure:.2f} s"
    if abs(skew) - unsure > limit_s:
        return Outcome(ok=False, saw=f"its clock is off by {saw}", figure=skew)
    if unsure > limit_s + 0.5:  # a Date header is cut to whole seconds
        return Outcome(None, f"the answer took too long to tell: {saw}", skew)
    return Outcome(ok=True, saw=saw, figure=skew)


def probe_disk(blocking: Blocking, remote: OpenRemote) -> Prober:
    def ask(check: DiskCheck) -> Outcome:
        argv = ["df", "--output=pcent,ipcent", "--", check.path]
        with remote(check.machine) as machine:
            status, output, error = machine.run(argv, limit_s=COMMAND_S)
        if status != 0:
            return Outcome(ok=False, saw=said(f"df ended with {status}: {error}"))
        return judge_disk(output, check)

    async def probe(check: DiskCheck) -> Outcome:
        return await blocking.call(f"disk {check.machine} {check.path}", lambda: ask(check))

    return probe


def judge_disk(output: str, check: DiskCheck) -> Outcome:
    """By the answer of ``df --output=pcent,ipcent``; a file system without a count of files says ``-``."""
    found = re.findall(r"^\s*(\d+|-)%?\s+(\d+|-)%?\s*$", output, re.MULTILINE)
    if not found or found[0][0] == "-":
        return Outcome(None, said(f"df said {output!r}"))
    used = float(found[0][0])
    files = 0.0 if found[0][1] == "-" else float(found[0][1])
    saw = f"{check.path} {used:.0f}% full, {files:.0f}% of its files used"
    return Outcome(ok=max(used, files) < check.used_percent, saw=saw, figure=max(used, files))


def probe_command(blocking: Blocking, remote: OpenRemote) -> Prober:
    def ask(check: CommandCheck) -> Outcome:
        with remote(check.machine) as machine:
            status, output, error = machine.run(list(check.argv), limit_s=COMMAND_S)
        told = said(error.strip() or output.strip())
        if status != check.status:
            return Outcome(ok=False, saw=f"ended with {status}: {told}" if told else f"ended with {status}")
        if check.output and re.search(check.output, output) is None:
            return Outcome(ok=False, saw=f"{check.output!r} is not in what it says: {told}")
        return Outcome(ok=True, saw=told or f"ended with {status}")

    async def probe(check: CommandCheck) -> Outcome:
        name = f"command {check.machine} {' '.join(check.argv)}"
        return await blocking.call(name, lambda: ask(check))

    return probe
