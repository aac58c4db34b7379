"""The journal on disk: what is appended is there, whatever happens to the process afterwards."""

import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dcctl.adapters.journal import FileJournal, find_run, is_active, read_run, resume_run, runs, start_run
from dcctl.errors import NotFound, Refused, Unreachable
from dcctl.ports import Journal
from dcctl.testing.clock import VirtualClock
from dcctl.testing.journal import MemoryJournal

CLOCK = VirtualClock()


@pytest.fixture(params=["memory", "file"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    if request.param == "memory":
        yield MemoryJournal("r1", now=CLOCK.now)
    else:
        with FileJournal(tmp_path / "journal.jsonl", "r1", now=CLOCK.now) as opened:
            yield opened


def test_events_are_numbered_and_read_back_as_they_were(journal: Journal) -> None:
    first = journal.append("run.started", {"command": "дерзай", "list": [1, None]})
    second = journal.append("run.done", {})
    assert (first.seq, second.seq) == (1, 2)
    assert first.run == "r1"
    assert first.at == CLOCK.now()
    assert journal.events() == (first, second)


def test_an_empty_journal_has_no_events(journal: Journal) -> None:
    assert journal.events() == ()


def test_one_event_is_one_line_of_json(tmp_path: Path) -> None:
    with FileJournal(tmp_path / "j", "r1", now=CLOCK.now) as journal:
        journal.append("step.started", {"step": "one\ntwo"})
    (line,) = (tmp_path / "j").read_text().splitlines()
    assert json.loads(line) == {
        "at": "2026-01-01T00:00:00Z",
        "run": "r1",
        "seq": 1,
        "type": "step.started",
        "fields": {"step": "one\ntwo"},
    }


def test_a_torn_last_line_is_left_out_and_written_over(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with FileJournal(path, "r1", now=CLOCK.now) as journal:
        first = journal.append("run.started", {})
    with path.open("ab") as file:
        file.write(b'{"at":"2026-01-01T00:00:00Z","run":"r1","se')
    with FileJournal(path, "r1", now=CLOCK.now) as journal:
        assert journal.events() == (first,)
        second = journal.append("run.done", {})
        assert second.seq == 2
        assert journal.events() == (first, second)


def test_a_damaged_line_in_the_middle_is_told_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "r1" / "journal.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text('{"at":\n{}\n')
    with pytest.raises(Unreachable, match=r"journal.jsonl:1: not an event"):
        read_run(tmp_path, "r1")


def test_a_full_disk_is_one_sentence_and_leaves_whole_lines(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands in for the full disk: write(2) fails midway through a line."""
    path = tmp_path / "j"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with FileJournal(path, "r1", now=CLOCK.now) as journal:
            first = journal.append("run.started", {})
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, limits[1]))
            with pytest.raises(Unreachable, match=r"write the journal on .*: File too large"):
                journal.append("step.started", {})
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            assert path.read_bytes().endswith(b"\n")
            second = journal.append("run.failed", {})
            assert journal.events() == (first, second)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def start(state: Path, what: str = "provision") -> str:
    with start_run(state, environment="test", what=what, now=CLOCK.now) as journal:
        journal.append("run.started", {})
        assert is_active(state, journal.run)
        return journal.run


def test_a_run_has_a_folder_and_can_be_read(tmp_path: Path) -> None:
    run = start(tmp_path)
    assert run.startswith("20260101-000000-provision-")
    assert [event.type for event in read_run(tmp_path, run)] == ["run.started"]
    assert runs(tmp_path) == (run,)
    assert not is_active(tmp_path, run)


def test_a_second_run_is_refused_and_the_first_is_named(tmp_path: Path) -> None:
    with start_run(tmp_path, environment="test", what="provision", now=CLOCK.now) as journal:
        with pytest.raises(Refused) as caught:
            start(tmp_path, "deploy")
        assert journal.run in caught.value.sentence()
        assert str(os.getpid()) in caught.value.sentence()
        assert caught.value.next_command == f"dcctl run show {journal.run}"
        assert runs(tmp_path) == (journal.run,)
    start(tmp_path, "deploy")


def test_other_environments_run_meanwhile(tmp_path: Path) -> None:
    with start_run(tmp_path / "one", environment="one", what="provision", now=CLOCK.now):
        start(tmp_path / "two")


@pytest.fixture
def killed_run(tmp_path: Path) -> str:
    """The name of a run whose process was killed with SIGKILL between a step and its end."""
    program = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from dcctl.adapters.journal import start_run
        from dcctl.shell import WallClock

        with start_run(Path(sys.argv[1]), environment="test", what="drill", now=WallClock().now) as journal:
            journal.append("run.started", {})
            journal.append("step.started", {"step": "cut", "target": "east"})
            print(journal.run, flush=True)
            time.sleep(60)
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        run = process.stdout.readline().strip()
        assert is_active(tmp_path, run)
        with pytest.raises(Refused, match=run):
            start(tmp_path)
    finally:
        process.kill()
        process.communicate()
    return run


def test_a_killed_run_does_not_block_the_next_and_its_journal_is_whole(
    tmp_path: Path, killed_run: str
) -> None:
    assert not is_active(tmp_path, killed_run)
    assert [event.type for event in read_run(tmp_path, killed_run)] == ["run.started", "step.started"]
    start(tmp_path)


def test_a_lock_that_names_nobody_is_still_a_lock(tmp_path: Path) -> None:
    with (tmp_path / "run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Refused, match="run unknown is active"):
            start(tmp_path)


def test_a_state_directory_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unreachable, match=r"take the run lock on .*: File exists"):
        start(tmp_path / "file")


@pytest.mark.parametrize(
    ("given", "finds"),
    [
        ("last", lambda names: names[-1]),
        ("{0}", lambda names: names[0]),
        ("20260101-000000-p", lambda names: next(name for name in names if "-p" in name)),
    ],
)
def test_a_run_is_found_by_part_of_its_name(
    tmp_path: Path, given: str, finds: Callable[[tuple[str, ...]], str]
) -> None:
    for what in ("deploy", "provision"):
        start(tmp_path, what)
    names = runs(tmp_path)
    assert find_run(tmp_path, given.format(*names)) == finds(names)


@pytest.mark.parametrize(
    ("given", "saw"), [("nowhere", "2 runs, none of that name"), ("2026", "it could be 2026")]
)
def test_a_run_that_is_not_found_is_told(tmp_path: Path, given: str, saw: str) -> None:
    for what in ("deploy", "provision"):
        start(tmp_path, what)
    with pytest.raises(NotFound, match=saw):
        find_run(tmp_path, given)


def test_nothing_has_run_yet(tmp_path: Path) -> None:
    assert runs(tmp_path) == ()
    with pytest.raises(NotFound, match="0 runs"):
        find_run(tmp_path, "last")
    with pytest.raises(NotFound, match="there is no"):
        read_run(tmp_path, "r1")


def test_a_run_is_resumed_where_nothing_is_known_of_it(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    run = start(here)
    kept = read_run(here, run)
    with resume_run(there, run, environment="test", now=CLOCK.now) as opened:
        journal, beyond = opened(kept)
        assert beyond == ()
        journal.append("run.resumed", {})
        assert is_active(there, run)
        with pytest.raises(Refused, match=run), resume_run(there, run, environment="test", now=CLOCK.now):
            pass
    assert [event.seq for event in read_run(there, run)] == [1, 2]


def test_what_did_not_reach_the_others_is_told_when_it_is_resumed_here(tmp_path: Path) -> None:
    """Its last line is torn: that was never said. The one before was, here alone."""
    run = start(tmp_path)
    path = tmp_path / "runs" / run / "journal.jsonl"
    kept = read_run(tmp_path, run)
    with FileJournal(path, run, now=CLOCK.now) as journal:
        last = journal.append("step.started", {"step": "one", "target": "east"})
    with path.open("ab") as file:
        file.write(b'{"at": "2026-')
    with resume_run(tmp_path, run, environment="test", now=CLOCK.now) as opened:
        journal, beyond = opened(kept)
        assert beyond == (last,)
        assert journal.append("run.resumed", {}).seq == 3


def test_a_journal_that_another_machine_went_on_from_is_put_aside(tmp_path: Path) -> None:
    run = start(tmp_path)
    path = tmp_path / "runs" / run / "journal.jsonl"
    kept = read_run(tmp_path, run)
    with FileJournal(path, run, now=CLOCK.now) as journal:
        journal.append("step.started", {"step": "one", "target": "east"})
    told = path.read_bytes()
    elsewhere = (*kept, replace(kept[0], seq=2, type="run.resumed"))
    with resume_run(tmp_path, run, environment="test", now=CLOCK.now) as opened:
        journal, beyond = opened(elsewhere)
        assert (beyond, journal.events()) == ((), elsewhere)
    assert (path.parent / "journal-until-2.jsonl").read_bytes() == told
    assert runs(tmp_path) == (run,)


def test_what_is_asked_of_an_open_journal_is_what_a_later_reader_finds(tmp_path: Path) -> None:
    """It is asked with every look of a run: the disk is read when it is opened, and not again."""
    path = tmp_path / "journal.jsonl"
    with FileJournal(path, "r1", now=CLOCK.now) as journal:
        journal.append("drill.sought", {"names": ("a", "b")})
    with FileJournal(path, "r1", now=CLOCK.now) as journal:
        journal.append("step.started", {"step": "one", "roles": ("x",)})
        asked = journal.events()
    with FileJournal(path, "r1", now=CLOCK.now) as journal:
        assert journal.events() == asked
        assert [event.fields for event in asked] == [
            {"names": ["a", "b"]},
            {"step": "one", "roles": ["x"]},
        ]
