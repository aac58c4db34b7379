"""``ports.Pauses`` in ZooKeeper: ``/dcctl/<environment>/replication/{paused,followers/<who>}``."""

import contextlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote, unquote

from kazoo.exceptions import NodeExistsError, NoNodeError

from dcctl.adapters.zookeeper.session import ZooKeeperSession
from dcctl.domain.replication_pause import Pause
from dcctl.errors import Rejected


class ZooKeeperPauses:
    """For every replicator of ``environment``, wherever it runs. ``who`` is this process, of no other's
    name; its node is ephemeral."""

    def __init__(self, session: ZooKeeperSession, environment: str, *, who: str, limit_s: float) -> None:
        self._session = session
        self._client = session.client
        self._pause = f"/dcctl/{environment}/replication/paused"
        self._followers = f"/dcctl/{environment}/replication/followers"
        self._own = f"{self._followers}/{quote(who, safe='')}"
        self._limit_s = limit_s

    def observe_pause(self) -> Pause | None:
        answer = self._session.read(self._pause, self._limit_s)
        if answer is None:
            return None
        try:
            return Pause.of(json.loads(answer[0]))
        except ValueError as error:
            raise Rejected("read a pause", on=self._pause, saw=f"{answer[0][:60]!r}") from error

    def change_pause(self, pause: Pause | None) -> None:
        if pause is not None:
            self._write(self._pause, json.dumps(pause.document()).encode(), ephemeral=False)
            return
        with contextlib.suppress(NoNodeError):
            self._ask("resume", partial(self._client.delete_async, self._pause))

    def observe_followers(self) -> Mapping[str, str]:
        try:
            names = self._ask("list followers", partial(self._client.get_children_async, self._followers))
        except NoNodeError:
            return {}
        found = {}
        for name in sorted(names):
            answer = self._session.read(f"{self._followers}/{name}", self._limit_s)
            if answer is not None:
                found[unquote(name)] = answer[0].decode()
        return found

    def report(self, state: str | None) -> None:
        if state is not None:
            self._write(self._own, state.encode(), ephemeral=True)
            return
        with contextlib.suppress(NoNodeError):
            self._ask("leave", partial(self._client.delete_async, self._own))

    def _write(self, path: str, content: bytes, *, ephemeral: bool) -> None:
        """Whichever is there: a node of our last session goes away by itself and is then made anew."""
        create = partial(self._client.create_async, path, content, ephemeral=ephemeral, makepath=True)
        try:
            self._ask(f"write {path}", create)
        except NodeExistsError:
            self._ask(f"write {path}", partial(self._client.set_async, path, content))

    def _ask(self, tried: str, request: Callable[[], Any]) -> Any:
        return self._session.ask(tried, request, self._limit_s)
