"""Two real Swift clusters, started once for all tests of this tier."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from swift_client import make_container

from dcctl.testing.replication_site import REQUIREMENTS
from dcctl.testing.swift_pair import PIPELINE, Pair, two_clusters

FEED = Path(__file__).parents[2] / "templates/swift/dcctl_feed.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.swift)


@pytest.fixture(scope="session")
def pair() -> Iterator[Pair]:
    with two_clusters(
        REQUIREMENTS,
        pipeline=PIPELINE.replace("dcctl_stamps", "dcctl_stamps dcctl_feed"),
        extra_filters="[filter:dcctl_feed]\npaste.filter_factory = dcctl_feed:filter_factory\n",
        files=(FEED,),
    ) as clusters:
        yield clusters


_numbers = itertools.count(1)


@pytest.fixture
def container(pair: Pair) -> str:
    """A container of the same new name on both clusters, with the key that lets signed requests in."""
    name = f"c{next(_numbers)}"
    for cluster in pair.clusters:
        make_container(cluster, name)
    return name
