"""Static large objects where nothing is signed: a cluster makes its own manifest of the segments that it is
told, so the same object has another manifest, with another hash, on each side. What both have alike is the
large object's own ETag, the checksum of its segments' checksums (``slo_etag`` in a listing).

Source: docs.openstack.org/swift, "Large Objects", and ``swift.common.middleware.slo`` of 2.38.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dcctl.domain.replication import Row, row_of

KEPT_AS = {"Content-Type": "application/json", "X-Object-Meta-Dcctl-Manifest": "slo"}
"""What a manifest in the trash or among conflicts has: an ordinary object, since its segments may be gone."""


@dataclass(frozen=True, slots=True)
class Segment:
    """An object that a manifest names. ``large``: it is a static large object itself."""

    container: str
    name: str
    hash: str
    large: bool = False


def token_row_of(entry: dict[str, Any]) -> Row:
    """A row from one entry of a JSON listing, as a token sees it: of a large object its own ETag is the hash.

    A symbolic link to one is listed with that ETag too and is an object like others.
    """
    row = row_of(entry)
    if "slo_etag" in entry and "symlink_path" not in entry:
        return row._replace(hash=str(entry["slo_etag"]).strip('"'), manifest=True)
    return row._replace(manifest=False)


def segments_of(manifest: bytes) -> tuple[Segment, ...]:
    """The objects that a stored manifest names, each once. Inline data needs nothing."""
    found = {}
    for one in json.loads(manifest):
        if path := one.get("name"):
            container, _, name = str(path).lstrip("/").partition("/")
            found[path] = Segment(container, name, str(one["hash"]), bool(one.get("sub_slo")))
    return tuple(found.values())


def as_put(manifest: bytes) -> bytes:
    """A stored manifest as a client gives it with ``multipart-manifest=put``; each part is verified there."""
    return json.dumps([_part(one) for one in json.loads(manifest)]).encode()


def _part(one: Mapping[str, Any]) -> dict[str, Any]:
    if "data" in one:
        return {"data": one["data"]}
    part = {"path": one["name"], "etag": one["hash"], "size_bytes": one["bytes"]}
    return part | ({"range": one["range"]} if one.get("range") else {})
