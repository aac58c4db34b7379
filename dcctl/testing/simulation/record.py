"""``python -m dcctl.testing.simulation.record -e NAME --out FILE``: write down, beside a drill, what
Patroni's keys and answers are like. It reads, and changes nothing. It ends with SIGTERM, SIGINT or after
``--for`` seconds.

A member is asked for ``GET /primary``, which it answers from its memory and from PostgreSQL; never for
anything that makes it read ZooKeeper (``dcctl.adapters.patroni``).
"""

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from kazoo.exceptions import NoNodeError

from dcctl.adapters import http
from dcctl.adapters.patroni import PORT
from dcctl.adapters.zookeeper import PORT as VOTERS_PORT
from dcctl.adapters.zookeeper import ZooKeeperSession
from dcctl.config import expand
from dcctl.config.load import load
from dcctl.config.schema import Configuration
from dcctl.errors import DcctlError, Unreachable
from dcctl.network_namespace import enter
from dcctl.testing.simulation import recording
from dcctl.testing.simulation.recording import Answer, Blind, Header, Key, Line
from dcctl.wiring import PATRONI_KEYS

LOOK_EVERY_S = 0.08
LOOK_LIMIT_S = 2.0
ASK_EVERY_S = 0.3
ASK_LIMIT_S = 1.5
WHOLE_LOOKS = 3
"""How often a look is taken that keys came or went during, before it is taken as it is."""
QUIET_S = 1.0
"""A key whose content only goes on counting, or an answer that says the same, is written this often."""
SESSION_S = 6.0
KEPT = ("leader", "sync", "failover", "history", "config", "status")
COUNTING = ("status", "members/")


@dataclass
class Page:
    """The file, which threads write to line by line."""

    file: IO[str]
    clock: Callable[[], float]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _flushed_s: float = 0.0
    lines: int = 0

    def write(self, line: Header | Line) -> None:
        """Whoever kills us finds all but the last second in the file."""
        with self._lock:
            self.file.write(recording.to_json(line) + "\n")
            self.lines += 1
            if self.clock() - self._flushed_s >= QUIET_S:
                self.file.flush()
                self._flushed_s = self.clock()


class Keys:
    """The keys, looked at again and again over one session of ``ZooKeeperSession``."""

    def __init__(self, session: Any, folder: str, members: Sequence[str], page: Page) -> None:
        self._session = session
        self._folder = folder
        self._names = [*KEPT, *(f"members/{name}" for name in members)]
        self._page = page
        self._known: dict[str, Key] = {}
        self._told: dict[str, float] = {}
        self._looked_s: float | None = None
        self._blind = ""

    def look(self) -> None:
        """One look at everything; what changed is written down."""
        began_s = self._page.clock()
        try:
            found = self._read_at_once()
        except Unreachable as error:
            if error.saw != self._blind:
                self._page.write(Blind(self._page.clock(), error.saw or error.sentence()))
            self._blind = error.saw
            return
        self._blind = ""
        for key in found:
            self._note(key)
        self._looked_s = began_s

    def _read_at_once(self) -> list[Key]:
        """Which keys there were at one moment: a look during which one came or went is taken again."""
        for _attempt in range(WHOLE_LOOKS):
            found, whole = self._read()
            if whole:
                break
        return found

    def _read(self) -> tuple[list[Key], bool]:
        """Asked all at once, and the folders first and last: one that is gone was gone by what its folder
        says, and not by what came after it. Whether no key came or went meanwhile."""
        client, session, tried = self._session.client, self._session, "read Patroni's keys"
        folders = {"": self._folder, "members/": f"{self._folder}/members"}
        paths = [f"{self._folder}/{name}" for name in self._names]
        before, asked, after = (
            [session.sent(tried, lambda path=path: client.get_async(path)) for path in each]
            for each in (folders.values(), paths, folders.values())
        )
        began = [self._changed(each) for each in before]
        nodes = [self._answer(each) for each in asked]
        ended = [self._changed(each) for each in after]
        changed = dict(zip(folders, ended, strict=True))
        now_s = self._page.clock()
        after_s = now_s if self._looked_s is None else self._looked_s
        first = self._looked_s is None
        found = []
        for name, node in zip(self._names, nodes, strict=True):
            if node is None:
                zxid = changed["members/" if name.startswith("members/") else ""]
                found.append(Key(now_s, after_s, name, None, zxid=zxid, first=first))
                continue
            data, stat = node
            value = recording.value_of(name, data)
            found.append(
                Key(
                    now_s, after_s, name, value, stat.version, stat.czxid, stat.mzxid,
                    stat.ephemeralOwner or 0, first,
                )
            )  # fmt: skip
        return found, began == ended

    def _changed(self, asked: Any) -> int:
        """When a folder last got or lost a key."""
        folder = self._answer(asked)
        return 0 if folder is None else int(folder[1].pzxid)

    def _answer(self, asked: Any) -> Any:
        try:
            return self._session.wait("read Patroni's keys", asked, LOOK_LIMIT_S)
        except NoNodeError:
            return None

    def _note(self, key: Key) -> None:
        before = self._known.get(key.key)
        if before is None and key.value is None and not key.first:
            return
        if before is not None and _same(before, key):
            return
        counts = (
            key.key.startswith(COUNTING)
            and before is not None
            and key.value is not None
            and (before.czxid, before.owner) == (key.czxid, key.owner)
            and _steady(before.value) == _steady(key.value)
        )
        if counts and key.s - self._told.get(key.key, 0.0) < QUIET_S:
            return
        self._known[key.key], self._told[key.key] = key, key.s
        if key.value is not None or before is not None:
            self._page.write(key)


