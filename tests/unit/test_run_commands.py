"""``dcctl run pause``, ``resume`` and ``abort`` as they are typed, of a run that acts. The registry and what
is said of automation are in memory, the run and the command are real."""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dcctl.adapters.zookeeper import SharedJournal
from dcctl.cli import run as commands
from dcctl.cli.main import run as dcctl
from dcctl.cli.move import asked_of
from dcctl.config.schema import Configuration
from dcctl.domain.automation import LastAction
from dcctl.domain.run import Asked, Wish
from dcctl.domain.step import Step, Work
from dcctl.errors import DcctlError
from dcctl.shell import Interruption, WallClock, perform
from dcctl.testing.automation import FakeAutomations
from dcctl.testing.clock import VirtualClock
from dcctl.testing.journal import MemoryJournal
from dcctl.testing.runs import FakeRegistry, FakeRuns
from dcctl.wiring import automation
from dcctl.wiring import runs as wiring

GOOD = Path(__file__).parent / "cases" / "config" / "good.yaml"
RUN = "20260102-030405-failover-aaaa"
LIMIT_S = 60


class Quick(WallClock):
    """Looks more often than a person would wait for."""

    def sleep(self, seconds: float) -> None:
        time.sleep(min(seconds, 0.01))


class Heard(FakeRuns):
    """``heard`` is set once something was asked."""

    def __init__(self, registry: FakeRegistry, *, who: str) -> None:
        super().__init__(registry, who=who)
        self.heard = threading.Event()

    def ask(self, run: str, asked: Asked, *, limit_s: float) -> None:
        super().ask(run, asked, limit_s=limit_s)
        self.heard.set()


@dataclass
class Acting:
    """A run of two steps in a thread of its own; the first ends once something was asked of it."""

    registry: FakeRegistry = field(default_factory=lambda: FakeRegistry(VirtualClock()))
    said: FakeAutomations = field(default_factory=FakeAutomations)
    by: str = "automation"
    done: list[str] = field(default_factory=list)
    error: DcctlError | None = None

    def __post_init__(self) -> None:
        self.typed = Heard(self.registry, who="ann@laptop")
        self._began = threading.Event()
        self._thread = threading.Thread(target=self._act)

    def begin(self) -> None:
        self._thread.start()
        assert self._began.wait(LIMIT_S)

    def end(self) -> None:
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive()

    def _act(self) -> None:
        runs = FakeRuns(self.registry, who="controller@witness-1")
        runs.begin(RUN, "failover apply --lost east", limit_s=LIMIT_S)
        journal = SharedJournal(MemoryJournal(RUN), runs, limit_s=LIMIT_S)
        about = {"command": "failover apply --lost east", "site": "east", "by": self.by}
        try:
            perform(
                self._work(),
                clock=Quick(),
                journal=journal,
                about=about,
                interruption=Interruption(),
                asked=asked_of(runs, RUN),
            )
        except DcctlError as error:
            self.error = error

    def _work(self) -> Work[None]:
        yield Step("one", "east", LIMIT_S, self._one)
        yield Step("two", "east", LIMIT_S, lambda: self.done.append("two"))

    def _one(self) -> None:
        self._began.set()
        assert self.typed.heard.wait(LIMIT_S)
        self.done.append("one")

    def types(self) -> list[str]:
        return [each.type for each in self.registry.events[RUN] if each.type.startswith("run.")]

    # What the commands are given in the place of ZooKeeper.

    @contextmanager
    def known(self, configuration: Configuration) -> Iterator[wiring.Known]:
        runs: Any = self.typed
        active = runs.observe_active(limit_s=LIMIT_S)
        yield wiring.Known(configuration, runs, "", active, runs.observe_runs(limit_s=LIMIT_S))

    @contextmanager
    def automations(self, _configuration: Configuration) -> Iterator[FakeAutomations]:
        yield self.said


