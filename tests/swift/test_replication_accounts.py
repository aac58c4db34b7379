"""Two accounts of the same two clusters, as typed: each has its own owner, trash and conflicts."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import swiftclient
import yaml
from swift_client import as_client, following, wait_for

from dcctl.cli.main import run
from dcctl.testing.replication_site import Environment
from dcctl.testing.swift_pair import ACCOUNT, OTHER_ACCOUNT, OTHER_USER, PASSWORD, Cluster, Pair

Dcctl = Callable[..., dict[str, Any]]


@contextlib.contextmanager
def other_account(cluster: Cluster) -> Iterator[swiftclient.Connection]:
    connection = swiftclient.Connection(cluster.auth_url, OTHER_USER, PASSWORD, retries=1)
    try:
        yield connection
    finally:
        connection.close()


def content(cluster: Cluster, container: str) -> dict[str, bytes]:
    """What another account's container has, by name."""
    with other_account(cluster) as account:
        _headers, rows = account.get_container(container, full_listing=True)
        return {row["name"]: account.get_object(container, row["name"])[1] for row in rows}


@pytest.fixture
def env(tmp_path: Path, pair: Pair) -> Environment:
    """Its second account is called archive, and has a container of the same name as the first."""
    made = Environment(tmp_path, pair)
    path = made.folder / "dcctl.yaml"
    document = yaml.safe_load(path.read_text())
    stores = document["replication"]["stores"]
    document["replication"]["accounts"] = {
        "archive": {
            "stores": {
                site: {
                    "url": store["url"].replace(ACCOUNT, OTHER_ACCOUNT),
                    "administrator": {**store["administrator"], "user": OTHER_USER},
                }
                for site, store in stores.items()
            },
            "containers": [made.docs],
            "containers_like": [f"go-{made.docs}-"],
        }
    }
    path.write_text(yaml.safe_dump(document))
    return made


@pytest.fixture
def dcctl(env: Environment, capsys: Any) -> Dcctl:
    def typed(*argv: str, code: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        got = run(env.argv(*argv))
        out, err = capsys.readouterr()
        assert got == code, err
        return dict(json.loads(out)) if out else {}

    typed("init")
    return typed


def test_two_accounts_are_kept_the_same_and_never_meet(env: Environment, pair: Pair, dcctl: Dcctl) -> None:
    east, west, docs = pair.east, pair.west, env.docs
    assert not [one for one in dcctl("check")["findings"] if one["level"] == "refuse"]
    as_client(east, "PUT", f"{docs}/ours", b"1")
    with other_account(west) as account:
        account.put_object(docs, "theirs", b"2")
        account.put_object(docs, "gone", b"3")
    assert [one["container"] for one in dcctl("once", "--account", "archive")["containers"]] == [
        f"archive/{docs}"
    ]
    assert env.listed(west) == set()
    dcctl("once")
    assert env.listed(west) == {"ours"}
    assert content(east, docs) == content(west, docs) == {"theirs": b"2", "gone": b"3"}
    with other_account(east) as account:
        account.delete_object(docs, "gone")
    dcctl("once", "--account", "archive", "--container", docs)
    assert content(west, docs) == {"theirs": b"2"}
    (kept,) = content(west, env.trash).values()
    assert kept == b"3"
    assert env.listed(west, env.trash) == set()
    verdicts = dcctl("verify", "--level", "full")["containers"]
    assert [(one["container"], one["same"]) for one in verdicts] == [(docs, True), (f"archive/{docs}", True)]


def test_follow_carries_both_and_containers_that_come(env: Environment, pair: Pair, dcctl: Dcctl) -> None:
    come = f"go-{env.docs}-1"
    dcctl("status", "--account", "archive")
    with following(env, "--every", "0.3"):
        as_client(pair.east, "PUT", f"{env.docs}/ours", b"1")
        with other_account(pair.west) as account:
            account.put_container(come)
            account.put_object(come, "theirs", b"2")

        def arrived() -> bool:
            with other_account(pair.east) as account:
                _headers, rows = account.get_account(prefix=come)
                return bool(rows) and content(pair.east, come) == {"theirs": b"2"}

        wait_for(arrived)
        wait_for(lambda: env.listed(pair.west) == {"ours"})
