"""Two real Swift clusters, started once for all tests of this tier."""

import itertools
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dcctl.testing.swift_pair import SYNC_KEY, Cluster, Pair, two_clusters

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.swift)


@pytest.fixture(scope="session")
def pair() -> Iterator[Pair]:
    with two_clusters(REQUIREMENTS) as clusters:
        yield clusters


_numbers = itertools.count(1)


@pytest.fixture
def container(pair: Pair) -> str:
    """A container of the same new name on both clusters, with the key that lets signed requests in."""
    name = f"c{next(_numbers)}"
    for cluster in pair.clusters:
        make_container(cluster, name)
    return name


def make_container(cluster: Cluster, name: str, **headers: str) -> None:
    as_client(cluster, "PUT", name, X_Container_Sync_Key=SYNC_KEY, **headers)


def as_client(cluster: Cluster, method: str, path: str, data: bytes | None = None, **headers: str) -> int:
    """What an application does, with a token; the status. Raises urllib's HTTPError from 400 on."""
    given = {key.replace("_", "-"): value for key, value in headers.items()}
    request = urllib.request.Request(  # noqa: S310
        f"{cluster.url}/{path}", data=data, method=method, headers={"X-Auth-Token": _token(cluster), **given}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return int(answer.status)


_tokens: dict[str, str] = {}


def _token(cluster: Cluster) -> str:
    if cluster.url not in _tokens:
        _tokens[cluster.url] = cluster.token()
    return _tokens[cluster.url]


Client = Callable[..., int]
