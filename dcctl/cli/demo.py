"""``dcctl demo``: the whole path once, each phase a command that a person could have typed.

Every phase is a process of its own: ``lab up`` works on the host, the others inside the operator's
network. A marker in the running lab tells a finished demo from one that was killed, and a lock that the
phases inherit tells whether a killed one's last phase is still ending.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import click

from dcctl.cli.output import emit
from dcctl.cli.session import Session, command_options
from dcctl.errors import Interrupted, Refused
from dcctl.lab import host, up
from dcctl.lab.paths import CACHE, RUN

MARKER = RUN / "demo.json"
LOCK = CACHE / "demo.lock"
ENDING_LIMIT_S = 60.0
"""How long a killed demo's last phase may take to end before the next demo gives up on it."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One command of the demo."""

    title: str
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a phase ended; ``document`` is what it printed with ``-o json``."""

    phase: Phase
    took_s: float
    code: int
    document: Any = None


PHASES = (
    Phase("lab: two clouds, a witness and the networks between them", ("lab", "up")),
    Phase("provision: machines on both clouds", ("provision", "apply", "--yes")),
    Phase("deploy: the database, the documents, the application and the edges, at both sites", ("deploy",)),
    Phase(
        "drill: the OpenStack site goes dark under its clients, dcctl fails over, the site comes back",
        ("drill", "run", "site-power-loss"),
    ),
)
REMOVE = Phase("remove the lab", ("lab", "down"))


@click.command()
@command_options
def demo(session: Session) -> int:
    """Build the lab, lose a whole site while clients work, fail over, bring it back, show what they saw.

    After Ctrl-C the lab is removed; after a failure it is left for looking.
    """
    host.require_root()
    with _alone() as lock:
        _make_room(session, lock)
        outcomes: list[Outcome] = []
        for phase in PHASES:
            outcomes.append(_perform(session, phase, lock))
            if outcomes[-1].code == Interrupted.exit_code:
                _perform(session, REMOVE, lock)
                raise Interrupted("run the demo", saw=f"stopped in `{_typed(phase)}`; the lab is removed")
            if phase is PHASES[0] and outcomes[-1].code == 0:
                _mark("unfinished")
            if outcomes[-1].code != 0:
                break
        else:
            _mark("finished")
    _conclude(session, outcomes)
    return outcomes[-1].code


@contextmanager
def _alone() -> Iterator[IO[str]]:
    """One demo at a time; a killed one's phase holds the lock until it has ended."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with LOCK.open("a+") as lock:
        deadline = time.monotonic() + ENDING_LIMIT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                lock.seek(0)
                owner = lock.read().strip()
                if Path("/proc", owner or "none").exists() or time.monotonic() > deadline:
                    raise Refused(
                        "run the demo",
                        reasons=(f"a demo is running on this host (process {owner})",),
                        next_command="wait for it, or press Ctrl-C there",
                    ) from None
                time.sleep(0.5)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield lock


def _make_room(session: Session, lock: IO[str]) -> None:
    """Refuse a lab that somebody may be looking at; remove one that a killed or failed demo left."""
    if not up.is_up():
        return
    state = json.loads(MARKER.read_text())["state"] if MARKER.exists() else "not from a demo"
    if state == "unfinished":
        _say("demo: an earlier demo did not finish; its lab is removed first")
        if _perform(session, REMOVE, lock).code != 0:
            raise Refused("run the demo", reasons=("what an earlier demo left could not be removed",))
        return
    reason = (
        "a demo finished here and its lab is up" if state == "finished" else "a lab is up that no demo made"
    )
    raise Refused(
        "run the demo", reasons=(reason,), next_command="dcctl status; or make lab-down, then again"
    )


def _perform(session: Session, phase: Phase, lock: IO[str]) -> Outcome:
    """Run one phase in a process that is told to end when this one dies."""
    _say(f"\n== {phase.title}\n   $ {_typed(phase)}")
    began = time.monotonic()
    options = ["-o", session.output, *(["-e", session.environment] if session.environment else [])]
    dcctl = [sys.executable, "-m", "dcctl.cli.main", *options, *phase.argv]
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "TERM", *dcctl],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if session.json else None,
        pass_fds=(lock.fileno(),),
    )
    with _signals_pass_to(process):
        printed, _ = process.communicate()
    took_s = time.monotonic() - began
    _say(f"== {took_s:.1f} s")
    return Outcome(phase, took_s, process.returncode, json.loads(printed) if printed else None)


@contextmanager
def _signals_pass_to(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Ctrl-C reaches the phase from the terminal and is its to answer; a supervisor's stop is passed on."""
    previous = {
        signal.SIGINT: signal.signal(signal.SIGINT, lambda _number, _frame: None),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda _number, _frame: process.terminate()),
        signal.SIGHUP: signal.signal(signal.SIGHUP, lambda _number, _frame: process.terminate()),
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _mark(state: str) -> None:
    MARKER.write_text(json.dumps({"state": state}))


def _conclude(session: Session, outcomes: list[Outcome]) -> None:
    phases = [
        {"command": _typed(each.phase), "took_s": round(each.took_s, 1), "exit_code": each.code}
        for each in outcomes
    ]
    whole = len(outcomes) == len(PHASES)
    document: Mapping[str, Any] = {"phases": phases, "drill": outcomes[-1].document if whole else None}

    def text(console: Any) -> None:
        console.print()
        for each in outcomes:
            console.print(f"{each.took_s:7.1f} s  {_typed(each.phase)}")
        console.print(f"{sum(each.took_s for each in outcomes):7.1f} s  in all")
        console.print()
        if not whole:
            console.print("the lab is left as it is, for looking; `make demo` starts over")
        for command, purpose in NEXT:
            console.print(f"  {command:<44}{purpose}")

    emit(session, document, text)


NEXT = (
    (". .venv/bin/activate", "then, with the lab still up:"),
    ("export DCCTL_ENVIRONMENT=inventories/lab", ""),
    ("dcctl status", "everything on one screen"),
    ("dcctl lab ssh east-db-1", "a shell on a machine"),
    ("dcctl run list", "what was done, and when"),
    ("dcctl drill show last", "the drill again, as a story"),
    ("dcctl drill run site-power-loss --site west", "lose the other site"),
    ("make lab-down", "remove the lab"),
)


def _typed(phase: Phase) -> str:
    return " ".join(("dcctl", *phase.argv))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
