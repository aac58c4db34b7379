"""``ports.Journal`` on this machine's disk: one file per run, and one active run at a time.

``<state_directory>/runs/<run>/journal.jsonl`` holds one JSON object per line, each on disk before
``append`` returns. A crash, or a disk that filled up, can leave a torn last line: readers leave it out.
``<state_directory>/run.lock`` is held (flock(2)) by the process whose run is active; the kernel lets go
of it when that process ends, however it ends, so a stale lock cannot exist. The journal itself is held
in the same way, which is what tells an active run from one that was broken off.
"""

import contextlib
import fcntl
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from dcctl.domain.event import Event
from dcctl.domain.run import name_run
from dcctl.errors import NotFound, Refused, Unreachable

Now = Callable[[], datetime]
NAMED = 5
"""So many runs are named where a word could mean any of them."""


@contextlib.contextmanager
def start_run(state_directory: Path, *, environment: str, what: str, now: Now) -> Iterator["FileJournal"]:
    """A new run's journal; no other run of this environment can be active on this machine meanwhile.

    ``what`` is one word, for the run's name. Raises Refused, which names the active run, and Unreachable
    when the state directory cannot be written.
    """
    run = name_run(now(), what, secrets.token_hex(2))
    with _only_run(state_directory, environment=environment, run=run):
        path = _journal_of(state_directory, run)
        with _on_disk("write the journal", path):
            path.parent.mkdir(parents=True)
            _sync(path.parent.parent)
        with FileJournal(path, run, now=now) as journal:
            yield journal


