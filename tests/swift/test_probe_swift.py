"""The put-get-hash probe against real Swift: nothing stays behind, and a wrong key is no health."""

from collections.abc import Callable

import requests

from dcctl.adapters.probes import Round, probe_swift
from dcctl.domain.probe import ProbeResult, ProbeSpec, SwiftCheck
from dcctl.testing.swift_pair import PASSWORD, USER, Cluster, Pair


def probed(cluster: Cluster, secret: Callable[[str], str]) -> ProbeResult:
    spec = ProbeSpec("x/swift", "x", "east", SwiftCheck(cluster.auth_url, USER, "key"), timeout_s=30)
    (result,) = Round([spec], {SwiftCheck: probe_swift(secret)})()
    return result


def test_an_object_goes_in_comes_back_and_is_gone(pair: Pair) -> None:
    for _ in range(2):  # the container is made the first time
        result = probed(pair.east, lambda _name: PASSWORD)
        assert (result.ok, result.saw) == (True, "an object was put, got back and deleted")
    listing = requests.get(
        f"{pair.east.url}/dcctl-probe?format=json", headers={"X-Auth-Token": pair.east.token()}, timeout=30
    )
    assert listing.json() == []


def test_a_wrong_key_is_refused_and_not_healthy(pair: Pair) -> None:
    result = probed(pair.east, lambda _name: "hunter2")
    assert (result.ok, result.answered) == (False, True)
    assert result.saw == f"HTTP 401: it refuses the key of {USER}"


def test_a_cluster_whose_object_server_is_dead_is_not_healthy(pair: Pair) -> None:
    pair.east.kill("object")
    try:
        result = probed(pair.east, lambda _name: PASSWORD)
        assert result.ok is False
        assert "HTTP 503" in result.saw
    finally:
        pair.east.start("object")
        pair.east.wait_ready()
