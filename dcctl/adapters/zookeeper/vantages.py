"""``ports.Vantages`` in ZooKeeper: ``/dcctl/<environment>/observations/<vantage>``, ephemeral.

A node of our name that another session owns is what an earlier life of ours left: it is replaced, or else
it would vanish under us when that session ends.
"""

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from functools import partial
from typing import Any

from kazoo.exceptions import NodeExistsError, NoNodeError

from dcctl.adapters.zookeeper.session import ZooKeeperSession
from dcctl.domain.probe import Health, ProbeResult
from dcctl.domain.traffic import EdgeApplied, Observation
from dcctl.errors import Rejected, Unreachable

ATTEMPTS = 3
"""A node that ends between a look and a write is looked at again."""


class ZooKeeperVantages:
    """The vantages of ``environment`` through ``session``; ``limit_s`` bounds each request."""

    def __init__(self, session: ZooKeeperSession, environment: str, *, limit_s: float) -> None:
        self._session = session
        self._folder = f"/dcctl/{environment}/observations"
        self._limit_s = limit_s
        self._published: str | None = None

    def publish(self, observation: Observation) -> None:
        path, note = f"{self._folder}/{observation.vantage}", _note(observation)
        self._published = path
        for _attempt in range(ATTEMPTS):
            if self._write(path, note):
                return
        raise Unreachable("publish an observation", on=path, saw="its node changes under our hands")

    def _write(self, path: str, note: bytes) -> bool:
        """One attempt: write where the node is ours, replace it where it is another session's."""
        client = self._session.client
        answer = self._session.read(path, self._limit_s)
        with contextlib.suppress(NoNodeError, NodeExistsError):
            if answer is None:
                # Our own create whose answer was lost shows as NodeExists: the next attempt finds it ours.
                create = partial(client.create_async, path, note, ephemeral=True, makepath=True)
                self._session.ask("publish an observation", create, self._limit_s)
                return True
            if answer[1].ephemeralOwner == self._session.number:
                change = partial(client.set_async, path, note)
                self._session.ask("publish an observation", change, self._limit_s)
                return True
            self._session.ask("replace an observation", lambda: client.delete_async(path), self._limit_s)
        return False

    def withdraw(self) -> None:
        if self._published is None:
            return
        path = self._published
        answer = self._session.read(path, self._limit_s)
        if answer is not None and answer[1].ephemeralOwner == self._session.number:
            with contextlib.suppress(NoNodeError):
                self._session.ask(
                    "withdraw the observation",
                    lambda: self._session.client.delete_async(path),
                    self._limit_s,
                )
        self._published = None

    def observe_vantages(self) -> tuple[Observation, ...]:
        client = self._session.client
        try:
            names = self._session.ask(
                "list the vantages", lambda: client.get_children_async(self._folder), self._limit_s
            )
        except NoNodeError:
            return ()
        found = {name: self._session.read(f"{self._folder}/{name}", self._limit_s) for name in sorted(names)}
        return tuple(_observation(name, answer[0]) for name, answer in found.items() if answer is not None)


def read_vantages(
    read: Callable[..., tuple[bytes | None, ...]], environment: str, vantages: Sequence[str]
) -> tuple[Observation, ...]:
    """What those of ``vantages`` published that are there, without a session, for looking only: ``read`` is
    ``ZooKeeperVoters.read``. Raises Unreachable when no quorum answers."""
    folder = f"/dcctl/{environment}/observations"
    _folder, *contents = read(folder, *(f"{folder}/{name}" for name in vantages))
    return tuple(
        _observation(name, content)
        for name, content in zip(vantages, contents, strict=True)
        if content is not None
    )


def _note(observation: Observation) -> bytes:
    note = {
        "at": observation.at,
        "place": observation.place,
        "round": observation.round,
        "results": [asdict(result) for result in observation.results],
        "pulse": [asdict(result) for result in observation.pulse],
        "edge": asdict(observation.edge) if observation.edge else None,
    }
    return json.dumps(note, separators=(",", ":"), default=lambda at: at.isoformat()).encode()


def _observation(vantage: str, content: bytes) -> Observation:
    try:
        note: dict[str, Any] = json.loads(content)
        edge = note.get("edge")
        return Observation(
            vantage=vantage,
            place=str(note["place"]),
            at=datetime.fromisoformat(note["at"]),
            round=int(note["round"]),
            results=tuple(_result(each) for each in note["results"]),
            edge=EdgeApplied(dict(edge["rotation"]), str(edge["problem"])) if edge else None,
            pulse=tuple(_result(each) for each in note.get("pulse", ())),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Rejected("read an observation", on=vantage, saw=f"not ours: {content[:60]!r}") from error


RESULT_FIELDS = frozenset(each.name for each in fields(ProbeResult))


def _result(note: dict[str, Any]) -> ProbeResult:
    """A result of this or of another version of dcctl: what we do not know is left out."""
    known = {name: value for name, value in note.items() if name in RESULT_FIELDS}
    known["at"] = datetime.fromisoformat(known["at"])
    known["health"] = Health(known.get("health", Health.UNKNOWN))
    return ProbeResult(**known)
