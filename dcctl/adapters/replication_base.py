"""``ports.ReplicationBase`` in one SQLite file: what both clusters last agreed on. A cache, never the truth.

Rows are kept as the texts that the listing gave, in chunks of a page, compressed: an unchanged page costs
a digest and no parsing. Losing the file costs requests; a damaged one is set aside and begun anew.
"""

import contextlib
import fcntl
import json
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from dcctl.domain.replication import Row, Side, Stamp
from dcctl.domain.replication_pass import Held
from dcctl.domain.replication_token import Agreed
from dcctl.errors import Refused, Unreachable

VERSION = "1"
SEPARATOR = b"\n"
TABLES = """
create table if not exists account (name text primary key, pair text) without rowid;
create table if not exists about (key text primary key, value text) without rowid;
create table if not exists chunk (container text, after blob, upto blob, digest blob, rows blob,
    count integer, primary key (container, after)) without rowid;
create table if not exists progress (container text primary key, marker text, began integer) without rowid;
create table if not exists complete (container text primary key, began integer, rows integer) without rowid;
create table if not exists token (container text, name blob, hash text, a integer, b integer,
    primary key (container, name)) without rowid;
create table if not exists settings (container text primary key, agreed text) without rowid;
create table if not exists outcome (container text primary key, at integer, tally text) without rowid;
create table if not exists undecided (container text, name text, side text, stamp integer, bytes integer,
    reason text, primary key (container, name)) without rowid;
"""
END = b"\xff"
"""Greater than every name: no UTF-8 begins with it."""


