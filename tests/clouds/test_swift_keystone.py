"""Swift with a Keystone: the role's own configuration, our adapters and the document service, all real."""

import asyncio
import gc
import hashlib
import io
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from procurement.errors import Unavailable
from procurement.settings import SwiftSettings
from procurement.storage.swift import SwiftStorage
from swift_keystone_world import (
    KEYSTONE,
    PASSWORDS,
    PATIENCE_S,
    PROXY,
    SECRETS,
    Keystone,
    SwiftWithKeystone,
    ask,
)

from dcctl.adapters.swift import Keys, SwiftStore
from dcctl.config.reference import Reference
from dcctl.domain.document import Answer
from dcctl.domain.replication import Stamp
from dcctl.errors import CredentialsRefused, Unreachable
from dcctl.lab import openstack_build
from dcctl.testing.documents import document

pytestmark = [
    pytest.mark.lab,
    # A loop that ends does not wait until TLS has said goodbye on connections that its client has closed.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]

DARK = """table ip dark {
  chain out { type filter hook output priority 0; ip daddr 198.18.1.5 tcp dport 5000 reject with tcp reset; }
}
"""


@pytest.fixture(scope="module")
def swift(capable_host: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwiftWithKeystone]:
    openstack_build.ensure_built(print)
    keystone = Keystone(tmp_path_factory.mktemp("keystone"))
    try:
        keystone.start()
        with keystone.entered():
            made = SwiftWithKeystone(keystone, tmp_path_factory.mktemp("swift"))
            try:
                made.start()
                yield made
            finally:
                made.stop()
                gc.collect()
    finally:
        keystone.kill()


def document_service(settings: SwiftSettings) -> SwiftStorage:
    return SwiftStorage(settings, silence_limit_s=PATIENCE_S)


async def put(storage: SwiftStorage, name: str, content: bytes) -> None:
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    await storage.put(name, io.BytesIO(content), size_bytes=len(content), md5=md5, format="text/plain")


@contextmanager
def keystone_dark() -> Iterator[None]:
    """Nobody reaches it."""
    subprocess.run(["nft", "-f", "-"], input=DARK.encode(), check=True)
    try:
        yield
    finally:
        subprocess.run(["nft", "delete", "table", "ip", "dark"], check=True)


def test_an_administrator_is_a_user_of_keystone(swift: SwiftWithKeystone) -> None:
    with closing(swift.administrator()) as owner:
        facts = owner.observe_cluster()
        assert "dcctl" in facts.realms
        assert {"tempurl", "container_sync", "slo"} <= facts.capabilities
        made = owner.observe_container("documents")
        assert made is not None, "the role made it"
        assert made.key == SECRETS["swift_container_key"]
        assert owner.ensure_container("more", "key")
        assert not owner.ensure_container("more", "key")
        access = {"x-container-read": f"{swift.project}:*"}
        assert owner.ensure_settings("more", access)
        found = owner.observe_container("more")
        assert found is not None
        assert dict(found.settings) == access
        assert {"documents", "more"} <= set(owner.containers())


def test_a_wrong_password_is_refused(swift: SwiftWithKeystone, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.touch(mode=0o600)
    wrong.write_text("wrong")
    with (
        closing(swift.administrator(password=Reference("file", str(wrong)))) as owner,
        pytest.raises(CredentialsRefused, match="Keystone") as refused,
    ):
        owner.observe_container("documents")
    assert refused.value.exit_code == 4

    async def login() -> None:
        async with document_service(replace(swift.documents(), key="wrong")) as storage:
            with pytest.raises(Unavailable, match="HTTP 401"):
                await storage.head("a")

    asyncio.run(login())


def test_a_user_of_another_project_is_refused(swift: SwiftWithKeystone, tmp_path: Path) -> None:
    """And does not set up the account of its own project instead."""
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text(PASSWORDS["other"])
    who = {"user": "other", "project": "others", "password": Reference("file", str(password))}
    with closing(swift.administrator(**who)) as other:
        with pytest.raises(CredentialsRefused, match="403"):
            other.ensure_container("documents", "key of another")
        with pytest.raises(CredentialsRefused, match="403"):
            other.ensure_container("new", "key of another")
    with closing(swift.administrator()) as owner:
        kept = owner.observe_container("documents")
        assert kept is not None
        assert kept.key == SECRETS["swift_container_key"]
        assert owner.observe_container("new") is None


def test_a_token_that_is_none_or_no_more_is_refused(swift: SwiftWithKeystone) -> None:
    url = f"{PROXY}/v1/{swift.account}/documents"
    assert ask("GET", url).status == 401
    assert ask("GET", url, X_Auth_Token="gAAAAA-never-was-one").status == 401
    token = swift.token("app", "documents")
    swift.revoke(token)
    assert ask("GET", url, X_Auth_Token=token).status == 401
    other = swift.token("app", "documents")
    assert ask("GET", url, X_Auth_Token=other).status == 204


def test_the_document_service_stores_and_hands_out(swift: SwiftWithKeystone) -> None:
    content = b"a signed document"

    async def serve() -> str:
        async with document_service(swift.documents()) as storage:
            await storage.ensure()
            await put(storage, "served", content)
            stored = await storage.head("served")
            assert stored is not None
            assert stored.size_bytes == len(content)
            async with storage.get("served") as chunks:
                assert chunks is not None
                assert b"".join([chunk async for chunk in chunks]) == content
            url = storage.temporary_url("served", filename="a.txt", expires_s=int(time.time()) + 3600)
            assert url is not None
            return url

    public = asyncio.run(serve())
    edge = swift.documents().public_url
    assert edge == f"http://198.18.1.21:8000/v1/{swift.account}"
    # The edge leads to the proxy; there is none here.
    url = public.replace("http://198.18.1.21:8000", PROXY)
    found = ask("GET", url)
    assert (found.status, found.body) == (200, content)
    assert ask("GET", url.replace("served", "other")).status == 401
    assert ask("PUT", url, b"forged").status == 401


def test_the_document_service_renews_a_token_that_was_revoked(swift: SwiftWithKeystone) -> None:
    async def serve() -> None:
        async with document_service(swift.documents()) as storage:
            url, token = await storage._authorized()
            swift.revoke(token)
            await put(storage, "renewed", b"1")
            assert await storage._authorized() != (url, token)
            await storage.delete("renewed")
            assert await storage.head("renewed") is None

    asyncio.run(serve())


def keys(swift: SwiftWithKeystone, **changes: str) -> Keys:
    right = {"realm_key": SECRETS["swift_realm_key"], "container_key": SECRETS["swift_container_key"]}
    return Keys("dcctl", **(right | changes))


async def carry(swift: SwiftWithKeystone, name: str, stamp: Stamp, keys: Keys) -> Answer:
    async with SwiftStore("east", f"{PROXY}/v1/{swift.account}", keys) as store:
        return await store.put("documents", name, stamp, document(b"carried"))


def test_signed_requests_need_no_token(swift: SwiftWithKeystone) -> None:
    now = time.time()

    async def replicate() -> None:
        newer, older = (Stamp(round((now + late) * 1e5)) for late in (0, -60))
        assert await carry(swift, "carried", newer, keys(swift)) is Answer.APPLIED
        assert await carry(swift, "carried", older, keys(swift)) is Answer.OLDER
        for wrong in ("realm_key", "container_key"):
            with pytest.raises(CredentialsRefused):
                await carry(swift, "forged", newer, keys(swift, **{wrong: "wrong"}))
        async with SwiftStore("east", f"{PROXY}/v1/{swift.account}", keys(swift)) as store:
            head = await store.head("documents", "carried")
            assert head is not None
            assert head.stamp == newer

    asyncio.run(replicate())


def test_while_keystone_is_dark_only_new_tokens_are_refused(swift: SwiftWithKeystone) -> None:
    """What needs no token, and a token that the proxies have seen, do as before; replication goes on."""
    url = f"{PROXY}/v1/{swift.account}/documents"
    seen, unseen = (swift.token("app", "documents") for _ in range(2))
    settings = swift.documents()
    assert ask("PUT", f"{url}/dark", b"before", X_Auth_Token=seen).status == 201
    with keystone_dark():
        assert ask("GET", f"{url}/dark", X_Auth_Token=seen).body == b"before"
        assert ask("GET", f"{url}/dark", X_Auth_Token=unseen).status == 401
        link = document_service(settings).temporary_url(
            "dark", filename="a", expires_s=int(time.time()) + 3600
        )
        assert link is not None
        assert ask("GET", link.replace("http://198.18.1.21:8000", PROXY)).body == b"before"
        stamp = Stamp(round(time.time() * 1e5))
        assert asyncio.run(carry(swift, "carried-in-the-dark", stamp, keys(swift))) is Answer.APPLIED

        async def login() -> None:
            async with document_service(settings) as storage:
                with pytest.raises(Unavailable, match="east"):
                    await storage.head("dark")

        asyncio.run(login())
        with closing(swift.administrator(auth_url=f"{KEYSTONE}/v3")) as owner, pytest.raises(Unreachable):
            owner.observe_container("documents")
    assert ask("GET", f"{url}/dark", X_Auth_Token=unseen).status in (200, 204)
