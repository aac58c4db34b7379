"""``ports.Automation`` in ZooKeeper: ``/dcctl/<environment>/automation`` and ``…/automation/last``, and
``/dcctl/<environment>/capacity/<site>``, one JSON object each."""

import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from kazoo.exceptions import BadVersionError, NodeExistsError, NoNodeError

from dcctl.adapters.zookeeper.session import ZooKeeperSession
from dcctl.domain.automation import Automation, Certificate, LastAction, Mode
from dcctl.errors import Refused, Rejected, Unreachable

T = TypeVar("T")
ATTEMPTS = 3


class ZooKeeperAutomation:
    """What is said of automatic action in ``environment``; ``limit_s`` bounds each request."""

    def __init__(self, session: ZooKeeperSession, environment: str, *, limit_s: float) -> None:
        self._session = session
        self._path = f"/dcctl/{environment}/automation"
        self._capacity = f"/dcctl/{environment}/capacity"
        self._limit_s = limit_s

    def observe(self) -> Automation:
        answer = self._session.read(self._path, self._limit_s)
        return Automation() if answer is None else _automation(answer[0], answer[1].version)

    def change(self, wanted: Automation, *, expected: int | None) -> Automation:
        tried, note = "change automation", _note(wanted)
        client = self._session.client
        try:
            if expected is None:
                create = partial(client.create_async, self._path, note, makepath=True)
                self._session.ask(tried, create, self._limit_s)
                return replace(wanted, version=0)
            change = partial(client.set_async, self._path, note, version=expected)
            return replace(wanted, version=self._session.ask(tried, change, self._limit_s).version)
        except (NodeExistsError, BadVersionError, NoNodeError) as error:
            now = self.observe()
            if now.version is not None and replace(now, version=None) == replace(wanted, version=None):
                return now  # our own change, of which no answer came back
            reason = f"{now.by or 'somebody'} changed it meanwhile"
            raise Refused(tried, reasons=(reason,), next_command="dcctl automation show") from error

    def observe_last(self) -> LastAction | None:
        answer = self._session.read(f"{self._path}/last", self._limit_s)
        return _read(answer[0], _last) if answer is not None else None

    def record_last(self, last: LastAction | None) -> None:
        self._write(f"{self._path}/last", asdict(last) if last is not None else {})

    def observe_certificate(self, lost: str) -> Certificate | None:
        answer = self._session.read(f"{self._capacity}/{lost}", self._limit_s)
        return _read(answer[0], _certificate) if answer is not None else None

    def record_certificate(self, certificate: Certificate) -> None:
        self._write(f"{self._capacity}/{certificate.lost}", asdict(certificate))

    def _write(self, path: str, fields: dict[str, Any]) -> None:
        """The last to write wins."""
        note, client = _json(fields), self._session.client
        for _attempt in range(ATTEMPTS):
            with contextlib.suppress(NoNodeError):
                self._session.ask(f"write {path}", partial(client.set_async, path, note), self._limit_s)
                return
            if path.startswith(f"{self._path}/"):
                self._ensure()
            with contextlib.suppress(NodeExistsError):
                create = partial(client.create_async, path, note, makepath=True)
                self._session.ask(f"write {path}", create, self._limit_s)
                return
        raise Unreachable(f"write {path}", on="ZooKeeper", saw="the node comes and goes")

    def _ensure(self) -> None:
        """A parent that ``makepath`` makes would be empty, which is no automation of ours."""
        with contextlib.suppress(NodeExistsError):
            create = partial(
                self._session.client.create_async, self._path, _note(Automation()), makepath=True
            )
            self._session.ask("write the automation", create, self._limit_s)


def read_automation(read: Callable[..., tuple[bytes | None, ...]], environment: str) -> Automation:
    """The same without a session, for looking only: ``read`` is ``ZooKeeperVoters.read``."""
    (content,) = read(f"/dcctl/{environment}/automation")
    return Automation() if content is None else _automation(content, 0)


def _note(automation: Automation) -> bytes:
    fields = asdict(automation)
    del fields["version"]
    return _json(fields)


def _json(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":"), default=lambda at: at.isoformat()).encode()


def _automation(content: bytes, version: int) -> Automation:
    def parse(fields: dict[str, Any]) -> Automation:
        return Automation(
            paused=bool(fields["paused"]),
            mode=Mode(fields["mode"]) if fields.get("mode") else None,
            reason=str(fields.get("reason", "")),
            by=str(fields.get("by", "")),
            at=datetime.fromisoformat(fields["at"]) if fields.get("at") else None,
            version=version,
        )

    return _read(content, parse)


def _last(fields: dict[str, Any]) -> LastAction | None:
    if not fields:
        return None
    at = datetime.fromisoformat(fields["at"])
    aborted = str(fields.get("aborted", ""))
    return LastAction(str(fields["site"]), str(fields["run"]), at, fields.get("done"), aborted)


def _certificate(fields: dict[str, Any]) -> Certificate:
    return Certificate(
        lost=str(fields["lost"]),
        fits=bool(fields["fits"]),
        reasons=tuple(str(each) for each in fields["reasons"]),
        by=str(fields.get("by", "")),
        at=datetime.fromisoformat(fields["at"]),
    )


def _read(content: bytes, parse: Callable[[dict[str, Any]], T]) -> T:
    try:
        return parse(json.loads(content))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Rejected("read the automation", saw=f"not ours: {content[:60]!r}") from error
