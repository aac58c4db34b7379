"""``ports.SharedWork`` in ZooKeeper: ``/dcctl/<environment>/replication/{workers,work/<container>}``.

``workers/<who>`` and ``work/<container>/holders/<share>`` are ephemeral; ``work/<container>`` has the bounds
and ``work/<container>/shares/<share>`` what became of a share, both changed against the version seen.
"""

import contextlib
import json
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import quote

from kazoo.exceptions import BadVersionError, NodeExistsError, NoNodeError

from dcctl.adapters.zookeeper.session import ZooKeeperSession
from dcctl.domain.replication import Stamp
from dcctl.domain.replication_share import ContainerWork, Share, ShareState, Worked, shares_of
from dcctl.errors import Rejected


class ZooKeeperWork:
    """The work of ``environment`` through ``session``; ``who`` is this worker, of no other's name."""

    def __init__(self, session: ZooKeeperSession, environment: str, *, who: str, limit_s: float) -> None:
        self.who = who
        self._session = session
        self._client = session.client
        self._folder = f"/dcctl/{environment}/replication"
        self._limit_s = limit_s

    def observe_workers(self) -> tuple[str, ...]:
        self._ensure_ephemeral(f"{self._folder}/workers/{quote(self.who, safe='')}")
        return self._children(f"{self._folder}/workers")

    def observe_work(self, container: str) -> ContainerWork:
        folder = self._of(container)
        answer = self._session.read(folder, self._limit_s)
        bounds: tuple[str, ...] = ()
        version = None
        if answer is not None:
            bounds, version = _bounds(folder, answer[0]), answer[1].version
        holders = {
            name: self._holder(f"{folder}/holders/{name}") for name in self._children(f"{folder}/holders")
        }
        states = [self._state(share) for share in shares_of(container, bounds)]
        held = tuple(
            ShareState(one.share, one.worked, one.version, holders.get(_node(one.share), ""))
            for one in states
        )
        return ContainerWork(container, bounds, version, held)

    def take(self, share: Share) -> ShareState | None:
        path = f"{self._of(share.container)}/holders/{_node(share)}"
        if not self._ensure_ephemeral(path):
            return None
        return self._state(share)

    def give_back(self, state: ShareState, worked: Worked | None) -> None:
        folder, node = self._of(state.share.container), _node(state.share)
        if worked is not None:
            path, note = f"{folder}/shares/{node}", _note(worked)
            with contextlib.suppress(NodeExistsError, BadVersionError, NoNodeError):  # another's word stays
                if state.version is None:
                    self._ask("keep a share", partial(self._client.create_async, path, note, makepath=True))
                else:
                    self._ask(
                        "keep a share", partial(self._client.set_async, path, note, version=state.version)
                    )
        holder = f"{folder}/holders/{node}"
        answer = self._session.read(holder, self._limit_s)
        if answer is not None and answer[1].ephemeralOwner == self._session.number:
            with contextlib.suppress(NoNodeError):
                self._ask("give a share back", partial(self._client.delete_async, holder))

    def divide(self, work: ContainerWork, bound: str) -> bool:
        path = self._of(work.container)
        note = json.dumps(sorted({*work.bounds, bound}, key=str.encode)).encode()
        try:
            if work.version is None:
                self._ask("divide", partial(self._client.create_async, path, note, makepath=True))
            else:
                self._ask("divide", partial(self._client.set_async, path, note, version=work.version))
        except NodeExistsError:
            # the folder of holders makes the node too, empty: it was not divided yet
            return work.version is None and self._divide_empty(path, note)
        except (BadVersionError, NoNodeError):
            return False
        return True

    def _divide_empty(self, path: str, note: bytes) -> bool:
        answer = self._session.read(path, self._limit_s)
        if answer is None or answer[0]:
            return False
        try:
            self._ask("divide", partial(self._client.set_async, path, note, version=answer[1].version))
        except (BadVersionError, NoNodeError):
            return False
        return True

    def _ensure_ephemeral(self, path: str) -> bool:
        """Ours now; False where another has it. Our own create whose answer was lost is ours."""
        note = self.who.encode()
        create = partial(self._client.create_async, path, note, ephemeral=True, makepath=True)
        try:
            self._ask(f"take {path}", create)
        except NodeExistsError:
            answer = self._session.read(path, self._limit_s)
            return answer is not None and answer[1].ephemeralOwner == self._session.number
        return True

    def _state(self, share: Share) -> ShareState:
        path = f"{self._of(share.container)}/shares/{_node(share)}"
        answer = self._session.read(path, self._limit_s)
        if answer is None:
            return ShareState(share)
        return ShareState(share, _worked(path, answer[0]), answer[1].version)

    def _holder(self, path: str) -> str:
        answer = self._session.read(path, self._limit_s)
        return answer[0].decode() if answer is not None else ""

    def _children(self, path: str) -> tuple[str, ...]:
        try:
            names = self._ask(f"list {path}", partial(self._client.get_children_async, path))
        except NoNodeError:
            return ()
        return tuple(sorted(names))

    def _ask(self, tried: str, request: Callable[[], Any]) -> Any:
        return self._session.ask(tried, request, self._limit_s)

    def _of(self, container: str) -> str:
        return f"{self._folder}/work/{quote(container, safe='')}"


def _node(share: Share) -> str:
    return share.key.rpartition("/")[2]


def _bounds(path: str, content: bytes) -> tuple[str, ...]:
    if not content:
        return ()
    try:
        return tuple(str(one) for one in json.loads(content))
    except ValueError as error:
        raise Rejected("read how a container is divided", on=path, saw=f"{content[:60]!r}") from error


def _note(worked: Worked) -> bytes:
    return json.dumps(
        {
            "began": worked.began.ticks,
            "ended": worked.ended.ticks,
            "rows": worked.rows,
            "pending": worked.pending,
            "undecided": worked.undecided,
            "by": worked.by,
        }
    ).encode()


def _worked(path: str, content: bytes) -> Worked:
    try:
        note = json.loads(content)
        return Worked(
            Stamp(int(note["began"])),
            Stamp(int(note["ended"])),
            int(note["rows"]),
            int(note["pending"]),
            int(note["undecided"]),
            str(note["by"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Rejected("read a share", on=path, saw=f"not ours: {content[:60]!r}") from error
