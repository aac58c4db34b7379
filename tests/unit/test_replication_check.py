"""What must be true of two clusters: each row of the tables."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dcctl.domain.replication_check import (
    ClusterFacts,
    ContainerFacts,
    decide_cluster,
    decide_container,
    decide_gap,
    decide_pair,
    decide_tokens,
    decide_writable,
)

CLUSTER = ClusterFacts("east", "2.38", frozenset({"container_sync", "slo", "dlo"}), frozenset({"dcctl"}), 0.2)
CONTAINER = ContainerFacts(
    "east",
    "docs",
    has_key=True,
    key="k",
    sync_to="",
    versioned=False,
    sharded=False,
    policy="gold",
    objects=9,
)


@pytest.mark.parametrize(
    ("facts", "worst", "words"),
    [
        (CLUSTER, "ok", "Swift 2.38"),
        (replace(CLUSTER, capabilities=frozenset({"slo", "dlo"})), "refuse", "container_sync"),
        (replace(CLUSTER, realms=frozenset({"other"})), "refuse", "other"),
        (replace(CLUSTER, skew_s=-30.0), "refuse", "-30.0 s"),
        (replace(CLUSTER, skew_s=2.0), "warn", "+2.0 s"),
        (replace(CLUSTER, capabilities=frozenset({"container_sync", "dlo"})), "warn", "no slo"),
        (replace(CLUSTER, quota_bytes=100, used_bytes=96), "warn", "96 of the account's quota"),
    ],
)
def test_clusters(facts: ClusterFacts, worst: str, words: str) -> None:
    found = [one for one in decide_cluster(facts, realm="DCCTL") if one.level == worst]
    assert any(words in one.sentence for one in found)


def test_with_tokens_what_is_not_promised_is_named() -> None:
    without = replace(CLUSTER, capabilities=frozenset({"slo", "dlo"}))
    assert {one.level for one in decide_cluster(without, realm=None)} == {"ok"}
    assert "signed requests would promise more" in decide_cluster(CLUSTER, realm=None)[0].sentence
    assert any("deleted objects return" in one.sentence for one in decide_tokens())


@pytest.mark.parametrize(
    ("facts", "level", "words"),
    [
        (CONTAINER, "ok", "policy gold"),
        (None, "refuse", "no such container"),
        (replace(CONTAINER, key="x"), "refuse", "another key"),
        (replace(CONTAINER, key="", has_key=False), "refuse", "no key"),
        (replace(CONTAINER, sync_to="//r/c"), "refuse", "native"),
        (replace(CONTAINER, versioned=True), "refuse", "versions"),
        (replace(CONTAINER, sharded=True), "warn", "it is sharded: a listing may lag behind"),
        (replace(CONTAINER, objects=1_000_000), "warn", "1000000 objects, so it may be sharded: a listing"),
        (replace(CONTAINER, quota_bytes=100, used_bytes=50), "ok", "9 objects"),
        (replace(CONTAINER, quota_bytes=100, used_bytes=99), "warn", "99 of its quota of 100 bytes"),
        (replace(CONTAINER, quota_count=9), "warn", "9 of its quota of 9 objects"),
    ],
)
def test_containers(facts: ContainerFacts | None, level: str, words: str) -> None:
    (found,) = decide_container(facts, site="east", container="docs", key="k")
    assert (found.level, words in found.sentence) == (level, True)


def test_what_is_not_replicated_and_differs_is_told() -> None:
    west = replace(CONTAINER, site="west")
    assert decide_pair(CONTAINER, west) == ()
    (policy,) = decide_pair(CONTAINER, replace(west, policy="ec"))
    assert "policy gold at east and ec at west" in policy.sentence
    (quota,) = decide_pair(CONTAINER, replace(west, quota_bytes=5))
    assert "quotas" in quota.sentence


def test_an_account_that_takes_no_writes_is_refused() -> None:
    assert decide_writable("east", "docs", None)[0].level == "ok"
    (found,) = decide_writable("east", "docs", "HTTP 405: read-only")
    assert (found.level, "HTTP 405" in found.sentence) == ("refuse", True)


@pytest.mark.parametrize(
    ("gap", "level", "words"),
    [
        (None, "warn", "the first one carries no deletes"),
        (timedelta(days=5), "ok", "5 days"),
        (timedelta(days=6, seconds=1), "warn", "one-sided names will wait for a person"),
    ],
)
def test_a_gap_that_tombstones_may_not_outlive_is_told(gap: timedelta | None, level: str, words: str) -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    complete = now - gap if gap is not None else None
    (found,) = decide_gap("docs", complete, now=now, trusted=timedelta(days=6))
    assert (found.level, words in found.sentence) == (level, True)


def test_the_size_of_a_clocks_error_is_looked_at_and_not_its_sign() -> None:
    for skew_s, level in ((0.9, "ok"), (1.1, "warn"), (5.1, "refuse")):
        for sign in (1, -1):
            found = decide_cluster(replace(CLUSTER, skew_s=sign * skew_s), realm="dcctl")
            (clock,) = [one for one in found if "clock" in one.sentence]
            assert clock.level == level
