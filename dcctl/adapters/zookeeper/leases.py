"""``ports.Leases`` in ZooKeeper: ``/dcctl/<environment>/roles/<role>/{epoch,lease,holder,resign}``."""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any

from kazoo.exceptions import (
    BadVersionError,
    NodeExistsError,
    NoNodeError,
    RolledBackError,
    RuntimeInconsistency,
)

from dcctl.adapters.zookeeper.session import Answer, ZooKeeperSession
from dcctl.domain.leadership import Epoch, Lease, Renewal, RoleState, Term, is_superseded
from dcctl.errors import LeadershipLost, Rejected, TimedOut

ANY_VERSION = -1

CONFLICTS = (BadVersionError, NoNodeError, NodeExistsError, RolledBackError, RuntimeInconsistency)
"""How parts of a transaction fail when something was written before; the last two for its other parts."""


class ZooKeeperLeases:
    """One session. ``hosts`` as kazoo writes them (``host:port,…``), the local voter first.

    ``clock`` is what leases are judged by, in seconds. ``session_s`` is asked for; the ensemble may grant
    another, which is what renewals carry.
    """

    def __init__(self, hosts: str, *, environment: str, session_s: float, clock: Callable[[], float]) -> None:
        self._roles = f"/dcctl/{environment}/roles"
        self._clock = clock
        self._session = ZooKeeperSession(hosts, session_s=session_s, clock=clock)
        self._client = self._session.client

    def connect(self, *, limit_s: float) -> None:
        """Begin the session. Raises Unreachable when no server lets us in within ``limit_s``."""
        self._session.connect(limit_s=limit_s)

    def begin(self) -> None:
        """Begin the session whenever a server lets us in; until then requests are ``Unreachable``."""
        self._session.begin()

    def close(self) -> None:
        """End the session, or leave it to run out where that cannot be said within two seconds."""
        self._session.close()

    @property
    def session(self) -> ZooKeeperSession:
        """The session, for what else is asked through it."""
        return self._session

    @property
    def session_s(self) -> float:
        """What the ensemble granted. Raises Unreachable before it did."""
        return self._session.session_s

    def observe_roles(self, *, limit_s: float) -> tuple[RoleState, ...]:
        names = self._ask("list the roles", lambda: self._client.get_children_async(self._roles), limit_s)
        return tuple(self.observe_role(name, limit_s=limit_s) for name in sorted(names or ()))

    def observe_role(self, role: str, *, limit_s: float) -> RoleState:
        deadline_s = self._clock() + limit_s
        parts = [
            (part, self._session.look_for(self._path(role, part)))
            for part in ("epoch", "lease", "holder", "resign")
        ]
        found = [self._session.found(part, asked, deadline_s - self._clock()) for part, asked in parts]
        return _role_state(role, *found, session=self._session.number)

    def claim(self, state: RoleState, term: Term, *, limit_s: float) -> Renewal | None:
        deadline_s = self._clock() + limit_s
        if state.epoch is None or state.lease is None:
            self._ensure_nodes(term.role, limit_s)
        session_s = self.session_s
        change = self._client.transaction()
        change.set_data(
            self._path(term.role, "lease"),
            _lease_note(term.epoch, session_s),
            state.lease.version if state.lease is not None else 0,
        )
        change.set_data(self._path(term.role, "epoch"), _epoch_note(term.epoch), state.epoch_version or 0)
        if state.term is not None:
            change.delete(self._path(term.role, "holder"))
        change.create(self._path(term.role, "holder"), _term_note(term), ephemeral=True)
        return self._written(f"claim {term.role}", change, session_s, deadline_s)

    def renew(self, term: Term, version: int, *, limit_s: float) -> Renewal:
        deadline_s = self._clock() + limit_s
        asked = self._session.look_for(self._path(term.role, "resign"))
        renewal = self._renew(term, version, deadline_s)
        if renewal is None:
            # Our own renewal of which no answer came back may have been carried out: it counts for
            # nothing here, except that its version is the one to write against.
            state = self.observe_role(term.role, limit_s=deadline_s - self._clock())
            if is_superseded(state, term.epoch) or state.lease is None or not state.ours:
                raise LeadershipLost(
                    f"renew the lease under epoch {term.epoch.number}", on=term.role, saw=_saw(state, term)
                )
            renewal = self._renew(term, state.lease.version, deadline_s)
        if renewal is None:
            raise TimedOut("renew the lease", on=term.role, saw="another request of ours came between")
        request = self._session.found("resign", asked, deadline_s - self._clock())
        resign = request is not None and _epoch_of(request[0]) == term.epoch
        return replace(renewal, resign=True) if resign else renewal

    def release(self, term: Term, *, limit_s: float) -> bool:
        deadline_s = self._clock() + limit_s
        for _attempt in range(2):
            state = self.observe_role(term.role, limit_s=deadline_s - self._clock())
            if is_superseded(state, term.epoch) or state.lease is None:
                return False
            change = self._client.transaction()
            change.set_data(
                self._path(term.role, "lease"),
                _lease_note(term.epoch, state.lease.session_s, released=True),
                state.lease.version,
            )
            if state.ours:
                change.delete(self._path(term.role, "holder"))
            if state.resign is not None:
                change.delete(self._path(term.role, "resign"))
            tried = f"release {term.role}"
            if _carried_out(tried, self._ask(tried, change.commit_async, deadline_s - self._clock())):
                return True
        return False

    def ask_to_resign(self, role: str, epoch: Epoch, who: str, *, limit_s: float) -> None:
        note = _note({**_epoch_fields(epoch), "who": who})
        path = self._path(role, "resign")
        try:
            self._ask("ask to resign", lambda: self._client.create_async(path, note), limit_s)
        except NodeExistsError:
            self._ask("ask to resign", lambda: self._client.set_async(path, note), limit_s)

    def withdraw(self, role: str, epoch: Epoch, *, limit_s: float) -> None:
        found = self._read(role, "resign", limit_s)
        if found is None or _epoch_of(found[0]) != epoch:
            return
        path = self._path(role, "resign")
        with contextlib.suppress(BadVersionError):
            self._ask("withdraw", lambda: self._client.delete_async(path, found[1].version), limit_s)

    # One request each.

    def _renew(self, term: Term, version: int, deadline_s: float) -> Renewal | None:
        session_s = self.session_s
        change = self._client.transaction()
        change.set_data(self._path(term.role, "lease"), _lease_note(term.epoch, session_s), version)
        change.check(self._path(term.role, "holder"), ANY_VERSION)
        return self._written(f"renew {term.role}", change, session_s, deadline_s)

    def _written(self, tried: str, change: Any, session_s: float, deadline_s: float) -> Renewal | None:
        """What a transaction that begins with the lease came to; None when something was written before."""
        sent_s = self._clock()
        results = self._ask(tried, change.commit_async, deadline_s - sent_s)
        if not _carried_out(tried, results):
            return None
        return Renewal(sent_s, session_s, results[0].version)

    def _ensure_nodes(self, role: str, limit_s: float) -> None:
        """Make the nodes that a role keeps, saying nothing yet: at version 0."""
        for part in ("epoch", "lease"):
            path = self._path(role, part)
            with contextlib.suppress(NodeExistsError):
                self._ask(f"make {path}", partial(self._client.create_async, path, makepath=True), limit_s)

    def _read(self, role: str, part: str, limit_s: float) -> Answer:
        asked = self._session.look_for(self._path(role, part))
        return self._session.found(f"read {part} of {role}", asked, limit_s)

    def _ask(self, tried: str, request: Callable[[], Any], limit_s: float) -> Any:
        try:
            return self._session.ask(tried, request, limit_s)
        except NoNodeError:
            return None

    def _path(self, role: str, part: str) -> str:
        return f"{self._roles}/{role}/{part}"