@contextlib.contextmanager
def resume_run(
    state_directory: Path, run: str, *, environment: str, now: Now
) -> Iterator[Callable[[Sequence[Event]], tuple["FileJournal", tuple[Event, ...]]]]:
    """The right of ``run`` to act on this machine, and what opens its journal once it may act anywhere.

    That one is given the events that every machine can read. A journal on this disk that does not go on from
    them (another machine went on with the run) is put aside beside it. Returned with the journal is what
    this disk has beyond them. Raises Refused, which names the run that is active here, and Unreachable.
    """
    path = _journal_of(state_directory, run)
    opened: list[FileJournal] = []

    def open_journal(kept: Sequence[Event]) -> tuple[FileJournal, tuple[Event, ...]]:
        with _on_disk("write the journal", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            here = _events(path.read_bytes(), path) if path.exists() else ()
            if here[: len(kept)] != tuple(kept):
                here = ()
                _replace(path, kept)
            _sync(path.parent.parent)
        opened.append(FileJournal(path, run, now=now))
        return opened[0], here[len(kept) :]

    with _only_run(state_directory, environment=environment, run=run):
        try:
            yield open_journal
        finally:
            for journal in opened:
                journal.__exit__()


def _replace(path: Path, events: Sequence[Event]) -> None:
    """Write ``events`` in place of the journal, which is kept under another name: whole, or not at all."""
    made = path.with_suffix(".new")
    with made.open("wb") as file:
        file.write(b"".join(_line(event) for event in events))
        os.fsync(file.fileno())
    if path.exists():
        path.rename(path.with_name(f"journal-until-{len(events)}.jsonl"))
    made.rename(path)


def is_active(state_directory: Path, run: str) -> bool:
    """Whether the process of this run lives, on this machine."""
    try:
        journal = _journal_of(state_directory, run).open("rb")
    except FileNotFoundError:
        return False
    with journal:
        try:
            fcntl.flock(journal, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def runs(state_directory: Path) -> tuple[str, ...]:
    """The names of all runs, oldest first."""
    return tuple(sorted(path.parent.name for path in (state_directory / "runs").glob("*/journal.jsonl")))


def find_run(state_directory: Path, given: str, others: Sequence[str] = ()) -> str:
    """The one run whose name starts or ends with ``given``; ``last`` is the newest. Raises NotFound.

    ``others`` are runs that other machines know.
    """
    names = tuple(sorted({*runs(state_directory), *others}))
    matches = (
        names[-1:] if given == "last" else [n for n in names if n.startswith(given) or n.endswith(given)]
    )
    if given in names:
        return given
    if len(matches) == 1:
        return matches[0]
    raise NotFound(
        "find the run",
        on=given,
        saw=_which(matches) if matches else f"{len(names)} runs, none of that name",
        next_command="dcctl run list",
    )


def _which(matches: Sequence[str]) -> str:
    """The newest of many."""
    more = f" or {len(matches) - NAMED} older ones" if len(matches) > NAMED else ""
    return f"it could be {', '.join(matches[-NAMED:])}{more}"


def read_run(state_directory: Path, run: str) -> tuple[Event, ...]:
    """The events of a run, whether it is active or over. Raises NotFound."""
    path = _journal_of(state_directory, run)
    if not path.exists():
        raise NotFound("read the journal", on=run, saw=f"there is no {path}", next_command="dcctl run list")
    with _on_disk("read the journal", path):
        return _events(path.read_bytes(), path)


def _journal_of(state_directory: Path, run: str) -> Path:
    return state_directory / "runs" / run / "journal.jsonl"


class FileJournal:
    """``ports.Journal`` over one file. Opening an existing one goes on where it ended."""

    def __init__(self, path: Path, run: str, *, now: Now) -> None:
        self.run = run
        self._path = path
        self._now = now
        self._lock = threading.Lock()
        with _on_disk("open the journal", path):
            self._file = path.open("ab", buffering=0)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            content = path.read_bytes()
            self._size = _whole(content)
            self._file.truncate(self._size)
            _sync(path.parent)
        # Nobody else writes it while we hold its lock: what is there is read once.
        self._events = list(_events(content, path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def append(self, type: str, fields: Mapping[str, Any]) -> Event:
        with self._lock, _on_disk("write the journal", self._path):
            seq = len(self._events) + 1
            line = _line(Event(at=self._now(), run=self.run, seq=seq, type=type, fields=dict(fields)))
            try:
                self._write(line)
            except OSError:
                with contextlib.suppress(OSError):
                    self._file.truncate(self._size)
                raise
            self._size += len(line)
            self._events += _events(line, self._path)  # as whoever reads it sees it
            return self._events[-1]

    def _write(self, line: bytes) -> None:
        rest = memoryview(line)
        while rest:
            rest = rest[self._file.write(rest) :]
        os.fsync(self._file.fileno())

    def events(self) -> tuple[Event, ...]:
        return tuple(self._events)


@contextlib.contextmanager
def _only_run(state_directory: Path, *, environment: str, run: str) -> Iterator[None]:
    path = state_directory / "run.lock"
    with _on_disk("take the run lock", path):
        state_directory.mkdir(parents=True, exist_ok=True)
        lock = path.open("a+")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            active, _space, process = (lock.read().strip() or "unknown unknown").partition(" ")
            raise Refused(
                "start a run",
                on=environment,
                reasons=(f"run {active} is active on this machine (process {process})",),
                next_command=f"dcctl run show {active}",
            ) from None
        with _on_disk("take the run lock", path):
            lock.truncate(0)
            lock.write(f"{run} {os.getpid()}\n")
            lock.flush()
        yield
        # Unlocked by closing. The file stays: removing it would let two processes lock different files.


def _line(event: Event) -> bytes:
    document = {
        "at": event.at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "run": event.run,
        "seq": event.seq,
        "type": event.type,
        "fields": dict(event.fields),
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _whole(content: bytes) -> int:
    """The length of ``content`` without a torn last line."""
    return content.rfind(b"\n") + 1


def _events(content: bytes, path: Path) -> tuple[Event, ...]:
    events = []
    for number, line in enumerate(content[: _whole(content)].splitlines(), start=1):
        try:
            document = json.loads(line)
            document["at"] = datetime.fromisoformat(document["at"])
            events.append(Event(**document))
        except (ValueError, KeyError, TypeError) as error:
            raise Unreachable(
                "read the journal", on=f"{path}:{number}", saw=f"not an event: {error}"
            ) from error
    return tuple(events)


def _sync(folder: Path) -> None:
    """Make the folder's own entries durable: fsync of a file does not (fsync(2))."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _on_disk(tried: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unreachable(tried, on=str(path), saw=error.strerror or str(error)) from error
