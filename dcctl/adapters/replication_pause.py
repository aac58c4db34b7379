"""``ports.Pauses`` in the state directory: for the replicators of this machine alone."""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from dcctl.domain.replication_pause import Pause
from dcctl.errors import Unreachable


class FilePauses:
    """``folder/paused``, and ``folder/followers/<process>`` for each that follows."""

    def __init__(self, folder: Path) -> None:
        self._pause = folder / "paused"
        self._followers = folder / "followers"

    def observe_pause(self) -> Pause | None:
        try:
            return Pause.of(json.loads(self._pause.read_text()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise self._unusable("read", error) from error

    def change_pause(self, pause: Pause | None) -> None:
        try:
            if pause is None:
                self._pause.unlink(missing_ok=True)
                return
            self._pause.parent.mkdir(parents=True, exist_ok=True)
            new = self._pause.with_name(f"paused.{os.getpid()}")
            new.write_text(json.dumps(pause.document()))
            new.replace(self._pause)
        except OSError as error:
            raise self._unusable("write", error) from error

    def observe_followers(self) -> Mapping[str, str]:
        found = {}
        for path in self._followers.glob("*"):
            with contextlib.suppress(FileNotFoundError):
                if Path(f"/proc/{path.name}").exists():  # else it was killed
                    found[f"process {path.name}"] = path.read_text()
        return found

    def report(self, state: str | None) -> None:
        path = self._followers / str(os.getpid())
        try:
            if state is None:
                path.unlink(missing_ok=True)
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(state)
        except OSError as error:
            raise self._unusable("write", error) from error

    def _unusable(self, what: str, error: Exception) -> Unreachable:
        return Unreachable(f"{what} whether replication is paused", on=str(self._pause), saw=str(error))
