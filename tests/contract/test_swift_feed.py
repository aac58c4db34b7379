"""The proxies' feed: our middleware behind a small HTTP server, asked by the adapter."""

import importlib.util
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
import requests

from dcctl.adapters.swift_feed import ProxyFeed, Source

MIDDLEWARE = Path(__file__).parents[2] / "templates/swift/dcctl_feed.py"


class Memcached:
    """What Swift's memcached client does, as far as the middleware uses it."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def incr(self, key: str) -> int:
        self.values[key] = int(self.values.get(key, 0)) + 1
        return int(self.values[key])

    def set(self, key: str, value: Any, *, time: int) -> None:
        assert time > 0
        self.values[key] = value

    def get(self, key: str) -> Any:
        return self.values.get(key)


class Quiet(WSGIRequestHandler):
    def log_message(self, *_args: Any) -> None:
        pass


class Proxy:
    """A proxy with our filter; the application behind it answers with ``status``."""

    def __init__(self) -> None:
        spec = importlib.util.spec_from_file_location("dcctl_feed", MIDDLEWARE)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.cache: Memcached | None = Memcached()
        self.status = "201 Created"
        feed = module.filter_factory({})(self._swift)

        def pipeline(env: dict[str, Any], start: Callable[..., Any]) -> Any:
            env["swift.cache"] = self.cache
            env["swift.authorize_override"] = "HTTP_X_CONTAINER_SYNC_AUTH" in env
            return feed(env, start)

        self.server = make_server("127.0.0.1", 0, pipeline, handler_class=Quiet)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/AUTH_x"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self._thread.start()

    def _swift(self, _env: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        start(self.status, [("Content-Length", "0")])
        return [b""]

    def write(self, method: str, name: str, status: str = "201 Created", **headers: str) -> None:
        self.status = status
        requests.request(method, f"{self.url}/docs/{quote(name)}", headers=headers, timeout=10).close()

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    made = Proxy()
    yield made
    made.close()


@pytest.fixture
def feed(proxy: Proxy) -> Iterator[ProxyFeed]:
    made = ProxyFeed([Source("east", proxy.url)], ["docs"], lambda *_: "signed")
    made.pending(10)  # from here on
    yield made
    made.close()


def names(feed: ProxyFeed) -> list[str]:
    return [one.name for one in feed.pending(1000)]


def test_acknowledged_writes_are_told_in_order_until_they_are_settled(proxy: Proxy, feed: ProxyFeed) -> None:
    proxy.write("PUT", "a/d\u043e c")
    proxy.write("POST", "b", "202 Accepted")
    proxy.write("DELETE", "c", "404 Not Found")
    assert names(feed) == ["a/d\u043e c", "b", "c"]
    (first, *_) = feed.pending(10)
    assert (first.site, first.container, first.done is not None) == ("east", "docs", True)
    feed.settle([first.number])
    assert names(feed) == ["b", "c"]


def test_refused_writes_reads_and_our_own_are_not_told(proxy: Proxy, feed: ProxyFeed) -> None:
    proxy.write("PUT", "a", "507 Insufficient Storage")
    proxy.write("GET", "b", "200 OK")
    proxy.write("PUT", "c", X_Container_Sync_Auth="ours", **{"X-Container-Sync-Auth": "ours"})
    assert names(feed) == []


def test_a_feed_without_a_signature_is_not_answered_here(proxy: Proxy) -> None:
    proxy.write("PUT", "a")
    proxy.status = "401 Unauthorized"
    assert requests.get(f"{proxy.url}/docs/.dcctl-feed?after=0", timeout=10).status_code == 401


def test_a_memcached_that_was_restarted_or_is_away_costs_no_write(proxy: Proxy, feed: ProxyFeed) -> None:
    for number in range(5):
        proxy.write("PUT", f"o{number}")
    assert len(names(feed)) == 5
    proxy.cache = Memcached()
    proxy.write("PUT", "after")
    assert names(feed)[-1] == "after"
    proxy.cache = None
    proxy.write("PUT", "untold")
    assert len(names(feed)) == 6


def test_a_cluster_that_is_away_tells_nothing_and_is_asked_again() -> None:
    feed = ProxyFeed([Source("east", "http://127.0.0.1:1/v1/AUTH_x")], ["docs"], lambda *_: "signed")
    assert feed.pending(10) == ()
    feed.close()
