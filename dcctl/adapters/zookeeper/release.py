"""``ports.LeaderKey``: Patroni's keys in ZooKeeper, and the one way in which its leader key is released.

An ephemeral node that was made anew is at version 0 again, and Patroni never writes to its leader key: its
version does not tell this key from the next one, of another member. What tells it is the *member's* key of
the same session: ZooKeeper removes both in one transaction when that session ends, and each of Patroni's
rounds writes it. So the transaction that deletes the leader key checks the member's key at its version.

That version could be met again only by a member key that was made anew and written as often. Therefore it
is first brought to ``FAR`` by writing its own content back, which takes Patroni as many rounds of a second,
while the transaction has ``limit_s``: when it is given up, the run's next word changes ``runs/active``, which
the transaction checks too.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dcctl.adapters.zookeeper.leases import ANY_VERSION
from dcctl.adapters.zookeeper.session import Answer, ZooKeeperSession
from dcctl.domain.leadership import Term
from dcctl.domain.release import LeaderKeys
from dcctl.errors import LeadershipLost, Refused, Rejected

TRIED = "release Patroni's leader key"
FAR = 100
"""A version that no new key comes to within the time that a transaction has."""
Guards = tuple[tuple[str, int], ...]


class ZooKeeperLeaderKey:
    """The keys under ``keys`` of the databases ``members``. ``owned`` gives what a transaction must check
    for our run to have the right to act (``ZooKeeperRuns.guards``)."""

    def __init__(
        self,
        session: ZooKeeperSession,
        environment: str,
        *,
        keys: str,
        members: Sequence[str],
        owned: Callable[[], Guards],
    ) -> None:
        self._session = session
        self._client = session.client
        self._keys = keys
        self._roles = f"/dcctl/{environment}/roles"
        self._members = tuple(members)
        self._owned = owned

    def observe_keys(self, *, limit_s: float) -> LeaderKeys:
        deadline_s = self._session.clock() + limit_s
        names = ["leader", "sync", "config", "failover", *(f"members/{name}" for name in self._members)]
        paths = [f"{self._keys}/{name}" for name in names]
        found = dict(
            zip(
                names,
                [self._session.read(path, max(0.05, deadline_s - self._session.clock())) for path in paths],
                strict=True,
            )
        )
        members = {name: found[f"members/{name}"] for name in self._members}
        return parse_keys(found["leader"], found["sync"], found["config"], found["failover"], members)

    def release(self, keys: LeaderKeys, *, term: Term | None, limit_s: float) -> None:
        guards = (*self._owned(), *((self._of(term, limit_s),) if term is not None else ()))
        self._delete(self._marked(keys, guards, limit_s), guards, limit_s)

    def _marked(self, keys: LeaderKeys, guards: Guards, limit_s: float) -> LeaderKeys:
        """``keys`` with the leader's member key, which is still the same one, at ``FAR`` or above."""
        path = f"{self._keys}/members/{keys.leader}"
        change = self._client.transaction()
        self._check(change, guards)
        versions = range(keys.member_version, max(FAR, keys.member_version + 1))
        for version in versions:
            change.set_data(path, keys.member, version)
        self._commit(change, guards, (path,) * len(versions), limit_s)
        answer = self._session.read(path, limit_s)
        if (
            answer is None
            or (answer[1].ephemeralOwner, answer[1].czxid) != (keys.session, keys.member_created)
            or answer[1].version != versions[-1] + 1
        ):
            raise _changed(path)
        return replace(keys, member_version=answer[1].version)

    def _delete(self, keys: LeaderKeys, guards: Guards, limit_s: float) -> None:
        paths = tuple(
            f"{self._keys}/{name}" for name in (f"members/{keys.leader}", "config", "sync", "leader")
        )
        change = self._client.transaction()
        self._check(change, guards)
        change.check(paths[0], keys.member_version)
        change.check(paths[1], keys.config_version)
        change.set_data(paths[2], keys.sync, keys.sync_version)
        change.delete(paths[3], ANY_VERSION)
        self._commit(change, guards, paths, limit_s)

    def _of(self, term: Term, limit_s: float) -> tuple[str, int]:
        """The epoch node of ``term``'s role, at the version at which it holds that epoch."""
        path = f"{self._roles}/{term.role}/epoch"
        answer = self._session.read(path, limit_s)
        fields = _fields(answer)
        if answer is None or (fields.get("generation"), fields.get("counter")) != (
            term.epoch.generation,
            term.epoch.counter,
        ):
            raise LeadershipLost(TRIED, on=term.role, saw="its epoch is not ours any more")
        return path, answer[1].version

    def _check(self, change: Any, guards: Guards) -> None:
        for path, version in guards:
            change.check(path, version)

    def _commit(self, change: Any, guards: Guards, paths: tuple[str, ...], limit_s: float) -> None:
        """All of it or nothing; raises what stood against it."""
        results = self._session.ask(TRIED, change.commit_async, limit_s)
        failed = [index for index, each in enumerate(results) if isinstance(each, Exception)]
        if not failed:
            return
        # ZooKeeper tells what failed by its own error; before it "rolled back", after it "inconsistency".
        told = ("RolledBackError", "RuntimeInconsistency")
        first = next((at for at in failed if type(results[at]).__name__ not in told), failed[0])
        if first < len(guards):
            raise LeadershipLost(TRIED, on=guards[first][0], saw="another has the right to act now")
        why = type(results[first]).__name__
        if why not in ("BadVersionError", "NoNodeError"):
            raise Rejected(TRIED, on="ZooKeeper", saw=why)
        raise _changed(paths[first - len(guards)])


