"""Token mode as typed, on two real clusters whose proxies have no ``container_sync``."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from swift_client import as_client, following, wait_for

from dcctl.cli.main import run
from dcctl.testing.replication_site import REQUIREMENTS, Environment
from dcctl.testing.swift_pair import PIPELINE, Cluster, Pair, two_clusters


@pytest.fixture(scope="module")
def keyless_pair() -> Iterator[Pair]:
    pipeline = PIPELINE.replace("container_sync ", "").replace("dcctl_stamps ", "")
    with two_clusters(REQUIREMENTS, pipeline=pipeline) as pair:
        yield pair


class Site:
    """An environment of its own in token mode, and commands as typed."""

    def __init__(self, folder: Path, pair: Pair, capsys: Any) -> None:
        self.env = Environment(folder, pair)
        self.docs, self._capsys = self.env.docs, capsys
        path = folder / "dcctl.yaml"
        text = path.read_text()
        for key in ("realm", "realm_key", "container_key"):
            text = re.sub(rf"  {key}: .*\n", f"  {key}:\n", text)
        path.write_text(text + "  tokens: true\n")
        self.dcctl("init")

    def dcctl(self, *argv: str, code: int = 0) -> dict[str, Any]:
        self._capsys.readouterr()
        got = run(self.env.argv(*argv))
        out, err = self._capsys.readouterr()
        assert got == code, err
        return dict(json.loads(out)) if out else {}

    def once(self) -> dict[str, Any]:
        return dict(self.dcctl("once", "--wait", "60")["containers"][0])

    def contents(self, cluster: Cluster) -> dict[str, tuple[bytes, str | None]]:
        return {
            name: (body, headers.get("x-object-meta-k"))
            for name, (_hash, headers, body) in self.env.objects(cluster).items()
        }


@pytest.fixture
def site(tmp_path: Path, keyless_pair: Pair, capsys: Any) -> Site:
    return Site(tmp_path, keyless_pair, capsys)


def test_two_clusters_without_the_middleware_are_kept_the_same_and_what_is_not_promised_is_named(
    site: Site, keyless_pair: Pair
) -> None:
    east, west, docs = keyless_pair.east, keyless_pair.west, site.docs
    warnings = [one["sentence"] for one in site.dcctl("check")["findings"] if one["where"] == "tokens"]
    assert any("deleted objects return" in sentence for sentence in warnings)
    assert site.dcctl("status")["not_promised"] == warnings
    for number in range(12):
        as_client((east, west)[number % 2], "PUT", f"{docs}/o{number}%20%D0%94", str(number).encode())
    as_client(east, "PUT", f"{docs}/posted", b"1", X_Object_Meta_K="first")
    assert site.once()["pending"] == 0
    assert site.contents(east) == site.contents(west)
    assert len(site.contents(west)) == 13
    site.once()
    as_client(west, "POST", f"{docs}/posted", X_Object_Meta_K="second")
    as_client(west, "DELETE", f"{docs}/o1%20%D0%94")
    as_client(east, "PUT", f"{docs}/o2%20%D0%94", b"over")
    site.once()
    assert site.contents(east) == site.contents(west)
    assert site.contents(east)["posted"] == (b"1", "second")
    assert site.contents(east)["o2 \u0414"] == (b"over", None)
    assert len(site.contents(east)) == 12
    assert len(site.env.listed(east, site.env.trash)) == 1
    assert site.dcctl("verify")["containers"][0]["same"]
    site.dcctl("repair", code=2)
    site.dcctl("follow", "--shared", code=2)


def test_large_objects_of_both_kinds_are_made_of_their_segments_at_the_other_side(
    site: Site, keyless_pair: Pair
) -> None:
    east, west, docs = keyless_pair.east, keyless_pair.west, site.docs
    for name, content in (("s1", b"one"), ("s2", b"two")):
        as_client(east, "PUT", f"{docs}/{name}", content)
    inline = {"data": base64.b64encode(b"!").decode()}
    parts = [{"path": f"{docs}/s1"}, {"path": f"{docs}/s2"}, inline, {"path": f"{docs}/s2", "range": "1-2"}]
    body, manifest = json.dumps(parts).encode(), f"{docs}/large?multipart-manifest=put"
    as_client(east, "PUT", manifest, body, Content_Type="text/large", X_Object_Meta_K="v")
    as_client(east, "PUT", f"{docs}/dynamic", b"", X_Object_Manifest=f"{docs}/s")
    assert site.once()["pending"] == 0
    assert site.contents(east) == site.contents(west)
    assert site.contents(west)["large"] == (b"onetwo!wo", "v")
    assert site.contents(west)["dynamic"][0] == b"onetwo"
    headers = site.env.objects(west)["large"][1]
    assert (headers["x-static-large-object"], headers["content-type"]) == ("True", "text/large")
    assert site.once()["kinds"] == {}
    as_client(west, "POST", f"{docs}/large", X_Object_Meta_K="w")
    site.once()
    assert site.contents(east)["large"] == (b"onetwo!wo", "w")
    assert site.contents(east) == site.contents(west)
    as_client(west, "DELETE", f"{docs}/large")
    site.once()
    assert site.contents(east) == site.contents(west)
    (kept,) = site.env.listed(east, site.env.trash)
    again = site.env.objects(east, site.env.trash)[kept][2]
    as_client(east, "PUT", manifest, again)
    assert site.contents(east)["large"] == (b"onetwo!wo", None)


def test_who_follows_with_tokens_finds_writes_by_passes(site: Site, keyless_pair: Pair) -> None:
    with following(site.env, "--every", "0.5"):
        as_client(keyless_pair.west, "PUT", f"{site.docs}/late", b"1")
        wait_for(lambda: "late" in site.env.listed(keyless_pair.east))
