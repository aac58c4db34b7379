"""What Patroni's keys in ZooKeeper and its members' answers were like while something happened: JSON lines.

One format for three makers: the lab (``record``), the simulation's own models (``Tap``), and people who write
a history by hand. ``replay`` judges all of them by what the models do.

A change of a key lies between ``after_s``, when the look that still found the old content was begun, and
``s``, when the new content was there; a member's answer between ``asked_s`` and ``s``. All are seconds of one
monotonic clock. A change that was undone between two looks is not seen: versions and zxids tell of it.
"""

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from dcctl.testing.simulation.network import DATABASES
from dcctl.testing.simulation.ports import KEYS

if TYPE_CHECKING:
    from dcctl.testing.simulation.world import World

FORMAT = 1
MEMBER_FIELDS = ("state", "role", "timeline", "xlog_location")
"""What is kept of a member's key; its addresses are not."""
SETTINGS = ("ttl", "loop_wait", "retry_timeout", "synchronous_mode", "synchronous_mode_strict", "pause")
ANSWER_FIELDS = ("state", "role", "timeline", "server_version", "pause", "cluster_unlocked", "dcs_last_seen")


@dataclass(frozen=True, slots=True)
class Header:
    """Whose keys, and by which settings. ``made_by``: ``lab`` or ``simulation``; ``zookeeper`` is a real one
    where somebody typed what Patroni does, ``hand`` is all typed."""

    made_by: str
    what: str
    members: tuple[str, ...]
    ttl_s: float
    at: str = ""
    recording: int = FORMAT


@dataclass(frozen=True, slots=True)
class Key:
    """A key's content since some moment between ``after_s`` and ``s``; ``value`` is None where it is gone.

    ``zxid`` is the change's: of a node that is there its mzxid, of one that is gone the last one that its
    folder tells of, which is not older than its end. ``first``: so it was when the recording began.
    """

    s: float
    after_s: float
    key: str
    value: Any
    version: int = 0
    czxid: int = 0
    zxid: int = 0
    owner: int = 0
    first: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What a member's API said to ``GET /primary``; ``code`` is None where nothing came, ``saw`` says why."""

    s: float
    asked_s: float
    member: str
    code: int | None
    role: str = ""
    state: str = ""
    timeline: int | None = None
    location: int | None = None
    streaming: Mapping[str, str] = field(default_factory=dict)
    """Who streams from it, and with which ``sync_state``."""
    saw: str = ""


@dataclass(frozen=True, slots=True)
class Blind:
    """Until ``s`` the keys could not be read."""

    s: float
    blind: str


Line: TypeAlias = Key | Answer | Blind


@dataclass(frozen=True, slots=True)
class Recording:
    """Everything that was seen, in the order in which it was."""

    header: Header
    lines: tuple[Line, ...]

    @property
    def keys(self) -> tuple[Key, ...]:
        return tuple(each for each in self.lines if isinstance(each, Key))

    @property
    def answers(self) -> tuple[Answer, ...]:
        return tuple(each for each in self.lines if isinstance(each, Answer))


def to_json(line: Header | Line) -> str:
    """One line, without what says nothing."""
    keep = ("value",) if isinstance(line, Key) else ("code",) if isinstance(line, Answer) else ()
    fields = {
        name: round(value, 3) if isinstance(value, float) else value
        for name, value in asdict(line).items()
        if name in keep or value not in (None, "", {}, 0, False) or name in ("s", "after_s", "asked_s")
    }
    return json.dumps(fields, separators=(",", ":"))


def parse(text: Iterable[str]) -> Recording:
    """The recording in these lines. Raises ValueError for what is none."""
    rows = [json.loads(row) for row in text if row.strip()]
    if not rows or rows[0].get("recording") != FORMAT:
        raise ValueError(f"not a recording of format {FORMAT}")
    first = rows[0]
    return Recording(
        Header(**{**first, "members": tuple(first["members"])}), tuple(_line(row) for row in rows[1:])
    )


def _line(row: dict[str, Any]) -> Line:
    if "key" in row:
        return Key(**row)
    return Answer(**row) if "member" in row else Blind(**row)