class SqliteBase:
    """One file for one pair. ``rebuilt`` tells that an unusable file was set aside on opening."""

    def __init__(
        self, path: Path, pair: str, *, accounts: Mapping[str, str] | None = None, exclusive: bool = True
    ) -> None:
        """``exclusive``: while open, another replicator of this base is refused; a reader need not ask.

        ``accounts``: the pairs of more accounts, by name. They may come and go, and not become others.
        """
        self.path = path
        self._accounts = dict(accounts or {})
        self.rebuilt = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(path, error) from error
        self._lock = _locked(path) if exclusive else None
        try:
            self._open_or_rebuild(pair)
        except BaseException:
            if self._lock is not None:
                self._lock.close()
            raise

    def _open_or_rebuild(self, pair: str) -> None:
        try:
            self._open(pair)
        except sqlite3.DatabaseError as error:
            busy = isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error)
            if busy or self._lock is None:  # a reader sets nothing aside
                raise _unusable(self.path, error) from error
            self._set_aside()
            self.rebuilt = True
            self._open(pair)

    def _open(self, pair: str) -> None:
        self._db = sqlite3.connect(self.path, isolation_level=None)
        try:
            self._prepare(pair)
        except BaseException:
            self._db.close()
            raise

    def _prepare(self, pair: str) -> None:
        self._db.execute("pragma journal_mode=wal")
        self._db.execute("pragma synchronous=normal")
        self._db.executescript(TABLES)
        if not any(column[1] == "count" for column in self._db.execute("pragma table_info(chunk)")):
            self._db.execute("alter table chunk add column count integer")  # a base from before there was one
        known = dict(self._db.execute("select key, value from about"))
        if self._db.execute("pragma quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("malformed")
        if known and known != {"pair": pair, "version": VERSION}:
            raise self._of_another(f"it belongs to {known.get('pair')}, not to {pair}")
        of_accounts = dict(self._db.execute("select name, pair from account"))
        for name, ours in self._accounts.items():
            if (theirs := of_accounts.get(name, ours)) != ours:
                raise self._of_another(f"its account {name} is {theirs}, not {ours}")
        self._db.executemany(
            "insert or ignore into about values (?, ?)", [("pair", pair), ("version", VERSION)]
        )
        self._db.executemany("insert or ignore into account values (?, ?)", self._accounts.items())

    def _of_another(self, reason: str) -> Refused:
        return Refused(
            "use the base of an earlier replication",
            on=str(self.path),
            reasons=(reason,),
            next_command=f"move {self.path} away: a base is a cache, a new one costs requests only",
        )

    def _set_aside(self) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        for suffix in ("", "-wal", "-shm"):
            path = self.path.with_name(self.path.name + suffix)
            if not path.exists():
                continue
            path.rename(path.with_name(f"{path.name}.damaged-{stamp}"))

    def close(self) -> None:
        self._db.close()
        if self._lock is not None:
            self._lock.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            self._db.execute("begin immediate")
            yield self._db
            self._db.execute("commit")
        except sqlite3.DatabaseError as error:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("rollback")
            raise _unusable(self.path, error) from error

    def _ask(self, question: str, values: tuple[object, ...]) -> sqlite3.Cursor:
        try:
            return self._db.execute(question, values)
        except sqlite3.DatabaseError as error:
            raise _unusable(self.path, error) from error

    def digest(self, container: str, after: str, upto: str | None) -> bytes | None:
        """The digest kept for exactly this range, if there is one."""
        found = self._ask(
            "select digest from chunk where container = ? and after = ? and upto = ?",
            (container, after.encode(), _end(upto)),
        ).fetchone()
        return found[0] if found else None

    def rows(self, container: str, after: str, upto: str | None) -> list[bytes]:
        """Texts of the rows of every chunk that overlaps the range: some may lie outside of it."""
        found = self._ask(
            "select rows from chunk where container = ? and upto > ? and after < ? order by after",
            (container, after.encode(), _end(upto)),
        )
        return [text for (blob,) in found for text in _unpack(blob)]

    def bounds(self, container: str, rows: int) -> list[str]:
        """Where ranges end that hold ``rows`` rows at most, or one chunk; the last has no end."""
        found: list[str] = []
        held = 0
        for upto, count in self._ask(
            "select upto, coalesce(count, ?) from chunk where container = ? order by after", (rows, container)
        ):
            if found and held + count <= rows:
                found.pop()
            else:
                held = 0
            held += count
            if upto == END:
                break
            found.append(bytes(upto).decode())
        return found

    def agree(
        self,
        container: str,
        after: str,
        upto: str | None,
        rows: Sequence[bytes],
        *,
        digest: bytes | None = None,
        beyond: Sequence[bytes] = (),
    ) -> None:
        """Replace the range by ``rows``, and record that the pass came this far.

        ``beyond`` are rows of the overlapped chunks that lie after ``upto``; they stay.
        """
        low, high = after.encode(), _end(upto)
        with self._writing() as db:
            last = db.execute(
                "select max(upto) from chunk where container = ? and upto > ? and after < ?",
                (container, low, high),
            ).fetchone()[0]
            db.execute(
                "delete from chunk where container = ? and upto > ? and after < ?", (container, low, high)
            )
            db.execute(
                "insert or replace into chunk values (?, ?, ?, ?, ?, ?)",
                (container, low, high, digest, _pack(rows), len(rows)),
            )
            if last is not None and last > high:
                db.execute(
                    "insert or replace into chunk values (?, ?, ?, null, ?, ?)",
                    (container, high, last, _pack(beyond), len(beyond)),
                )
            db.execute("update progress set marker = ? where container = ?", (upto or "", container))

    def progressed(self, container: str, marker: str) -> None:
        """The pass came this far, and the range before is as it was."""
        with self._writing() as db:
            db.execute("update progress set marker = ? where container = ?", (marker, container))

    def begin(self, container: str, now: Stamp) -> tuple[str, Stamp]:
        """Where to go on: the marker and the beginning of a pass that was cut short, or a new one's."""
        found = self._ask("select marker, began from progress where container = ?", (container,)).fetchone()
        if found and found[0]:
            return str(found[0]), Stamp(found[1])
        with self._writing() as db:
            db.execute("insert or replace into progress values (?, '', ?)", (container, now.ticks))
            db.execute("delete from undecided where container = ?", (container,))
        return "", now

    def finish(self, container: str, began: Stamp, rows: int) -> None:
        """The pass that ``began`` then is complete."""
        with self._writing() as db:
            db.execute("delete from progress where container = ?", (container,))
            db.execute("insert or replace into complete values (?, ?, ?)", (container, began.ticks, rows))

    def complete(self, container: str) -> tuple[Stamp, int] | None:
        """When the last complete pass began, and how many rows both sides had."""
        found = self._ask("select began, rows from complete where container = ?", (container,)).fetchone()
        return (Stamp(found[0]), found[1]) if found else None

    def agreed_tokens(self, container: str, after: str, upto: str | None) -> dict[str, Agreed]:
        """What two clusters that believe no timestamp last agreed on, in a range of names."""
        found = self._ask(
            "select name, hash, a, b from token where container = ? and name > ? and name <= ?",
            (container, after.encode(), _end(upto)),
        )
        return {
            name.decode(): Agreed(hash, *(Stamp(one) if one is not None else None for one in (a, b)))
            for name, hash, a, b in found
        }

    def agree_tokens(self, container: str, agreed: Mapping[str, Agreed | None]) -> None:
        """Remember these; None: forget the name."""
        with self._writing() as db:
            for name, one in agreed.items():
                if one is None:
                    db.execute(
                        "delete from token where container = ? and name = ?", (container, name.encode())
                    )
                    continue
                a, b = (stamp.ticks if stamp is not None else None for stamp in (one.a, one.b))
                db.execute(
                    "insert or replace into token values (?, ?, ?, ?, ?)",
                    (container, name.encode(), one.hash, a, b),
                )

    def settings(self, container: str) -> dict[str, str] | None:
        """The container's settings on which both sides last agreed."""
        found = self._ask("select agreed from settings where container = ?", (container,)).fetchone()
        return dict(json.loads(found[0])) if found else None

    def agree_settings(self, container: str, agreed: Mapping[str, str]) -> None:
        """Both sides have these settings now."""
        with self._writing() as db:
            db.execute("insert or replace into settings values (?, ?)", (container, json.dumps(dict(agreed))))

    def ended(self, container: str, at: Stamp, tally: dict[str, Any]) -> None:
        """Remember how the last pass ended, for ``status``."""
        with self._writing() as db:
            db.execute(
                "insert or replace into outcome values (?, ?, ?)", (container, at.ticks, json.dumps(tally))
            )

    def forgot(self, container: str) -> bool:
        """Whether a damaged file was set aside, and no pass over the container is complete since."""
        return self.rebuilt and self.complete(container) is None

    def containers(self) -> tuple[str, ...]:
        """Those of which a pass has ended."""
        return tuple(str(name) for (name,) in self._ask("select container from outcome order by 1", ()))

    def outcome(self, container: str) -> tuple[Stamp, dict[str, Any]] | None:
        """When the last pass ended, and how."""
        found = self._ask("select at, tally from outcome where container = ?", (container,)).fetchone()
        return (Stamp(found[0]), json.loads(found[1])) if found else None

    def hold(self, container: str, held: Sequence[Held]) -> None:
        """Remember names that a person has to decide."""
        with self._writing() as db:
            db.executemany(
                "insert or replace into undecided values (?, ?, ?, ?, ?, ?)",
                [
                    (container, one.row.name, one.side.value, one.row.stamp.ticks, one.row.bytes, one.reason)
                    for one in held
                ],
            )

    def decided(self, container: str, name: str) -> None:
        """A person has decided this name."""
        with self._writing() as db:
            db.execute("delete from undecided where container = ? and name = ?", (container, name))

    def held(self, container: str) -> Iterator[Held]:
        for name, side, stamp, size, reason in self._ask(
            "select name, side, stamp, bytes, reason from undecided where container = ?", (container,)
        ):
            yield Held(Side(side), Row(name, "", Stamp(stamp), size), reason)


def _locked(path: Path) -> IO[bytes]:
    try:
        lock = path.with_name(path.name + ".lock").open("wb")
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise Refused(
            "replicate",
            on=str(path),
            reasons=("another replicator on this machine uses this base",),
            next_command="dcctl replication status",
        ) from None
    return lock


def _end(upto: str | None) -> bytes:
    return END if upto is None else upto.encode()


def _pack(rows: Sequence[bytes]) -> bytes:
    return zlib.compress(SEPARATOR.join(rows), 1)


def _unpack(blob: bytes) -> list[bytes]:
    text = zlib.decompress(blob)
    return text.split(SEPARATOR) if text else []


def _unusable(path: Path, error: Exception) -> Unreachable:
    return Unreachable(
        "keep the base of the replication",
        on=str(path),
        saw=str(error),
        next_command=f"df -h {path.parent}",
    )
