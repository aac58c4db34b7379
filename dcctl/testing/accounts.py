"""``ports.Account`` in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dcctl.domain.replication_check import ContainerFacts


@dataclass
class Kept:
    """A container: our key and mark, what a person set on it, and how many objects it has."""

    key: str = ""
    mark: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    objects: int = 0


class MemoryAccount:
    """One account."""

    def __init__(self, site: str) -> None:
        self.site = site
        self.kept: dict[str, Kept] = {}

    def containers(self, prefix: str = "") -> tuple[str, ...]:
        return tuple(sorted(name for name in self.kept if name.startswith(prefix)))

    def observe_container(self, container: str) -> ContainerFacts | None:
        one = self.kept.get(container)
        if one is None:
            return None
        return ContainerFacts(
            self.site,
            container,
            has_key=bool(one.key),
            key=one.key,
            sync_to="",
            versioned=False,
            sharded=False,
            policy="standard",
            objects=one.objects,
            settings=dict(one.settings),
            mark=one.mark,
        )

    def ensure_container(self, container: str, key: str, *, mark: str | None = None) -> bool:
        before = self.observe_container(container)
        one = self.kept.setdefault(container, Kept())
        one.key = key
        one.mark = one.mark if mark is None else mark
        return before != self.observe_container(container)

    def ensure_settings(self, container: str, settings: Mapping[str, str]) -> bool:
        before = self.observe_container(container)
        self.kept[container].settings = dict(settings)
        return before != self.observe_container(container)

    def remove_container(self, container: str) -> bool:
        if container in self.kept and self.kept[container].objects:
            return False
        self.kept.pop(container, None)
        return True
