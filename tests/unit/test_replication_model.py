"""Whatever clients do at both sites, both end with what one cluster would have kept of all of it."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_replication_pass import World

from dcctl.domain.replication import Stamp
from dcctl.errors import Unreachable
from dcctl.testing.documents import MemoryStore

NAMES = ["a", "b"]
SITES = ["a", "b"]

operations = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(SITES), st.sampled_from(NAMES), st.integers(0, 2)),
        st.tuples(st.just("post"), st.sampled_from(SITES), st.sampled_from(NAMES), st.integers(0, 9)),
        st.tuples(st.just("delete"), st.sampled_from(SITES), st.sampled_from(NAMES)),
        st.tuples(st.just("time"), st.sampled_from([0.001, 5.0, 45.0])),
        st.tuples(st.just("pass")),
        st.tuples(st.just("killed pass"), st.sampled_from(SITES), st.integers(1, 6)),
        st.tuples(st.just("base lost")),
        st.tuples(st.just("listing late"), st.sampled_from(SITES), st.sampled_from(NAMES)),
    ),
    max_size=14,
)


@dataclass
class Oracle:
    """Every acknowledged operation, ordered as one cluster would have ordered them: by timestamp."""

    bodies: dict[str, tuple[Stamp, bytes | None]] = field(default_factory=dict)
    posts: dict[str, tuple[Stamp, str]] = field(default_factory=dict)

    def wrote(self, name: str, store: MemoryStore) -> None:
        one = store.containers["docs"].get(name)
        if one is None:
            return
        known = self.bodies.get(name)
        if known is None or one.body > known[0]:
            self.bodies[name] = (one.body, one.content)

    def posted(self, name: str, store: MemoryStore, value: str) -> None:
        stamp = store.containers["docs"][name].meta
        if name not in self.posts or stamp > self.posts[name][0]:
            self.posts[name] = (stamp, value)

    def expected(self) -> dict[str, tuple[bytes, str | None]]:
        found = {}
        for name, (stamp, content) in self.bodies.items():
            if content is not None:
                post = self.posts.get(name)
                found[name] = (content, post[1] if post is not None and post[0] > stamp else None)
        return found


def play(world: World, steps: list[tuple], oracle: Oracle | None = None) -> Oracle:  # type: ignore[type-arg]
    oracle = oracle or Oracle()
    for step in steps:
        match step:
            case ("put", site, name, value):
                store = getattr(world, site)
                if store.client_put("docs", name, f"v{value}".encode()):
                    oracle.wrote(name, store)
            case ("post", site, name, value):
                store = getattr(world, site)
                if store.client_post("docs", name, X_Object_Meta_K=str(value)):
                    oracle.posted(name, store, str(value))
            case ("delete", site, name):
                store = getattr(world, site)
                store.client_delete("docs", name)  # a 404 lays a tombstone too, as in Swift
                oracle.wrote(name, store)
            case ("time", seconds):
                world.time.now_s += seconds
            case ("pass",):
                world.once()
            case ("killed pass", site, calls):
                store = getattr(world, site)
                store.fail_after = calls
                try:
                    world.once()
                except* Unreachable:
                    pass
                store.fail_after = None
            case ("base lost",):
                world.lose_base()
            case ("listing late", site, name):
                getattr(world, site).hidden ^= {("docs", name)}
    return oracle


def assert_converged(world: World, oracle: Oracle) -> None:
    world.a.hidden.clear()
    world.b.hidden.clear()
    world.settle()
    world.assert_same()
    got = {
        name: (one.content, one.headers.get("X-Object-Meta-K"))
        for name, one in world.a.containers["docs"].items()
        if one.content is not None
    }
    assert got == oracle.expected()


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(operations, st.sampled_from([0.0, 30.0, -30.0]), st.booleans())
def test_both_sites_end_with_what_one_cluster_would_have_kept(
    steps: list,  # type: ignore[type-arg]
    skew_s: float,
    tells_bodies: bool,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), skew_s=skew_s)
        world.a.tells_bodies = world.b.tells_bodies = tells_bodies
        try:
            oracle = play(world, steps)
            assert_converged(world, oracle)
        finally:
            world.base.close()


@pytest.mark.parametrize(
    "steps",
    [
        [("put", "a", "a", 1), ("pass",), ("put", "b", "a", 2), ("time", 5.0), ("post", "a", "a", 3)],
        [("put", "a", "a", 1), ("pass",), ("delete", "b", "a"), ("post", "a", "a", 3)],
    ],
)
def test_histories_that_once_went_wrong_elsewhere(tmp_path: Path, steps: list) -> None:  # type: ignore[type-arg]
    world = World(tmp_path)
    try:
        assert_converged(world, play(world, steps))
    finally:
        world.base.close()