def _changed(path: str) -> Refused:
    return Refused(TRIED, on=path, reasons=(f"Patroni changed {path.rpartition('/')[2]} meanwhile",))


def parse_keys(
    leader: Answer, sync: Answer, config: Answer, failover: Answer, members: Mapping[str, Answer]
) -> LeaderKeys:
    """What Patroni's keys say. Raises Rejected for what is not Patroni's."""
    settings, named, asked = _fields(config), _fields(sync), _fields(failover)
    names = str(named.get("sync_standby") or "").split(",")
    tags = {name: _fields(each).get("tags") or {} for name, each in members.items()}
    name = leader[0].decode(errors="replace") if leader else None
    own = members.get(name or "")
    return LeaderKeys(
        leader=name,
        session=leader[1].ephemeralOwner if leader else 0,
        member=own[0] if own else b"",
        member_session=own[1].ephemeralOwner if own else 0,
        member_created=own[1].czxid if own else 0,
        member_version=own[1].version if own else 0,
        sync=sync[0] if sync else b"",
        sync_version=sync[1].version if sync else None,
        synchronous=tuple(sorted(name.strip() for name in names if name.strip())),
        synchronous_to=str(named["leader"]) if named.get("leader") else None,
        config_version=config[1].version if config else ANY_VERSION,
        # Patroni 4 knows another value, under which a name in /sync promises less.
        synchronous_mode=settings.get("synchronous_mode") is True,
        failsafe_mode=bool(settings.get("failsafe_mode")),
        paused=bool(settings.get("pause")),
        switching=any(asked.get(each) for each in ("leader", "member")),
        members=tuple(sorted(name for name, each in members.items() if each is not None)),
        refusing=tuple(sorted(name for name, each in tags.items() if _refuses(each))),
    )


def _refuses(tags: Mapping[str, Any]) -> bool:
    return bool(tags.get("nofailover")) or tags.get("failover_priority") == 0


def _fields(answer: Answer) -> dict[str, Any]:
    if answer is None or not answer[0]:
        return {}
    try:
        fields = json.loads(answer[0])
    except ValueError as error:
        raise Rejected("read Patroni's keys", saw=f"not Patroni's: {answer[0][:60]!r}") from error
    return fields if isinstance(fields, dict) else {}
