"""Containers of several accounts: each by a name of its own, and nothing leaves the account it is in."""

import asyncio
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from dcctl.adapters.replication_base import SqliteBase
from dcctl.adapters.swift import Keys, SwiftStore, Token, Tokens
from dcctl.adapters.swift_feed import ProxyFeed, Source
from dcctl.cli.main import run
from dcctl.config.load import load_file
from dcctl.config.replication import Replication as Settings
from dcctl.domain.replication import Side
from dcctl.domain.replication_account import DEFAULT, account_of, beside, own_name, qualified
from dcctl.domain.replication_containers import Decided, Need
from dcctl.engines.replication import Replication
from dcctl.engines.replication_containers import Carried
from dcctl.engines.replication_manners import Limits, Time
from dcctl.engines.replication_options import Options
from dcctl.errors import ConfigurationError, NotFound, Refused
from dcctl.testing.documents import MemoryStore, VirtualTime

LAB = Path(__file__).parents[2] / "inventories" / "lab" / "dcctl.yaml"
OWNER = {"auth_url": "http://198.18.1.22:8090/auth/v1.0", "user": "archive:app", "password": "env:ARCHIVE"}


def archive(account: str = "AUTH_archive", **more: Any) -> dict[str, Any]:
    stores = {
        site: {"url": f"http://198.18.{number}.22:8090/v1/{account}"}
        for number, site in enumerate(("east", "west"), 1)
    }
    return {"stores": stores, "containers": ["letters"], **more}


def at(*origins: str) -> dict[str, Any]:
    """Stores at these, which need not be the sites' own."""
    urls = [{"url": f"{origin}/v1/AUTH_archive"} for origin in origins]
    return archive() | {"stores": dict(zip(("east", "west"), urls, strict=False))}


def with_owners(section: dict[str, Any]) -> dict[str, Any]:
    stores = {site: store | {"administrator": OWNER} for site, store in section["stores"].items()}
    return section | {"stores": stores}


def written(folder: Path, **replication: Any) -> Path:
    path = folder / "dcctl.yaml"
    text = {"extends": str(LAB), "network_namespace": None, "state_directory": ".dcctl"}
    path.write_text(yaml.safe_dump(text | {"replication": replication}))
    return path


def configured(folder: Path, **replication: Any) -> Settings:
    found = load_file(written(folder, **replication)).replication
    assert found is not None
    return found


def test_a_name_has_its_account_and_what_is_beside_it() -> None:
    assert qualified("archive", "letters") == "archive/letters"
    assert qualified(DEFAULT, "letters") == "letters"
    assert [account_of("archive/letters"), account_of("letters")] == ["archive", DEFAULT]
    assert [own_name("archive/letters"), own_name("letters")] == ["letters", "letters"]
    assert [beside("archive/letters", "trash"), beside("letters", "trash")] == ["archive/trash", "trash"]


def test_the_containers_of_all_accounts_are_known_by_their_names(tmp_path: Path) -> None:
    settings = configured(
        tmp_path, accounts={"archive": with_owners(archive(containers_like=["t-"])), "old": archive("AUTH_o")}
    )
    assert settings.replicated() == ("documents", "archive/letters", "old/letters")
    assert settings.replicated(["old"]) == ("old/letters",)
    assert "archive/dcctl-trash" in settings.all_containers
    assert "archive/dcctl-heartbeat" not in settings.all_containers, "one for the pair"
    covered = ["documents", "archive/letters", "archive/t-1", "old/letters"]
    others = ["letters", "archive/documents", "t-1", "old/t-1", "none/letters", "default/documents"]
    assert [name for name in (*covered, *others, "archive/dcctl-trash") if settings.covers(name)] == covered
    assert settings.come_and_go