def read_epochs(session: ZooKeeperSession, environment: str, *, limit_s: float) -> dict[str, Epoch]:
    """The epoch of each role that ever had a leader, through ``session``: to be shown, not to lead by.

    Each request ends within ``limit_s``.
    """
    roles = f"/dcctl/{environment}/roles"
    try:
        names = session.ask("list the roles", lambda: session.client.get_children_async(roles), limit_s)
    except NoNodeError:
        return {}
    found = {name: session.read(f"{roles}/{name}/epoch", limit_s) for name in sorted(names)}
    epochs = {name: _epoch_of(answer[0]) for name, answer in found.items() if answer is not None}
    return {name: epoch for name, epoch in epochs.items() if epoch is not None}


def _carried_out(tried: str, results: Sequence[Any]) -> bool:
    """False when something was written before. Raises Rejected for every other reason (rights, say)."""
    errors = [each for each in results if isinstance(each, Exception)]
    for each in errors:
        if not isinstance(each, CONFLICTS):
            raise Rejected(tried, on="ZooKeeper", saw=type(each).__name__)
    return not errors


def _role_state(
    role: str, epoch: Answer, lease: Answer, holder: Answer, resign: Answer, *, session: int | None
) -> RoleState:
    return RoleState(
        role=role,
        epoch=_epoch_of(epoch[0]) if epoch else None,
        epoch_version=epoch[1].version if epoch else None,
        lease=_lease(*lease) if lease else None,
        term=_term(role, holder[0]) if holder else None,
        ours=holder is not None and session is not None and holder[1].ephemeralOwner == session,
        resign=_epoch_of(resign[0]) if resign else None,
    )


