"""Operators who are killed: one begins a move, dies after its first step; the next one goes on elsewhere …

Each life is a process of the command line with one of two state directories, which know nothing of each
other: what one left for the next is in ZooKeeper. Life number N is killed after the N-th thing that it has
brought to its end, until one lives to the end of the run: in one move somebody dies at every boundary of it.
"""

import contextlib
import itertools
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from moving import PATIENCE_S, wait_for
from stack import Stack

from dcctl.adapters.journal import read_run, runs
from dcctl.config.load import load
from dcctl.domain.event import Event
from dcctl.domain.run import Outcome, Run, decide_run
from dcctl.errors import DcctlError
from dcctl.wiring import runs as wiring_runs

LIVES_AT_MOST = 40
LOOK_S = 0.005
BEGINS, DONE = ("run.started", "run.resumed"), ("step.done", "wait.done")
KILLED, REFUSED, FAILED_MIDWAY = -9, 5, 6


@dataclass
class Operators:
    """``folders`` are the environment as two machines have it, ``states`` what each of them remembers."""

    folders: tuple[Path, Path]
    states: tuple[Path, Path]
    died_after: list[str] = field(default_factory=list)
    """What each one that was killed had just done."""

    @classmethod
    def of(cls, stack: Stack, folder: Path) -> "Operators":
        """The stack's own machine, and one more in ``folder``."""
        document = yaml.safe_load((stack.folder / "dcctl.yaml").read_text())
        document["state_directory"] = str(folder / ".dcctl")
        (folder / "dcctl.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
        (folder / "group_vars").symlink_to((stack.folder / "group_vars").resolve())
        return cls((stack.folder, folder), (load(str(stack.folder)).state_directory, folder / ".dcctl"))

    def carry_out(self, *order: str) -> Run:
        """The run, done, as every machine reads it."""
        self.died_after, run, code = [], "", KILLED
        for life in itertools.count(1):
            assert life <= LIVES_AT_MOST
            run, code = self._until_it_is_over(order, run, life)
            if code == 0:
                return self._done_run(run)
            wait_for(self._is_dead)
        raise AssertionError

    def _until_it_is_over(self, order: Sequence[str], run: str, life: int) -> tuple[str, int]:
        """One life; who is refused, or stops, because something settles still, begins it again."""
        ends_s = time.monotonic() + PATIENCE_S
        while True:
            run, code, said = self._live(order, run, life)
            if code == REFUSED and run and self._outcome(run) is Outcome.DONE:
                return run, 0  # it was killed between its last word and its end
            if code not in (REFUSED, FAILED_MIDWAY):
                assert code in (0, KILLED), said
                return run, code
            assert time.monotonic() < ends_s, said
            time.sleep(1.0)

    def _live(self, order: Sequence[str], run: str, life: int) -> tuple[str, int, str]:
        folder, state = self.folders[(life - 1) % 2], self.states[(life - 1) % 2]
        lives, known = self._lives(run), set(runs(state))
        words = ("run", "resume", run) if run else order
        argv = [sys.executable, "-m", "dcctl.cli.main", "-e", str(folder), *words, "--yes"]
        log = self.folders[1] / "life.log"
        with log.open("w") as output, subprocess.Popen(argv, stdout=output, stderr=output) as process:
            try:
                while process.poll() is None:
                    begun = run or max(set(runs(state)) - known, default="")
                    done = _done(state, begun, lives)
                    if len(done) >= life:
                        process.kill()
                        process.wait()
                        self.died_after.append(done[-1])
                    time.sleep(LOOK_S)
            finally:
                process.kill()
        code = process.returncode
        if not run and code != REFUSED:
            run = max(set(runs(state)) - known)
        return run, code, log.read_text()

    def _lives(self, run: str) -> int:
        """How many of this run there were, by the machine that went furthest."""
        return max(len(_begins(_events(state, run))) for state in self.states)

    def _is_dead(self) -> bool:
        """Whether the session of whoever was killed has ended, or nobody acts any more."""
        with wiring_runs.known(load(str(self.folders[0]))) as known:
            active = known.active
            return not known.dark and (active is None or not active.alive)

    def _kept(self, run: str) -> tuple[Event, ...]:
        """Its events, as every machine can read them."""
        kept: list[tuple[Event, ...]] = []

        def read() -> bool:
            with wiring_runs.known(load(str(self.folders[0]))) as known, contextlib.suppress(DcctlError):
                kept.extend([] if known.kept is None else [known.kept.events(run, limit_s=30)])
            return bool(kept)

        wait_for(read)
        return kept[0]

    def _outcome(self, run: str) -> Outcome:
        return decide_run(run, self._kept(run), active=False).outcome

    def _done_run(self, run: str) -> Run:
        events = self._kept(run)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert len(_begins(events)) >= len(self.died_after)
        found = decide_run(run, events, active=False)
        assert found.outcome is Outcome.DONE
        return found


def _done(state: Path, run: str, lives: int) -> list[str]:
    """What the life after so many has brought to its end so far."""
    events = _events(state, run)
    begins = _begins(events)
    mine = events[begins[-1] :] if len(begins) > lives else ()
    return [str(each.fields.get("step") or each.fields.get("wait")) for each in mine if each.type in DONE]


def _begins(events: Sequence[Event]) -> list[int]:
    return [number for number, each in enumerate(events) if each.type in BEGINS]


def _events(state: Path, run: str) -> tuple[Event, ...]:
    try:
        return read_run(state, run) if run in runs(state) else ()
    except DcctlError:  # it is just being written anew
        return ()