@pytest.fixture
def acting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Acting:
    made = Acting()
    monkeypatch.setattr(wiring, "known", made.known)
    monkeypatch.setattr(automation, "automations", made.automations)
    monkeypatch.setattr(commands, "LOOK_EVERY_S", 0.01)
    shutil.copy(GOOD, tmp_path / "dcctl.yaml")
    monkeypatch.chdir(tmp_path)
    return made


def typed(*words: str) -> int:
    return dcctl(["-e", str(Path.cwd()), "run", *words])


def test_a_run_that_acts_is_paused_and_goes_on_by_command(
    acting: Acting, capsys: pytest.CaptureFixture[str]
) -> None:
    acting.begin()
    try:
        assert typed("pause", RUN, "--reason", "one moment") == 0
        assert f"run {RUN} is paused" in capsys.readouterr().out
        assert acting.done == ["one"], "what was under way ended, and nothing more was begun"
        (paused,) = [each for each in acting.registry.events[RUN] if each.type == "run.paused"]
        assert paused.fields["because"] == ": one moment"
        assert typed("pause", RUN) == 5
        assert f"run {RUN} is paused" in capsys.readouterr().err
        assert acting.done == ["one"]
    finally:
        acting.typed.heard.set()
        code = typed("resume", RUN)
        acting.end()
    assert code == 0
    assert f"run {RUN} goes on" in capsys.readouterr().out
    assert (acting.done, acting.error) == (["one", "two"], None)
    assert acting.types() == ["run.started", "run.paused", "run.continued", "run.done"]


@pytest.mark.parametrize("by", ["automation", "bob@ops"])
def test_that_an_automatic_run_was_aborted_is_kept_for_the_controller(acting: Acting, by: str) -> None:
    acting.by = by
    acting.said.last = LastAction("east", "", VirtualClock().now())
    before = acting.said.last
    acting.begin()
    try:
        code = typed("abort", RUN, "--reason", "I am there already")
    finally:
        acting.typed.heard.set()
        acting.end()
    assert code == 0
    assert acting.done == ["one"]
    assert acting.types() == ["run.started", "run.aborted"]
    if by != "automation":
        assert acting.said.last == before, "a person's run is no automatic one"
        return
    last = acting.said.last
    assert (last.site, last.run, last.done) == ("east", RUN, False)
    assert last.aborted.endswith(": I am there already")


def test_a_run_that_listens_to_nobody_is_not_asked(
    acting: Acting, capsys: pytest.CaptureFixture[str]
) -> None:
    """A drill would neither pause nor say so: who began it is told instead, and nothing is waited for."""
    drill = "20260102-040506-drill-bbbb"
    FakeRuns(acting.registry, who="ann@laptop").begin(drill, "drill run site-cut", limit_s=LIMIT_S)
    for words in (("pause", drill), ("abort", drill, "--reason", "x"), ("skip", "x", "--reason", "y")):
        assert typed(*words) == 5
        said = capsys.readouterr().err
        assert "listens to nobody: Ctrl-C ends it where ann@laptop began it" in said
        assert f"run watch {drill}" in said
    assert acting.registry.asked == {}


def test_what_is_asked_of_a_run_in_the_middle_of_a_long_step_stays_asked(
    acting: Acting, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "OBEYED_LIMIT_S", 0.0)
    monkeypatch.setattr(acting.typed, "ask", partial(FakeRuns.ask, acting.typed))
    acting.begin()
    try:
        assert typed("pause", RUN, "--reason", "one moment") == 6
        said = capsys.readouterr().err
        assert "it was asked, and obeys once what is under way has ended" in said
        assert f"run {RUN}, step one on east" in said
        assert [each.reason for each in acting.registry.asked[RUN]] == ["one moment"]
        acting.typed.withdraw(RUN, Wish.PAUSE, limit_s=LIMIT_S)
    finally:
        acting.typed.heard.set()
        acting.end()
    assert acting.done == ["one", "two"]
