"""What an application of the two clusters does, with a token of its own."""

import urllib.request
from pathlib import Path

from dcctl.testing.swift_pair import SYNC_KEY, Cluster

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


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
