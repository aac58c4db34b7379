"""What dcctl remembers between commands: the host keys it trusts, and what each site and edge last showed.

All are files under the environment's state directory, replaced whole so that a reader, and a crash, see
the old or the new one.
"""

import json
import os
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from dcctl.domain import known_hosts
from dcctl.domain.capacity import Traffic
from dcctl.domain.known_hosts import KnownHost
from dcctl.domain.machine import LastSeen, Power, Server, Size
from dcctl.errors import Unreachable


class KnownHostsFile:
    """``ports.KnownHosts`` over ``<state_directory>/known_hosts``, which ssh and Ansible read too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def observe(self) -> tuple[KnownHost, ...]:
        text = _read(self.path)
        return known_hosts.parse(text) if text is not None else ()

    def record(self, host: KnownHost) -> None:
        with self._lock:
            self._ensure(known_hosts.recorded(self.observe(), host))

    def forget(self, name: str) -> None:
        with self._lock:
            self._ensure(tuple(host for host in self.observe() if host.name != name))

    def _ensure(self, hosts: Sequence[KnownHost]) -> None:
        text = known_hosts.render(hosts)
        if _read(self.path) != text:
            _replace(self.path, text)


class Observations:
    """The last observation of each site, ``<state_directory>/observations/<site>.json``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def record(self, site: str, servers: Sequence[Server], at: datetime) -> None:
        document = {"at": at.isoformat(), "servers": [asdict(server) for server in servers]}
        _replace(self._folder / f"{site}.json", json.dumps(document, indent=1) + "\n")

    def last_seen(self, site: str) -> LastSeen | None:
        """None when the site was never observed from here, or by a dcctl that wrote something else."""
        text = _read(self._folder / f"{site}.json")
        if text is None:
            return None
        try:
            document = json.loads(text)
            servers = tuple(_server(fields) for fields in document["servers"])
            return LastSeen(site, datetime.fromisoformat(document["at"]), servers)
        except (ValueError, KeyError, TypeError):
            return None


class LoadFiles:
    """``ports.LoadMemory``: ``<state_directory>/observations/<edge>.load.json``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def record(self, edge: str, traffic: Mapping[str, Traffic], at: datetime) -> None:
        document = {"at": at.isoformat(), "traffic": {name: asdict(each) for name, each in traffic.items()}}
        _replace(self._file(edge), json.dumps(document, indent=1) + "\n")

    def last_seen(self, edge: str) -> tuple[datetime, Mapping[str, Traffic]] | None:
        """None also for what a dcctl wrote that remembered something else."""
        text = _read(self._file(edge))
        if text is None:
            return None
        try:
            document = json.loads(text)
            traffic = {name: Traffic(**fields) for name, fields in document["traffic"].items()}
            return datetime.fromisoformat(document["at"]), traffic
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def _file(self, edge: str) -> Path:
        return self._folder / f"{edge}.load.json"


def _server(fields: dict[str, Any]) -> Server:
    size = fields.pop("size")
    power = Power(fields.pop("power"))
    return Server(**fields, power=power, size=Size(**size) if size else None)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise Unreachable("read what was remembered", on=str(path), saw=str(error)) from error


def _replace(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".new-") as folder:
            new = Path(folder) / path.name
            with new.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
    except OSError as error:
        raise Unreachable("remember", on=str(path), saw=error.strerror or str(error)) from error
