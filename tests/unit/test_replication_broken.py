"""The checks have teeth: four replicators that are each wrong in one way, and the history that shows it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from test_replication_model import Oracle, assert_converged, play
from test_replication_pass import World

from dcctl.domain.document import Answer
from dcctl.domain.replication import Stamp
from dcctl.testing.documents import MemoryStore


class Ours(MemoryStore):
    """Right; ``at_delete`` is a client that writes just before a delete arrives."""

    at_delete: Callable[[], None] | None = None

    async def delete(self, container: str, name: str, stamp: Stamp) -> Answer:
        if self.at_delete is not None:
            self.at_delete()
            self.at_delete = None
        return await super().delete(container, name, stamp)


class TakesAbsenceForADelete(Ours):
    async def holds(self, container: str, name: str, stamp: Stamp) -> bool:  # noqa: ARG002
        return True


class StampsDeletesNow(Ours):
    async def delete(self, container: str, name: str, stamp: Stamp) -> Answer:
        await super().delete(container, name, stamp)
        return await super().delete(container, name, self.now())


class TakesThePostsTimeForTheBodys(Ours):
    async def holds(self, container: str, name: str, stamp: Stamp) -> bool:
        stored = self.containers[container].get(name)
        return stored is not None and stored.listed >= stamp


class WritesIntoTheFuture(Ours):
    def now(self) -> Stamp:
        return super().now().plus(3600 if self.replicating else 0)

    replicating = False

    async def list_page(
        self,
        container: str,
        *,
        marker: str = "",
        upto: str | None = None,
        prefix: str = "",
        limit: int = 10_000,
    ) -> bytes:
        self.replicating = True
        return await super().list_page(container, marker=marker, upto=upto, prefix=prefix, limit=limit)

    def _tick(self) -> Stamp:
        self.replicating = False
        return super()._tick()


HISTORIES: list[tuple[type[Ours], float, list]] = [  # type: ignore[type-arg]
    (
        TakesAbsenceForADelete,
        0.0,
        [("put", "a", "a", 1), ("put", "a", "keep", 1), ("pass",), ("lost", "b", "a"), ("pass",)],
    ),
    (
        StampsDeletesNow,
        0.0,
        [
            ("put", "a", "a", 1),
            ("pass",),
            ("pass",),
            ("delete", "b", "a"),
            ("time", 5.0),
            ("while deleting, put", "b", "a", 2),
            ("pass",),
        ],
    ),
    (
        TakesThePostsTimeForTheBodys,
        0.0,
        [("put", "a", "a", 1), ("pass",), ("put", "b", "a", 2), ("time", 5.0), ("post", "a", "a", 3)],
    ),
    (WritesIntoTheFuture, -30.0, [("put", "a", "a", 1), ("pass",), ("must put", "b", "a", 2)]),
]


def run(folder: Path, kind: type[Ours], skew_s: float, steps: list) -> None:  # type: ignore[type-arg]
    world = World(folder, skew_s=skew_s)
    try:
        _play_all(world, kind, skew_s, steps)
    finally:
        world.base.close()


def _play_all(world: World, kind: type[Ours], skew_s: float, steps: list) -> None:  # type: ignore[type-arg]
    for site, skew in (("a", 0.0), ("b", skew_s)):
        store = kind("east" if site == "a" else "west", world.time, skew_s=skew)
        store.containers |= {"dcctl-trash": {}, "dcctl-conflicts": {}}
        setattr(world, site, store)
    world.time.now_s += 1
    oracle = Oracle()
    for step in steps:
        match step:
            case ("lost", site, name):  # a disk died: no tombstone says that anybody deleted it
                del getattr(world, site).containers["docs"][name]
            case ("must put", site, name, value):
                _must_put(world, oracle, site, name, value)
            case ("while deleting, put", site, name, value):
                other = world.b if site == "a" else world.a
                other.at_delete = partial(_must_put, world, oracle, site, name, value)  # type: ignore[attr-defined]
            case _:
                play(world, [step], oracle)
    assert_converged(world, oracle)


def _must_put(world: World, oracle: Oracle, site: str, name: str, value: int) -> None:
    store = getattr(world, site)
    assert store.client_put("docs", name, f"v{value}".encode()), "answered 202: the write is lost"
    oracle.wrote(name, store)


@pytest.mark.parametrize(
    ("kind", "skew_s", "steps"), HISTORIES, ids=lambda one: one.__name__ if isinstance(one, type) else ""
)
def test_the_wrong_replicator_is_caught_and_ours_is_not(
    tmp_path: Path,
    kind: type[Ours],
    skew_s: float,
    steps: list,  # type: ignore[type-arg]
) -> None:
    ours: Callable[[], None] = lambda: run(tmp_path / "ours", Ours, skew_s, steps)  # noqa: E731
    ours()
    with pytest.raises(AssertionError):
        run(tmp_path / "wrong", kind, skew_s, steps)
