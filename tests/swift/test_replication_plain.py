"""Clusters without our proxy filter: a body's own stamp is found by asking."""

import asyncio
from pathlib import Path

from swift_client import as_client

from dcctl.adapters.swift import Keys, SwiftStore
from dcctl.cli.main import run
from dcctl.domain.replication import Stamp
from dcctl.testing.replication_site import REQUIREMENTS, Environment
from dcctl.testing.swift_pair import PIPELINE, REALM, REALM_KEY, SYNC_KEY, two_clusters


def test_body_and_post_keep_their_own_stamps_and_a_post_undoes_no_delete(tmp_path: Path) -> None:
    with two_clusters(REQUIREMENTS, pipeline=PIPELINE.replace("dcctl_stamps ", "")) as pair:
        env = Environment(tmp_path, pair)
        assert run(env.argv("init")) == 0
        as_client(pair.east, "PUT", f"{env.docs}/posted", b"1")
        as_client(pair.east, "POST", f"{env.docs}/posted", X_Object_Meta_K="v")
        as_client(pair.east, "PUT", f"{env.docs}/plain", b"1")
        as_client(pair.west, "PUT", f"{env.docs}/keep", b"1")
        assert run(env.argv("once")) == 0
        env.assert_same()

        async def bodies() -> tuple[Stamp, Stamp]:
            """The body's stamp on each side, by the question that Swift answers: found by halving."""
            found = []
            for cluster in pair.clusters:
                keys = Keys(REALM, REALM_KEY, SYNC_KEY)
                async with SwiftStore(cluster.name, cluster.url, keys) as store:
                    head = await store.head(env.docs, "posted")
                    assert head is not None
                    assert head.body is None
                    low, high = head.stamp.ticks - 60 * 100_000, head.stamp.ticks
                    while high - low > 1:
                        middle = (low + high) // 2
                        held = await store.holds(env.docs, "posted", Stamp(middle))
                        low, high = (middle, high) if held else (low, middle)
                    found.append(Stamp(low))
            return found[0], found[1]

        east, west = asyncio.run(bodies())
        assert east == west
        as_client(pair.west, "DELETE", f"{env.docs}/posted")
        as_client(pair.east, "POST", f"{env.docs}/posted", X_Object_Meta_K="late")
        assert run(env.argv("once")) == 0
        assert sorted(env.assert_same()) == ["keep", "plain"]
