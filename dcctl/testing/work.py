"""``ports.SharedWork`` in memory: several sessions with one ensemble."""

from dataclasses import dataclass, field, replace

from dcctl.domain.replication_share import ContainerWork, Share, ShareState, Worked, shares_of
from dcctl.errors import Unreachable


@dataclass
class MemoryEnsemble:
    """What sessions share. ``away``: nobody is answered."""

    workers: set[str] = field(default_factory=set)
    bounds: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    records: dict[str, tuple[int, Worked]] = field(default_factory=dict)
    holders: dict[str, str] = field(default_factory=dict)
    away: bool = False

    def expire(self, who: str) -> None:
        """The session of ``who`` ends, as it does while its process sleeps."""
        self.workers.discard(who)
        self.holders = {key: holder for key, holder in self.holders.items() if holder != who}


class MemoryWork:
    """One session of ``who``."""

    def __init__(self, ensemble: MemoryEnsemble, who: str) -> None:
        self._ensemble = ensemble
        self.who = who

    def observe_workers(self) -> tuple[str, ...]:
        self._asked()
        self._ensemble.workers.add(self.who)
        return tuple(sorted(self._ensemble.workers))

    def observe_work(self, container: str) -> ContainerWork:
        self._asked()
        version, bounds = self._ensemble.bounds.get(container, (None, ()))
        shares = tuple(
            replace(self._state(share), holder=self._ensemble.holders.get(share.key, ""))
            for share in shares_of(container, bounds)
        )
        return ContainerWork(container, bounds, version, shares)

    def take(self, share: Share) -> ShareState | None:
        self._asked()
        if self._ensemble.holders.setdefault(share.key, self.who) != self.who:
            return None
        return self._state(share)

    def give_back(self, state: ShareState, worked: Worked | None) -> None:
        self._asked()
        key = state.share.key
        version = self._ensemble.records[key][0] if key in self._ensemble.records else None
        if worked is not None and version == state.version:
            self._ensemble.records[key] = ((version or 0) + 1, worked)
        if self._ensemble.holders.get(key) == self.who:
            del self._ensemble.holders[key]

    def divide(self, work: ContainerWork, bound: str) -> bool:
        self._asked()
        version, bounds = self._ensemble.bounds.get(work.container, (None, ()))
        if version != work.version:
            return False
        ordered = tuple(sorted({*bounds, bound}, key=str.encode))
        self._ensemble.bounds[work.container] = ((version or 0) + 1, ordered)
        return True

    def _state(self, share: Share) -> ShareState:
        version, worked = self._ensemble.records.get(share.key, (None, None))
        return ShareState(share, worked, version)

    def _asked(self) -> None:
        if self._ensemble.away:
            raise Unreachable("ask the ensemble", saw="made to fail")