@pytest.mark.parametrize(
    ("accounts", "words"),
    [
        ({"archive": archive("AUTH_documents")}, "another account's already"),
        ({"a": archive(), "b": archive()}, "another account's already"),
        ({"default": archive()}, "default is the stores' own account"),
        ({"archive": archive(containers=[])}, "containers or containers_like is needed"),
        ({"archive": archive(containers=["dcctl-trash"])}, "must not name trash or conflicts"),
        ({"archive": archive(containers_like=["t-"])}, "only a token lists an account"),
        ({"archive": at("http://198.18.1.22:8090")}, "must be at east, west"),
        ({"archive": at("https://elsewhere.example", "http://198.18.2.22:8090")}, "must be at http://198.18.1"),
        ({"archive/x": archive()}, "archive/x"),
    ],
)  # fmt: skip
def test_accounts_that_cannot_be(tmp_path: Path, accounts: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        configured(tmp_path, accounts=accounts)


def test_tokens_need_the_owner_of_each_account(tmp_path: Path) -> None:
    keyless = dict.fromkeys(("realm", "realm_key", "container_key", "outbox")) | {"tokens": True}
    with pytest.raises(ConfigurationError, match=r"accounts\.archive\.stores\.SITE\.administrator"):
        configured(tmp_path, accounts={"archive": archive()}, **keyless)
    assert configured(tmp_path, accounts={"archive": with_owners(archive())}, **keyless).tokens


def test_what_loses_and_what_is_removed_stay_in_their_account(tmp_path: Path) -> None:
    time = VirtualTime()
    a, b = MemoryStore("east", time), MemoryStore("west", time)
    for store in (a, b):
        names = ("letters", "parts", "dcctl-trash", "dcctl-conflicts")
        store.containers |= {f"archive/{name}": {} for name in names}

    def once() -> None:
        time.now_s += 60
        clock = Time(now=time, monotonic=time)
        options = Options(limits=Limits(attempts=1), accept_empty=True)
        replication = Replication({Side.A: a, Side.B: b}, base, options, clock)
        asyncio.run(replication.run("archive/letters"))

    base = SqliteBase(tmp_path / "base.sqlite", "pair", accounts={"archive": "its pair"})
    try:
        a.client_put("archive/letters", "x", b"1")
        a.client_put("archive/letters", "y", b"1")
        once()
        a.client_put("archive/letters", "x", b"2")
        b.client_put("archive/letters", "x", b"3")
        once()
        once()
        b.client_delete("archive/letters", "y")
        once()
    finally:
        base.close()
    assert a.listing("archive/letters") == b.listing("archive/letters")
    (kept,) = a.listing("archive/dcctl-conflicts")
    (trashed,) = a.listing("archive/dcctl-trash")
    assert (kept[:9], trashed[:9]) == ("letters/x", "letters/y")
    assert set(a.containers) == {"docs", *(name for name in a.containers if name.startswith("archive/"))}


def test_a_large_objects_segments_are_sought_in_its_account(tmp_path: Path) -> None:
    time = VirtualTime()
    a, b = MemoryStore("east", time), MemoryStore("west", time)
    for store in (a, b):
        store.containers |= {"archive/letters": {}, "archive/parts": {}}
    a.client_put("archive/parts", "1", b"segment")
    hash = hashlib.md5(b"segment", usedforsecurity=False).hexdigest()
    manifest = json.dumps([{"name": "/parts/1", "hash": hash, "bytes": 7}]).encode()
    a.client_put("archive/letters", "large", manifest, X_Static_Large_Object="True")
    time.now_s += 60
    base = SqliteBase(tmp_path / "base.sqlite", "pair")
    try:
        replication = Replication({Side.A: a, Side.B: b}, base, Options(), Time(now=time, monotonic=time))
        asyncio.run(replication.run("archive/letters"))
    finally:
        base.close()
    assert list(b.listing("archive/parts")) == ["1"]
    assert b.listing("archive/letters") == a.listing("archive/letters")


def test_a_base_has_accounts_that_come_and_go_and_never_become_others(tmp_path: Path) -> None:
    path = tmp_path / "base.sqlite"
    for accounts in ({}, {"archive": "one"}, {}, {"archive": "one", "old": "two"}):
        SqliteBase(path, "pair", accounts=accounts).close()
    with pytest.raises(Refused, match="its account archive is one, not another"):
        SqliteBase(path, "pair", accounts={"archive": "another"})


def test_what_became_of_containers_is_told_by_account() -> None:
    ours = Carried(("t-1",), frozenset({"t-1"}), [Decided("t-1", Need.MAKE, Side.A)], ("why",))
    both = ours.of(DEFAULT).and_also(ours.of("archive"))
    assert both.names == ("t-1", "archive/t-1")
    assert both.going == {"t-1", "archive/t-1"}
    assert both.held == ("why", "account archive: why")
    document = both.document({Side.A: "east", Side.B: "west"})
    assert [one["container"] for one in document["changes"]] == ["t-1", "archive/t-1"]


class Seen:
    """A cluster that answers everything with an empty listing, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.path, request.headers.get("X-Auth-Token", "")))
        return web.json_response([] if request.path.count("/") == 3 else {"until": 0, "changes": []})

    def while_up(self, ask: Any) -> None:
        async def serve() -> None:
            application = web.Application()
            application.router.add_route("*", "/{path:.*}", self.answer)
            async with TestServer(application) as server:
                await ask(
                    str(server.make_url("/v1/AUTH_documents")), str(server.make_url("/v1/AUTH_archive"))
                )

        asyncio.run(serve())


def test_requests_go_to_the_containers_account() -> None:
    seen = Seen()

    async def ask(ours: str, archive: str) -> None:
        keys = Keys("realm", "key", "key")
        async with SwiftStore("east", ours, keys, accounts={"archive": archive}) as store:
            await store.list_page("letters")
            await store.list_page("archive/letters")
            with pytest.raises(NotFound, match="not configured"):
                await store.list_page("none/letters")

    seen.while_up(ask)
    assert [path for path, _ in seen.asked] == ["/v1/AUTH_documents/letters", "/v1/AUTH_archive/letters"]


def test_each_account_has_its_owners_token() -> None:
    seen = Seen()

    async def ask(ours: str, archive: str) -> None:
        tokens = Tokens({ours: Token(lambda: "ours"), archive: Token(lambda: "theirs")})
        tokens.renew()
        async with SwiftStore("east", ours, tokens, accounts={"archive": archive}) as store:
            await store.list_page("letters")
            await store.list_page("archive/letters")

    seen.while_up(ask)
    assert [token for _, token in seen.asked] == ["ours", "theirs"]


def test_the_proxies_are_asked_for_changes_of_each_account() -> None:
    seen = Seen()

    async def ask(ours: str, archive: str) -> None:
        sources = [Source("east", ours, None, {"archive": archive})]
        feed = ProxyFeed(sources, ("letters", "archive/letters"), lambda *_of: "signed")
        await asyncio.to_thread(feed.pending, 10)
        feed.watch(("archive/t-1",))
        await asyncio.to_thread(feed.pending, 10)
        feed.close()

    seen.while_up(ask)
    assert [path for path, _ in seen.asked] == [
        "/v1/AUTH_documents/letters/.dcctl-feed",
        "/v1/AUTH_archive/letters/.dcctl-feed",
        "/v1/AUTH_archive/t-1/.dcctl-feed",
    ]


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Path]:
    written(tmp_path, accounts={"archive": archive(), "old": archive("AUTH_old", containers=["a", "b"])})
    yield tmp_path


@pytest.mark.parametrize(
    ("chosen", "shown"),
    [
        ((), ["documents", "archive/letters", "old/a", "old/b"]),
        (("--account", "old"), ["old/a", "old/b"]),
        (("--account", "default", "--account", "archive"), ["documents", "archive/letters"]),
    ],
)
def test_accounts_can_be_chosen(
    environment: Path, capsys: Any, chosen: tuple[str, ...], shown: list[str]
) -> None:
    assert run(["-e", str(environment), "-o", "json", "replication", "status", *chosen]) == 0
    assert [one["container"] for one in json.loads(capsys.readouterr().out)["containers"]] == shown


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (("--account", "none"), "configured: default, archive, old"),
        (("--account", "old", "--container", "letters"), "on old/letters: configured: old/a, old/b"),
        (("--container", "letters"), "containers on letters: configured: documents"),
    ],
)  # fmt: skip
def test_what_is_not_configured_cannot_be_chosen(
    environment: Path, capsys: Any, chosen: tuple[str, ...], words: str
) -> None:
    assert run(["-e", str(environment), "replication", "verify", *chosen]) == 2
    assert words in " ".join(capsys.readouterr().err.split())