def _same(one: Key, other: Key) -> bool:
    if one.value is None or other.value is None:
        return one.value is other.value
    return (one.czxid, one.zxid, one.version) == (other.czxid, other.zxid, other.version)


def _steady(value: Any) -> Any:
    """Without what goes on counting."""
    if not isinstance(value, Mapping):
        return value
    return {name: each for name, each in value.items() if name not in ("xlog_location", "optime", "slots")}


class Member:
    """One member's API, asked again and again by a thread of its own."""

    def __init__(self, name: str, url: str, get: Callable[..., tuple[int, str]], page: Page) -> None:
        self._name = name
        self._url = url
        self._get = get
        self._page = page
        self._before: Answer | None = None

    def run(self, ended: threading.Event) -> None:
        while not ended.wait(ASK_EVERY_S):
            answer = self.ask()
            before = self._before
            if before is None or _told(answer) != _told(before) or answer.s - before.s >= QUIET_S:
                self._before = answer
                self._page.write(answer)

    def ask(self) -> Answer:
        asked_s, name = self._page.clock(), self._name
        try:
            code, text = self._get(self._url, limit_s=ASK_LIMIT_S, tried="ask Patroni", on=name)
            return parse_answer(name, asked_s, self._page.clock(), code, text)
        except (DcctlError, ValueError) as error:
            saw = getattr(error, "saw", "") or type(error).__name__
            return Answer(self._page.clock(), asked_s, name, None, saw=saw)


def parse_answer(name: str, asked_s: float, s: float, code: int, text: str) -> Answer:
    """What a member said. Raises ValueError for what is no member's answer."""
    own = json.loads(text)
    if not isinstance(own, dict):
        raise ValueError("not a member's answer")  # noqa: TRY004  # of the text, not of our types
    positions = own.get("xlog") or {}
    streaming = {
        str(each.get("application_name")): str(each.get("sync_state"))
        for each in own.get("replication") or ()
        if each.get("state") == "streaming"
    }
    return Answer(
        s,
        asked_s,
        name,
        code,
        role=str(own.get("role", "")),
        state=str(own.get("state", "")),
        timeline=own.get("timeline"),
        location=positions.get("location", positions.get("received_location")),
        streaming=streaming,
    )


def _told(answer: Answer) -> tuple[Any, ...]:
    return answer.code, answer.role, answer.state, answer.timeline, dict(answer.streaming), answer.saw


def main(argv: Sequence[str] | None = None) -> int:
    options = _options(argv)
    ended = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_told: ended.set())
    try:
        lines = record(options.environment, Path(options.out), options.what, ended, options.for_s)
    except DcctlError as error:
        print(error.sentence(), file=sys.stderr)
        return error.exit_code
    print(f"record: {lines} lines in {options.out}", file=sys.stderr)
    return 0


def record(environment: str | None, out: Path, what: str, ended: threading.Event, for_s: float) -> int:
    """Write ``out`` until ``ended``; how many lines there are. Raises ConfigurationError and Unreachable."""
    configuration = load(environment)
    if configuration.network_namespace:
        enter(configuration.network_namespace)
    databases = {each.name: each.address for each in expand.with_role(configuration, "postgresql")}
    folder = PATRONI_KEYS.format(environment=configuration.environment)
    session = ZooKeeperSession(_voters(configuration), session_s=SESSION_S, clock=time.monotonic)
    with recording.writing(out) as file:
        page = Page(file, time.monotonic)
        try:
            session.connect(limit_s=10.0)
            at = datetime.now(UTC).isoformat(timespec="seconds")
            page.write(Header("lab", what, tuple(databases), _ttl_s(session, folder), at))
            members = [
                Member(name, f"http://{address}:{PORT}/primary", http.get, page)
                for name, address in databases.items()
            ]
            threads = [threading.Thread(target=each.run, args=(ended,)) for each in members]
            for thread in threads:
                thread.start()
            keys = Keys(session, folder, tuple(databases), page)
            over_s = time.monotonic() + for_s
            while not ended.wait(LOOK_EVERY_S) and time.monotonic() < over_s:
                keys.look()
            ended.set()
            for thread in threads:
                thread.join()
        finally:
            ended.set()
            session.close()
    return page.lines


def _voters(configuration: Configuration) -> str:
    """The witness first: no loss of a site takes it along."""
    voters = expand.with_role(configuration, "zookeeper")
    nearest = sorted(voters, key=lambda each: each.place in configuration.sites)
    return ",".join(f"{each.address}:{VOTERS_PORT}" for each in nearest)


def _ttl_s(session: Any, folder: str) -> float:
    answer = session.read(f"{folder}/config", LOOK_LIMIT_S)
    settings = json.loads(answer[0]) if answer is not None else {}
    return float(settings.get("ttl", 30))


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dcctl.testing.simulation.record", description=__doc__)
    parser.add_argument("-e", "--environment", help="as dcctl's own option")
    parser.add_argument("--out", required=True, help="the file; packed where it ends with .gz")
    parser.add_argument("--what", default="", help="what happens meanwhile, for who reads it")
    parser.add_argument("--for", dest="for_s", type=float, default=3600.0, help="seconds at most")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