def _saw(state: RoleState, term: Term) -> str:
    if state.term is not None and state.term.epoch != term.epoch:
        return f"{state.term.holder} leads under epoch {state.term.epoch.number}"
    return "the session that held it has ended"


# What the nodes say: one JSON object each; an empty node says nothing yet. Waiting for a role, and holding
# it, means to read and to write the same words again and again.


_encode = json.JSONEncoder(separators=(",", ":")).encode


def _note(fields: Mapping[str, Any]) -> bytes:
    return _encode(fields).encode()


@lru_cache(maxsize=256)
def _fields(content: bytes) -> Mapping[str, Any]:
    try:
        fields = json.loads(content or b"{}")
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise Rejected("read a role's record", saw=f"not ours: {content[:60]!r}")
    return MappingProxyType(fields)


def _epoch_fields(epoch: Epoch) -> dict[str, Any]:
    return {"generation": epoch.generation, "counter": epoch.counter}


@lru_cache(maxsize=256)
def _epoch_of(content: bytes) -> Epoch | None:
    fields = _fields(content)
    return Epoch(int(fields["generation"]), int(fields["counter"])) if fields else None


def _epoch_note(epoch: Epoch) -> bytes:
    return _note(_epoch_fields(epoch))


@lru_cache(maxsize=16)
def _lease_note(epoch: Epoch, session_s: float, *, released: bool = False) -> bytes:
    return _note({**_epoch_fields(epoch), "session_s": session_s, "released": released})


def _lease(content: bytes, stat: Any) -> Lease | None:
    epoch = _epoch_of(content)
    if epoch is None:
        return None
    fields = _fields(content)
    return Lease(
        epoch=epoch,
        session_s=float(fields["session_s"]),
        released=bool(fields["released"]),
        version=stat.version,
        stamp=stat.mzxid,
        renewed_at=datetime.fromtimestamp(stat.mtime / 1000, UTC),
    )


def _term_note(term: Term) -> bytes:
    since = term.since.isoformat()
    return _note(
        {**_epoch_fields(term.epoch), "who": term.who, "host": term.host, "pid": term.pid, "since": since}
    )


@lru_cache(maxsize=64)
def _term(role: str, content: bytes) -> Term | None:
    epoch = _epoch_of(content)
    if epoch is None:
        return None
    fields = _fields(content)
    return Term(
        role=role,
        epoch=epoch,
        who=str(fields["who"]),
        host=str(fields["host"]),
        pid=int(fields["pid"]),
        since=datetime.fromisoformat(fields["since"]),
    )