def read(path: Path) -> Recording:
    """The recording in a file, packed (``.gz``) or not; of one that was broken off all whole lines."""
    rows: list[str] = []
    with _opened(path, "rt") as file, suppress(EOFError):
        rows.extend(file)  # what came before the end is kept
    return parse(row for row in rows if row.endswith("\n"))


def write(path: Path, recording: Recording) -> None:
    with writing(path) as file:
        for line in (recording.header, *recording.lines):
            file.write(to_json(line) + "\n")


def renamed(recording: Recording, names: Sequence[str]) -> Recording:
    """The same of members with these ``names``. Raises ValueError where there are not as many."""
    if len(recording.header.members) != len(names):
        raise ValueError(f"{len(recording.header.members)} members, and the models know {len(names)}")
    text = [to_json(each) for each in (recording.header, *recording.lines)]
    for number, name in enumerate(recording.header.members):
        text = [
            each.replace(f'"{name}"', f'"#{number}"').replace(f'/{name}"', f'/#{number}"') for each in text
        ]
    for number, name in enumerate(names):
        text = [each.replace(f'#{number}"', f'{name}"') for each in text]
    return parse(text)


@contextmanager
def writing(path: Path) -> Iterator[IO[str]]:
    """A file that lines can be written to."""
    with _opened(path, "wt") as file:
        yield file


def _opened(path: Path, mode: str) -> IO[Any]:
    packed: Any = gzip.open  # its type does not say that text comes of "t"
    file: IO[Any] = packed(path, mode) if path.suffix == ".gz" else path.open(mode)
    return file


def value_of(key: str, data: bytes) -> Any:
    """What is kept of a key's content: no address, nothing that is not Patroni's own."""
    if key == "leader":
        return data.decode(errors="replace")
    try:
        fields = json.loads(data) if data else {}
    except ValueError:
        return data.decode(errors="replace")[:100]
    if not isinstance(fields, dict):
        return fields
    if key.startswith("members/"):
        return {name: fields[name] for name in MEMBER_FIELDS if name in fields}
    if key == "config":
        return {name: fields[name] for name in SETTINGS if name in fields}
    return fields


class Tap:
    """Writes down what the simulation's models do, as ``record`` writes down what real ones did: begin it
    before the world runs. It leaves nothing to chance, so that a seed's course stays what it is."""

    EVERY_S = 0.25

    def __init__(self, world: "World", what: str = "a simulation") -> None:
        self._world = world
        self._lines: list[Line] = []
        self._last: dict[str, Key] = {}
        self._members = tuple(DATABASES)
        self._what = what
        world.ensemble.watch(f"{KEYS}/", partial(self._note, first=False))
        for path in sorted(world.ensemble.tree):
            if path.startswith(f"{KEYS}/"):
                self._note(path, first=True)
        self._ask()

    @property
    def recording(self) -> Recording:
        ttl_s = self._world.patroni_times.ttl_s
        return Recording(Header("simulation", self._what, self._members, ttl_s), tuple(self._lines))

    def _note(self, path: str, *, first: bool) -> None:
        ensemble, now_s, key = self._world.ensemble, self._world.scheduler.now_s, path[len(KEYS) + 1 :]
        node = ensemble.tree.get(path)
        if node is None:
            self._lines.append(Key(now_s, now_s, key, None, zxid=ensemble.zxid))
            return
        value = value_of(key, node.data)
        line = Key(now_s, now_s, key, value, node.version, node.czxid, node.mzxid, node.ephemeralOwner, first)
        if line != self._last.get(key):  # a transaction may write it many times
            self._lines.append(line)
        self._last[key] = line

    def _ask(self) -> None:
        world = self._world
        now_s = world.scheduler.now_s
        here = world.network.machines["client"]
        for name, database in world.databases.items():
            if not world.network.connected(here, database.machine):
                self._lines.append(Answer(now_s, now_s, name, None, saw="no answer"))
                continue
            streaming = {
                each.name: "sync" if each.name in database.names else "async"
                for each in database.followers
                if database.primary and each.follows(database)
            }
            answer = Answer(
                now_s,
                now_s,
                name,
                200 if world.patroni[name].says_primary else 503,
                role="master" if database.primary else "replica",
                state="running" if database.running else "stopped",
                timeline=database.timeline,
                location=len(database.wal),
                streaming=streaming,
            )
            self._lines.append(answer)
        world.scheduler.after(self.EVERY_S, self._ask)
