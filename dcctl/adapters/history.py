"""Histories on disk, ``history.jsonl`` and ``business.jsonl``: a JSON object per line, the first its header.

Every line is handed to the operating system as it happens, so that a killed process loses none of it,
and synced when the history is closed: losing the machine may cost the last seconds, and no promise
rests on them.
"""

import errno
import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dcctl.domain import business
from dcctl.domain.business import BusinessHistory, Line
from dcctl.domain.history import History, Mark, Record, from_fields, to_fields
from dcctl.errors import NotFound, Unreachable

FORMAT = 1


class LinesFile:
    """Appends lines. A disk that refuses one must not stop the client: ``failure`` says so afterwards."""

    def __init__(self, path: Path) -> None:
        self.failure = ""
        self._path = path
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise _unusable("write the history", path, error) from error

    def _append(self, fields: dict[str, Any]) -> None:
        if self.failure:
            return  # a hole in the middle would be read as a history
        line = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        try:
            short = self._file.write(line) != len(line)
        except OSError as error:
            self.failure = _unusable("write the history", self._path, error).sentence()
        else:
            if short:
                full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                self.failure = _unusable("write the history", self._path, full).sentence()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            os.fsync(self._file.fileno())
        except OSError as failed:
            self.failure = self.failure or _unusable("write the history", self._path, failed).sentence()
        self._file.close()


class HistoryFile(LinesFile):
    """What the writer did and was told."""

    def begin(self, history: History) -> None:
        """Write the header; ``history`` may be empty still."""
        self._append(
            {
                "history": FORMAT,
                "run": history.run,
                "began_at": history.began_at.isoformat(),
                "writes_per_s": history.writes_per_s,
                "edges": list(history.edges),
                "servers": dict(history.servers),
            }
        )

    def keep(self, line: Record | Mark) -> None:
        """Append one line. Called by one thread at a time."""
        self._append(to_fields(line))


class BusinessFile(LinesFile):
    """What the application's clients did and were told."""

    def begin(self, history: BusinessHistory) -> None:
        """Write the header; ``history`` may be empty still."""
        self._append(
            {
                "business": FORMAT,
                "run": history.run,
                "began_at": history.began_at.isoformat(),
                "edges": dict(history.edges),
                "machines": dict(history.machines),
            }
        )

    def keep(self, line: Line) -> None:
        """Append one line. Called by one thread at a time."""
        self._append(business.to_fields(line))


def read_history(path: Path) -> History:
    """The history in ``path``; a torn last line is left out. Raises NotFound, and Unreachable for others."""
    whole = _whole(path)
    try:
        header = json.loads(whole[0]) if whole else {}
        lines = tuple(_lines(whole[1:]))
        return History(
            run=header["run"],
            began_at=datetime.fromisoformat(header["began_at"]),
            writes_per_s=header["writes_per_s"],
            edges=tuple(header["edges"]),
            records=tuple(line for line in lines if isinstance(line, Record)),
            marks=tuple(line for line in lines if isinstance(line, Mark)),
            servers=header.get("servers", {}),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Unreachable("read the history", on=str(path), saw=f"not a history: {error!r}") from error


def read_business(path: Path) -> BusinessHistory | None:
    """The application's history in ``path``, as ``read_history``; None where a drill had no such clients."""
    if not path.exists():
        return None
    whole = _whole(path)
    try:
        header = json.loads(whole[0]) if whole else {}
        return BusinessHistory(
            run=header["run"],
            began_at=datetime.fromisoformat(header["began_at"]),
            edges=header["edges"],
            machines=header["machines"],
            lines=tuple(business.from_fields(json.loads(line)) for line in whole[1:]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Unreachable("read the history", on=str(path), saw=f"not a history: {error!r}") from error


def _whole(path: Path) -> list[bytes]:
    """Its lines but a torn last one. Raises NotFound, and Unreachable for a file that cannot be read."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise NotFound("read the history", on=str(path), saw="there is no such file") from None
    except OSError as error:
        raise _unusable("read the history", path, error) from error
    return content[: content.rfind(b"\n") + 1].splitlines()


def _lines(whole: list[bytes]) -> Iterator[Record | Mark]:
    for line in whole:
        yield from_fields(json.loads(line))


def _unusable(tried: str, path: Path, error: OSError) -> Unreachable:
    return Unreachable(tried, on=str(path), saw=error.strerror or str(error))
